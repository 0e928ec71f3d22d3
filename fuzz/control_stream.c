/* Bytes of a control server: the HTTP/1.1 answer before Noise, the early payload, the map stream, c2n
 * requests and URLs. The first byte chooses what, the second how the rest is cut. */
#include "control/c2n.h"
#include "control/early.h"
#include "control/exchange.h"
#include "control/frames.h"
#include "control/unzip.h"
#include "control/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The next piece, 1 to 64 bytes, or all. */
static struct span cut(struct span *rest, uint8_t how)
{
    size_t n = how % 65 ? MIN((size_t)(how % 65), rest->len) : rest->len;
    struct span piece = span_slice(*rest, 0, n);

    *rest = span_slice(*rest, n, rest->len);
    return piece;
}

static void answer(struct span rest, uint8_t how)
{
    struct exchange e;
    int r = EXCHANGE_E_MORE;

    exchange_init(&e, how & 0x80);
    while (rest.len && r == EXCHANGE_E_MORE) {
        struct span piece = cut(&rest, how);
        size_t used;

        r = exchange_feed(&e, piece, &used);
        must(used <= piece.len && (r || e.state == EXCHANGE_DONE));
        must(r != EXCHANGE_E_MORE || used == piece.len);
        must(e.body.len <= EXCHANGE_BODY_BYTES_MAX && e.line.len <= EXCHANGE_HEAD_BYTES_MAX);
    }
    if (r == EXCHANGE_E_MORE)
        r = exchange_finish(&e);
    if (r == 0)
        must(e.status >= 100 && e.status <= 999);
    must(retry_after_parse(span_from_str(e.retry_after), SEC) >= 0);
    exchange_deinit(&e);
}

static void map_stream(struct span rest, uint8_t how)
{
    struct early early = { 0 };
    struct frames frames;
    struct unzip unzip = { 0 };
    size_t messages = 0, total = rest.len;
    int r = 0;

    frames_init(&frames);
    while (rest.len && r <= 0) {
        struct span piece = cut(&rest, how), held, message;

        r = early_feed(&early, &piece, &held);
        must(held.len <= sizeof(early.head) && (r != EARLY_E_MORE || !piece.len));
        if (r == EARLY_E_MORE) {
            r = 0;
            continue;
        }
        while (!r && (r = frames_next(&frames, &piece, &message)) == 0) {
            struct buf room;
            struct span json;

            must(message.len && message.len <= total && ++messages <= total);
            if (unzip_message(&unzip, message, &room, &json) == 0) {
                must(json.len <= UNZIP_BYTES_MAX);
                buf_deinit(&room);
            }
        }
        must(r != FRAMES_E_MORE || !piece.len);
        if (r == FRAMES_E_MORE)
            r = 0;
    }
    frames_deinit(&frames);
    unzip_deinit(&unzip);
}

static void c2n(struct span request)
{
    struct buf response;

    buf_init(&response, request.len + 4096);
    if (c2n_answer(request, &response))
        must(!response.len);
    else
        must(text_starts_with(buf_span(&response), "HTTP/1.1 "));
    buf_deinit(&response);
}

static void url(struct span text)
{
    struct control_url u, again;
    struct span target;

    if (!control_url_parse(text, &u)) {
        must(u.port && u.host[0]);
        must(!control_url_parse(span_from_str(u.text), &again) && !strcmp(u.text, again.text));
    }
    if (control_url_parse_target(text, &u, &target))
        must(target.len && target.data[0] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span rest = span_make(data + MIN(len, 2u), len - MIN(len, 2u));

    if (len < 2)
        return 0;
    switch (data[0] & 3) {
    case 0:
        answer(rest, data[1]);
        break;
    case 1:
        map_stream(rest, data[1]);
        break;
    case 2:
        c2n(rest);
        break;
    default:
        url(rest);
    }
    return 0;
}

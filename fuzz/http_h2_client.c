/* Server bytes against the HTTP/2 client, whole and in small pieces: every request ends exactly once, nothing
 * comes after its end, and what waits to be sent stays within its limit. The two stories need not be equal:
 * what was answered in between, and how much of a body that turns out too long was handed over, depends on
 * the pieces. */
#include <stdlib.h>

#include "http/http.h"

struct story {
    size_t ended, started;
    bool over[64]; /* by request id / 2 */
    struct h2_client *client;
};

static void on_head(void *ctx, uint32_t id, int status, const struct h2_header *headers, size_t count)
{
    struct story *s = ctx;
    size_t sum = 0;

    must(!s->over[id / 2] && count <= H2_HEADERS_MAX && (status < 100 || status >= 200));
    for (size_t i = 0; i < count; i++)
        sum += headers[i].name.len + headers[i].value.len;
    must(sum <= H2_HEAD_BYTES_MAX);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct story *s = ctx;

    must(!s->over[id / 2]);
    h2_client_consumed(s->client, id, bytes.len);
}

static void on_ended(void *ctx, uint32_t id, enum h2_end why, uint32_t code)
{
    struct story *s = ctx;

    (void)why;
    (void)code;
    must(!s->over[id / 2]);
    s->over[id / 2] = true;
    s->ended++;
}

static const struct h2_request_ops ops = { on_head, on_body, on_ended };

static void tell(struct span bytes, size_t piece)
{
    struct h2_request q = { .method = span_from_str("POST"),
                            .authority = span_from_str("c.test"),
                            .path = span_from_str("/machine/map"),
                            .body = span_from_str("{}") };
    struct story s = { 0 };
    uint8_t scratch[H2_SCRATCH_BYTES];
    uint32_t id;
    int r = 0;

    if (h2_client_new(&s.client, scratch))
        abort();
    for (int i = 0; i < 3; i++)
        s.started += h2_client_request(s.client, &q, &ops, &s, &id) == 0;
    for (size_t at = 0; at < bytes.len && !r; at += piece) {
        r = h2_client_feed(s.client, span_slice(bytes, at, piece));
        must(r == 0 || r == H2_E_PROTOCOL);
        must(h2_client_pending(s.client).len <= H2_PENDING_BYTES_MAX);
        h2_client_sent(s.client, h2_client_pending(s.client).len);
        memset(scratch, 0xaa, sizeof(scratch)); /* nothing in it may live across calls */
        must(!r || h2_client_running(s.client) == 0);
    }
    must(h2_client_running(s.client) == s.started - s.ended);
    h2_client_free(s.client);
    must(s.ended == s.started);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!len)
        return 0;
    tell(span_make(data, len), len);
    tell(span_make(data, len), 1 + len % 7);
    return 0;
}

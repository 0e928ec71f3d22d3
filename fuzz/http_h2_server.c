/* Client bytes against the HTTP/2 server, whole and in small pieces: every request that came ends exactly
 * once, nothing comes after its end, and every limit holds. */
#include <stdlib.h>

#include "http/http.h"

#define IDS 65536 /* what comes after so many is only counted */

struct story {
    size_t came, ended, given_up;
    struct {
        uint32_t id;
        uint8_t state; /* 1 came, 2 over */
    } requests[IDS];
    struct h2_server *server;
};

static uint8_t *slot(struct story *s, uint32_t id)
{
    static uint8_t any;

    for (size_t i = MIN(s->came, (size_t)IDS); i-- > 0;)
        if (s->requests[i].id == id)
            return &s->requests[i].state;
    any = s->came > IDS;
    return &any;
}

static void on_request(void *ctx, const struct h2_server_request *q)
{
    struct story *s = ctx;
    const struct h2_header type = { span_from_str("content-type"), span_from_str("text/plain") };
    size_t sum = q->method.len + q->path.len + q->authority.len + q->scheme.len + q->protocol.len;

    must(q->header_count <= H2_SERVER_HEADERS_MAX && q->id);
    for (size_t i = 0; i < q->header_count; i++) {
        sum += q->headers[i].name.len + q->headers[i].value.len;
        must(http_is_token(q->headers[i].name) && http_is_field_value(q->headers[i].value));
    }
    must(sum <= H2_SERVER_HEAD_BYTES_MAX);
    if (s->came < IDS) {
        must(!s->came || s->requests[s->came - 1].id < q->id);
        s->requests[s->came].id = q->id;
        s->requests[s->came].state = 1;
    }
    s->came++;
    switch (q->id / 2 % 4) {
    case 0:
        must(!h2_server_answer(s->server, q->id, q->too_big ? 431 : 200, &type, 1, span_from_str("hello")));
        break;
    case 1:
        must(!h2_server_head(s->server, q->id, 200, &type, 1, false));
        break;
    case 2:
        h2_server_reset(s->server, q->id, H2_CODE_CANCEL);
        *slot(s, q->id) = 2;
        s->given_up++;
        break;
    default:
        break;
    }
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct story *s = ctx;

    must(*slot(s, id) == 1);
    if (id / 2 % 3)
        h2_server_consumed(s->server, id, bytes.len);
}

static void on_body_end(void *ctx, uint32_t id, const struct h2_header *trailers, size_t count)
{
    (void)trailers;
    must(*slot(ctx, id) == 1 && count <= H2_SERVER_HEADERS_MAX);
}

static void on_writable(void *ctx, uint32_t id)
{
    must(*slot(ctx, id) == 1);
}

static void on_ended(void *ctx, uint32_t id, enum h2_server_end why, uint32_t code)
{
    struct story *s = ctx;

    (void)why;
    (void)code;
    must(*slot(s, id) == 1);
    *slot(s, id) = 2;
    s->ended++;
}

static const struct h2_server_ops ops = { on_request, on_body, on_body_end, on_writable, on_ended };

static void tell(struct span bytes, size_t piece)
{
    static const uint8_t body[3000];
    static struct story s;
    uint8_t scratch[H2_SCRATCH_BYTES];
    struct h2_server_config config = { .extended_connect = true };
    int r = 0;

    s.came = s.ended = s.given_up = 0;
    if (h2_server_new(&s.server, &config, &ops, &s, scratch))
        abort();
    for (size_t at = 0; at < bytes.len && !r; at += piece) {
        r = h2_server_feed(s.server, span_slice(bytes, at, at + piece), (time_ns)(at + SEC));
        must(r >= 0);
        for (uint32_t id = 3; id < 64; id += 8) /* those that were given a head */
            if (*slot(&s, id) == 1)
                must(h2_server_write(s.server, id, SPAN_OF(body)) <= sizeof(body));
        must(h2_server_pending(s.server).len <= H2_SERVER_PENDING_BYTES_MAX);
        h2_server_sent(s.server, h2_server_pending(s.server).len);
        memset(scratch, 0xaa, sizeof(scratch)); /* nothing in it may live across calls */
        must(!r || h2_server_running(s.server) == 0);
        if (piece != bytes.len && h2_server_rest(s.server))
            must(h2_server_running(s.server) == 0);
    }
    h2_server_free(s.server);
    must(s.came == s.ended + s.given_up);
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

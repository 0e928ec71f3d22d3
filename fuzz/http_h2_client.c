/* Server bytes against the HTTP/2 client: whole, and again in small pieces; both must tell the same story. */
#include <stdlib.h>

#include "http/http.h"

struct story {
    uint64_t hash;
    size_t ended, started;
    struct h2_client *client;
};

static void note(struct story *s, const void *data, size_t len)
{
    const uint8_t *b = data;

    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ b[i]) * 0x100000001b3u;
}

static void on_head(void *ctx, uint32_t id, int status, const struct h2_header *headers, size_t count)
{
    must(count <= H2_HEADERS_MAX);
    note(ctx, &id, sizeof(id));
    note(ctx, &status, sizeof(status));
    for (size_t i = 0; i < count; i++) {
        note(ctx, headers[i].name.data, headers[i].name.len);
        note(ctx, headers[i].value.data, headers[i].value.len);
    }
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct story *s = ctx;

    note(s, bytes.data, bytes.len);
    h2_client_consumed(s->client, id, bytes.len);
}

static void on_ended(void *ctx, uint32_t id, enum h2_end why, uint32_t code)
{
    struct story *s = ctx;

    (void)id;
    (void)code;
    note(s, h2_end_text(why), 4);
    s->ended++;
}

static const struct h2_request_ops ops = { on_head, on_body, on_ended };

static struct story tell(struct span bytes, size_t piece)
{
    struct h2_request q = { .method = span_from_str("POST"),
                            .authority = span_from_str("c.test"),
                            .path = span_from_str("/machine/map"),
                            .body = span_from_str("{}") };
    struct story s = { .hash = 1 };
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
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct story whole, pieces;

    if (!len)
        return 0;
    /* Body pieces follow the frames, so only the sum of the bytes may be compared: the hash is bytewise. */
    whole = tell(span_make(data, len), len);
    pieces = tell(span_make(data, len), 1 + len % 7);
    must(whole.hash == pieces.hash);
    return 0;
}

/* Heads from HTTP/2's form to HTTP/1's and back (RFC 9113 8.3.1, 8.2.2, 8.2.3) */
#include <ctype.h>
#include <errno.h>

#include "crypto/crypto.h"
#include "proxy/h2_internal.h"

/* ---- requests ----------------------------------------------------------------- */

static int add(struct http_head *h, const char *name, struct span value)
{
    return http_head_add(h, span_from_str(name), value);
}

/* An authority and a Host that differ could be read in two ways. */
static int add_host(struct http_head *h, const struct h2_server_request *q)
{
    struct span host = q->authority;

    for (size_t i = 0; i < q->header_count; i++) {
        if (!span_equal_str(q->headers[i].name, "host"))
            continue;
        if (host.len && !text_equal_fold(host, q->headers[i].value))
            return HTTP1_E_HOST;
        host = q->headers[i].value;
    }
    if (!host.len)
        return HTTP1_E_HOST;
    return http_is_field_value(host) ? add(h, "host", host) : HTTP1_E_HOST;
}

/* HTTP/2 may cut a cookie field into its pairs; upstreams expect one. */
static int add_cookies(struct http_head *h, const struct h2_server_request *q, struct buf *text)
{
    int r = 0;

    buf_clear(text);
    for (size_t i = 0; i < q->header_count && !r; i++) {
        if (!span_equal_str(q->headers[i].name, "cookie") || !http_is_field_value(q->headers[i].value))
            continue;
        if (text->len)
            r = buf_append_str(text, "; ");
        if (!r)
            r = buf_append(text, q->headers[i].value);
    }
    if (r)
        return r;
    return text->len ? add(h, "cookie", buf_span(text)) : 0;
}

static int add_fields(struct http_head *h, const struct h2_server_request *q)
{
    int r = 0;

    for (size_t i = 0; i < q->header_count && !r; i++) {
        const struct h2_header *f = &q->headers[i];

        if (span_equal_str(f->name, "host") || span_equal_str(f->name, "cookie"))
            continue;
        r = http_is_token(f->name) && http_is_field_value(f->value) ? http_head_add(h, f->name, f->value)
                                                                    : HTTP1_E_FIELD;
    }
    return r;
}

/* Extended CONNECT (RFC 8441 5) asks the upstream as HTTP/1.1 would (RFC 6455 4.1). */
static int add_upgrade(struct http_head *h, struct span protocol)
{
    uint8_t nonce[16];
    char key[BASE64_BYTES(sizeof(nonce))];
    int r = add(h, "Connection", span_from_str("Upgrade"));

    if (!r)
        r = add(h, "Upgrade", protocol);
    random_bytes(nonce, sizeof(nonce));
    base64_encode(key, SPAN_OF(nonce));
    if (!r)
        r = add(h, "Sec-WebSocket-Key", span_from_str(key));
    return r;
}

int h2_head_from_request(struct http_head *h, const struct h2_server_request *q, struct buf *text)
{
    bool websocket = span_equal_str(q->protocol, "websocket");
    int r;

    if (q->too_big)
        return HTTP1_E_TOO_BIG;
    if (!q->path.len || (q->protocol.len && !websocket))
        return HTTP1_E_CONNECT;
    r = http_head_make_request(h, websocket ? span_from_str("GET") : q->method, q->path);
    if (!r)
        r = add_host(h, q);
    if (!r)
        r = add_fields(h, q);
    if (!r)
        r = add_cookies(h, q, text);
    if (!r && websocket)
        r = add_upgrade(h, q->protocol);
    else if (!r && !q->bodiless && http_head_find(h, HTTP_FIELD_CONTENT_LENGTH, 0) < 0)
        r = add(h, "Transfer-Encoding", span_from_str("chunked"));
    return r ? r : http1_judge_request(h);
}

/* ---- responses and trailers ----------------------------------------------------- */

/* Names in lower case, into shard->out; what belongs to an HTTP/1 connection stays behind. */
ssize_t h2_head_to_headers(struct proxy_shard *shard, const struct http_head *h,
                           struct h2_header out[HTTP_FIELDS_MAX])
{
    struct span name, value;
    struct mspan room;
    size_t count = 0, bytes = 0;
    int at = 0;

    for (int i = 0; i < h->count; i++)
        bytes += h->fields[i].name.len;
    buf_clear(&shard->out);
    if (buf_reserve(&shard->out, bytes, &room))
        return -ENOMEM;
    for (bytes = 0; http_head_next(h, &at, &name, &value);) {
        enum http_field id = (enum http_field)h->fields[at - 1].id;
        uint8_t *lower = room.data + bytes;

        if (id == HTTP_FIELD_CONNECTION || id == HTTP_FIELD_TRANSFER_ENCODING || id == HTTP_FIELD_UPGRADE ||
            id == HTTP_FIELD_KEEP_ALIVE || id == HTTP_FIELD_PROXY_CONNECTION)
            continue;
        for (size_t i = 0; i < name.len; i++)
            lower[i] = (uint8_t)tolower(name.data[i]);
        bytes += name.len;
        out[count++] = (struct h2_header) { span_make(lower, name.len), value };
    }
    return (ssize_t)count;
}

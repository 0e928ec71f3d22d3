/* One stream of an HTTP/2 connection: heads in and out, and the bytes between them as a struct stream */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "crypto/crypto.h"
#include "proxy/h2_internal.h"

/* ---- the request's head: from HTTP/2's form to HTTP/1's (RFC 9113 8.3.1, 8.2.3) ------------ */

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

static int take_head(struct http_head *h, const struct h2_server_request *q, struct buf *text)
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

int h2_take_head(struct exchange *x)
{
    return x->conn->side->fault;
}

/* ---- the stream ----------------------------------------------------------------------------- */

static struct h2_side *side_of(const struct stream *s)
{
    return CONTAINER_OF(s, struct h2_side, base);
}

static void taken(struct h2_side *side, size_t n)
{
    buf_consume(&side->body, n);
    buf_trim(&side->body);
    h2_server_consumed(side->link->server, side->id, n);
    conn_ready(side->link->conn); /* there may be a window to announce */
}

static ssize_t side_read(struct stream *s, void *out, size_t len)
{
    struct h2_side *side = side_of(s);
    struct span bytes = span_slice(buf_span(&side->body), 0, len);

    if (!bytes.len)
        return side->over && !side->answered ? -ECONNRESET : side->body_ended ? 0 : -EAGAIN;
    memcpy(out, bytes.data, bytes.len);
    taken(side, bytes.len);
    return (ssize_t)bytes.len;
}

static ssize_t side_write(struct stream *s, struct span bytes)
{
    struct h2_side *side = side_of(s);
    size_t n;

    if (side->over)
        return -EPIPE;
    n = h2_server_write(side->link->server, side->id, bytes);
    conn_ready(side->link->conn);
    return n ? (ssize_t)n : -EAGAIN;
}

/* Names in lower case, into shard->out; what belongs to an HTTP/1 connection stays behind. */
static ssize_t list_headers(struct proxy_shard *shard, const struct http_head *h,
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

static void end_response(struct h2_side *side)
{
    struct h2_header trailers[HTTP_FIELDS_MAX];
    ssize_t count = 0;

    side->answered = true;
    if (side->trailers_out)
        count = list_headers(side->conn->service->shard, side->trailers_out, trailers);
    if (h2_server_end(side->link->server, side->id, trailers, count < 0 ? 0 : (size_t)count))
        h2_server_reset(side->link->server, side->id, H2_CODE_INTERNAL_ERROR);
}

static void side_shutdown(struct stream *s)
{
    struct h2_side *side = side_of(s);

    if (side->head_sent && !side->answered)
        end_response(side);
    conn_ready(side->link->conn);
}

static void side_close(struct stream *s, bool abort)
{
    struct h2_side *side = side_of(s);
    struct proxy_shard *shard = side->conn->service->shard;

    list_remove(&side->node); /* from here on the machine's events do not find it */
    if (!abort && side->head_sent && !side->answered)
        end_response(side);
    else if (!side->answered)
        h2_server_reset(side->link->server, side->id, H2_CODE_INTERNAL_ERROR);
    else if (abort) /* a tunnel that broke after its end was sent */
        h2_server_reset(side->link->server, side->id, H2_CODE_CANCEL);
    head_give_back(shard, &side->trailers_in);
    head_give_back(shard, &side->trailers_out);
    buf_deinit(&side->body);
    h2_side_gone(side);
    free(side);
}

static void side_failure(const struct stream *s, char *out, size_t size)
{
    (void)s;
    snprintf(out, size, "the client took the request back");
}

static const struct stream_ops side_ops = {
    .read = side_read,
    .write = side_write,
    .shutdown = side_shutdown,
    .close = side_close,
    .failure = side_failure,
};

struct h2_side *h2_side_new(struct h2_link *link, const struct h2_server_request *q, time_ns now)
{
    struct h2_side *side = calloc(1, sizeof(*side));
    struct conn *c = side ? conn_new(link->conn->service, &link->conn->arrival) : NULL;

    if (!c) {
        free(side);
        return NULL;
    }
    side->base.ops = &side_ops;
    side->link = link;
    side->conn = c;
    side->id = q->id;
    side->body_ended = q->bodiless;
    buf_init(&side->body, H2_SERVER_WINDOW_BYTES_MAX + (64u << 10));
    c->stream = &side->base;
    c->side = side;
    c->state = CONN_REQUEST;
    c->x = exchange_begin(c, now);
    if (!c->x) {
        conn_close(c, true, now);
        return NULL;
    }
    side->fault = take_head(c->x->request, q, &c->service->shard->text);
    if (side->fault == -ENOBUFS)
        side->fault = HTTP1_E_TOO_BIG;
    return side;
}

/* ---- the request's body ------------------------------------------------------------------------ */

void h2_next(struct conn *c, struct http1_event *ev)
{
    struct h2_side *side = c->side;

    *ev = (struct http1_event) { .kind = HTTP1_MORE };
    if (side->body.len) {
        ev->kind = HTTP1_BODY;
        ev->bytes = span_slice(buf_span(&side->body), 0, READ_BYTES);
    } else if (side->body_ended && side->trailers_in && c->x->in_framing == HTTP_BODY_CHUNKED) {
        ev->kind = HTTP1_TRAILERS;
        ev->trailers = side->trailers_in;
    } else if (side->body_ended) {
        ev->kind = HTTP1_END;
    }
}

void h2_taken(struct conn *c, const struct http1_event *ev)
{
    struct h2_side *side = c->side;

    if (ev->kind == HTTP1_BODY)
        taken(side, ev->bytes.len);
    else if (ev->kind == HTTP1_TRAILERS)
        head_give_back(c->service->shard, &side->trailers_in);
}

/* ---- the response -------------------------------------------------------------------------------- */

enum flow h2_send_head(struct exchange *x, const struct http_head *h)
{
    struct h2_side *side = x->conn->side;
    struct h2_header headers[HTTP_FIELDS_MAX];
    bool interim = h->status < 200 && h->status != 101;
    bool end = !interim && h->status != 101 && x->out_framing == HTTP_BODY_NONE;
    ssize_t count = list_headers(x->conn->service->shard, h, headers);

    if (side->over || count < 0)
        return FLOW_CLIENT_FAILED;
    if (h2_server_head(side->link->server, side->id, h->status == 101 ? 200 : h->status, headers,
                       (size_t)count, end))
        return FLOW_CLIENT_FAILED;
    side->head_sent |= !interim;
    side->answered |= end;
    conn_ready(side->link->conn);
    return FLOW_DONE;
}

void h2_keep_trailers(struct exchange *x, const struct http_head *t)
{
    struct h2_side *side = x->conn->side;
    struct span name, value;

    if (!side->trailers_out)
        side->trailers_out = head_take(x->conn->service->shard);
    for (int at = 0; side->trailers_out && http_head_next(t, &at, &name, &value);)
        (void)!http_head_add(side->trailers_out, name, value); /* cut at the limits of a head */
}

enum flow h2_answer(struct exchange *x, int status, struct span location, const char *sentence)
{
    struct h2_side *side = x->conn->side;
    struct buf *body = &x->conn->service->shard->out;
    struct h2_header headers[6];
    size_t n = 0;
    bool empty = status == 200 || !*sentence;
    char length[24];

    buf_clear(body);
    if (side->over || (!empty && buf_printf(body, "%s\n", sentence)))
        return FLOW_CLIENT_FAILED;
    snprintf(length, sizeof(length), "%zu", body->len);
    headers[n++] = (struct h2_header) { span_from_str("date"), shard_date(x->conn->service->shard) };
    if (location.len)
        headers[n++] = (struct h2_header) { span_from_str("location"), location };
    if (status == 405)
        headers[n++] = (struct h2_header) { span_from_str("allow"), span_from_str(ANSWER_ALLOW) };
    if (!empty) {
        headers[n++] = (struct h2_header) { span_from_str("content-type"), span_from_str(ANSWER_TYPE) };
        headers[n++] =
            (struct h2_header) { span_from_str("x-content-type-options"), span_from_str("nosniff") };
    }
    headers[n++] = (struct h2_header) { span_from_str("content-length"), span_from_str(length) };
    if (h2_server_answer(side->link->server, side->id, status, headers, n,
                         x->method_id == HTTP_METHOD_HEAD ? SPAN_NONE : buf_span(body)))
        return FLOW_CLIENT_FAILED;
    side->head_sent = side->answered = true;
    conn_ready(side->link->conn);
    return FLOW_DONE;
}

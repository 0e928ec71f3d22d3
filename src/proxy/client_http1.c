/* A client that speaks HTTP/1 */
#include "proxy/client.h"

#include <errno.h>

/* ---- the request ------------------------------------------------------------- */

/* FLOW_MORE: *in has some. */
static enum flow read_head_bytes(struct exchange *x, struct span *in)
{
    struct conn *c = x->conn;
    ssize_t n = conn_read(c, c->service->shard->in, READ_BYTES_SLOW);

    if (n == -EAGAIN) {
        c->readable = false;
        return FLOW_BLOCKED;
    }
    c->read_ended |= n == 0;
    if (n <= 0)
        return FLOW_CLIENT_FAILED;
    *in = span_make(c->service->shard->in, (size_t)n);
    return FLOW_MORE;
}

/* A request without a body ends with its head. What stands behind it is for the next one. */
static enum flow head_complete(struct exchange *x, struct span rest, int *fault)
{
    struct span nothing = SPAN_NONE;
    struct http1_event ev;

    if (rest.len)
        *fault = buf_append(&x->ahead, rest);
    if (*fault)
        return FLOW_FAULT;
    if (x->request->body == HTTP_BODY_NONE)
        must(http1_next(&x->reader, &nothing, &ev) == 0 && ev.kind == HTTP1_END);
    return FLOW_DONE;
}

static enum flow take_head(struct exchange *x, struct span in, int *fault)
{
    struct http1_event ev = { 0 };

    for (;;) {
        struct span ahead = buf_span(&x->ahead), left = ahead;
        enum flow f = ahead.len || in.len ? FLOW_MORE : read_head_bytes(x, &in);

        if (f != FLOW_MORE)
            return f;
        *fault = http1_next(&x->reader, ahead.len ? &left : &in, &ev);
        buf_consume(&x->ahead, ahead.len - left.len);
        if (*fault)
            return FLOW_FAULT;
        if (ev.kind == HTTP1_HEAD)
            return head_complete(x, in, fault);
    }
}

/* Parses until the request ends or the input does; true if it is fine so far. */
static bool parse_request(struct gather *g, struct span *in, int *fault)
{
    struct exchange *x = g->x;
    struct http1_event ev;

    do {
        *fault = http1_next(&x->reader, in, &ev);
        if (*fault)
            return false;
        pump_request_event(g, &ev);
    } while (ev.kind != HTTP1_MORE && ev.kind != HTTP1_END);
    return true;
}

/* One read of the client, or what was read ahead of it. FLOW_MORE: bytes were used. */
static enum flow take_body(struct gather *g, int *fault)
{
    struct exchange *x = g->x;
    struct conn *c = x->conn;
    uint8_t *room = c->service->shard->in;
    struct span in = buf_span(&x->ahead);
    size_t before = in.len;
    bool fine;
    ssize_t n;

    if (before) {
        fine = parse_request(g, &in, fault);
        gather_flush(g); /* parts stand in x->ahead */
        buf_consume(&x->ahead, before - in.len);
        buf_trim(&x->ahead);
        return fine ? FLOW_MORE : FLOW_FAULT;
    }
    if (!c->readable)
        return FLOW_BLOCKED;
    n = conn_read(c, room, x->in.read_bytes);
    if (n == -EAGAIN) {
        c->readable = false;
        return FLOW_BLOCKED;
    }
    if (n <= 0) /* in the middle of its request */
        return FLOW_CLIENT_FAILED;
    in = span_make(room, (size_t)n);
    fine = parse_request(g, &in, fault);
    if (fine && in.len && buf_append(&x->ahead, in))
        return FLOW_CLIENT_FAILED;
    return fine ? FLOW_MORE : FLOW_FAULT;
}

/* ---- the response -------------------------------------------------------------- */

static void put_trailers(struct gather *g, const struct http_head *t)
{
    if (g->x->out_framing != HTTP_BODY_CHUNKED)
        return;
    gather_trailers(g, t);
    g->x->out_framing = HTTP_BODY_NONE; /* the last chunk went with them */
}

static enum flow put_answer(struct exchange *x, const struct http_head *h, struct span body)
{
    struct buf *out = &x->conn->service->shard->out;
    struct span parts[2];

    buf_clear(out);
    if (http_head_write(h, out))
        return FLOW_CLIENT_FAILED;
    parts[0] = buf_span(out);
    parts[1] = body;
    return way_write(x, true, parts, body.len ? 2 : 1);
}

const struct client_ops http1_client = {
    .take_head = take_head,
    .take_body = take_body,
    .put_head = gather_head,
    .put_trailers = put_trailers,
    .put_answer = put_answer,
};

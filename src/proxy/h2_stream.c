/* One stream of an HTTP/2 connection: the bytes of its two bodies as a struct stream, and as the client of an
 * exchange */
#include <errno.h>
#include <stdlib.h>

#include "proxy/h2_internal.h"

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

static void end_response(struct h2_side *side)
{
    struct h2_header trailers[HTTP_FIELDS_MAX];
    ssize_t count = 0;

    side->answered = true;
    if (side->trailers_out)
        count = h2_head_to_headers(side->conn->service->shard, side->trailers_out, trailers);
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
    if (!abort && side->answered && !side->body_ended)
        h2_server_stop(side->link->server, side->id);
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
    c->client = &http2_client;
    c->side = side;
    c->state = CONN_REQUEST;
    c->x = exchange_begin(c, now);
    if (!c->x) {
        conn_close(c, true, now);
        return NULL;
    }
    side->fault = h2_head_from_request(c->x->request, q, &c->service->shard->text);
    if (side->fault == -ENOBUFS)
        side->fault = HTTP1_E_TOO_BIG;
    return side;
}

/* ---- the request, for the exchange --------------------------------------------------------------- */

static enum flow take_head(struct exchange *x, struct span in, int *fault)
{
    (void)in;
    *fault = x->conn->side->fault;
    return *fault ? FLOW_FAULT : FLOW_DONE;
}

/* One piece. */
static enum flow take_body(struct gather *g, int *fault)
{
    struct h2_side *side = g->x->conn->side;
    struct http1_event ev = { .kind = HTTP1_END };

    (void)fault;
    if (side->body.len) {
        ev.kind = HTTP1_BODY;
        ev.bytes = span_slice(buf_span(&side->body), 0, READ_BYTES);
    } else if (!side->body_ended) {
        return FLOW_BLOCKED;
    } else if (side->trailers_in && g->x->in_framing == HTTP_BODY_CHUNKED) {
        ev.kind = HTTP1_TRAILERS;
        ev.trailers = side->trailers_in;
    }
    pump_request_event(g, &ev);
    gather_flush(g); /* parts stand in the side's buffer */
    if (ev.kind == HTTP1_BODY)
        taken(side, ev.bytes.len);
    else if (ev.kind == HTTP1_TRAILERS)
        head_give_back(side->conn->service->shard, &side->trailers_in);
    return FLOW_MORE;
}

/* ---- the response, from the exchange --------------------------------------------------------------- */

static bool send_head(struct h2_side *side, const struct http_head *h)
{
    struct h2_header headers[HTTP_FIELDS_MAX];
    bool interim = h->status < 200 && h->status != 101;
    bool end = !interim && h->status != 101 && side->conn->x->out_framing == HTTP_BODY_NONE;
    ssize_t count = h2_head_to_headers(side->conn->service->shard, h, headers);

    if (side->over || count < 0)
        return false;
    if (h2_server_head(side->link->server, side->id, h->status == 101 ? 200 : h->status, headers,
                       (size_t)count, end))
        return false;
    side->head_sent |= !interim;
    side->answered |= end;
    conn_ready(side->link->conn);
    return true;
}

static void put_head(struct gather *g, const struct http_head *h)
{
    gather_flush(g);
    if (g->flow == FLOW_DONE && !send_head(g->x->conn->side, h))
        g->flow = FLOW_CLIENT_FAILED;
}

/* They are kept until the body is complete. */
static void put_trailers(struct gather *g, const struct http_head *t)
{
    struct h2_side *side = g->x->conn->side;
    struct span name, value;

    if (!side->trailers_out)
        side->trailers_out = head_take(side->conn->service->shard);
    for (int at = 0; side->trailers_out && http_head_next(t, &at, &name, &value);)
        (void)!http_head_add(side->trailers_out, name, value); /* cut at the limits of a head */
}

static enum flow put_answer(struct exchange *x, const struct http_head *h, struct span body)
{
    struct h2_side *side = x->conn->side;
    struct h2_header headers[HTTP_FIELDS_MAX];
    ssize_t count = h2_head_to_headers(x->conn->service->shard, h, headers);

    if (side->over || count < 0 ||
        h2_server_answer(side->link->server, side->id, h->status, headers, (size_t)count, body))
        return FLOW_CLIENT_FAILED;
    side->head_sent = side->answered = true;
    conn_ready(side->link->conn);
    return FLOW_DONE;
}

const struct client_ops http2_client = {
    .multiplexed = true,
    .take_head = take_head,
    .take_body = take_body,
    .put_head = put_head,
    .put_trailers = put_trailers,
    .put_answer = put_answer,
};

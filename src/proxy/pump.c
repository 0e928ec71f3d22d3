#include <errno.h>
#include <stdio.h>

#include "proxy/h2.h"

/* ---- writing ------------------------------------------------------------------- */

static enum flow failure(struct exchange *x, bool to_client)
{
    char text[STREAM_FAILURE_BYTES];

    if (to_client)
        return FLOW_CLIENT_FAILED;
    snprintf(x->why, sizeof(x->why), "%s", stream_failure(x->up->stream, text));
    return FLOW_UPSTREAM_FAILED;
}

/* Takes n bytes off the front of the parts. */
static void advance(struct span **parts, size_t *count, size_t n)
{
    while (*count && n >= (*parts)->len) {
        n -= (*parts)->len;
        ++*parts;
        --*count;
    }
    if (n)
        **parts = span_slice(**parts, n, (*parts)->len);
}

/* A transfer blocks and flows on many times a second, and needs memory for what did not fit only while it is
 * blocked. One such buffer stays with the shard: from the system it would cost a page fault for each 4 KiB.
 */
static void take_spare(struct proxy_shard *shard, struct buf *pending)
{
    *pending = shard->pending;
    buf_init(&shard->pending, PENDING_BYTES_MAX);
}

static void give_spare(struct proxy_shard *shard, struct buf *pending)
{
    if (shard->pending.data) {
        buf_trim(pending);
        return;
    }
    shard->pending = *pending;
    buf_clear(&shard->pending);
    buf_init(pending, PENDING_BYTES_MAX);
}

enum flow way_write(struct exchange *x, bool to_client, struct span *parts, size_t count)
{
    struct way *w = to_client ? &x->out : &x->in;
    struct stream *s = to_client ? x->conn->stream : x->up->stream;
    bool *writable = to_client ? &x->conn->writable : &x->up->writable;

    while (count && !w->pending.len && *writable) {
        ssize_t n = stream_writev(s, parts, count);

        if (n == -EAGAIN)
            *writable = false;
        else if (n < 0)
            return failure(x, to_client);
        else
            advance(&parts, &count, (size_t)n);
    }
    if (count && !w->pending.data)
        take_spare(x->conn->service->shard, &w->pending);
    for (; count; parts++, count--)
        if (buf_append(&w->pending, *parts))
            return failure(x, to_client);
    w->read_bytes = w->pending.len ? READ_BYTES_SLOW : MIN(w->read_bytes * 2, READ_BYTES);
    return w->pending.len ? FLOW_BLOCKED : FLOW_DONE;
}

enum flow way_flush(struct exchange *x, bool to_client)
{
    struct way *w = to_client ? &x->out : &x->in;
    struct stream *s = to_client ? x->conn->stream : x->up->stream;
    bool *writable = to_client ? &x->conn->writable : &x->up->writable;

    while (w->pending.len && *writable) {
        ssize_t n = stream_write(s, buf_span(&w->pending));

        if (n == -EAGAIN)
            *writable = false;
        else if (n < 0)
            return failure(x, to_client);
        else
            buf_consume(&w->pending, (size_t)n);
    }
    if (!w->pending.len)
        give_spare(x->conn->service->shard, &w->pending);
    return w->pending.len ? FLOW_BLOCKED : FLOW_DONE;
}

/* Pieces of one read, so that a head, a chunk's size and its data leave in one write. */
#define GATHER_PARTS 48
#define GATHER_TEXT 512

struct gather {
    struct exchange *x;
    bool to_client;
    enum flow flow; /* first trouble; FLOW_DONE: none. FLOW_BLOCKED is none: what follows goes to pending */
    size_t count, used;
    struct span parts[GATHER_PARTS];
    char text[GATHER_TEXT];
};

static void gather_begin(struct gather *g, struct exchange *x, bool to_client)
{
    g->x = x;
    g->to_client = to_client;
    g->flow = FLOW_DONE;
    g->count = g->used = 0;
}

static void gather_flush(struct gather *g)
{
    enum flow f;

    if (g->count && g->flow == FLOW_DONE) {
        f = way_write(g->x, g->to_client, g->parts, g->count);
        if (f != FLOW_BLOCKED)
            g->flow = f;
    }
    g->count = g->used = 0;
}

static void gather_add(struct gather *g, struct span s)
{
    if (g->count == GATHER_PARTS)
        gather_flush(g);
    g->parts[g->count++] = s;
}

static void gather_body(struct gather *g, enum http_body framing, struct span s)
{
    int n;

    if (!s.len)
        return;
    if (framing != HTTP_BODY_CHUNKED) {
        gather_add(g, s);
        return;
    }
    if (g->count + 3 > GATHER_PARTS || GATHER_TEXT - g->used < 24)
        gather_flush(g);
    n = snprintf(g->text + g->used, GATHER_TEXT - g->used, "%zx\r\n", s.len);
    gather_add(g, span_make(g->text + g->used, (size_t)n));
    g->used += (size_t)n;
    gather_add(g, s);
    gather_add(g, span_from_str("\r\n"));
}

/* Head or trailers into shard->out, whose earlier content must be gone before it may move. */
static void gather_head(struct gather *g, const struct http_head *h, bool fields_only)
{
    struct buf *out = &g->x->conn->service->shard->out;

    gather_flush(g);
    if (g->to_client && g->x->conn->side) {
        if (g->flow == FLOW_DONE && h2_send_head(g->x, h) != FLOW_DONE)
            g->flow = FLOW_CLIENT_FAILED;
        return;
    }
    buf_clear(out);
    if (fields_only ? http_head_write_fields(h, out) : http_head_write(h, out))
        g->flow = g->to_client ? FLOW_CLIENT_FAILED : FLOW_UPSTREAM_FAILED; /* no memory */
    else
        gather_add(g, buf_span(out));
}

/* ---- the request, from the client to the upstream -------------------------------------- */

static void request_event(struct gather *g, const struct http1_event *ev)
{
    struct exchange *x = g->x;

    switch (ev->kind) {
    case HTTP1_BODY:
        x->bytes_in += ev->bytes.len;
        gather_body(g, (enum http_body)x->in_framing, ev->bytes);
        break;
    case HTTP1_TRAILERS:
        gather_add(g, span_from_str("0\r\n"));
        trailers_filter(ev->trailers);
        gather_head(g, ev->trailers, true);
        x->in_framing = HTTP_BODY_NONE; /* the last chunk went with them */
        break;
    case HTTP1_END:
        if (x->in_framing == HTTP_BODY_CHUNKED)
            gather_add(g, span_from_str("0\r\n\r\n"));
        x->request_done = true;
        break;
    case HTTP1_MORE:
    case HTTP1_HEAD:
        break;
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
        request_event(g, &ev);
    } while (ev.kind != HTTP1_MORE && ev.kind != HTTP1_END);
    return true;
}

/* The same of a stream of HTTP/2: one piece. */
static enum flow read_stream(struct gather *g)
{
    struct conn *c = g->x->conn;
    struct http1_event ev;

    h2_next(c, &ev);
    if (ev.kind == HTTP1_MORE)
        return FLOW_BLOCKED;
    request_event(g, &ev);
    gather_flush(g); /* parts stand in the stream's buffer */
    h2_taken(c, &ev);
    return FLOW_MORE;
}

/* One read of the client, or what was read ahead of it. FLOW_MORE: bytes were used. */
static enum flow read_request(struct gather *g, int *fault)
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
    n = stream_read(c->stream, room, x->in.read_bytes);
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

enum flow pump_request(struct exchange *x, int *fault)
{
    for (int reads = 0; reads < READS_PER_STEP; reads++) {
        enum flow f = way_flush(x, false);
        struct gather g;

        if (f != FLOW_DONE || (x->head_sent && x->request_done))
            return f;
        gather_begin(&g, x, false);
        if (!x->head_sent)
            gather_head(&g, x->request, false);
        x->head_sent = true;
        if (!x->request_done)
            f = x->conn->side ? read_stream(&g) : read_request(&g, fault);
        gather_flush(&g);
        if (g.flow != FLOW_DONE)
            return g.flow;
        if (f != FLOW_MORE && f != FLOW_DONE)
            return f;
    }
    return FLOW_MORE;
}

/* ---- the response, from the upstream to the client --------------------------------------- */

static enum flow upstream_fault(struct exchange *x, const char *why)
{
    snprintf(x->why, sizeof(x->why), "%s", why);
    return FLOW_UPSTREAM_FAILED;
}

/* What it switches to is one of the protocols that were asked for. */
static bool same_upgrade(const struct exchange *x)
{
    struct span asked, given, member;

    if (!http_head_get(x->request, HTTP_FIELD_UPGRADE, &asked) ||
        !http_head_get(x->response, HTTP_FIELD_UPGRADE, &given))
        return false;
    while (http_list_next(&asked, &member))
        if (text_equal_fold(member, given))
            return true;
    return false;
}

/* How the client gets the body (RFC 9112 6). */
static enum http_body client_framing(const struct exchange *x)
{
    enum http_body b = (enum http_body)x->response->body;

    if (x->asking && x->method_id == HTTP_METHOD_HEAD)
        return HTTP_BODY_NONE; /* the question was a GET: its answer may have a body */
    if (b != HTTP_BODY_CHUNKED && b != HTTP_BODY_UNTIL_CLOSE)
        return b;
    return x->client_minor && !x->conn->side ? HTTP_BODY_CHUNKED : HTTP_BODY_UNTIL_CLOSE;
}

static enum flow response_head(struct gather *g)
{
    struct exchange *x = g->x;
    struct http_head *h = x->response;
    bool interim = h->status < 200 && h->status != 101;

    time_ns now = ev_now(x->conn->service->shard->loop);

    if (h->status == 101 && !same_upgrade(x))
        return upstream_fault(x, "it switched to another protocol than was asked for");
    if (interim && (!x->client_minor || x->asking))
        return FLOW_DONE; /* HTTP/1.0 knows none (RFC 9110 15.2) */
    if (x->asking && auth_take_answer(x, now))
        return FLOW_DONE;
    if (!interim) {
        x->status = h->status;
        x->up_reusable = h->keep_alive;
        if (!x->asking)
            count_answer(x, now);
        x->out_framing = (uint8_t)client_framing(x);
        /* Answered before any of its body came: it may never come, and what comes next could be either. */
        if (x->out_framing == HTTP_BODY_UNTIL_CLOSE || !service_for_next(x->conn->service) ||
            (!x->request_done && !x->bytes_in && h->status != 101))
            x->keep = false;
    }
    if (headers_for_client(x))
        return upstream_fault(x, "its response has too many header fields");
    gather_head(g, h, false);
    return h->status == 101 ? FLOW_TUNNEL : FLOW_DONE;
}

/* A body that nobody gets: of a granting answer, or of a denial of HEAD. */
static void throw_away(struct exchange *x, struct span body)
{
    x->auth_bytes += (uint32_t)body.len;
    if (x->auth_bytes <= AUTH_BODY_BYTES_MAX)
        return;
    x->response_done = true;
    x->up_reusable = false;
}

static void response_end(struct gather *g)
{
    struct exchange *x = g->x;

    if (x->out_framing == HTTP_BODY_CHUNKED)
        gather_add(g, span_from_str("0\r\n\r\n"));
    x->response_done = true;
}

static enum flow response_event(struct gather *g, const struct http1_event *ev)
{
    struct exchange *x = g->x;

    switch (ev->kind) {
    case HTTP1_HEAD:
        return response_head(g);
    case HTTP1_BODY:
        if (x->asking && x->out_framing == HTTP_BODY_NONE) {
            throw_away(x, ev->bytes);
            break;
        }
        x->bytes_out += ev->bytes.len;
        gather_body(g, (enum http_body)x->out_framing, ev->bytes);
        break;
    case HTTP1_TRAILERS:
        if (x->out_framing != HTTP_BODY_CHUNKED && !x->conn->side)
            break;
        trailers_filter(ev->trailers);
        if (x->conn->side) {
            h2_keep_trailers(x, ev->trailers);
            break;
        }
        gather_add(g, span_from_str("0\r\n"));
        gather_head(g, ev->trailers, true);
        x->out_framing = HTTP_BODY_NONE;
        break;
    case HTTP1_END:
        response_end(g);
        break;
    case HTTP1_MORE:
        break;
    }
    return FLOW_DONE;
}

static enum flow parse_response(struct gather *g, struct span in)
{
    struct exchange *x = g->x;
    struct http1_event ev;
    enum flow f = FLOW_DONE, one;
    int fault;

    do {
        fault = http1_next(&x->up_reader, &in, &ev);
        if (fault)
            return upstream_fault(x, fault > 0 ? http1_fault_text((enum http1_fault)fault) : "out of memory");
        one = response_event(g, &ev);
        if (one != FLOW_DONE)
            f = one;
    } while (ev.kind != HTTP1_MORE && ev.kind != HTTP1_END && f != FLOW_UPSTREAM_FAILED && !x->response_done);
    if (x->response_done && in.len)
        x->up_reusable = false; /* bytes that belong to no request of ours */
    return f;
}

static enum flow upstream_ended(struct gather *g, ssize_t n)
{
    struct exchange *x = g->x;
    struct http1_event ev;

    if (n < 0)
        return failure(x, false);
    x->up_reusable = false;
    if (http1_finish(&x->up_reader, &ev))
        return upstream_fault(x, "it broke off in the middle of its response");
    if (ev.kind != HTTP1_END)
        return upstream_fault(x, "it closed the connection without a response");
    response_end(g);
    return FLOW_DONE;
}

static enum flow read_response(struct exchange *x)
{
    struct upstream *u = x->up;
    uint8_t *room = x->conn->service->shard->in;
    ssize_t n = stream_read(u->stream, room, x->out.read_bytes);
    struct gather g;
    enum flow f;

    if (n == -EAGAIN) {
        u->readable = false;
        return FLOW_BLOCKED;
    }
    x->response_begun |= n > 0;
    gather_begin(&g, x, true);
    f = n > 0 ? parse_response(&g, span_make(room, (size_t)n)) : upstream_ended(&g, n);
    gather_flush(&g);
    return f != FLOW_DONE ? f : g.flow;
}

enum flow pump_response(struct exchange *x)
{
    for (int reads = 0; reads < READS_PER_STEP; reads++) {
        enum flow f = way_flush(x, true);

        if (f != FLOW_DONE || x->response_done)
            return f;
        if (!x->up->readable)
            return FLOW_BLOCKED;
        f = read_response(x);
        if (f != FLOW_DONE)
            return f;
    }
    return FLOW_MORE;
}

/* ---- raw bytes both ways ------------------------------------------------------------------ */

/* One read of one direction. FLOW_MORE: bytes were moved. */
static enum flow move_raw(struct exchange *x, bool to_client)
{
    struct conn *c = x->conn;
    struct way *w = to_client ? &x->out : &x->in;
    bool *readable = to_client ? &x->up->readable : &c->readable;
    struct span part = to_client ? SPAN_NONE : buf_span(&x->ahead);
    size_t ahead = part.len;
    enum flow f;
    ssize_t n;

    if (!ahead && !*readable)
        return FLOW_BLOCKED;
    if (!ahead) {
        n = stream_read(to_client ? x->up->stream : c->stream, c->service->shard->in, w->read_bytes);
        if (n == -EAGAIN) {
            *readable = false;
            return FLOW_BLOCKED;
        }
        if (n < 0)
            return failure(x, !to_client);
        w->source_ended = n == 0;
        part = span_make(c->service->shard->in, (size_t)n);
    }
    *(to_client ? &x->bytes_out : &x->bytes_in) += part.len;
    f = way_write(x, to_client, &part, part.len ? 1 : 0);
    buf_consume(&x->ahead, ahead);
    return f == FLOW_DONE ? FLOW_MORE : f;
}

static enum flow pump_raw(struct exchange *x, bool to_client)
{
    struct way *w = to_client ? &x->out : &x->in;

    for (int reads = 0; reads < READS_PER_STEP; reads++) {
        enum flow f = way_flush(x, to_client);

        if (f != FLOW_DONE)
            return f;
        if (w->source_ended && !w->shut)
            stream_shutdown(to_client ? x->conn->stream : x->up->stream);
        w->shut |= w->source_ended;
        if (w->shut)
            return FLOW_DONE;
        f = move_raw(x, to_client);
        if (f != FLOW_MORE)
            return f;
    }
    return FLOW_MORE;
}

enum flow pump_tunnel(struct exchange *x)
{
    enum flow a = pump_raw(x, true), b;

    if (a == FLOW_CLIENT_FAILED || a == FLOW_UPSTREAM_FAILED)
        return a;
    b = pump_raw(x, false);
    if (b == FLOW_CLIENT_FAILED || b == FLOW_UPSTREAM_FAILED)
        return b;
    if (a == FLOW_MORE || b == FLOW_MORE)
        return FLOW_MORE;
    return a == FLOW_DONE && b == FLOW_DONE ? FLOW_DONE : FLOW_BLOCKED;
}

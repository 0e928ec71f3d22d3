/* The bodies of a request and its response, from one side to the other */
#include "proxy/client.h"

#include <errno.h>
#include <stdio.h>

/* ---- the request, from the client to the upstream -------------------------------------- */

void pump_request_event(struct gather *g, const struct http1_event *ev)
{
    struct exchange *x = g->x;

    switch (ev->kind) {
    case HTTP1_BODY:
        x->bytes_in += ev->bytes.len;
        gather_body(g, (enum http_body)x->in_framing, ev->bytes);
        break;
    case HTTP1_TRAILERS:
        trailers_filter(ev->trailers);
        gather_trailers(g, ev->trailers);
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

enum flow pump_request(struct exchange *x, int *fault)
{
    for (int reads = 0; reads < READS_PER_STEP; reads++) {
        enum flow f = way_flush(x, false);
        struct gather g;

        if (f != FLOW_DONE || (x->head_sent && x->request_done))
            return f;
        gather_begin(&g, x, false);
        if (!x->head_sent)
            gather_head(&g, x->request);
        x->head_sent = true;
        if (!x->request_done)
            f = x->conn->client->take_body(&g, fault);
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

/* Over HTTP/2 a 2xx says that the tunnel is there (RFC 8441 5): one without it must not look so. */
static bool looks_like_a_tunnel(const struct exchange *x)
{
    return x->conn->client->multiplexed && x->response->status / 100 == 2 &&
           http_head_find(x->request, HTTP_FIELD_UPGRADE, 0) >= 0;
}

/* How the client gets the body (RFC 9112 6). */
static enum http_body client_framing(const struct exchange *x)
{
    enum http_body b = (enum http_body)x->response->body;

    if (x->asking && x->method_id == HTTP_METHOD_HEAD)
        return HTTP_BODY_NONE; /* the question was a GET: its answer may have a body */
    if (b != HTTP_BODY_CHUNKED && b != HTTP_BODY_UNTIL_CLOSE)
        return b;
    return x->client_minor && !x->conn->client->multiplexed ? HTTP_BODY_CHUNKED : HTTP_BODY_UNTIL_CLOSE;
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
    if (looks_like_a_tunnel(x))
        return upstream_fault(x, "it answered without switching to the protocol that was asked for");
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
    x->conn->client->put_head(g, h);
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
        trailers_filter(ev->trailers);
        x->conn->client->put_trailers(g, ev->trailers);
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
        return way_failure(x, false);
    x->up_reusable = false;
    if (http1_finish(&x->up_reader, &ev))
        return upstream_fault(x, "it broke off in the middle of its response");
    if (ev.kind != HTTP1_END)
        return upstream_fault(x, "it closed the connection without a response");
    response_end(g);
    return FLOW_DONE;
}

/* A body that goes on as it comes is read to where the client's stream sends it from; everything else to the
 * shard's buffer. Returns how much to read, or -EAGAIN: the client takes nothing now. */
static ssize_t response_room(struct exchange *x, uint8_t **at)
{
    uint64_t left = x->asking || x->out_framing != HTTP_BODY_LENGTH ? 0 : http1_body_left(&x->up_reader);
    ssize_t n = left ? stream_place(x->conn->stream, (size_t)MIN(left, (uint64_t)x->out.read_bytes), at) : 0;

    if (n) {
        x->conn->writable = n > 0;
        return n;
    }
    *at = x->conn->service->shard->in;
    return (ssize_t)x->out.read_bytes;
}

static enum flow read_response(struct exchange *x)
{
    struct upstream *u = x->up;
    uint8_t *room;
    ssize_t n = response_room(x, &room);
    struct gather g;
    enum flow f;

    if (n == -EAGAIN)
        return FLOW_BLOCKED;
    n = stream_read(u->stream, room, (size_t)n);
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

/* One request and its response: its life, and which step is next */
#include "proxy/steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- life -------------------------------------------------------------------- */

static void way_reset(struct way *w)
{
    buf_clear(&w->pending);
    buf_trim(&w->pending);
    w->read_bytes = READ_BYTES;
    w->source_ended = w->shut = false;
}

/* Everything that belongs to one request. The heads are there. */
static void set_up(struct exchange *x, time_ns now)
{
    struct http1_limits limits = { .head_bytes = x->conn->service->head_bytes_max };

    way_reset(&x->in);
    way_reset(&x->out);
    buf_clear(&x->line);
    http1_init(&x->reader, HTTP1_READS_REQUESTS, x->request, &limits);
    http1_init(&x->up_reader, HTTP1_READS_RESPONSES, x->response, NULL);
    x->state = EXCHANGE_HEAD;
    x->began = x->asked = now;
    x->answered = 0;
    x->bytes_in = x->bytes_out = 0;
    x->status = 0;
    x->keep = x->repeatable = x->retried = x->connected = x->head_sent = x->request_done = false;
    x->response_begun = x->response_done = x->up_reusable = false;
    x->asking = x->granted = x->bypassed = false;
    x->auth_bytes = 0;
    x->stripped = 0;
    buf_clear(&x->cookies);
    x->in_framing = x->out_framing = HTTP_BODY_NONE;
    x->method_id = HTTP_METHOD_OTHER;
    x->client_minor = 1;
    x->why[0] = '\0';
    conn_deadline(x->conn, now + x->conn->service->read_header_timeout);
}

static bool borrow_heads(struct exchange *x)
{
    struct proxy_shard *shard = x->conn->service->shard;

    if (!x->request)
        x->request = head_take(shard);
    if (!x->response)
        x->response = head_take(shard);
    return x->request && x->response;
}

static void give_heads_back(struct exchange *x)
{
    head_give_back(x->conn->service->shard, &x->request);
    head_give_back(x->conn->service->shard, &x->response);
}

struct exchange *exchange_begin(struct conn *c, time_ns now)
{
    struct proxy_shard *shard = c->service->shard;
    struct list *spare = list_pop_front(&shard->spare_exchanges);
    struct exchange *x = spare ? LIST_ENTRY(spare, struct exchange, link) : calloc(1, sizeof(*x));

    if (!x)
        return NULL;
    if (spare) {
        shard->spare_exchange_count--;
    } else {
        buf_init(&x->ahead, AHEAD_BYTES_MAX);
        buf_init(&x->in.pending, PENDING_BYTES_MAX);
        buf_init(&x->out.pending, PENDING_BYTES_MAX);
        buf_init(&x->line, LOG_TEXT_MAX);
        buf_init(&x->cookies, COOKIES_BYTES_MAX);
    }
    x->conn = c;
    c->service->counters.active++;
    if (!borrow_heads(x)) {
        exchange_end(x, now);
        return NULL;
    }
    set_up(x, now);
    return x;
}

int exchange_restart(struct exchange *x, time_ns now)
{
    upstream_release(x, false, now);
    http1_deinit(&x->reader);
    http1_deinit(&x->up_reader);
    if (!borrow_heads(x))
        return -ENOMEM;
    set_up(x, now);
    return 0;
}

void exchange_end(struct exchange *x, time_ns now)
{
    struct proxy_shard *shard = x->conn->service->shard;

    upstream_release(x, false, now);
    x->conn->service->counters.active--;
    x->conn->x = NULL;
    http1_deinit(&x->reader);
    http1_deinit(&x->up_reader);
    give_heads_back(x);
    if (shard->spare_exchange_count < SPARES_MAX) {
        buf_clear(&x->ahead);
        buf_trim(&x->ahead);
        way_reset(&x->in);
        way_reset(&x->out);
        buf_clear(&x->cookies);
        buf_trim(&x->cookies);
        list_push_front(&shard->spare_exchanges, &x->link);
        shard->spare_exchange_count++;
        return;
    }
    exchange_free(x);
}

void exchange_free(struct exchange *x)
{
    buf_deinit(&x->ahead);
    buf_deinit(&x->in.pending);
    buf_deinit(&x->out.pending);
    buf_deinit(&x->line);
    buf_deinit(&x->cookies);
    free(x);
}

/* ---- what all states share ---------------------------------------------------- */

enum step exchange_watch_client(struct exchange *x, time_ns now)
{
    struct conn *c = x->conn;
    ssize_t n;

    if (!x->request_done || !c->edge)
        return STEP_AGAIN;
    c->edge = false;
    if (c->read_ended || x->ahead.len >= AHEAD_READ_BYTES)
        return STEP_AGAIN;
    n = conn_read(c, c->service->shard->in, AHEAD_READ_BYTES);
    if (n > 0)
        return buf_append(&x->ahead, span_make(c->service->shard->in, (size_t)n)) ? STEP_ABORT : STEP_AGAIN;
    if (n == -EAGAIN) {
        c->readable = false;
        return STEP_AGAIN;
    }
    if (n < 0)
        return exchange_client_left(x, now);
    c->read_ended = true;
    if (!x->status && c->deadline > now + PROXY_HALF_CLOSED_TIMEOUT)
        conn_deadline(c, now + PROXY_HALF_CLOSED_TIMEOUT);
    return STEP_AGAIN;
}

enum step exchange_rest(struct exchange *x)
{
    if (x->status && x->request) {
        http1_lend(&x->reader, NULL);
        http1_lend(&x->up_reader, NULL);
        give_heads_back(x);
    }
    return STEP_WAIT;
}

/* ---- ends --------------------------------------------------------------------- */

enum step exchange_leave(struct exchange *x, time_ns now)
{
    struct conn *c = x->conn;

    log_end(x, now);
    if (!x->request_done)
        return STEP_LINGER;
    if (x->keep && !c->read_ended)
        return STEP_NEXT;
    return x->ahead.len ? STEP_LINGER : STEP_CLOSE;
}

enum step exchange_client_left(struct exchange *x, time_ns now)
{
    snprintf(x->why, sizeof(x->why), "the client went away");
    x->conn->service->counters.client_aborts++;
    log_end(x, now);
    return STEP_ABORT;
}

enum step exchange_complete(struct exchange *x, time_ns now)
{
    bool reusable = x->up_reusable && x->request_done && x->head_sent && !x->in.pending.len;

    upstream_release(x, reusable, now);
    return exchange_leave(x, now);
}

/* ---- steps -------------------------------------------------------------------- */

static enum step reply_step(struct exchange *x, time_ns now)
{
    enum flow f = way_flush(x, true);

    if (f == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    return f == FLOW_DONE ? exchange_leave(x, now) : STEP_WAIT;
}

enum step exchange_step(struct exchange *x, struct span in, time_ns now)
{
    switch ((enum exchange_state)x->state) {
    case EXCHANGE_HEAD:
        return request_step(x, in, now);
    case EXCHANGE_AUTH:
        return ask_step(x, now);
    case EXCHANGE_FORWARD:
        return forward_step(x, now);
    case EXCHANGE_TUNNEL:
        return tunnel_step(x, now);
    case EXCHANGE_REPLY:
        return reply_step(x, now);
    }
    return STEP_ABORT;
}

enum step exchange_timeout(struct exchange *x, time_ns now)
{
    switch ((enum exchange_state)x->state) {
    case EXCHANGE_HEAD:
        if (http1_between_messages(&x->reader))
            return STEP_CLOSE;
        log_begin(x, SPAN_NONE);
        return exchange_refuse(x, 408, "the request took too long to arrive", now);
    case EXCHANGE_AUTH:
        x->retried = true; /* the limit is for the question, however often it is asked */
        snprintf(x->why, sizeof(x->why), "no answer in time");
        return exchange_auth_failed(x, now);
    case EXCHANGE_FORWARD:
        if (x->queued_at || x->promised_by)
            return exchange_too_busy(x, 504, now);
        if (!x->connected || !x->conn->read_ended) {
            snprintf(x->why, sizeof(x->why), "no answer in time");
            return exchange_upstream_failed(x, x->connected ? 504 : 502, now);
        }
        return exchange_client_left(x, now);
    case EXCHANGE_TUNNEL:
        log_end(x, now);
        return STEP_CLOSE;
    case EXCHANGE_REPLY:
        return exchange_client_left(x, now);
    }
    return STEP_ABORT;
}

#include <errno.h>
#include <stdlib.h>

#include "proxy/client.h"
#include "proxy/h2.h"

void conn_ready(struct conn *c)
{
    struct proxy_shard *shard = c->service->shard;

    if (list_linked(&c->ready_link))
        return;
    list_push_back(&shard->ready, &c->ready_link);
    ev_task_post(&shard->run);
}

/* The timer is only touched when it would run out too late: a busy connection moves its deadline a lot. */
void conn_deadline(struct conn *c, time_ns at)
{
    c->deadline = at;
    if (at != TIME_NEVER && (!ev_timer_running(&c->timer) || c->timer.at > at))
        ev_timer_set(&c->timer, at);
}

void conn_close(struct conn *c, bool abort, time_ns now)
{
    struct proxy_service *s = c->service;

    h2_free(c->h2, now);
    if (c->x)
        exchange_end(c->x, now);
    ev_timer_stop(&c->timer);
    list_remove(&c->ready_link);
    list_remove(&c->link);
    if (abort)
        stream_abort(c->stream);
    else
        stream_close(c->stream);
    if (!c->client->multiplexed) {
        s->shard->connections--;
        s->counters.open--;
    }
    free(c);
    if (s->draining && list_empty(&s->conns))
        ev_task_post(&s->drained);
}

void conn_move(struct conn *c, struct proxy_service *to)
{
    struct proxy_service *from = c->service;

    must(c->state == CONN_IDLE && !c->x);
    list_remove(&c->link);
    list_push_back(&to->conns, &c->link);
    from->counters.open--;
    to->counters.open++;
    c->service = to;
    if (from->draining && list_empty(&from->conns))
        ev_task_post(&from->drained);
}

static void on_event(struct stream *stream, unsigned events, time_ns now)
{
    struct conn *c = stream->owner;

    if ((events & STREAM_FAILED) && c->shaking_hands)
        count_tls_failed(c, false, now);
    if (events & (STREAM_CONNECTED | STREAM_FAILED))
        c->shaking_hands = false;
    if ((events & STREAM_CONNECTED) && c->state == CONN_IDLE) {
        conn_deadline(c, now + c->service->idle_timeout); /* the handshake, if there was one, is done */
        if (c->arrival.protocol == PROXY_BY_ALPN && span_equal_str(tls_stream_alpn(stream), "h2"))
            c->failed |= !h2_begin(c, now);
    }
    if (events & STREAM_READABLE)
        c->readable = c->edge = true;
    c->writable |= (events & STREAM_WRITABLE) != 0;
    c->failed |= (events & STREAM_FAILED) != 0;
    conn_ready(c);
}

/* ---- steps by state ------------------------------------------------------------------ */

static void linger(struct conn *c, time_ns now)
{
    if (c->x)
        exchange_end(c->x, now);
    c->state = CONN_LINGER;
    stream_shutdown(c->stream);
    conn_deadline(c, now + PROXY_LINGER_TIMEOUT);
    conn_ready(c);
}

static void linger_step(struct conn *c, time_ns now)
{
    struct proxy_shard *shard = c->service->shard;
    ssize_t n = 0;

    while (c->lingered < LINGER_BYTES_MAX && (n = conn_read(c, shard->in, READ_BYTES)) > 0)
        c->lingered += (uint32_t)n;
    if (n != -EAGAIN)
        conn_close(c, false, now);
}

/* The exchange is over, the connection is not. What the client sent behind its request is the next one. */
static void next_request(struct conn *c, time_ns now)
{
    struct proxy_service *next = service_for_next(c->service);

    /* A stream carries one request. One that waits behind this one belongs to this exchange, and that to the
     * old service. */
    if (c->client->multiplexed || !next || (next != c->service && c->x->ahead.len)) {
        conn_close(c, false, now);
        return;
    }
    if (c->x->ahead.len) {
        if (exchange_restart(c->x, now))
            conn_close(c, true, now);
        else
            conn_ready(c);
        return;
    }
    exchange_end(c->x, now);
    c->state = CONN_IDLE;
    if (next != c->service)
        conn_move(c, next);
    conn_deadline(c, now + c->service->idle_timeout);
    if (c->readable || c->read_ended)
        conn_ready(c);
}

static void take_step(struct conn *c, enum step step, time_ns now)
{
    switch (step) {
    case STEP_WAIT:
        break;
    case STEP_AGAIN:
        conn_ready(c);
        break;
    case STEP_NEXT:
        next_request(c, now);
        break;
    case STEP_CLOSE:
        conn_close(c, false, now);
        break;
    case STEP_LINGER:
        linger(c, now);
        break;
    case STEP_ABORT:
        conn_close(c, true, now);
        break;
    }
}

/* Nothing is allocated for a client before its first byte. */
static void idle_step(struct conn *c, time_ns now)
{
    struct proxy_shard *shard = c->service->shard;
    ssize_t n = c->read_ended ? 0 : conn_read(c, shard->in, READ_BYTES);

    if (n == -EAGAIN) {
        c->readable = false;
        return;
    }
    if (n > 0)
        c->x = exchange_begin(c, now);
    if (!c->x) { /* the end, an error, or no memory */
        conn_close(c, false, now);
        return;
    }
    c->state = CONN_REQUEST;
    take_step(c, exchange_step(c->x, span_make(shard->in, (size_t)n), now), now);
}

static void conn_step(struct conn *c, time_ns now)
{
    if (c->failed && c->state == CONN_REQUEST) {
        take_step(c, exchange_client_left(c->x, now), now);
        return;
    }
    if (c->failed && c->state != CONN_H2) {
        conn_close(c, false, now);
        return;
    }
    switch ((enum conn_state)c->state) {
    case CONN_IDLE:
        idle_step(c, now);
        break;
    case CONN_REQUEST:
        take_step(c, exchange_step(c->x, SPAN_NONE, now), now);
        break;
    case CONN_H2:
        h2_step(c, now);
        break;
    case CONN_LINGER:
        linger_step(c, now);
        break;
    }
}

void conn_run(struct ev_task *task, time_ns now)
{
    struct proxy_shard *shard = CONTAINER_OF(task, struct proxy_shard, run);
    struct list batch, *node;

    list_init(&batch);
    list_splice_back(&batch, &shard->ready); /* what gets ready meanwhile has its turn in the next run */
    while ((node = list_pop_front(&batch))) {
        struct conn *c = LIST_ENTRY(node, struct conn, ready_link);

        account_switch(c->service->charge);
        conn_step(c, now);
    }
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);

    account_switch(c->service->charge);
    if (c->deadline > now) {
        conn_deadline(c, c->deadline);
        return;
    }
    c->deadline = TIME_NEVER;
    if (c->shaking_hands)
        count_tls_failed(c, true, now);
    if (c->state == CONN_REQUEST)
        take_step(c, exchange_timeout(c->x, now), now);
    else if (c->state == CONN_H2)
        h2_timeout(c, now);
    else
        conn_close(c, false, now);
}

struct conn *conn_new(struct proxy_service *service, const struct proxy_arrival *arrival)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->service = service;
    c->client = &http1_client;
    c->arrival = *arrival;
    c->writable = true;
    ev_timer_init(&c->timer, service->shard->loop, on_timer);
    list_push_back(&service->conns, &c->link);
    return c;
}

/* ---- the door ---------------------------------------------------------------------------- */

void proxy_accept(struct proxy_service *service, struct stream *downstream,
                  const struct proxy_arrival *arrival)
{
    struct proxy_shard *shard = service->shard;
    time_ns now = ev_now(shard->loop);
    struct conn *c = NULL;

    if (!service->draining && shard->connections < PROXY_CONNECTIONS_MAX)
        c = conn_new(service, arrival);
    if (!c) {
        stream_abort(downstream);
        return;
    }
    c->stream = downstream;
    c->readable = true;
    c->shaking_hands = arrival->protocol == PROXY_BY_ALPN;
    shard->connections++;
    service->counters.connections++;
    service->counters.open++;
    stream_set_owner(downstream, c, on_event);
    conn_deadline(c, now + MIN(service->read_header_timeout, service->idle_timeout));
    if (arrival->protocol == PROXY_HTTP2)
        c->failed |= !h2_begin(c, now);
    conn_ready(c);
}

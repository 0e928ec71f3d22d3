/* To the upstream and back: a connection, the head, both bodies */
#include "proxy/steps.h"

#include <stdio.h>

static enum step open_upstream(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    enum step step;
    int r;

    if (!x->queued_at)
        x->asked = now;
    r = upstream_open(x, &s->backend, x->retried);
    if (r == UPSTREAM_E_FULL)
        return exchange_too_busy(x, 503, now);
    if (r == UPSTREAM_E_WAIT) {
        conn_deadline(x->conn, x->asked + s->backend.queue_timeout);
        step = exchange_watch_client(x, now);
        return step == STEP_AGAIN ? STEP_WAIT : step;
    }
    if (r) {
        snprintf(x->why, sizeof(x->why), "%s", err_text(r));
        return exchange_upstream_failed(x, 502, now);
    }
    conn_deadline(x->conn, now + s->backend.connect_timeout);
    return STEP_AGAIN;
}

/* STEP_AGAIN: connected. */
static enum step await_connection(struct exchange *x, time_ns now)
{
    char text[STREAM_FAILURE_BYTES];
    time_ns limit = x->conn->service->response_timeout;

    if (x->up->failed) {
        snprintf(x->why, sizeof(x->why), "%s", stream_failure(x->up->stream, text));
        return exchange_upstream_failed(x, 502, now);
    }
    if (!x->up->connected)
        return STEP_WAIT;
    x->connected = true;
    conn_deadline(x->conn, limit ? now + limit : TIME_NEVER);
    return STEP_AGAIN;
}

/* The body of a request turned out malformed. */
static enum step body_fault(struct exchange *x, int fault, time_ns now)
{
    upstream_release(x, false, now);
    if (!x->status)
        return request_fault(x, fault, now);
    return exchange_client_left(x, now);
}

enum step forward_step(struct exchange *x, time_ns now)
{
    enum flow response = FLOW_BLOCKED, request;
    enum step step = STEP_AGAIN;
    int fault = 0;

    if (!x->up)
        step = open_upstream(x, now);
    if (step == STEP_AGAIN && x->up && !x->connected)
        step = await_connection(x, now);
    if (step == STEP_AGAIN)
        step = exchange_watch_client(x, now);
    if (step != STEP_AGAIN || !x->up)
        return step;
    if (x->head_sent)
        response = pump_response(x);
    if (response == FLOW_DONE && x->response_done)
        return exchange_complete(x, now);
    request = response == FLOW_BLOCKED || response == FLOW_MORE || response == FLOW_DONE
                  ? pump_request(x, &fault)
                  : FLOW_BLOCKED;
    if (response == FLOW_TUNNEL)
        return tunnel_begin(x);
    if (response == FLOW_CLIENT_FAILED || request == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    if (response == FLOW_UPSTREAM_FAILED || request == FLOW_UPSTREAM_FAILED)
        return exchange_upstream_failed(x, 502, now);
    if (request == FLOW_FAULT)
        return body_fault(x, fault, now);
    if (x->status)
        conn_deadline(x->conn,
                      TIME_NEVER); /* a body may take its time; who has gone is found out by writing */
    return response == FLOW_MORE || request == FLOW_MORE ? STEP_AGAIN : exchange_rest(x);
}

/* Asking the auth server: the steps. What is asked and what an answer means: auth.c */
#include "proxy/steps.h"

#include <stdio.h>

/* STEP_AGAIN: it is on its way. */
static enum step open_auth(struct exchange *x, time_ns now)
{
    int r = upstream_open(x, &x->conn->service->auth->backend, x->retried);
    enum step step;

    if (!r)
        return STEP_AGAIN;
    if (r == UPSTREAM_E_WAIT) {
        step = exchange_watch_client(x, now);
        return step == STEP_AGAIN ? STEP_WAIT : step;
    }
    snprintf(x->why, sizeof(x->why), "%s", r == UPSTREAM_E_FULL ? "too many questions wait" : err_text(r));
    return exchange_auth_failed(x, now);
}

/* FLOW_DONE: the question is out. */
static enum flow send_question(struct exchange *x)
{
    struct buf *out = &x->conn->service->shard->out;
    struct span part;

    if (x->head_sent)
        return way_flush(x, false);
    x->head_sent = true;
    if (auth_question(x, out)) {
        snprintf(x->why, sizeof(x->why), "the question is too long");
        return FLOW_UPSTREAM_FAILED;
    }
    part = buf_span(out);
    return way_write(x, false, &part, 1);
}

/* The answer was read to its end. */
static enum step auth_complete(struct exchange *x, time_ns now)
{
    bool reusable = x->up_reusable && !x->in.pending.len;

    if (!x->granted)
        return exchange_complete(x, now);
    upstream_release(x, reusable, now);
    buf_clear(&x->in.pending);
    http1_deinit(&x->up_reader);
    x->asking = x->connected = x->head_sent = x->retried = false;
    x->response_begun = x->response_done = x->up_reusable = false;
    http1_init(&x->up_reader, HTTP1_READS_RESPONSES, x->response, NULL);
    return request_pass(x, x->response, now);
}

enum step ask_step(struct exchange *x, time_ns now)
{
    enum flow answer = FLOW_BLOCKED, question;
    char text[STREAM_FAILURE_BYTES];
    enum step step = x->up ? STEP_AGAIN : open_auth(x, now);

    if (step != STEP_AGAIN || !x->up)
        return step;
    if (x->up->failed && !x->connected) {
        snprintf(x->why, sizeof(x->why), "%s", stream_failure(x->up->stream, text));
        return exchange_auth_failed(x, now);
    }
    step = exchange_watch_client(x, now);
    if (step != STEP_AGAIN || !x->up->connected)
        return step == STEP_AGAIN ? STEP_WAIT : step;
    x->connected = true;
    question = send_question(x);
    if (question != FLOW_UPSTREAM_FAILED)
        answer = pump_response(x);
    if (answer == FLOW_DONE && x->response_done)
        return auth_complete(x, now);
    if (answer == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    if (answer == FLOW_UPSTREAM_FAILED || question == FLOW_UPSTREAM_FAILED)
        return exchange_auth_failed(x, now);
    return answer == FLOW_MORE ? STEP_AGAIN : exchange_rest(x);
}

enum step ask_begin(struct exchange *x, time_ns now)
{
    time_ns limit = x->conn->service->auth->timeout;

    x->state = EXCHANGE_AUTH;
    x->asking = true;
    x->asked = now;
    conn_deadline(x->conn, limit ? now + limit : TIME_NEVER);
    http1_expect(&x->up_reader, false, false);
    return ask_step(x, now);
}

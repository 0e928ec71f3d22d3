/* When a request cannot be served: what the client is told, and what the log */
#include "proxy/steps.h"

#include <stdio.h>

#include "proxy/client.h"

enum step exchange_answer(struct exchange *x, int status, struct span location, const char *sentence,
                          time_ns now)
{
    enum flow f = answer(x, status, location, sentence);

    if (f == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    if (f == FLOW_DONE)
        return exchange_leave(x, now);
    conn_deadline(x->conn, now + x->conn->service->idle_timeout);
    return STEP_WAIT;
}

enum step exchange_refuse(struct exchange *x, int status, const char *sentence, time_ns now)
{
    x->conn->service->counters.refused++;
    if (!x->why[0])
        snprintf(x->why, sizeof(x->why), "%s", sentence);
    return exchange_answer(x, status, SPAN_NONE, sentence, now);
}

static void tell(const struct exchange *x, const char *what, struct backend *b, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    uint32_t held_back;

    count_failure(b, x->why, now);
    if (!log_limit_pass(&s->error_lines, now, &held_back))
        return;
    if (held_back)
        log_warn(s->name, "%s: %s: %s (lines held back before this one: %u)", what, b->to.text, x->why,
                 held_back);
    else
        log_warn(s->name, "%s: %s: %s", what, b->to.text, x->why);
}

/* Once, and only if nothing can have happened there, the request goes out again on a new connection: one that
 * was kept open had died. */
static bool try_again(struct exchange *x, time_ns now)
{
    if (!x->up || !x->up->reused || x->response_begun || x->retried)
        return false;
    x->retried = true;
    x->conn->service->counters.upstream_retries++;
    upstream_release(x, false, now);
    buf_clear(&x->in.pending);
    x->head_sent = x->connected = false;
    x->why[0] = '\0';
    return true;
}

/* The head is out, the body will not be complete: nobody may take the part for the whole. HTTP/1 shows that
 * by its framing, where it has one. */
static enum step cut_off(const struct exchange *x)
{
    return x->conn->client->multiplexed || x->out_framing == HTTP_BODY_UNTIL_CLOSE ? STEP_ABORT : STEP_CLOSE;
}

enum step exchange_upstream_failed(struct exchange *x, int status, time_ns now)
{
    if (status == 502 && x->repeatable && try_again(x, now))
        return STEP_AGAIN;
    x->conn->service->counters.proxy_errors++;
    tell(x, "proxy error", &x->conn->service->backend, now);
    if (!x->status) {
        upstream_release(x, false, now);
        return exchange_answer(x, status, SPAN_NONE,
                               status == 504 ? "The service behind this name takes too long."
                                             : "The service behind this name does not answer.",
                               now);
    }
    log_end(x, now);
    return cut_off(x);
}

enum step exchange_too_busy(struct exchange *x, int status, time_ns now)
{
    snprintf(x->why, sizeof(x->why),
             status == 503 ? "too many requests wait for a connection" : "no connection became free in time");
    if (status != 503)
        x->conn->service->counters.upstream_refusals++;
    upstream_release(x, false, now);
    return exchange_answer(x, status, SPAN_NONE,
                           status == 503
                               ? "The service behind this name is busy: too many requests wait already."
                               : "The service behind this name is busy: no connection became free.",
                           now);
}

enum step exchange_auth_failed(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;

    if (!x->granted && !x->status && try_again(x, now))
        return STEP_AGAIN;
    if (!x->status)
        count_auth(s, PROXY_AUTH_ERROR, now - x->asked);
    tell(x, "auth request failed", &s->auth->backend, now);
    if (x->status) {
        log_end(x, now);
        return cut_off(x);
    }
    upstream_release(x, false, now);
    return exchange_answer(x, 502, SPAN_NONE, "Authorization service unavailable", now);
}

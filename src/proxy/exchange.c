#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/h2.h"

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

static enum step forward_step(struct exchange *x, time_ns now);
static enum step auth_step(struct exchange *x, time_ns now);

/* ---- ends ------------------------------------------------------------------------ */

/* The answer is written: what becomes of the connection? */
static enum step leave(struct exchange *x, time_ns now)
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

/* An answer of our own instead of the upstream's. */
static enum step answer_and_wait(struct exchange *x, int status, struct span location, const char *sentence,
                                 time_ns now)
{
    enum flow f = answer(x, status, location, sentence);

    if (f == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    if (f == FLOW_DONE)
        return leave(x, now);
    conn_deadline(x->conn, now + x->conn->service->idle_timeout);
    return STEP_WAIT;
}

static enum step refuse(struct exchange *x, int status, const char *sentence, time_ns now)
{
    x->conn->service->counters.refused++;
    if (!x->why[0])
        snprintf(x->why, sizeof(x->why), "%s", sentence);
    return answer_and_wait(x, status, SPAN_NONE, sentence, now);
}

static void tell_error(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    uint32_t held_back;

    s->counters.proxy_errors++;
    count_failure(&s->backend, x->why, now);
    if (!log_limit_pass(&s->error_lines, now, &held_back))
        return;
    if (held_back)
        log_warn(s->name, "proxy error: %s: %s (%u more lines were held back)", s->backend.to.text, x->why,
                 held_back);
    else
        log_warn(s->name, "proxy error: %s: %s", s->backend.to.text, x->why);
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
    return x->conn->side || x->out_framing == HTTP_BODY_UNTIL_CLOSE ? STEP_ABORT : STEP_CLOSE;
}

/* The upstream did not deliver; x->why says how. */
static enum step upstream_failed(struct exchange *x, int status, time_ns now)
{
    if (status == 502 && x->repeatable && try_again(x, now))
        return STEP_AGAIN;
    tell_error(x, now);
    if (!x->status) {
        upstream_release(x, false, now);
        return answer_and_wait(x, status, SPAN_NONE,
                               status == 504 ? "The service behind this name takes too long."
                                             : "The service behind this name does not answer.",
                               now);
    }
    log_end(x, now);
    return cut_off(x);
}

/* All connections that the service may have to its upstream are busy. */
static enum step too_busy(struct exchange *x, int status, time_ns now)
{
    snprintf(x->why, sizeof(x->why),
             status == 503 ? "too many requests wait for a connection" : "no connection became free in time");
    if (status != 503)
        x->conn->service->counters.upstream_refusals++;
    upstream_release(x, false, now);
    return answer_and_wait(x, status, SPAN_NONE,
                           status == 503
                               ? "The service behind this name is busy: too many requests wait already."
                               : "The service behind this name is busy: no connection became free.",
                           now);
}

/* Whether the request may pass could not be found out. */
static enum step auth_failed(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    uint32_t held_back;

    if (!x->granted && !x->status && try_again(x, now))
        return STEP_AGAIN;
    if (!x->status)
        count_auth(s, PROXY_AUTH_ERROR, now - x->asked);
    count_failure(&s->auth->backend, x->why, now);
    if (log_limit_pass(&s->error_lines, now, &held_back))
        log_warn(s->name, "auth request failed: %s: %s", s->auth->backend.to.text, x->why);
    if (x->status) {
        log_end(x, now);
        return cut_off(x);
    }
    upstream_release(x, false, now);
    return answer_and_wait(x, 502, SPAN_NONE, "Authorization service unavailable", now);
}

/* ---- the request's head -------------------------------------------------------------- */

/* May it go out a second time, should a kept connection turn out dead (RFC 9110 9.2.2)? */
static bool repeatable(const struct http_head *h)
{
    switch ((enum http_method)h->method_id) {
    case HTTP_METHOD_GET:
    case HTTP_METHOD_HEAD:
    case HTTP_METHOD_PUT:
    case HTTP_METHOD_DELETE:
    case HTTP_METHOD_OPTIONS:
    case HTTP_METHOD_TRACE:
        return h->body == HTTP_BODY_NONE;
    case HTTP_METHOD_OTHER:
    case HTTP_METHOD_POST:
    case HTTP_METHOD_CONNECT:
        return false;
    }
    return false;
}

/* It may pass. */
static enum step begin_upstream(struct exchange *x, const struct http_head *granted, time_ns now)
{
    int status = route_rewrite(x, granted);

    if (status)
        return refuse(x, status, http_status_text(status), now);
    x->state = EXCHANGE_FORWARD;
    http1_expect(&x->up_reader, x->method_id == HTTP_METHOD_HEAD, x->request->upgrade);
    return forward_step(x, now);
}

static enum step begin_auth(struct exchange *x, time_ns now)
{
    time_ns limit = x->conn->service->auth->timeout;

    x->state = EXCHANGE_AUTH;
    x->asking = true;
    x->asked = now;
    conn_deadline(x->conn, limit ? now + limit : TIME_NEVER);
    http1_expect(&x->up_reader, false, false);
    return auth_step(x, now);
}

static enum step begin_forward(struct exchange *x, struct span rest, time_ns now)
{
    struct span location = SPAN_NONE;
    struct http1_event ev;
    int status;

    x->method_id = x->request->method_id;
    x->client_minor = x->request->minor;
    x->in_framing = x->request->body;
    x->repeatable = repeatable(x->request);
    x->keep = x->request->keep_alive && service_for_next(x->conn->service);
    if (rest.len && buf_append(&x->ahead, rest))
        return STEP_ABORT;
    if (x->in_framing == HTTP_BODY_NONE) {
        struct span nothing = SPAN_NONE;

        x->request_done =
            x->conn->side || (http1_next(&x->reader, &nothing, &ev) == 0 && ev.kind == HTTP1_END);
        must(x->request_done);
    }
    status = route_check(x, &location);
    if (!status)
        return auth_is_needed(x) ? begin_auth(x, now) : begin_upstream(x, NULL, now);
    if (location.len || status < 400)
        return answer_and_wait(x, status, location, http_status_text(status), now);
    return refuse(x, status, status == 404 ? "404 page not found" : http_status_text(status), now);
}

static enum step head_fault(struct exchange *x, int fault, time_ns now)
{
    if (fault < 0)
        return STEP_ABORT;
    log_begin(x, SPAN_NONE);
    return refuse(x, http1_fault_status((enum http1_fault)fault), http1_fault_text((enum http1_fault)fault),
                  now);
}

/* The client closed before its head was complete. */
static enum step head_ended(struct exchange *x, ssize_t n, time_ns now)
{
    x->conn->read_ended = true;
    if (n == 0 && http1_between_messages(&x->reader))
        return STEP_CLOSE;
    return exchange_client_left(x, now);
}

/* A stream of HTTP/2 begins with its head. */
static enum step stream_step(struct exchange *x, time_ns now)
{
    int r = h2_take_head(x);

    return r ? head_fault(x, r, now) : begin_forward(x, SPAN_NONE, now);
}

static enum step head_step(struct exchange *x, struct span in, time_ns now)
{
    struct conn *c = x->conn;
    struct http1_event ev = { 0 };
    size_t before;
    int r;

    for (;;) {
        struct span bytes = x->ahead.len ? buf_span(&x->ahead) : in;
        ssize_t n;

        if (!bytes.len) {
            n = stream_read(c->stream, c->service->shard->in, READ_BYTES_SLOW);
            if (n == -EAGAIN) {
                c->readable = false;
                return STEP_WAIT;
            }
            if (n <= 0)
                return head_ended(x, n, now);
            in = bytes = span_make(c->service->shard->in, (size_t)n);
        }
        before = bytes.len;
        r = http1_next(&x->reader, &bytes, &ev);
        if (x->ahead.len)
            buf_consume(&x->ahead, before - bytes.len);
        else
            in = bytes;
        if (r)
            return head_fault(x, r, now);
        if (ev.kind == HTTP1_HEAD)
            return begin_forward(x, in, now);
    }
}

/* ---- forwarding -------------------------------------------------------------------------- */

static enum step watch_client(struct exchange *x, time_ns now);

static enum step open_upstream(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    enum step step;
    int r;

    if (!x->queued_at)
        x->asked = now;
    r = upstream_open(x, &s->backend, x->retried);
    if (r == UPSTREAM_E_FULL)
        return too_busy(x, 503, now);
    if (r == UPSTREAM_E_WAIT) {
        conn_deadline(x->conn, x->asked + s->backend.queue_timeout);
        step = watch_client(x, now);
        return step == STEP_AGAIN ? STEP_WAIT : step;
    }
    if (r) {
        snprintf(x->why, sizeof(x->why), "%s", err_text(r));
        return upstream_failed(x, 502, now);
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
        return upstream_failed(x, 502, now);
    }
    if (!x->up->connected)
        return STEP_WAIT;
    x->connected = true;
    conn_deadline(x->conn, limit ? now + limit : TIME_NEVER);
    return STEP_AGAIN;
}

/* Has the client gone, or only closed its side? It may send further requests meanwhile; they wait. */
static enum step watch_client(struct exchange *x, time_ns now)
{
    struct conn *c = x->conn;
    ssize_t n;

    if (!x->request_done || !c->edge)
        return STEP_AGAIN;
    c->edge = false;
    if (c->read_ended || x->ahead.len >= AHEAD_READ_BYTES)
        return STEP_AGAIN;
    n = stream_read(c->stream, c->service->shard->in, AHEAD_READ_BYTES);
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

static enum step response_complete(struct exchange *x, time_ns now)
{
    bool reusable = x->up_reusable && x->request_done && x->head_sent && !x->in.pending.len;

    upstream_release(x, reusable, now);
    return leave(x, now);
}

/* Nothing to do before the next event. A response that takes its time holds as little as possible meanwhile.
 */
static enum step rest(struct exchange *x)
{
    if (x->status && x->request) {
        http1_lend(&x->reader, NULL);
        http1_lend(&x->up_reader, NULL);
        give_heads_back(x);
    }
    return STEP_WAIT;
}

/* ---- asking first ------------------------------------------------------------------------- */

/* STEP_AGAIN: it is on its way. */
static enum step open_auth(struct exchange *x, time_ns now)
{
    int r = upstream_open(x, &x->conn->service->auth->backend, x->retried);
    enum step step;

    if (!r)
        return STEP_AGAIN;
    if (r == UPSTREAM_E_WAIT) {
        step = watch_client(x, now);
        return step == STEP_AGAIN ? STEP_WAIT : step;
    }
    snprintf(x->why, sizeof(x->why), "%s", r == UPSTREAM_E_FULL ? "too many questions wait" : err_text(r));
    return auth_failed(x, now);
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
        return response_complete(x, now);
    upstream_release(x, reusable, now);
    buf_clear(&x->in.pending);
    http1_deinit(&x->up_reader);
    x->asking = x->connected = x->head_sent = x->retried = false;
    x->response_begun = x->response_done = x->up_reusable = false;
    http1_init(&x->up_reader, HTTP1_READS_RESPONSES, x->response, NULL);
    return begin_upstream(x, x->response, now);
}

static enum step auth_step(struct exchange *x, time_ns now)
{
    enum flow answer = FLOW_BLOCKED, question;
    char text[STREAM_FAILURE_BYTES];
    enum step step = x->up ? STEP_AGAIN : open_auth(x, now);

    if (step != STEP_AGAIN || !x->up)
        return step;
    if (x->up->failed && !x->connected) {
        snprintf(x->why, sizeof(x->why), "%s", stream_failure(x->up->stream, text));
        return auth_failed(x, now);
    }
    step = watch_client(x, now);
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
        return auth_failed(x, now);
    return answer == FLOW_MORE ? STEP_AGAIN : rest(x);
}

/* The body of a request turned out malformed. */
static enum step request_fault(struct exchange *x, int fault, time_ns now)
{
    upstream_release(x, false, now);
    if (!x->status)
        return head_fault(x, fault, now);
    return exchange_client_left(x, now);
}

static enum step begin_tunnel(struct exchange *x)
{
    x->state = EXCHANGE_TUNNEL;
    x->conn->service->counters.upgrades++;
    x->in.read_bytes = x->out.read_bytes = READ_BYTES;
    conn_deadline(x->conn, TIME_NEVER);
    return STEP_AGAIN;
}

static enum step forward_step(struct exchange *x, time_ns now)
{
    enum flow response = FLOW_BLOCKED, request;
    enum step step = STEP_AGAIN;
    int fault = 0;

    if (!x->up)
        step = open_upstream(x, now);
    if (step == STEP_AGAIN && x->up && !x->connected)
        step = await_connection(x, now);
    if (step == STEP_AGAIN)
        step = watch_client(x, now);
    if (step != STEP_AGAIN || !x->up)
        return step;
    if (x->head_sent)
        response = pump_response(x);
    if (response == FLOW_DONE && x->response_done)
        return response_complete(x, now);
    request = response == FLOW_BLOCKED || response == FLOW_MORE || response == FLOW_DONE
                  ? pump_request(x, &fault)
                  : FLOW_BLOCKED;
    if (response == FLOW_TUNNEL)
        return begin_tunnel(x);
    if (response == FLOW_CLIENT_FAILED || request == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    if (response == FLOW_UPSTREAM_FAILED || request == FLOW_UPSTREAM_FAILED)
        return upstream_failed(x, 502, now);
    if (request == FLOW_FAULT)
        return request_fault(x, fault, now);
    if (x->status)
        conn_deadline(x->conn,
                      TIME_NEVER); /* a body may take its time; who has gone is found out by writing */
    return response == FLOW_MORE || request == FLOW_MORE ? STEP_AGAIN : rest(x);
}

static enum step tunnel_step(struct exchange *x, time_ns now)
{
    uint64_t moved = x->bytes_in + x->bytes_out;
    enum flow f = pump_tunnel(x);

    if (f == FLOW_CLIENT_FAILED || f == FLOW_UPSTREAM_FAILED) {
        log_end(x, now);
        return STEP_ABORT;
    }
    if (f == FLOW_DONE) {
        log_end(x, now);
        return STEP_CLOSE;
    }
    /* One side has ended: the other may finish, but not keep silent for ever. */
    if ((x->in.shut || x->out.shut) &&
        (x->conn->deadline == TIME_NEVER || moved != x->bytes_in + x->bytes_out))
        conn_deadline(x->conn, now + PROXY_HALF_CLOSED_TIMEOUT);
    return f == FLOW_MORE ? STEP_AGAIN : rest(x);
}

static enum step reply_step(struct exchange *x, time_ns now)
{
    enum flow f = way_flush(x, true);

    if (f == FLOW_CLIENT_FAILED)
        return exchange_client_left(x, now);
    return f == FLOW_DONE ? leave(x, now) : STEP_WAIT;
}

enum step exchange_step(struct exchange *x, struct span in, time_ns now)
{
    switch ((enum exchange_state)x->state) {
    case EXCHANGE_HEAD:
        return x->conn->side ? stream_step(x, now) : head_step(x, in, now);
    case EXCHANGE_AUTH:
        return auth_step(x, now);
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
        return refuse(x, 408, "the request took too long to arrive", now);
    case EXCHANGE_AUTH:
        snprintf(x->why, sizeof(x->why), "no answer in time");
        return auth_failed(x, now);
    case EXCHANGE_FORWARD:
        if (x->queued_at || x->promised_by)
            return too_busy(x, 504, now);
        if (!x->connected || !x->conn->read_ended) {
            snprintf(x->why, sizeof(x->why), "no answer in time");
            return upstream_failed(x, x->connected ? 504 : 502, now);
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

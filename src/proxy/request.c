/* The request's head: collected, judged, routed */
#include "proxy/steps.h"

#include <stdio.h>

#include "proxy/client.h"

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

enum step request_pass(struct exchange *x, const struct http_head *granted, time_ns now)
{
    int status = route_rewrite(x, granted);

    if (status)
        return exchange_refuse(x, status, http_status_text(status), now);
    x->state = EXCHANGE_FORWARD;
    http1_expect(&x->up_reader, x->method_id == HTTP_METHOD_HEAD, x->request->upgrade);
    return forward_step(x, now);
}

/* The head is there. */
static enum step route(struct exchange *x, time_ns now)
{
    struct span location = SPAN_NONE;
    int status;

    x->method_id = x->request->method_id;
    x->client_minor = x->request->minor;
    x->in_framing = x->request->body;
    x->request_done = x->in_framing == HTTP_BODY_NONE;
    x->repeatable = repeatable(x->request);
    x->keep = x->request->keep_alive && service_for_next(x->conn->service);
    status = route_check(x, &location);
    if (!status)
        return auth_is_needed(x) ? ask_begin(x, now) : request_pass(x, NULL, now);
    if (location.len || status < 400)
        return exchange_answer(x, status, location, http_status_text(status), now);
    return exchange_refuse(x, status, status == 404 ? "404 page not found" : http_status_text(status), now);
}

enum step request_fault(struct exchange *x, int fault, time_ns now)
{
    if (fault < 0)
        return STEP_ABORT;
    log_begin(x, SPAN_NONE);
    return exchange_refuse(x, http1_fault_status((enum http1_fault)fault),
                           http1_fault_text((enum http1_fault)fault), now);
}

/* The client closed before its head was complete. */
static enum step head_ended(struct exchange *x, time_ns now)
{
    return x->conn->read_ended && http1_between_messages(&x->reader) ? STEP_CLOSE
                                                                     : exchange_client_left(x, now);
}

enum step request_step(struct exchange *x, struct span in, time_ns now)
{
    int fault = 0;
    enum flow f = x->conn->client->take_head(x, in, &fault);

    if (f == FLOW_DONE)
        return route(x, now);
    if (f == FLOW_FAULT)
        return request_fault(x, fault, now);
    return f == FLOW_BLOCKED ? STEP_WAIT : head_ended(x, now);
}

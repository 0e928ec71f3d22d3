/* Answers of our own */
#include <stdio.h>

#include "proxy/client.h"

#define ALLOW "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"

static void add(struct http_head *h, const char *name, struct span value, int *r)
{
    if (!*r)
        *r = http_head_add(h, span_from_str(name), value);
}

static int make_head(struct exchange *x, int status, struct span location, size_t body_len)
{
    struct http_head *h = x->response;
    int r = http_head_make_response(h, status, span_from_str(http_status_text(status)));
    char length[24];

    snprintf(length, sizeof(length), "%zu", body_len);
    add(h, "Date", shard_date(x->conn->service->shard), &r);
    if (location.len)
        add(h, "Location", location, &r);
    if (status == 405)
        add(h, "Allow", span_from_str(ALLOW), &r);
    if (body_len) {
        add(h, "Content-Type", span_from_str("text/plain; charset=utf-8"), &r);
        add(h, "X-Content-Type-Options", span_from_str("nosniff"), &r);
    }
    if (!x->keep || !x->client_minor)
        add(h, "Connection", span_from_str(x->keep ? "keep-alive" : "close"), &r);
    add(h, "Content-Length", span_from_str(length), &r);
    return r;
}

enum flow answer(struct exchange *x, int status, struct span location, const char *sentence)
{
    char body[ANSWER_BYTES_MAX];
    size_t len = status == 200 || !*sentence ? 0 : (size_t)snprintf(body, sizeof(body), "%s\n", sentence);

    must(x->response && len < sizeof(body));
    x->keep = x->keep && x->request_done && service_for_next(x->conn->service);
    x->status = (uint16_t)status;
    x->state = EXCHANGE_REPLY;
    if (make_head(x, status, location, len))
        return FLOW_CLIENT_FAILED;
    return x->conn->client->put_answer(x, x->response,
                                       span_make(body, x->method_id == HTTP_METHOD_HEAD ? 0 : len));
}

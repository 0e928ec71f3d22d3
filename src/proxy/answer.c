#include <stdio.h>

#include "proxy/h2.h"

/* Answers of our own. */
enum flow answer(struct exchange *x, int status, struct span location, const char *sentence)
{
    struct buf *out = &x->conn->service->shard->out;
    bool keep = x->keep && x->request_done && service_for_next(x->conn->service),
         head = x->method_id == HTTP_METHOD_HEAD;
    bool empty = status == 200 || !*sentence;
    struct span date = shard_date(x->conn->service->shard), part;
    int r;

    x->keep = keep;
    x->status = (uint16_t)status;
    x->state = EXCHANGE_REPLY;
    if (x->conn->side)
        return h2_answer(x, status, location, sentence);
    buf_clear(out);
    r = buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %.*s\r\n", status, http_status_text(status), (int)date.len,
                   (const char *)date.data);
    if (!r && location.len)
        r = buf_printf(out, "Location: %.*s\r\n", (int)location.len, (const char *)location.data);
    if (!r && status == 405)
        r = buf_append_str(out, "Allow: " ANSWER_ALLOW "\r\n");
    if (!r && !empty)
        r = buf_append_str(out, "Content-Type: " ANSWER_TYPE "\r\nX-Content-Type-Options: nosniff\r\n");
    if (!r && (!keep || !x->client_minor))
        r = buf_printf(out, "Connection: %s\r\n", keep ? "keep-alive" : "close");
    if (!r)
        r = buf_printf(out, "Content-Length: %zu\r\n\r\n", empty ? 0 : strlen(sentence) + 1);
    if (!r && !empty && !head)
        r = buf_printf(out, "%s\n", sentence);
    if (r)
        return FLOW_CLIENT_FAILED;
    part = buf_span(out);
    return way_write(x, true, &part, 1);
}

#include <stdio.h>

#include "proxy/h2.h"

/* ---- answers of our own ----------------------------------------------------------- */

enum flow answer(struct exchange *x, int status, struct span location, const char *sentence)
{
    struct buf *out = &x->conn->service->shard->out;
    bool keep = x->keep && x->request_done && !x->conn->service->draining,
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

/* ---- the access log ------------------------------------------------------------------
 *
 * One line a request, at its end: tsnsrv's fields in its order, ours behind them.
 */

static bool is_bare(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] >= 0x7f || s.data[i] == '"' || s.data[i] == '\\')
            return false;
    return s.len > 0;
}

/* A value that cannot break out of its field or line. A longer one is cut. */
static void put_value(struct buf *line, const char *key, struct span s)
{
    bool bare = is_bare(s);

    (void)!buf_printf(line, "%s%s=%s", line->len ? " " : "", key, bare ? "" : "\"");
    for (size_t i = 0; i < MIN(s.len, LOG_VALUE_MAX); i++) {
        uint8_t c = s.data[i];

        if (c < ' ' || c >= 0x7f)
            (void)!buf_printf(line, "\\x%02x", c);
        else if (!bare && (c == '"' || c == '\\'))
            (void)!buf_printf(line, "\\%c", c);
        else
            (void)!buf_append(line, span_make(&c, 1));
    }
    if (!bare)
        (void)!buf_append_str(line, "\"");
}

static bool wanted(const struct exchange *x)
{
    return x->conn->service->access_log && log_enabled(LOG_INFO);
}

void log_begin(struct exchange *x, struct span target)
{
    if (!wanted(x))
        return;
    buf_clear(&x->line);
    put_value(&x->line, "original", target);
}

void log_rewritten(struct exchange *x)
{
    const struct destination *to = &x->conn->service->backend.to;
    char whole[300];
    struct span target = http_head_target(x->request);

    if (!wanted(x))
        return;
    snprintf(whole, sizeof(whole), "http%s://%s%.*s", to->tls ? "s" : "", to->authority,
             (int)MIN(target.len, (size_t)250), (const char *)target.data);
    put_value(&x->line, "rewritten", span_from_str(whole));
}

void log_identity(struct exchange *x, const struct proxy_identity *who)
{
    if (!wanted(x))
        return;
    put_value(&x->line, "origin_login", who->login);
    put_value(&x->line, "origin_node", who->node_fqdn);
}

void log_end(struct exchange *x, time_ns now)
{
    static const char *const methods[] = { "OTHER",  "GET",     "HEAD",  "POST",   "PUT",
                                           "DELETE", "OPTIONS", "TRACE", "CONNECT" };
    char duration[DURATION_TEXT_BYTES], client[IP_PORT_TEXT_BYTES];

    count_end(x, now);
    if (!wanted(x))
        return;
    duration_text(now - x->began, duration);
    ip_port_text(&x->conn->arrival.peer, client);
    (void)!buf_printf(&x->line,
                      " duration=%s http_status=%u method=%s bytes_in=%llu bytes_out=%llu client=%s",
                      duration, x->status, methods[x->method_id], (unsigned long long)x->bytes_in,
                      (unsigned long long)x->bytes_out, client);
    if (x->why[0])
        put_value(&x->line, "error", span_from_str(x->why));
    log_info(x->conn->service->name, "served %.*s", (int)x->line.len, (const char *)buf_span(&x->line).data);
}

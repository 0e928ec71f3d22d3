/* The access log: one line a request, when it ends; as text in tsnsrv's words, or as JSON.
 *
 * What is known when a request is routed goes to x->line at once, since its sources do not live until the
 * end. Finished lines wait in the shard's buffer, which a task empties before the loop sleeps, so that many
 * lines cost one write. A reader that is too slow costs lines, never the shard: they are dropped, counted,
 * and told of once there is room again. Buffers are kept, so a line allocates nothing.
 *
 * Every value is escaped, and cut so that a line is at most LINE_BYTES_MAX: a write of so much is never torn.
 */
#include <errno.h>
#include <stdio.h>

#include "proxy/internal.h"

#define LINE_BYTES_MAX LOG_TOGETHER_BYTES
#define TARGET_BYTES_MAX ((size_t)1200) /* of an escaped path */
#define NAME_BYTES_MAX ((size_t)256)    /* of a name */
#define WHY_BYTES_MAX ((size_t)300)
#define RETRY (50 * MSEC)

/* ---- the shard's buffer ------------------------------------------------------------------ */

/* As many whole lines as stay together. */
static struct span together(const struct buf *lines)
{
    struct span all = buf_span(lines), part = span_slice(all, 0, LOG_TOGETHER_BYTES);

    while (part.len && part.data[part.len - 1] != '\n')
        part.len--;
    return part.len ? part : all; /* a line of its own that is too long cannot be: it is cut before */
}

static void tell_dropped(struct access_log *log)
{
    uint64_t n = log->dropped;

    if (!n)
        return;
    log->dropped = 0;
    log_warn(NULL, "%llu lines of the access log were dropped: who reads it is too slow",
             (unsigned long long)n);
}

static void flush(struct access_log *log, time_ns now)
{
    while (log->lines.len) {
        struct span part = together(&log->lines);
        int r = log->write(part);

        if (r == -EAGAIN) {
            ev_timer_set(&log->retry, now + RETRY);
            return;
        }
        buf_consume(&log->lines, part.len); /* nobody reads it: gone */
    }
    tell_dropped(log);
}

static void on_task(struct ev_task *task, time_ns now)
{
    struct access_log *log = CONTAINER_OF(task, struct access_log, task);

    if (!ev_timer_running(&log->retry))
        flush(log, now);
}

static void on_retry(struct ev_timer *t, time_ns now)
{
    flush(CONTAINER_OF(t, struct access_log, retry), now);
}

void access_log_init(struct access_log *log, struct ev_loop *loop)
{
    buf_init(&log->lines, ACCESS_LOG_BYTES_MAX);
    ev_task_init(&log->task, loop, on_task);
    ev_timer_init(&log->retry, loop, on_retry);
    log->write = log_write;
}

void access_log_deinit(struct access_log *log)
{
    flush(log, ev_now(log->task.loop));
    ev_task_cancel(&log->task);
    ev_timer_stop(&log->retry);
    buf_deinit(&log->lines);
}

/* ---- text --------------------------------------------------------------------------------- */

static bool is_bare(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] >= 0x7f || s.data[i] == '"' || s.data[i] == '\\')
            return false;
    return s.len > 0;
}

static void put_raw(struct buf *line, const char *text, size_t len)
{
    (void)!buf_append(line, span_make(text, len)); /* its limit is above what all values together may be */
}

static void put_hex(struct buf *line, const char *before, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    char two[2] = { digits[c >> 4], digits[c & 15] };

    put_raw(line, before, strlen(before));
    put_raw(line, two, 2);
}

/* A value that cannot break out of its field or line. A longer one is cut. */
static void put_text(struct buf *line, const char *key, struct span s, size_t max)
{
    bool bare = is_bare(s);
    size_t begin;

    put_raw(line, " ", line->len ? 1 : 0);
    put_raw(line, key, strlen(key));
    put_raw(line, bare ? "=" : "=\"", bare ? 1 : 2);
    begin = line->len;
    for (size_t i = 0; i < s.len && line->len - begin < max; i++) {
        uint8_t c = s.data[i];

        if (c < ' ' || c >= 0x7f) {
            put_hex(line, "\\x", c);
            continue;
        }
        if (c == '"' || c == '\\')
            put_raw(line, "\\", 1);
        put_raw(line, (const char *)&c, 1);
    }
    put_raw(line, "\"", bare ? 0 : 1);
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* Bytes of the well-formed UTF-8 sequence that s begins with (RFC 3629); 0 if there is none. */
static size_t utf8_bytes(struct span s)
{
    uint8_t c = s.data[0], least = 0x80, most = 0xbf;
    size_t n = c < 0x80                ? 1
               : c >= 0xc2 && c < 0xe0 ? 2
               : c >= 0xe0 && c < 0xf0 ? 3
               : c >= 0xf0 && c < 0xf5 ? 4
                                       : 0;

    if (c == 0xe0)
        least = 0xa0;
    if (c == 0xed)
        most = 0x9f;
    if (c == 0xf0)
        least = 0x90;
    if (c == 0xf4)
        most = 0x8f;
    for (size_t i = 1; i < n; i++, least = 0x80, most = 0xbf)
        if (i >= s.len || s.data[i] < least || s.data[i] > most)
            return 0;
    return n;
}

static void put_json(struct buf *line, const char *key, struct span s, size_t max)
{
    size_t begin, n;

    put_raw(line, ",\"", 2);
    put_raw(line, key, strlen(key));
    put_raw(line, "\":\"", 3);
    begin = line->len;
    for (size_t i = 0; i < s.len && line->len - begin < max; i += MAX(n, (size_t)1)) {
        uint8_t c = s.data[i];

        n = utf8_bytes(span_slice(s, i, s.len));
        if (c < ' ' || c == 0x7f || !n) { /* a byte that is no text: as the character of its number */
            put_hex(line, "\\u00", c);
            continue;
        }
        if (c == '"' || c == '\\')
            put_raw(line, "\\", 1);
        put_raw(line, (const char *)s.data + i, n);
    }
    put_raw(line, "\"", 1);
}

/* ---- what is known early ------------------------------------------------------------------- */

static bool wanted(const struct exchange *x)
{
    return x->conn->service->access_log != PROXY_LOG_OFF && log_enabled(LOG_INFO);
}

static void put(struct exchange *x, const char *key, struct span value, size_t max)
{
    if (x->conn->service->access_log == PROXY_LOG_JSON)
        put_json(&x->line, key, value, max);
    else
        put_text(&x->line, key, value, max);
}

void log_begin(struct exchange *x, struct span target)
{
    if (!wanted(x))
        return;
    buf_clear(&x->line);
    put(x, "original", target, TARGET_BYTES_MAX);
}

void log_rewritten(struct exchange *x)
{
    const struct destination *to = &x->conn->service->backend.to;
    struct span target = http_head_target(x->request);
    char whole[TARGET_BYTES_MAX];

    if (!wanted(x))
        return;
    snprintf(whole, sizeof(whole), "http%s://%s%.*s", to->tls ? "s" : "", to->authority,
             (int)MIN(target.len, sizeof(whole)), (const char *)target.data);
    put(x, "rewritten", span_from_str(whole), TARGET_BYTES_MAX);
}

void log_identity(struct exchange *x, const struct proxy_identity *who)
{
    if (!wanted(x))
        return;
    put(x, "origin_login", who->login, NAME_BYTES_MAX);
    put(x, "origin_node", who->node_fqdn, NAME_BYTES_MAX);
}

/* ---- the line ------------------------------------------------------------------------------- */

static const char *const methods[] = { "OTHER",  "GET",     "HEAD",  "POST",   "PUT",
                                       "DELETE", "OPTIONS", "TRACE", "CONNECT" };

static void finish_text(struct exchange *x, const char *client, time_ns now)
{
    char duration[DURATION_TEXT_BYTES];

    (void)!buf_printf(&x->line,
                      " duration=%s http_status=%u method=%s bytes_in=%llu bytes_out=%llu client=%s",
                      duration_text(now - x->began, duration), x->status, methods[x->method_id],
                      (unsigned long long)x->bytes_in, (unsigned long long)x->bytes_out, client);
    if (x->answered)
        (void)!buf_printf(&x->line, " upstream_time=%s", duration_text(x->answered - x->asked, duration));
}

static void put_ms(struct buf *line, const char *key, time_ns t)
{
    t = MAX(t, (time_ns)0) / USEC;
    (void)!buf_printf(line, ",\"%s\":%llu.%03u", key, (unsigned long long)(t / 1000), (unsigned)(t % 1000));
}

static void finish_json(struct exchange *x, const char *client, time_ns now)
{
    put_ms(&x->line, "duration_ms", now - x->began);
    (void)!buf_printf(
        &x->line,
        ",\"http_status\":%u,\"method\":\"%s\",\"bytes_in\":%llu,\"bytes_out\":%llu,\"client\":\"%s\"",
        x->status, methods[x->method_id], (unsigned long long)x->bytes_in, (unsigned long long)x->bytes_out,
        client);
    if (x->answered)
        put_ms(&x->line, "upstream_ms", x->answered - x->asked);
}

/* Head, x->line and end of the line, in the shard's buffer. */
static void queue(struct exchange *x)
{
    struct proxy_service *s = x->conn->service;
    struct access_log *log = &s->shard->access_log;
    bool json = s->access_log == PROXY_LOG_JSON;
    char head[300], time[TIME_TEXT_BYTES];
    struct mspan room;
    size_t n;

    if (json)
        n = (size_t)snprintf(head, sizeof(head), "{\"time\":\"%s\",\"msg\":\"served\",\"service\":\"%.63s\"",
                             time_text_rfc3339(ev_wall_clock(), time), s->name);
    else
        n = log_line_head(head, sizeof(head) - 100, LOG_INFO, s->name);
    if (!json)
        n += (size_t)snprintf(head + n, sizeof(head) - n, "served service=%.63s ", s->name);
    if (n + x->line.len + 2 > LINE_BYTES_MAX || buf_reserve(&log->lines, n + x->line.len + 2, &room)) {
        s->counters.log_lines_dropped++;
        log->dropped++;
        return;
    }
    memcpy(room.data, head, n);
    memcpy(room.data + n, buf_span(&x->line).data, x->line.len);
    n += x->line.len;
    if (json)
        room.data[n++] = '}';
    room.data[n++] = '\n';
    buf_commit(&log->lines, n);
    if (log->lines.len >= LOG_TOGETHER_BYTES && !ev_timer_running(&log->retry))
        flush(log, ev_now(s->shard->loop));
    else
        ev_task_post(&log->task);
}

void log_end(struct exchange *x, time_ns now)
{
    char client[IP_PORT_TEXT_BYTES];

    count_end(x, now);
    if (!wanted(x))
        return;
    ip_port_text(&x->conn->arrival.peer, client);
    if (x->conn->service->access_log == PROXY_LOG_JSON)
        finish_json(x, client, now);
    else
        finish_text(x, client, now);
    if (x->conn->service->auth)
        put(x, "auth",
            span_from_str(x->granted    ? "granted"
                          : x->bypassed ? "bypassed"
                          : x->asking   ? "denied"
                                        : "-"),
            NAME_BYTES_MAX);
    if (x->why[0])
        put(x, "error", span_from_str(x->why), WHY_BYTES_MAX);
    queue(x);
}

/* A connection that an HTTP proxy makes for us. Until the proxy has agreed it takes no bytes; from then on
 * it hands everything through. The buffer exists only while the proxy has not answered, or has sent bytes
 * of the other side together with its answer that nobody has read yet. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/internal.h"

enum tunnel_state {
    TUNNEL_DIALING, /* the connection to the proxy is being made */
    TUNNEL_ASKING,  /* CONNECT is on its way, or its answer */
    TUNNEL_OPEN,    /* bytes pass through */
    TUNNEL_BROKEN,  /* `why` or the stream below says what happened */
};

struct tunnel {
    struct stream base;
    struct stream *below;
    struct ev_timer limit; /* from the dial to the proxy's answer */
    enum tunnel_state state;
    struct buf request; /* what of it is still to be written */
    struct buf head;    /* the answer so far; once open, what came behind it */
    char *why;          /* NULL: ask the stream below */
    char proxy[280];    /* "host:port" for sentences */
};

static void forget_request(struct tunnel *t)
{
    if (t->request.cap)
        explicit_bzero(t->request.data, t->request.cap); /* may hold a password */
    buf_deinit(&t->request);
}

static void report(struct tunnel *t, unsigned events, time_ns now)
{
    if (t->base.on_event)
        t->base.on_event(&t->base, events, now); /* may free t */
}

/* `why` NULL: the stream below knows. */
static void broken(struct tunnel *t, char *why, time_ns now)
{
    t->state = TUNNEL_BROKEN;
    t->why = why;
    ev_timer_stop(&t->limit);
    forget_request(t);
    report(t, STREAM_FAILED, now);
}

static char *sentence(const struct tunnel *t, const char *what)
{
    char *text;

    return asprintf(&text, "the proxy at %s %s", t->proxy, what) < 0 ? NULL : text;
}

/* "HTTP/1.1 200 Connection established": 200, and the rest of the line. 0: that is no status line. */
static unsigned status_of(struct span head, struct span *line)
{
    const uint8_t *end = memchr(head.data, '\r', head.len);
    uint64_t code;

    *line = span_make(head.data, end ? (size_t)(end - head.data) : head.len);
    if (line->len < 12 || !text_starts_with(*line, "HTTP/1.") || line->data[8] != ' ' ||
        !text_parse_u64(span_make(line->data + 9, 3), 999, &code))
        return 0;
    *line = span_make(line->data + 9, line->len - 9);
    return (unsigned)code;
}

static void refused(struct tunnel *t, struct span line, time_ns now)
{
    char what[160];
    size_t n = (size_t)snprintf(what, sizeof(what), "refused: %.*s", (int)MIN(line.len, 100u),
                                (const char *)line.data);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)what[i] < 0x20 || (unsigned char)what[i] > 0x7e)
            what[i] = '?';
    broken(t, sentence(t, what), now);
}

/* The head is complete: `end` bytes of t->head. */
static void answered(struct tunnel *t, size_t end, time_ns now)
{
    struct span line;
    unsigned code = status_of(span_make(buf_span(&t->head).data, end), &line);

    if (!code) {
        broken(t, sentence(t, "does not speak HTTP"), now);
        return;
    }
    if (code / 100 != 2) {
        refused(t, line, now);
        return;
    }
    buf_consume(&t->head, end);
    if (!t->head.len)
        buf_deinit(&t->head);
    t->state = TUNNEL_OPEN;
    ev_timer_stop(&t->limit);
    report(t, STREAM_CONNECTED | STREAM_WRITABLE | STREAM_READABLE, now);
}

static void read_answer(struct tunnel *t, time_ns now)
{
    uint8_t piece[1024];

    for (;;) {
        ssize_t n = stream_read(t->below, piece, sizeof(piece));
        const uint8_t *end;

        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            broken(t, n ? NULL : sentence(t, "closed the connection instead of answering"), now);
            return;
        }
        if (buf_append(&t->head, span_make(piece, (size_t)n))) {
            broken(t, sentence(t, "sent too long an answer"), now);
            return;
        }
        end = memmem(buf_span(&t->head).data, t->head.len, "\r\n\r\n", 4);
        if (end) {
            answered(t, (size_t)(end + 4 - buf_span(&t->head).data), now);
            return;
        }
    }
}

/* False: broken, t may be gone. */
static bool write_request(struct tunnel *t, time_ns now)
{
    while (t->request.len) {
        ssize_t n = stream_write(t->below, buf_span(&t->request));

        if (n == -EAGAIN)
            return true;
        if (n < 0) {
            broken(t, NULL, now);
            return false;
        }
        buf_consume(&t->request, (size_t)n);
    }
    forget_request(t);
    return true;
}

static void on_below(struct stream *below, unsigned events, time_ns now)
{
    struct tunnel *t = below->owner;

    if (t->state == TUNNEL_OPEN) {
        report(t, events, now);
        return;
    }
    if (t->state == TUNNEL_BROKEN)
        return;
    if (events & STREAM_FAILED) {
        broken(t, NULL, now);
        return;
    }
    if (events & STREAM_CONNECTED)
        t->state = TUNNEL_ASKING;
    if (t->state == TUNNEL_ASKING && write_request(t, now))
        read_answer(t, now);
}

static void on_limit(struct ev_timer *timer, time_ns now)
{
    struct tunnel *t = CONTAINER_OF(timer, struct tunnel, limit);

    broken(t, sentence(t, "gave no answer in time"), now);
}

/* What came behind the proxy's answer, first. */
static ssize_t tunnel_read(struct stream *s, void *out, size_t len)
{
    struct tunnel *t = CONTAINER_OF(s, struct tunnel, base);
    size_t n = MIN(len, t->head.len);

    if (t->state == TUNNEL_BROKEN)
        return -ECONNABORTED;
    if (t->state != TUNNEL_OPEN)
        return -EAGAIN;
    if (!n)
        return stream_read(t->below, out, len);
    memcpy(out, buf_span(&t->head).data, n);
    buf_consume(&t->head, n);
    if (!t->head.len)
        buf_deinit(&t->head);
    return (ssize_t)n;
}

static ssize_t tunnel_write(struct stream *s, struct span bytes)
{
    struct tunnel *t = CONTAINER_OF(s, struct tunnel, base);

    if (t->state == TUNNEL_BROKEN)
        return -ECONNABORTED;
    return t->state == TUNNEL_OPEN ? stream_write(t->below, bytes) : -EAGAIN;
}

static ssize_t tunnel_writev(struct stream *s, const struct span *parts, size_t count)
{
    struct tunnel *t = CONTAINER_OF(s, struct tunnel, base);

    if (t->state == TUNNEL_BROKEN)
        return -ECONNABORTED;
    return t->state == TUNNEL_OPEN ? stream_writev(t->below, parts, count) : -EAGAIN;
}

static void tunnel_shutdown(struct stream *s)
{
    struct tunnel *t = CONTAINER_OF(s, struct tunnel, base);

    if (t->state == TUNNEL_OPEN)
        stream_shutdown(t->below);
}

static void tunnel_close(struct stream *s, bool abort)
{
    struct tunnel *t = CONTAINER_OF(s, struct tunnel, base);

    ev_timer_stop(&t->limit);
    if (abort)
        stream_abort(t->below);
    else
        stream_close(t->below);
    forget_request(t);
    buf_deinit(&t->head);
    free(t->why);
    free(t);
}

static void tunnel_failure(const struct stream *s, char *out, size_t size)
{
    const struct tunnel *t = CONTAINER_OF(s, struct tunnel, base);
    char below[STREAM_FAILURE_BYTES];

    if (t->why)
        snprintf(out, size, "%s", t->why);
    else if (t->state == TUNNEL_OPEN)
        snprintf(out, size, "%s", stream_failure(t->below, below));
    else
        snprintf(out, size, "the proxy at %s: %s", t->proxy, stream_failure(t->below, below));
}

static void tunnel_memory(const struct stream *s, enum account_part part, struct account_memory *m)
{
    const struct tunnel *t = CONTAINER_OF((struct stream *)(uintptr_t)s, struct tunnel, base);

    account_hold_block(m, part, t);
    account_hold_block(m, part, t->request.data);
    account_hold_block(m, part, t->head.data);
    account_hold_block(m, part, t->why);
    stream_memory(t->below, part, m);
}

static const struct stream_ops tunnel_ops = {
    .read = tunnel_read,
    .write = tunnel_write,
    .writev = tunnel_writev,
    .shutdown = tunnel_shutdown,
    .close = tunnel_close,
    .failure = tunnel_failure,
    .memory = tunnel_memory,
};

static int write_head(struct tunnel *t, const struct stream_dial *to, const struct forward_proxy *by)
{
    bool v6 = strchr(to->host, ':');
    char target[300];
    int r;

    snprintf(target, sizeof(target), "%s%s%s:%u", v6 ? "[" : "", to->host, v6 ? "]" : "", to->port);
    r = buf_printf(&t->request, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target);
    if (!r && by->authorization)
        r = buf_printf(&t->request, "Proxy-Authorization: %s\r\n", by->authorization);
    return r ? r : buf_printf(&t->request, "\r\n");
}

int tunnel_dial(struct stream **out, struct ev_loop *loop, const struct stream_dial *to,
                const struct forward_proxy *by)
{
    struct stream_dial to_proxy = {
        .host = by->host, .port = by->port, .attempt = to->attempt, .timeout = to->timeout
    };
    struct tunnel *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return -ENOMEM;
    t->base.ops = &tunnel_ops;
    ev_timer_init(&t->limit, loop, on_limit);
    buf_init(&t->request, 2048);
    buf_init(&t->head, STREAM_PROXY_HEAD_BYTES_MAX);
    snprintf(t->proxy, sizeof(t->proxy), "%s:%u", by->host, by->port);
    r = write_head(t, to, by);
    if (!r)
        r = dial_direct(&t->below, loop, &to_proxy);
    if (r) {
        tunnel_close(&t->base, false);
        return r;
    }
    stream_set_owner(t->below, t, on_below);
    ev_timer_set(&t->limit, ev_now(loop) + (to->timeout ? to->timeout : STREAM_DIAL_TIMEOUT));
    *out = &t->base;
    return 0;
}

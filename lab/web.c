#include "lab/web.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_BYTES 4096

struct web {
    struct ev_loop *loop;
    struct web_config config;
    struct ev_io io;
    int fd;
    uint16_t port;
    struct list connections; /* the one that has been silent for longest first */
    struct ev_timer idle;    /* for that one */
    size_t count;
};

struct web_conn {
    struct list link;
    struct web *web;
    struct stream *stream; /* NULL: taken over */
    struct http1 machine;
    struct http_head head;
    struct buf out;
    time_ns active;   /* when something last happened */
    struct span rest; /* input behind the head, inside `request` */
    bool answered;    /* the request in hand */
    bool no_body;     /* it is a HEAD */
    bool closing;     /* once `out` is written */
};

static void conn_free(struct web_conn *c)
{
    list_remove(&c->link);
    c->web->count--;
    stream_close(c->stream);
    http1_deinit(&c->machine);
    http_head_deinit(&c->head);
    buf_deinit(&c->out);
    free(c);
}

/* ---- answers ------------------------------------------------------------------------------ */

void web_answer(struct web_conn *c, int status, const char *type, const char *fields, struct span body)
{
    int r;

    must(!c->answered);
    c->answered = true;
    r = buf_printf(&c->out, "HTTP/1.1 %d %s\r\n%s%s%s%sContent-Length: %zu\r\n%s\r\n", status,
                   http_status_text(status), type ? "Content-Type: " : "", type ? type : "",
                   type ? "\r\n" : "", fields ? fields : "", body.len,
                   c->closing ? "Connection: close\r\n" : "");
    if (!r && !c->no_body)
        r = buf_append(&c->out, body);
    if (r) { /* half an answer is worse than none */
        buf_clear(&c->out);
        c->closing = true;
    }
}

struct stream *web_take(struct web_conn *c, struct buf *rest)
{
    struct stream *s = c->stream;

    must(!c->answered);
    c->answered = true;
    if (buf_append(rest, c->rest)) {
        c->closing = true;
        return NULL;
    }
    c->stream = NULL;
    return s;
}

struct span web_path(struct span target)
{
    const uint8_t *query = target.len ? memchr(target.data, '?', target.len) : NULL;

    return query ? span_make(target.data, (size_t)(query - target.data)) : target;
}

bool web_query(struct span target, const char *name, struct span *value)
{
    struct span rest = span_slice(target, web_path(target).len + 1, target.len);
    size_t name_len = strlen(name);

    while (rest.len) {
        const uint8_t *end = memchr(rest.data, '&', rest.len);
        struct span pair = end ? span_make(rest.data, (size_t)(end - rest.data)) : rest;

        if (pair.len > name_len && pair.data[name_len] == '=' && memcmp(pair.data, name, name_len) == 0) {
            *value = span_slice(pair, name_len + 1, pair.len);
            return true;
        }
        rest = span_slice(rest, pair.len + 1, rest.len);
    }
    return false;
}

/* ---- one connection --------------------------------------------------------------------------- */

static void on_head(struct web_conn *c, struct span rest)
{
    c->answered = false;
    c->no_body = c->head.method_id == HTTP_METHOD_HEAD;
    c->closing = !c->head.keep_alive;
    c->rest = rest;
    if (c->head.body != HTTP_BODY_NONE) { /* nobody here wants one */
        c->closing = true;
        web_answer(c, 413, NULL, NULL, SPAN_NONE);
    } else {
        c->web->config.request(c->web->config.ctx, c, &c->head);
        if (!c->answered)
            web_answer(c, 404, "text/plain", NULL, span_from_str("not found\n"));
    }
    c->rest = SPAN_NONE;
}

static void refuse(struct web_conn *c, int fault)
{
    const char *why = fault > 0 ? http1_fault_text((enum http1_fault)fault) : "out of memory";

    c->answered = false;
    c->no_body = false;
    c->closing = true;
    web_answer(c, fault > 0 ? http1_fault_status((enum http1_fault)fault) : 500, "text/plain", NULL,
               span_from_str(why));
}

/* Takes what was read; stops where the connection was taken over or ends. */
static void feed(struct web_conn *c, struct span in)
{
    while (c->stream && !c->closing) {
        struct http1_event ev;
        int r = http1_next(&c->machine, &in, &ev);

        if (r)
            refuse(c, r);
        else if (ev.kind == HTTP1_MORE)
            return;
        else if (ev.kind == HTTP1_HEAD)
            on_head(c, in);
    }
}

/* False: it is over. */
static bool flush(struct web_conn *c)
{
    ssize_t n = 0;

    while (c->out.len && (n = stream_write(c->stream, buf_span(&c->out))) > 0)
        buf_consume(&c->out, (size_t)n);
    if (!c->out.len)
        buf_trim(&c->out);
    return (n >= 0 || n == -EAGAIN) && !(c->closing && !c->out.len);
}

static bool go_on(struct web_conn *c)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = 0;

    if (!flush(c))
        return false;
    while (c->stream && !c->closing && (n = stream_read(c->stream, bytes, sizeof(bytes))) > 0)
        feed(c, span_make(bytes, (size_t)n));
    if (!c->stream)
        return false;
    return (c->closing || n == -EAGAIN) && flush(c);
}

static void touch(struct web_conn *c, time_ns now)
{
    struct web *w = c->web;

    c->active = now;
    list_remove(&c->link);
    list_push_back(&w->connections, &c->link);
    if (!ev_timer_running(&w->idle))
        ev_timer_set(&w->idle, now + w->config.idle);
}

static void on_idle(struct ev_timer *t, time_ns now)
{
    struct web *w = CONTAINER_OF(t, struct web, idle);
    struct web_conn *oldest;

    while ((oldest = LIST_FIRST(&w->connections, struct web_conn, link)) &&
           now - oldest->active >= w->config.idle)
        conn_free(oldest);
    if (oldest)
        ev_timer_set(&w->idle, oldest->active + w->config.idle);
}

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    struct web_conn *c = s->owner;

    touch(c, now);
    if ((events & STREAM_FAILED) || !go_on(c))
        conn_free(c);
}

static int conn_new(struct web *w, int fd)
{
    struct tls_server_config tls = { .identity = w->config.identity };
    struct web_conn *c = calloc(1, sizeof(*c));
    struct stream *plain;
    int r;

    if (!c) {
        ev_close(&fd);
        return -ENOMEM;
    }
    c->web = w;
    buf_init(&c->out, WEB_ANSWER_BYTES_MAX);
    http_head_init(&c->head);
    http1_init(&c->machine, HTTP1_READS_REQUESTS, &c->head, NULL);
    w->count++;
    touch(c, ev_now(w->loop));
    r = stream_tcp_accept(&plain, w->loop, fd);
    if (!r) {
        c->stream = plain;
        r = w->config.tls ? tls_server_stream(&c->stream, w->config.tls, plain, &tls) : 0;
    }
    if (r) {
        conn_free(c);
        return r;
    }
    stream_set_owner(c->stream, c, on_event);
    return 0;
}

static void on_accept(struct ev_io *io, unsigned events, time_ns now)
{
    struct web *w = CONTAINER_OF(io, struct web, io);
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(w->fd, &fd) == 0)
        if (w->count >= WEB_CONNECTIONS_MAX)
            ev_close(&fd);
        else if (conn_new(w, fd))
            log_warn("lab", "a connection was refused: out of memory");
}

/* ---- life ------------------------------------------------------------------------------------------ */

int web_new(struct web **out, struct ev_loop *loop, const struct web_config *config)
{
    struct web *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    w->loop = loop;
    w->config = *config;
    if (!w->config.idle)
        w->config.idle = WEB_IDLE;
    w->fd = -1;
    list_init(&w->connections);
    ev_io_init(&w->io, loop, on_accept);
    ev_timer_init(&w->idle, loop, on_idle);
    if (config->tls) {
        tls_server_ref(config->tls);
        tls_identity_ref(config->identity);
    }
    r = ev_tcp_listen(&config->at, &w->fd, &w->port);
    if (!r)
        r = ev_io_start_reader(&w->io, w->fd);
    if (r) {
        web_free(w);
        return r;
    }
    *out = w;
    return 0;
}

void web_free(struct web *w)
{
    if (!w)
        return;
    ev_io_stop(&w->io);
    ev_timer_stop(&w->idle);
    ev_close(&w->fd);
    while (!list_empty(&w->connections))
        conn_free(LIST_FIRST(&w->connections, struct web_conn, link));
    tls_server_unref(w->config.tls);
    tls_identity_unref(w->config.identity);
    free(w);
}

uint16_t web_port(const struct web *w)
{
    return w->port;
}

size_t web_connections(const struct web *w)
{
    return w->count;
}

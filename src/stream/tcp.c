/* Sockets as streams. Nothing is buffered here: the kernel does that. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/internal.h"

static void report(struct tcp_stream *t, unsigned events, time_ns now)
{
    if (t->base.on_event)
        t->base.on_event(&t->base, events, now); /* may free t: nothing after this */
}

void tcp_failed(struct tcp_stream *t, int error, time_ns now)
{
    t->state = TCP_FAILED;
    t->error = error;
    report(t, STREAM_FAILED, now);
}

static void on_io(struct ev_io *io, unsigned ready, time_ns now)
{
    struct tcp_stream *t = CONTAINER_OF(io, struct tcp_stream, io);
    unsigned events = 0;

    if (t->state == TCP_CONNECTING) {
        int r = ev_socket_error(io->fd);

        if (r) {
            tcp_failed(t, r, now);
            return;
        }
        if (!(ready & EV_WRITE))
            return;
        t->state = TCP_OPEN;
    }
    if (t->state != TCP_OPEN)
        return;
    if (!t->announced)
        events |= STREAM_CONNECTED;
    t->announced = true;
    if (ready & EV_READ)
        events |= STREAM_READABLE;
    if (ready & EV_WRITE)
        events |= STREAM_WRITABLE;
    report(t, events, now);
}

/* The error stays: a socket tells its own only once. */
static ssize_t settle(struct tcp_stream *t, ssize_t n)
{
    if (n < 0 && n != -EAGAIN) {
        t->state = TCP_FAILED;
        t->error = (int)n;
    }
    return n;
}

static ssize_t refused(const struct tcp_stream *t)
{
    return t->state == TCP_FAILED ? t->error : -EAGAIN;
}

static ssize_t tcp_read(struct stream *s, void *out, size_t len)
{
    struct tcp_stream *t = CONTAINER_OF(s, struct tcp_stream, base);

    return t->state == TCP_OPEN ? settle(t, ev_read(t->io.fd, out, len)) : refused(t);
}

static ssize_t tcp_write(struct stream *s, struct span bytes)
{
    struct tcp_stream *t = CONTAINER_OF(s, struct tcp_stream, base);

    return t->state == TCP_OPEN ? settle(t, ev_write(t->io.fd, bytes)) : refused(t);
}

static ssize_t tcp_writev(struct stream *s, const struct span *parts, size_t count)
{
    struct tcp_stream *t = CONTAINER_OF(s, struct tcp_stream, base);

    return t->state == TCP_OPEN ? settle(t, ev_writev(t->io.fd, parts, count)) : refused(t);
}

static void tcp_shutdown(struct stream *s)
{
    struct tcp_stream *t = CONTAINER_OF(s, struct tcp_stream, base);
    int r = t->state == TCP_OPEN ? ev_shutdown_write(t->io.fd) : 0;

    if (r && r != -ENOTCONN) /* the other side was faster: reads and writes will say so */
        settle(t, r);
}

static void tcp_close(struct stream *s, bool abort)
{
    struct tcp_stream *t = CONTAINER_OF(s, struct tcp_stream, base);
    int fd = t->io.fd;

    dial_free(t->dial);
    ev_io_stop(&t->io);
    if (abort)
        ev_reset(&fd);
    else
        ev_close(&fd);
    free(t);
}

static void tcp_failure(const struct stream *s, char *out, size_t size)
{
    const struct tcp_stream *t = CONTAINER_OF(s, struct tcp_stream, base);

    const char *text =
        t->error == -ETIMEDOUT ? "no answer in time" : err_text(t->error ? t->error : -ECONNRESET);
    size_t at;

    if (t->name_unknown && t->error == -ENOENT) {
        snprintf(out, size, "its name does not exist");
        return;
    }
    at = (size_t)snprintf(out, size, "%s", t->name_unknown ? "its name cannot be resolved: " : "");
    snprintf(out + at, size - at, "%s", text);
    out[at] = (char)tolower((unsigned char)out[at]);
}

static void tcp_memory(const struct stream *s, enum account_part part, struct account_memory *m)
{
    const struct tcp_stream *t = CONTAINER_OF((struct stream *)(uintptr_t)s, struct tcp_stream, base);

    account_hold_block(m, part, t);
    account_hold_block(m, part, t->dial);
}

static const struct stream_ops tcp_ops = {
    .read = tcp_read,
    .write = tcp_write,
    .writev = tcp_writev,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
    .failure = tcp_failure,
    .memory = tcp_memory,
};

int tcp_new(struct tcp_stream **out, struct ev_loop *loop)
{
    struct tcp_stream *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->base.ops = &tcp_ops;
    ev_io_init(&t->io, loop, on_io);
    *out = t;
    return 0;
}

void tcp_won(struct tcp_stream *t, int fd, time_ns now)
{
    int r = ev_io_start(&t->io, fd);

    if (r) {
        ev_close(&fd);
        tcp_failed(t, r, now);
        return;
    }
    t->state = TCP_OPEN;
    t->announced = true;
    report(t, STREAM_CONNECTED | STREAM_WRITABLE, now);
}

/* Takes the descriptor over. */
static int wrap(struct stream **out, struct ev_loop *loop, int fd, enum tcp_state state)
{
    struct tcp_stream *t = NULL;
    int r = tcp_new(&t, loop);

    if (!r)
        r = ev_io_start(&t->io, fd);
    if (r) {
        free(t);
        ev_close(&fd);
        return err_trace(r);
    }
    t->state = (uint8_t)state;
    *out = &t->base;
    return 0;
}

int stream_tcp_connect(struct stream **out, struct ev_loop *loop, const struct ip_port *to)
{
    int fd = -1;
    int r = ev_tcp_connect(to, &fd);

    return r ? err_trace(r) : wrap(out, loop, fd, TCP_CONNECTING);
}

int stream_unix_connect(struct stream **out, struct ev_loop *loop, const char *path)
{
    int fd = -1;
    int r = ev_unix_connect(path, &fd);

    return r ? err_trace(r) : wrap(out, loop, fd, TCP_CONNECTING);
}

int stream_tcp_accept(struct stream **out, struct ev_loop *loop, int fd)
{
    return wrap(out, loop, fd, TCP_OPEN);
}

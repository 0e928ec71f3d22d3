/* Dialing: names to addresses, addresses to one connection (RFC 8305, the part that servers need).
 *
 * Timers, all of them: `total` ends everything, `next` starts the next address, and each attempt has
 * the time at which it is given up. The dial is freed before its stream hears of the result.
 */
#include <errno.h>
#include <stdlib.h>

#include "stream/internal.h"

struct attempt {
    struct ev_io io; /* fd -1: over, or not begun */
    struct ev_timer limit;
    struct dial *dial;
};

struct dial {
    struct tcp_stream *stream;
    struct ev_resolve *question;
    struct ev_timer total, next;
    time_ns attempt, keep_alive;
    int error; /* the most telling so far */
    uint16_t port;
    bool without_v4, without_v6;
    uint8_t count;   /* addresses */
    uint8_t started; /* of them */
    uint8_t alive;   /* attempts under way */
    struct ip addresses[EV_RESOLVE_MAX];
    struct attempt attempts[EV_RESOLVE_MAX];
};

static void attempt_end(struct attempt *a)
{
    int fd = a->io.fd;

    ev_timer_stop(&a->limit);
    ev_io_stop(&a->io);
    ev_close(&fd);
}

void dial_free(struct dial *d)
{
    if (!d)
        return;
    ev_resolve_cancel(d->question);
    ev_timer_stop(&d->total);
    ev_timer_stop(&d->next);
    for (size_t i = 0; i < d->started; i++)
        attempt_end(&d->attempts[i]);
    free(d);
}

static void finish_failed(struct dial *d, int error, time_ns now)
{
    struct tcp_stream *t = d->stream;

    t->dial = NULL;
    dial_free(d);
    tcp_failed(t, error, now);
}

/* "No route for this family" says less than what the other family met. */
static void note_error(struct dial *d, int error)
{
    if (!d->error || (error != -ENETUNREACH && error != -EADDRNOTAVAIL))
        d->error = error;
}

static void go_on(struct dial *d, time_ns now);

static void attempt_failed(struct attempt *a, int error, time_ns now)
{
    struct dial *d = a->dial;

    attempt_end(a);
    d->alive--;
    note_error(d, error);
    go_on(d, now);
}

static void on_attempt_limit(struct ev_timer *timer, time_ns now)
{
    attempt_failed(CONTAINER_OF(timer, struct attempt, limit), -ETIMEDOUT, now);
}

static void on_attempt_io(struct ev_io *io, unsigned events, time_ns now)
{
    struct attempt *a = CONTAINER_OF(io, struct attempt, io);
    struct tcp_stream *t = a->dial->stream;
    int fd = io->fd;
    int r = ev_socket_error(fd);

    if (r) {
        attempt_failed(a, r, now);
        return;
    }
    if (!(events & EV_WRITE))
        return;
    ev_io_stop(io); /* the descriptor lives on, the dial does not */
    if (a->dial->keep_alive)
        ev_tcp_keep_alive(fd, a->dial->keep_alive);
    dial_free(t->dial);
    t->dial = NULL;
    tcp_won(t, fd, now);
}

/* 0 if it is under way. */
static int attempt_start(struct dial *d, time_ns now)
{
    struct attempt *a = &d->attempts[d->started];
    struct ip_port to = { d->addresses[d->started], d->port };
    int fd = -1, r;

    a->dial = d;
    ev_io_init(&a->io, d->total.loop, on_attempt_io);
    ev_timer_init(&a->limit, d->total.loop, on_attempt_limit);
    d->started++;
    r = ev_tcp_connect(&to, &fd);
    if (!r)
        r = ev_io_start(&a->io, fd);
    if (r) {
        ev_close(&fd);
        return r;
    }
    d->alive++;
    ev_timer_set(&a->limit, now + d->attempt);
    return 0;
}

/* Starts the next address that the kernel lets us try; fails when nothing is left. May free d. */
static void go_on(struct dial *d, time_ns now)
{
    while (d->started < d->count) {
        int r = attempt_start(d, now);

        if (!r) {
            ev_timer_set(&d->next, d->started < d->count ? now + STREAM_DIAL_HEADSTART : TIME_NEVER);
            return;
        }
        note_error(d, r);
    }
    if (!d->alive)
        finish_failed(d, d->error ? d->error : -EADDRNOTAVAIL, now);
}

static void on_next(struct ev_timer *timer, time_ns now)
{
    go_on(CONTAINER_OF(timer, struct dial, next), now);
}

static void on_total(struct ev_timer *timer, time_ns now)
{
    finish_failed(CONTAINER_OF(timer, struct dial, total), -ETIMEDOUT, now);
}

/* Alternating families, IPv6 first; each family keeps the order it was given in. */
static void take_addresses(struct dial *d, const struct ip *from, size_t count)
{
    size_t v6 = 0, v4 = 0;

    while (d->count < EV_RESOLVE_MAX && (v6 < count || v4 < count)) {
        while (v6 < count && (d->without_v6 || ip_is_v4(&from[v6])))
            v6++;
        if (v6 < count)
            d->addresses[d->count++] = from[v6++];
        while (v4 < count && (d->without_v4 || !ip_is_v4(&from[v4])))
            v4++;
        if (v4 < count && d->count < EV_RESOLVE_MAX)
            d->addresses[d->count++] = from[v4++];
    }
}

static void on_addresses(void *owner, int status, const struct ip *addresses, size_t count)
{
    struct dial *d = owner;
    time_ns now = ev_now(d->total.loop);

    d->question = NULL;
    if (status) {
        d->stream->name_unknown = true;
        finish_failed(d, status, now);
        return;
    }
    take_addresses(d, addresses, count);
    go_on(d, now);
}

static int dial_start(struct dial *d, struct ev_loop *loop, const struct stream_dial *to)
{
    time_ns now = ev_now(loop);

    d->port = to->port;
    d->without_v4 = to->without_v4;
    d->without_v6 = to->without_v6;
    d->keep_alive = to->keep_alive;
    d->attempt = to->attempt ? to->attempt : STREAM_DIAL_ATTEMPT;
    ev_timer_init(&d->total, loop, on_total);
    ev_timer_init(&d->next, loop, on_next);
    if (to->address_count) {
        take_addresses(d, to->addresses, to->address_count);
        ev_timer_set(&d->next, now); /* not now: a failure must not come from inside this call */
    } else {
        int r = ev_resolve_start(&d->question, loop, to->host, on_addresses, d);

        if (r)
            return err_trace(r);
    }
    ev_timer_set(&d->total, now + (to->timeout ? to->timeout : STREAM_DIAL_TIMEOUT));
    return 0;
}

int dial_direct(struct stream **out, struct ev_loop *loop, const struct stream_dial *to)
{
    struct dial *d = calloc(1, sizeof(*d));
    struct tcp_stream *t = NULL;
    int r = d ? tcp_new(&t, loop) : -ENOMEM;

    if (r) {
        free(d);
        return r;
    }
    t->state = TCP_DIALING;
    t->dial = d;
    d->stream = t;
    r = dial_start(d, loop, to);
    if (r) {
        stream_close(&t->base);
        return r;
    }
    *out = &t->base;
    return 0;
}

int stream_dial(struct stream **out, struct ev_loop *loop, const struct stream_dial *to)
{
    const struct forward_proxy *by = forward_proxy_pick(to->proxies, to->host, to->port, to->tls);

    return by ? tunnel_dial(out, loop, to, by) : dial_direct(out, loop, to);
}

#include "daemon/clients.h"

#include <errno.h>
#include <stdlib.h>

#define READ_BYTES 2048

void client_drop(struct client *c)
{
    struct clients *s = c->of;

    s->ops->end(c);
    ev_timer_stop(&c->timeout);
    stream_close(c->stream);
    buf_deinit(&c->out);
    list_remove(&c->link);
    s->count--;
    free(c);
}

static void cut(struct client *c)
{
    c->of->cut++;
    client_drop(c);
}

/* Sends what there is; the client is gone when all went out. */
static void client_write(struct client *c)
{
    while (c->out.len) {
        ssize_t n = stream_write(c->stream, buf_span(&c->out));

        if (n == -EAGAIN)
            return;
        if (n < 0)
            break;
        buf_consume(&c->out, (size_t)n);
    }
    client_drop(c);
}

void client_answer(struct client *c)
{
    c->asked = c->answered = true;
    client_write(c);
}

void client_ask_shards(struct client *c, enum letter_kind kind)
{
    struct daemon *d = c->of->daemon;

    c->asked = true;
    c->id = ++c->of->last_id;
    c->waiting = d->shard_count;
    for (size_t i = 0; i < d->shard_count; i++) {
        struct letter *l = letter_new(kind, SPAN_NONE);

        l->id = c->id;
        shard_post(&d->shards[i], l);
    }
}

struct client *client_of_question(struct clients *s, uint64_t id)
{
    LIST_EACH (c, &s->all, struct client, link)
        if (c->id == id && !c->answered)
            return c;
    return NULL;
}

/* ---- what comes in ----------------------------------------------------------------------------- */

/* Who has asked may end its side of the connection and wait. */
static void client_read(struct client *c)
{
    uint8_t bytes[READ_BYTES];

    for (;;) {
        ssize_t n = stream_read(c->stream, bytes, sizeof(bytes));

        if (n == -EAGAIN || (n == 0 && c->asked))
            return;
        if (n <= 0) {
            client_drop(c);
            return;
        }
        c->heard += (size_t)n;
        if (c->heard > CLIENT_BYTES_MAX) {
            cut(c);
            return;
        }
        if (!c->asked && !c->of->ops->hear(c, span_make(bytes, (size_t)n)))
            return;
    }
}

static void on_stream(struct stream *s, unsigned events, time_ns now)
{
    struct client *c = s->owner;

    (void)now;
    if (events & STREAM_FAILED)
        client_drop(c);
    else if (c->answered && (events & STREAM_WRITABLE))
        client_write(c);
    else if (events & STREAM_READABLE)
        client_read(c);
}

static void on_timeout(struct ev_timer *t, time_ns now)
{
    (void)now;
    cut(CONTAINER_OF(t, struct client, timeout));
}

static void client_new(struct clients *s, int fd)
{
    struct ev_loop *loop = s->daemon->loop;
    struct client *c = s->count < s->ops->max ? calloc(1, s->ops->client_bytes) : NULL;

    if (!c) {
        s->cut++;
        ev_close(&fd);
        return;
    }
    c->of = s;
    s->count++;
    list_push_back(&s->all, &c->link);
    buf_init(&c->out, s->ops->out_max);
    ev_timer_init(&c->timeout, loop, on_timeout);
    ev_timer_set(&c->timeout, ev_now(loop) + CLIENT_TIMEOUT);
    s->ops->begin(c);
    if (stream_tcp_accept(&c->stream, loop, fd)) {
        c->stream = NULL;
        client_drop(c);
        return;
    }
    stream_set_owner(c->stream, c, on_stream);
}

/* ---- the listener ---------------------------------------------------------------------------------- */

static void on_listener(struct ev_io *io, unsigned events, time_ns now)
{
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(io->fd, &fd) == 0)
        client_new(CONTAINER_OF(io, struct clients, io), fd);
}

void clients_init(struct clients *s, struct daemon *d, const struct clients_ops *ops)
{
    *s = (struct clients) { .daemon = d, .ops = ops, .fd = -1 };
    list_init(&s->all);
    ev_io_init(&s->io, d->loop, on_listener);
}

int clients_open(struct clients *s, int fd)
{
    s->fd = fd;
    return ev_io_start_reader(&s->io, fd);
}

void clients_close(struct clients *s)
{
    while (!list_empty(&s->all))
        client_drop(LIST_FIRST(&s->all, struct client, link));
    ev_io_stop(&s->io);
    ev_close(&s->fd);
}

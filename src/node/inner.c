/* node/inner.c - a TCP connection inside the tunnel, as a stream
 *
 * The netstack's events arrive in batches from the loop; they are passed on as they are. A stream
 * outlives its connection: then reads and writes say how it ended.
 */
#include "node/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PEEK_SPANS 8

struct inner_stream {
    struct stream base;
    struct list link;  /* in the node */
    struct node *node; /* NULL: the node is gone, and the connection with it */
    handle conn;       /* HANDLE_NONE: gone */
    bool connected;
    int error; /* how it ended; 0: properly, or not yet */
};

static struct inner_stream *inner_of(const struct stream *s)
{
    return CONTAINER_OF((struct stream *)(uintptr_t)s, struct inner_stream, base);
}

static struct netstack *stack_of(const struct inner_stream *s)
{
    return s->node->shard->netstack;
}

static ssize_t gone(const struct inner_stream *s)
{
    return s->error ? s->error : 0;
}

static ssize_t inner_read(struct stream *base, void *out, size_t len)
{
    struct inner_stream *s = inner_of(base);
    struct span spans[PEEK_SPANS];
    size_t count, copied = 0;

    if (!s->conn)
        return gone(s);
    count = tcp_peek(stack_of(s), s->conn, spans, PEEK_SPANS);
    for (size_t i = 0; i < count && copied < len; i++) {
        size_t n = MIN(spans[i].len, len - copied);

        memcpy((uint8_t *)out + copied, spans[i].data, n);
        copied += n;
    }
    if (copied) {
        tcp_consume(stack_of(s), s->conn, copied);
        return (ssize_t)copied;
    }
    return tcp_at_end(stack_of(s), s->conn) ? 0 : -EAGAIN;
}

static ssize_t write_part(struct inner_stream *s, struct span bytes, bool more)
{
    ssize_t n;

    if (!s->conn)
        return s->error ? s->error : -EPIPE;
    if (!s->connected)
        return -EAGAIN;
    n = tcp_write(stack_of(s), s->conn, bytes, more);
    return n == 0 && bytes.len ? -EAGAIN : n;
}

static ssize_t inner_write(struct stream *base, struct span bytes)
{
    return write_part(inner_of(base), bytes, false);
}

static ssize_t inner_writev(struct stream *base, const struct span *parts, size_t count)
{
    ssize_t total = 0;

    for (size_t i = 0; i < count; i++) {
        ssize_t n = parts[i].len ? write_part(inner_of(base), parts[i], i + 1 < count) : 0;

        if (n < 0)
            return total ? total : n;
        total += n;
        if ((size_t)n < parts[i].len)
            break;
    }
    return total;
}

static ssize_t inner_place(struct stream *base, size_t want, uint8_t **at)
{
    struct inner_stream *s = inner_of(base);

    return s->conn ? tcp_write_place(stack_of(s), s->conn, want, at) : 0;
}

static void inner_shutdown(struct stream *base)
{
    struct inner_stream *s = inner_of(base);

    if (s->conn)
        tcp_shutdown(stack_of(s), s->conn);
}

static void inner_close(struct stream *base, bool abort)
{
    struct inner_stream *s = inner_of(base);

    if (s->conn && abort)
        tcp_abort(stack_of(s), s->conn);
    else if (s->conn)
        tcp_close(stack_of(s), s->conn);
    list_remove(&s->link);
    free(s);
}

static void inner_failure(const struct stream *base, char *out, size_t size)
{
    const struct inner_stream *s = inner_of(base);

    snprintf(out, size, "%s", s->error ? err_text(s->error) : "closed");
}

/* The connection itself is the stack's, which counts it with its node. */
static void inner_memory(const struct stream *s, enum account_part part, struct account_memory *m)
{
    (void)part;
    account_hold_block(m, ACCOUNT_NETSTACK, inner_of(s));
}

static const struct stream_ops inner_ops = {
    .read = inner_read,
    .write = inner_write,
    .writev = inner_writev,
    .place = inner_place,
    .shutdown = inner_shutdown,
    .close = inner_close,
    .failure = inner_failure,
    .memory = inner_memory,
};

static struct inner_stream *stream_new(struct node *n, handle conn)
{
    struct inner_stream *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    *s = (struct inner_stream) { .base.ops = &inner_ops, .node = n, .conn = conn };
    list_push_back(&n->inner_streams, &s->link);
    return s;
}

int inner_stream_new(struct stream **out, struct node *n, handle conn)
{
    struct inner_stream *s = stream_new(n, conn);

    if (!s)
        return -ENOMEM;
    s->connected = true;
    tcp_set_user(n->shard->netstack, conn, &s->base);
    *out = &s->base;
    return 0;
}

int inner_stream_connect(struct stream **out, struct node *n, const struct ip_port *to, time_ns now)
{
    const struct netmap_peer *info = netmap_route(n->netmap, &to->ip);
    const struct ip *local = ip_is_v4(&to->ip) ? &n->own_v4 : &n->own_v6;
    struct node_peer *peer = info ? peer_for(n, info) : NULL;
    struct inner_stream *s;
    int r;

    if (!peer || ip_is_none(local))
        return -EHOSTUNREACH;
    s = stream_new(n, HANDLE_NONE);
    if (!s)
        return -ENOMEM;
    r = tcp_connect(n->shard->netstack, node_index(n), peer_token(peer), local, to, &s->base, now, &s->conn);
    if (r) {
        s->conn = HANDLE_NONE;
        inner_close(&s->base, true);
        return r;
    }
    *out = &s->base;
    return 0;
}

void inner_stream_events(void *user, unsigned events, int error, time_ns now)
{
    struct inner_stream *s = inner_of(user);
    account_charge was;

    if (events & STREAM_CONNECTED)
        s->connected = true;
    if (events & STREAM_FAILED) {
        s->conn = HANDLE_NONE;
        s->error = error;
        events = error ? STREAM_FAILED : STREAM_READABLE;
    }
    if (!s->base.on_event)
        return;
    was = account_switch(s->node ? node_charge(s->node, ACCOUNT_PROXY) : accounts.charge);
    s->base.on_event(&s->base, events, now); /* may free it */
    account_switch(was);
}

/* The node goes: its connections are gone; the streams stay until their owners close them. */
void inner_streams_abort(struct node *n)
{
    LIST_EACH (s, &n->inner_streams, struct inner_stream, link) {
        if (s->conn)
            tcp_abort(n->shard->netstack, s->conn);
        s->conn = HANDLE_NONE;
        s->error = -ECONNABORTED;
        s->node = NULL;
        list_remove(&s->link);
    }
}

/* Writing to one side: what it takes at once, and what has to wait */
#include "proxy/client.h"

#include <errno.h>
#include <stdio.h>

enum flow way_failure(struct exchange *x, bool to_client)
{
    char text[STREAM_FAILURE_BYTES];

    if (to_client)
        return FLOW_CLIENT_FAILED;
    snprintf(x->why, sizeof(x->why), "%s", stream_failure(x->up->stream, text));
    return FLOW_UPSTREAM_FAILED;
}

/* Takes n bytes off the front of the parts. */
static void advance(struct span **parts, size_t *count, size_t n)
{
    while (*count && n >= (*parts)->len) {
        n -= (*parts)->len;
        ++*parts;
        --*count;
    }
    if (n)
        **parts = span_slice(**parts, n, (*parts)->len);
}

/* A transfer blocks and flows on many times a second, and needs memory for what did not fit only while it is
 * blocked. One such buffer stays with the shard: from the system it would cost a page fault for each 4 KiB.
 */
static void take_spare(struct proxy_shard *shard, struct buf *pending)
{
    *pending = shard->pending;
    buf_init(&shard->pending, PENDING_BYTES_MAX);
}

static void give_spare(struct proxy_shard *shard, struct buf *pending)
{
    if (shard->pending.data) {
        buf_trim(pending);
        return;
    }
    shard->pending = *pending;
    buf_clear(&shard->pending);
    buf_init(pending, PENDING_BYTES_MAX);
}

enum flow way_write(struct exchange *x, bool to_client, struct span *parts, size_t count)
{
    struct way *w = to_client ? &x->out : &x->in;
    struct stream *s = to_client ? x->conn->stream : x->up->stream;
    bool *writable = to_client ? &x->conn->writable : &x->up->writable;

    while (count && !w->pending.len && *writable) {
        ssize_t n = stream_writev(s, parts, count);

        if (to_client)
            conn_wrote(x->conn, n);
        if (n == -EAGAIN)
            *writable = false;
        else if (n < 0)
            return way_failure(x, to_client);
        else
            advance(&parts, &count, (size_t)n);
    }
    if (count && !w->pending.data)
        take_spare(x->conn->service->shard, &w->pending);
    for (; count; parts++, count--)
        if (buf_append(&w->pending, *parts))
            return way_failure(x, to_client);
    w->read_bytes = w->pending.len ? READ_BYTES_SLOW : MIN(w->read_bytes * 2, READ_BYTES);
    return w->pending.len ? FLOW_BLOCKED : FLOW_DONE;
}

enum flow way_flush(struct exchange *x, bool to_client)
{
    struct way *w = to_client ? &x->out : &x->in;
    struct stream *s = to_client ? x->conn->stream : x->up->stream;
    bool *writable = to_client ? &x->conn->writable : &x->up->writable;

    while (w->pending.len && *writable) {
        ssize_t n = stream_write(s, buf_span(&w->pending));

        if (to_client)
            conn_wrote(x->conn, n);
        if (n == -EAGAIN)
            *writable = false;
        else if (n < 0)
            return way_failure(x, to_client);
        else
            buf_consume(&w->pending, (size_t)n);
    }
    if (!w->pending.len)
        give_spare(x->conn->service->shard, &w->pending);
    return w->pending.len ? FLOW_BLOCKED : FLOW_DONE;
}

void gather_begin(struct gather *g, struct exchange *x, bool to_client)
{
    g->x = x;
    g->to_client = to_client;
    g->flow = FLOW_DONE;
    g->count = g->used = 0;
}

void gather_flush(struct gather *g)
{
    enum flow f;

    if (g->count && g->flow == FLOW_DONE) {
        f = way_write(g->x, g->to_client, g->parts, g->count);
        if (f != FLOW_BLOCKED)
            g->flow = f;
    }
    g->count = g->used = 0;
}

void gather_add(struct gather *g, struct span s)
{
    if (g->count == GATHER_PARTS)
        gather_flush(g);
    g->parts[g->count++] = s;
}

void gather_body(struct gather *g, enum http_body framing, struct span s)
{
    int n;

    if (!s.len)
        return;
    if (framing != HTTP_BODY_CHUNKED) {
        gather_add(g, s);
        return;
    }
    if (g->count + 3 > GATHER_PARTS || GATHER_TEXT - g->used < 24)
        gather_flush(g);
    n = snprintf(g->text + g->used, GATHER_TEXT - g->used, "%zx\r\n", s.len);
    gather_add(g, span_make(g->text + g->used, (size_t)n));
    g->used += (size_t)n;
    gather_add(g, s);
    gather_add(g, span_from_str("\r\n"));
}

static void gather_text(struct gather *g, const struct http_head *h,
                        int (*write)(const struct http_head *, struct buf *))
{
    struct buf *out = &g->x->conn->service->shard->out;

    gather_flush(g); /* out may move */
    buf_clear(out);
    if (write(h, out))
        g->flow = g->to_client ? FLOW_CLIENT_FAILED : FLOW_UPSTREAM_FAILED; /* no memory */
    else
        gather_add(g, buf_span(out));
}

void gather_head(struct gather *g, const struct http_head *h)
{
    gather_text(g, h, http_head_write);
}

void gather_trailers(struct gather *g, const struct http_head *t)
{
    gather_add(g, span_from_str("0\r\n"));
    gather_text(g, t, http_head_write_fields);
}

/* Two ends in memory. Bytes lie in `way[i]` (written by end i) and are readable by the other end
 * only as far as `arrived` says, which stream_pair_turn moves on. */
#include "stream/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM_DEFAULT 65536
#define TURNS_MAX 1000000

struct way {
    struct buf bytes; /* written and not yet read */
    size_t written;   /* in total */
    size_t arrived;   /* in total; written - what is still under way */
    size_t taken;     /* in total, by the reader */
    bool ended;       /* the writer has half-closed or closed */
    bool end_arrived;
    bool aborted;
    bool full; /* a write met no room: the writer waits for STREAM_WRITABLE */
};

struct end {
    struct stream base;
    struct stream_pair *pair;
    unsigned pending; /* events to deliver in the next turn */
    bool open;
};

struct stream_pair {
    struct end ends[2];
    struct way way[2];
    struct stream_pair_options options;
    uint8_t *placed; /* options.place bytes */
    int error;
    bool orphan; /* stream_pair_free was called, ends are still open */
};

static int index_of(const struct end *e)
{
    return e == &e->pair->ends[1];
}

static void release(struct stream_pair *p)
{
    if (!p->orphan || p->ends[0].open || p->ends[1].open)
        return;
    buf_deinit(&p->way[0].bytes);
    buf_deinit(&p->way[1].bytes);
    free(p->placed);
    free(p);
}

static ssize_t pair_read(struct stream *s, void *out, size_t len)
{
    struct end *e = CONTAINER_OF(s, struct end, base);
    struct way *in = &e->pair->way[!index_of(e)];
    size_t there = in->arrived - in->taken;

    if (!there) {
        if (e->pair->error)
            return e->pair->error;
        if (in->end_arrived)
            return in->aborted ? -ECONNRESET : 0;
        return -EAGAIN;
    }
    len = MIN(len, there);
    if (!len)
        return -EINVAL;
    memcpy(out, buf_span(&in->bytes).data, len);
    buf_consume(&in->bytes, len);
    in->taken += len;
    return (ssize_t)len;
}

static ssize_t pair_write(struct stream *s, struct span bytes)
{
    struct end *e = CONTAINER_OF(s, struct end, base);
    struct stream_pair *p = e->pair;
    struct way *out = &p->way[index_of(e)];
    size_t room = p->options.room - MIN(p->options.room, out->written - out->taken);

    if (p->error)
        return p->error;
    if (out->ended || !p->ends[!index_of(e)].open)
        return -EPIPE;
    bytes.len = MIN(bytes.len, room);
    if (!bytes.len) {
        out->full = true;
        return -EAGAIN;
    }
    if (buf_append(&out->bytes, bytes) < 0)
        return -ENOMEM;
    out->written += bytes.len;
    return (ssize_t)bytes.len;
}

static ssize_t pair_place(struct stream *s, size_t want, uint8_t **at)
{
    struct end *e = CONTAINER_OF(s, struct end, base);
    struct stream_pair *p = e->pair;
    struct way *out = &p->way[index_of(e)];
    size_t room = p->options.room - MIN(p->options.room, out->written - out->taken);

    if (!p->options.place)
        return 0;
    out->full |= !room;
    *at = p->placed;
    return room ? (ssize_t)MIN(MIN(room, want), p->options.place) : -EAGAIN;
}

static void pair_shutdown(struct stream *s)
{
    struct end *e = CONTAINER_OF(s, struct end, base);

    e->pair->way[index_of(e)].ended = true;
}

static void pair_close(struct stream *s, bool abort)
{
    struct end *e = CONTAINER_OF(s, struct end, base);
    struct way *out = &e->pair->way[index_of(e)];

    if (abort && !out->ended)
        out->aborted = true;
    out->ended = true;
    e->open = false;
    e->pending = 0;
    release(e->pair);
}

static void pair_failure(const struct stream *s, char *out, size_t size)
{
    const struct end *e = CONTAINER_OF(s, struct end, base);

    snprintf(out, size, "%s", err_text(e->pair->error ? e->pair->error : -ECONNRESET));
}

static const struct stream_ops pair_ops = {
    .read = pair_read,
    .write = pair_write,
    .place = pair_place,
    .shutdown = pair_shutdown,
    .close = pair_close,
    .failure = pair_failure,
};

int stream_pair_new(struct stream_pair **out, const struct stream_pair_options *options)
{
    struct stream_pair *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    if (options)
        p->options = *options;
    if (!p->options.room)
        p->options.room = ROOM_DEFAULT;
    p->placed = p->options.place ? malloc(p->options.place) : NULL;
    if (p->options.place && !p->placed) {
        free(p);
        return -ENOMEM;
    }
    for (int i = 0; i < 2; i++) {
        p->ends[i] = (struct end) { .base.ops = &pair_ops, .pair = p, .open = true };
        p->ends[i].pending = STREAM_CONNECTED | STREAM_WRITABLE;
        buf_init(&p->way[i].bytes, p->options.room);
    }
    *out = p;
    return 0;
}

struct stream *stream_pair_end(struct stream_pair *pair, int which)
{
    return &pair->ends[which].base;
}

/* What of way `i` arrives in this turn; true if anything did. */
static bool arrive(struct stream_pair *p, int i)
{
    struct way *w = &p->way[i];
    size_t until = w->written, split = p->options.split_at;
    bool moved = false;

    if (p->error)
        return false; /* what was under way is lost */
    if (p->options.chunk)
        until = MIN(until, w->arrived + p->options.chunk);
    if (split && w->arrived < split)
        until = MIN(until, split);
    if (until > w->arrived) {
        w->arrived = until;
        moved = true;
    }
    if (w->ended && w->arrived == w->written && !w->end_arrived)
        w->end_arrived = moved = true;
    if (moved)
        p->ends[!i].pending |= STREAM_READABLE;
    if (w->full && w->written - w->taken < p->options.room) {
        w->full = false;
        p->ends[i].pending |= STREAM_WRITABLE;
        moved = true;
    }
    return moved;
}

bool stream_pair_turn(struct stream_pair *pair, time_ns now)
{
    bool moved = false;

    for (int i = 0; i < 2; i++)
        moved |= arrive(pair, i);
    for (int i = 0; i < 2; i++) {
        struct end *e = &pair->ends[i];
        unsigned events = e->pending;

        e->pending = 0;
        if (!events || !e->open)
            continue;
        moved = true;
        if (e->base.on_event)
            e->base.on_event(&e->base, events, now);
    }
    return moved;
}

void stream_pair_settle(struct stream_pair *pair, time_ns now)
{
    size_t turns = 0;

    while (stream_pair_turn(pair, now))
        must(++turns < TURNS_MAX);
}

void stream_pair_break(struct stream_pair *pair, int error)
{
    pair->error = error;
    for (int i = 0; i < 2; i++) {
        pair->way[i].arrived = pair->way[i].taken;
        pair->ends[i].pending |= STREAM_READABLE | STREAM_WRITABLE | STREAM_FAILED;
    }
}

size_t stream_pair_written(const struct stream_pair *pair, int which)
{
    return pair->way[which].written;
}

void stream_pair_free(struct stream_pair *pair)
{
    if (!pair)
        return;
    pair->orphan = true;
    release(pair);
}

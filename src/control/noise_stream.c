#include "control/noise_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct noise_stream {
    struct stream base;
    struct stream *below;
    struct noise_session session;
    struct mspan plain; /* opened and not yet read: inside `in` */
    struct buf in;      /* received, from the first record not yet done with */
    size_t opened;      /* bytes at its front that belong to `plain`'s record */
    struct buf out;     /* sealed and not yet written */
    int error;          /* Noise failed: nothing goes on */
    bool shut;          /* half-close once `out` is empty */
    bool blocked;       /* a write met no room: the owner waits for STREAM_WRITABLE */
};

static struct noise_stream *of(struct stream *s)
{
    return CONTAINER_OF(s, struct noise_stream, base);
}

static int broken(struct noise_stream *n, int outcome)
{
    n->error = outcome == NOISE_E_FORGED ? -EBADMSG : -EPROTO;
    return n->error;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* > 0: more bytes in `in`; 0 end; -errno. */
static ssize_t refill(struct noise_stream *n)
{
    struct mspan room;
    ssize_t got;
    int r;

    r = buf_reserve(&n->in, NOISE_FRAME_BYTES_MAX - n->in.len, &room);
    if (r)
        return err_trace(r);
    got = stream_read(n->below, room.data, MIN(room.len, NOISE_FRAME_BYTES_MAX - n->in.len));
    account_moved(ACCOUNT_CONTROL, ACCOUNT_IN, got);
    if (got > 0)
        buf_commit(&n->in, (size_t)got);
    else
        buf_trim(&n->in);
    return got;
}

/* Opens the next record that is not empty. 1: `plain` has bytes; 0 end; -errno. */
static ssize_t open_next(struct noise_stream *n)
{
    for (;;) {
        struct mspan bytes;
        size_t used;
        ssize_t got;
        int r;

        buf_consume(&n->in, n->opened);
        n->opened = 0;
        bytes = (struct mspan) { n->in.data + (n->in.len ? n->in.start : 0), n->in.len };
        r = n->in.len ? noise_open(&n->session, bytes, &used, &n->plain) : NOISE_E_MORE;
        if (r == 0) {
            account_count(ACCOUNT_CONTROL, ACCOUNT_IN, 1, 0);
            n->opened = used;
            if (n->plain.len)
                return 1;
            continue;
        }
        if (r != NOISE_E_MORE)
            return broken(n, r);
        got = refill(n);
        if (got == 0 && n->in.len)
            return -ECONNRESET; /* in the middle of a record */
        if (got <= 0)
            return got;
    }
}

static ssize_t noise_read(struct stream *s, void *out, size_t len)
{
    struct noise_stream *n = of(s);

    if (n->error)
        return n->error;
    if (!len)
        return -EINVAL;
    if (!n->plain.len) {
        ssize_t r = open_next(n);

        if (r <= 0)
            return r;
    }
    len = MIN(len, n->plain.len);
    memcpy(out, n->plain.data, len);
    n->plain = (struct mspan) { n->plain.data + len, n->plain.len - len };
    return (ssize_t)len;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* 0: nothing is left; -EAGAIN; -errno. */
static int flush(struct noise_stream *n)
{
    while (n->out.len) {
        ssize_t wrote = stream_write(n->below, buf_span(&n->out));

        account_moved(ACCOUNT_CONTROL, ACCOUNT_OUT, wrote);

        if (wrote < 0)
            return (int)wrote;
        buf_consume(&n->out, (size_t)wrote);
    }
    buf_deinit(&n->out);
    if (n->shut)
        stream_shutdown(n->below);
    return 0;
}

static int seal_one(struct noise_stream *n, struct span plain)
{
    struct mspan room;
    int r = buf_reserve(&n->out, plain.len + NOISE_OVERHEAD_BYTES, &room);

    if (r)
        return err_trace(r);
    r = noise_seal(&n->session, plain, room.data);
    if (r)
        return broken(n, r);
    buf_commit(&n->out, plain.len + NOISE_OVERHEAD_BYTES);
    account_count(ACCOUNT_CONTROL, ACCOUNT_OUT, 1, 0);
    return 0;
}

static ssize_t noise_write(struct stream *s, struct span bytes)
{
    struct noise_stream *n = of(s);
    size_t taken = 0;
    int r;

    if (n->error)
        return n->error;
    if (n->shut)
        return -EPIPE;
    r = flush(n);
    n->blocked = r == -EAGAIN;
    if (r)
        return r;
    for (int i = 0; i < NOISE_STREAM_WRITE_RECORDS && taken < bytes.len; i++) {
        struct span plain = span_slice(bytes, taken, NOISE_PLAIN_BYTES_MAX);

        r = seal_one(n, plain);
        if (r)
            return r;
        taken += plain.len;
    }
    /* Sealed means taken: what does not go out now goes when the stream below has room. */
    r = flush(n);
    return r && r != -EAGAIN ? r : (ssize_t)taken;
}

static void noise_shutdown(struct stream *s)
{
    struct noise_stream *n = of(s);

    if (n->shut)
        return;
    n->shut = true;
    (void)flush(n); /* a failure shows in the events of the stream below */
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void noise_close(struct stream *s, bool abort)
{
    struct noise_stream *n = of(s);

    if (abort)
        stream_abort(n->below);
    else
        stream_close(n->below);
    noise_session_wipe(&n->session);
    buf_deinit(&n->in);
    buf_deinit(&n->out);
    free(n);
}

static void noise_failure(const struct stream *s, char *out, size_t size)
{
    const struct noise_stream *n = CONTAINER_OF(s, const struct noise_stream, base);
    char below[STREAM_FAILURE_BYTES];

    if (n->error == -EBADMSG)
        snprintf(out, size, "a Noise record was forged or damaged");
    else if (n->error)
        snprintf(out, size, "the server sent something that is not a Noise record");
    else
        snprintf(out, size, "%s", stream_failure(n->below, below));
}

static void noise_memory(const struct stream *s, enum account_part part, struct account_memory *m)
{
    const struct noise_stream *n = CONTAINER_OF((struct stream *)(uintptr_t)s, struct noise_stream, base);

    account_hold_block(m, part, n);
    account_hold_block(m, part, n->in.data);
    account_hold_block(m, part, n->out.data);
    stream_memory(n->below, part, m);
}

static const struct stream_ops noise_ops = {
    .read = noise_read,
    .write = noise_write,
    .shutdown = noise_shutdown,
    .close = noise_close,
    .failure = noise_failure,
    .memory = noise_memory,
};

static void on_below(struct stream *below, unsigned events, time_ns now)
{
    struct noise_stream *n = below->owner;
    unsigned out = events & (STREAM_READABLE | STREAM_FAILED);

    if ((events & STREAM_WRITABLE) && !(events & STREAM_FAILED)) {
        int r = flush(n);

        if (r && r != -EAGAIN)
            out |= STREAM_FAILED;
        else if (!r && n->blocked)
            out |= STREAM_WRITABLE;
        if (!r)
            n->blocked = false;
    }
    if (out)
        n->base.on_event(&n->base, out, now);
}

int noise_stream_new(struct stream **out, struct stream *below, const struct noise_session *session,
                     struct span leftover)
{
    struct noise_stream *n = calloc(1, sizeof(*n));
    int r;

    if (!n)
        return err_trace(-ENOMEM);
    n->base.ops = &noise_ops;
    n->session = *session;
    buf_init(&n->in, MAX((size_t)NOISE_FRAME_BYTES_MAX, leftover.len));
    buf_init(&n->out, NOISE_STREAM_WRITE_RECORDS * NOISE_FRAME_BYTES_MAX);
    r = buf_append(&n->in, leftover);
    if (r) {
        noise_session_wipe(&n->session);
        free(n);
        return err_trace(r);
    }
    n->below = below;
    stream_set_owner(below, n, on_below);
    *out = &n->base;
    return 0;
}

#include "control/frames.h"

#include <errno.h>

void frames_init(struct frames *f)
{
    *f = (struct frames) { 0 };
    buf_init(&f->body, FRAMES_MESSAGE_BYTES_MAX);
}

void frames_deinit(struct frames *f)
{
    buf_deinit(&f->body);
    f->head_len = 0;
    f->delivered = false;
}

bool frames_partial(const struct frames *f)
{
    return f->head_len && !f->delivered;
}

static void take(struct span *in, size_t n)
{
    *in = span_slice(*in, n, in->len);
}

int frames_next(struct frames *f, struct span *in, struct span *message)
{
    size_t want, n;
    int r;

    if (f->delivered)
        frames_deinit(f); /* an idle stream holds no buffer */
    for (; f->head_len < 4; f->head_len++) {
        if (!in->len)
            return FRAMES_E_MORE;
        f->head[f->head_len] = in->data[0];
        take(in, 1);
    }
    want = load_le32(f->head);
    if (!want || want > FRAMES_MESSAGE_BYTES_MAX)
        return FRAMES_E_SIZE; /* before waiting for bytes that would be refused */

    if (!f->body.len && in->len >= want) { /* the usual case: whole in one piece, no copy */
        *message = span_slice(*in, 0, want);
        take(in, want);
        f->delivered = true;
        return 0;
    }
    /* Grows as bytes arrive, not as the length promises. */
    n = MIN(want - f->body.len, in->len);
    r = buf_append(&f->body, span_slice(*in, 0, n));
    if (r)
        return err_trace(r);
    take(in, n);
    if (f->body.len < want)
        return FRAMES_E_MORE;
    *message = buf_span(&f->body);
    f->delivered = true;
    return 0;
}

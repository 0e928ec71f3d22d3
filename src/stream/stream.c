#include "stream/stream.h"

#include <errno.h>

ssize_t stream_writev(struct stream *s, const struct span *parts, size_t count)
{
    ssize_t total = 0;

    if (s->ops->writev)
        return s->ops->writev(s, parts, count);
    for (size_t i = 0; i < count; i++) {
        ssize_t n;

        if (!parts[i].len)
            continue;
        n = stream_write(s, parts[i]);
        if (n < 0)
            return total ? total : n; /* the error comes again at the next call */
        total += n;
        if ((size_t)n < parts[i].len)
            break;
    }
    return total ? total : -EAGAIN;
}

void stream_close(struct stream *s)
{
    if (s)
        s->ops->close(s, false);
}

void stream_abort(struct stream *s)
{
    if (s)
        s->ops->close(s, true);
}

const char *stream_failure(const struct stream *s, char out[STREAM_FAILURE_BYTES])
{
    out[0] = '\0';
    s->ops->failure(s, out, STREAM_FAILURE_BYTES);
    return out;
}

/* base/buf.h - owned bytes that grow up to a limit (part of base.h) */
#ifndef MANYTAILS_BASE_BUF_H
#define MANYTAILS_BASE_BUF_H

#include "base/span.h"

/* A queue of bytes: appended at the end, consumed at the front. Holds no memory while
 * empty after buf_trim. Appending beyond `max` fails with -ENOBUFS and changes nothing. */
struct buf {
    uint8_t *data;
    size_t start; /* first byte not yet consumed */
    size_t len;   /* bytes held */
    size_t cap;
    size_t max;
};

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b); /* frees; usable again as empty with the same max */

static inline struct span buf_span(const struct buf *b)
{
    return (struct span) { b->len ? b->data + b->start : NULL, b->len };
}

NODISCARD int buf_append(struct buf *b, struct span bytes); /* 0, -ENOBUFS, -ENOMEM */
NODISCARD int buf_append_str(struct buf *b, const char *s);
__attribute__((format(printf, 2, 3))) NODISCARD int buf_printf(struct buf *b, const char *fmt, ...);
/* Room to write into: at least `len` bytes; then buf_commit what was written. */
NODISCARD int buf_reserve(struct buf *b, size_t len, struct mspan *out);
void buf_commit(struct buf *b, size_t len);
void buf_consume(struct buf *b, size_t len);
void buf_clear(struct buf *b);
/* Gives the memory back if nothing is held. Call it when going idle. */
void buf_trim(struct buf *b);

#endif

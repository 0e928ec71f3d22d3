#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf) { .max = max };
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

int buf_reserve(struct buf *b, size_t len, struct mspan *out)
{
    size_t need, cap;
    uint8_t *data;

    if (len > b->max || b->len > b->max - len)
        return -ENOBUFS;
    need = b->len + len;
    if (need <= b->cap - b->start && b->data)
        goto done;
    if (b->start && b->len)
        memmove(b->data, b->data + b->start, b->len);
    b->start = 0;
    if (need <= b->cap && b->data)
        goto done;
    cap = MAX(b->cap, (size_t)BUF_FIRST_BYTES);
    while (cap < need)
        cap *= 2;
    cap = MIN(cap, MAX(b->max, (size_t)1));
    data = realloc(b->data, cap);
    if (!data)
        return -ENOMEM;
    b->data = data;
    b->cap = cap;
done:
    *out = (struct mspan) { b->data + b->start + b->len, b->cap - b->start - b->len };
    return 0;
}

void buf_commit(struct buf *b, size_t len)
{
    must(len <= b->cap - b->start - b->len);
    b->len += len;
}

int buf_append(struct buf *b, struct span bytes)
{
    struct mspan room;
    int r;

    if (!bytes.len)
        return 0;
    r = buf_reserve(b, bytes.len, &room);
    if (r)
        return r;
    memcpy(room.data, bytes.data, bytes.len);
    buf_commit(b, bytes.len);
    return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, span_from_str(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    struct mspan room;
    va_list args;
    int len, r;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        return -EINVAL;
    r = buf_reserve(b, (size_t)len + 1, &room);
    if (r)
        return r;
    va_start(args, fmt);
    vsnprintf((char *)room.data, (size_t)len + 1, fmt, args);
    va_end(args);
    buf_commit(b, (size_t)len);
    return 0;
}

void buf_consume(struct buf *b, size_t len)
{
    must(len <= b->len);
    b->len -= len;
    b->start = b->len ? b->start + len : 0;
}

void buf_clear(struct buf *b)
{
    b->start = b->len = 0;
}

void buf_trim(struct buf *b)
{
    if (!b->len)
        buf_deinit(b);
}

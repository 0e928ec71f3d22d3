/* base/span.h - borrowed bytes, and cursors that cannot overrun (part of base.h) */
#ifndef MANYTAILS_BASE_SPAN_H
#define MANYTAILS_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed, read only. The lender says how long it lives. data may be NULL if len is 0. */
struct span {
    const uint8_t *data;
    size_t len;
};

/* Borrowed, writable. */
struct mspan {
    uint8_t *data;
    size_t len;
};

#define SPAN_OF(array) ((struct span) { (const uint8_t *)(array), sizeof(array) })
#define SPAN_NONE ((struct span) { NULL, 0 })

static inline struct span span_make(const void *data, size_t len)
{
    return (struct span) { (const uint8_t *)data, len };
}

static inline struct span span_from_str(const char *s)
{
    return (struct span) { (const uint8_t *)s, s ? strlen(s) : 0 };
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_equal_str(struct span a, const char *s)
{
    return span_equal(a, span_from_str(s));
}

/* Part of s from `from`, at most `len` long; clipped to s. */
static inline struct span span_slice(struct span s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return (struct span) { len ? s.data + from : NULL, len };
}

/* ---- reading ---------------------------------------------------------------
 * A cursor. A read past the end sets `failed`, returns zero, and every later read
 * fails too: parse first, look at `failed` once.
 */
struct reader {
    struct span rest;
    bool failed;
};

static inline struct reader reader_of(struct span s)
{
    return (struct reader) { .rest = s };
}

struct span reader_bytes(struct reader *r, size_t len);    /* borrowed from the source */
void reader_copy(struct reader *r, void *out, size_t len); /* zeroes out on failure */
uint8_t reader_u8(struct reader *r);
uint16_t reader_be16(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be64(struct reader *r);
uint16_t reader_le16(struct reader *r);
uint32_t reader_le32(struct reader *r);
uint64_t reader_le64(struct reader *r);

/* ---- writing ---------------------------------------------------------------
 * A cursor over room that somebody else owns. A write past the end sets `failed`
 * and writes nothing; `at` then stays where it was.
 */
struct writer {
    uint8_t *start;
    size_t at;
    size_t size;
    bool failed;
};

static inline struct writer writer_of(void *room, size_t size)
{
    return (struct writer) { .start = (uint8_t *)room, .size = size };
}

static inline struct span writer_done(const struct writer *w)
{
    return (struct span) { w->start, w->at };
}

void writer_bytes(struct writer *w, struct span bytes);
void writer_zero(struct writer *w, size_t len);
void writer_u8(struct writer *w, uint8_t v);
void writer_be16(struct writer *w, uint16_t v);
void writer_be32(struct writer *w, uint32_t v);
void writer_be64(struct writer *w, uint64_t v);
void writer_le16(struct writer *w, uint16_t v);
void writer_le32(struct writer *w, uint32_t v);
void writer_le64(struct writer *w, uint64_t v);

/* Unaligned loads and stores for places where a cursor would be noise. */
static inline uint16_t load_be16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] << 8 | b[1]);
}
static inline uint32_t load_be32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}
static inline uint32_t load_le32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}
static inline uint64_t load_le64(const void *p)
{
    return (uint64_t)load_le32((const uint8_t *)p + 4) << 32 | load_le32(p);
}
static inline void store_be16(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)(v >> 8);
    b[1] = (uint8_t)v;
}
static inline void store_be32(void *p, uint32_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)(v >> 24);
    b[1] = (uint8_t)(v >> 16);
    b[2] = (uint8_t)(v >> 8);
    b[3] = (uint8_t)v;
}
static inline void store_le32(void *p, uint32_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
    b[2] = (uint8_t)(v >> 16);
    b[3] = (uint8_t)(v >> 24);
}
static inline void store_le64(void *p, uint64_t v)
{
    store_le32(p, (uint32_t)v);
    store_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif

#include "base/base.h"

static const uint8_t *take(struct reader *r, size_t len)
{
    const uint8_t *at = r->rest.data;

    if (r->failed || len > r->rest.len) {
        r->failed = true;
        return NULL;
    }
    if (len) {
        r->rest.data += len;
        r->rest.len -= len;
    }
    return at;
}

struct span reader_bytes(struct reader *r, size_t len)
{
    const uint8_t *at = take(r, len);

    return r->failed ? SPAN_NONE : span_make(at, len);
}

void reader_copy(struct reader *r, void *out, size_t len)
{
    const uint8_t *at = take(r, len);

    if (!len)
        return;
    if (r->failed)
        memset(out, 0, len);
    else
        memcpy(out, at, len);
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *at = take(r, 1);

    return at ? *at : 0;
}

uint16_t reader_be16(struct reader *r)
{
    const uint8_t *at = take(r, 2);

    return at ? load_be16(at) : 0;
}

uint32_t reader_be32(struct reader *r)
{
    const uint8_t *at = take(r, 4);

    return at ? load_be32(at) : 0;
}

uint64_t reader_be64(struct reader *r)
{
    const uint8_t *at = take(r, 8);

    return at ? (uint64_t)load_be32(at) << 32 | load_be32(at + 4) : 0;
}

uint16_t reader_le16(struct reader *r)
{
    const uint8_t *at = take(r, 2);

    return at ? (uint16_t)(at[0] | at[1] << 8) : 0;
}

uint32_t reader_le32(struct reader *r)
{
    const uint8_t *at = take(r, 4);

    return at ? load_le32(at) : 0;
}

uint64_t reader_le64(struct reader *r)
{
    const uint8_t *at = take(r, 8);

    return at ? load_le64(at) : 0;
}

/* Room for len bytes, or NULL with `failed` set. */
static uint8_t *claim(struct writer *w, size_t len)
{
    uint8_t *at = w->start + w->at;

    if (w->failed || len > w->size - w->at) {
        w->failed = true;
        return NULL;
    }
    w->at += len;
    return at;
}

void writer_bytes(struct writer *w, struct span bytes)
{
    uint8_t *at = claim(w, bytes.len);

    if (at && bytes.len)
        memcpy(at, bytes.data, bytes.len);
}

void writer_zero(struct writer *w, size_t len)
{
    uint8_t *at = claim(w, len);

    if (at && len)
        memset(at, 0, len);
}

void writer_u8(struct writer *w, uint8_t v)
{
    uint8_t *at = claim(w, 1);

    if (at)
        *at = v;
}

void writer_be16(struct writer *w, uint16_t v)
{
    uint8_t *at = claim(w, 2);

    if (at)
        store_be16(at, v);
}

void writer_be32(struct writer *w, uint32_t v)
{
    uint8_t *at = claim(w, 4);

    if (at)
        store_be32(at, v);
}

void writer_be64(struct writer *w, uint64_t v)
{
    uint8_t *at = claim(w, 8);

    if (at) {
        store_be32(at, (uint32_t)(v >> 32));
        store_be32(at + 4, (uint32_t)v);
    }
}

void writer_le16(struct writer *w, uint16_t v)
{
    uint8_t *at = claim(w, 2);

    if (at) {
        at[0] = (uint8_t)v;
        at[1] = (uint8_t)(v >> 8);
    }
}

void writer_le32(struct writer *w, uint32_t v)
{
    uint8_t *at = claim(w, 4);

    if (at)
        store_le32(at, v);
}

void writer_le64(struct writer *w, uint64_t v)
{
    uint8_t *at = claim(w, 8);

    if (at)
        store_le64(at, v);
}

#include "state/pack.h"

#include <errno.h>
#include <stdio.h>
#include <zstd.h>

#define LEVEL 2           /* of half a megabyte 100 bytes in 0.5 ms; a higher one finds no more */
#define WINDOW_LOG_MIN 17 /* base and text must both be inside */
#define WINDOW_LOG_MAX 27

static int window_log(size_t bytes)
{
    int log = WINDOW_LOG_MIN;

    while (log < WINDOW_LOG_MAX && ((size_t)1 << log) < bytes)
        log++;
    return log;
}

bool pack_head(struct span packed, uint64_t *base, size_t *len, struct span *frame)
{
    const uint8_t *end = packed.len ? memchr(packed.data, '\n', MIN(packed.len, PACK_HEAD_BYTES_MAX)) : NULL;
    struct span head = end ? span_make(packed.data, (size_t)(end - packed.data)) : SPAN_NONE;
    uint8_t id[8];
    uint64_t n;

    if (!text_starts_with(head, "packed ") || head.len < 7 + 16 + 2 || head.data[7 + 16] != ' ' ||
        !hex_decode(span_slice(head, 7, 16), id, sizeof(id)) ||
        !text_parse_u64(span_slice(head, 7 + 16 + 1, head.len), SIZE_MAX / 2, &n))
        return false;
    *base = (uint64_t)load_be32(id) << 32 | load_be32(id + 4);
    *len = (size_t)n;
    *frame = span_slice(packed, head.len + 1, packed.len);
    return true;
}

static int failed(size_t r)
{
    return ZSTD_isError(r) ? -ENOMEM : 0;
}

int pack(struct span text, uint64_t base_id, struct span base, struct buf *out)
{
    size_t bound = ZSTD_compressBound(text.len), n;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    struct mspan room;
    int r = c ? buf_printf(out, "packed %016llx %zu\n", (unsigned long long)base_id, text.len) : -ENOMEM;

    if (!r)
        r = buf_reserve(out, bound, &room);
    if (!r)
        r = failed(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL));
    if (!r)
        r = failed(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1));
    if (!r)
        r = failed(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log(text.len + base.len)));
    if (!r && base.len)
        r = failed(ZSTD_CCtx_refPrefix(c, base.data, base.len));
    if (!r) {
        n = ZSTD_compress2(c, room.data, room.len, text.data, text.len);
        r = failed(n);
        if (!r)
            buf_commit(out, n);
    }
    ZSTD_freeCCtx(c);
    return r;
}

int unpack(struct span frame, size_t len, struct span base, struct buf *out)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    struct mspan room;
    size_t n;
    int r = d ? buf_reserve(out, len + 1, &room) : -ENOMEM; /* one more: a longer text is noticed */

    if (!r)
        r = failed(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, WINDOW_LOG_MAX));
    if (!r && base.len)
        r = failed(ZSTD_DCtx_refPrefix(d, base.data, base.len));
    if (!r) {
        n = ZSTD_decompressDCtx(d, room.data, len + 1, frame.data, frame.len);
        if (ZSTD_isError(n) || n != len)
            r = PACK_E_DAMAGED;
        else
            buf_commit(out, n);
    }
    ZSTD_freeDCtx(d);
    return r;
}

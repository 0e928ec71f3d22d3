#include "control/unzip.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#define UNZIP_STEP_BYTES (64u << 10)

void unzip_deinit(struct unzip *u)
{
    ZSTD_freeDCtx(u->context);
    u->context = NULL;
}

static int prepare(struct unzip *u)
{
    if (!u->context) {
        u->context = ZSTD_createDCtx();
        if (!u->context)
            return err_trace(-ENOMEM);
    }
    ZSTD_DCtx_reset(u->context, ZSTD_reset_session_and_parameters);
    must(!ZSTD_isError(ZSTD_DCtx_setParameter(u->context, ZSTD_d_windowLogMax, UNZIP_WINDOW_LOG_MAX)));
    return 0;
}

/* How much room to take at once: what the frame says it holds, if it says so, else in steps. */
static int first_room(struct span message, size_t *step)
{
    unsigned long long size = ZSTD_getFrameContentSize(message.data, message.len);

    if (size == ZSTD_CONTENTSIZE_ERROR)
        return UNZIP_E_BROKEN;
    if (size != ZSTD_CONTENTSIZE_UNKNOWN && size > UNZIP_BYTES_MAX)
        return UNZIP_E_TOO_BIG;
    /* A small frame may claim a lot: it gets more than a step only for bytes that really are there. */
    *step = UNZIP_STEP_BYTES;
    if (size != ZSTD_CONTENTSIZE_UNKNOWN && size / 64 <= message.len)
        *step = (size_t)MAX(size, 1u);
    return 0;
}

static int decompress(ZSTD_DCtx *context, struct span message, size_t step, struct buf *room)
{
    ZSTD_inBuffer in = { message.data, message.len, 0 };
    size_t left = 1;

    while (left) {
        struct mspan space;
        ZSTD_outBuffer out;
        size_t before = in.pos;
        int r = buf_reserve(room, MIN(step, UNZIP_BYTES_MAX + 1 - room->len), &space);

        if (r == -ENOBUFS)
            return UNZIP_E_TOO_BIG;
        if (r)
            return err_trace(r);
        out = (ZSTD_outBuffer) { space.data, space.len, 0 };
        left = ZSTD_decompressStream(context, &out, &in);
        if (ZSTD_isError(left))
            return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? err_trace(-ENOMEM)
                                                                           : UNZIP_E_BROKEN;
        buf_commit(room, out.pos);
        if (room->len > UNZIP_BYTES_MAX)
            return UNZIP_E_TOO_BIG;
        if (left && !out.pos && in.pos == before)
            return UNZIP_E_BROKEN; /* it wants more than the message has */
    }
    return in.pos == in.size ? 0 : UNZIP_E_BROKEN;
}

int unzip_message(struct unzip *u, struct span message, struct buf *room, struct span *out)
{
    size_t step = 0;
    int r;

    buf_init(room, UNZIP_BYTES_MAX + 1);
    if (message.len && message.data[0] == '{') {
        *out = message;
        return 0;
    }
    r = first_room(message, &step);
    if (!r)
        r = prepare(u);
    if (!r)
        r = decompress(u->context, message, step, room);
    if (r)
        buf_deinit(room);
    else
        *out = buf_span(room);
    return r;
}

#include "lab/zip.h"

#include <errno.h>
#include <zstd.h>

#define LEVEL 1 /* messages are small and the machine has other things to do */

void zip_deinit(struct zip *z)
{
    ZSTD_freeCCtx(z->context);
    z->context = NULL;
}

int zip_message(struct zip *z, struct span plain, struct buf *out)
{
    struct mspan room;
    size_t n;
    int r = buf_reserve(out, ZSTD_compressBound(plain.len), &room);

    if (r)
        return r;
    if (!z->context)
        z->context = ZSTD_createCCtx();
    if (!z->context)
        return -ENOMEM;
    n = ZSTD_compressCCtx(z->context, room.data, room.len, plain.data, plain.len, LEVEL);
    if (ZSTD_isError(n))
        return -ENOMEM; /* the room is enough by definition */
    buf_commit(out, n);
    return 0;
}

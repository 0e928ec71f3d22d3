/* lab/zip.h - zstd frames of map messages, one frame a message */
#ifndef MANYTAILS_LAB_ZIP_H
#define MANYTAILS_LAB_ZIP_H

#include "base/base.h"

struct zip {
    void *context; /* made when first used */
};

void zip_deinit(struct zip *z);
/* Appends the frame of `plain` to `out`. 0, -ENOBUFS, -ENOMEM. */
NODISCARD int zip_message(struct zip *z, struct span plain, struct buf *out);

#endif

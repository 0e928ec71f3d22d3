/* control/unzip.h - opening messages of the map stream (inside control/)
 *
 * Each message is one zstd frame of its own, or plain JSON: the first bytes tell, so both are taken whatever
 * was asked for. One decompression context serves all clients of a thread, is made when the first compressed
 * message comes and is given back when it was idle.
 */
#ifndef MANYTAILS_CONTROL_UNZIP_H
#define MANYTAILS_CONTROL_UNZIP_H

#include "base/base.h"

#define UNZIP_BYTES_MAX (64u << 20) /* decompressed; a tailnet of 10,000 peers has about 8 MB */
#define UNZIP_WINDOW_LOG_MAX 24     /* servers use up to 8 MiB; a frame may not make us take 128 */

enum unzip_outcome {
    UNZIP_E_BROKEN = 1, /* neither JSON nor one whole zstd frame */
    UNZIP_E_TOO_BIG,
};

struct unzip {
    void *context; /* ZSTD_DCtx; NULL while idle */
};

void unzip_deinit(struct unzip *u); /* gives the context back; usable again */

/* 0: *out is the JSON. Either `message` itself or memory in *room, which the caller deinits. -ENOMEM. */
NODISCARD int unzip_message(struct unzip *u, struct span message, struct buf *room, struct span *out);

#endif

/* state/pack.h - netmaps on disk, small
 *
 * The nodes of a process see nearly the same tailnet, so their netmaps are nearly the same text. One of them
 * is kept whole as a "base" beside the nodes' folders, and each node's file is compressed with the base as
 * what came before it: of half a megabyte some hundred bytes remain (docs/protocol/state.md). Without a base
 * it is compressed by itself.
 *
 * Pure: bytes in, bytes out. A packed text: "packed <16 hex digits of the base, or zeros> <length>\n", then
 * a zstd frame with its checksum.
 */
#ifndef MANYTAILS_STATE_PACK_H
#define MANYTAILS_STATE_PACK_H

#include "base/base.h"

#define PACK_HEAD_BYTES_MAX 40

enum pack_outcome { PACK_E_DAMAGED = 1 };

/* Is it packed, and which base does it need (0: none)? *frame: what follows the head. */
bool pack_head(struct span packed, uint64_t *base, size_t *len, struct span *frame);
/* Appends to *out; `base` empty: by itself. -ENOMEM, -ENOBUFS. */
NODISCARD int pack(struct span text, uint64_t base_id, struct span base, struct buf *out);
/* Appends the text to *out. PACK_E_DAMAGED: no frame, another base, or another length; -ENOMEM, -ENOBUFS. */
NODISCARD int unpack(struct span frame, size_t len, struct span base, struct buf *out);

#endif

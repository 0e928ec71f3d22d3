/* base/slab.h - bounded pools of equal objects with handles (part of base.h)
 *
 * A handle is index and generation: it stays harmless when the object is gone, because
 * slab_get then says NULL. Memory comes in blocks as it is needed, never more than `max`
 * objects. A block whose objects are all gone goes back to the heap, except one, so that a
 * pool at a block's edge does not thrash; its generations go on where they stopped.
 */
#ifndef MANYTAILS_BASE_SLAB_H
#define MANYTAILS_BASE_SLAB_H

#include "base/base.h"

/* 0 is no handle. */
typedef uint64_t handle;
#define HANDLE_NONE ((handle)0)

struct slab {
    struct slab_block *blocks;
    size_t object_bytes; /* with the header, rounded to alignment */
    uint32_t block_count;
    uint32_t used; /* objects alive */
    uint32_t high; /* slots ever handed out */
    uint32_t max;
    uint32_t open;      /* first block with a free slot: index + 1; 0: none */
    uint32_t open_last; /* blocks without memory are at this end */
    uint32_t empty;     /* the block that is kept though nothing in it is alive; 0: none */
};

void slab_init(struct slab *s, size_t object_bytes, uint32_t max);
void slab_deinit(struct slab *s); /* objects still alive are not visited */
/* Zeroed object, or NULL when `max` are alive or memory is out. */
NODISCARD void *slab_alloc(struct slab *s);
void slab_release(struct slab *s, void *object); /* NULL is fine; handles to it die */
handle slab_handle(const struct slab *s, const void *object);
uint32_t slab_index(const struct slab *s, const void *object); /* small, dense, reused */
void *slab_get(const struct slab *s, handle h);                /* NULL if it is gone */
void *slab_at(const struct slab *s, uint32_t index);           /* NULL if nothing is alive there */
size_t slab_memory(const struct slab *s);                      /* bytes of heap it holds */
/* First object alive at or after *index; moves *index past it. NULL at the end. */
void *slab_next(const struct slab *s, uint32_t *index);

#endif

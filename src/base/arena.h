/* base/arena.h - memory that is freed all at once (part of base.h)
 *
 * For what lives exactly as long as one message or request. Nothing is freed singly.
 */
#ifndef MANYTAILS_BASE_ARENA_H
#define MANYTAILS_BASE_ARENA_H

#include "base/span.h"

struct arena {
    struct arena_block *blocks; /* the newest first */
    size_t at, size;            /* within the newest */
    size_t held;                /* bytes of all blocks */
    size_t max;
    bool failed; /* an allocation was refused; stays: look at it once at the end */
};

void arena_init(struct arena *a, size_t max);
void arena_deinit(struct arena *a); /* frees; usable again as empty with the same max */

/* Zeroed and aligned for anything; NULL (and `failed`) when `max` or memory is reached. size 0 is fine. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_array(struct arena *a, size_t count, size_t size);
/* Copy, with a NUL behind it that is not counted. Empty with `failed` when there is no room. */
struct span arena_copy(struct arena *a, struct span bytes);

#define ARENA_NEW(arena, type) ((type *)arena_alloc(arena, sizeof(type)))
#define ARENA_ARRAY(arena, count, type) ((type *)arena_array(arena, count, sizeof(type)))

#endif

#include "base/base.h"

#include <stdlib.h>

#define BLOCK_BYTES_FIRST 256
#define BLOCK_BYTES_MAX 65536

struct arena_block {
    struct arena_block *next;
    alignas(max_align_t) uint8_t bytes[];
};

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena) { .max = max };
}

void arena_deinit(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;

        free(a->blocks);
        a->blocks = next;
    }
    arena_init(a, a->max);
}

/* Blocks double, so that a small message costs little and a large one few calls. */
static bool add_block(struct arena *a, size_t size)
{
    size_t bytes = MIN(MAX(a->held, (size_t)BLOCK_BYTES_FIRST), (size_t)BLOCK_BYTES_MAX);
    struct arena_block *block;

    if (size > a->max || a->held > a->max - size)
        return false;
    bytes = MAX(MIN(bytes, a->max - a->held), size);
    block = calloc(1, sizeof(*block) + bytes);
    if (!block)
        return false;
    block->next = a->blocks;
    a->blocks = block;
    a->at = 0;
    a->size = bytes;
    a->held += bytes;
    return true;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t align = alignof(max_align_t), rounded = (size + align - 1) & ~(align - 1);
    void *out;

    if (!rounded)
        rounded = align;
    if (rounded < size || (rounded > a->size - a->at && !add_block(a, rounded))) {
        a->failed = true;
        return NULL;
    }
    out = a->blocks->bytes + a->at;
    a->at += rounded;
    return out;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        a->failed = true;
        return NULL;
    }
    return arena_alloc(a, bytes);
}

struct span arena_copy(struct arena *a, struct span bytes)
{
    uint8_t *copy = arena_alloc(a, bytes.len + 1);

    if (!copy)
        return SPAN_NONE;
    if (bytes.len)
        memcpy(copy, bytes.data, bytes.len);
    return span_make(copy, bytes.len);
}

#include "base/base.h"

#include <stdlib.h>

#define BLOCK_SLOTS 64

/* In front of every object. The generation is odd while the object is alive. */
struct slot {
    uint32_t generation;
    uint32_t index;
    uint32_t next_free; /* index + 1 */
    uint32_t unused;
};

#define HEADER_BYTES sizeof(struct slot)

static struct slot *slot_at(const struct slab *s, uint32_t index)
{
    return (struct slot *)(s->blocks[index / BLOCK_SLOTS] + (index % BLOCK_SLOTS) * s->object_bytes);
}

static struct slot *slot_of(const void *object)
{
    return (struct slot *)((uint8_t *)(uintptr_t)object - HEADER_BYTES);
}

static void *object_of(struct slot *slot)
{
    return (uint8_t *)slot + HEADER_BYTES;
}

void slab_init(struct slab *s, size_t object_bytes, uint32_t max)
{
    size_t align = alignof(max_align_t);
    size_t whole = HEADER_BYTES + object_bytes;

    *s = (struct slab) { .object_bytes = (whole + align - 1) / align * align, .max = max };
}

void slab_deinit(struct slab *s)
{
    for (uint32_t i = 0; i < s->block_count; i++)
        free(s->blocks[i]);
    free(s->blocks);
    *s = (struct slab) { .object_bytes = s->object_bytes, .max = s->max };
}

static bool add_block(struct slab *s)
{
    uint8_t **blocks = realloc(s->blocks, (s->block_count + 1) * sizeof(*blocks));

    if (!blocks)
        return false;
    s->blocks = blocks;
    blocks[s->block_count] = calloc(BLOCK_SLOTS, s->object_bytes);
    if (!blocks[s->block_count])
        return false;
    s->block_count++;
    return true;
}

void *slab_alloc(struct slab *s)
{
    struct slot *slot;

    if (s->used >= s->max)
        return NULL;
    if (s->free_head) {
        slot = slot_at(s, s->free_head - 1);
        s->free_head = slot->next_free;
    } else {
        if (s->high == s->block_count * BLOCK_SLOTS && !add_block(s))
            return NULL;
        slot = slot_at(s, s->high);
        slot->index = s->high++;
    }
    slot->generation++;
    s->used++;
    memset(object_of(slot), 0, s->object_bytes - HEADER_BYTES);
    return object_of(slot);
}

void slab_release(struct slab *s, void *object)
{
    struct slot *slot;

    if (!object)
        return;
    slot = slot_of(object);
    must(slot->generation & 1);
    slot->generation++;
    slot->next_free = s->free_head;
    s->free_head = slot->index + 1;
    s->used--;
}

handle slab_handle(const struct slab *s, const void *object)
{
    const struct slot *slot = slot_of(object);

    (void)s;
    return (uint64_t)slot->generation << 32 | slot->index;
}

uint32_t slab_index(const struct slab *s, const void *object)
{
    (void)s;
    return slot_of(object)->index;
}

void *slab_get(const struct slab *s, handle h)
{
    uint32_t index = (uint32_t)h;
    struct slot *slot;

    if (h == HANDLE_NONE || index >= s->high)
        return NULL;
    slot = slot_at(s, index);
    return slot->generation == (uint32_t)(h >> 32) && (slot->generation & 1) ? object_of(slot) : NULL;
}

void *slab_at(const struct slab *s, uint32_t index)
{
    if (index >= s->high)
        return NULL;
    return slot_at(s, index)->generation & 1 ? object_of(slot_at(s, index)) : NULL;
}

void *slab_next(const struct slab *s, uint32_t *index)
{
    while (*index < s->high) {
        struct slot *slot = slot_at(s, (*index)++);

        if (slot->generation & 1)
            return object_of(slot);
    }
    return NULL;
}

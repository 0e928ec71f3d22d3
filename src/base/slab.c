#include "base/base.h"

#include <stdlib.h>

#define BLOCK_SLOTS 64

/* In front of every object. The generation is odd while the object is alive. */
struct slot {
    uint32_t generation;
    uint32_t index;
    uint32_t next_free; /* slot within the block + 1 */
    uint32_t unused;
};

struct slab_block {
    uint8_t *memory;     /* NULL: given back */
    uint32_t generation; /* of all its slots when it next gets memory; even */
    uint32_t next, prev; /* open blocks: index + 1 */
    uint16_t used;       /* objects alive */
    uint16_t fresh;      /* slots handed out since it got its memory */
    uint16_t free_head;  /* slot + 1; 0: none */
};

#define HEADER_BYTES sizeof(struct slot)

static struct slot *slot_in(const struct slab *s, const struct slab_block *b, uint32_t at)
{
    return (struct slot *)(b->memory + at * s->object_bytes);
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
        free(s->blocks[i].memory);
    free(s->blocks);
    *s = (struct slab) { .object_bytes = s->object_bytes, .max = s->max };
}

/* Blocks with memory are found first. */
static void open_block(struct slab *s, uint32_t block, bool first)
{
    struct slab_block *b = &s->blocks[block];
    uint32_t me = block + 1;

    b->prev = first ? 0 : s->open_last;
    b->next = first ? s->open : 0;
    *(b->prev ? &s->blocks[b->prev - 1].next : &s->open) = me;
    *(b->next ? &s->blocks[b->next - 1].prev : &s->open_last) = me;
}

static void close_block(struct slab *s, uint32_t block)
{
    struct slab_block *b = &s->blocks[block];

    *(b->prev ? &s->blocks[b->prev - 1].next : &s->open) = b->next;
    *(b->next ? &s->blocks[b->next - 1].prev : &s->open_last) = b->prev;
}

static bool add_block(struct slab *s)
{
    struct slab_block *blocks = realloc(s->blocks, (s->block_count + 1) * sizeof(*blocks));

    if (!blocks)
        return false;
    s->blocks = blocks;
    blocks[s->block_count] = (struct slab_block) { .memory = NULL };
    open_block(s, s->block_count++, true);
    return true;
}

/* A slot of the block that is not alive; a fresh one goes on with the block's generation. */
static struct slot *take_slot(struct slab *s, uint32_t block)
{
    struct slab_block *b = &s->blocks[block];
    struct slot *slot;

    if (b->free_head) {
        slot = slot_in(s, b, b->free_head - 1u);
        b->free_head = (uint16_t)slot->next_free;
    } else {
        slot = slot_in(s, b, b->fresh);
        slot->generation = b->generation;
        slot->index = block * BLOCK_SLOTS + b->fresh++;
        s->high = MAX(s->high, slot->index + 1);
    }
    if (++b->used == BLOCK_SLOTS)
        close_block(s, block);
    return slot;
}

void *slab_alloc(struct slab *s)
{
    struct slot *slot;
    uint32_t block;

    if (s->used >= s->max || (!s->open && !add_block(s)))
        return NULL;
    block = s->open - 1;
    if (!s->blocks[block].memory) {
        s->blocks[block].memory = malloc(BLOCK_SLOTS * s->object_bytes);
        if (!s->blocks[block].memory)
            return NULL;
    }
    if (s->empty == block + 1)
        s->empty = 0;
    slot = take_slot(s, block);
    slot->generation++;
    s->used++;
    memset(object_of(slot), 0, s->object_bytes - HEADER_BYTES);
    return object_of(slot);
}

/* The block's memory goes, and no handle into it may ever fit again. */
static void give_back(struct slab *s, uint32_t block)
{
    struct slab_block *b = &s->blocks[block];

    for (uint32_t i = 0; i < b->fresh; i++)
        b->generation = MAX(b->generation, slot_in(s, b, i)->generation);
    free(b->memory);
    b->memory = NULL;
    b->fresh = b->free_head = 0;
    close_block(s, block);
    open_block(s, block, false);
}

void slab_release(struct slab *s, void *object)
{
    struct slot *slot;
    struct slab_block *b;
    uint32_t block;

    if (!object)
        return;
    slot = slot_of(object);
    block = slot->index / BLOCK_SLOTS;
    b = &s->blocks[block];
    must(slot->generation & 1);
    slot->generation++;
    slot->next_free = b->free_head;
    b->free_head = (uint16_t)(slot->index % BLOCK_SLOTS + 1);
    s->used--;
    if (b->used-- == BLOCK_SLOTS)
        open_block(s, block, true);
    if (b->used)
        return;
    if (s->empty)
        give_back(s, block);
    else
        s->empty = block + 1;
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

/* NULL if the slot was not handed out since its block got its memory. */
static struct slot *slot_at(const struct slab *s, uint32_t index)
{
    const struct slab_block *b;

    if (index >= s->high)
        return NULL;
    b = &s->blocks[index / BLOCK_SLOTS];
    return b->memory && index % BLOCK_SLOTS < b->fresh ? slot_in(s, b, index % BLOCK_SLOTS) : NULL;
}

void *slab_get(const struct slab *s, handle h)
{
    struct slot *slot = slot_at(s, (uint32_t)h);

    return slot && slot->generation == (uint32_t)(h >> 32) && (slot->generation & 1) ? object_of(slot) : NULL;
}

void *slab_at(const struct slab *s, uint32_t index)
{
    struct slot *slot = slot_at(s, index);

    return slot && (slot->generation & 1) ? object_of(slot) : NULL;
}

void *slab_next(const struct slab *s, uint32_t *index)
{
    while (*index < s->high) {
        void *object = slab_at(s, (*index)++);

        if (object)
            return object;
    }
    return NULL;
}

size_t slab_memory(const struct slab *s)
{
    size_t bytes = s->block_count * sizeof(*s->blocks);

    for (uint32_t i = 0; i < s->block_count; i++)
        bytes += s->blocks[i].memory ? BLOCK_SLOTS * s->object_bytes : 0;
    return bytes;
}

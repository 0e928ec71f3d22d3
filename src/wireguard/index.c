#include "wireguard/index.h"

#include <errno.h>
#include <stdlib.h>

#define GENERATIONS (1u << INDEX_GENERATION_BITS)
#define FIRST_ROOM 64

static uint32_t round_value(uint64_t key, uint32_t v)
{
    uint64_t x = (v + (key >> 32) + 1) * (key | 1);

    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9;
    return (uint32_t)(x >> 32);
}

/* A Feistel network over the bits above the shard; the halves may differ by one bit. */
static uint32_t permute(const struct index_table *t, uint32_t v)
{
    unsigned width = INDEX_BITS - t->shard_bits, low = width / 2;
    uint32_t low_mask = BIT(low) - 1, high_mask = BIT(width - low) - 1;
    uint32_t l = v >> low, r = v & low_mask;

    l ^= round_value(t->keys[0], r) & high_mask;
    r ^= round_value(t->keys[1], l) & low_mask;
    l ^= round_value(t->keys[2], r) & high_mask;
    r ^= round_value(t->keys[3], l) & low_mask;
    return l << low | r;
}

static uint32_t permute_back(const struct index_table *t, uint32_t v)
{
    unsigned width = INDEX_BITS - t->shard_bits, low = width / 2;
    uint32_t low_mask = BIT(low) - 1, high_mask = BIT(width - low) - 1;
    uint32_t l = v >> low, r = v & low_mask;

    r ^= round_value(t->keys[3], l) & low_mask;
    l ^= round_value(t->keys[2], r) & high_mask;
    r ^= round_value(t->keys[1], l) & low_mask;
    l ^= round_value(t->keys[0], r) & high_mask;
    return l << low | r;
}

void index_table_init(struct index_table *t, unsigned shard, unsigned shard_bits, const uint64_t keys[4])
{
    must(shard_bits <= WIREGUARD_SHARD_BITS_MAX && shard < BIT(shard_bits));
    *t = (struct index_table) { .shard = shard, .shard_bits = shard_bits };
    memcpy(t->keys, keys, sizeof(t->keys));
}

void index_table_deinit(struct index_table *t)
{
    must(t->used == 0);
    free(t->entries);
    *t = (struct index_table) { 0 };
}

static int add_slot(struct index_table *t)
{
    uint32_t max = BIT(INDEX_BITS - INDEX_GENERATION_BITS - t->shard_bits);
    uint32_t room = t->room ? MIN(t->room * 2, max) : FIRST_ROOM;
    struct index_entry *entries;

    if (t->count == max)
        return WIREGUARD_E_FULL;
    if (t->count == t->room) {
        entries = realloc(t->entries, room * sizeof(*entries));
        if (!entries)
            return -ENOMEM;
        t->entries = entries;
        t->room = room;
    }
    t->entries[t->count] = (struct index_entry) { .next = t->free_head };
    t->free_head = ++t->count;
    return 0;
}

/* The longest resting one becomes free if its time is over. */
static void end_rest(struct index_table *t, time_ns now)
{
    uint32_t slot = t->rest_head - 1;
    struct index_entry *e;

    if (!t->rest_head)
        return;
    e = &t->entries[slot];
    if (e->rests_until > now)
        return;
    t->rest_head = e->next;
    if (!t->rest_head)
        t->rest_tail = 0;
    e->next = t->free_head;
    t->free_head = slot + 1;
}

int index_alloc(struct index_table *t, enum index_kind kind, void *owner, time_ns now, uint32_t *out)
{
    struct index_entry *e;
    uint32_t slot;

    must(kind != INDEX_FREE && owner);
    end_rest(t, now);
    if (!t->free_head) {
        int r = add_slot(t);

        if (r)
            return r;
    }
    slot = t->free_head - 1;
    e = &t->entries[slot];
    t->free_head = e->next;
    e->kind = (uint8_t)kind;
    e->owner = owner;
    t->used++;
    *out = permute(t, slot << INDEX_GENERATION_BITS | e->generation) << t->shard_bits | t->shard;
    return 0;
}

/* The slot that this index names now, whether used or not; NULL if there is none. */
static struct index_entry *entry_of(const struct index_table *t, uint32_t index)
{
    uint32_t v = permute_back(t, index >> t->shard_bits), slot = v >> INDEX_GENERATION_BITS;

    if (!index_is_here(t, index) || slot >= t->count)
        return NULL;
    return t->entries[slot].generation == (v & (GENERATIONS - 1)) ? &t->entries[slot] : NULL;
}

void *index_get(const struct index_table *t, uint32_t index, enum index_kind *kind)
{
    const struct index_entry *e = entry_of(t, index);

    if (!e || e->kind == INDEX_FREE)
        return NULL;
    *kind = e->kind;
    return e->owner;
}

void index_set(struct index_table *t, uint32_t index, enum index_kind kind, void *owner)
{
    struct index_entry *e = entry_of(t, index);

    must(e && e->kind != INDEX_FREE && kind != INDEX_FREE && owner);
    e->kind = (uint8_t)kind;
    e->owner = owner;
}

void index_release(struct index_table *t, uint32_t index, time_ns now)
{
    struct index_entry *e = entry_of(t, index);
    uint32_t slot;

    must(e && e->kind != INDEX_FREE);
    slot = (uint32_t)(e - t->entries);
    e->kind = INDEX_FREE;
    e->generation = (uint16_t)((e->generation + 1) % GENERATIONS);
    t->used--;
    if (e->generation) {
        e->next = t->free_head;
        t->free_head = slot + 1;
        return;
    }
    e->rests_until = now + INDEX_REST;
    e->next = 0;
    if (t->rest_tail)
        t->entries[t->rest_tail - 1].next = slot + 1;
    else
        t->rest_head = slot + 1;
    t->rest_tail = slot + 1;
}

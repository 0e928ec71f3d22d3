#include "netstack/internal.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SIZE 16u

uint32_t flow_hash(const struct netstack *ns, const struct flow_key *key)
{
    return (uint32_t)siphash(ns->table_key, key, sizeof(*key));
}

void flow_table_deinit(struct flow_table *t)
{
    free(t->entries);
    *t = (struct flow_table) { .version = t->version }; /* what was cached stays out of date */
}

static bool key_is(const struct netstack *ns, flow_ref ref, const struct flow_key *key)
{
    uint32_t slot = flow_ref_slot(ref);
    struct flow_key own;

    switch (flow_ref_kind(ref)) {
    case FLOW_CONN:
        own = tcp_conn_key(slab_at(&ns->conns, slot));
        break;
    case FLOW_SYN:
        own = syn_key(slab_at(&ns->syns, slot));
        break;
    case FLOW_TIME_WAIT:
        own = time_wait_at(ns, slot)->key;
        break;
    case FLOW_NONE:
        return false;
    }
    return memcmp(&own, key, sizeof(own)) == 0;
}

flow_ref flow_find(const struct netstack *ns, const struct flow_key *key, uint32_t hash)
{
    const struct flow_table *t = &ns->flows;

    for (uint32_t i = hash; t->size; i++) {
        const struct flow_entry *e = &t->entries[i & (t->size - 1)];

        if (!e->ref)
            return 0;
        if (e->hash == hash && key_is(ns, e->ref, key))
            return e->ref;
    }
    return 0;
}

static void put(struct flow_table *t, struct flow_entry entry)
{
    uint32_t i = entry.hash;

    while (t->entries[i & (t->size - 1)].ref)
        i++;
    t->entries[i & (t->size - 1)] = entry;
}

static int resize(struct flow_table *t, uint32_t size)
{
    struct flow_table other = *t;

    other.size = size;
    other.entries = calloc(size, sizeof(*other.entries));
    if (!other.entries)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->size; i++)
        if (t->entries[i].ref)
            put(&other, t->entries[i]);
    free(t->entries);
    *t = other;
    return 0;
}

int flow_insert(struct netstack *ns, uint32_t hash, flow_ref ref)
{
    struct flow_table *t = &ns->flows;

    if (t->count >= t->size / 4 * 3) {
        int r = resize(t, t->size ? t->size * 2 : FIRST_SIZE);

        if (r)
            return r;
    }
    put(t, (struct flow_entry) { hash, ref });
    t->count++;
    t->version++;
    return 0;
}

/* Closes the gap: later entries of the same run move up unless they are where they belong. */
static void close_gap(struct flow_table *t, uint32_t gap)
{
    uint32_t mask = t->size - 1;

    for (uint32_t i = (gap + 1) & mask; t->entries[i].ref; i = (i + 1) & mask) {
        uint32_t home = t->entries[i].hash & mask;

        if (((i - home) & mask) >= ((i - gap) & mask)) {
            t->entries[gap] = t->entries[i];
            gap = i;
        }
    }
    t->entries[gap] = (struct flow_entry) { 0 };
}

void flow_remove(struct netstack *ns, uint32_t hash, flow_ref ref)
{
    struct flow_table *t = &ns->flows;
    uint32_t i = hash & (t->size - 1);

    while (t->entries[i].ref != ref) {
        must(t->entries[i].ref);
        i = (i + 1) & (t->size - 1);
    }
    close_gap(t, i);
    t->count--;
    t->version++;
    if (!t->count)
        flow_table_deinit(t);
    else if (t->size > FIRST_SIZE && t->count < t->size / 8)
        (void)!resize(t, t->size / 2); /* stays large when there is no memory to become small */
}

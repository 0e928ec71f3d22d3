#include "filter/flows.h"

#include <assert.h>
#include <stdlib.h>

#include "metrics/metrics.h"

#define ROOM_FIRST 8
#define NONE UINT16_MAX

static_assert(FILTER_FLOWS_MAX < NONE, "a flow's index is 16 bits");

/* From the other side's view: what an answer looks like. No gaps: it is hashed and compared as bytes. */
struct flow_key {
    struct ip src, dst;
    uint16_t src_port, dst_port;
    uint16_t protocol;
};
static_assert(sizeof(struct flow_key) == 38, "gaps would be compared");

struct flow {
    struct flow_key key;
    uint16_t older, younger; /* in order of use */
    uint16_t next;           /* in its bucket */
};

struct filter_flows {
    struct flow *items;
    uint16_t *buckets; /* twice as many as there is room for items */
    uint16_t count, room;
    uint16_t oldest, youngest;
};

static uint16_t bucket_of(const struct filter_flows *t, const struct flow_key *key, uint64_t seed)
{
    uint8_t secret[16];

    memcpy(secret, &seed, 8);
    memcpy(secret + 8, &seed, 8);
    return (uint16_t)(siphash(secret, key, sizeof(*key)) & (2u * t->room - 1));
}

static uint16_t find(const struct filter_flows *t, const struct flow_key *key, uint64_t seed)
{
    uint16_t i = t->buckets[bucket_of(t, key, seed)];

    while (i != NONE && memcmp(&t->items[i].key, key, sizeof(*key)) != 0)
        i = t->items[i].next;
    return i;
}

/* ---- order of use -----------------------------------------------------------------------------------------
 */

static void unlink_use(struct filter_flows *t, uint16_t i)
{
    struct flow *f = &t->items[i];

    *(f->older == NONE ? &t->oldest : &t->items[f->older].younger) = f->younger;
    *(f->younger == NONE ? &t->youngest : &t->items[f->younger].older) = f->older;
}

static void link_youngest(struct filter_flows *t, uint16_t i)
{
    t->items[i].older = t->youngest;
    t->items[i].younger = NONE;
    *(t->youngest == NONE ? &t->oldest : &t->items[t->youngest].younger) = i;
    t->youngest = i;
}

static void touch(struct filter_flows *t, uint16_t i)
{
    if (t->youngest == i)
        return;
    unlink_use(t, i);
    link_youngest(t, i);
}

/* ---- buckets
 * ------------------------------------------------------------------------------------------------- */

static void link_bucket(struct filter_flows *t, uint16_t i, uint64_t seed)
{
    uint16_t *head = &t->buckets[bucket_of(t, &t->items[i].key, seed)];

    t->items[i].next = *head;
    *head = i;
}

static void unlink_bucket(struct filter_flows *t, uint16_t i, uint64_t seed)
{
    uint16_t *at = &t->buckets[bucket_of(t, &t->items[i].key, seed)];

    while (*at != i)
        at = &t->items[*at].next;
    *at = t->items[i].next;
}

static bool grow(struct filter_flows *t, uint64_t seed)
{
    uint16_t room = t->room ? (uint16_t)(t->room * 2) : ROOM_FIRST;
    struct flow *items = realloc(t->items, room * sizeof(*items));
    uint16_t *buckets;

    if (!items)
        return false;
    t->items = items;
    buckets = realloc(t->buckets, 2u * room * sizeof(*buckets));
    if (!buckets)
        return false;
    t->buckets = buckets;
    t->room = room;
    memset(buckets, 0xff, 2u * room * sizeof(*buckets));
    for (uint16_t i = 0; i < t->count; i++)
        link_bucket(t, i, seed);
    return true;
}

/* A slot for one more flow: a new one, or the oldest's. NONE without memory. */
static uint16_t take_slot(struct filter_flows *t, uint64_t seed)
{
    uint16_t i;

    if (t->count < t->room || (t->room < FILTER_FLOWS_MAX && grow(t, seed)))
        return t->count++;
    if (!t->count)
        return NONE;
    i = t->oldest;
    unlink_use(t, i);
    unlink_bucket(t, i, seed);
    return i;
}

/* ---- door
 * ------------------------------------------------------------------------------------------------------ */

bool flows_touch(struct filter_flows *t, const struct packet_info *in, uint64_t seed)
{
    const struct flow_key key = { in->src, in->dst, in->src_port, in->dst_port, in->protocol };
    uint16_t i = t->count ? find(t, &key, seed) : NONE;

    if (i == NONE)
        return false;
    touch(t, i);
    return true;
}

void flows_remember(struct filter_flows **table, const struct packet_info *out, uint64_t seed)
{
    const struct flow_key key = { out->dst, out->src, out->dst_port, out->src_port, out->protocol };
    struct filter_flows *t = *table;
    uint16_t i;

    if (!t) {
        t = calloc(1, sizeof(*t));
        if (!t)
            return;
        t->oldest = t->youngest = NONE;
        *table = t;
    }
    i = t->count ? find(t, &key, seed) : NONE;
    if (i != NONE) {
        touch(t, i);
        return;
    }
    i = take_slot(t, seed);
    if (i == NONE)
        return;
    t->items[i].key = key;
    link_youngest(t, i);
    link_bucket(t, i, seed);
}

void flows_free(struct filter_flows *t)
{
    if (!t)
        return;
    free(t->items);
    free(t->buckets);
    free(t);
}

size_t flows_count(const struct filter_flows *t)
{
    return t ? t->count : 0;
}

size_t flows_memory(const struct filter_flows *t)
{
    return t ? account_block(t) + account_block(t->items) + account_block(t->buckets) : 0;
}

#include "base/base.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_BUCKETS 8

static uint64_t rotate(uint64_t v, int by)
{
    return v << by | v >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash of Aumasson and Bernstein with one compression and three final rounds. */
uint64_t siphash(const uint8_t key[16], const void *data, size_t len)
{
    uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
    uint64_t v[4] = { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                      k1 ^ 0x7465646279746573 };
    const uint8_t *at = data;
    uint64_t last = (uint64_t)len << 56;

    for (size_t left = len; left >= 8; left -= 8, at += 8) {
        uint64_t m = load_le64(at);

        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    for (size_t i = 0; i < len % 8; i++)
        last |= (uint64_t)at[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void table_init(struct table *t)
{
    *t = (struct table) { 0 };
}

void table_deinit(struct table *t)
{
    free(t->buckets);
    table_init(t);
}

static struct table_node **bucket_of(const struct table *t, uint64_t hash)
{
    return &t->buckets[hash & (t->bucket_count - 1)];
}

static int grow(struct table *t)
{
    struct table bigger = { .bucket_count = t->bucket_count ? t->bucket_count * 2 : FIRST_BUCKETS,
                            .count = t->count };

    bigger.buckets = calloc(bigger.bucket_count, sizeof(*bigger.buckets));
    if (!bigger.buckets)
        return -ENOMEM;
    for (size_t i = 0; i < t->bucket_count; i++) {
        struct table_node *n = t->buckets[i];

        while (n) {
            struct table_node *next = n->next;
            struct table_node **bucket = bucket_of(&bigger, n->hash);

            n->next = *bucket;
            *bucket = n;
            n = next;
        }
    }
    free(t->buckets);
    *t = bigger;
    return 0;
}

int table_insert(struct table *t, struct table_node *n, uint64_t hash)
{
    struct table_node **bucket;

    if (t->count >= t->bucket_count) {
        int r = grow(t);

        if (r)
            return r;
    }
    bucket = bucket_of(t, hash);
    n->hash = hash;
    n->next = *bucket;
    *bucket = n;
    t->count++;
    return 0;
}

void table_remove(struct table *t, struct table_node *n)
{
    struct table_node **at = bucket_of(t, n->hash);

    while (*at != n) {
        must(*at);
        at = &(*at)->next;
    }
    *at = n->next;
    n->next = NULL;
    t->count--;
}

static struct table_node *same_hash(struct table_node *n, uint64_t hash)
{
    while (n && n->hash != hash)
        n = n->next;
    return n;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
    return t->bucket_count ? same_hash(*bucket_of(t, hash), hash) : NULL;
}

struct table_node *table_next_same(const struct table_node *n)
{
    return same_hash(n->next, n->hash);
}

struct table_node *table_walk(const struct table *t, const struct table_node *n, size_t *bucket)
{
    if (n && n->next)
        return n->next;
    while (*bucket < t->bucket_count) {
        struct table_node *first = t->buckets[(*bucket)++];

        if (first)
            return first;
    }
    return NULL;
}

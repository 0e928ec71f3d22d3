/* base/table.h - intrusive hash tables, and the hash for keys that others choose (part of base.h) */
#ifndef MANYTAILS_BASE_TABLE_H
#define MANYTAILS_BASE_TABLE_H

#include "base/base.h"

/* SipHash-1-3. `key` is random per process (crypto_random at start): keys from the network
 * must not be able to collide on purpose. */
uint64_t siphash(const uint8_t key[16], const void *data, size_t len);

/* Embedded in what the table holds. */
struct table_node {
    struct table_node *next;
    uint64_t hash;
};

/* Chained; grows by doubling (no shrink). An empty table holds no memory. */
struct table {
    struct table_node **buckets;
    size_t bucket_count; /* power of two, or 0 */
    size_t count;
};

void table_init(struct table *t);
void table_deinit(struct table *t); /* nodes are not visited */
/* The caller has checked that the key is not there. -ENOMEM changes nothing. */
NODISCARD int table_insert(struct table *t, struct table_node *n, uint64_t hash);
void table_remove(struct table *t, struct table_node *n); /* must be in it */
/* Chain walk: first node with this hash, then the next; compare the key yourself. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next_same(const struct table_node *n);
/* All nodes, any order. Start with *bucket = 0 and n = NULL. The node returned may be removed
 * before the next call only if the caller fetched the following one first. */
struct table_node *table_walk(const struct table *t, const struct table_node *n, size_t *bucket);

#define TABLE_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

#endif

/* netmap/store.h - what a store keeps, inside netmap/
 *
 * Invariants, all under `lock`:
 *   S1  an object is in its tables exactly as long as its reference count is above zero
 *   S2  a slot names the same peer as long as the peer lives, so whoever holds a reference may read
 *       blocks[slot / SLOTS] without the lock: it was written before the reference was handed out
 *   S3  two peers in the tables differ in content; a text hash names at most one peer
 */
#ifndef MANYTAILS_NETMAP_STORE_H
#define MANYTAILS_NETMAP_STORE_H

#include "netmap/netmap.h"

#include <pthread.h>
#include <stdatomic.h>

#define BLOCK_SLOTS 256
#define BLOCKS_MAX (NETMAP_STORE_PEERS_MAX / BLOCK_SLOTS)

/* 128 bits of a seeded hash name a content. Two contents with one hash would be the control server's doing,
 * who could have sent the wrong content at once. */
struct content_hash {
    uint64_t low, high;
};

/* One address under which a peer is found. */
struct peer_address {
    struct table_node node;
    struct stored_peer *peer;
    struct ip ip;
    bool own;    /* of Addresses: who-is */
    bool routed; /* of AllowedIPs: packets go there */
};

struct stored_peer {
    struct netmap_peer peer; /* first: one pointer for both */
    atomic_uint refs;
    uint32_t slot;
    struct table_node by_content, by_text, by_key;
    uint64_t content_high, text_high;
    bool has_text;        /* by_text is in its table */
    bool has_wide_routes; /* AllowedIPs beyond single addresses */
    uint8_t text_online;  /* what the text says besides the content */
    int64_t text_last_seen;
    uint32_t address_count;
    size_t bytes;
    struct peer_address *addresses;
};

enum document_kind { DOCUMENT_USER, DOCUMENT_RULES, DOCUMENT_DERP_MAP };

/* Something kept as its text and as what it was parsed to. */
struct document {
    struct table_node by_text;
    uint64_t text_high;
    atomic_uint refs;
    enum document_kind kind;
    struct arena arena;
    struct span text;
    union {
        struct tailcfg_user_profile user;
        struct tailcfg_derp_map derp_map;
        struct filter_rules *rules;
    };
};

struct netmap_store {
    pthread_mutex_t lock;
    uint8_t key[16]; /* of the look-up tables */
    uint64_t seed;   /* of the content hashes */
    struct stored_peer **blocks[BLOCKS_MAX];
    uint32_t slot_count, free_slot; /* slots ever used; head of the free ones + 1 */
    struct table by_content, by_text, by_key, by_address;
    struct table documents;
    struct netmap_store_stats stats;
};

/* ---- peers ------------------------------------------------------------------------------------------ */

/* A node's JSON. *out is a new reference; what is not part of the content comes apart. 0, NETMAP_E_BAD_NODE,
 * -ENOMEM, -ENOBUFS. */
NODISCARD int store_node_text(struct netmap_store *s, struct span text, struct stored_peer **out,
                              uint8_t *online, int64_t *last_seen);
/* A node that was put together here (a patch). */
NODISCARD int store_node(struct netmap_store *s, const struct tailcfg_node *node, struct stored_peer **out);

struct stored_peer *stored_peer_ref(struct stored_peer *p);
void stored_peer_unref(struct netmap_store *s, struct stored_peer *p); /* NULL is fine */
static inline struct stored_peer *store_slot(const struct netmap_store *s, uint32_t slot)
{
    return s->blocks[slot / BLOCK_SLOTS][slot % BLOCK_SLOTS];
}

/* Calls `is_mine` for each peer with this key (address) until it says yes; that peer is returned. It runs
 * under the lock and may not call the store. */
typedef bool store_match_fn(const void *ctx, const struct stored_peer *p);
struct stored_peer *store_find_key(struct netmap_store *s, const struct public_key *key,
                                   store_match_fn *is_mine, const void *ctx);
/* `routed`: by AllowedIPs, else by Addresses. */
struct stored_peer *store_find_address(struct netmap_store *s, const struct ip *a, bool routed,
                                       store_match_fn *is_mine, const void *ctx);

/* ---- documents -------------------------------------------------------------------------------------- */

/* *out is a new reference. 0, NETMAP_E_BAD_NODE if the text makes no sense, -ENOMEM. */
NODISCARD int store_document(struct netmap_store *s, enum document_kind kind, struct span text,
                             struct document **out);
void document_unref(struct netmap_store *s, struct document *d); /* NULL is fine */
struct document *document_ref(struct document *d);

/* ---- content of nodes (content.c) ------------------------------------------------------------------- */

struct content_hash content_hash_text(uint64_t seed, struct span text);
struct content_hash content_hash_node(uint64_t seed, const struct tailcfg_node *node);
/* A copy in one allocation, without references and not in any table. NULL: no memory. */
struct stored_peer *content_pack(const struct tailcfg_node *node);

#endif

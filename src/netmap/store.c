/* netmap/store.c - the tables that all nodes of one control server share */
#include "netmap/store.h"

#include <errno.h>
#include <stdlib.h>

#define NODE_SCRATCH_MAX (16u << 20)

int netmap_store_new(struct netmap_store **out, const uint8_t key[16])
{
    struct netmap_store *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (!s)
        return err_trace(-ENOMEM);
    if (pthread_mutex_init(&s->lock, NULL)) {
        free(s);
        return err_trace(-ENOMEM);
    }
    memcpy(s->key, key, sizeof(s->key));
    s->seed = siphash(key, "contents", 8);
    *out = s;
    return 0;
}

void netmap_store_free(struct netmap_store *s)
{
    if (!s)
        return;
    must(!s->stats.peers && !s->documents.count); /* somebody still holds a reference */
    for (size_t i = 0; i < BLOCKS_MAX && s->blocks[i]; i++)
        free(s->blocks[i]);
    table_deinit(&s->by_content);
    table_deinit(&s->by_text);
    table_deinit(&s->by_key);
    table_deinit(&s->by_address);
    table_deinit(&s->documents);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void lock(struct netmap_store *s)
{
    must(pthread_mutex_lock(&s->lock) == 0);
}

static void unlock(struct netmap_store *s)
{
    must(pthread_mutex_unlock(&s->lock) == 0);
}

void netmap_store_stats(struct netmap_store *s, struct netmap_store_stats *out)
{
    lock(s);
    *out = s->stats;
    unlock(s);
}

/* ---- reference counts ------------------------------------------------------------------------------------
 */

/* Down without the lock unless it is the last: that one must see nobody find the object meanwhile. True if
 * the lock is held and the object is to go. */
static bool drop_ref(struct netmap_store *s, atomic_uint *refs)
{
    unsigned n = atomic_load_explicit(refs, memory_order_relaxed);

    while (n > 1)
        if (atomic_compare_exchange_weak_explicit(refs, &n, n - 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return false;
    lock(s);
    if (atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1)
        return true;
    unlock(s);
    return false;
}

static void add_ref(atomic_uint *refs)
{
    must(atomic_fetch_add_explicit(refs, 1, memory_order_relaxed) < UINT32_MAX / 2);
}

struct stored_peer *stored_peer_ref(struct stored_peer *p)
{
    add_ref(&p->refs);
    return p;
}

struct document *document_ref(struct document *d)
{
    add_ref(&d->refs);
    return d;
}

/* The door's peers are the stored ones; only the count changes, and that is atomic. */
static struct stored_peer *stored(const struct netmap_peer *p)
{
    return (struct stored_peer *)(uintptr_t)p;
}

const struct netmap_peer *netmap_peer_ref(const struct netmap_peer *p)
{
    return &stored_peer_ref(stored(p))->peer;
}

void netmap_peer_unref(struct netmap_store *s, const struct netmap_peer *p)
{
    stored_peer_unref(s, stored(p));
}

/* ---- slots
 * --------------------------------------------------------------------------------------------------- */

/* Free slots are chained through their own place: (index + 1) << 1 | 1 is no pointer to a peer. */
static int take_slot(struct netmap_store *s, struct stored_peer *p)
{
    uint32_t slot;

    if (s->free_slot) {
        slot = s->free_slot - 1;
        s->free_slot = (uint32_t)((uintptr_t)store_slot(s, slot) >> 1);
    } else {
        slot = s->slot_count;
        if (slot == NETMAP_STORE_PEERS_MAX)
            return -ENOBUFS;
        if (!s->blocks[slot / BLOCK_SLOTS])
            s->blocks[slot / BLOCK_SLOTS] = calloc(BLOCK_SLOTS, sizeof(struct stored_peer *));
        if (!s->blocks[slot / BLOCK_SLOTS])
            return -ENOMEM;
        s->slot_count++;
    }
    s->blocks[slot / BLOCK_SLOTS][slot % BLOCK_SLOTS] = p;
    p->slot = slot;
    return 0;
}

static void give_slot(struct netmap_store *s, uint32_t slot)
{
    s->blocks[slot / BLOCK_SLOTS][slot % BLOCK_SLOTS] =
        (struct stored_peer *)((uintptr_t)s->free_slot << 1 | 1);
    s->free_slot = slot + 1;
}

/* ---- tables of peers
 * --------------------------------------------------------------------------------------- */

static uint64_t hash_key(const struct netmap_store *s, const struct public_key *key)
{
    return siphash(s->key, key, sizeof(*key));
}

static uint64_t hash_address(const struct netmap_store *s, const struct ip *a)
{
    return siphash(s->key, a, sizeof(*a));
}

static struct stored_peer *find_content(const struct netmap_store *s, struct content_hash h)
{
    for (struct table_node *n = table_first(&s->by_content, h.low); n; n = table_next_same(n)) {
        struct stored_peer *p = TABLE_ENTRY(n, struct stored_peer, by_content);

        if (p->content_high == h.high)
            return p;
    }
    return NULL;
}

static struct stored_peer *find_text(const struct netmap_store *s, struct content_hash h)
{
    for (struct table_node *n = table_first(&s->by_text, h.low); n; n = table_next_same(n)) {
        struct stored_peer *p = TABLE_ENTRY(n, struct stored_peer, by_text);

        if (p->text_high == h.high)
            return p;
    }
    return NULL;
}

/* Takes a peer out of the tables, as far as it is in them. */
static void unlink_peer(struct netmap_store *s, struct stored_peer *p, uint32_t addresses)
{
    for (uint32_t i = 0; i < addresses; i++)
        table_remove(&s->by_address, &p->addresses[i].node);
    if (p->has_text)
        table_remove(&s->by_text, &p->by_text);
}

static int link_peer(struct netmap_store *s, struct stored_peer *p, struct content_hash h)
{
    bool keyed = !public_key_is_zero(&p->peer.node.key);
    uint32_t done = 0;
    int r = take_slot(s, p);

    if (r)
        return r;
    while (done < p->address_count && !r) {
        r = table_insert(&s->by_address, &p->addresses[done].node, hash_address(s, &p->addresses[done].ip));
        done += !r;
    }
    if (!r && keyed)
        r = table_insert(&s->by_key, &p->by_key, hash_key(s, &p->peer.node.key));
    if (!r) {
        p->content_high = h.high;
        r = table_insert(&s->by_content, &p->by_content, h.low);
        if (r && keyed)
            table_remove(&s->by_key, &p->by_key);
    }
    if (r) {
        unlink_peer(s, p, done);
        give_slot(s, p->slot);
        return r;
    }
    atomic_store(&p->refs, 1);
    s->stats.peers++;
    s->stats.peer_bytes += p->bytes;
    return 0;
}

void stored_peer_unref(struct netmap_store *s, struct stored_peer *p)
{
    if (!p || !drop_ref(s, &p->refs))
        return;
    unlink_peer(s, p, p->address_count);
    if (!public_key_is_zero(&p->peer.node.key))
        table_remove(&s->by_key, &p->by_key);
    table_remove(&s->by_content, &p->by_content);
    give_slot(s, p->slot);
    s->stats.peers--;
    s->stats.peer_bytes -= p->bytes;
    unlock(s);
    free(p);
}

/* The text that a peer was last seen as. Without memory it is only slower the next time. */
static void remember_text(struct netmap_store *s, struct stored_peer *p, struct content_hash text,
                          const struct tailcfg_node *node)
{
    lock(s);
    if (!find_text(s, text)) {
        if (p->has_text)
            table_remove(&s->by_text, &p->by_text);
        p->text_high = text.high;
        p->text_online = (uint8_t)node->online;
        p->text_last_seen = node->last_seen;
        p->has_text = table_insert(&s->by_text, &p->by_text, text.low) == 0;
    }
    unlock(s);
}

int store_node(struct netmap_store *s, const struct tailcfg_node *node, struct stored_peer **out)
{
    struct content_hash h = content_hash_node(s->seed, node);
    struct stored_peer *found, *made = NULL;
    int r = 0;

    lock(s);
    found = find_content(s, h);
    if (!found) { /* packing is not done under the lock: somebody may be faster */
        unlock(s);
        made = content_pack(node);
        if (!made)
            return err_trace(-ENOMEM);
        lock(s);
        found = find_content(s, h);
    }
    if (found) {
        add_ref(&found->refs);
    } else {
        r = link_peer(s, made, h);
        if (!r) {
            found = made;
            made = NULL;
        }
    }
    unlock(s);
    free(made);
    *out = found;
    return r ? err_trace(r) : 0;
}

int store_node_text(struct netmap_store *s, struct span text, struct stored_peer **out, uint8_t *online,
                    int64_t *last_seen)
{
    struct content_hash h = content_hash_text(s->seed, text);
    struct tailcfg_node node;
    struct arena a;
    int r;

    lock(s);
    *out = find_text(s, h);
    if (*out) {
        add_ref(&(*out)->refs);
        *online = (*out)->text_online;
        *last_seen = (*out)->text_last_seen;
        s->stats.texts_known++;
        unlock(s);
        return 0;
    }
    s->stats.texts_parsed++;
    unlock(s);
    arena_init(&a, NODE_SCRATCH_MAX);
    r = tailcfg_node_parse(text, &a, &node);
    if (!r)
        r = store_node(s, &node, out);
    else if (r > 0)
        r = NETMAP_E_BAD_NODE;
    if (!r) {
        *online = (uint8_t)node.online;
        *last_seen = node.last_seen;
        remember_text(s, *out, h, &node);
    }
    arena_deinit(&a);
    return r;
}

struct stored_peer *store_find_key(struct netmap_store *s, const struct public_key *key,
                                   store_match_fn *is_mine, const void *ctx)
{
    struct stored_peer *found = NULL;

    if (public_key_is_zero(key))
        return NULL;
    lock(s);
    for (struct table_node *n = table_first(&s->by_key, hash_key(s, key)); n && !found;
         n = table_next_same(n)) {
        struct stored_peer *p = TABLE_ENTRY(n, struct stored_peer, by_key);

        if (public_key_equal(&p->peer.node.key, key) && is_mine(ctx, p))
            found = p;
    }
    unlock(s);
    return found;
}

/* If two peers of one node claim the address while a map churns, the one with the lower id has it. */
struct stored_peer *store_find_address(struct netmap_store *s, const struct ip *a, bool routed,
                                       store_match_fn *is_mine, const void *ctx)
{
    struct stored_peer *found = NULL;

    lock(s);
    for (struct table_node *n = table_first(&s->by_address, hash_address(s, a)); n; n = table_next_same(n)) {
        const struct peer_address *e = TABLE_ENTRY(n, struct peer_address, node);

        if (ip_equal(&e->ip, a) && (routed ? e->routed : e->own) &&
            (!found || e->peer->peer.node.id < found->peer.node.id) && is_mine(ctx, e->peer))
            found = e->peer;
    }
    unlock(s);
    return found;
}

/* ---- documents
 * --------------------------------------------------------------------------------------------------- */

static void free_document(struct document *d)
{
    if (!d)
        return;
    if (d->kind == DOCUMENT_RULES)
        filter_rules_free(d->rules);
    arena_deinit(&d->arena);
    free(d);
}

static int parse_document(struct document *d)
{
    switch (d->kind) {
    case DOCUMENT_USER:
        return tailcfg_user_profile_parse(d->text, &d->arena, &d->user);
    case DOCUMENT_RULES:
        return filter_rules_compile(d->text, &d->rules);
    case DOCUMENT_DERP_MAP:
        return tailcfg_derp_map_parse(d->text, &d->arena, &d->derp_map);
    }
    return -EINVAL;
}

static int make_document(enum document_kind kind, struct span text, struct document **out)
{
    struct document *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->kind = kind;
    arena_init(&d->arena, 2ul * TAILCFG_MAP_RESPONSE_BYTES_MAX);
    d->text = arena_copy(&d->arena, text);
    r = d->arena.failed ? -ENOMEM : parse_document(d);
    if (r) {
        free_document(d);
        return r < 0 ? r : NETMAP_E_BAD_NODE;
    }
    atomic_store(&d->refs, 1);
    *out = d;
    return 0;
}

static size_t document_bytes(const struct document *d)
{
    return sizeof(*d) + d->arena.held + (d->kind == DOCUMENT_RULES ? filter_rules_bytes(d->rules) : 0);
}

static size_t *document_counter(struct netmap_store *s, enum document_kind kind)
{
    return kind == DOCUMENT_USER    ? &s->stats.users
           : kind == DOCUMENT_RULES ? &s->stats.rules
                                    : &s->stats.derp_maps;
}

static struct document *find_document(const struct netmap_store *s, struct content_hash h)
{
    for (struct table_node *n = table_first(&s->documents, h.low); n; n = table_next_same(n)) {
        struct document *d = TABLE_ENTRY(n, struct document, by_text);

        if (d->text_high == h.high)
            return d;
    }
    return NULL;
}

int store_document(struct netmap_store *s, enum document_kind kind, struct span text, struct document **out)
{
    struct content_hash h = content_hash_text(s->seed + 1 + kind, text);
    struct document *made = NULL;
    int r = 0;

    lock(s);
    *out = find_document(s, h);
    if (!*out) {
        unlock(s);
        r = make_document(kind, text, &made);
        if (r)
            return r < 0 ? err_trace(r) : r;
        lock(s);
        *out = find_document(s, h);
    }
    if (*out) {
        add_ref(&(*out)->refs);
    } else {
        made->text_high = h.high;
        r = table_insert(&s->documents, &made->by_text, h.low);
        if (!r) {
            ++*document_counter(s, kind);
            s->stats.text_bytes += document_bytes(made);
            *out = made;
            made = NULL;
        }
    }
    unlock(s);
    free_document(made);
    return r ? err_trace(r) : 0;
}

void document_unref(struct netmap_store *s, struct document *d)
{
    if (!d || !drop_ref(s, &d->refs))
        return;
    table_remove(&s->documents, &d->by_text);
    --*document_counter(s, d->kind);
    s->stats.text_bytes -= document_bytes(d);
    unlock(s);
    free_document(d);
}

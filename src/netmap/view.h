/* netmap/view.h - one node's netmap, inside netmap/ */
#ifndef MANYTAILS_NETMAP_VIEW_H
#define MANYTAILS_NETMAP_VIEW_H

#include "netmap/store.h"

#include <assert.h>

/* What a peer costs each node that sees it. Seconds count from 2020; 0: unknown. */
struct peer_ref {
    uint32_t slot;
    uint32_t last_seen : 30;
    uint32_t online : 2; /* enum tailcfg_bool */
};
static_assert(sizeof(struct peer_ref) == NETMAP_REF_BYTES, "the door says so");

struct chunk {
    char *name;
    struct document *rules;
};

struct netmap {
    struct netmap_store *store;
    struct stored_peer *self; /* NULL: nothing arrived yet */
    struct peer_ref *peers;   /* by id */
    struct document **users;  /* by id */
    struct document *derp_map;
    struct chunk *chunks;
    const struct filter_rules **active; /* the rules of the chunks, for `filter` */
    struct filter filter;
    uint32_t peer_count, peer_room, user_count, chunk_count;
    uint32_t unsigned_count; /* peers that tailnet lock does not cover */
    uint32_t wide_count;     /* peers that route more than single addresses */
    bool magic_dns;
    struct arena texts; /* of the two below and the cert domains; replaced together */
    struct span domain, tka_head;
    struct tailcfg_texts cert_domains;
    uint64_t generation;
    int64_t clock_delta;   /* control's clock - ours, 0 if they agree within a minute */
    int64_t expired_until; /* control time up to which expiries were told */
    int64_t next_expiry;   /* not before this one (control time); INT64_MAX: none */
};

/* Place of an id among the peers; *found says whether it is there. */
uint32_t view_find(const struct netmap *n, int64_t id, bool *found);
static inline struct stored_peer *view_peer(const struct netmap *n, uint32_t index)
{
    return store_slot(n->store, n->peers[index].slot);
}
/* Is this very object what the node sees (itself or a peer)? A store_match_fn. */
bool view_sees(const void *netmap, const struct stored_peer *p);
/* Counters that follow a peer: unsigned, wide routes, next expiry. */
void view_count(struct netmap *n, const struct stored_peer *p, int by);
void view_note_expiry(struct netmap *n, const struct stored_peer *p);
/* Order that keeps equals as they are. -ENOMEM. */
typedef int view_compare_fn(const void *ctx, const void *a, const void *b);
NODISCARD int view_sort(void *items, size_t count, size_t size, view_compare_fn *compare, const void *ctx);
/* After chunks or unsigned peers changed. -ENOMEM. */
NODISCARD int view_rebuild_filter(struct netmap *n);
uint32_t view_seconds(int64_t wall_ns);

/* ControlTime of a message that arrived at `wall_now`. */
void view_set_control_time(struct netmap *n, int64_t control_time, int64_t wall_now);

/* apply_parts.c: what of a message is not peers. Each is prepared (may fail, changes nothing) and then
 * committed (cannot fail) or dropped. */
struct part_users {
    struct document **items;
    uint32_t count;
    bool changed;
};
struct part_chunks {
    struct chunk *items;
    uint32_t count;
    bool changed;
};
NODISCARD int part_users_prepare(const struct netmap *n, const struct tailcfg_map_response *r, bool first,
                                 struct part_users *out, uint32_t *skipped);
void part_users_commit(struct netmap *n, struct part_users *p);
void part_users_drop(const struct netmap *n, struct part_users *p);
NODISCARD int part_chunks_prepare(const struct netmap *n, const struct tailcfg_map_response *r, bool first,
                                  struct part_chunks *out, uint32_t *skipped);
void part_chunks_commit(struct netmap *n, struct part_chunks *p);
void part_chunks_drop(const struct netmap *n, struct part_chunks *p);
/* *out: a reference of the map to use from now on; NULL: none. */
NODISCARD int part_derp_prepare(const struct netmap *n, const struct tailcfg_map_response *r, bool first,
                                struct document **out, uint32_t *skipped);

/* Adds a change: takes a reference of `old`. -ENOMEM. */
NODISCARD int changes_add(struct netmap_changes *c, struct stored_peer *old, struct stored_peer *new);

#endif

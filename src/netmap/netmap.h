/* netmap/netmap.h - the tailnet as one node sees it, stored once for all nodes
 *
 * A thousand nodes of one process see nearly the same thousand peers. So there is one `netmap_store` per
 * control server: it keeps each peer, user, rule list and DERP map once, by content, and finds peers by key
 * and address for everybody. A node's own `netmap` is a sorted list of references of NETMAP_REF_BYTES each; a
 * JSON text that another node had before is recognised by its hash and not parsed again.
 *
 * Delta rules (order, what absent means, which patches count): docs/protocol/netmap.md.
 *
 * Thread: a netmap belongs to its shard. A store is shared by all: a mutex guards its tables, held for a
 * look-up or an insertion, never for parsing. By id and by reference nothing is locked: nothing per packet
 * may lock. Memory: what is interned is immutable, reference counted, and gone with its last reference.
 */
#ifndef MANYTAILS_NETMAP_NETMAP_H
#define MANYTAILS_NETMAP_NETMAP_H

#include "base/base.h"
#include "filter/filter.h"
#include "tailcfg/tailcfg.h"

#define NETMAP_PEERS_MAX (1 << 17)       /* of one node; more are left out and counted */
#define NETMAP_STORE_PEERS_MAX (1 << 20) /* different ones of one store */
#define NETMAP_USERS_MAX (1 << 16)       /* of one node */
#define NETMAP_CHUNKS_MAX 4096           /* named filter chunks of one node */
#define NETMAP_REF_BYTES 8               /* what a peer costs each node that sees it */
#define NETMAP_SAVED_BYTES_MAX (64 << 20)

enum netmap_outcome {
    NETMAP_E_NO_NODE = 1, /* the first message of a stream says nothing about ourselves: drop the stream */
    NETMAP_E_BAD_NODE,    /* what it says about ourselves makes no sense; nothing was changed */
    NETMAP_E_DAMAGED,     /* a saved netmap cannot be used; nothing was changed */
};

/* ---- what is shared ------------------------------------------------------------------------------ */

struct netmap_store;

/* `key` is random per process: hashes of what peers choose must not be guessable. */
NODISCARD int netmap_store_new(struct netmap_store **out, const uint8_t key[16]);
void netmap_store_free(struct netmap_store *s); /* every netmap and reference is gone; NULL is fine */

struct netmap_store_stats {
    size_t peers, peer_bytes;                   /* different ones, and what they hold */
    size_t users, rules, derp_maps, text_bytes; /* likewise; the bytes of all three */
    uint64_t texts_known, texts_parsed;         /* node texts recognised by hash, and not */
};
void netmap_store_stats(struct netmap_store *s, struct netmap_store_stats *out);

/* A node of the tailnet: a peer, or the node itself. Immutable. */
struct netmap_peer {
    struct tailcfg_node node; /* `online` and `last_seen` are not set: ask the netmap */
};

/* Keep one beyond the next netmap_apply (or beyond the look-up's netmap): ref, later unref. Any thread. */
const struct netmap_peer *netmap_peer_ref(const struct netmap_peer *p);
void netmap_peer_unref(struct netmap_store *s, const struct netmap_peer *p); /* NULL is fine */

const struct tailcfg_cap *netmap_peer_cap(const struct netmap_peer *p,
                                          const char *name);                   /* CapMap; or NULL */
bool netmap_peer_has_address(const struct netmap_peer *p, const struct ip *a); /* its own, not routes */
bool netmap_peer_routes(const struct netmap_peer *p, const struct ip *a);      /* in its AllowedIPs */
/* For filter_inbound. */
struct filter_source netmap_peer_filter_source(const struct netmap_peer *p);

/* ---- one node's view ------------------------------------------------------------------------------- */

struct netmap;

NODISCARD int netmap_new(struct netmap **out, struct netmap_store *s);
void netmap_free(struct netmap *n); /* NULL is fine */

/* Bytes of the heap that are this node's alone: what is shared is in the stats of the store. */
size_t netmap_memory(const struct netmap *n);

/* One peer whose object changed. old NULL: added; new NULL: removed. */
struct netmap_change {
    const struct netmap_peer *old, *new;
    bool expired; /* by time: old == new */
};

/* What a message changed. The peers here are referenced until netmap_changes_release. */
struct netmap_changes {
    struct netmap_change *peers; /* by id, each once */
    size_t count, cap;
    const struct netmap_peer *old_self; /* NULL: self unchanged, or there was none */
    bool self, derp_map, dns, domain, filter, users, liveness, tka;
    uint32_t skipped; /* entries of this message that made no sense */
    struct netmap_store *store;
};
void netmap_changes_release(struct netmap_changes *c); /* a zeroed one is fine */

/* `first`: of a new stream: what it does not name is gone; until then the old netmap stays in use.
 * 0, NETMAP_E_*, -ENOMEM. After -ENOMEM the netmap is consistent but may lack part of the message: drop the
 * stream. Keep-alives are fine too (they bring ControlTime). *out is written in every case. */
NODISCARD int netmap_apply(struct netmap *n, const struct tailcfg_map_response *r, bool first,
                           int64_t wall_now, struct netmap_changes *out);

/* Grows with every message that changed anything: connections compare it instead of asking who-is again. */
uint64_t netmap_generation(const struct netmap *n);

/* Borrowed until the next netmap_apply, netmap_expire or netmap_load, unless referenced. */
const struct netmap_peer *netmap_self(const struct netmap *n); /* NULL: nothing arrived yet */
size_t netmap_peer_count(const struct netmap *n);
const struct netmap_peer *netmap_peer_at(const struct netmap *n, size_t index); /* by id, ascending */
const struct netmap_peer *netmap_peer_by_id(const struct netmap *n, int64_t id);
const struct netmap_peer *netmap_peer_by_key(const struct netmap *n, const struct public_key *key);
const struct netmap_peer *netmap_peer_by_address(const struct netmap *n, const struct ip *a); /* its own */
/* Whom to send a packet for `a` to: longest prefix over all AllowedIPs, expired peers left out. */
const struct netmap_peer *netmap_route(const struct netmap *n, const struct ip *a);
/* May a packet with this source come from `p`? No lock for a peer's own addresses. */
bool netmap_source_allowed(const struct netmap *n, const struct netmap_peer *p, const struct ip *source);
enum tailcfg_bool netmap_peer_online(const struct netmap *n, const struct netmap_peer *p);
int64_t netmap_peer_last_seen(const struct netmap *n,
                              const struct netmap_peer *p); /* wall, s exact; 0: unknown */

const struct filter *netmap_filter(const struct netmap *n); /* never NULL: without one it denies all */
const struct tailcfg_derp_map *netmap_derp_map(const struct netmap *n); /* NULL: none yet */
/* The DERP map by itself: one node's serves others of its control server until their own has come. Any
 * thread. */
const struct tailcfg_derp_map *netmap_derp_map_ref(const struct tailcfg_derp_map *map); /* of a netmap */
void netmap_derp_map_unref(struct netmap_store *s, const struct tailcfg_derp_map *map); /* NULL is fine */
struct span netmap_domain(const struct netmap *n);
struct span netmap_magic_dns_suffix(const struct netmap *n); /* without dots at its ends; empty: none */
bool netmap_magic_dns(const struct netmap *n);
size_t netmap_cert_domain_count(const struct netmap *n);
struct span netmap_cert_domain(const struct netmap *n, size_t index);
struct span netmap_tka_head(const struct netmap *n); /* empty: tailnet lock is off */

/* Name for people: without our suffix, or the full name of a node that is shared in. Never empty. */
#define NETMAP_NAME_BYTES 256
const char *netmap_peer_display_name(const struct netmap *n, const struct netmap_peer *p,
                                     char out[NETMAP_NAME_BYTES]);
const struct tailcfg_user_profile *netmap_user(const struct netmap *n, int64_t id); /* NULL: unknown */

struct netmap_whois {
    const struct netmap_peer *peer; /* may be ourselves */
    const struct tailcfg_user_profile *user;
    bool tagged; /* no human: `user` is a placeholder */
};
/* False: no such node, or its user is unknown. */
bool netmap_whois(const struct netmap *n, const struct ip *a, struct netmap_whois *out);
/* Capabilities of `p` towards `dst` (our own address, or a service's); `dst` NULL: our address of the family.
 */
void netmap_caps(const struct netmap *n, const struct netmap_peer *p, const struct ip *dst,
                 filter_cap_fn *each, void *ctx);

/* ---- time ---------------------------------------------------------------------------------------------- */

/* Our clock corrected by what control said, if they differ by more than a minute. */
int64_t netmap_control_now(const struct netmap *n, int64_t wall_now);
/* Key expired, or marked so by control. */
bool netmap_peer_expired(const struct netmap *n, const struct netmap_peer *p, int64_t wall_now);
/* Wall time of the next expiry of self or a peer; INT64_MAX: none. */
int64_t netmap_next_expiry(const struct netmap *n);
/* Call when it passed: lists who expired since the last call (`expired` set; `self` for ourselves). -ENOMEM.
 */
NODISCARD int netmap_expire(struct netmap *n, int64_t wall_now, struct netmap_changes *out);

/* ---- on disk ----------------------------------------------------------------------------------------------
 *
 * So that services answer when control does not. What was saved under another control server or node key must
 * not be loaded: the owner keeps them apart. A loaded netmap is replaced by the first message of a stream. */
/* Appends JSON. -ENODATA: there is nothing yet; -ENOBUFS, -ENOMEM. */
NODISCARD int netmap_save(const struct netmap *n, struct buf *out);
/* Into a netmap without content. 0, NETMAP_E_DAMAGED, -ENOMEM. */
NODISCARD int netmap_load(struct netmap *n, struct span saved);

#endif

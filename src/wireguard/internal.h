/* What the files of this folder share.
 *
 * Invariants, cited where they are kept:
 *  I1  An index in the table belongs to the pending handshake of a peer or to one of its keypairs,
 *      and goes with it: no other way out than keypair_free, pending_drop.
 *  I2  peer->active is there while any key, pending handshake or timer is; it is freed in settle()
 *      only, which is the last thing that every call of the door does to a peer.
 *  I3  A message that does not authenticate changes nothing of a peer.
 *  I4  While a callback runs (busy), no peer or node is freed.
 */
#ifndef MANYTAILS_WIREGUARD_INTERNAL_H
#define MANYTAILS_WIREGUARD_INTERNAL_H

#include "wireguard/handshake.h"
#include "wireguard/index.h"
#include "wireguard/limit.h"
#include "wireguard/mac.h"
#include "wireguard/replay.h"

#include <assert.h>

#define REKEY_AFTER_MESSAGES ((uint64_t)1 << 60)
#define REKEY_AFTER_TIME (120 * SEC)
#define REJECT_AFTER_TIME (180 * SEC)
#define REKEY_TIMEOUT (5 * SEC)
#define REKEY_TIMEOUT_JITTER_MAX (333 * MSEC)
/* Instead of it, for the first of a handshake because our key changed, and for how many: about 7 s. */
#define RENEW_TIMEOUT (300 * MSEC)
#define RENEW_HURRIES 16
#define KEEPALIVE_TIMEOUT (10 * SEC)
#define ERASE_AFTER_TIME (3 * REJECT_AFTER_TIME)
#define HANDSHAKE_RETRIES_MAX 18 /* given up when one more is due: 20 initiations */
#define UNHEARD_WITHIN \
    (30 * SEC) /* ours: a new initiation so soon after one that we answered was not heard */
#define INITIATION_INTERVAL_MIN (20 * MSEC)
#define UNDER_LOAD_HOLD (1 * SEC)
#define LONG_AGO (INT64_MIN / 4)

struct keypair {
    uint8_t send_key[AEAD_KEY_BYTES], receive_key[AEAD_KEY_BYTES];
    uint64_t send_counter;
    struct replay replay;
    time_ns created;
    struct wireguard_peer *peer;
    uint32_t local_index, remote_index;
    bool initiator; /* we were: then we renew it */
};

/* The part of a peer that exists while it has keys or wants them. */
struct active {
    /* Sending happens on current only; receiving on any. next: we answered, but the initiator has not
     * yet shown that it has the key. */
    struct keypair *previous, *current, *next;

    /* Our initiation without an answer. It lives beside whatever the peer initiates meanwhile: if both
     * start at once, both handshakes complete. */
    struct handshake pending;
    uint32_t pending_index;
    bool is_pending;

    bool has_static_shared, has_last_mac1;
    uint8_t static_shared[KEY_BYTES];
    uint8_t last_mac1[MAC_BYTES]; /* a cookie reply must refer to it */
    uint8_t cookie[COOKIE_BYTES];
    time_ns cookie_at;

    time_ns handshake_sent_at; /* initiation or response */
    time_ns initiation_received_at;

    /* Deadlines; TIME_NEVER: not armed. Only timers.c sets them. */
    time_ns retransmit_at, keepalive_at, silence_at, rekey_at, erase_at;
    uint8_t retries, hurries; /* hurries: retransmissions to come after RENEW_TIMEOUT */
    uint32_t key_epoch;       /* the node's, when static_shared was made */
    bool need_another_keepalive, asked_before_reject;
    bool expected; /* retransmit_at is for the one initiation of wireguard_expect, or the time to answer it */
};

struct wireguard_peer {
    struct table_node by_key;
    struct wireguard_node *node;
    void *user;
    struct active *active;
    time_ns armed;      /* the deadline that the owner knows */
    int64_t last_stamp; /* wall clock of our last initiation, as it was sent */
    time_ns handshake_at, received_at;
    uint64_t received_bytes, sent_bytes;
    struct public_key key;
    uint8_t timestamp[TIMESTAMP_BYTES]; /* of the last initiation accepted */
};
static_assert(sizeof(struct wireguard_peer) <= WIREGUARD_IDLE_PEER_BYTES_MAX, "idle peers must stay small");

struct wireguard_node {
    struct wireguard *w;
    void *user;
    struct identity identity;
    uint32_t slot; /* in w->doors */
    uint32_t peer_count;
    uint32_t key_epoch; /* grows with each change of the key */
};

/* What an initiation is tried against: kept together, because a search walks over all of them. */
struct door {
    struct blake2s_key mac1;
    struct wireguard_node *node;
};

/* The nodes that a source has reached lately, most recent first. */
#define RECENT_SOURCES 1024
#define RECENT_NODES 3
struct recent {
    uint64_t hash;
    struct wireguard_node *nodes[RECENT_NODES];
};

struct wireguard {
    const struct wireguard_ops *ops;
    void *ctx;
    random_fn *random;
    void *random_ctx;
    uint8_t process_secret[32];
    uint8_t hash_key[16];
    struct index_table indices;
    struct table peers; /* by (node, key) */
    struct door *doors;
    uint32_t door_count, door_room;
    struct recent *recent;            /* RECENT_SOURCES, from the first handshake on */
    struct source_rates *searchers;   /* from the first search on */
    struct source_rates *handshakers; /* from the first load on */
    struct rate searches, handshakes, initiations;
    time_ns loaded_until;
    time_ns now; /* the latest we were told: for indices that come back when a peer is freed */
    uint64_t jitter;
    unsigned busy;
    struct wireguard_counters counters;
};

static inline struct wireguard *wireguard_of(const struct wireguard_peer *p)
{
    return p->node->w;
}

/* wireguard.c */
NODISCARD int active_get(struct wireguard_peer *p); /* 0, -ENOMEM */
NODISCARD int static_shared_get(struct wireguard_peer *p, uint8_t out[KEY_BYTES]);
void static_shared_set(struct wireguard_peer *p, const uint8_t shared[KEY_BYTES]); /* p is active */
bool static_shared_known(const struct wireguard_peer *p); /* with the key that the node has now */
void emit(struct wireguard_node *n, struct wireguard_peer *p, const struct wireguard_source *reply_to,
          struct span message, enum wireguard_kind kind);
void secret_key_draw(struct wireguard *w, struct secret_key *out);

/* search.c */
NODISCARD int node_search(struct wireguard *w, struct wireguard_node *hint, const uint8_t *initiation,
                          const struct wireguard_source *source, time_ns now, struct wireguard_node **out);
void recent_note(struct wireguard *w, const struct wireguard_source *source, struct wireguard_node *n);
void recent_forget(struct wireguard *w, const struct wireguard_node *n);
/* Whether this handshake message, whose mac1 is right, may cost us Curve25519 now. */
NODISCARD int load_check(struct wireguard_node *n, const uint8_t *message, size_t macs_at,
                         const struct wireguard_source *source, time_ns now);

/* session.c */
NODISCARD int keypair_new(struct keypair **out, struct wireguard_peer *p, bool initiator, time_ns now);
void keypair_free(struct keypair **kp, time_ns now); /* with its index */
void session_install(struct wireguard_peer *p, struct keypair *kp, time_ns now);
bool session_confirm(struct wireguard_peer *p, struct keypair *kp, time_ns now); /* true: kp became current */
void session_erase(struct wireguard_peer *p, time_ns now);
void pending_drop(struct wireguard_peer *p, time_ns now);
struct keypair *session_sending_key(const struct wireguard_peer *p, size_t packets, time_ns now);

/* initiate.c */
void initiation_send(struct wireguard_peer *p, time_ns now);
void macs_write(struct wireguard_peer *p, uint8_t *message, size_t macs_at, time_ns now);

/* seal.c */
void keepalive_send(struct wireguard_peer *p, time_ns now);

/* timers.c: what happened, as the timers see it */
void timers_init(struct active *a);
void timers_stop(struct active *a);
void timers_sent(struct wireguard_peer *p, bool data, time_ns now);
void timers_received(struct wireguard_peer *p, bool data, time_ns now);
void timers_initiation_sent(struct wireguard_peer *p, time_ns now);
void timers_initiation_delayed(struct wireguard_peer *p, time_ns until);
void timers_expected(struct wireguard_peer *p, time_ns at);
void timers_keys_derived(struct wireguard_peer *p, time_ns now);
void timers_handshake_done(struct wireguard_peer *p, time_ns now);
void timers_unanswered(struct wireguard_peer *p); /* tells the owner */
void timers_give_up(struct wireguard_peer *p, time_ns now);
void settle(struct wireguard_peer *p, bool tell);

#endif

/* wireguard/wireguard.h - WireGuard for many nodes on one shard, as a machine without I/O
 *
 * One `struct wireguard` per shard, one node per local key, one peer per (node, remote key). The owner
 * brings datagrams, plaintext and the time; messages, news and deadlines go out through `ops`.
 * Wire format, timers and reasons: docs/protocol/wireguard.md.
 *
 * Indices: one 32-bit space for the whole process. The low bits of an index are the shard, so any
 * shard sees whose datagram it holds (wireguard_shard_of); the rest is a keyed permutation of slot and
 * generation, so that no index value comes back within 360 s.
 * Initiations carry no index: their node is found by trying mac1, the likely nodes first, and every
 * full search that fails is charged to its source.
 *
 * Thread: the shard that created it. Callbacks come only from inside the calls below; in a callback
 * the owner may seal, initiate and read, but not free peers or nodes and not feed datagrams.
 * Memory: an idle peer is WIREGUARD_IDLE_PEER_BYTES_MAX at most; handshake state, keys and the replay
 * window are allocated when a handshake begins and freed 540 s after the last one.
 */
#ifndef MANYTAILS_WIREGUARD_WIREGUARD_H
#define MANYTAILS_WIREGUARD_WIREGUARD_H

#include "crypto/crypto.h"

#define WIREGUARD_HEADER_BYTES 16
#define WIREGUARD_OVERHEAD_BYTES (WIREGUARD_HEADER_BYTES + AEAD_TAG_BYTES)
#define WIREGUARD_MTU 1280 /* inner packets up to here are padded to 16 bytes, never beyond it */
#define WIREGUARD_IDLE_PEER_BYTES_MAX 200
#define WIREGUARD_SHARD_BITS_MAX 8
#define WIREGUARD_NODES_MAX 65536 /* of one shard */

/* Why a datagram went no further, or why sealing did not happen. All of it can be caused from outside:
 * counted, never logged one by one. */
#define WIREGUARD_OUTCOMES(X)                                                              \
    X(NO_MESSAGE, "not a WireGuard message: unknown type or impossible length")            \
    X(OTHER_SHARD, "the index belongs to another shard: hand it over")                     \
    X(NO_INDEX, "no session or handshake has this index (any more)")                       \
    X(NO_NODE, "no node of this shard is meant: mac1 matches none")                        \
    X(SEARCH_LIMIT, "its source has failed too many searches for a node")                  \
    X(BAD_MAC, "mac1 is wrong: not made for this node")                                    \
    X(COOKIE_SENT, "under load: the sender must show a cookie first; one was sent")        \
    X(RATE_LIMIT, "under load: too many handshakes from this source")                      \
    X(FORGED, "does not authenticate")                                                     \
    X(HOSTILE_KEY, "a public key of small order")                                          \
    X(RELAY_SOURCE, "came over a relay from another key than its own")                     \
    X(UNKNOWN_PEER, "a genuine initiation of somebody who is not a peer (yet)")            \
    X(OLD_INITIATION, "timestamp not newer than the last one: a duplicate or a replay")    \
    X(FLOOD, "second initiation of a peer within 20 ms")                                   \
    X(EXPIRED, "the session is older than 180 s or has run out of counters")               \
    X(REPLAY, "counter already seen or too old: a duplicate or a replay")                  \
    X(BAD_INNER, "authentic, but neither an IPv4 nor an IPv6 packet of a possible length") \
    X(FULL, "no index left on this shard")                                                 \
    X(NO_SESSION, "no key to send with: stage the packet and call wireguard_initiate")

enum wireguard_outcome {
    WIREGUARD_OK,
#define WIREGUARD_OUTCOME_NAME(name, text) WIREGUARD_E_##name,
    WIREGUARD_OUTCOMES(WIREGUARD_OUTCOME_NAME)
#undef WIREGUARD_OUTCOME_NAME
        WIREGUARD_OUTCOME_COUNT
};
const char *wireguard_outcome_text(int outcome);

enum wireguard_kind { WIREGUARD_INITIATION, WIREGUARD_RESPONSE, WIREGUARD_COOKIE_REPLY, WIREGUARD_KEEPALIVE };

struct wireguard;
struct wireguard_node;
struct wireguard_peer;

/* Where a datagram came from: an outer address, or a key on a relay. */
struct wireguard_source {
    struct ip_port address;
    bool relayed;
    struct public_key relay_key; /* if relayed: the sender as the relay knows it */
};

struct wireguard_ops {
    /* Send it now. peer NULL (cookie replies): answer `reply_to` on behalf of node. reply_to NULL:
     * the owner chooses the path. message lives until send returns. */
    void (*send)(void *ctx, struct wireguard_node *node, struct wireguard_peer *peer,
                 const struct wireguard_source *reply_to, struct span message, enum wireguard_kind kind);
    /* Somebody proved to hold `initiator`'s secret key and wants to talk to node. Make the peer (here,
     * with wireguard_peer_new) or return NULL; then receive says WIREGUARD_E_UNKNOWN_PEER and has
     * remembered nothing, so the same datagram may be handed in again when the peer is known. */
    struct wireguard_peer *(*unknown_initiator)(void *ctx, struct wireguard_node *node,
                                                const struct public_key *initiator,
                                                const struct wireguard_source *source);
    /* A new key is there to send with: first what is urgent, then what was staged. As initiator, if
     * nothing is sealed in this call, a keepalive confirms the key. */
    void (*session_ready)(void *ctx, struct wireguard_peer *peer);
    /* Nobody answered for RekeyAttemptTime (20 initiations), or the handshake cannot be made: drop
     * what is staged. Do not initiate from here. */
    void (*handshake_given_up)(void *ctx, struct wireguard_peer *peer);
    /* What we send seems not to arrive: data had no answer for KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, or the peer
     * shakes hands again as if our response was lost. The next message follows at once: try another path.
     * Only report it: nothing here may be called from it. NULL: nobody wants to know. */
    void (*unanswered)(void *ctx, struct wireguard_peer *peer);
    /* Set the peer's timer to wireguard_peer_deadline(). Called when the deadline came nearer or went
     * away (TIME_NEVER: the peer is idle), not when it moved back: an early tick is harmless. */
    void (*deadline_changed)(void *ctx, struct wireguard_peer *peer);
    /* Nanoseconds since 1970, for the timestamp of initiations. May jump. */
    int64_t (*wall_clock)(void *ctx);
};

struct wireguard_config {
    const struct wireguard_ops *ops; /* borrowed for life */
    void *ctx;
    random_fn *random; /* NULL: random_bytes */
    void *random_ctx;
    uint8_t process_secret[32]; /* random, the same for all shards: cookies are valid on each */
    unsigned shard, shard_bits; /* shard < 1 << shard_bits */
};

/* ---- life ------------------------------------------------------------------------ */

NODISCARD int wireguard_new(struct wireguard **out, const struct wireguard_config *config);
void wireguard_free(struct wireguard *w); /* NULL is fine; its nodes are gone */

/* -EEXIST: a node with this key is here already. -ENOSPC: WIREGUARD_NODES_MAX. -ENOMEM. */
NODISCARD int wireguard_node_new(struct wireguard_node **out, struct wireguard *w,
                                 const struct secret_key *secret, void *user);
void wireguard_node_free(struct wireguard_node *n); /* NULL is fine; its peers are gone */
/* Another key from now on (rotation). Sessions do not depend on it: they go on, both ways, until a handshake
 * with the new key replaces them or their time is over. A handshake under way is void. -EEXIST: another node
 * here has this key. */
NODISCARD int wireguard_node_set_secret(struct wireguard_node *n, const struct secret_key *secret);
void *wireguard_node_user(const struct wireguard_node *n);
const struct public_key *wireguard_node_key(const struct wireguard_node *n);

/* -EEXIST: the node has this peer. The last accepted timestamp lives as long as the peer: keep known
 * peers, or accept that an old initiation can be replayed to a peer that was freed and made again. */
NODISCARD int wireguard_peer_new(struct wireguard_peer **out, struct wireguard_node *n,
                                 const struct public_key *key, void *user);
void wireguard_peer_free(struct wireguard_peer *p); /* NULL is fine */
struct wireguard_peer *wireguard_peer_find(const struct wireguard_node *n, const struct public_key *key);
void *wireguard_peer_user(const struct wireguard_peer *p);
void wireguard_peer_set_user(struct wireguard_peer *p, void *user);
struct wireguard_node *wireguard_peer_node(const struct wireguard_peer *p);
const struct public_key *wireguard_peer_key(const struct wireguard_peer *p);

/* ---- in ---------------------------------------------------------------------------- */

enum wireguard_received_kind {
    WIREGUARD_RECEIVED_HANDSHAKE,
    WIREGUARD_RECEIVED_KEEPALIVE,
    WIREGUARD_RECEIVED_DATA
};

struct wireguard_received {
    enum wireguard_received_kind kind;
    struct wireguard_node *node; /* also with UNKNOWN_PEER */
    struct wireguard_peer *peer;
    struct mspan packet;         /* DATA: the inner packet, inside the datagram, padding cut */
    struct public_key initiator; /* with UNKNOWN_PEER */
};

/* One datagram, decrypted in place (handshake messages stay as they are). hint: the node on whose
 * relay connection or exclusive socket it came, or NULL. Source addresses inside are not checked here.
 * 0, an outcome (counted), or -ENOMEM. */
NODISCARD int wireguard_receive(struct wireguard *w, struct wireguard_node *hint, struct mspan datagram,
                                const struct wireguard_source *source, time_ns now,
                                struct wireguard_received *out);

/* The shard that a message with a receiver index belongs to; false: it carries none (an initiation, or
 * nothing of ours). */
bool wireguard_shard_of(struct span datagram, unsigned shard_bits, unsigned *shard);

/* ---- out --------------------------------------------------------------------------- */

/* Wire length of an inner packet. */
static inline size_t wireguard_padded_bytes(size_t plain_len)
{
    size_t last = plain_len > WIREGUARD_MTU ? plain_len % WIREGUARD_MTU : plain_len;
    size_t padded = (last + 15) / 16 * 16;

    return plain_len - last + MIN(padded, (size_t)WIREGUARD_MTU);
}
static inline size_t wireguard_sealed_bytes(size_t plain_len)
{
    return WIREGUARD_OVERHEAD_BYTES + wireguard_padded_bytes(plain_len);
}

/* The packet is at room + 16, plain_len (> 0) bytes; room holds wireguard_sealed_bytes(plain_len).
 * 0, or WIREGUARD_E_NO_SESSION. */
NODISCARD int wireguard_seal(struct wireguard_peer *p, struct mspan room, size_t plain_len, time_ns now,
                             size_t *out_len);

/* Many packets of one peer. Packet i is at first + i * stride + 16, `len` bytes, the last one
 * `last_len`; each place has room for its sealed form. With stride = wireguard_sealed_bytes(len) the
 * result is one run for UDP_SEGMENT. All or none. */
struct wireguard_batch {
    uint8_t *first;
    size_t count, stride;
    size_t len, last_len;
};
NODISCARD int wireguard_seal_batch(struct wireguard_peer *p, const struct wireguard_batch *b, time_ns now);

/* Start a handshake unless one is under way or the last one is less than 5 s old (then it starts by
 * itself when those are over, if there still is no session). */
void wireguard_initiate(struct wireguard_peer *p, time_ns now);

/* The peer wants to talk: unless it has used a session by `at`, begin a handshake then, for its own first
 * message or our answer may have been lost; it is not repeated unless wireguard_initiate asks for it as well.
 * Nothing happens while there is a session or a handshake under way. */
void wireguard_expect(struct wireguard_peer *p, time_ns at, time_ns now);

/* After wireguard_node_set_secret, for each peer: one with a session or a handshake under way begins a new
 * one now. For some seconds it is repeated twice a second: a peer drops what it has with the old key when
 * control tells it of the new one, and knows nothing of the new one before that, so waiting 5 s would be a
 * pause of 5 s. */
void wireguard_peer_renew(struct wireguard_peer *p, time_ns now);

/* ---- time --------------------------------------------------------------------------- */

time_ns wireguard_peer_deadline(const struct wireguard_peer *p); /* TIME_NEVER: idle, no key, no timer */
void wireguard_peer_tick(struct wireguard_peer *p, time_ns now); /* deadline_changed is called at its end */

/* ---- facts --------------------------------------------------------------------------- */

struct wireguard_peer_facts {
    uint64_t received_bytes, sent_bytes; /* of authentic messages, as on the wire */
    time_ns handshake_at, received_at;   /* last completed, last authentic message; -1: never */
    bool session;                        /* a packet sealed now would go out */
};
void wireguard_peer_facts(const struct wireguard_peer *p, time_ns now, struct wireguard_peer_facts *out);

struct wireguard_counters {
    uint64_t outcomes[WIREGUARD_OUTCOME_COUNT]; /* [0]: datagrams that were of use */
    uint64_t initiations_sent, responses_sent, cookies_sent, keepalives_sent;
    uint64_t handshakes_done, handshakes_given_up, unanswered;
    uint64_t handshakes_delayed; /* initiations held back because too many were due at once */
    uint32_t nodes, peers, peers_active, indices;
};
/* Bytes of the heap: of a peer with its keys, of a node, of what they share. */
size_t wireguard_peer_memory(const struct wireguard_peer *p);
size_t wireguard_node_memory(const struct wireguard_node *n);
size_t wireguard_memory(const struct wireguard *w);
const struct wireguard_counters *wireguard_counters(const struct wireguard *w);

#endif

/* underlay/underlay.h - outer addresses: the UDP socket of a shard and the path to every peer
 *
 * One per shard, and one for each node that wants a socket of its own. Owns the socket and tells STUN,
 * disco and WireGuard apart, answers and sends disco, keeps the best path per (node, peer) while there is
 * traffic, measures relay regions, and knows under which addresses the socket can be reached. It never looks
 * inside WireGuard, and it does not own relay connections: packets for a relay go out through an operation
 * and come in through underlay_relay_received().
 *
 * Peers just in time. A thousand nodes with a thousand peers each are a million pairs, and nearly all of
 * them never exchange a packet. So a pair costs one bit here (underlay_node_knows) until there is
 * traffic: who wants to send makes an underlay_peer; when a peer speaks first, find_peer makes it. An
 * underlay_peer without traffic has no timer and no candidates, only a reference to its endpoints.
 *
 * Several nodes, one address: which node a disco message is for is found by trying, the likely ones
 * first, among nodes that know its sender (datapath rules: docs/protocol/disco.md). First WireGuard
 * messages go over the relay as well, always.
 *
 * Thread: the shard's.  Memory: per idle peer UNDERLAY_IDLE_PEER_BYTES, about 1 KiB more with traffic;
 * per shard the limits below.  Callbacks come from the loop or from the call that caused them (send,
 * relay_received, ...): they may send and make peers, but must not free a node or peer, nor take back what a
 * node knows.
 */
#ifndef MANYTAILS_UNDERLAY_UNDERLAY_H
#define MANYTAILS_UNDERLAY_UNDERLAY_H

#include "base/base.h"
#include "crypto/crypto.h"
#include "ev/ev.h"
#include "host/host.h"
#include "tailcfg/tailcfg.h"

#define UNDERLAY_NODES_MAX 4096     /* of one shard */
#define UNDERLAY_ENDPOINTS_MAX 40   /* published for one socket */
#define UNDERLAY_BOX_KEYS_MAX 16384 /* cached (node, sender) pairs, about 96 bytes each; oldest leave */
#define UNDERLAY_SENDERS_MAX 65536  /* distinct disco keys known to nodes of the shard */
#define UNDERLAY_FIRST_CONTACTS_PER_SEC 200 /* X25519 paid for disco messages that came by UDP */
#define UNDERLAY_MAPS_MAX 64                /* distinct DERP maps (tailnets) of one shard */
#define UNDERLAY_REGIONS_MAX 128            /* of one DERP map */
#define UNDERLAY_REGION_NODES_MAX 8         /* of one region; later ones are never measured */

struct underlay;
struct underlay_node; /* one of our nodes on this shard */
struct underlay_peer; /* one peer of one node */

/* ---- what goes out ------------------------------------------------------------ */

/* Where a datagram came from, and where an answer to a stranger goes. */
struct underlay_source {
    struct ip_port address; /* relayed: zero */
    bool relayed;
    uint16_t region;             /* relayed: by which region */
    struct public_key relay_key; /* relayed: the node key that the relay vouches for */
};

enum underlay_path { UNDERLAY_PATH_RELAY, UNDERLAY_PATH_DIRECT };

/* What may have changed in a report; read it with the getters. */
#define UNDERLAY_CHANGED_ENDPOINTS 1u
#define UNDERLAY_CHANGED_HOME 2u    /* of nodes with this DERP map: underlay_node_report()->home_region */
#define UNDERLAY_CHANGED_NETINFO 4u /* facts other than latencies */

struct underlay_ops {
    /* WireGuard: a run of datagrams from one source; in place, until the call returns. hint: the node
     * whose relay connection brought it, NULL for UDP. Only a hint: see 13.4 in docs/protocol/disco.md. */
    void (*on_wireguard)(void *ctx, struct underlay *u, struct underlay_node *hint,
                         const struct mspan *datagrams, size_t count, const struct underlay_source *source,
                         time_ns now);
    /* One packet for a relay. region 0: the peer has no home, send where it was last heard, else at home. */
    void (*relay_send)(void *ctx, struct underlay_node *node, uint16_t region, const struct public_key *to,
                       struct span packet);
    /* Which peer of this node is it? node_key NULL: the one that has this disco key, if exactly one has.
     * Makes the underlay_peer if need be; NULL: not a peer, or no memory. */
    struct underlay_peer *(*find_peer)(void *ctx, struct underlay_node *node,
                                       const struct public_key *node_key, const struct public_key *disco_key);
    /* Packets to this peer now take another way: epoch grows by one each time. */
    void (*path_changed)(void *ctx, struct underlay_peer *peer, enum underlay_path path, uint32_t epoch);
    /* Measure how far this relay is, over its own port: UDP is blocked. underlay_relay_probed() follows, not
     * from inside this call; NULL: it is not measured then. */
    void (*probe_relay)(void *ctx, struct underlay_node *node, uint16_t region, time_ns now);
    /* The peer sent a ping or a CallMeMaybe: it looks for a way to us, so it wants to talk.
     * NULL: never mind. */
    void (*peer_calls)(void *ctx, struct underlay_peer *peer, time_ns now);
    /* The peer went quiet and holds no path state any more: the owner may free it if it likes (later). */
    void (*peer_quiet)(void *ctx, struct underlay_peer *peer, time_ns now);
    /* The set of endpoints, a home region or NetInfo changed. Spread what you send to control. */
    void (*report_changed)(void *ctx, struct underlay *u, unsigned what, time_ns now);
};

/* One per process: relay regions are measured by one shard, and the others get its report. Any thread. */
struct underlay_survey;
NODISCARD int underlay_survey_new(struct underlay_survey **out);
void underlay_survey_free(struct underlay_survey *s); /* after all underlays; NULL is fine */

struct underlay_config {
    const struct underlay_ops *ops;
    void *ctx;
    struct underlay_survey *survey; /* NULL: measures for itself alone. Borrowed for life */
    uint16_t port;                  /* 0: the kernel chooses */
};

NODISCARD int underlay_new(struct underlay **out, struct ev_loop *loop, const struct underlay_config *config);
void underlay_free(struct underlay *u); /* after its nodes and peers */
uint16_t underlay_port(const struct underlay *u, bool v4);

/* The host's addresses, at start and on change (host/ tells one thread, mailboxes tell the shards). */
void underlay_set_host(struct underlay *u, const struct host_view *view, time_ns now);

/* The machine slept (ev_loop_watch_sleep): whatever was known about mappings and paths is old. */
void underlay_woke(struct underlay *u, time_ns now);

/* ---- nodes --------------------------------------------------------------------- */

/* The secret is copied, and wiped by free. -ENOSPC: UNDERLAY_NODES_MAX. */
NODISCARD int underlay_node_new(struct underlay_node **out, struct underlay *u,
                                const struct secret_key *disco_secret, const struct public_key *node_key,
                                void *user);
void underlay_node_free(struct underlay_node *n); /* after its peers */
void *underlay_node_user(const struct underlay_node *n);
const struct public_key *underlay_node_disco_key(const struct underlay_node *n);
void underlay_node_set_key(struct underlay_node *n, const struct public_key *node_key); /* rotation */

/* This node has (or no longer has) at least one peer with this disco key: only then are messages of that
 * sender tried on this node. Call it for every peer that comes, goes or changes its disco key; several
 * peers with one key: say false only when the last one is gone. -ENOSPC: UNDERLAY_SENDERS_MAX. */
NODISCARD int underlay_node_knows(struct underlay_node *n, const struct public_key *disco_key, bool known);

/* Relay regions of the node's tailnet; NULL: none (any more). Copied: nodes whose maps are equal share one
 * copy and its measurements. -ENOSPC: UNDERLAY_MAPS_MAX. */
NODISCARD int underlay_node_set_map(struct underlay_node *n, const struct tailcfg_derp_map *map, time_ns now);

/* A frame of any kind came from this region (call it at most every few seconds): its relay is alive. */
void underlay_relay_heard(struct underlay_node *n, uint16_t region, time_ns now);

/* The answer to ops.probe_relay. latency 0: the region did not answer. */
void underlay_relay_probed(struct underlay_node *n, uint16_t region, time_ns latency, time_ns now);

/* ---- what is known about this socket ------------------------------------------------ */

/* Values as control wants them in EndpointTypes. */
enum underlay_endpoint_type {
    UNDERLAY_ENDPOINT_LOCAL = 1,
    UNDERLAY_ENDPOINT_STUN = 2,
    UNDERLAY_ENDPOINT_STUN_LOCAL_PORT = 4, /* our public IPv4 address with our fixed port: a guess */
};
struct underlay_endpoint {
    struct ip_port address;
    uint8_t type;
};
/* The same for all nodes of the socket. Valid until the next turn; empty before the first measurement. */
const struct underlay_endpoint *underlay_endpoints(const struct underlay *u, size_t *count);

enum underlay_fact { UNDERLAY_UNKNOWN, UNDERLAY_NO, UNDERLAY_YES };
struct underlay_region_latency {
    uint16_t region;
    uint32_t v4_us, v6_us; /* 0: no answer */
};
/* For NetInfo. home_region 0: none yet. Adopt a new home only while control is connected, or if you have
 * none. */
struct underlay_report {
    uint16_t home_region;
    bool udp, v4, v6; /* a STUN round trip worked */
    bool os_has_v6;
    enum underlay_fact mapping_varies_by_dest_ip; /* IPv4; needs two answers */
    time_ns measured_at;                          /* 0: never */
    size_t latency_count;
    struct underlay_region_latency latencies[UNDERLAY_REGIONS_MAX];
};
const struct underlay_report *underlay_node_report(const struct underlay_node *n);

/* Measure now (link changed, relay connection broke, ...). Runs one at a time; more calls cost nothing. */
void underlay_measure(struct underlay *u, time_ns now);

/* ---- peers ----------------------------------------------------------------------- */

NODISCARD int underlay_peer_new(struct underlay_peer **out, struct underlay_node *n,
                                const struct public_key *node_key, void *user);
void underlay_peer_set_key(struct underlay_peer *p, const struct public_key *node_key); /* its rotation */
void underlay_peer_free(struct underlay_peer *p); /* not from a callback of this module */
void *underlay_peer_user(const struct underlay_peer *p);
struct underlay_node *underlay_peer_node(const struct underlay_peer *p);

/* endpoints: borrowed until the next set or free (they lie in the interned netmap). An unchanged call
 * costs nothing. disco_key zero: it has none, only relays are used. */
struct underlay_peer_facts {
    struct public_key disco_key;
    uint16_t home_region; /* 0: none */
    bool expired;         /* sending fails */
    const struct ip_port *endpoints;
    size_t endpoint_count;
};
void underlay_peer_set(struct underlay_peer *p, const struct underlay_peer_facts *facts, time_ns now);

enum underlay_kind {
    UNDERLAY_DATA,       /* transport messages, keepalives too */
    UNDERLAY_RESPONSE,   /* type 2 */
    UNDERLAY_INITIATION, /* type 1: over the relay as well, always */
};
enum underlay_outcome {
    UNDERLAY_E_EXPIRED = 1, /* the peer's key expired */
    UNDERLAY_E_FULL,        /* the socket's buffer was full and no relay carried it: dropped */
};
/* datagrams: of `segment` bytes each, the last may be shorter. Sent on the best path, the relay, or both.
 * What is lost under way is not our business: 0. */
NODISCARD int underlay_send(struct underlay_peer *p, struct span datagrams, size_t segment,
                            enum underlay_kind kind, time_ns now);
/* To whoever sent something, without a peer: cookie replies. node: whose relay connection, if it was relayed.
 */
void underlay_reply(struct underlay *u, struct underlay_node *node, const struct underlay_source *to,
                    struct span datagram);

/* A stream waits for an answer: a direct path has PATH_CHECK to answer a ping, then the relay carries copies.
 * Call it as often as you like. */
void underlay_peer_check(struct underlay_peer *p, time_ns now);
/* Data is not getting through (WireGuard has no answer). A direct path that answers pings may still lose it:
 * the relay gets a copy of everything for PATH_DOUBT_MIN, longer each time that it comes again. */
void underlay_peer_doubt(struct underlay_peer *p, time_ns now);

/* A packet that a relay delivered to this node, in place. */
void underlay_relay_received(struct underlay_node *n, uint16_t region, const struct public_key *from,
                             struct mspan packet, time_ns now);

/* For status pages. */
struct underlay_peer_status {
    enum underlay_path path;
    struct ip_port address; /* direct: where to */
    uint32_t latency_us;    /* direct: of the last pong */
    uint32_t epoch;
    size_t candidate_count;
    time_ns active_until; /* heartbeats run until then; 0: quiet */
};
void underlay_peer_status_get(const struct underlay_peer *p, time_ns now, struct underlay_peer_status *out);

struct underlay_counters {
    uint64_t datagrams_in, wireguard_in, disco_in, stun_in, short_in;
    uint64_t disco_unknown_sender;                            /* nobody here knows that key */
    uint64_t disco_forged;                                    /* opened for none of the nodes that know it */
    uint64_t disco_malformed, disco_ignored, disco_wrong_way; /* CallMeMaybe by UDP, or of another peer */
    uint64_t disco_trials, box_keys_made, first_contacts_refused, scans_refused;
    uint64_t pings_in, pings_out, pongs_in, pongs_out, pongs_unexpected;
    uint64_t call_me_maybes_in, call_me_maybes_out;
    uint64_t sent_direct, sent_relay, sent_both, send_failed, unreachable;
    uint64_t paths_won, paths_lost, out_of_memory;
    uint64_t surveys;       /* runs in which relay regions were measured */
    uint64_t mappings;      /* runs that only asked for this socket's mapping */
    uint64_t rebinds;       /* fresh sockets, because the kernel refused to send or the network changed */
    uint64_t relays_probed; /* regions measured over HTTPS, because UDP is blocked */
};
/* Bytes of the heap: of a peer's path, of a node, of what they share. */
size_t underlay_peer_memory(const struct underlay_peer *p);
size_t underlay_node_memory(const struct underlay_node *n);
size_t underlay_memory(const struct underlay *u);
const struct underlay_counters *underlay_counters_get(const struct underlay *u);

#define UNDERLAY_IDLE_PEER_BYTES 208

#endif

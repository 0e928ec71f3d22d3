/* relay/relay.h - a node's connections to relay (DERP) regions
 *
 * The home region's connection is always kept; others are opened when something is to be sent there and
 * closed 60 s after the last packet went. A relay knows its client by the connection's key, so every node
 * has connections of its own; what is shared is the pace of dialling (a relay that restarts must not meet
 * all nodes at once), the roots of trust, and the buffer that bytes are read into.
 *
 * Rules of dialling, routes and their sources: docs/protocol/relay.md.
 * Thread: the loop's; the pacer any.  Memory: an idle connection is its stream, its machine (derp/) and no
 * buffer.  Trouble: a connection that fails says why and is tried again; nothing comes out of here.
 */
#ifndef MANYTAILS_RELAY_RELAY_H
#define MANYTAILS_RELAY_RELAY_H

#include "crypto/crypto.h"
#include "ev/ev.h"
#include "stream/stream.h"
#include "tailcfg/tailcfg.h"
#include "tls/tls.h"

#define RELAY_DIAL_TIMEOUT (10 * SEC)    /* addresses, TCP, TLS and hello together */
#define RELAY_DIAL_ATTEMPT (3 * SEC / 2) /* TCP, per server of the region */
#define RELAY_BACKOFF_MAX (5 * SEC)      /* n * n * 10 ms up to this, times 0.5 .. 1.5 */
#define RELAY_IDLE_CLOSE (60 * SEC)      /* not home, nothing written */
#define RELAY_DIALS_PER_SECOND 100       /* of the process, and as many for nodes with packets waiting, ... */
#define RELAY_DIALS_BURST 256            /* ... after so many at once */
#define RELAY_STEADY (10 * SEC)          /* a connection that lasted so long makes the backoff start anew */
#define RELAY_HEARD (5 * SEC)            /* between two calls of ops.heard for a region */
#define RELAY_READ_BYTES (64u << 10)     /* the buffer of a shard */
#define RELAY_RESTART_MAX MINUTE         /* how long a relay's "I restart" may make us wait */
#define RELAY_ROUTES_MAX 4096            /* "heard on" entries per node; the oldest goes */
#define RELAY_PROBE_TIMEOUT (4 * SEC)    /* of one server: connection, TLS and answer */
#define RELAY_SENTENCE_BYTES 256

struct relay_pacer; /* one per process; any thread */
struct relay_shard; /* one per loop */
struct relay_node;  /* one per node */

NODISCARD int relay_pacer_new(struct relay_pacer **out);
void relay_pacer_free(struct relay_pacer *p); /* NULL is fine */

/* `tls` may be NULL if only plain relays are used; a reference is taken. `proxies` is borrowed, NULL: none.
 */
NODISCARD int relay_shard_new(struct relay_shard **out, struct ev_loop *loop, struct relay_pacer *pacer,
                              struct tls_client *tls, const struct stream_proxies *proxies);
void relay_shard_free(struct relay_shard *s); /* after its nodes; NULL is fine */

/* From the loop (trouble also from inside relay_node_send). They may call anything here but relay_node_free.
 */
struct relay_ops {
    /* A packet for this node, in place; until it returns. */
    void (*received)(void *ctx, uint16_t region, const struct public_key *from, struct mspan packet,
                     time_ns now);
    /* Bytes came from this region, which knows us: who is told so may send there; at most once in RELAY_HEARD
     * each. */
    void (*heard)(void *ctx, uint16_t region, time_ns now);
    /* A connection broke, or could not be made: measure the regions again. */
    void (*trouble)(void *ctx, uint16_t region, time_ns now);
    /* A queue that relay_node_room called full has room again. */
    void (*room)(void *ctx, uint16_t region, time_ns now);
    /* A probe is over. 0: the region did not answer. */
    void (*probed)(void *ctx, uint16_t region, time_ns latency, time_ns now);
};

struct relay_config {
    const char *name;                  /* of the node, for the log; copied */
    const struct secret_key *node_key; /* copied, wiped by free */
    bool plain_http;                   /* every relay is spoken to without TLS: test setups only */
    const struct relay_ops *ops;
    void *ctx;
};

NODISCARD int relay_node_new(struct relay_node **out, struct relay_shard *s,
                             const struct relay_config *config);
void relay_node_free(struct relay_node *n); /* NULL is fine */

/* The regions; copied. Connections whose servers changed are made anew. -ENOMEM: the old map stays. */
NODISCARD int relay_node_set_map(struct relay_node *n, const struct tailcfg_derp_map *map, time_ns now);
/* 0: none. Connects at once; the old home is told, and kept until it is idle. */
void relay_node_set_home(struct relay_node *n, uint16_t region, time_ns now);

/* The network changed: at `at` (spread it: all nodes of the host hear of it together) connections have to
 * prove that they are alive within seconds, and those that wait to try again do so. */
void relay_node_check(struct relay_node *n, time_ns at, time_ns now);

/* Measures how long a region takes to answer a request over its relay's own port (HTTPS): for networks
 * without UDP. ops.probed follows, not from inside this call. -ENOMEM. */
NODISCARD int relay_node_probe(struct relay_node *n, uint16_t region, time_ns now);

/* To the peer's home region; 0 (or a region that is not on the map): where it was last heard, else our
 * home. Queued, at most DERP_QUEUE_PACKETS a connection, oldest dropped; also while it is being opened. */
void relay_node_send(struct relay_node *n, uint16_t region, const struct public_key *to, struct span packet,
                     time_ns now);
/* Packets that would be queued without dropping one. 0: ops.room follows, also when the connection breaks. */
size_t relay_node_room(struct relay_node *n, uint16_t region, const struct public_key *to);

struct relay_status {
    bool home_connected;
    uint16_t home_region;
    unsigned connections;
    char sentence[RELAY_SENTENCE_BYTES]; /* "connected to relay region 901 (lab1)", "relay region 901 (lab1):
                                          * connection refused; trying again in 3 s" */
};
void relay_node_status(const struct relay_node *n, time_ns now, struct relay_status *out);

struct relay_counters {
    uint64_t packets_in, packets_out, bytes_in, bytes_out;
    uint64_t dropped_full, dropped_rate, dropped_no_region;
    uint64_t dropped_lost; /* waited for a connection that broke, or did not come */
    uint64_t connects, failures;
};
/* What its connections hold, on the heap. NULL is fine. */
void relay_node_memory(const struct relay_node *n, struct account_memory *m);
const struct relay_counters *relay_node_counters(const struct relay_node *n);

#endif

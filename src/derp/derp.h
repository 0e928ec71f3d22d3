/* derp/derp.h - the client side of one relay connection, as a machine without I/O
 *
 * The owner moves bytes between this machine and a stream (TLS, or plain where the map says so); the
 * machine never sees a socket or a clock. Order: HTTP upgrade, the server's key, who we are, who it is,
 * then packets both ways. What a server of our own needs as well stands in derp/frames.h, which is part of
 * this door. Frames and their sources: docs/protocol/derp.md.
 *
 * Thread: the shard that created it. Memory: one small object; buffers only while bytes are under way:
 * a frame in pieces, and what has been queued and not yet written.
 */
#ifndef MANYTAILS_DERP_DERP_H
#define MANYTAILS_DERP_DERP_H

#include "base/base.h"
#include "crypto/crypto.h"
#include "derp/frames.h"

#define DERP_UNKNOWN_BYTES_MAX (1u << 20)     /* of a type that we skip */
#define DERP_HEAD_BYTES_MAX 8192              /* of the server's HTTP answer */
#define DERP_QUEUE_PACKETS 32                 /* waiting for the stream; the oldest is dropped */
#define DERP_CONTROL_BYTES_MAX 2048           /* pongs and the like waiting for the stream */
#define DERP_SILENCE (120 * SEC)              /* without a byte: the connection is dead */
#define DERP_PING_AFTER (60 * SEC + 15 * SEC) /* a keep-alive is overdue: ask */
#define DERP_PING_WAIT (5 * SEC)              /* for the answer to derp_client_ping */

struct derp_client; /* opaque */

enum derp_outcome {
    DERP_E_HTTP = 1,   /* the server did not agree to speak DERP: derp_client_failure has its answer */
    DERP_E_TOO_BIG,    /* frame longer than the protocol allows */
    DERP_E_PROTOCOL,   /* frames out of order, short, or not ours */
    DERP_E_KEY,        /* the server cannot open or seal what its key says it can */
    DERP_E_BAD_PACKET, /* derp_client_send: longer than DERP_PACKET_BYTES_MAX */
    DERP_E_LIMITED,    /* derp_client_send: the server's rate limit; the packet is dropped */
};

enum derp_event_kind {
    DERP_READY,      /* packets can be sent */
    DERP_PACKET,     /* from, packet */
    DERP_PEER_GONE,  /* from: is not (or no longer) connected to this relay */
    DERP_HEALTH,     /* text: the server's complaint about this connection; empty: all is well again */
    DERP_RESTARTING, /* reconnect_in, try_for */
};

struct derp_event {
    enum derp_event_kind kind;
    struct public_key from;
    struct mspan packet; /* may be changed in place; valid until the next call */
    struct span text;
    bool not_here; /* PEER_GONE: it never was */
    time_ns reconnect_in, try_for;
};

struct derp_config {
    const char *host;       /* Host header; read inside derp_client_new */
    const char *ideal_node; /* name of the region's first node if this is another one; NULL */
    const struct secret_key *node_key;
    bool home; /* say at once that this is our home */
};

/* Life. The caller owns *out. -ENOMEM is the only failure. */
NODISCARD int derp_client_new(struct derp_client **out, const struct derp_config *config, time_ns now);
size_t derp_client_memory(const struct derp_client *c); /* bytes of the heap it holds */
void derp_client_free(struct derp_client *c);           /* NULL is fine */

/* Before the first byte leaves: the server's key is known already (from its certificate, over TLS 1.3), so
 * say who we are in the same flight and expect no HTTP answer. False: that key cannot be one. */
NODISCARD bool derp_client_fast_start(struct derp_client *c, const struct public_key *server_key);

/* In: bytes that arrived, may be changed in place; then take events until there are none, before the next
 * feed. 0, DERP_E_*, -ENOMEM; after a failure the machine only wants to be freed. The bytes must stay until
 * the events are taken. */
NODISCARD int derp_client_feed(struct derp_client *c, struct mspan bytes, time_ns now);
/* False: none left, or the bytes after it make no sense (derp_client_error). */
bool derp_client_next(struct derp_client *c, struct derp_event *ev);
/* An event loop over next may end because of a fault: 0 or the outcome. */
int derp_client_error(const struct derp_client *c);
/* What the server said instead of 101, for the log; "" otherwise. */
const char *derp_client_failure(const struct derp_client *c);

/* Out: queue a packet (copied). 0, DERP_E_BAD_PACKET, DERP_E_LIMITED, -ENOMEM. When the queue is full the
 * oldest packet goes, and is counted. Before the connection is up packets wait behind the hello. */
NODISCARD int derp_client_send(struct derp_client *c, const struct public_key *to, struct span packet,
                               time_ns now);
size_t derp_client_room(const struct derp_client *c);   /* packets until the queue is full */
size_t derp_client_queued(const struct derp_client *c); /* packets that have not left whole */
/* A connection is made anew: what had not begun to leave by the old one moves here. c's queue is empty. */
void derp_client_take_queue(struct derp_client *c, struct derp_client *from);
size_t derp_client_drop_queue(struct derp_client *c); /* and how many those were; not counted as dropped */
void derp_client_set_home(struct derp_client *c, bool home);

/* Pieces to write now, in order, at most `max`; then report what went. */
size_t derp_client_pending(const struct derp_client *c, struct span *parts, size_t max);
void derp_client_sent(struct derp_client *c, size_t bytes);

/* Time: DERP_SILENCE without a byte means dead; a ping goes out before. */
time_ns derp_client_deadline(const struct derp_client *c);
/* False: dead. */
NODISCARD bool derp_client_tick(struct derp_client *c, time_ns now);
/* Is it alive? Without a byte in DERP_PING_WAIT it is dead. For when the network has changed. */
void derp_client_ping(struct derp_client *c, time_ns now);

struct derp_counters {
    uint64_t packets_in, packets_out, bytes_in, bytes_out, dropped_full, dropped_rate, skipped, keepalives,
        pings;
};
const struct derp_counters *derp_client_counters(const struct derp_client *c);
struct public_key derp_client_server_key(const struct derp_client *c);

#endif

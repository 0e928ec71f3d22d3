/* netstack/netstack.h - the TCP/IP stack inside the tunnels: IP, ICMP, UDP and TCP of many nodes
 *
 * One `struct netstack` per shard serves all its virtual nodes. Tailnets overlap, so the node's index is
 * part of every key. A pure machine: packets and `now` come in, events and packets go out.
 *
 * In:    netstack_input hands in what one peer of one node sent (decrypted, filtered, padding cut). One
 *        call is one batch: one event and at least one acknowledgement per connection, not per packet.
 * Up:    the callbacks of netstack_ops that concern connections come only from inside netstack_input
 *        and netstack_tick, after the whole batch was looked at. They may call anything below except
 *        netstack_input, netstack_tick and netstack_free. A call never calls its caller back.
 * Out:   pull model, no queue of packets. output_ready says that (node, peer) has something to send; the
 *        owner calls netstack_next_segment, at once or later, as often as the way out can take data and
 *        until it answers false. Only then output_ready comes again. What was pulled counts as sent.
 * Time:  netstack_deadline is TIME_NEVER when nothing is pending: idle connections cost no wake-up.
 *
 * Connections are handles: when one is gone every call on it is harmless (0, false, -ENOTCONN).
 * Memory: an idle connection takes about 300 bytes, a half-open one less, TIME_WAIT 64 bytes in one queue;
 * buffers exist only while something is unsent, unacknowledged or unread. What is limited, and how far,
 * is in struct netstack_limits; each limit has a counter.
 * Thread: the shard that created it.  Errors: -ENOMEM and what is said below; nothing that a peer sends
 * is an error.  Sources: RFC 9293 and the RFCs named in the files; docs/protocol/netstack.md.
 */
#ifndef MANYTAILS_NETSTACK_NETSTACK_H
#define MANYTAILS_NETSTACK_NETSTACK_H

#include "base/base.h"

#include <sys/types.h>

#define NETSTACK_MTU 1280              /* of every tailnet (docs/protocol/netstack.md) */
#define NETSTACK_NODE_ADDRESSES_MAX 16 /* local addresses of one node */
#define NETSTACK_NODES_MAX 65536       /* node indices are below this */
#define NETSTACK_BATCH_MAX 1024        /* packets per netstack_input; more are cut into several batches */
#define NETSTACK_SEGMENTS_MAX 49       /* per pull: 49 x (1280 + 32) bytes fit one UDP_SEGMENT send */
#define NETSTACK_HEADER_BYTES_MAX 100  /* IPv6 40, TCP 60 */
#define NETSTACK_SPANS_MAX 8           /* pieces that the payload of one pull may lie in */
#define NETSTACK_UDP_PAYLOAD_MAX 1232  /* over IPv6; datagrams are not fragmented on the way out */

struct netstack;

/* Who talks to whom, as the node sees it. */
struct netstack_flow {
    uint32_t node;
    uint64_t peer;        /* the token given to netstack_input or tcp_connect */
    struct ip_port local; /* on our side of the tunnel */
    struct ip_port remote;
};

/* ---- up ---------------------------------------------------------------------- */

enum netstack_verdict {
    NETSTACK_ACCEPT, /* answer the handshake */
    NETSTACK_RESET,  /* nobody listens here: refuse */
    NETSTACK_DROP,   /* say nothing */
    NETSTACK_DEFER,  /* wait for netstack_syn_decide, at most `syn_defer_ns`, then refuse */
};

/* Why a connection ended (closed). */
#define NETSTACK_REASONS(X)                                                 \
    X(DONE, "done") /* both sides said and acknowledged their end */        \
    X(RESET, "reset by peer")                                               \
    X(REFUSED, "refused")     /* reset, or unreachable, while connecting */ \
    X(TIMED_OUT, "timed out") /* no answer within the user timeout */       \
    X(STALLED, "stalled")     /* the peer kept its window shut too long */  \
    X(NO_MEMORY, "out of memory")                                           \
    X(REMOVED, "peer or node removed")

enum netstack_reason {
#define X(name, text) NETSTACK_CLOSED_##name,
    NETSTACK_REASONS(X)
#undef X
};
const char *netstack_reason_text(enum netstack_reason reason);

#define NETSTACK_STALL_TIMEOUTS 2 /* of one segment, in a row; half a second on a short path */

struct netstack_ops {
    /* A valid SYN for an address of the node. `pending` names it for netstack_syn_decide. *user goes to
     * the connection; it is the consumer's and never looked into. Nothing exists yet: allocate in
     * `established`. */
    enum netstack_verdict (*on_syn)(void *ctx, const struct netstack_flow *flow, handle pending, void **user);
    /* Accepted or deferred, but it never became a connection (NULL is fine): what on_syn or
     * netstack_syn_decide gave as user is not needed any more. */
    void (*syn_failed)(void *ctx, void *user);
    /* Both directions are open: after an accepted handshake, or after tcp_connect. */
    void (*established)(void *ctx, handle conn, void *user, time_ns now);
    /* Bytes or the end arrived: tcp_peek, tcp_consume, tcp_at_end. Comes again when more arrives, not
     * because something was left. What is looked at here is not copied if it is consumed here. */
    void (*readable)(void *ctx, handle conn, void *user, time_ns now);
    /* Room again after a tcp_write that took less than it was given. */
    void (*writable)(void *ctx, handle conn, void *user, time_ns now);
    /* Exactly once, the last event, unless the consumer let go first (tcp_close, tcp_abort). After a
     * proper end on both sides it waits until everything was consumed. The handle is dead inside. */
    void (*closed)(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now);
    /* (node, peer) has something to send. May come from inside any call but the pull itself. */
    void (*output_ready)(void *ctx, uint32_t node, uint64_t peer);
    /* A connection with this peer had no answer to NETSTACK_STALL_TIMEOUTS repeats: is the path alive? From
     * inside a tick: only take note. NULL: nobody wants to know. */
    void (*stalled)(void *ctx, uint32_t node, uint64_t peer);
    /* netstack_deadline is earlier than it was: arm a timer. May come from inside any call. */
    void (*deadline_changed)(void *ctx);
    /* A datagram (NULL: nobody wants any). True: taken. False: answer port unreachable. */
    bool (*on_udp)(void *ctx, const struct netstack_flow *flow, struct span payload, time_ns now);
};

/* ---- life ---------------------------------------------------------------------- */

/* 0 in any field means its default, given behind it. */
struct netstack_limits {
    uint32_t conns_per_peer;           /* 8192 */
    uint32_t conns_per_node;           /* 32768 */
    uint32_t conns;                    /* 131072 */
    uint32_t half_open_per_peer;       /* 1024; the oldest is shed first, here and below */
    uint32_t half_open_per_node;       /* 4096 */
    uint32_t half_open;                /* 16384 */
    uint32_t time_wait;                /* 65536; the oldest is forgotten first */
    uint32_t control_per_peer;         /* 128 packets: resets, ICMP, datagrams */
    uint64_t receive_bytes_per_peer;   /* 16 MiB of chunks holding unread or out-of-order data */
    uint64_t receive_bytes_per_node;   /* 64 MiB */
    uint64_t buffer_bytes;             /* 256 MiB of chunks; from 70 % windows stop growing, from 90 %
                                        * no new connections and small windows */
    uint32_t receive_window_bytes_max; /* 8 MiB, where autotuning ends; 16 KiB .. 16 MiB */
    uint32_t send_buffer_bytes_max;    /* 4 MiB: as much as the kernel gives; a stream over a path that never
                                          loses fills it */
    uint32_t not_sent_bytes_max;       /* 128 KiB accepted by tcp_write and not yet pulled */
    uint32_t fragment_bytes;           /* 4 MiB of incomplete datagrams, 64 KiB of them per peer */
    uint32_t resets_per_second;        /* 1000 per node, a quarter of it from one peer */
    uint32_t icmp_per_second;          /* 1000 per node, likewise */
};

struct netstack_config {
    const struct netstack_ops *ops;
    void *ctx;
    void (*random)(void *out, size_t len); /* crypto's random_bytes; a seeded source in tests */
    struct netstack_limits limits;
    const char *congestion;  /* "cubic" (default) or "newreno" */
    time_ns user_timeout_ns; /* 2 min: sent data unanswered */
    time_ns zero_window_ns;  /* 10 min: the peer answers, but its window stays shut */
    time_ns keepalive_ns;    /* 0: none. Idle connections are probed after this, and cost a timer */
    time_ns syn_defer_ns;    /* 10 s */
    bool sack_off, timestamps_off, window_scaling_off; /* switches to isolate faults in the field */
    bool coalescing_off;                               /* treat every packet as a batch of its own */
};

/* The config is copied, what it points to is borrowed. -EINVAL: an unknown name or limit. */
NODISCARD int netstack_new(struct netstack **out, const struct netstack_config *config, time_ns now);
void netstack_free(struct netstack *ns); /* no callbacks; NULL is fine */
/* Lets go of the free buffers that are kept for the next burst. For quiet times. */
void netstack_trim(struct netstack *ns);

/* A node may get its addresses later or change them (call again): connections of an address that is
 * gone end as REMOVED. 0, -ENOMEM, -EINVAL (index or count too large). */
NODISCARD int netstack_node_add(struct netstack *ns, uint32_t node, const struct ip *addresses, size_t count);
void netstack_node_remove(struct netstack *ns, uint32_t node);
/* Ends everything with this peer, without a packet: call it when the peer left the netmap. */
void netstack_peer_remove(struct netstack *ns, uint32_t node, uint64_t peer);

/* ---- in ------------------------------------------------------------------------ */

/* Whole IP packets from one peer, in order of arrival. `now` is when they arrived. Borrowed for the call. */
void netstack_input(struct netstack *ns, uint32_t node, uint64_t peer, const struct span *packets,
                    size_t count, time_ns now);

/* The answer to NETSTACK_DEFER (ACCEPT, RESET or DROP). False: too late, nothing happened (syn_failed has
 * been called). */
bool netstack_syn_decide(struct netstack *ns, handle pending, enum netstack_verdict verdict, void *user,
                         time_ns now);
/* Something outside of TCP said that this connection attempt of ours is refused (TSMP reject). */
void netstack_reject(struct netstack *ns, const struct netstack_flow *flow);

/* The tunnel's path to this peer changed; every change has another epoch. */
enum netstack_path { NETSTACK_PATH_DIRECT, NETSTACK_PATH_RELAY };
void netstack_path_changed(struct netstack *ns, uint32_t node, uint64_t peer, enum netstack_path path,
                           uint32_t epoch, time_ns now);

/* Packets get through to this peer again (a new key for the tunnel): what waits for a timeout that grew while
 * they did not is repeated at once. */
void netstack_peer_reachable(struct netstack *ns, uint32_t node, uint64_t peer, time_ns now);

/* ---- connections ----------------------------------------------------------------- */

/* Opens a connection; established or closed follows. `local` must be an address of the node of the family
 * of `remote`. The port is chosen. -EADDRNOTAVAIL, -EMFILE (a limit), -ENOMEM. */
NODISCARD int tcp_connect(struct netstack *ns, uint32_t node, uint64_t peer, const struct ip *local,
                          const struct ip_port *remote, void *user, time_ns now, handle *out);

/* Received bytes in order, without taking them: fills up to max spans, returns how many. They are valid
 * until the callback returns or tcp_consume, whichever is first; outside of callbacks, until the next call.
 */
size_t tcp_peek(struct netstack *ns, handle conn, struct span *spans, size_t max);
size_t tcp_readable_bytes(struct netstack *ns, handle conn);
void tcp_consume(struct netstack *ns, handle conn, size_t len); /* at most what tcp_readable_bytes says */
/* Everything was consumed and the peer said that nothing follows (or the connection is gone). */
bool tcp_at_end(struct netstack *ns, handle conn);

/* Copies what fits and returns how much. Less than all of it: `writable` follows. `more` says that the
 * caller will write again at once, so a segment that is not full may wait for it.
 * -ENOTCONN: gone. -EPIPE: after tcp_shutdown. Before `established`: 0. */
NODISCARD ssize_t tcp_write(struct netstack *ns, handle conn, struct span bytes, bool more);
size_t tcp_write_room(struct netstack *ns, handle conn);
/* Where to put up to `want` bytes that are tcp_write's next, so that it need not copy them: returns how many
 * may go to *at, which stays valid until the loop's turn ends or something is written. 0: nowhere, write
 * them as usual. -EAGAIN: nowhere yet, `writable` follows. */
NODISCARD ssize_t tcp_write_place(struct netstack *ns, handle conn, size_t want, uint8_t **at);
/* FIN behind what was written. Reading goes on. */
void tcp_shutdown(struct netstack *ns, handle conn);
/* Lets go: FIN behind what was written, no more events, the handle is dead. Unread data, now or later,
 * makes it a reset, so that the peer does not believe we read it (RFC 2525, 2.17). */
void tcp_close(struct netstack *ns, handle conn);
/* RST now, what was written is thrown away, no more events, the handle is dead. */
void tcp_abort(struct netstack *ns, handle conn);
void tcp_set_user(struct netstack *ns, handle conn, void *user);
bool tcp_flow(struct netstack *ns, handle conn, struct netstack_flow *out); /* false: gone */

struct tcp_stats {
    const char *state, *congestion;
    uint32_t srtt_us, min_rtt_us, rto_ms, cwnd_bytes, ssthresh_bytes, in_flight_bytes, send_window_bytes;
    uint32_t receive_window_bytes, unsent_bytes, unread_bytes, mss;
    uint32_t memory_bytes; /* all of it, chunks included */
};
bool tcp_stats(struct netstack *ns, handle conn, struct tcp_stats *out);

/* ---- datagrams ------------------------------------------------------------------- */

/* Queues one datagram. -EMSGSIZE, -ENOBUFS (the peer's queue is full), -EADDRNOTAVAIL, -ENOMEM. */
NODISCARD int netstack_udp_send(struct netstack *ns, const struct netstack_flow *flow, struct span payload);

/* ---- out ------------------------------------------------------------------------- */

/* `count` packets that share one header: all carry segment_bytes of payload except the last. Looked at
 * only by netstack_segment_write. Valid until the next call that is not netstack_segment_write. */
struct netstack_segment {
    uint32_t count;
    uint32_t payload_bytes; /* of all packets */
    uint16_t segment_bytes; /* payload per packet */
    uint16_t header_bytes;
    uint16_t packet_bytes; /* of every packet but the last, which may be shorter: header and payload */
    uint8_t span_count;
    uint8_t last_flags; /* TCP flags of the last packet alone */
    uint32_t checksum;  /* of the header without what differs from packet to packet */
    struct span spans[NETSTACK_SPANS_MAX];
    uint8_t header[NETSTACK_HEADER_BYTES_MAX];
};

/* The next packets for this peer, connections in turn. `count_max` (>= 1, at most NETSTACK_SEGMENTS_MAX)
 * limits them to what the way out can take now. False: nothing (more) to send. */
NODISCARD bool netstack_next_segment(struct netstack *ns, uint32_t node, uint64_t peer, size_t count_max,
                                     time_ns now, struct netstack_segment *out);
/* Writes packet i (headers, payload, checksum, in one pass) and returns its length, 0 if there is not
 * enough room (NETSTACK_MTU always is). */
size_t netstack_segment_write(const struct netstack_segment *segment, size_t i, uint8_t *out, size_t room);

/* ---- time ------------------------------------------------------------------------ */

time_ns netstack_deadline(const struct netstack *ns);
void netstack_tick(struct netstack *ns, time_ns now);

/* ---- status ---------------------------------------------------------------------- */

/* Each with what it means; netstack.c has the text. */
#define NETSTACK_COUNTERS(X)                                                                       \
    X(packets_in, "packets handed in")                                                             \
    X(packets_out, "packets pulled")                                                               \
    X(bytes_in, "payload bytes received in order")                                                 \
    X(bytes_out, "payload bytes pulled, repeats included")                                         \
    X(ip_malformed, "packets dropped: not IP, cut short, bad header checksum, or options of IPv6") \
    X(ip_not_local, "packets dropped: the destination is no address of the node")                  \
    X(ip_unknown_protocol, "packets dropped: neither TCP, UDP nor ICMP")                           \
    X(checksum_bad, "packets dropped: TCP, UDP or ICMP checksum")                                  \
    X(fragments_in, "fragments received")                                                          \
    X(fragments_complete, "datagrams put together from fragments")                                 \
    X(fragments_dropped, "fragments dropped: overlap, nonsense, a limit or the time limit")        \
    X(icmp_echo, "echo requests answered")                                                         \
    X(icmp_limited, "ICMP messages not sent: rate limit")                                          \
    X(icmp_errors_in, "ICMP errors that concerned a connection of ours")                           \
    X(icmp_ignored, "ICMP messages ignored")                                                       \
    X(udp_in, "datagrams delivered")                                                               \
    X(udp_unreachable, "datagrams for a port without a handler")                                   \
    X(tcp_malformed, "TCP segments dropped: bad header, length or options")                        \
    X(tcp_wrong_peer, "TCP segments dropped: from another peer than the connection's")             \
    X(tcp_no_connection, "TCP segments that belong to nothing")                                    \
    X(resets_out, "resets sent")                                                                   \
    X(resets_limited, "resets not sent: rate limit")                                               \
    X(syns_in, "connection attempts by peers")                                                     \
    X(syns_refused, "attempts refused by the consumer")                                            \
    X(syns_dropped, "attempts dropped by the consumer")                                            \
    X(syns_shed, "half-open connections shed for newer ones: a limit")                             \
    X(syns_timed_out, "half-open connections never completed")                                     \
    X(conns_accepted, "connections opened by peers")                                               \
    X(conns_connected, "connections opened by us")                                                 \
    X(conns_refused_limit, "connections refused: a limit per peer, node or process")               \
    X(conns_refused_memory, "connections refused: buffers nearly exhausted, or no memory")         \
    X(conns_done, "connections that ended properly")                                               \
    X(conns_reset, "connections reset by the peer")                                                \
    X(conns_timed_out, "connections given up: no answer")                                          \
    X(conns_stalled, "connections given up: window shut")                                          \
    X(conns_aborted, "connections reset by us")                                                    \
    X(time_wait_shed, "TIME_WAIT records forgotten early: the limit")                              \
    X(time_wait_reused, "TIME_WAIT records replaced by a new connection")                          \
    X(challenge_acks, "challenge acknowledgements sent (RFC 5961)")                                \
    X(challenge_limited, "challenge acknowledgements not sent: rate limit")                        \
    X(paws_dropped, "segments dropped: timestamp too old")                                         \
    X(out_of_window, "segments dropped: outside of the window")                                    \
    X(out_of_order, "segments that arrived before their turn")                                     \
    X(out_of_order_dropped, "out-of-order data dropped: a limit")                                  \
    X(duplicates, "segments that brought nothing new")                                             \
    X(header_predicted, "segments that took the short way")                                        \
    X(acks_delayed, "acknowledgements sent by the delay timer")                                    \
    X(retransmits, "segments sent again")                                                          \
    X(recoveries, "episodes of fast recovery")                                                     \
    X(recoveries_spurious, "episodes found to be unnecessary afterwards")                          \
    X(timeouts, "retransmission timeouts")                                                         \
    X(stalls, "second timeouts in a row: the path was doubted")                                    \
    X(tail_probes, "tail loss probes sent")                                                        \
    X(window_probes, "probes of a shut window sent")                                               \
    X(control_dropped, "control packets dropped: the peer's queue is full or memory is short")     \
    X(receive_limited, "received data refused: the limit of the peer, node or process")            \
    X(send_limited, "writes cut short by the memory limit")

struct netstack_counters {
#define X(name, text) uint64_t name;
    NETSTACK_COUNTERS(X)
#undef X
};
const struct netstack_counters *netstack_counters(const struct netstack *ns);

/* What exists now. All zero but `nodes` when everything ended and TIME_WAIT is over. */
struct netstack_usage {
    uint32_t nodes, peers, conns, half_open, time_wait, control_packets, fragments;
    uint64_t chunk_bytes;  /* buffers of connections */
    uint64_t memory_bytes; /* everything, tables included */
};
/* Bytes: of one node with its connections and what is under way on them; of what is nobody's in particular.
 */
size_t netstack_node_memory(const struct netstack *ns, uint32_t node);
size_t netstack_shared_memory(const struct netstack *ns);
struct netstack_usage netstack_usage(const struct netstack *ns);

#endif

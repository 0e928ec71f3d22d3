/* netstack/internal.h - what the files of netstack/ share
 *
 * Files, from the wire upwards: checksum, segment (headers), inner (IP), fragment, icmp, datagram (UDP);
 * flow_table, timer_wheel, chunk, peer (nodes and peers), syn (half-open), time_wait; conn (life and states),
 * input, receive (in order and not), acked (what an ACK does), records (what is in flight), recovery,
 * congestion, output (the pull), api (the calls of the door), netstack (the batch, time, status).
 */
#ifndef MANYTAILS_NETSTACK_INTERNAL_H
#define MANYTAILS_NETSTACK_INTERNAL_H

#include "netstack/checksum.h"
#include "netstack/netstack.h"
#include "netstack/timer_wheel.h"

#include <assert.h>

/* ---- constants ------------------------------------------------------------------ */

#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_ICMP6 58

#define IP4_BYTES 20
#define IP6_BYTES 40
#define TCP_BYTES 20
#define UDP_BYTES 8
#define HOP_LIMIT 64

#define TCP_FIN 0x01u
#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define TCP_PSH 0x08u
#define TCP_ACK 0x10u
#define TCP_URG 0x20u

#define TCP_TS_BYTES 12        /* NOP, NOP, timestamps */
#define TCP_MSS_DEFAULT_V4 536 /* RFC 9293, 3.7.1 */
#define TCP_MSS_DEFAULT_V6 1220
#define TCP_MSS_MIN 64 /* a peer that asks for less gets this: protects from one packet per byte */
#define TCP_SACK_MAX 4
#define TCP_WINDOW_SCALE 8      /* 16 MiB with 16 bits */
#define TCP_WINDOW_SCALE_MAX 14 /* RFC 7323, 2.3 */

/* Milliseconds. */
#define RTO_INITIAL_MS 1000u        /* RFC 6298, 2.1 */
#define RTO_AFTER_SYN_LOSS_MS 3000u /* RFC 6298, 5.7 */
#define RTO_MIN_MS 200u             /* below the RFC's second, as every current stack */
#define RTO_MAX_MS 60000u
#define DELAYED_ACK_MS 40u
#define DELAYED_ACK_FIRST_MS 10u /* while acknowledgements are quick */
#define PERSIST_MIN_MS 200u
#define PERSIST_MAX_MS 60000u
#define FIN_WAIT_2_MS 60000u /* of a connection that its consumer let go */
#define TIME_WAIT_MS 60000u
#define SYN_RETRIES_MAX 6u
#define SYN_ACK_RETRIES_MAX 5u                /* 1 + 2 + 4 + 8 + 16 + 32 s */
#define PAWS_FORGET_MS (24u * 86400u * 1000u) /* RFC 7323, 5.5 */
#define FRAGMENT_MS 30000u
#define TLP_MIN_MS 2u
#define KEEPALIVE_PROBES_MAX 9u
#define KEEPALIVE_INTERVAL_MS 75000u

#define INITIAL_WINDOW_SEGMENTS 10u /* RFC 6928 */
#define QUICK_ACKS 16u              /* the first segments are acknowledged at once, or nearly */
#define RECEIVE_WINDOW_FIRST 65536u
#define SEND_BUFFER_FIRST 16384u
#define RANGES_MAX 64u /* holes remembered per connection */
#define RANGES_INLINE 4u
#define RECORDS_INLINE 8u
#define RECORDS_MAX 8192u
#define CHALLENGES_PER_SECOND 10u /* per connection; RFC 5961, 7 */
#define DUPLICATE_ACKS 3u         /* RFC 5681 */
#define CONTROL_BYTES_MAX (4u << 20)

static inline bool seq_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}
static inline bool seq_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}
static inline bool seq_between(uint32_t low, uint32_t x, uint32_t high) /* both ends count */
{
    return x - low <= high - low;
}
static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_before(a, b) ? b : a;
}
static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
    return seq_before(a, b) ? a : b;
}

/* ---- flows ----------------------------------------------------------------------- */

/* No holes: hashed and compared as bytes. */
struct flow_key {
    struct ip remote;
    uint32_t node;
    uint16_t local_port, remote_port;
    uint32_t local; /* index of the address within its node */
};

enum flow_kind { FLOW_NONE, FLOW_CONN, FLOW_SYN, FLOW_TIME_WAIT };

/* What a flow belongs to: kind in the two high bits, slot below. */
typedef uint32_t flow_ref;
#define FLOW_SLOTS_MAX (1u << 30)
static inline flow_ref flow_ref_make(enum flow_kind kind, uint32_t slot)
{
    return (uint32_t)kind << 30 | slot;
}
static inline enum flow_kind flow_ref_kind(flow_ref ref)
{
    return (enum flow_kind)(ref >> 30);
}
static inline uint32_t flow_ref_slot(flow_ref ref)
{
    return ref & (FLOW_SLOTS_MAX - 1);
}

struct flow_entry {
    uint32_t hash;
    flow_ref ref; /* 0: empty */
};

/* Open addressing, linear probing, load at most 3/4; shrinks when an eighth is in use. */
struct flow_table {
    struct flow_entry *entries;
    uint32_t size; /* power of two or 0 */
    uint32_t count;
    uint32_t version; /* changes with every insertion and removal */
};

struct netstack;

uint32_t flow_hash(const struct netstack *ns, const struct flow_key *key);
flow_ref flow_find(const struct netstack *ns, const struct flow_key *key, uint32_t hash); /* 0: none */
NODISCARD int flow_insert(struct netstack *ns, uint32_t hash, flow_ref ref);
void flow_remove(struct netstack *ns, uint32_t hash, flow_ref ref); /* must be there */
void flow_table_deinit(struct flow_table *t);

/* ---- chunks ---------------------------------------------------------------------- */

enum chunk_class { CHUNK_SMALL, CHUNK_MEDIUM, CHUNK_LARGE, CHUNK_CLASSES };

struct chunk {
    struct chunk *next;
    uint32_t start, end; /* of data: what it holds */
    uint32_t base;       /* sending: sequence number of data[0] */
    uint32_t room;       /* size of data */
    enum chunk_class class;
    uint8_t data[];
};

struct chunk_queue {
    struct chunk *head, *tail;
    uint32_t bytes;    /* held */
    uint32_t memory;   /* what the chunks take */
    uint32_t next_seq; /* sending: of the next byte appended */
};

/* Equal objects, a few of the free ones kept. */
struct object_cache {
    void *free;
    size_t bytes;
    uint32_t used, kept;
};

void *cache_alloc(struct object_cache *c); /* not zeroed; NULL: no memory */
void cache_release(struct object_cache *c, void *object);
void cache_trim(struct object_cache *c); /* nothing free is kept */

struct chunk *chunk_alloc(struct netstack *ns, size_t want); /* NULL: no memory, or the limit */
void chunk_release(struct netstack *ns, struct chunk *c);
uint32_t chunk_memory(const struct chunk *c);
void chunk_queue_push(struct chunk_queue *q, struct chunk *c);
/* Takes the bytes from the front and releases what became empty. */
void chunk_queue_consume(struct netstack *ns, struct chunk_queue *q, uint32_t len);
/* Copies to the end, into the room of the last chunk and new ones. Returns how much fitted. */
uint32_t chunk_queue_append(struct netstack *ns, struct chunk_queue *q, struct span bytes);
/* Room at the end, for bytes that are appended next from just there: they are not copied. Empty: the queue is
 * too short to be worth it, or there is no memory. */
struct mspan chunk_queue_room(struct netstack *ns, struct chunk_queue *q);
/* All of `from` to the end of `to`; small neighbours are merged, so that at least half of the memory is in
 * use. */
void chunk_queue_splice(struct netstack *ns, struct chunk_queue *to, struct chunk_queue *from);
void chunk_queue_clear(struct netstack *ns, struct chunk_queue *q);

/* ---- nodes and peers -------------------------------------------------------------- */

struct rate {
    uint32_t milli_tokens, at_ms;
};
bool rate_pass(struct rate *r, uint32_t per_second, uint32_t burst, uint32_t now_ms);

#define RATE_SLOTS 4 /* peers of a node share these by hash: one of them cannot use up all */

struct ns_node {
    uint32_t index;
    uint32_t address_count; /* slots in use; one that was removed is IP_NONE */
    struct ip addresses[NETSTACK_NODE_ADDRESSES_MAX];
    struct list peers;
    struct list syns; /* oldest first */
    uint32_t conn_count, syn_count;
    bool removed; /* freed with its last peer */
    uint64_t receive_bytes;
    struct rate resets[RATE_SLOTS], icmp[RATE_SLOTS];
};

/* Exists while something of it does: connections, half-open ones, queued packets, incomplete datagrams. */
struct ns_peer {
    struct table_node by_token;
    struct list of_node;
    struct list announce; /* output_ready is due */
    struct ns_node *node;
    uint64_t token;
    struct list conns;
    struct list syns;       /* oldest first */
    struct list ready;      /* connections with output, in turn */
    struct list ready_syns; /* handshakes to answer */
    struct list control;    /* whole packets */
    uint32_t conn_count, syn_count, control_count, holds;
    uint32_t fragment_bytes;
    uint64_t receive_bytes;
    bool told; /* output_ready was called and the queue not yet found empty */
    uint8_t rate_slot;
    uint32_t path_epoch;
    uint32_t srtt_us; /* of the last connection that measured; 0: none (RFC 9040) */
    uint16_t mtu;     /* NETSTACK_MTU, or less: packet too big */
};

/* A whole packet in the peer's queue. */
struct control {
    struct list link;
    uint32_t len;
    uint8_t bytes[];
};

struct ns_node *ns_node_get(const struct netstack *ns, uint32_t index); /* NULL: none */
int ns_node_local(const struct ns_node *node, const struct ip *a); /* index of the address, -1: not ours */
struct ns_peer *ns_peer_find(const struct netstack *ns, uint32_t node, uint64_t token);
struct ns_peer *ns_peer_get(struct netstack *ns, struct ns_node *node, uint64_t token); /* made if missing */
void ns_peer_release(struct netstack *ns, struct ns_peer *peer); /* frees it if nothing of it is left */
void ns_peer_ready(struct netstack *ns, struct ns_peer *peer);   /* it has output */
/* Takes ownership of c. False: the queue is full, it was dropped and counted. */
bool ns_peer_control(struct netstack *ns, struct ns_peer *peer, struct control *c);
struct control *control_new(struct netstack *ns, size_t len); /* NULL: no memory (counted) */
void control_free(struct netstack *ns, struct control *c);

/* ---- packets ---------------------------------------------------------------------- */

/* An IP packet for an address of the node. */
struct inner_packet {
    struct ns_node *node;
    struct ns_peer *peer;
    struct ip remote;
    uint32_t local; /* index of the address */
    bool v4;
    uint8_t protocol;
    struct span whole;   /* from the IP header; after reassembly the first fragment's */
    struct span payload; /* behind the IP header */
};

struct tcp_segment {
    struct flow_key key;
    uint32_t hash; /* of the key */
    uint32_t seq, ack;
    uint32_t window; /* as in the header: not scaled */
    uint32_t tsval, tsecr;
    uint8_t flags;
    bool has_ts, sack_ok;
    uint8_t sack_count;
    uint8_t window_scale; /* 0xff: no option */
    uint16_t mss;         /* 0: no option */
    struct {
        uint32_t start, end;
    } sack[TCP_SACK_MAX];
    struct span data;
};

/* Sequence numbers that a segment takes. */
static inline uint32_t segment_len(const struct tcp_segment *s)
{
    return (uint32_t)s->data.len + ((s->flags & TCP_SYN) != 0) + ((s->flags & TCP_FIN) != 0);
}

void inner_input(struct netstack *ns, struct ns_node *node, struct ns_peer *peer, struct span packet);
void inner_dispatch(struct netstack *ns, const struct inner_packet *p);
/* Sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1). */
uint64_t inner_pseudo_sum(const struct ip *a, const struct ip *b, uint8_t protocol, size_t len);
/* Writes an IP header to `out`, returns its length. */
size_t inner_header_write(struct netstack *ns, uint8_t *out, const struct ip *from, const struct ip *to,
                          uint8_t protocol, size_t payload_len);
size_t inner_header_bytes(const struct ip *a);
/* Queues `first` and `rest` as one IP packet, or as fragments if it is larger than the MTU. False: dropped.
 */
bool inner_send(struct netstack *ns, struct ns_peer *peer, const struct ip *from, const struct ip *to,
                uint8_t protocol, struct span first, struct span rest);

void fragment_input(struct netstack *ns, const struct inner_packet *p, uint32_t id, uint32_t offset,
                    bool more);
void fragments_expire(struct netstack *ns);
void fragments_forget(struct netstack *ns, const struct ns_peer *peer); /* NULL: all */
bool fragments_deadline(const struct netstack *ns, uint32_t *at_ms);    /* false: none */

void icmp_input(struct netstack *ns, const struct inner_packet *p);
void icmp_unreachable(struct netstack *ns, const struct inner_packet *p, uint8_t type, uint8_t code);
void icmp_port_unreachable(struct netstack *ns, const struct inner_packet *p);
void datagram_input(struct netstack *ns, const struct inner_packet *p);

/* TCP headers. 0 or 1: malformed. */
NODISCARD int tcp_segment_parse(const struct inner_packet *p, struct tcp_segment *out);

struct tcp_header {
    struct ip local, remote;
    uint16_t local_port, remote_port;
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window;
    const uint8_t *options;
    size_t options_len; /* multiple of 4 */
};
/* Fills the header, its length and the checksum of what is common to all packets of *out. */
void tcp_header_write(struct netstack *ns, const struct tcp_header *h, struct netstack_segment *out);

/* ---- half-open and TIME_WAIT -------------------------------------------------------- */

struct tcp_syn {
    struct timer_entry timer;
    uint8_t retries;
    uint8_t flags; /* SYN_* */
    uint8_t window_scale;
    struct list of_peer, of_node, of_stack; /* each oldest first */
    struct list ready;
    struct ns_peer *peer;
    void *user;
    struct ip remote;
    uint16_t local_port, remote_port;
    uint8_t local;
    uint16_t mss;
    uint32_t hash;
    uint32_t irs, iss;
    uint32_t ts_recent, ts_offset;
    uint32_t sent_us;
};

#define SYN_DEFERRED BIT(0)
#define SYN_SACK BIT(1)
#define SYN_TS BIT(2)
#define SYN_SCALE BIT(3)
#define SYN_ANSWERED BIT(4) /* the SYN-ACK was pulled at least once */
#define SYN_USER BIT(5)     /* a verdict gave a user */

void syn_received(struct netstack *ns, const struct inner_packet *p, const struct tcp_segment *s,
                  uint32_t iss);
void syn_segment(struct netstack *ns, struct tcp_syn *syn, const struct inner_packet *p,
                 struct tcp_segment *s);
void syn_timer(struct netstack *ns, struct tcp_syn *syn);
void syn_remove(struct netstack *ns, struct tcp_syn *syn, bool tell);
void syn_pull(struct netstack *ns, struct tcp_syn *syn, struct netstack_segment *out);
struct flow_key syn_key(const struct tcp_syn *syn);

#define TCP_OPTIONS_MAX 40
struct tcp_syn_options {
    uint16_t mss;
    bool timestamps, sack, scale;
    uint32_t ts_offset, ts_recent;
};
size_t tcp_syn_options(const struct netstack *ns, const struct tcp_syn_options *o, uint8_t *out);

struct time_wait_record {
    struct flow_key key;
    uint64_t token;
    uint32_t snd_nxt, rcv_nxt;
    uint32_t ts_recent, ts_offset; /* ts_offset counts only with has_ts */
    uint32_t expires_ms;
    uint8_t has_ts;
    uint8_t gone;
    uint16_t window;
};
static_assert(sizeof(struct time_wait_record) <= 64, "TIME_WAIT is 64 bytes");

#define TIME_WAIT_BLOCK 64

/* A queue: records leave in the order they came, so memory comes and goes at its two ends. A slot is the
 * low 30 bits of the record's number. */
struct time_wait {
    struct time_wait_record **blocks; /* ring */
    uint32_t block_cap;               /* power of two */
    uint64_t first, next;             /* record numbers */
    uint32_t alive;
};

void time_wait_add(struct netstack *ns, const struct time_wait_record *record);
struct time_wait_record *time_wait_at(const struct netstack *ns, uint32_t slot);
void time_wait_forget(struct netstack *ns, struct time_wait_record *r);
void time_wait_segment(struct netstack *ns, struct time_wait_record *r, const struct inner_packet *p,
                       struct tcp_segment *s);
/* We want to connect with its ports. True: it is gone, *iss is where to begin (RFC 6191 for the active side).
 */
bool time_wait_give_way(struct netstack *ns, struct time_wait_record *r, uint32_t *iss);
void time_wait_expire(struct netstack *ns);
uint32_t time_wait_deadline(const struct netstack *ns, bool *any);
void time_wait_purge(struct netstack *ns, uint32_t node, int local, const uint64_t *token);
void time_wait_deinit(struct netstack *ns);

/* ---- connections ---------------------------------------------------------------------- */

/* One line per state: its name, and what may be assumed while in it. RFC 9293, 3.3.2; LISTEN is a question
 * to the consumer, SYN-RECEIVED of a listener is a struct tcp_syn, TIME-WAIT a struct time_wait_record. */
#define TCP_STATES(X)                                                                \
    X(SYN_SENT)     /* we connect; nothing heard */                                  \
    X(SYN_RECEIVED) /* we connect, and so does the other side (simultaneous open) */ \
    X(ESTABLISHED)                                                                   \
    X(FIN_WAIT_1) /* our FIN is queued or sent, not acknowledged */                  \
    X(FIN_WAIT_2) /* our FIN is acknowledged; the peer may go on sending */          \
    X(CLOSE_WAIT) /* the peer's FIN was received; we may go on sending */            \
    X(CLOSING)    /* both FINs are on the way, ours not acknowledged */              \
    X(LAST_ACK)   /* as CLOSING, the peer's came first */                            \
    X(FINISHED)   /* out of the table; unread bytes or `closed` are left */

enum tcp_state {
#define X(name) TCP_##name,
    TCP_STATES(X)
#undef X
};

/* What is in flight, in pieces that tile [snd_una, snd_nxt): each begins where the one before ends. */
enum record_state {
    RECORD_OUT,    /* sent once, counts as in flight */
    RECORD_SACKED, /* arrived out of order */
    RECORD_LOST,   /* must be sent again */
    RECORD_AGAIN,  /* was lost, sent again, counts as in flight */
};

struct tcp_record {
    uint32_t end;
    uint32_t sent_us;
    uint8_t state;
    bool repeated; /* was sent more than once, whatever its state */
};

struct tcp_range {
    uint32_t start, end;
    struct chunk_queue data;
};

/* Exists while something is unread, out of order or to be reported as duplicate. */
struct tcp_rx {
    struct chunk_queue stored;              /* in order, not consumed */
    uint32_t borrowed_first, borrowed_last; /* index + 1 into the batch's borrowed spans */
    uint32_t borrowed_bytes;
    uint32_t charged; /* to peer and node: memory of the chunks */
    uint32_t range_count, range_cap;
    struct tcp_range *ranges; /* sorted; inline_ranges or heap */
    uint32_t newest;          /* start of the range that changed last: the first SACK block */
    uint32_t fin_seq;
    bool has_fin; /* a FIN is at fin_seq, not yet reached */
    bool has_dsack;
    uint32_t dsack_start, dsack_end;
    struct tcp_range inline_ranges[RANGES_INLINE];
};

enum tcp_phase { PHASE_OPEN, PHASE_RECOVERY, PHASE_LOSS };
enum tx_timer { TX_TIMER_NONE, TX_TIMER_RTO, TX_TIMER_PROBE, TX_TIMER_REORDER, TX_TIMER_PERSIST };

/* Exists while something is unsent or unacknowledged. */
struct tcp_tx {
    struct chunk_queue queue; /* begins at snd_una */
    struct chunk *cursor;     /* where new data was found last */
    uint32_t write_seq;       /* behind the last byte written; the FIN's number */
    struct tcp_record *records;
    uint32_t record_head, record_count, record_cap;
    uint32_t pipe;                               /* bytes of OUT and AGAIN */
    uint32_t sacked;                             /* bytes of SACKED */
    uint32_t lost;                               /* bytes of LOST */
    uint32_t high_seq;                           /* recovery ends when this is acknowledged */
    uint32_t prr_delivered, prr_out, prr_flight; /* RFC 6937 */
    uint32_t undo_cwnd, undo_ssthresh;           /* before the episode; cwnd 0: nothing to undo */
    uint32_t undo_repeats; /* pieces sent again in this episode and not reported as duplicates */
    uint32_t repeat_ts;    /* our timestamp of the first repeat of the episode */
    uint32_t rack_sent_us, rack_end, rack_rtt_us; /* RFC 8985 */
    uint32_t fack;                                /* highest number known to have arrived */
    uint32_t reorder_round; /* the reordering window grows once per round: next when this is acknowledged */
    uint32_t probe_end;     /* RFC 8985, 7.3: snd_nxt when the loss probe went out */
    uint32_t reno_arrived;  /* without SACK: bytes that duplicate ACKs stand for */
    uint32_t timer_at;
    uint32_t rto_base;     /* when the retransmission timer was (re)started */
    uint32_t reorder_at;   /* with reorder_armed */
    uint32_t progress_ms;  /* the last time that an ACK advanced, or that sending began */
    uint32_t heard_ms;     /* the last time that an ACK came at all */
    uint32_t path_settled; /* with path_moved: nothing counts as lost before */
    uint8_t phase, timer;  /* enum tcp_phase, tx_timer */
    uint8_t duplicate_acks, timeouts, window_probes;
    uint8_t reorder_steps, reorder_keep; /* window in quarters of min RTT, less one; recoveries it is kept */
    bool rack_valid, reorder_armed;
    bool probe_due;    /* the loss probe is to be pulled */
    bool probing;      /* it is out */
    bool probe_repeat; /* and was old data */
    bool has_repeat_ts;
    bool path_moved;
    bool cwnd_full; /* the congestion window was what kept us from sending */
    struct tcp_record inline_records[RECORDS_INLINE];
};

/* Events for the consumer. */
#define EVENT_ESTABLISHED BIT(0)
#define EVENT_READABLE BIT(1)
#define EVENT_WRITABLE BIT(2)
#define EVENT_CLOSED BIT(3)

#define CONN_SACK BIT(0)
#define CONN_TS BIT(1)
#define CONN_SCALE BIT(2)
#define CONN_V4 BIT(3)
#define CONN_OURS BIT(4)         /* tcp_connect */
#define CONN_SHUT BIT(5)         /* the consumer said its end: FIN at write_seq */
#define CONN_FIN_RECEIVED BIT(6) /* rcv_nxt is behind the peer's FIN */
#define CONN_DETACHED BIT(7)     /* the consumer let go */
#define CONN_WANT_WRITE BIT(8)   /* a write was cut short */
#define CONN_ACK_NOW BIT(9)
#define CONN_ACK_DELAYED BIT(10)
#define CONN_MORE BIT(11)    /* the consumer writes again at once */
#define CONN_PROBE BIT(12)   /* send a segment without data and an old number: persist, keepalive */
#define CONN_SYN_DUE BIT(13) /* the SYN (or SYN-ACK) must be sent */
#define CONN_REORDERING BIT(14)
#define CONN_IDLE_TIMER BIT(15)
#define CONN_IN_TABLE BIT(16)
#define CONN_LIVE BIT(17)    /* the consumer was told that it is established */
#define CONN_REPLIED BIT(18) /* the SYN was pulled at least once */

struct tcp_conn {
    struct ns_peer *peer;
    void *user;
    struct tcp_tx *tx;
    struct tcp_rx *rx;
    struct list of_peer, ready, event;
    struct timer_entry timer;
    uint8_t state; /* enum tcp_state */
    uint8_t events;
    uint8_t reason;
    uint8_t local; /* index of the address */
    uint8_t snd_scale, rcv_scale;
    uint8_t quick_acks;
    uint8_t
        repeat_acks; /* without SACK: one ACK for every segment out of order, that is what the peer counts */
    uint32_t flags;  /* CONN_* */
    struct ip remote;
    uint16_t local_port, remote_port;
    /* Receiving. */
    uint32_t rcv_nxt;
    uint32_t rcv_edge;  /* the highest right edge ever announced */
    uint32_t rcv_limit; /* of the window */
    uint32_t ack_sent;  /* the last number acknowledged */
    uint32_t ts_recent, ts_recent_ms;
    uint32_t space_seq, space_ms; /* autotuning: where the consumer was one RTT ago */
    uint16_t rcv_mss;             /* largest segment seen */
    uint16_t challenge_tokens;
    uint32_t challenge_ms;
    uint32_t ack_at;  /* the delayed ACK, with CONN_ACK_DELAYED */
    uint32_t idle_at; /* with CONN_IDLE_TIMER */
    /* Sending. */
    uint32_t snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
    uint32_t ts_offset;
    uint32_t sent_ms; /* the last time that data was sent */
    uint16_t snd_mss; /* payload of a full segment, options of every segment subtracted */
    uint16_t retries; /* of the SYN; of keepalive */
    uint32_t srtt_us, rttvar_us, min_rtt_us, rto_ms;
    /* Congestion control. */
    uint32_t cwnd, ssthresh;
    uint32_t cc[6];
};

struct congestion {
    const char *name;
    void (*init)(struct tcp_conn *c);
    /* `acked` bytes arrived, outside of recovery, and the window was in use. */
    void (*acked)(struct tcp_conn *c, uint32_t acked, uint32_t now_ms);
    uint32_t (*loss)(struct tcp_conn *c, uint32_t now_ms); /* returns the new ssthresh */
    void (*again)(struct tcp_conn *c); /* the window was set from outside (undo, idle, path); may be NULL */
    void (*round)(struct tcp_conn *c, uint32_t rtt_us,
                  uint32_t now_ms); /* an RTT sample (HyStart); may be NULL */
};
const struct congestion *congestion_find(const char *name); /* NULL: unknown */

struct borrowed {
    struct span bytes;
    uint32_t next; /* index + 1 */
};

#define FLOW_CACHE 8

struct flow_cache_entry {
    struct flow_key key;
    uint32_t version;
    flow_ref ref;
    uint32_t hash;
};

struct netstack {
    struct netstack_config config; /* limits filled in */
    const struct netstack_ops *ops;
    void *ctx;
    const struct congestion *congestion;
    uint8_t table_key[16], isn_key[16];
    time_ns now;
    uint32_t now_ms, now_us;
    uint32_t depth; /* calls of the door on the stack */
    time_ns told;   /* the deadline the owner knows */
    struct timer_wheel wheel;
    struct slab conns, syns;
    struct flow_table flows;
    struct time_wait time_wait;
    struct table peers;
    struct list announce, events, half_open, fragments;
    struct ns_node **nodes;
    uint32_t node_slots, node_count, peer_count;
    struct borrowed *borrowed;
    uint32_t borrowed_count, borrowed_cap;
    struct object_cache chunk_cache[CHUNK_CLASSES], tx_cache, rx_cache, peer_cache;
    uint64_t chunk_bytes, control_bytes, fragment_bytes;
    uint32_t control_count, fragment_count;
    struct control *lent; /* the packet behind the last pull */
    uint16_t ip_id;
    struct flow_cache_entry flow_cache[FLOW_CACHE];
    struct netstack_counters counters;
};

/* conn.c */
struct tcp_conn *tcp_conn_new(struct netstack *ns, struct ns_peer *peer, const struct flow_key *key,
                              uint32_t hash);
void tcp_conn_free(struct netstack *ns, struct tcp_conn *c); /* silently, at once */
void tcp_conn_enter(struct tcp_conn *c, enum tcp_state to);
struct flow_key tcp_conn_key(const struct tcp_conn *c);
void tcp_conn_event(struct netstack *ns, struct tcp_conn *c, unsigned events);
/* The end: `closed` is due, or the object goes at once if nobody is there to hear it. */
void tcp_conn_end(struct netstack *ns, struct tcp_conn *c, enum netstack_reason reason);
void tcp_conn_finish(struct netstack *ns, struct tcp_conn *c, bool time_wait); /* both sides ended */
void tcp_conn_rearm(struct netstack *ns, struct tcp_conn *c);
void tcp_conn_timer(struct netstack *ns, struct tcp_conn *c);
void tcp_conn_ready(struct netstack *ns, struct tcp_conn *c); /* it may have output */
void tcp_conn_ack_now(struct netstack *ns, struct tcp_conn *c);
void tcp_conn_set_mss(struct netstack *ns, struct tcp_conn *c, uint32_t peer_mss);
void tcp_conn_idle_at(struct netstack *ns, struct tcp_conn *c, uint32_t in_ms);
bool tcp_conn_limits_allow(struct netstack *ns, const struct ns_peer *peer); /* counts a refusal */
void tcp_deliver(struct netstack *ns);                                       /* events to consumers */
struct tcp_tx *tcp_tx_get(struct netstack *ns, struct tcp_conn *c);          /* NULL: no memory */
void tcp_tx_release_if_idle(struct netstack *ns, struct tcp_conn *c);
struct tcp_rx *tcp_rx_get(struct netstack *ns, struct tcp_conn *c);
void tcp_rx_release_if_idle(struct netstack *ns, struct tcp_conn *c);
static inline struct ip *tcp_conn_local(const struct tcp_conn *c)
{
    return &c->peer->node->addresses[c->local];
}
static inline uint32_t tcp_write_seq(const struct tcp_conn *c)
{
    return c->tx ? c->tx->write_seq : c->snd_nxt;
}
static inline uint32_t tcp_unread(const struct tcp_conn *c)
{
    return c->rx ? c->rx->stored.bytes + c->rx->borrowed_bytes : 0;
}
uint32_t tcp_isn(struct netstack *ns, const struct flow_key *key);
uint32_t tcp_ts_offset(struct netstack *ns, const struct flow_key *key);

/* input.c */
void tcp_input(struct netstack *ns, const struct inner_packet *p);
/* Answers a segment that belongs to nothing with a reset, within the rate. */
void tcp_reset_reply(struct netstack *ns, const struct inner_packet *p, const struct tcp_segment *s);
void tcp_reset_send(struct netstack *ns, struct tcp_conn *c);
/* An ACK without a connection: TIME_WAIT, half-open. */
struct tcp_bare {
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window;
    struct span options; /* length a multiple of 4 */
};
void tcp_bare_send(struct netstack *ns, struct ns_peer *peer, const struct flow_key *key,
                   struct tcp_bare bare);
/* After the handshake, with the segment that completed it. */
void tcp_established(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s);
void tcp_conn_segment(struct netstack *ns, struct tcp_conn *c, struct tcp_segment *s);
void tcp_challenge(struct netstack *ns, struct tcp_conn *c);

/* receive.c */
uint32_t tcp_receive_window(struct netstack *ns,
                            struct tcp_conn *c); /* moves the edge; units of the header */
/* Bytes and FIN of a segment that is acceptable and begins at or after rcv_nxt's past. */
void tcp_receive(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s);
void tcp_receive_keep(struct netstack *ns, struct tcp_conn *c); /* borrowed bytes become ours */
void tcp_receive_consumed(struct netstack *ns, struct tcp_conn *c, uint32_t len);
void tcp_receive_free(struct netstack *ns, struct tcp_conn *c);
size_t tcp_sack_option(const struct tcp_conn *c, uint8_t *out,
                       size_t room); /* bytes written, multiple of 4 */
void tcp_report_duplicate(struct netstack *ns, struct tcp_conn *c, uint32_t start, uint32_t end); /* D-SACK */

/* acked.c */
void tcp_acked(struct netstack *ns, struct tcp_conn *c, struct tcp_segment *s); /* sorts the SACK blocks */
void tcp_rtt_sample(struct netstack *ns, struct tcp_conn *c, uint32_t rtt_us);

/* records.c */
struct ack_facts {
    uint32_t delivered; /* bytes that newly arrived, acknowledged or SACKed */
    uint32_t acked;     /* by which snd_una moves */
    uint32_t rtt_us;    /* of the most recently sent piece that was sent only once; 0: none */
    uint32_t fack;      /* tx->fack before this ACK */
    uint32_t unused;    /* in recovery: what the window would still have admitted before this ACK */
    bool any, sacked_new, repeated_acked;
    bool dsack; /* the peer reports something as received twice */
};
static inline struct tcp_record *record_at(const struct tcp_tx *tx, uint32_t i)
{
    return &tx->records[tx->record_head + i];
}
/* Sent [start, end) now, start being snd_nxt. False: too many pieces in flight, nothing was changed. */
NODISCARD bool records_push(struct tcp_tx *tx, uint32_t start, uint32_t end, uint32_t now_us);
void records_acked(struct netstack *ns, struct tcp_conn *c, uint32_t ack, struct ack_facts *facts);
void records_sacked(struct netstack *ns, struct tcp_conn *c, uint32_t start, uint32_t end,
                    struct ack_facts *facts);
void records_set_state(struct tcp_tx *tx, struct tcp_record *r, uint32_t len, enum record_state to);
/* Cuts piece i at `at`, strictly inside of it. False: no memory. */
NODISCARD bool records_split(struct tcp_tx *tx, uint32_t i, uint32_t at);
uint32_t records_start(const struct tcp_conn *c, uint32_t i);
void records_free(struct tcp_tx *tx);
void records_mark_all_lost(struct tcp_conn *c);
void records_check(const struct tcp_conn *c); /* must(): sums are right; for tests */

/* recovery.c */
void tcp_recovery(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s,
                  struct ack_facts *facts, bool duplicate);
void tcp_tx_timer(struct netstack *ns, struct tcp_conn *c);
void tcp_tx_arm(struct netstack *ns, struct tcp_conn *c);
void tcp_repeat_now(struct netstack *ns, struct tcp_conn *c); /* if it waits for a timeout that grew */
/* Payload went out; `front`: what is oldest was sent again, so the timer starts anew. */
void tcp_sent(struct netstack *ns, struct tcp_conn *c, uint32_t len, bool again, bool front);
static inline uint32_t tcp_in_flight(const struct tcp_conn *c)
{
    return c->tx ? c->tx->pipe - MIN(c->tx->pipe, c->tx->reno_arrived) : 0;
}

/* congestion.c */
uint32_t tcp_initial_window(const struct tcp_conn *c);

/* output.c */
bool tcp_conn_pull(struct netstack *ns, struct tcp_conn *c, size_t count_max, struct netstack_segment *out);
size_t tcp_ts_option(const struct netstack *ns, const struct tcp_conn *c, uint8_t *out);
bool tcp_may_send_new(const struct tcp_conn *c);
bool tcp_conn_has_output(const struct netstack *ns, const struct tcp_conn *c);

/* api.c */
void tcp_fin_queue(struct netstack *ns,
                   struct tcp_conn *c); /* the consumer's end, once the connection is open */
uint32_t tcp_write_room_now(const struct netstack *ns, const struct tcp_conn *c);

/* peer.c */
bool ns_reset_allowed(struct netstack *ns, const struct ns_peer *peer); /* rate of resets and bare ACKs */

/* netstack.c */
void ns_enter(struct netstack *ns, time_ns now); /* now < 0: not known, the last one holds */
void ns_leave(struct netstack *ns);
/* Tells consumers what the batch brought so far; afterwards nothing of the packets is referred to. */
void ns_batch_settle(struct netstack *ns);
unsigned ns_memory_level(const struct netstack *ns); /* 0 normal, 1 tight, 2 red */

#endif

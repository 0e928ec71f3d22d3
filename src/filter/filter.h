/* filter/filter.h - the packet filter: who may send what to us, default deny
 *
 * Three things meet in a verdict: the rules (compiled once per content, immutable, shared by all nodes that
 * have them), what is local to one node (its addresses, its open UDP flows, "shields up"), and the packet.
 * There is no TCP state: what is no SYN passes, and the TCP stack refuses segments without a connection.
 * Nothing here cuts flows that exist when rules change.
 *
 * Thread: rules any; a filter_local its shard.  Memory: a filter_local holds nothing but its address list
 * until the first UDP or SCTP packet goes out.  Protocol: docs/protocol/filter.md.
 */
#ifndef MANYTAILS_FILTER_FILTER_H
#define MANYTAILS_FILTER_FILTER_H

#include "base/base.h"
#include "tailcfg/tailcfg.h"

#define FILTER_FLOWS_MAX 512        /* remembered UDP and SCTP flows of one node; the oldest goes */
#define FILTER_RULES_MAX 65536      /* in one chunk */
#define FILTER_RANGES_MAX (1 << 20) /* addresses, prefixes and ranges in one chunk, all rules together */
#define FILTER_LOCAL_MAX 1024       /* local prefixes of one node */

/* ---- packets ---------------------------------------------------------------------------------- */

enum packet_protocol {                     /* IP protocol numbers, and two that no packet may carry */
                       PACKET_UNKNOWN = 0, /* not parseable, or IPv6 with extension headers */
                       PACKET_ICMP = 1,
                       PACKET_IGMP = 2,
                       PACKET_TCP = 6,
                       PACKET_UDP = 17,
                       PACKET_ICMPV6 = 58,
                       PACKET_TSMP = 99,
                       PACKET_SCTP = 132,
                       PACKET_FRAGMENT = 255, /* a fragment other than the first */
};

#define PACKET_TCP_FIN 0x01
#define PACKET_TCP_SYN 0x02
#define PACKET_TCP_RST 0x04
#define PACKET_TCP_ACK 0x10

struct packet_info {
    uint8_t version;  /* 4 or 6; 0: neither, and nothing else is valid */
    uint8_t protocol; /* enum packet_protocol, or another number */
    uint8_t tcp_flags;
    uint8_t icmp_type, icmp_code; /* ICMP of at least 8 bytes, else 255 */
    bool more_fragments;          /* first fragment of several */
    uint16_t transport_offset;    /* where TCP, UDP ... begins */
    uint32_t len;                 /* of the packet as the IP header has it; never more than was there */
    uint16_t src_port, dst_port;  /* TCP, UDP, SCTP; else 0 */
    struct ip src, dst;
};

/* Always fills *out; what makes no sense becomes PACKET_UNKNOWN. Padding after the packet is ignored. */
void packet_parse(struct span packet, struct packet_info *out);

/* ---- rules -------------------------------------------------------------------------------------- */

struct filter_rules; /* one chunk, compiled; immutable */

enum filter_outcome {
    FILTER_E_SYNTAX = 1, /* not a JSON array of rules */
    FILTER_E_TOO_BIG,    /* over a limit above */
};

/* `text` is a JSON array of FilterRule. Entries that make no sense are left out and counted. 0, FILTER_E_*,
 * -ENOMEM. The caller frees. */
NODISCARD int filter_rules_compile(struct span text, struct filter_rules **out);
void filter_rules_free(struct filter_rules *r); /* NULL is fine */
uint32_t filter_rules_skipped(const struct filter_rules *r);
size_t filter_rules_bytes(const struct filter_rules *r); /* what it holds */
/* Does a rule that gives network access have a source inside or around this prefix? */
bool filter_rules_source_overlaps(const struct filter_rules *r, const struct ip_prefix *prefix);

/* What one node enforces: all its chunks. Their order does not matter. */
struct filter {
    const struct filter_rules *const *chunks;
    size_t count;
    bool refused; /* the whole was thrown away (ancient form, or it names unsigned peers): deny all */
};

/* True if a chunk has the ancient form: the owner sets `refused`. */
bool filter_rules_ancient(const struct filter_rules *r);

/* ---- one node -------------------------------------------------------------------------------------- */

struct filter_local {
    struct ip v4, v6; /* the node's first addresses, looked at before the list; ip_is_none: none */
    struct ip_prefix *more;
    size_t more_count;
    struct filter_flows *flows; /* NULL until something went out */
    struct ip_port peerapi[2];  /* open to every peer; port 0: none */
    bool shields_up;            /* refuse all that others begin */
    uint64_t seed;              /* random: peers must not be able to aim at one hash bucket */
};

void filter_local_init(struct filter_local *l, uint64_t seed);
void filter_local_deinit(struct filter_local *l);
/* Own addresses, service addresses, advertised routes; replaces. -ENOMEM, -ENOBUFS (FILTER_LOCAL_MAX). */
NODISCARD int filter_local_set(struct filter_local *l, const struct ip_prefix *prefixes, size_t count);
bool filter_is_local(const struct filter_local *l, const struct ip *a);

/* Who sent it, as far as the rules ask. */
struct filter_source {
    bool jailed; /* may begin nothing with us */
    /* Is `source` one of this peer's own addresses, and has the peer the node capability? NULL: never. */
    bool (*has_cap)(const void *peer, const struct ip *source, struct span cap);
    const void *peer;
};

/* Name, text for people. Everything before FILTER_DROP_SHORT accepts. */
#define FILTER_VERDICTS(X)                                        \
    X(ACCEPT_KEEPALIVE, "empty packet")                           \
    X(ACCEPT_FRAGMENT, "later fragment")                          \
    X(ACCEPT_ICMP_REPLY, "ICMP reply or error")                   \
    X(ACCEPT_ICMP, "ICMP, a rule has these addresses")            \
    X(ACCEPT_TCP_CONTINUES, "TCP, not the first segment")         \
    X(ACCEPT_RULE, "a rule allows it")                            \
    X(ACCEPT_FLOW, "answer to what we sent")                      \
    X(ACCEPT_TSMP, "tailnet message, handled inside")             \
    X(ACCEPT_OTHER, "a rule allows this protocol on all ports")   \
    X(ACCEPT_PEERAPI, "our peer API, which checks by itself")     \
    X(DROP_SHORT, "shorter than an IP header")                    \
    X(DROP_UNKNOWN, "not a packet that we understand")            \
    X(DROP_MULTICAST, "multicast destination")                    \
    X(DROP_LINK_LOCAL, "link-local destination")                  \
    X(DROP_NOT_LOCAL, "destination is not ours")                  \
    X(DROP_NO_RULE, "no rule allows it")                          \
    X(DROP_NO_FILTER, "no usable filter from the control server") \
    X(DROP_SHIELDS_UP, "shields are up")                          \
    X(DROP_JAILED, "this peer may not begin anything with us")

enum filter_verdict {
#define X(id, text) FILTER_##id,
    FILTER_VERDICTS(X)
#undef X
        FILTER_VERDICT_COUNT
};
const char *filter_verdict_text(enum filter_verdict v);

static inline bool filter_accepts(enum filter_verdict v)
{
    return v < FILTER_DROP_SHORT;
}

/* A packet from a peer, after decryption and after the check that its source belongs to the peer. `info` is
 * packet_parse of it. TSMP must not reach the stack. Counts as use of a remembered flow. */
enum filter_verdict filter_inbound(const struct filter *f, struct filter_local *l, size_t packet_len,
                                   const struct packet_info *info, const struct filter_source *from);
/* May `src` begin this flow? The same rules without a packet: for listeners and status pages. `protocol` is
 * TCP, UDP or SCTP. */
enum filter_verdict filter_check(const struct filter *f, const struct filter_local *l, uint8_t protocol,
                                 const struct ip *src, const struct ip_port *dst,
                                 const struct filter_source *from);
/* A packet of ours to a peer: remembers UDP and SCTP flows, refuses what no packet may be. The table not
 * growing for want of memory only costs the answer. */
enum filter_verdict filter_outbound(struct filter_local *l, size_t packet_len,
                                    const struct packet_info *info);
size_t filter_local_memory(const struct filter_local *l); /* bytes of the heap */
size_t filter_flow_count(const struct filter_local *l);

/* Capabilities that `src` has towards `dst` (grants). Called once per matching grant and name; `values` is
 * the text of a JSON array, empty if there are none: values of several calls for one name add up. `name` and
 * `values` live as long as the rules. */
typedef void filter_cap_fn(void *ctx, struct span name, struct span values);
void filter_caps(const struct filter *f, const struct ip *src, const struct ip *dst, filter_cap_fn *each,
                 void *ctx);

#endif

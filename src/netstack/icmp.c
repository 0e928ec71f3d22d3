/* ICMP and ICMPv6 (RFC 792, 4443): echo is answered, errors about our connections are honoured as far as
 * RFC 5927 lets a careful stack, everything else is ignored. What we send is limited per node and peer. */
#include "netstack/internal.h"

#define ICMP_BYTES 8
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO 8
#define ICMP6_UNREACHABLE 1
#define ICMP6_TOO_BIG 2
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

#define ICMP_BURST 50u
/* An error quotes what fits: RFC 1812, 4.3.2.3 (576) and RFC 4443, 2.4 (1280). */
#define QUOTE_V4 (576 - IP4_BYTES - ICMP_BYTES)
#define QUOTE_V6 (NETSTACK_MTU - IP6_BYTES - ICMP_BYTES)
#define PATH_MTU_MIN 576u /* less is not believed: it would make us send thousands of tiny packets */

static bool allowed(struct netstack *ns, const struct inner_packet *p)
{
    struct rate *r = &p->node->icmp[p->peer->rate_slot];
    uint32_t per_second = ns->config.limits.icmp_per_second / RATE_SLOTS;

    if (rate_pass(r, MAX(per_second, 1u), ICMP_BURST, ns->now_ms))
        return true;
    ns->counters.icmp_limited++;
    return false;
}

static uint64_t pseudo(const struct inner_packet *p, size_t len)
{
    return p->v4 ? 0 : inner_pseudo_sum(&p->remote, &p->node->addresses[p->local], PROTOCOL_ICMP6, len);
}

/* One message: 8 bytes of header with type, code and the 4 bytes that follow the checksum, then the rest. */
static void send(struct netstack *ns, const struct inner_packet *p, uint8_t type, uint8_t code,
                 const uint8_t second[4], struct span rest)
{
    uint8_t header[ICMP_BYTES] = { type, code };
    uint64_t sum;

    memcpy(header + 4, second, 4);
    sum = checksum_add(pseudo(p, ICMP_BYTES + rest.len), header, ICMP_BYTES);
    checksum_store(header + 2, checksum_add(sum, rest.data, rest.len));
    inner_send(ns, p->peer, &p->node->addresses[p->local], &p->remote, p->v4 ? PROTOCOL_ICMP : PROTOCOL_ICMP6,
               SPAN_OF(header), rest);
}

void icmp_unreachable(struct netstack *ns, const struct inner_packet *p, uint8_t type, uint8_t code)
{
    static const uint8_t unused[4];
    struct span quote = span_slice(p->whole, 0, p->v4 ? QUOTE_V4 : QUOTE_V6);

    if (allowed(ns, p))
        send(ns, p, type, code, unused, quote);
}

void icmp_port_unreachable(struct netstack *ns, const struct inner_packet *p)
{
    if (p->v4)
        icmp_unreachable(ns, p, ICMP_UNREACHABLE, 3);
    else
        icmp_unreachable(ns, p, ICMP6_UNREACHABLE, 4);
}

/* ---- errors that concern us ---------------------------------------------------------------- */

/* The connection that the quoted packet belongs to: we sent it, so its source is ours. */
static struct tcp_conn *quoted_conn(struct netstack *ns, const struct inner_packet *p, struct span quote)
{
    struct reader r = reader_of(quote);
    struct flow_key key = { .node = p->node->index };
    size_t header = p->v4 && quote.len ? (size_t)(quote.data[0] & 0x0f) * 4 : IP6_BYTES;
    struct span ip = reader_bytes(&r, header);
    struct tcp_conn *c;
    struct ip local;
    flow_ref ref;
    uint32_t seq;
    int at;

    key.local_port = reader_be16(&r);
    key.remote_port = reader_be16(&r);
    seq = reader_be32(&r);
    if (r.failed || header < IP4_BYTES || ip.data[p->v4 ? 9 : 6] != PROTOCOL_TCP ||
        ip.data[0] >> 4 != (p->v4 ? 4 : 6))
        return NULL;
    local = p->v4 ? ip_from_v4(ip.data + 12) : ip_from_v6(ip.data + 8);
    key.remote = p->v4 ? ip_from_v4(ip.data + 16) : ip_from_v6(ip.data + 24);
    at = ip_is_none(&local) ? -1 : ns_node_local(p->node, &local);
    if (at < 0)
        return NULL;
    key.local = (uint32_t)at;
    ref = flow_find(ns, &key, flow_hash(ns, &key));
    if (flow_ref_kind(ref) != FLOW_CONN)
        return NULL;
    c = slab_at(&ns->conns, flow_ref_slot(ref));
    /* RFC 5927, 4.1: it must quote something that is really in flight; and come from where we sent it. */
    return c->peer == p->peer && seq_between(c->snd_una, seq, c->snd_nxt) ? c : NULL;
}

static void too_big(struct netstack *ns, struct tcp_conn *c, uint32_t mtu)
{
    uint32_t mss_before = c->snd_mss;

    mtu = MAX(mtu, c->flags & CONN_V4 ? PATH_MTU_MIN : NETSTACK_MTU);
    if (mtu >= c->peer->mtu)
        return;
    c->peer->mtu = (uint16_t)mtu;
    tcp_conn_set_mss(ns, c, c->snd_mss + (c->flags & CONN_TS ? TCP_TS_BYTES : 0));
    if (c->snd_mss < mss_before && c->tx && c->tx->record_count) {
        /* What was too large is lost; it goes again in smaller pieces, without punishing the window. */
        records_mark_all_lost(c);
        tcp_conn_ready(ns, c);
    }
}

static bool error_received(struct netstack *ns, const struct inner_packet *p)
{
    const uint8_t *icmp = p->payload.data;
    struct tcp_conn *c = quoted_conn(ns, p, span_slice(p->payload, ICMP_BYTES, SIZE_MAX));
    uint8_t type = icmp[0], code = icmp[1];

    if (!c)
        return false;
    ns->counters.icmp_errors_in++;
    if (p->v4 && type == ICMP_UNREACHABLE && code == 4)
        too_big(ns, c, load_be16(icmp + 6));
    else if (!p->v4 && type == ICMP6_TOO_BIG)
        too_big(ns, c, load_be32(icmp + 4));
    /* Hard errors end what is not yet open, and nothing else (RFC 5927, 5.2). */
    else if (c->state == TCP_SYN_SENT && ((p->v4 && (code == 2 || code == 3)) || (!p->v4 && code == 4)))
        tcp_conn_end(ns, c, NETSTACK_CLOSED_REFUSED);
    return true;
}

void icmp_input(struct netstack *ns, const struct inner_packet *p)
{
    const uint8_t *icmp = p->payload.data;
    uint8_t type;

    if (p->payload.len < ICMP_BYTES ||
        checksum_fold(checksum_add(pseudo(p, p->payload.len), icmp, p->payload.len)) != 0xffff) {
        ns->counters.checksum_bad++;
        return;
    }
    type = icmp[0];
    if (type == (p->v4 ? ICMP_ECHO : ICMP6_ECHO)) {
        if (!allowed(ns, p))
            return;
        ns->counters.icmp_echo++;
        send(ns, p, p->v4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY, 0, icmp + 4,
             span_slice(p->payload, ICMP_BYTES, p->payload.len));
        return;
    }
    if ((p->v4 ? type == ICMP_UNREACHABLE : type == ICMP6_UNREACHABLE || type == ICMP6_TOO_BIG) &&
        error_received(ns, p))
        return;
    ns->counters.icmp_ignored++;
}

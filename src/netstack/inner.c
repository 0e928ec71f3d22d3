/* IP inside the tunnel: RFC 791 and 8200 as far as an end of a point-to-point link needs them.
 *
 * No options, no routing headers, no forwarding: what is not for an address of the node is dropped. */
#include "netstack/internal.h"

#define IP4_MORE 0x2000u
#define IP4_DONT 0x4000u
#define IP4_OFFSET 0x1fffu

size_t inner_header_bytes(const struct ip *a)
{
    return ip_is_v4(a) ? IP4_BYTES : IP6_BYTES;
}

uint64_t inner_pseudo_sum(const struct ip *a, const struct ip *b, uint8_t protocol, size_t len)
{
    uint64_t sum = checksum_be16(protocol) + checksum_be32((uint32_t)len);

    if (ip_is_v4(a)) {
        sum = checksum_add(sum, ip_v4_bytes(a), 4);
        return checksum_add(sum, ip_v4_bytes(b), 4);
    }
    sum = checksum_add(sum, a->bytes, 16);
    return checksum_add(sum, b->bytes, 16);
}

static size_t write_v4(struct netstack *ns, uint8_t *out, const struct ip *from, const struct ip *to,
                       uint8_t protocol, size_t payload_len)
{
    out[0] = 0x45;
    out[1] = 0;
    store_be16(out + 2, (uint16_t)(IP4_BYTES + payload_len));
    store_be16(out + 4, ns->ip_id++); /* RFC 6864: free, these are never fragmented on the way */
    store_be16(out + 6, IP4_DONT);
    out[8] = HOP_LIMIT;
    out[9] = protocol;
    store_be16(out + 10, 0);
    memcpy(out + 12, ip_v4_bytes(from), 4);
    memcpy(out + 16, ip_v4_bytes(to), 4);
    checksum_store(out + 10, checksum_add(0, out, IP4_BYTES));
    return IP4_BYTES;
}

size_t inner_header_write(struct netstack *ns, uint8_t *out, const struct ip *from, const struct ip *to,
                          uint8_t protocol, size_t payload_len)
{
    if (ip_is_v4(from))
        return write_v4(ns, out, from, to, protocol, payload_len);
    store_be32(out, 0x60000000);
    store_be16(out + 4, (uint16_t)payload_len);
    out[6] = protocol;
    out[7] = HOP_LIMIT;
    memcpy(out + 8, from->bytes, 16);
    memcpy(out + 24, to->bytes, 16);
    return IP6_BYTES;
}

/* Bytes [from, from + out_len) of first and rest, one behind the other. */
static void gather(uint8_t *out, struct span first, struct span rest, size_t from, size_t out_len)
{
    struct span a = span_slice(first, from, out_len);
    struct span b = span_slice(rest, from > first.len ? from - first.len : 0, out_len - a.len);

    if (a.len)
        memcpy(out, a.data, a.len);
    if (b.len)
        memcpy(out + a.len, b.data, b.len);
}

/* Bytes [at, at + len) of the payload as a fragment. */
static struct control *fragment(struct netstack *ns, const struct ip *from, const struct ip *to,
                                uint8_t protocol, struct span first, struct span rest, size_t at, size_t len,
                                uint16_t id)
{
    bool v4 = ip_is_v4(from), more = at + len < first.len + rest.len;
    size_t header = v4 ? IP4_BYTES : IP6_BYTES + 8;
    struct control *c = control_new(ns, header + len);
    uint8_t *h;

    if (!c)
        return NULL;
    h = c->bytes;
    inner_header_write(ns, h, from, to, v4 ? protocol : PROTOCOL_FRAGMENT,
                       header + len - inner_header_bytes(from));
    if (v4) {
        store_be16(h + 4, id);
        store_be16(h + 6, (uint16_t)(at / 8 | (more ? IP4_MORE : 0)));
        store_be16(h + 10, 0);
        checksum_store(h + 10, checksum_add(0, h, IP4_BYTES));
    } else {
        h[IP6_BYTES] = protocol;
        h[IP6_BYTES + 1] = 0;
        store_be16(h + IP6_BYTES + 2, (uint16_t)(at | more));
        store_be32(h + IP6_BYTES + 4, id);
    }
    gather(h + header, first, rest, at, len);
    return c;
}

bool inner_send(struct netstack *ns, struct ns_peer *peer, const struct ip *from, const struct ip *to,
                uint8_t protocol, struct span first, struct span rest)
{
    size_t len = first.len + rest.len, header = inner_header_bytes(from);
    size_t part = (NETSTACK_MTU - header - (ip_is_v4(from) ? 0 : 8)) / 8 * 8;
    uint16_t id = ns->ip_id++;
    struct control *c;

    if (len <= NETSTACK_MTU - header) {
        c = control_new(ns, header + len);
        if (!c)
            return false;
        inner_header_write(ns, c->bytes, from, to, protocol, len);
        gather(c->bytes + header, first, rest, 0, len);
        return ns_peer_control(ns, peer, c);
    }
    for (size_t at = 0; at < len; at += part) {
        c = fragment(ns, from, to, protocol, first, rest, at, MIN(part, len - at), id);
        if (!c || !ns_peer_control(ns, peer, c))
            return false; /* the rest would be no use */
    }
    return true;
}

/* ---- in -------------------------------------------------------------------------------- */

void inner_dispatch(struct netstack *ns, const struct inner_packet *p)
{
    if (p->protocol == PROTOCOL_TCP) {
        tcp_input(ns, p);
    } else if (p->protocol == (p->v4 ? PROTOCOL_ICMP : PROTOCOL_ICMP6)) {
        icmp_input(ns, p);
    } else if (p->protocol == PROTOCOL_UDP) {
        datagram_input(ns, p);
    } else {
        ns->counters.ip_unknown_protocol++;
        if (p->v4)
            icmp_unreachable(ns, p, 3, 2); /* protocol unreachable */
    }
}

/* False: not for us (counted). */
static bool find_local(struct netstack *ns, struct inner_packet *p, const struct ip *to)
{
    int local = ip_is_none(to) ? -1 : ns_node_local(p->node, to);

    if (local < 0) {
        ns->counters.ip_not_local++;
        return false;
    }
    p->local = (uint32_t)local;
    return true;
}

static bool input_v4(struct netstack *ns, struct inner_packet *p, struct span packet)
{
    const uint8_t *h = packet.data;
    size_t header = (size_t)(h[0] & 0x0f) * 4, total;
    uint16_t fragment;
    struct ip to;

    if (packet.len < IP4_BYTES || header < IP4_BYTES)
        return false;
    total = load_be16(h + 2);
    if (total < header || total > packet.len || checksum_fold(checksum_add(0, h, header)) != 0xffff)
        return false;
    to = ip_from_v4(h + 16);
    p->remote = ip_from_v4(h + 12);
    p->v4 = true;
    p->protocol = h[9];
    p->whole = span_slice(packet, 0, total);
    p->payload = span_slice(packet, header, total - header);
    if (!find_local(ns, p, &to))
        return true;
    fragment = load_be16(h + 6);
    if (fragment & (IP4_MORE | IP4_OFFSET))
        fragment_input(ns, p, load_be16(h + 4), (fragment & IP4_OFFSET) * 8u, fragment & IP4_MORE);
    else
        inner_dispatch(ns, p);
    return true;
}

static bool input_v6(struct netstack *ns, struct inner_packet *p, struct span packet)
{
    const uint8_t *h = packet.data;
    size_t len;
    struct ip to;

    if (packet.len < IP6_BYTES)
        return false;
    len = load_be16(h + 4);
    if (len > packet.len - IP6_BYTES)
        return false;
    to = ip_from_v6(h + 24);
    p->remote = ip_from_v6(h + 8);
    if (ip_is_v4(&to) || ip_is_v4(&p->remote))
        return false; /* ::ffff:a.b.c.d never travels (RFC 4942, 2.2): it would be the IPv4 address to us */
    p->protocol = h[6];
    p->whole = span_slice(packet, 0, IP6_BYTES + len);
    p->payload = span_slice(packet, IP6_BYTES, len);
    if (!find_local(ns, p, &to))
        return true;
    if (p->protocol == PROTOCOL_FRAGMENT) {
        const uint8_t *f = p->payload.data;

        if (len < 8)
            return false;
        p->protocol = f[0];
        p->payload = span_slice(p->payload, 8, len - 8);
        fragment_input(ns, p, load_be32(f + 4), load_be16(f + 2) & 0xfff8u, f[3] & 1);
    } else {
        inner_dispatch(ns, p);
    }
    return true;
}

void inner_input(struct netstack *ns, struct ns_node *node, struct ns_peer *peer, struct span packet)
{
    struct inner_packet p = { .node = node, .peer = peer };
    uint8_t version = packet.len ? packet.data[0] >> 4 : 0;
    bool good = false;

    if (version == 4)
        good = input_v4(ns, &p, packet);
    else if (version == 6)
        good = input_v6(ns, &p, packet);
    if (!good)
        ns->counters.ip_malformed++;
}

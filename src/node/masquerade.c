/* node/masquerade.c - peers that know us by another address than our own
 *
 * A node that is shared into another tailnet may have an address there that its own tailnet does not know.
 * Its netmap then says, per peer, how that peer knows it, and we translate at the tunnel: our address in what
 * goes to that peer, the other one in what comes from it. Everything inside (filter, stack, listeners,
 * who-is) sees our own address, as in the reference client; so the filter's rules are about that.
 *
 * One to one and without state: an address is replaced and the checksums that cover it are adjusted (RFC
 * 1624). The packet that an ICMP error quotes is translated too, or the stack would not know it as its own.
 */
#include "node/internal.h"

#define IP4_BYTES 20
#define IP6_BYTES 40
#define PROTOCOL_DCCP 33

/* Where an address lies in a packet, and how long it is. */
struct place {
    uint8_t *at;
    size_t len;
};

static struct place place_of(uint8_t *packet, bool v4, bool source)
{
    if (v4)
        return (struct place) { packet + (source ? 12 : 16), 4 };
    return (struct place) { packet + (source ? 8 : 24), 16 };
}

static const uint8_t *bytes_of(const struct ip *ip)
{
    return ip_is_v4(ip) ? ip_v4_bytes(ip) : ip->bytes;
}

/* The checksum at `at` covers `len` bytes that change. */
static void adjust(uint8_t *at, const uint8_t *old, const uint8_t *new, size_t len)
{
    uint32_t sum = (uint16_t)~load_be16(at);

    for (size_t i = 0; i < len; i += 2)
        sum += (uint16_t)~load_be16(old + i) + (uint32_t)load_be16(new + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    store_be16(at, (uint16_t)~sum);
}

/* The transport checksum, if there is one that covers the addresses. */
static uint8_t *transport_checksum(uint8_t *packet, const struct packet_info *info)
{
    uint8_t *t = packet + info->transport_offset;
    size_t have = info->len - info->transport_offset;

    switch (info->protocol) {
    case PACKET_TCP:
        return have >= 20 ? t + 16 : NULL;
    case PACKET_UDP:
        if (have < 8 || (info->version == 4 && load_be16(t + 6) == 0)) /* IPv4: it may be left out */
            return NULL;
        return t + 6;
    case PROTOCOL_DCCP:
        return have >= 12 ? t + 6 : NULL;
    case PACKET_ICMPV6:
        return have >= 4 && info->version == 6 ? t + 2 : NULL;
    default:
        return NULL;
    }
}

static bool is_error(const struct packet_info *info)
{
    if (info->version == 4)
        return info->protocol == PACKET_ICMP && (info->icmp_type == 3 || info->icmp_type == 4 ||
                                                 info->icmp_type == 11 || info->icmp_type == 12);
    return info->protocol == PACKET_ICMPV6 && info->icmp_type >= 1 && info->icmp_type <= 4;
}

/* The beginning of a packet inside an ICMP error, with our address on its other side. The IPv4 header has a
 * checksum of its own, and what changes there makes up for the address: the ICMP checksum stays right. */
static void rewrite_quoted(uint8_t *icmp, size_t len, bool source, const struct ip *old, const struct ip *new)
{
    bool v4 = ip_is_v4(old);
    uint8_t *quoted = icmp + 8;
    struct place p;

    if (len < 8 + (v4 ? (size_t)IP4_BYTES : (size_t)IP6_BYTES))
        return;
    p = place_of(quoted, v4, source);
    if (memcmp(p.at, bytes_of(old), p.len) != 0)
        return;
    adjust(v4 ? quoted + 10 : icmp + 2, bytes_of(old), bytes_of(new), p.len);
    memcpy(p.at, bytes_of(new), p.len);
}

void masquerade_rewrite(struct mspan packet, bool source, const struct ip *old, const struct ip *new)
{
    struct packet_info info;
    struct place p;
    uint8_t *checksum;

    packet_parse((struct span) { packet.data, packet.len }, &info);
    if (!info.version || ip_is_none(new) || (info.version == 4) != ip_is_v4(new) ||
        (info.version == 4) != ip_is_v4(old) || !ip_equal(source ? &info.src : &info.dst, old))
        return;
    p = place_of(packet.data, info.version == 4, source);
    if (info.version == 4)
        adjust(packet.data + 10, bytes_of(old), bytes_of(new), p.len);
    checksum = transport_checksum(packet.data, &info);
    if (checksum) {
        adjust(checksum, bytes_of(old), bytes_of(new), p.len);
        if (info.protocol == PACKET_UDP && load_be16(checksum) == 0)
            store_be16(checksum, 0xffff); /* zero would mean "none" */
    }
    memcpy(p.at, bytes_of(new), p.len);
    if (is_error(&info))
        rewrite_quoted(packet.data + info.transport_offset, info.len - info.transport_offset, !source, old,
                       new);
}

void masquerade_in(const struct node_peer *from, struct mspan packet)
{
    const struct tailcfg_node *peer = &from->info->node;

    if (!ip_is_none(&peer->masquerade_v4))
        masquerade_rewrite(packet, false, &peer->masquerade_v4, &from->node->own_v4);
    if (!ip_is_none(&peer->masquerade_v6))
        masquerade_rewrite(packet, false, &peer->masquerade_v6, &from->node->own_v6);
}

void masquerade_out(const struct node_peer *to, struct mspan packet)
{
    const struct tailcfg_node *peer = &to->info->node;

    if (!ip_is_none(&peer->masquerade_v4))
        masquerade_rewrite(packet, true, &to->node->own_v4, &peer->masquerade_v4);
    if (!ip_is_none(&peer->masquerade_v6))
        masquerade_rewrite(packet, true, &to->node->own_v6, &peer->masquerade_v6);
}

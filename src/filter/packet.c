/* filter/packet.c - just enough of a packet's headers for a verdict
 *
 * The traps here are fragments: a first fragment must hold its whole transport header, and a later one must
 * not begin where it could write into that header (RFC 1858). Stricter than the reference in three places: an
 * IPv4 header shorter than 20 bytes, a transport header that only exists in the padding behind the packet,
 * and an IPv6 packet with IPv4-mapped addresses (which are IPv4 addresses to us) are no packets.
 */
#include "filter/filter.h"

#define IP4_HEADER_BYTES 20
#define IP6_HEADER_BYTES 40
#define IP6_FRAGMENT_HEADER 44
#define IP6_FRAGMENT_HEADER_BYTES 8
#define ICMP_NONE 255

/* Later fragments begin at least so many 8-byte blocks in: the largest IPv4 header and a TCP header. */
#define FRAGMENT_BLOCKS_MIN ((60 + 20) / 8)

/* Smallest transport header by protocol; 0: we do not look inside. */
static unsigned header_bytes(uint8_t protocol, unsigned version)
{
    switch (protocol) {
    case PACKET_ICMP:
        return version == 4 ? 4 : 0;
    case PACKET_ICMPV6:
        return version == 6 ? 4 : 0;
    case PACKET_IGMP:
        return version == 4 ? 8 : 0;
    case PACKET_TCP:
        return 20;
    case PACKET_UDP:
        return 8;
    case PACKET_SCTP:
        return 12;
    case PACKET_TSMP:
        return 7;
    default:
        return 0;
    }
}

static void parse_transport(const uint8_t *packet, struct packet_info *out)
{
    const uint8_t *t = packet + out->transport_offset;
    unsigned need = header_bytes(out->protocol, out->version);
    size_t have = out->len - out->transport_offset;

    if (have < need || out->protocol == PACKET_FRAGMENT ||
        (out->protocol == PACKET_TSMP && out->more_fragments)) {
        out->protocol = PACKET_UNKNOWN;
        return;
    }
    switch (out->protocol) {
    case PACKET_TCP:
    case PACKET_UDP:
    case PACKET_SCTP:
        out->tcp_flags = out->protocol == PACKET_TCP ? t[13] : 0;
        out->src_port = load_be16(t);
        out->dst_port = load_be16(t + 2);
        break;
    case PACKET_ICMP:
    case PACKET_ICMPV6:
        if (need && have >= 8) {
            out->icmp_type = t[0];
            out->icmp_code = t[1];
        }
        break;
    default:
        break;
    }
}

/* True if the fragment is the first (or the only) one: there is a transport header to parse. */
static bool first_fragment(struct packet_info *out, unsigned blocks)
{
    if (blocks)
        out->protocol = blocks < FRAGMENT_BLOCKS_MIN ? PACKET_UNKNOWN : PACKET_FRAGMENT;
    return !blocks;
}

static void parse_v4(struct span packet, struct packet_info *out)
{
    const uint8_t *h = packet.data;
    unsigned header = (h[0] & 15u) * 4u, fragment = load_be16(h + 6);

    out->src = ip_from_v4(h + 12);
    out->dst = ip_from_v4(h + 16);
    out->len = load_be16(h + 2);
    if (out->len > packet.len || header < IP4_HEADER_BYTES || header > out->len)
        return;
    out->protocol = h[9];
    out->transport_offset = (uint16_t)header;
    out->more_fragments = fragment & 0x2000;
    if (first_fragment(out, fragment & 0x1fff))
        parse_transport(h, out);
}

static void parse_v6(struct span packet, struct packet_info *out)
{
    const uint8_t *h = packet.data, *f = h + IP6_HEADER_BYTES;

    out->src = ip_from_v6(h + 8);
    out->dst = ip_from_v6(h + 24);
    out->len = load_be16(h + 4) + IP6_HEADER_BYTES;
    out->transport_offset = IP6_HEADER_BYTES;
    if (out->len > packet.len || ip_is_v4(&out->src) || ip_is_v4(&out->dst))
        return;
    out->protocol = h[6];
    if (out->protocol == IP6_FRAGMENT_HEADER) {
        if (out->len < IP6_HEADER_BYTES + IP6_FRAGMENT_HEADER_BYTES) {
            out->protocol = PACKET_UNKNOWN;
            return;
        }
        out->protocol = f[0];
        out->transport_offset += IP6_FRAGMENT_HEADER_BYTES;
        out->more_fragments = f[3] & 1;
        if (!first_fragment(out, load_be16(f + 2) >> 3))
            return;
    }
    parse_transport(h, out);
}

void packet_parse(struct span packet, struct packet_info *out)
{
    unsigned version = packet.len ? packet.data[0] >> 4 : 0;

    *out =
        (struct packet_info) { .protocol = PACKET_UNKNOWN, .icmp_type = ICMP_NONE, .icmp_code = ICMP_NONE };
    if (version == 4 && packet.len >= IP4_HEADER_BYTES) {
        out->version = 4;
        parse_v4(packet, out);
    } else if (version == 6 && packet.len >= IP6_HEADER_BYTES) {
        out->version = 6;
        parse_v6(packet, out);
    }
}

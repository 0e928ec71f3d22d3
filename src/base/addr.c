#include "base/base.h"

#include <arpa/inet.h>
#include <stdio.h>

struct ip ip_from_v4(const uint8_t v4[4])
{
    struct ip a = { { [10] = 0xff, [11] = 0xff } };

    memcpy(a.bytes + 12, v4, 4);
    return a;
}

struct ip ip_from_v6(const uint8_t v6[16])
{
    struct ip a;

    memcpy(a.bytes, v6, 16);
    return a;
}

bool ip_is_loopback(const struct ip *a)
{
    static const struct ip v6 = { { [15] = 1 } };

    return ip_is_v4(a) ? a->bytes[12] == 127 : ip_equal(a, &v6);
}

bool ip_is_multicast(const struct ip *a)
{
    return ip_is_v4(a) ? a->bytes[12] >= 224 && a->bytes[12] < 240 : a->bytes[0] == 0xff;
}

bool ip_is_link_local(const struct ip *a)
{
    if (ip_is_v4(a))
        return a->bytes[12] == 169 && a->bytes[13] == 254;
    return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

bool ip_is_private(const struct ip *a)
{
    const uint8_t *b = a->bytes + 12;

    if (!ip_is_v4(a))
        return (a->bytes[0] & 0xfe) == 0xfc;
    return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168);
}

bool ip_parse(struct span s, struct ip *out)
{
    char text[IP_TEXT_BYTES];
    uint8_t raw[16];

    if (!s.len || !text_copy(text, sizeof(text), s))
        return false;
    if (inet_pton(AF_INET, text, raw) == 1) {
        *out = ip_from_v4(raw);
        return true;
    }
    if (inet_pton(AF_INET6, text, raw) == 1) {
        *out = ip_from_v6(raw);
        return true;
    }
    return false;
}

bool ip_port_parse(struct span s, struct ip_port *out)
{
    struct ip_port parsed;
    size_t colon = s.len;
    struct span host;
    uint64_t port;

    while (colon > 0 && s.data[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return false;
    host = span_slice(s, 0, colon - 1);
    if (!text_parse_u64(span_slice(s, colon, s.len), UINT16_MAX, &port))
        return false;
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = span_slice(host, 1, host.len - 2);
    else if (host.len && memchr(host.data, ':', host.len))
        return false; /* a bare IPv6 address leaves open where the port begins */
    if (!ip_parse(host, &parsed.ip))
        return false;
    parsed.port = (uint16_t)port;
    *out = parsed;
    return true;
}

static unsigned family_bits(const struct ip *a)
{
    return ip_is_v4(a) ? 32 : 128;
}

/* True if all bits after the first `bits` of the family are zero. */
static bool host_bits_clear(const struct ip *a, unsigned bits)
{
    unsigned from = 128 - family_bits(a) + bits;

    for (unsigned i = from; i < 128; i++)
        if (a->bytes[i / 8] & (0x80 >> (i % 8)))
            return false;
    return true;
}

bool ip_prefix_parse(struct span s, struct ip_prefix *out)
{
    const uint8_t *slash = s.len ? memchr(s.data, '/', s.len) : NULL;
    struct ip_prefix p;
    uint64_t bits;

    if (!slash) {
        if (!ip_parse(s, &p.ip))
            return false;
        p.bits = (uint8_t)family_bits(&p.ip);
        *out = p;
        return true;
    }
    size_t at = (size_t)(slash - s.data);
    if (!ip_parse(span_slice(s, 0, at), &p.ip))
        return false;
    if (!text_parse_u64(span_slice(s, at + 1, s.len), family_bits(&p.ip), &bits))
        return false;
    if (!host_bits_clear(&p.ip, (unsigned)bits))
        return false;
    p.bits = (uint8_t)bits;
    *out = p;
    return true;
}

const char *ip_text(const struct ip *a, char out[IP_TEXT_BYTES])
{
    if (ip_is_v4(a))
        inet_ntop(AF_INET, a->bytes + 12, out, IP_TEXT_BYTES);
    else
        inet_ntop(AF_INET6, a->bytes, out, IP_TEXT_BYTES);
    return out;
}

const char *ip_port_text(const struct ip_port *a, char out[IP_PORT_TEXT_BYTES])
{
    char host[IP_TEXT_BYTES];

    snprintf(out, IP_PORT_TEXT_BYTES, ip_is_v4(&a->ip) ? "%s:%u" : "[%s]:%u", ip_text(&a->ip, host), a->port);
    return out;
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip *a)
{
    unsigned bits, whole;

    if (ip_is_v4(&p->ip) != ip_is_v4(a))
        return false;
    bits = 128 - family_bits(a) + p->bits;
    whole = bits / 8;
    if (memcmp(p->ip.bytes, a->bytes, whole) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    uint8_t mask = (uint8_t)(0xff << (8 - bits % 8));
    return ((p->ip.bytes[whole] ^ a->bytes[whole]) & mask) == 0;
}

bool ip_prefix_is_single(const struct ip_prefix *p)
{
    return p->bits == family_bits(&p->ip);
}

bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
    return a->bits == b->bits && ip_equal(&a->ip, &b->ip);
}

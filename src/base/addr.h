/* base/addr.h - IP addresses, ports and prefixes (part of base.h)
 *
 * One form for both families: 16 bytes, IPv4 as ::ffff:a.b.c.d. So an address is
 * compared and hashed as bytes, and an IPv4-mapped address is the IPv4 address.
 */
#ifndef MANYTAILS_BASE_ADDR_H
#define MANYTAILS_BASE_ADDR_H

#include "base/span.h"

struct ip {
    uint8_t bytes[16];
};

struct ip_port {
    struct ip ip;
    uint16_t port; /* host order */
};

struct ip_prefix {
    struct ip ip;
    uint8_t bits; /* of the family: 0..32 or 0..128 */
};

/* Room for any text form below, with the NUL. */
#define IP_TEXT_BYTES 48
#define IP_PORT_TEXT_BYTES 56

#define IP_NONE ((struct ip) { { 0 } })

static inline bool ip_is_v4(const struct ip *a)
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    return memcmp(a->bytes, mapped, 12) == 0;
}
/* All zero: "none". 0.0.0.0 is not zero in this sense. */
static inline bool ip_is_none(const struct ip *a)
{
    static const struct ip none;
    return memcmp(a, &none, sizeof(none)) == 0;
}
static inline bool ip_equal(const struct ip *a, const struct ip *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}
static inline bool ip_port_equal(const struct ip_port *a, const struct ip_port *b)
{
    return a->port == b->port && ip_equal(&a->ip, &b->ip);
}

struct ip ip_from_v4(const uint8_t v4[4]);
struct ip ip_from_v6(const uint8_t v6[16]);
/* The four bytes of an IPv4 address; only if ip_is_v4. */
static inline const uint8_t *ip_v4_bytes(const struct ip *a)
{
    return a->bytes + 12;
}

bool ip_is_loopback(const struct ip *a);
bool ip_is_multicast(const struct ip *a);
bool ip_is_link_local(const struct ip *a); /* 169.254/16, fe80::/10 */
bool ip_is_private(const struct ip *a);    /* RFC 1918, fc00::/7 */

/* Text. Parsers take the whole of s or refuse it (false, *out untouched). */
bool ip_parse(struct span s, struct ip *out);           /* 192.0.2.1, 2001:db8::1, no zone */
bool ip_port_parse(struct span s, struct ip_port *out); /* 192.0.2.1:80, [2001:db8::1]:80 */
bool ip_prefix_parse(struct span s,
                     struct ip_prefix *out); /* host bits must be zero; a bare IP is /32 or /128 */
const char *ip_text(const struct ip *a, char out[IP_TEXT_BYTES]);
const char *ip_port_text(const struct ip_port *a, char out[IP_PORT_TEXT_BYTES]);

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip *a);
bool ip_prefix_is_single(const struct ip_prefix *p); /* /32 or /128 */
bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b);

#endif

/* ev/sockaddr.h - our addresses and the kernel's (inside ev/ only) */
#ifndef MANYTAILS_EV_SOCKADDR_H
#define MANYTAILS_EV_SOCKADDR_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/base.h"

/* For a socket of IPv6: IPv4 as mapped addresses, which ours are. */
static inline socklen_t sockaddr_from_v6(const struct ip_port *a, struct sockaddr_storage *out)
{
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    *v6 = (struct sockaddr_in6) { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };
    memcpy(&v6->sin6_addr, a->ip.bytes, 16);
    return sizeof(*v6);
}

static inline socklen_t sockaddr_from(const struct ip_port *a, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;

    if (!ip_is_v4(&a->ip))
        return sockaddr_from_v6(a, out);
    *v4 = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons(a->port) };
    memcpy(&v4->sin_addr, ip_v4_bytes(&a->ip), 4);
    return sizeof(*v4);
}

static inline void sockaddr_to(const struct sockaddr_storage *ss, struct ip_port *out)
{
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;

        *out = (struct ip_port) { ip_from_v4((const uint8_t *)&v4->sin_addr), ntohs(v4->sin_port) };
        return;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

    *out = (struct ip_port) { ip_from_v6((const uint8_t *)&v6->sin6_addr), ntohs(v6->sin6_port) };
}

#endif

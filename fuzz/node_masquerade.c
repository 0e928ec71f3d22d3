/* Any bytes as a packet whose address is replaced: nothing else changes but checksums, and what was replaced
 * once can be replaced back. */
#include "node/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Checksums may read 0 or 0xffff for the same sum, so only the rest has to come back. */
static size_t differences(const uint8_t *a, const uint8_t *b, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += a[i] != b[i];
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    bool source = len && data[0] & 1;
    struct packet_info before, after;
    uint8_t *packet, *original;
    struct ip other, *ours;

    if (len < 2 || len > 2048)
        return 0;
    original = malloc(len - 1);
    packet = malloc(len - 1);
    must(original && packet);
    memcpy(original, data + 1, len - 1);
    memcpy(packet, data + 1, len - 1);
    packet_parse(span_make(packet, len - 1), &before);
    must(ip_parse(span_from_str(before.version == 6 ? "fd7a:115c:a1e0::77" : "100.99.88.77"), &other));
    ours = source ? &before.src : &before.dst;
    if (before.version &&
        ip_is_v4(ours) == (before.version == 4)) { /* or an IPv4 address in IPv6: left alone */

        masquerade_rewrite((struct mspan) { packet, len - 1 }, source, ours, &other);
        packet_parse(span_make(packet, len - 1), &after);
        must(after.version == before.version && after.len == before.len &&
             after.protocol == before.protocol && after.transport_offset == before.transport_offset);
        must(ip_equal(source ? &after.src : &after.dst, &other));
        must(ip_equal(source ? &after.dst : &after.src, source ? &before.dst : &before.src));
        masquerade_rewrite((struct mspan) { packet, len - 1 }, source, &other, ours);
        /* No address is no replacement, and what an ICMP error quotes may have had the other one before. */
        if (!ip_is_none(ours) && before.protocol != PACKET_ICMP && before.protocol != PACKET_ICMPV6)
            must(differences(packet, original, len - 1) <= 2 * 2);
    } else {
        masquerade_rewrite((struct mspan) { packet, len - 1 }, source, ours, &other);
        must(memcmp(packet, original, len - 1) == 0);
    }
    free(original);
    free(packet);
    return 0;
}

/* Any bytes as IP packets: two bytes of length, then so many bytes. With an odd first byte the checksums are
 * made right, so that what stands behind them is reached, too. */
#include "netstack/internal.h"

#include <stdlib.h>

static bool ready;

static void fixed_bytes(void *out, size_t len)
{
    memset(out, 0x21, len);
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    (void)ctx;
    (void)pending;
    (void)user;
    return (enum netstack_verdict)(flow->local.port % 4);
}

static void event(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    (void)user;
    (void)now;
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now)
{
    (void)reason;
    event(ctx, conn, user, now);
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    (void)ctx;
    (void)node;
    (void)peer;
    ready = true;
}

static void deadline_changed(void *ctx)
{
    (void)ctx;
}

static bool on_udp(void *ctx, const struct netstack_flow *flow, struct span payload, time_ns now)
{
    (void)ctx;
    (void)now;
    return payload.len && flow->local.port == 53;
}

static const struct netstack_ops ops = { .on_syn = on_syn,
                                         .established = event,
                                         .readable = event,
                                         .writable = event,
                                         .closed = closed,
                                         .output_ready = output_ready,
                                         .deadline_changed = deadline_changed,
                                         .on_udp = on_udp };

/* Destination and checksums as they must be, if there is room for them. */
static void mend(uint8_t *p, size_t len)
{
    bool v4 = len && p[0] >> 4 == 4;
    size_t header = v4 ? (size_t)(p[0] & 15) * 4 : IP6_BYTES, at;
    struct ip from, to;
    uint8_t protocol;

    if (!len || len < (v4 ? 20u : 40u) || header < IP4_BYTES || len < header)
        return;
    if (v4) {
        store_be16(p + 2, (uint16_t)len);
        store_be32(p + 16, 0x64400001);
        store_be16(p + 10, 0);
        checksum_store(p + 10, checksum_add(0, p, header));
        from = ip_from_v4(p + 12);
        to = ip_from_v4(p + 16);
        protocol = p[9];
    } else {
        store_be16(p + 4, (uint16_t)(len - IP6_BYTES));
        (void)!ip_parse(span_from_str("fd7a:115c:a1e0::1"), &to);
        memcpy(p + 24, to.bytes, 16);
        from = ip_from_v6(p + 8);
        protocol = p[6];
    }
    at = protocol == PROTOCOL_TCP ? 16 : protocol == PROTOCOL_UDP ? 6 : 2;
    if (ip_is_v4(&from) != v4 || header + at + 2 > len)
        return;
    store_be16(p + header + at, 0);
    checksum_store(p + header + at, checksum_add(protocol == PROTOCOL_ICMP && v4
                                                     ? 0
                                                     : inner_pseudo_sum(&from, &to, protocol, len - header),
                                                 p + header, len - header));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct netstack_config config = { .ops = &ops, .random = fixed_bytes };
    struct reader r = reader_of(span_make(data, len));
    struct netstack_segment s;
    struct netstack *ns;
    struct ip addresses[2];
    uint8_t *packet = malloc(65536), out[NETSTACK_MTU];
    bool mended = reader_u8(&r) & 1;
    time_ns now = 10 * SEC;
    uint64_t packets = 0;

    (void)!ip_parse(span_from_str("100.64.0.1"), &addresses[0]);
    (void)!ip_parse(span_from_str("fd7a:115c:a1e0::1"), &addresses[1]);
    if (!packet || netstack_new(&ns, &config, now) || netstack_node_add(ns, 0, addresses, 2))
        abort();
    while (r.rest.len && !r.failed && packets < 1000) {
        size_t want = reader_be16(&r), n = MIN(want, r.rest.len);
        struct span whole = span_make(packet, n);

        if (n)
            memcpy(packet, reader_bytes(&r, n).data, n);
        if (mended)
            mend(packet, n);
        netstack_input(ns, 0, 1, &whole, 1, now);
        packets++;
        must(netstack_counters(ns)->packets_in == packets);
        while (ready && netstack_next_segment(ns, 0, 1, 49, now, &s))
            for (uint32_t i = 0; i < s.count; i++)
                must(netstack_segment_write(&s, i, out, sizeof(out)) > 0);
        ready = false;
        now += MSEC;
    }
    must(ns->fragment_bytes <= 64 << 10);
    netstack_free(ns);
    free(packet);
    return 0;
}

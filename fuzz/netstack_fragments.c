/* Reassembly against a byte map: every piece carries the bytes that belong at its offset, so whatever comes
 * out whole must be the pattern, and it may come out only when every byte has come in. */
#include "netstack/internal.h"

#include <stdlib.h>

#define SPACE 66000u

static struct {
    uint32_t total, delivered;
    const uint8_t *map; /* 1: this byte was given */
} w;

static uint8_t pattern(size_t at)
{
    static const uint8_t udp[8] = { 0, 7, 0, 53, 0, 0, 0, 0 };

    return at < 8 ? udp[at] : (uint8_t)(at * 31 + (at >> 8));
}

static void fixed_bytes(void *out, size_t len)
{
    memset(out, 0x21, len);
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    (void)ctx;
    (void)node;
    (void)peer;
}

static void deadline_changed(void *ctx)
{
    (void)ctx;
}

static bool on_udp(void *ctx, const struct netstack_flow *flow, struct span payload, time_ns now)
{
    (void)ctx;
    (void)now;
    must(flow->local.port == 53);
    for (size_t i = 0; i < payload.len; i++)
        must(payload.data[i] == pattern(i + 8) && w.map[i + 8]);
    w.delivered++;
    return true;
}

static const struct netstack_ops ops = { .output_ready = output_ready,
                                         .deadline_changed = deadline_changed,
                                         .on_udp = on_udp };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct netstack_config config = { .ops = &ops, .random = fixed_bytes };
    struct reader r = reader_of(span_make(data, len));
    struct netstack *ns;
    struct ip local;
    uint8_t packet[NETSTACK_MTU], *map = calloc(1, SPACE);
    uint16_t udp_len = reader_be16(&r);

    memset(&w, 0, sizeof(w));
    w.map = map;
    (void)!ip_parse(span_from_str("100.64.0.1"), &local);
    if (!map || netstack_new(&ns, &config, 0) || netstack_node_add(ns, 0, &local, 1))
        abort();
    for (int pieces = 0; pieces < 300 && r.rest.len >= 4; pieces++) {
        uint16_t field = reader_be16(&r);
        size_t at = (field & 0x1fff) * 8u, want = reader_be16(&r), n = MIN(want, NETSTACK_MTU - 20u);
        struct span whole = span_make(packet, 20 + n);

        field &= 0x3fff;
        memset(packet, 0, 20);
        packet[0] = 0x45;
        store_be16(packet + 2, (uint16_t)(20 + n));
        store_be16(packet + 4, 9);
        store_be16(packet + 6, field);
        packet[9] = 17;
        store_be32(packet + 12, 0x64400002);
        store_be32(packet + 16, 0x64400001);
        checksum_store(packet + 10, checksum_add(0, packet, 20));
        for (size_t i = 0; i < n; i++) {
            packet[20 + i] = at + i == 4   ? (uint8_t)(udp_len >> 8)
                             : at + i == 5 ? (uint8_t)udp_len
                                           : pattern(at + i);
            if (at + i < SPACE)
                map[at + i] = 1;
        }
        netstack_input(ns, 0, 1, &whole, 1, (time_ns)pieces * MSEC);
        must(ns->fragment_bytes <= 64 << 10);
        must(netstack_usage(ns).fragments <= 1);
    }
    netstack_tick(ns, 40 * SEC);
    must(netstack_usage(ns).fragments == 0 && ns->fragment_bytes == 0);
    netstack_free(ns);
    free(map);
    return 0;
}

/* fuzz/filter_rules.c - any rules, any packets: rules in JSON, a NUL, then packets, each behind its length */
#include "filter/filter.h"

#define ENOUGH_PACKETS 64

static bool has_cap(const void *peer, const struct ip *source, struct span cap)
{
    return cap.len && (cap.data[0] ^ source->bytes[15] ^ (uintptr_t)peer) & 1;
}

static void check_info(struct span packet, const struct packet_info *i)
{
    if (i->protocol == PACKET_UNKNOWN)
        return;
    must(i->len <= packet.len && i->transport_offset <= i->len);
    must(i->version == 4 || i->version == 6);
    must(ip_is_v4(&i->src) == (i->version == 4) && ip_is_v4(&i->dst) == (i->version == 4));
    if (i->protocol == PACKET_TCP)
        must(i->len - i->transport_offset >= 20);
}

static void each_cap(void *ctx, struct span name, struct span values)
{
    must(name.len);
    *(size_t *)ctx += values.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *nul = len ? memchr(data, 0, len) : NULL;
    struct span text = span_make(data, nul ? (size_t)(nul - data) : len);
    struct reader in = reader_of(span_slice(span_make(data, len), text.len + 1, len));
    const struct ip_prefix ours[] = { { { { [10] = 0xff, 0xff, 100, 64, 0, 42 } }, 32 },
                                      { { { 0xfd } }, 8 } };
    const struct filter_source from = { .has_cap = has_cap };
    struct filter_rules *rules = NULL;
    int r = filter_rules_compile(text, &rules);
    const struct filter_rules *chunk = rules;
    struct filter open = { &chunk, rules ? 1 : 0, false }, closed = { NULL, 0, false };
    struct filter_local l;
    size_t held = 0;

    must(r >= 0 && !r == !!rules);
    filter_local_init(&l, 7);
    must(filter_local_set(&l, ours, COUNT_OF(ours)) == 0);
    for (int i = 0; i < ENOUGH_PACKETS && in.rest.len; i++) {
        struct span packet = reader_bytes(&in, MIN((size_t)reader_u8(&in), in.rest.len));
        struct packet_info info;
        enum filter_verdict v, without;

        packet_parse(packet, &info);
        check_info(packet, &info);
        if (i % 4 == 3)
            (void)filter_outbound(&l, packet.len, &info);
        without = filter_inbound(&closed, &l, packet.len, &info, &from);
        v = filter_inbound(&open, &l, packet.len, &info, &from);
        must(!filter_accepts(without) || filter_accepts(v)); /* rules only open */
        must(without != FILTER_ACCEPT_RULE && without != FILTER_ACCEPT_ICMP &&
             without != FILTER_ACCEPT_OTHER);
        if (rules)
            filter_caps(&open, &info.src, &info.dst, each_cap, &held);
    }
    must(filter_flow_count(&l) <= FILTER_FLOWS_MAX);
    if (rules)
        (void)filter_rules_source_overlaps(rules, &ours[1]);
    filter_local_deinit(&l);
    filter_rules_free(rules);
    return 0;
}

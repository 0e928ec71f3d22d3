#include "check.h"

#include "filter/filter.h"
#include "filter/test_cases.h"
#include "vectors/filter_verdicts.h"

#include <errno.h>

#define OURS "100.64.0.42"
#define OURS6 "fd7a:115c:a1e0::2a"
#define PEER "100.64.0.7"
#define PEER6 "fd7a:115c:a1e0::7"

static struct filter_rules *rules;
static const struct filter_rules *chunks[1];
static struct filter filter;
static struct filter_local local;
static struct filter_source from;
static bool peer_has_cap;

static bool has_cap(const void *peer, const struct ip *source, struct span cap)
{
    (void)peer;
    (void)source;
    return peer_has_cap && span_equal_str(cap, "blue");
}

static void use(const char *json)
{
    filter_rules_free(rules);
    rules = NULL;
    assert_int_equal(filter_rules_compile(span_from_str(json), &rules), 0);
    chunks[0] = rules;
    filter = (struct filter) { chunks, 1, filter_rules_ancient(rules) };
}

static struct ip ip_of(const char *text)
{
    struct ip a;

    assert_true(ip_parse(span_from_str(text), &a));
    return a;
}

static int begin(void **state)
{
    (void)state;
    struct ip_prefix ours[] = { { ip_of(OURS), 32 }, { ip_of(OURS6), 128 } };

    filter_local_init(&local, 1);
    assert_int_equal(filter_local_set(&local, ours, COUNT_OF(ours)), 0);
    from = (struct filter_source) { .has_cap = has_cap };
    peer_has_cap = false;
    use("[]");
    return 0;
}

static int end(void **state)
{
    (void)state;
    filter_local_deinit(&local);
    filter_rules_free(rules);
    rules = NULL;
    return 0;
}

/* An IPv4 or IPv6 packet with this transport part. */
struct packet {
    uint8_t bytes[256];
    size_t len;
};

static struct packet make(const char *src, const char *dst, uint8_t protocol, const void *body, size_t len)
{
    struct ip a = ip_of(src), b = ip_of(dst);
    struct packet p = { .len = 0 };

    if (ip_is_v4(&b)) {
        p.bytes[0] = 0x45;
        p.bytes[9] = protocol;
        memcpy(p.bytes + 12, ip_v4_bytes(&a), 4);
        memcpy(p.bytes + 16, ip_v4_bytes(&b), 4);
        p.len = 20 + len;
        store_be16(p.bytes + 2, (uint16_t)p.len);
        memcpy(p.bytes + 20, body, len);
    } else {
        p.bytes[0] = 0x60;
        p.bytes[6] = protocol;
        store_be16(p.bytes + 4, (uint16_t)len);
        memcpy(p.bytes + 8, a.bytes, 16);
        memcpy(p.bytes + 24, b.bytes, 16);
        p.len = 40 + len;
        memcpy(p.bytes + 40, body, len);
    }
    return p;
}

static struct packet tcp(const char *src, const char *dst, uint16_t port, uint8_t flags)
{
    uint8_t body[20] = { 0x12, 0x34, (uint8_t)(port >> 8), (uint8_t)port, [12] = 0x50, [13] = flags };

    return make(src, dst, PACKET_TCP, body, sizeof(body));
}

static struct packet udp(const char *src, uint16_t src_port, const char *dst, uint16_t dst_port)
{
    uint8_t body[8] = { (uint8_t)(src_port >> 8), (uint8_t)src_port, (uint8_t)(dst_port >> 8),
                        (uint8_t)dst_port };

    return make(src, dst, PACKET_UDP, body, sizeof(body));
}

static struct packet icmp(const char *src, const char *dst, uint8_t type)
{
    uint8_t body[8] = { type };
    struct ip a = ip_of(dst);

    return make(src, dst, ip_is_v4(&a) ? PACKET_ICMP : PACKET_ICMPV6, body, sizeof(body));
}

static enum filter_verdict inbound(struct packet p)
{
    struct packet_info info;

    packet_parse(span_make(p.bytes, p.len), &info);
    return filter_inbound(&filter, &local, p.len, &info, &from);
}

static enum filter_verdict outbound(struct packet p)
{
    struct packet_info info;

    packet_parse(span_make(p.bytes, p.len), &info);
    return filter_outbound(&local, p.len, &info);
}

#define SYN PACKET_TCP_SYN
#define ACK PACKET_TCP_ACK

/* The rules of the worked example: the laptop may open TCP 443. */
static const char example[] = "[{\"SrcIPs\":[\"" PEER "\"],\"IPProto\":[6],\"DstPorts\":[{\"IP\":\"" OURS
                              "\",\"Ports\":{\"First\":443,\"Last\":443}}]}]";

static void example_of_the_protocol_page(void **state)
{
    (void)state;
    use(example);
    assert_int_equal(inbound(tcp(PEER, OURS, 443, SYN)), FILTER_ACCEPT_RULE);
    assert_int_equal(inbound(tcp(PEER, OURS, 444, SYN)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(tcp("100.64.0.8", OURS, 443, SYN)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(udp(PEER, 5, OURS, 443)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(icmp(PEER, OURS, 8)), FILTER_ACCEPT_ICMP); /* although the rule is for TCP */
    assert_int_equal(inbound(icmp("100.64.0.8", OURS, 8)), FILTER_DROP_NO_RULE);
}

static void without_rules_nothing_begins(void **state)
{
    (void)state;
    filter = (struct filter) { 0 };
    assert_int_equal(inbound(tcp(PEER, OURS, 443, SYN)), FILTER_DROP_NO_FILTER);
    assert_int_equal(inbound(udp(PEER, 5, OURS, 443)), FILTER_DROP_NO_FILTER);
    assert_int_equal(inbound(icmp(PEER, OURS, 8)), FILTER_DROP_NO_FILTER);
    assert_int_equal(inbound(tcp(PEER, OURS, 443, ACK)), FILTER_ACCEPT_TCP_CONTINUES);
    assert_int_equal(inbound(icmp(PEER, OURS, 0)), FILTER_ACCEPT_ICMP_REPLY);
    use("[]");
    assert_int_equal(inbound(tcp(PEER, OURS, 443, SYN)), FILTER_DROP_NO_RULE);
}

#define ALL "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]"

static void shields_up_and_jail_refuse_beginnings_only(void **state)
{
    (void)state;
    use(ALL);
    local.shields_up = true;
    assert_int_equal(inbound(tcp(PEER, OURS, 443, SYN)), FILTER_DROP_SHIELDS_UP);
    assert_int_equal(inbound(icmp(PEER, OURS, 8)), FILTER_DROP_SHIELDS_UP);
    assert_int_equal(inbound(tcp(PEER, OURS, 443, SYN | ACK)), FILTER_ACCEPT_TCP_CONTINUES);
    local.shields_up = false;
    from.jailed = true;
    assert_int_equal(inbound(tcp(PEER, OURS, 443, SYN)), FILTER_DROP_JAILED);
    assert_int_equal(outbound(udp(OURS, 9, PEER, 53)), FILTER_ACCEPT_RULE);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 9)), FILTER_ACCEPT_FLOW); /* we asked */
    assert_int_equal(inbound(udp(PEER, 54, OURS, 9)), FILTER_DROP_JAILED);
}

static void order_of_the_first_checks(void **state)
{
    (void)state;
    struct packet none = { .len = 0 };
    struct packet other = make(PEER, OURS, 47, "xxxxxxxx", 8);

    use(ALL);
    assert_int_equal(inbound(none), FILTER_ACCEPT_KEEPALIVE);
    none.len = 19;
    assert_int_equal(inbound(none), FILTER_DROP_SHORT);
    none.len = 40;
    assert_int_equal(inbound(none), FILTER_DROP_UNKNOWN);
    assert_int_equal(inbound(make(PEER, OURS, 0, "xxxxxxxx", 8)), FILTER_DROP_UNKNOWN);
    assert_int_equal(inbound(udp(PEER, 1, "224.0.0.251", 5353)), FILTER_DROP_MULTICAST);
    assert_int_equal(inbound(udp(PEER6, 1, "ff02::fb", 5353)), FILTER_DROP_MULTICAST);
    assert_int_equal(inbound(udp(PEER, 1, "169.254.1.1", 80)), FILTER_DROP_LINK_LOCAL);
    assert_int_equal(inbound(udp(PEER6, 1, "fe80::1", 80)), FILTER_DROP_LINK_LOCAL);
    assert_int_equal(inbound(udp(PEER, 1, "169.254.169.254", 80)), FILTER_DROP_NOT_LOCAL);
    assert_int_equal(inbound(udp(PEER, 1, "100.64.0.43", 80)), FILTER_DROP_NOT_LOCAL);
    assert_int_equal(inbound(tcp(PEER, "100.64.0.43", 80, ACK)), FILTER_DROP_NOT_LOCAL);
    assert_int_equal(inbound(tcp(PEER6, "::", 80, ACK)), FILTER_DROP_NOT_LOCAL);
    assert_int_equal(inbound(make(PEER, OURS, PACKET_TSMP, "p12345678", 9)), FILTER_ACCEPT_TSMP);
    assert_int_equal(inbound(other), FILTER_DROP_NO_RULE); /* the default list has no GRE */
    use("[{\"SrcIPs\":[\"*\"],\"IPProto\":[47],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":"
        "65535}}]}]");
    assert_int_equal(inbound(other), FILTER_ACCEPT_OTHER);
    use("[{\"SrcIPs\":[\"*\"],\"IPProto\":[47],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":"
        "65535}}]}]");
    assert_int_equal(inbound(other), FILTER_DROP_NO_RULE);
}

static void icmp_errors_and_replies_need_no_rule(void **state)
{
    (void)state;
    static const uint8_t v4[] = { 0, 3, 11, 12 }, v6[] = { 1, 2, 3, 4, 129 };

    for (size_t i = 0; i < COUNT_OF(v4); i++)
        assert_int_equal(inbound(icmp(PEER, OURS, v4[i])), FILTER_ACCEPT_ICMP_REPLY);
    for (size_t i = 0; i < COUNT_OF(v6); i++)
        assert_int_equal(inbound(icmp(PEER6, OURS6, v6[i])), FILTER_ACCEPT_ICMP_REPLY);
    for (unsigned type = 0; type < 256; type++) {
        if (!memchr(v4, (int)type, sizeof(v4)))
            assert_int_equal(inbound(icmp(PEER, OURS, (uint8_t)type)), FILTER_DROP_NO_RULE);
        if (!memchr(v6, (int)type, sizeof(v6)))
            assert_int_equal(inbound(icmp(PEER6, OURS6, (uint8_t)type)), FILTER_DROP_NO_RULE);
    }
}

/* RFC 1858: what could rewrite a transport header, or hide it, is no packet. */
static void fragments(void **state)
{
    (void)state;
    struct packet p = udp(PEER, 5, OURS, 53);

    use(ALL);
    p.bytes[6] = 0x20; /* first of several */
    assert_int_equal(inbound(p), FILTER_ACCEPT_RULE);
    for (unsigned blocks = 1; blocks < 12; blocks++) {
        store_be16(p.bytes + 6, (uint16_t)blocks);
        assert_int_equal(inbound(p), blocks < 10 ? FILTER_DROP_UNKNOWN : FILTER_ACCEPT_FRAGMENT);
    }
    p = make(PEER, OURS, PACKET_TCP, "0123456789012345678", 19); /* header cut */
    p.bytes[6] = 0x20;
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
    p = make(PEER6, OURS6, 44, "\x11\0\0\1xxxx\0\5\0\x35\0\x08\0\0", 16); /* first, UDP to 53 */
    assert_int_equal(inbound(p), FILTER_ACCEPT_RULE);
    p.bytes[42] = 0x05; /* offset 0xa0 blocks */
    assert_int_equal(inbound(p), FILTER_ACCEPT_FRAGMENT);
    p.bytes[42] = 0;
    p.bytes[43] = 9 << 3;
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
    assert_int_equal(inbound(make(PEER6, OURS6, 60, "\x11\0xxxxxx\0\5\0\x35\0\x08\0\0", 16)),
                     FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(make(PEER6, OURS6, 0, "\x11\0xxxxxx\0\5\0\x35\0\x08\0\0", 16)),
                     FILTER_DROP_UNKNOWN);
    p = make(PEER, OURS, PACKET_TSMP, "p12345678", 9);
    p.bytes[6] = 0x20;
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
}

/* Where we are stricter than the reference. */
static void headers_that_lie_are_no_packets(void **state)
{
    (void)state;
    struct packet p = tcp(PEER, OURS, 443, SYN);

    use(ALL);
    p.bytes[0] = 0x44; /* header of 16 bytes */
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
    p = tcp(PEER, OURS, 443, SYN);
    store_be16(p.bytes + 2, 39); /* the last byte of the TCP header is padding */
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
    p = tcp(PEER, OURS, 443, SYN);
    p.len--;
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
    p.len += 4; /* padding after the packet is fine */
    assert_int_equal(inbound(p), FILTER_ACCEPT_RULE);
    p = tcp(PEER6, OURS6, 443, ACK); /* IPv6 to our IPv4 address in disguise */
    memcpy(p.bytes + 24, ip_of(OURS).bytes, 16);
    assert_int_equal(inbound(p), FILTER_DROP_UNKNOWN);
}

static void peerapi_is_open_whatever_the_rules_say(void **state)
{
    (void)state;
    local.peerapi[0] = (struct ip_port) { ip_of(OURS), 40001 };
    from.jailed = true;
    assert_int_equal(inbound(tcp(PEER, OURS, 40001, SYN)), FILTER_ACCEPT_PEERAPI);
    assert_int_equal(inbound(tcp(PEER6, OURS6, 40001, SYN)), FILTER_DROP_JAILED); /* not announced there */
    assert_int_equal(inbound(udp(PEER, 5, OURS, 40001)), FILTER_DROP_JAILED);
    assert_int_equal(inbound(udp(PEER, 5, OURS, 0)), FILTER_DROP_JAILED);
}

static void answers_to_what_we_sent_pass(void **state)
{
    (void)state;
    assert_null(local.flows);
    assert_int_equal(outbound(tcp(OURS, PEER, 80, SYN)), FILTER_ACCEPT_RULE);
    assert_null(local.flows); /* TCP needs no memory */
    assert_int_equal(outbound(udp(OURS, 1000, PEER, 53)), FILTER_ACCEPT_RULE);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1000)), FILTER_ACCEPT_FLOW);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1001)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(udp(PEER, 54, OURS, 1000)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(udp("100.64.0.8", 53, OURS, 1000)), FILTER_DROP_NO_RULE);
    assert_int_equal(outbound(udp(OURS6, 1000, PEER6, 53)), FILTER_ACCEPT_RULE);
    assert_int_equal(inbound(udp(PEER6, 53, OURS6, 1000)), FILTER_ACCEPT_FLOW);
    assert_int_equal(outbound(udp(OURS, 1000, "224.0.0.1", 53)), FILTER_DROP_MULTICAST);
    assert_int_equal(filter_flow_count(&local), 2);
    use(ALL); /* flows outlive a change of rules */
    use("[]");
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1000)), FILTER_ACCEPT_FLOW);
}

/* The flow that was not used for longest goes; an answer counts as use. */
static void flow_table_forgets_the_oldest(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FILTER_FLOWS_MAX; i++)
        outbound(udp(OURS, (uint16_t)(1000 + i), PEER, 53));
    assert_int_equal(filter_flow_count(&local), FILTER_FLOWS_MAX);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1000)), FILTER_ACCEPT_FLOW); /* now the youngest */
    outbound(udp(OURS, 1002, PEER, 53));                                      /* seen before: no new one */
    outbound(udp(OURS, 9000, PEER, 53));
    outbound(udp(OURS, 9001, PEER, 53));
    assert_int_equal(filter_flow_count(&local), FILTER_FLOWS_MAX);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1000)), FILTER_ACCEPT_FLOW);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1002)), FILTER_ACCEPT_FLOW);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1001)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(udp(PEER, 53, OURS, 1003)), FILTER_DROP_NO_RULE);
    for (unsigned i = 4; i < FILTER_FLOWS_MAX; i++)
        assert_int_equal(inbound(udp(PEER, 53, OURS, (uint16_t)(1000 + i))), FILTER_ACCEPT_FLOW);
}

static void capability_sources(void **state)
{
    (void)state;
    use("[{\"SrcIPs\":[\"cap:blue\"],\"DstPorts\":[{\"IP\":\"10.0.0.1\",\"Ports\":{\"First\":0,\"Last\":"
        "65535}},"
        "{\"IP\":\"" OURS "\",\"Ports\":{\"First\":80,\"Last\":80}}]}]");
    assert_int_equal(inbound(tcp(PEER, OURS, 80, SYN)), FILTER_DROP_NO_RULE);
    peer_has_cap = true;
    assert_int_equal(inbound(tcp(PEER, OURS, 80, SYN)), FILTER_ACCEPT_RULE);
    assert_int_equal(inbound(tcp(PEER, OURS, 81, SYN)), FILTER_DROP_NO_RULE);
    assert_int_equal(inbound(icmp(PEER, OURS, 8)), FILTER_ACCEPT_ICMP);
    assert_int_equal(inbound(icmp(PEER6, OURS6, 128)),
                     FILTER_DROP_NO_RULE); /* no destination of the family */
    from.has_cap = NULL;
    assert_int_equal(inbound(tcp(PEER, OURS, 80, SYN)), FILTER_DROP_NO_RULE);
}

static void ancient_rules_refuse_all(void **state)
{
    (void)state;
    use("[{\"SrcIPs\":[\"*\"],\"SrcBits\":[8],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":"
        "65535}}]}]");
    assert_true(filter.refused);
    assert_int_equal(inbound(tcp(PEER, OURS, 80, SYN)), FILTER_DROP_NO_FILTER);
    use("[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Bits\":0,\"Ports\":{\"First\":0,\"Last\":65535}}]"
        "}]");
    assert_true(filter.refused);
    use("[{\"SrcIPs\":[\"*\"],\"SrcBits\":null,\"DstPorts\":[{\"IP\":\"*\",\"Bits\":null}]}]");
    assert_false(filter.refused);
}

static void entries_that_make_no_sense_are_skipped(void **state)
{
    (void)state;
    struct filter_rules *r;

    use("[7,{\"SrcIPs\":[\"100.64.0.1/10\",\"x\",\"::ffff:" PEER "\",\"" PEER "\",\"10.0.0.9-10.0.0.1\"],"
        "\"DstPorts\":[{\"IP\":\"cap:blue\"},{\"IP\":5},{\"IP\":\"" OURS
        "\",\"Ports\":{\"First\":1,\"Last\":9}},"
        "{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":70000}}]},{\"SrcIPs\":\"*\"}]");
    assert_int_equal(filter_rules_skipped(rules), 9);
    assert_int_equal(inbound(tcp(PEER, OURS, 5, SYN)), FILTER_ACCEPT_RULE);
    assert_int_equal(inbound(tcp("100.64.0.1", OURS, 5, SYN)), FILTER_DROP_NO_RULE);
    assert_int_equal(filter_rules_compile(span_from_str("{}"), &r), FILTER_E_SYNTAX);
    assert_int_equal(filter_rules_compile(span_from_str("[{}"), &r), FILTER_E_SYNTAX);
    assert_int_equal(filter_rules_compile(span_from_str("null"), &r), FILTER_E_SYNTAX);
    assert_null(r);
}

static void overlap_with_a_prefix(void **state)
{
    (void)state;
    struct ip_prefix inside = { ip_of("100.64.0.9"), 32 }, around = { ip_of("100.0.0.0"), 8 },
                     apart = { ip_of("100.64.1.0"), 24 }, six = { ip_of(PEER6), 128 };

    use("[{\"SrcIPs\":[\"100.64.0.0/"
        "24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":1}}]}]");
    assert_true(filter_rules_source_overlaps(rules, &inside));
    assert_true(filter_rules_source_overlaps(rules, &around));
    assert_false(filter_rules_source_overlaps(rules, &apart));
    assert_false(filter_rules_source_overlaps(rules, &six));
    use(ALL);
    assert_true(filter_rules_source_overlaps(rules, &six));
    use("[{\"SrcIPs\":[\"*\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\"]}]}]");
    assert_false(filter_rules_source_overlaps(rules, &six)); /* grants give no access */
}

static void check_without_a_packet(void **state)
{
    (void)state;
    struct ip src = ip_of(PEER);
    struct ip_port dst = { ip_of(OURS), 443 }, dst6 = { ip_of(OURS6), 443 };

    use(example);
    assert_int_equal(filter_check(&filter, &local, PACKET_TCP, &src, &dst, &from), FILTER_ACCEPT_RULE);
    assert_int_equal(filter_check(&filter, &local, PACKET_UDP, &src, &dst, &from), FILTER_DROP_NO_RULE);
    assert_int_equal(filter_check(&filter, &local, PACKET_TCP, &src, &dst6, &from), FILTER_DROP_NO_RULE);
    dst.port = 444;
    assert_int_equal(filter_check(&filter, &local, PACKET_TCP, &src, &dst, &from), FILTER_DROP_NO_RULE);
}

static void local_addresses_are_bounded_and_replaced(void **state)
{
    (void)state;
    static struct ip_prefix many[FILTER_LOCAL_MAX + 1];
    struct ip_prefix two[] = { { ip_of("10.0.0.0"), 8 }, { ip_of("10.1.1.1"), 32 } };
    struct ip a = ip_of("10.9.9.9"), b = ip_of(OURS);

    for (size_t i = 0; i < COUNT_OF(many); i++)
        many[i] = two[0];
    assert_int_equal(filter_local_set(&local, many, COUNT_OF(many)), -ENOBUFS);
    assert_true(filter_is_local(&local, &b)); /* nothing has changed */
    assert_int_equal(filter_local_set(&local, two, 2), 0);
    assert_true(filter_is_local(&local, &a));
    assert_false(filter_is_local(&local, &b));
    assert_int_equal(filter_local_set(&local, NULL, 0), 0);
    assert_false(filter_is_local(&local, &a));
    assert_false(filter_is_local(&local, &IP_NONE));
}

static void reference_agrees(void **state)
{
    (void)state;
    struct filter_cases t = { .rules = NULL };

    for (size_t i = 0; i < COUNT_OF(filter_verdicts); i++)
        if (!filter_case(&t, filter_verdicts[i]))
            fail_msg("line %zu: %s", i, filter_verdicts[i]);
    filter_cases_end(&t);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(example_of_the_protocol_page),
        WITH(without_rules_nothing_begins),
        WITH(shields_up_and_jail_refuse_beginnings_only),
        WITH(order_of_the_first_checks),
        WITH(icmp_errors_and_replies_need_no_rule),
        WITH(fragments),
        WITH(headers_that_lie_are_no_packets),
        WITH(peerapi_is_open_whatever_the_rules_say),
        WITH(answers_to_what_we_sent_pass),
        WITH(flow_table_forgets_the_oldest),
        WITH(capability_sources),
        WITH(ancient_rules_refuse_all),
        WITH(entries_that_make_no_sense_are_skipped),
        WITH(overlap_with_a_prefix),
        WITH(check_without_a_packet),
        WITH(local_addresses_are_bounded_and_replaced),
        WITH(reference_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

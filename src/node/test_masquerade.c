#include "check.h"

#include "node/internal.h"

static uint8_t packet[256];
static size_t packet_len;

static struct ip ip(const char *text)
{
    struct ip a;

    assert_true(ip_parse(span_from_str(text), &a));
    return a;
}

static uint32_t sum(const uint8_t *at, size_t len, uint32_t start)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        start += load_be16(at + i);
    if (len & 1)
        start += (uint32_t)at[len - 1] << 8;
    while (start >> 16)
        start = (start & 0xffff) + (start >> 16);
    return start;
}

static size_t header_bytes(const uint8_t *p)
{
    return p[0] >> 4 == 4 ? 20 : 40;
}

/* One's complement sum over pseudo header and transport: 0xffff when the checksum in it is right. */
static uint32_t transport_sum(const uint8_t *p, size_t len)
{
    bool v4 = p[0] >> 4 == 4;
    size_t head = header_bytes(p);
    uint8_t protocol = v4 ? p[9] : p[6];
    uint32_t s = sum(p + (v4 ? 12 : 8), v4 ? 8 : 32, protocol + (uint32_t)(len - head));

    return sum(p + head, len - head, protocol == PACKET_ICMP ? 0 : s);
}

/* A packet with `body`, whose checksum at `checksum_at` is made right. */
static void build(const char *src, const char *dst, uint8_t protocol, const uint8_t *body, size_t len,
                  size_t checksum_at)
{
    struct ip from = ip(src), to = ip(dst);
    bool v4 = ip_is_v4(&from);
    size_t head = v4 ? 20 : 40;

    memset(packet, 0, sizeof(packet));
    packet_len = head + len;
    memcpy(packet + head, body, len);
    if (v4) {
        packet[0] = 0x45;
        store_be16(packet + 2, (uint16_t)packet_len);
        packet[8] = 64;
        packet[9] = protocol;
        memcpy(packet + 12, ip_v4_bytes(&from), 4);
        memcpy(packet + 16, ip_v4_bytes(&to), 4);
        store_be16(packet + 10, (uint16_t)~sum(packet, 20, 0));
    } else {
        packet[0] = 0x60;
        store_be16(packet + 4, (uint16_t)len);
        packet[6] = protocol;
        memcpy(packet + 8, from.bytes, 16);
        memcpy(packet + 24, to.bytes, 16);
    }
    store_be16(packet + head + checksum_at, (uint16_t)~transport_sum(packet, packet_len));
}

static void rewrite(bool source, const char *old, const char *new)
{
    struct ip from = ip(old), to = ip(new);

    masquerade_rewrite((struct mspan) { packet, packet_len }, source, &from, &to);
}

static void assert_is(const char *src, const char *dst)
{
    struct ip from = ip(src), to = ip(dst);
    struct packet_info info;

    packet_parse(span_make(packet, packet_len), &info);
    assert_true(ip_equal(&info.src, &from));
    assert_true(ip_equal(&info.dst, &to));
    if (info.version == 4)
        assert_int_equal(sum(packet, 20, 0), 0xffff);
}

static const uint8_t tcp[24] = { 0x12, 0x34, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff };

static void addresses_change_and_every_checksum_stays_right(void **state)
{
    static const uint8_t udp[13] = { 1, 2, 3, 4, 0, 13, 0, 0, 'a', 'b', 'c', 'd', 'e' };
    static const uint8_t echo[11] = { 128, 0, 0, 0, 7, 7, 0, 1, 'x', 'y', 'z' };
    static const struct {
        uint8_t protocol;
        const uint8_t *body;
        size_t len, at;
        bool v4;
    } cases[] = {
        { PACKET_TCP, tcp, sizeof(tcp), 16, true },      { PACKET_UDP, udp, sizeof(udp), 6, true },
        { PACKET_TCP, tcp, sizeof(tcp), 16, false },     { PACKET_UDP, udp, sizeof(udp), 6, false },
        { PACKET_ICMPV6, echo, sizeof(echo), 2, false },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *ours = cases[i].v4 ? "100.64.0.1" : "fd7a:115c:a1e0::1";
        const char *shown = cases[i].v4 ? "100.99.88.77" : "fd7a:115c:a1e0:9::ffff";
        const char *peer = cases[i].v4 ? "100.64.0.9" : "fd7a:115c:a1e0::9";

        build(ours, peer, cases[i].protocol, cases[i].body, cases[i].len, cases[i].at);
        rewrite(true, ours, shown);
        assert_is(shown, peer);
        assert_int_equal(transport_sum(packet, packet_len), 0xffff);
        build(peer, shown, cases[i].protocol, cases[i].body, cases[i].len, cases[i].at);
        rewrite(false, shown, ours);
        assert_is(peer, ours);
        assert_int_equal(transport_sum(packet, packet_len), 0xffff);
    }
}

static void another_address_or_family_is_left_alone(void **state)
{
    uint8_t before[sizeof(packet)];

    (void)state;
    build("100.64.0.1", "100.64.0.9", PACKET_TCP, tcp, sizeof(tcp), 16);
    memcpy(before, packet, sizeof(packet));
    rewrite(true, "100.64.0.2", "100.99.88.77");
    rewrite(false, "100.64.0.1", "100.99.88.77");
    rewrite(true, "100.64.0.1", "fd7a:115c:a1e0::7");
    masquerade_rewrite((struct mspan) { packet, 19 }, true, &(struct ip) { 0 }, &(struct ip) { 0 });
    assert_memory_equal(packet, before, sizeof(packet));
}

static void a_datagram_without_checksum_keeps_having_none(void **state)
{
    static const uint8_t udp[8] = { 1, 2, 3, 4, 0, 8 };

    (void)state;
    build("100.64.0.1", "100.64.0.9", PACKET_UDP, udp, sizeof(udp), 6);
    store_be16(packet + 26, 0);
    rewrite(true, "100.64.0.1", "100.99.88.77");
    assert_is("100.99.88.77", "100.64.0.9");
    assert_int_equal(load_be16(packet + 26), 0);
}

/* Its first bytes are data, not a transport header. */
static void of_a_later_fragment_only_the_header_changes(void **state)
{
    uint8_t data[24];

    (void)state;
    build("100.64.0.1", "100.64.0.9", PACKET_TCP, tcp, sizeof(tcp), 16);
    store_be16(packet + 6, 100);
    store_be16(packet + 10, 0);
    store_be16(packet + 10, (uint16_t)~sum(packet, 20, 0));
    memcpy(data, packet + 20, sizeof(data));
    rewrite(true, "100.64.0.1", "100.99.88.77");
    assert_is("100.99.88.77", "100.64.0.9");
    assert_memory_equal(packet + 20, data, sizeof(data));
}

/* "Unreachable", about a packet of ours as the peer saw it. */
static void what_an_icmp_error_quotes_is_translated_too(void **state)
{
    uint8_t error[8 + 44 + 20] = { 3, 3 };
    struct ip ours = ip("100.64.0.1");

    (void)state;
    build("100.99.88.77", "100.64.0.9", PACKET_TCP, tcp, sizeof(tcp), 16);
    memcpy(error + 8, packet, 44);
    build("100.64.0.9", "100.99.88.77", PACKET_ICMP, error, 8 + 44, 2);
    rewrite(false, "100.99.88.77", "100.64.0.1");
    assert_is("100.64.0.9", "100.64.0.1");
    assert_memory_equal(packet + 20 + 8 + 12, ip_v4_bytes(&ours), 4);
    assert_int_equal(sum(packet + 28, 20, 0), 0xffff);
    assert_int_equal(transport_sum(packet, packet_len), 0xffff);

    error[0] = 1;
    build("fd7a::77", "fd7a::9", PACKET_TCP, tcp, sizeof(tcp), 16);
    memcpy(error + 8, packet, 64);
    build("fd7a::9", "fd7a::77", PACKET_ICMPV6, error, 8 + 64, 2);
    rewrite(false, "fd7a::77", "fd7a::1");
    assert_is("fd7a::9", "fd7a::1");
    assert_memory_equal(packet + 40 + 8 + 8, ip("fd7a::1").bytes, 16);
    assert_int_equal(transport_sum(packet, packet_len), 0xffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_change_and_every_checksum_stays_right),
        cmocka_unit_test(another_address_or_family_is_left_alone),
        cmocka_unit_test(a_datagram_without_checksum_keeps_having_none),
        cmocka_unit_test(of_a_later_fragment_only_the_header_changes),
        cmocka_unit_test(what_an_icmp_error_quotes_is_translated_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

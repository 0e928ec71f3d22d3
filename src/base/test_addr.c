#include "check.h"

static void addresses_come_back_as_written(void **state)
{
    (void)state;
    static const char *const good[] = { "192.0.2.1", "0.0.0.0", "2001:db8::1", "::1", "fd7a:115c:a1e0::2a" };
    static const char *const bad[] = { "",    "1.2.3",        "1.2.3.4.5", "256.1.1.1",
                                       "::g", "fe80::1%eth0", " 1.2.3.4" };
    char text[IP_TEXT_BYTES];
    struct ip a;

    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(ip_parse(span_from_str(good[i]), &a));
        assert_string_equal(ip_text(&a, text), good[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(ip_parse(span_from_str(bad[i]), &a));
}

/* An IPv4-mapped IPv6 address is the IPv4 address. */
static void mapped_is_v4(void **state)
{
    (void)state;
    struct ip a, b;

    assert_true(ip_parse(span_from_str("::ffff:192.0.2.1"), &a));
    assert_true(ip_parse(span_from_str("192.0.2.1"), &b));
    assert_true(ip_equal(&a, &b));
    assert_true(ip_is_v4(&a));
}

static void ports(void **state)
{
    (void)state;
    static const char *const bad[] = { "",       ":",     "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536",
                                       "::1:80", "[::1]", "[::1]80" };
    char text[IP_PORT_TEXT_BYTES];
    struct ip_port p;

    assert_true(ip_port_parse(span_from_str("192.0.2.7:41641"), &p));
    assert_string_equal(ip_port_text(&p, text), "192.0.2.7:41641");
    assert_true(ip_port_parse(span_from_str("[2001:db8::1]:443"), &p));
    assert_string_equal(ip_port_text(&p, text), "[2001:db8::1]:443");
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(ip_port_parse(span_from_str(bad[i]), &p));
}

/* Host bits are refused, not masked; a bare address is its own prefix. */
static void prefixes(void **state)
{
    (void)state;
    struct ip_prefix p;
    struct ip in, out;

    assert_true(ip_prefix_parse(span_from_str("100.64.0.0/10"), &p));
    assert_true(ip_parse(span_from_str("100.127.255.255"), &in));
    assert_true(ip_parse(span_from_str("100.128.0.0"), &out));
    assert_true(ip_prefix_contains(&p, &in));
    assert_false(ip_prefix_contains(&p, &out));
    assert_false(ip_prefix_parse(span_from_str("100.64.0.1/10"), &p));
    assert_false(ip_prefix_parse(span_from_str("100.64.0.0/33"), &p));
    assert_true(ip_prefix_parse(span_from_str("100.64.0.1"), &p));
    assert_true(ip_prefix_is_single(&p));
    assert_true(ip_prefix_parse(span_from_str("::/0"), &p));
    assert_false(ip_prefix_contains(&p, &in)); /* families do not mix */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_come_back_as_written),
        cmocka_unit_test(mapped_is_v4),
        cmocka_unit_test(ports),
        cmocka_unit_test(prefixes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

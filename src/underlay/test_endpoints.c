#include "underlay/endpoints.h"

#include <stdio.h>

#include "check.h"
#include "underlay/classify.h"

static struct ip_port address(const char *text)
{
    struct ip_port p;

    assert_true(ip_port_parse(span_from_str(text), &p));
    return p;
}

static struct host_view host_with(const char *ip)
{
    struct host_view view = { .count = 1 };

    assert_true(ip_parse(span_from_str(ip), &view.addresses[0]));
    return view;
}

static void stun_saw(struct endpoints *e, const char *text, uint32_t times, time_ns now)
{
    struct netcheck_mapped m = { address(text), times };

    endpoints_note_mapped(e, &m, 1, now);
}

static void assert_endpoint(const struct endpoints *e, size_t i, const char *want, uint8_t type)
{
    char text[IP_PORT_TEXT_BYTES];

    assert_true(i < e->count);
    assert_string_equal(ip_port_text(&e->list[i].address, text), want);
    assert_int_equal(e->list[i].type, type);
}

static void stun_comes_first_and_the_first_type_wins(void **state)
{
    (void)state;
    struct endpoints e = { .count = 0 };
    struct host_view host = host_with("203.0.113.7");

    host.count = 2;
    assert_true(ip_parse(span_from_str("2001:db8::1"), &host.addresses[1]));
    stun_saw(&e, "203.0.113.7:41641", 2, 0);
    assert_true(endpoints_build(&e, &host, 41641, 41642, 0));
    assert_int_equal(e.count, 2);
    assert_endpoint(&e, 0, "203.0.113.7:41641", UNDERLAY_ENDPOINT_STUN);
    assert_endpoint(&e, 1, "[2001:db8::1]:41642", UNDERLAY_ENDPOINT_LOCAL);
    assert_false(endpoints_build(&e, &host, 41641, 41642, 1 * SEC));
    assert_true(endpoints_build(&e, &host, 41641, 0, 1 * SEC)); /* IPv6 is gone */
    assert_int_equal(e.count, 1);
}

/* Order is no change: a list that only turns round must not wake control. */
static void the_same_set_in_another_order_is_no_change(void **state)
{
    (void)state;
    struct endpoints e = { .count = 0 };
    struct host_view host = host_with("192.168.1.2");

    stun_saw(&e, "203.0.113.7:1", 1, 0);
    stun_saw(&e, "203.0.113.7:2", 1, 1 * SEC);
    assert_true(endpoints_build(&e, &host, 9, 9, 1 * SEC));
    assert_endpoint(&e, 0, "203.0.113.7:2", UNDERLAY_ENDPOINT_STUN);
    stun_saw(&e, "203.0.113.7:1", 1, 2 * SEC);
    assert_false(endpoints_build(&e, &host, 9, 9, 2 * SEC));
    assert_endpoint(&e, 0, "203.0.113.7:1", UNDERLAY_ENDPOINT_STUN);
}

static void what_was_seen_stays_for_five_minutes(void **state)
{
    (void)state;
    struct endpoints e = { .count = 0 };
    struct host_view host = { .count = 0 };

    stun_saw(&e, "203.0.113.7:1", 1, 0);
    assert_true(endpoints_build(&e, &host, 9, 9, 0));
    assert_false(endpoints_build(&e, &host, 9, 9, ENDPOINTS_TRACK));
    assert_true(endpoints_build(&e, &host, 9, 9, ENDPOINTS_TRACK + 1));
    assert_int_equal(e.count, 0);
}

static void a_nat_with_many_ports_is_cut_to_the_newest(void **state)
{
    (void)state;
    struct endpoints e = { .count = 0 };
    struct host_view host = { .count = 0 };
    char text[32];

    for (int i = 1; i <= 100; i++) {
        snprintf(text, sizeof(text), "203.0.113.7:%d", i);
        stun_saw(&e, text, 1, i);
    }
    endpoints_build(&e, &host, 9, 9, 100);
    assert_int_equal(e.count, ENDPOINTS_PER_IP_MAX);
    assert_endpoint(&e, 0, "203.0.113.7:100", UNDERLAY_ENDPOINT_STUN);
    for (int i = 1; i <= 100; i++) {
        snprintf(text, sizeof(text), "203.0.114.%d:1", i);
        stun_saw(&e, text, 1, 100 + i);
    }
    endpoints_build(&e, &host, 9, 9, 200);
    assert_int_equal(e.count, ENDPOINTS_TRACKED_MAX);
}

static void a_fixed_port_is_guessed_behind_a_hard_nat(void **state)
{
    (void)state;
    struct endpoints e = { .count = 0 };
    struct host_view host = { .count = 0 };

    endpoints_note_guess(&e, 41641, 0);
    stun_saw(&e, "203.0.113.7:20001", 1, 0);
    endpoints_note_guess(&e, 41641, 0);
    endpoints_build(&e, &host, 41641, 0, 0);
    assert_int_equal(e.count, 2);
    assert_endpoint(&e, 0, "203.0.113.7:41641", UNDERLAY_ENDPOINT_STUN_LOCAL_PORT);
}

/* ---- what a datagram is --------------------------------------------------------------------- */

static enum datagram_class classify_hex(const char *hex, size_t len)
{
    uint8_t bytes[256] = { 0 };

    from_hex(hex, bytes, sizeof(bytes));
    return datagram_classify(span_make(bytes, len));
}

/* The table of the reference's test of the same decision, by meaning. */
static void datagrams_are_told_apart(void **state)
{
    (void)state;
    static const char *const stun = "010100002112a442";
    static const char *const disco = "5453f09f92ac";

    assert_int_equal(classify_hex(stun, 20), DATAGRAM_STUN);
    assert_int_equal(classify_hex(stun, 19), DATAGRAM_SHORT);
    assert_int_equal(classify_hex("c10100002112a442", 40), DATAGRAM_WIREGUARD);
    assert_int_equal(classify_hex("010200002112a442", 40), DATAGRAM_WIREGUARD);
    assert_int_equal(classify_hex(disco, 38), DATAGRAM_DISCO);
    assert_int_equal(classify_hex(disco, 37), DATAGRAM_WIREGUARD);
    assert_int_equal(classify_hex(disco, 31), DATAGRAM_SHORT);
    assert_int_equal(classify_hex("5453f09f92ad", 60), DATAGRAM_WIREGUARD);
    for (int type = 1; type <= 4; type++) {
        char hex[9];

        snprintf(hex, sizeof(hex), "%02x000000", type);
        assert_int_equal(classify_hex(hex, 148), DATAGRAM_WIREGUARD);
        assert_int_equal(classify_hex(hex, 32), DATAGRAM_WIREGUARD);
        assert_int_equal(classify_hex(hex, 31), DATAGRAM_SHORT);
    }
    assert_int_equal(classify_hex("00007a1200000100", 40), DATAGRAM_GENEVE);
    assert_int_equal(classify_hex("00807a1100000100", 40), DATAGRAM_GENEVE);
    assert_int_equal(classify_hex("00007a1200000101", 40), DATAGRAM_WIREGUARD);
    assert_int_equal(classify_hex("00007a1300000100", 40), DATAGRAM_WIREGUARD);
    assert_int_equal(classify_hex("40007a1200000100", 40), DATAGRAM_WIREGUARD);
    assert_int_equal(classify_hex("07", 1), DATAGRAM_SHORT);
    assert_int_equal(datagram_classify(SPAN_NONE), DATAGRAM_SHORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stun_comes_first_and_the_first_type_wins),
        cmocka_unit_test(the_same_set_in_another_order_is_no_change),
        cmocka_unit_test(what_was_seen_stays_for_five_minutes),
        cmocka_unit_test(a_nat_with_many_ports_is_cut_to_the_newest),
        cmocka_unit_test(a_fixed_port_is_guessed_behind_a_hard_nat),
        cmocka_unit_test(datagrams_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

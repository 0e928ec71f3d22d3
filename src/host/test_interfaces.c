#include "host/interfaces.h"

#include <stdio.h>

#include "check.h"

struct fixture {
    struct interfaces t;
};

static struct ip ip_of(const char *text)
{
    struct ip ip;

    assert_true(ip_parse(span_from_str(text), &ip));
    return ip;
}

static unsigned give(struct fixture *f, uint32_t index, const char *ip)
{
    struct interface_address a = { .ip = ip_of(ip), .interface = index, .prefix_bits = 64, .usable = true };

    return interfaces_address_set(&f->t, &a);
}

static void up(struct fixture *f, uint32_t index, const char *name)
{
    interfaces_link(&f->t, index, true, interfaces_classify(name, NULL, strcmp(name, "lo") == 0));
}

/* The view as one line. */
static const char *view(struct fixture *f, char out[2048])
{
    struct host_view v;
    char text[IP_TEXT_BYTES];

    interfaces_view(&f->t, &v);
    out[0] = '\0';
    for (uint32_t i = 0; i < v.count; i++) {
        strcat(out, i ? " " : "");
        strcat(out, ip_text(&v.addresses[i], text));
    }
    return out;
}

#define assert_view(f, want)                        \
    do {                                            \
        char line[2048];                            \
        assert_string_equal(view((f), line), want); \
    } while (0)

/* A host as found in the wild: wired, with containers, another overlay and a tailnet. */
static struct fixture wild(void)
{
    struct fixture f;

    interfaces_init(&f.t);
    up(&f, 1, "lo");
    up(&f, 2, "eth0");
    up(&f, 3, "docker0");
    up(&f, 4, "ztabc");
    up(&f, 5, "tun7");
    give(&f, 1, "127.0.0.1");
    give(&f, 1, "::1");
    give(&f, 2, "192.168.1.5");
    give(&f, 2, "2001:db8::5");
    give(&f, 2, "fd12::5");
    give(&f, 3, "172.17.0.1");
    give(&f, 4, "10.147.0.3");
    give(&f, 5, "100.101.102.103");
    give(&f, 5, "fd7a:115c:a1e0::1");
    return f;
}

static void only_addresses_that_others_can_use_are_shown(void **state)
{
    (void)state;
    struct fixture f = wild();

    assert_view(&f, "192.168.1.5 2001:db8::5");
    interfaces_deinit(&f.t);
}

static void worse_addresses_serve_when_there_is_nothing_better(void **state)
{
    (void)state;
    struct fixture f = wild();
    struct ip gone = ip_of("192.168.1.5");

    interfaces_address_gone(&f.t, 2, &gone);
    gone = ip_of("2001:db8::5");
    interfaces_address_gone(&f.t, 2, &gone);
    assert_view(&f, "fd12::5");
    give(&f, 2, "169.254.3.4");
    assert_view(&f, "169.254.3.4 fd12::5");
    interfaces_link(&f.t, 2, false, INTERFACE_ORDINARY);
    assert_view(&f, "172.17.0.1");
    interfaces_link_gone(&f.t, 3);
    assert_view(&f, "::1 127.0.0.1");
    interfaces_deinit(&f.t);
}

/* Inside a container the one interface is an end of a pair, and it is the way out. */
static void a_container_interface_with_the_default_route_counts(void **state)
{
    (void)state;
    struct fixture f = wild();

    f.t.default_v4 = (struct interface_route) { .interface = 3, .gateway = ip_of("172.17.0.254") };
    assert_view(&f, "172.17.0.1 192.168.1.5 2001:db8::5");
    interfaces_deinit(&f.t);
}

static void names_and_kinds_have_classes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *kind;
        enum interface_class class;
    } rows[] = {
        { "eth0", NULL, INTERFACE_ORDINARY },      { "enp3s0", NULL, INTERFACE_ORDINARY },
        { "wlan0", NULL, INTERFACE_ORDINARY },     { "bond0", "bond", INTERFACE_ORDINARY },
        { "eth0.5", "vlan", INTERFACE_ORDINARY },  { "wg0", "wireguard", INTERFACE_ORDINARY },
        { "docker0", NULL, INTERFACE_CONTAINER },  { "br-0123456789ab", "bridge", INTERFACE_CONTAINER },
        { "lan", "bridge", INTERFACE_CONTAINER },  { "eth0", "veth", INTERFACE_CONTAINER },
        { "cali12ab", NULL, INTERFACE_CONTAINER }, { "ztks54ly", "tun", INTERFACE_TUNNEL },
        { "wt0", NULL, INTERFACE_TUNNEL },         { "wt01", NULL, INTERFACE_ORDINARY },
        { "tailscale0", "tun", INTERFACE_TUNNEL },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(interfaces_classify(rows[i].name, rows[i].kind, false), rows[i].class);
    assert_int_equal(interfaces_classify("lo", NULL, true), INTERFACE_LOOPBACK);
}

static void chrome_os_guests_keep_their_range(void **state)
{
    (void)state;
    struct fixture f;

    interfaces_init(&f.t);
    up(&f, 2, "eth0");
    give(&f, 2, "100.115.92.5");
    give(&f, 2, "100.115.94.5");
    give(&f, 2, "100.63.0.1");
    give(&f, 2, "100.128.0.1");
    assert_view(&f, "100.63.0.1 100.115.92.5 100.128.0.1");
    interfaces_deinit(&f.t);
}

static void temporary_addresses_do_not_pile_up(void **state)
{
    (void)state;
    struct fixture f;

    interfaces_init(&f.t);
    up(&f, 2, "eth0");
    give(&f, 2, "2001:db8::3");
    give(&f, 2, "2001:db8::1");
    give(&f, 2, "2001:db8::2");
    give(&f, 2, "2001:db8:0:1::1");
    assert_view(&f, "2001:db8::1 2001:db8::2 2001:db8:0:1::1");
    interfaces_deinit(&f.t);
}

static void unusable_and_repeated_addresses_are_not_shown(void **state)
{
    (void)state;
    struct fixture f;
    struct interface_address a = { .ip = ip_of("192.0.2.9"), .interface = 2 };

    interfaces_init(&f.t);
    up(&f, 2, "eth0");
    up(&f, 3, "eth1");
    interfaces_address_set(&f.t, &a); /* tentative */
    assert_view(&f, "");
    a.usable = true;
    assert_int_equal(interfaces_address_set(&f.t, &a), INTERFACES_VIEW);
    assert_view(&f, "192.0.2.9");
    give(&f, 3, "192.0.2.9");
    assert_view(&f, "192.0.2.9");
    interfaces_deinit(&f.t);
}

static void only_real_changes_are_changes(void **state)
{
    (void)state;
    struct fixture f = wild();
    struct ip unknown = ip_of("192.0.2.77");

    f.t.default_v4.interface = 2;
    assert_int_equal(give(&f, 2, "192.168.1.5"), 0);
    assert_int_equal(interfaces_address_gone(&f.t, 2, &unknown), 0);
    assert_int_equal(interfaces_link(&f.t, 9, true, INTERFACE_CONTAINER), 0); /* new, and without address */
    assert_int_equal(interfaces_link(&f.t, 9, false, INTERFACE_CONTAINER), 0);
    assert_int_equal(interfaces_link_gone(&f.t, 9), 0);
    assert_int_equal(interfaces_link_gone(&f.t, 9), 0);
    assert_int_equal(interfaces_link(&f.t, 3, false, INTERFACE_CONTAINER), INTERFACES_VIEW);
    assert_int_equal(interfaces_link(&f.t, 2, false, INTERFACE_ORDINARY), INTERFACES_VIEW | INTERFACES_ROUTE);
    interfaces_deinit(&f.t);
}

static void limits_hold(void **state)
{
    (void)state;
    struct fixture f;
    struct host_view v;
    char text[32];

    interfaces_init(&f.t);
    for (uint32_t i = HOST_INTERFACES_MAX + 5; i > 0; i--)
        up(&f, i, "eth0");
    assert_int_equal(f.t.count, HOST_INTERFACES_MAX);
    for (int i = 0; i < HOST_ADDRESSES_MAX + 5; i++) {
        snprintf(text, sizeof(text), "10.0.%d.%d", i / 250, i % 250);
        give(&f, 100, text);
    }
    assert_int_equal(f.t.address_count, HOST_ADDRESSES_MAX);
    assert_int_equal(f.t.counters.ignored, 10);
    interfaces_view(&f.t, &v);
    assert_int_equal(v.count, HOST_USABLE_MAX);
    for (size_t i = 1; i < f.t.count; i++)
        assert_true(f.t.list[i - 1].index < f.t.list[i].index);
    interfaces_deinit(&f.t);
}

static void bursts_that_change_nothing_are_looked_at_less_often(void **state)
{
    (void)state;
    struct interfaces_patience p = { 0 };
    time_ns now = 100 * SEC;
    int looks = 0;

    assert_int_equal(interfaces_settle(&p, now), HOST_SETTLE); /* the first one is not made to wait */
    for (time_ns end = now + 60 * SEC; now < end; looks++) {   /* something comes or goes all the time */
        now += interfaces_settle(&p, now);
        interfaces_settled(&p, false, now);
    }
    assert_in_range(looks, 30, 32);
    assert_int_equal(interfaces_settle(&p, now), HOST_SETTLE_MAX);
    interfaces_settled(&p, true, now += HOST_SETTLE_MAX); /* this one was about us */
    assert_int_equal(interfaces_settle(&p, now), HOST_SETTLE);
    interfaces_settled(&p, false, now);
    assert_int_equal(interfaces_settle(&p, now + HOST_CALM - 1), 2 * HOST_SETTLE);
    assert_int_equal(interfaces_settle(&p, now + HOST_CALM), HOST_SETTLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_addresses_that_others_can_use_are_shown),
        cmocka_unit_test(worse_addresses_serve_when_there_is_nothing_better),
        cmocka_unit_test(a_container_interface_with_the_default_route_counts),
        cmocka_unit_test(names_and_kinds_have_classes),
        cmocka_unit_test(chrome_os_guests_keep_their_range),
        cmocka_unit_test(temporary_addresses_do_not_pile_up),
        cmocka_unit_test(unusable_and_repeated_addresses_are_not_shown),
        cmocka_unit_test(only_real_changes_are_changes),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(bursts_that_change_nothing_are_looked_at_less_often),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

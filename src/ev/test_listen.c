#include <errno.h>
#include <unistd.h>

#include "check.h"
#include "ev/ev.h"

static const uint8_t loopback[4] = { 127, 0, 0, 1 };

static struct ip_port anywhere_on_loopback(void)
{
    return (struct ip_port) { .ip = ip_from_v4(loopback) };
}

static void a_listener_takes_connections_on_the_port_it_names(void **state)
{
    (void)state;
    struct ip_port at = anywhere_on_loopback();
    int listener = -1, client = -1, server = -1;

    assert_int_equal(ev_tcp_listen(&at, &listener, &at.port), 0);
    assert_int_not_equal(at.port, 0);
    assert_int_equal(ev_accept(listener, &server), -EAGAIN);
    assert_int_equal(ev_tcp_connect(&at, &client), 0);
    assert_int_equal(ev_accept(listener, &server), 0);
    ev_close(&client);
    ev_close(&server);
    ev_close(&listener);
}

static void a_port_is_given_to_one_listener_only(void **state)
{
    (void)state;
    struct ip_port at = anywhere_on_loopback();
    int first = -1, second = -1;
    uint16_t port;

    assert_int_equal(ev_tcp_listen(&at, &first, &at.port), 0);
    assert_int_equal(ev_tcp_listen(&at, &second, &port), -EADDRINUSE);
    assert_int_equal(second, -1);
    ev_close(&first);
}

static void a_datagram_tells_where_it_came_from_and_can_be_answered(void **state)
{
    (void)state;
    struct ip_port a_at = anywhere_on_loopback(), b_at = a_at, from;
    int a = -1, b = -1;
    char got[16];

    assert_int_equal(ev_udp_listen(&a_at, &a, &a_at.port), 0);
    assert_int_equal(ev_udp_listen(&b_at, &b, &b_at.port), 0);
    assert_int_equal(ev_receive_from(a, got, sizeof(got), &from), -EAGAIN);
    assert_int_equal(ev_send_to(b, &a_at, span_from_str("ask")), 0);
    assert_int_equal(ev_receive_from(a, got, sizeof(got), &from), 3);
    assert_true(ip_port_equal(&from, &b_at));
    assert_int_equal(ev_send_to(a, &from, span_from_str("tell")), 0);
    assert_int_equal(ev_receive_from(b, got, sizeof(got), &from), 4);
    assert_memory_equal(got, "tell", 4);
    ev_close(&a);
    ev_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_takes_connections_on_the_port_it_names),
        cmocka_unit_test(a_port_is_given_to_one_listener_only),
        cmocka_unit_test(a_datagram_tells_where_it_came_from_and_can_be_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "ev/internal.h"

struct receiver {
    struct ev_udp *udp;
    size_t bytes, datagrams, calls;
    struct ip_port last_from;
    uint8_t next;
    bool close_at_once;
};

static void on_datagrams(void *owner, struct ev_datagram *datagrams, size_t count, time_ns now)
{
    struct receiver *r = owner;

    (void)now;
    r->calls++;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(datagrams[i].bytes.data[0], r->next++);
        r->bytes += datagrams[i].bytes.len;
        r->datagrams++;
        r->last_from = datagrams[i].from;
    }
    if (r->close_at_once)
        ev_udp_close(r->udp);
}

static void run_until(struct ev_loop *loop, struct receiver *r, size_t datagrams)
{
    for (int i = 0; i < 1000 && r->datagrams < datagrams; i++)
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_int_equal(r->datagrams, datagrams);
}

/* What one call sends arrives as the datagrams it described, in order, the last one short. */
static void segments_arrive_one_by_one(void **state)
{
    (void)state;
    static uint8_t bytes[40 * 1312 + 100];
    struct receiver in = { 0 }, out = { 0 };
    struct ip_port to = { ip_from_v4((const uint8_t[4]) { 127, 0, 0, 1 }), 0 };
    struct ev_loop *loop;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&in.udp, loop, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    to.port = ev_udp_port(in.udp, true);
    for (size_t i = 0; i <= 40; i++)
        bytes[i * 1312] = (uint8_t)i;
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), 1312), 0);
    run_until(loop, &in, 41);
    assert_int_equal(in.bytes, sizeof(bytes));
    assert_int_equal(in.last_from.port, ev_udp_port(out.udp, true));
    ev_udp_close(in.udp);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

/* The kernel of the program under test: with IPv6 or without. */
static bool without_ipv6;

int socket(int family, int type, int protocol)
{
    if (family == AF_INET6 && without_ipv6) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return (int)syscall(SYS_socket, family, type, protocol);
}

static bool host_has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static const struct ip loopback_v4 = { { [10] = 0xff, 0xff, 127, 0, 0, 1 } }, loopback_v6 = { { [15] = 1 } };

static void both_families_arrive_on_one_port_and_descriptor(void **state)
{
    (void)state;
    static uint8_t bytes[3 * 1200] = { 0 };
    struct receiver in = { 0 }, out = { 0 };
    struct ip_port to = { loopback_v4, 0 };
    struct ev_loop *loop;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&in.udp, loop, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    to.port = ev_udp_port(in.udp, true);
    assert_int_equal(ev_udp_port(in.udp, false), host_has_ipv6() ? to.port : 0);
    for (uint8_t i = 0; i < 3; i++)
        bytes[1200 * i] = i;
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), 1200), 0);
    run_until(loop, &in, 3);
    assert_true(ip_equal(&in.last_from.ip, &loopback_v4));
    for (uint8_t i = 0; i < 3; i++)
        bytes[1200 * i] = 3 + i;
    to.ip = loopback_v6;
    if (host_has_ipv6()) {
        assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), 1200), 0);
        run_until(loop, &in, 6);
        assert_true(ip_equal(&in.last_from.ip, &loopback_v6));
    }
    ev_udp_close(in.udp);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

static void a_host_without_ipv6_has_ipv4(void **state)
{
    (void)state;
    static uint8_t byte[1] = { 0 };
    struct receiver in = { 0 }, out = { 0 };
    struct ip_port to = { loopback_v4, 0 };
    struct ev_loop *loop;

    without_ipv6 = true;
    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&in.udp, loop, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    assert_int_equal(ev_udp_port(in.udp, false), 0);
    to.port = ev_udp_port(in.udp, true);
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(byte), 1), 0);
    run_until(loop, &in, 1);
    assert_true(ip_port_equal(&in.last_from, &(struct ip_port) { loopback_v4, ev_udp_port(out.udp, true) }));
    to.ip = loopback_v6;
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(byte), 1), -EAFNOSUPPORT);
    without_ipv6 = false; /* it came back: fresh sockets find it */
    assert_int_equal(ev_udp_rebind(in.udp), 0);
    assert_int_equal(ev_udp_port(in.udp, false), host_has_ipv6() ? to.port : 0);
    ev_udp_close(in.udp);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

/* Half a port would be found by nobody who looks for the other half. */
static void a_port_that_is_taken_in_one_family_is_refused(void **state)
{
    (void)state;
    static const int families[] = { AF_INET, AF_INET6 };
    int on = 1;

    for (size_t i = 0; i < (host_has_ipv6() ? 2 : 1); i++) {
        struct sockaddr_in6 a = { .sin6_family =
                                      (sa_family_t)families[i] }; /* the port is at the same place */
        socklen_t len = families[i] == AF_INET ? sizeof(struct sockaddr_in) : sizeof(a);
        int fd = socket(families[i], SOCK_DGRAM, 0);
        struct receiver in = { 0 };
        struct ev_loop *loop;

        if (families[i] == AF_INET6)
            assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        assert_int_equal(ev_loop_new(&loop), 0);
        assert_int_equal(ev_udp_open(&in.udp, loop, ntohs(a.sin6_port), on_datagrams, &in), -EADDRINUSE);
        close(fd);
        ev_loop_free(loop);
    }
}

/* What the kernel says of one datagram is what the caller hears, in both families. */
static void a_datagram_too_long_is_told(void **state)
{
    (void)state;
    static uint8_t bytes[65535];
    struct ip_port to = { loopback_v4, 9 };
    struct receiver out = { 0 };
    struct ev_loop *loop;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), sizeof(bytes)), -EMSGSIZE);
    to.ip = loopback_v6;
    if (host_has_ipv6())
        assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), sizeof(bytes)), -EMSGSIZE);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

/* A fresh socket, the port as before, and both directions work. */
static void a_rebound_socket_keeps_its_port(void **state)
{
    (void)state;
    static uint8_t bytes[10] = { 0 }, more[10] = { 1 };
    struct receiver in = { 0 }, out = { 0 };
    struct ip_port to = { ip_from_v4((const uint8_t[4]) { 127, 0, 0, 1 }), 0 };
    struct ev_loop *loop;
    uint16_t port;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&in.udp, loop, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    to.port = port = ev_udp_port(in.udp, true);
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), sizeof(bytes)), 0);
    run_until(loop, &in, 1);
    assert_int_equal(ev_udp_rebind(in.udp), 0);
    assert_int_equal(ev_udp_rebind(out.udp), 0);
    assert_int_equal(ev_udp_port(in.udp, true), port);
    assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(more), sizeof(more)), 0);
    run_until(loop, &in, 2);
    ev_udp_close(in.udp);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

/* The system call, counted. */
static int receive_calls;

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    receive_calls++;
    return (int)syscall(SYS_recvmmsg, fd, messages, count, flags, timeout);
}

static void a_lone_datagram_costs_one_call(void **state)
{
    (void)state;
    static uint8_t bytes[3][10] = { { 0 }, { 1 }, { 2 } };
    struct receiver in = { 0 }, out = { 0 };
    struct ip_port to = { ip_from_v4((const uint8_t[4]) { 127, 0, 0, 1 }), 0 };
    struct ev_loop *loop;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&in.udp, loop, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    to.port = ev_udp_port(in.udp, true);
    receive_calls = 0;
    for (int i = 0; i < 3; i++) { /* and none is left lying */
        assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes[i]), 10), 0);
        run_until(loop, &in, (size_t)i + 1);
        assert_int_equal(receive_calls, i + 1);
    }
    ev_udp_close(in.udp);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

/* What leaves a socket does not wake the loop: only what arrives does. */
static void sending_does_not_wake(void **state)
{
    (void)state;
    static uint8_t bytes[1000];
    struct receiver in = { 0 }, out = { 0 };
    struct ip_port to = { ip_from_v4((const uint8_t[4]) { 127, 0, 0, 1 }), 0 };
    struct ev_loop *loop, *other;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_loop_new(&other), 0);
    assert_int_equal(ev_udp_open(&in.udp, other, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    to.port = ev_udp_port(in.udp, true);
    for (uint8_t i = 0; i < 20; i++) {
        bytes[0] = i;
        assert_int_equal(ev_udp_send(out.udp, &to, SPAN_OF(bytes), sizeof(bytes)), 0);
    }
    run_until(other, &in, 20);
    struct epoll_event event;
    assert_int_equal(epoll_wait(loop->epoll_fd, &event, 1, 0), 0);
    ev_udp_close(in.udp);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
    ev_loop_free(other);
}

static void the_owner_may_close_in_the_callback(void **state)
{
    (void)state;
    struct receiver in = { .close_at_once = true }, out = { 0 };
    struct ip_port to = { .ip = { { [15] = 1 } } };
    struct ev_loop *loop;
    uint8_t byte = 0;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_udp_open(&in.udp, loop, 0, on_datagrams, &in), 0);
    assert_int_equal(ev_udp_open(&out.udp, loop, 0, on_datagrams, &out), 0);
    if (!ev_udp_port(in.udp, false))
        to.ip = ip_from_v4((const uint8_t[4]) { 127, 0, 0, 1 }); /* a host without IPv6 */
    to.port = ev_udp_port(in.udp, ip_is_v4(&to.ip));
    assert_int_equal(ev_udp_send(out.udp, &to, span_make(&byte, 1), 1), 0);
    run_until(loop, &in, 1);
    ev_udp_close(out.udp);
    ev_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_arrive_one_by_one),
        cmocka_unit_test(both_families_arrive_on_one_port_and_descriptor),
        cmocka_unit_test(a_host_without_ipv6_has_ipv4),
        cmocka_unit_test(a_port_that_is_taken_in_one_family_is_refused),
        cmocka_unit_test(a_datagram_too_long_is_told),
        cmocka_unit_test(a_rebound_socket_keeps_its_port),
        cmocka_unit_test(a_lone_datagram_costs_one_call),
        cmocka_unit_test(sending_does_not_wake),
        cmocka_unit_test(the_owner_may_close_in_the_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

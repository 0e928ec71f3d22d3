/* Sockets on loopback, driven by a real loop. Nothing waits for longer than a few milliseconds,
 * except where the head start itself is the subject. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream/internal.h"

struct seen {
    unsigned all, last;
    bool close;
};

static void note(struct stream *s, unsigned events, time_ns now)
{
    struct seen *seen = s->owner;

    (void)now;
    seen->all |= events;
    seen->last = events;
    if (seen->close)
        stream_close(s);
}

/* A listening socket on 127.0.0.1; its port. */
static int listen_v4(int backlog, uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* Nobody listens there. */
static uint16_t closed_port(void)
{
    uint16_t port;
    int fd = listen_v4(1, &port);

    close(fd);
    return port;
}

static struct ip ip_of(const char *text)
{
    struct ip ip;

    assert_true(ip_parse(span_from_str(text), &ip));
    return ip;
}

static void turn_until(struct ev_loop *loop, const struct seen *seen, unsigned wanted)
{
    time_ns limit = ev_clock() + 60 * SEC; /* only bounds a hang */

    while (!(seen->all & wanted) && ev_clock() < limit)
        assert_int_equal(ev_loop_turn(loop, 50 * MSEC), 0);
    assert_true(seen->all & wanted);
}

static int setup(void **state)
{
    return ev_loop_new((struct ev_loop **)state);
}

static int teardown(void **state)
{
    ev_loop_free(*state);
    return 0;
}

static void two_sockets_talk(void **state)
{
    struct ev_loop *loop = *state;
    struct seen saw_client = { 0 }, saw_server = { 0 };
    struct stream *client, *server;
    struct ip_port to = { ip_of("127.0.0.1"), 0 };
    int listener = listen_v4(4, &to.port), fd = -1;
    char text[8];

    assert_int_equal(stream_tcp_connect(&client, loop, &to), 0);
    stream_set_owner(client, &saw_client, note);
    assert_int_equal(stream_write(client, span_from_str("early")), -EAGAIN);
    turn_until(loop, &saw_client, STREAM_CONNECTED);
    assert_int_equal(ev_accept(listener, &fd), 0);
    assert_int_equal(stream_tcp_accept(&server, loop, fd), 0);
    stream_set_owner(server, &saw_server, note);
    turn_until(loop, &saw_server, STREAM_CONNECTED);

    assert_int_equal(stream_write(client, span_from_str("hello")), 5);
    stream_shutdown(client);
    turn_until(loop, &saw_server, STREAM_READABLE);
    assert_int_equal(stream_read(server, text, sizeof(text)), 5);
    assert_int_equal(stream_read(server, text, sizeof(text)), 0);
    assert_int_equal(stream_write(server, span_from_str("bye")), 3);
    turn_until(loop, &saw_client, STREAM_READABLE);
    assert_int_equal(stream_read(client, text, sizeof(text)), 3);
    stream_close(client);
    stream_close(server);
    close(listener);
}

/* An abort is no end: the other side reads an error, after what came before. */
static void an_abort_resets(void **state)
{
    struct ev_loop *loop = *state;
    struct ip_port to = { ip_of("127.0.0.1"), 0 };
    int listener = listen_v4(4, &to.port);

    for (int abort = 0; abort < 2; abort++) {
        struct seen saw_client = { 0 }, saw_server = { 0 };
        struct stream *client, *server;
        int fd = -1;
        char byte;

        assert_int_equal(stream_tcp_connect(&client, loop, &to), 0);
        stream_set_owner(client, &saw_client, note);
        turn_until(loop, &saw_client, STREAM_CONNECTED);
        assert_int_equal(ev_accept(listener, &fd), 0);
        assert_int_equal(stream_tcp_accept(&server, loop, fd), 0);
        stream_set_owner(server, &saw_server, note);
        turn_until(loop, &saw_server, STREAM_CONNECTED);
        if (abort)
            stream_abort(client);
        else
            stream_close(client);
        turn_until(loop, &saw_server, STREAM_READABLE);
        assert_int_equal(stream_read(server, &byte, 1), abort ? -ECONNRESET : 0);
        stream_close(server);
    }
    close(listener);
}

static void refused_is_told_in_words(void **state)
{
    struct ev_loop *loop = *state;
    struct seen seen = { 0 };
    struct stream *s;
    char why[STREAM_FAILURE_BYTES], byte;
    struct ip_port to = { ip_of("127.0.0.1"), closed_port() };

    assert_int_equal(stream_tcp_connect(&s, loop, &to), 0);
    stream_set_owner(s, &seen, note);
    turn_until(loop, &seen, STREAM_FAILED);
    assert_false(seen.all & STREAM_CONNECTED);
    assert_int_equal(stream_read(s, &byte, 1), -ECONNREFUSED);
    assert_int_equal(stream_write(s, span_from_str("x")), -ECONNREFUSED);
    assert_string_equal(stream_failure(s, why), "connection refused");
    stream_close(s);
}

static void dial(struct ev_loop *loop, struct stream **s, struct seen *seen, const struct stream_dial *to)
{
    *seen = (struct seen) { 0 };
    assert_int_equal(stream_dial(s, loop, to), 0);
    stream_set_owner(*s, seen, note);
    assert_int_equal(stream_write(*s, span_from_str("early")), -EAGAIN);
}

/* How long the fastest of some runs took: a machine that is short of time may disturb one, but no run is
 * fast where the code waits. */
static bool ever_within(time_ns limit, time_ns (*run)(struct ev_loop *loop), struct ev_loop *loop)
{
    for (int i = 0; i < 10; i++)
        if (run(loop) < limit)
            return true;
    return false;
}

static time_ns refused_then_accepted(struct ev_loop *loop)
{
    struct ip addresses[] = { ip_of("::1"), ip_of("127.0.0.1") };
    struct stream_dial to = { .addresses = addresses, .address_count = 2 };
    struct seen seen;
    struct stream *s;
    int listener = listen_v4(4, &to.port);
    time_ns begun = ev_clock(), took;

    dial(loop, &s, &seen, &to);
    turn_until(loop, &seen, STREAM_CONNECTED | STREAM_FAILED);
    took = ev_clock() - begun;
    assert_true(seen.all & STREAM_CONNECTED);
    assert_int_equal(stream_write(s, span_from_str("x")), 1);
    stream_close(s);
    close(listener);
    return took;
}

/* The first address refuses, so the second is tried at once, not after the head start. */
static void the_next_address_is_tried(void **state)
{
    assert_true(ever_within(STREAM_DIAL_HEADSTART, refused_then_accepted, *state));
}

static void a_literal_host_is_dialed(void **state)
{
    struct ev_loop *loop = *state;
    struct stream_dial to = { .host = "127.0.0.1" };
    struct seen seen;
    struct stream *s;
    int listener = listen_v4(4, &to.port);

    dial(loop, &s, &seen, &to);
    turn_until(loop, &seen, STREAM_CONNECTED);
    stream_close(s);
    close(listener);
}

static int option_of(const struct stream *s, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(CONTAINER_OF(s, struct tcp_stream, base)->io.fd, level, option, &value, &len),
                     0);
    return value;
}

/* Three probes, a third of the silence apart; nothing where nobody asks. */
static void silence_is_probed_where_the_caller_asks(void **state)
{
    struct ev_loop *loop = *state;
    struct stream_dial to = { .host = "127.0.0.1", .keep_alive = 30 * SEC }, plain = { .host = "127.0.0.1" };
    struct seen seen, seen_plain;
    struct stream *s, *without;
    int listener = listen_v4(4, &to.port);

    plain.port = to.port;
    dial(loop, &s, &seen, &to);
    dial(loop, &without, &seen_plain, &plain);
    turn_until(loop, &seen, STREAM_CONNECTED);
    turn_until(loop, &seen_plain, STREAM_CONNECTED);
    assert_int_equal(option_of(s, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(s, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    assert_int_equal(option_of(s, IPPROTO_TCP, TCP_KEEPINTVL), 10);
    assert_int_equal(option_of(s, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_int_equal(option_of(without, SOL_SOCKET, SO_KEEPALIVE), 0);
    stream_close(s);
    stream_close(without);
    close(listener);
}

static void every_address_refused_is_a_failure(void **state)
{
    struct ev_loop *loop = *state;
    struct ip addresses[] = { ip_of("127.0.0.1"), ip_of("127.0.0.2"), ip_of("::1") };
    struct stream_dial to = { .addresses = addresses, .address_count = 3, .port = closed_port() };
    char why[STREAM_FAILURE_BYTES];
    struct seen seen;
    struct stream *s;

    dial(loop, &s, &seen, &to);
    turn_until(loop, &seen, STREAM_FAILED);
    assert_string_equal(stream_failure(s, why), "connection refused");
    stream_close(s);

    to.without_v4 = to.without_v6 = true;
    dial(loop, &s, &seen, &to);
    turn_until(loop, &seen, STREAM_FAILED);
    stream_close(s);
}

/* Linux drops the SYN when the backlog is full: an address that keeps silent. */
static void silence_is_given_up(void **state)
{
    struct ev_loop *loop = *state;
    struct ip address = ip_of("127.0.0.1");
    struct stream_dial to = { .addresses = &address, .address_count = 1, .attempt = 20 * MSEC };
    struct stream *filler[4], *s;
    struct seen seen, filled = { 0 };
    char why[STREAM_FAILURE_BYTES];
    int listener = listen_v4(0, &to.port);

    for (size_t i = 0; i < COUNT_OF(filler); i++) {
        assert_int_equal(stream_tcp_connect(&filler[i], loop, &(struct ip_port) { address, to.port }), 0);
        stream_set_owner(filler[i], &filled, note);
    }
    turn_until(loop, &filled, STREAM_CONNECTED);
    dial(loop, &s, &seen, &to);
    turn_until(loop, &seen, STREAM_FAILED);
    assert_string_equal(stream_failure(s, why), "no answer in time");
    stream_close(s);

    to.attempt = 0;
    to.timeout = 20 * MSEC; /* and the limit over everything */
    dial(loop, &s, &seen, &to);
    turn_until(loop, &seen, STREAM_FAILED);
    stream_close(s);
    for (size_t i = 0; i < COUNT_OF(filler); i++)
        stream_close(filler[i]);
    close(listener);
}

/* A silent address holds its successor up for the head start only. */
static time_ns silent_then_accepted(struct ev_loop *loop)
{
    struct ip addresses[] = { ip_of("127.0.0.1"), ip_of("127.0.0.1") };
    struct stream_dial to = { .addresses = addresses, .address_count = 2 };
    struct stream *filler[4], *s;
    struct seen seen, filled = { 0 };
    int listener = listen_v4(0, &to.port), fd;
    time_ns begun, took;

    for (size_t i = 0; i < COUNT_OF(filler); i++) {
        assert_int_equal(stream_tcp_connect(&filler[i], loop, &(struct ip_port) { addresses[0], to.port }),
                         0);
        stream_set_owner(filler[i], &filled, note);
    }
    turn_until(loop, &filled, STREAM_CONNECTED);
    dial(loop, &s, &seen, &to);
    begun = ev_clock();
    for (int i = 0; i < 5; i++)
        assert_int_equal(ev_loop_turn(loop, 10 * MSEC), 0);
    assert_int_equal(seen.all, 0);
    while (ev_accept(listener, &fd) == 0) /* room for one; the first SYN comes again after a second */
        close(fd);
    turn_until(loop, &seen, STREAM_CONNECTED);
    took = ev_clock() - begun;
    stream_close(s);
    for (size_t i = 0; i < COUNT_OF(filler); i++)
        stream_close(filler[i]);
    close(listener);
    return took;
}

/* The kernel would repeat the first SYN after a second. */
static void silence_costs_the_headstart(void **state)
{
    assert_true(ever_within(800 * MSEC, silent_then_accepted, *state));
}

/* Closing at any stage leaves nothing behind (the sanitizer and ev_loop_free watch). */
static void a_dial_can_be_dropped_at_any_time(void **state)
{
    struct ev_loop *loop = *state;
    struct ip addresses[] = { ip_of("127.0.0.1"), ip_of("::1") };
    struct stream_dial to = { .addresses = addresses, .address_count = 2 };
    struct seen seen;
    struct stream *s;
    int listener = listen_v4(4, &to.port);

    dial(loop, &s, &seen, &to);
    stream_close(s);
    dial(loop, &s, &seen, &to);
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    stream_close(s);
    to.address_count = 0;
    to.host = "127.0.0.1";
    dial(loop, &s, &seen, &to);
    stream_close(s);
    dial(loop, &s, &seen, &to);
    seen.close = true; /* in its own event */
    turn_until(loop, &seen, STREAM_CONNECTED);
    to.port = closed_port();
    dial(loop, &s, &seen, &to);
    seen.close = true;
    turn_until(loop, &seen, STREAM_FAILED);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_sockets_talk, setup, teardown),
        cmocka_unit_test_setup_teardown(an_abort_resets, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_is_told_in_words, setup, teardown),
        cmocka_unit_test_setup_teardown(the_next_address_is_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(a_literal_host_is_dialed, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_is_probed_where_the_caller_asks, setup, teardown),
        cmocka_unit_test_setup_teardown(every_address_refused_is_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_costs_the_headstart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dial_can_be_dropped_at_any_time, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which destinations a proxy is asked for, and the asking, over real sockets on loopback. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream/internal.h"

static struct stream_proxies *proxies_of(const char *tls, const char *plain, const char *no_proxy)
{
    struct stream_proxy_settings s = { .for_tls = tls, .for_plain = plain, .no_proxy = no_proxy };
    struct stream_proxies *p = NULL;
    char why[STREAM_WHY_BYTES];

    assert_int_equal(stream_proxies_new(&p, &s, why), 0);
    return p;
}

static bool goes_through(const char *no_proxy, const char *host, uint16_t port)
{
    struct stream_proxies *p = proxies_of("proxy:3128", NULL, no_proxy);
    bool through = forward_proxy_pick(p, host, port, true);

    stream_proxies_free(p);
    return through;
}

static void exceptions_are_kept(void **state)
{
    (void)state;
    assert_true(goes_through(NULL, "control.example.com", 443));
    assert_true(goes_through("example.org, xample.com", "control.example.com", 443));
    assert_false(goes_through("a, example.com", "control.example.com", 443));
    assert_false(goes_through("EXAMPLE.com", "example.com.", 443));
    assert_true(goes_through(".example.com", "example.com", 443));
    assert_false(goes_through("*.example.com", "control.example.com", 443));
    assert_true(goes_through("example.com:8443", "example.com", 443));
    assert_false(goes_through("example.com:8443", "example.com", 8443));
    assert_false(goes_through("*", "example.com", 443));
    assert_false(goes_through("10.0.0.0/8", "10.1.2.3", 443));
    assert_true(goes_through("10.0.0.0/8", "11.1.2.3", 443));
    assert_false(goes_through("fd00::/8", "fd00::1", 443));
    assert_false(goes_through("[2001:db8::1]:443", "2001:db8::1", 443));
    assert_true(goes_through("[2001:db8::1]:444", "2001:db8::1", 443));
    assert_false(goes_through("10.1.2.3:80,10.1.2.3:443", "10.1.2.3", 443));
}

static void this_machine_is_never_behind_the_proxy(void **state)
{
    (void)state;
    assert_false(goes_through(NULL, "localhost", 443));
    assert_false(goes_through(NULL, "127.0.0.9", 443));
    assert_false(goes_through(NULL, "::1", 443));
}

static void tls_and_plain_have_their_own_proxy(void **state)
{
    struct stream_proxies *p = proxies_of("http://secure:1", "http://joe:p%40ss@plain/", NULL);
    const struct forward_proxy *tls = forward_proxy_pick(p, "h", 443, true);
    const struct forward_proxy *plain = forward_proxy_pick(p, "h", 80, false);

    (void)state;
    assert_string_equal(tls->host, "secure");
    assert_int_equal(tls->port, 1);
    assert_null(tls->authorization);
    assert_string_equal(plain->host, "plain");
    assert_int_equal(plain->port, 80);
    assert_string_equal(plain->authorization, "Basic am9lOnBAc3M="); /* joe:p@ss */
    stream_proxies_free(p);
}

static void unusable_settings_are_refused_without_quoting_them(void **state)
{
    static const char *const bad[] = { "https://h:1", "socks5://h", "h:0", "h:x", "http://u:secret@", "h/p" };
    struct stream_proxies *p = NULL;
    char why[STREAM_WHY_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct stream_proxy_settings s = { .for_tls = bad[i] };

        assert_int_equal(stream_proxies_new(&p, &s, why), 1);
        assert_non_null(strstr(why, "HTTPS_PROXY"));
        assert_null(strstr(why, "secret"));
    }
}

/* ---- the asking ---- */

struct world {
    struct ev_loop *loop;
    int listener, peer; /* the proxy's sockets */
    struct stream_proxies *proxies;
    struct stream *stream;
    unsigned events;
};

static void note(struct stream *s, unsigned events, time_ns now)
{
    (void)now;
    ((struct world *)s->owner)->events |= events;
}

static void turn_until(struct world *w, unsigned wanted)
{
    time_ns limit = ev_clock() + 60 * SEC; /* only bounds a hang */

    while (!(w->events & wanted) && ev_clock() < limit)
        assert_int_equal(ev_loop_turn(w->loop, 10 * MSEC), 0);
    assert_true(w->events & wanted);
}

/* Dials through a proxy of the test's and reads what it was asked. */
static void dial(struct world *w, const char *host, char *asked, size_t size)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    char setting[64];
    size_t n = 0;

    memset(w, 0, sizeof(*w));
    assert_int_equal(ev_loop_new(&w->loop), 0);
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(w->listener, 1), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&a, &len), 0);
    snprintf(setting, sizeof(setting), "http://u:p@127.0.0.1:%u", ntohs(a.sin_port));
    w->proxies = proxies_of(setting, NULL, NULL);
    struct stream_dial to = { .host = host, .port = 443, .proxies = w->proxies, .tls = true };
    assert_int_equal(stream_dial(&w->stream, w->loop, &to), 0);
    stream_set_owner(w->stream, w, note);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ev_loop_turn(w->loop, MSEC), 0);
    w->peer = accept(w->listener, NULL, NULL);
    assert_true(w->peer >= 0);
    while (n < size - 1 && !memmem(asked, n, "\r\n\r\n", 4)) {
        ssize_t got;

        assert_int_equal(ev_loop_turn(w->loop, MSEC), 0);
        got = recv(w->peer, asked + n, size - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
    }
    asked[n] = '\0';
}

static void end(struct world *w)
{
    stream_close(w->stream);
    stream_proxies_free(w->proxies);
    if (w->peer >= 0)
        close(w->peer);
    close(w->listener);
    ev_loop_free(w->loop);
}

static void answer(struct world *w, const char *text)
{
    assert_int_equal(send(w->peer, text, strlen(text), 0), strlen(text));
}

/* Bytes that come with the proxy's answer are the other side's, and are read first. */
static void a_tunnel_carries_bytes(void **state)
{
    struct world w;
    char asked[512], got[16] = "";
    ssize_t n = 0;

    (void)state;
    dial(&w, "control.example", asked, sizeof(asked));
    assert_string_equal(asked, "CONNECT control.example:443 HTTP/1.1\r\nHost: control.example:443\r\n"
                               "Proxy-Authorization: Basic dTpw\r\n\r\n");
    assert_int_equal(stream_write(w.stream, span_from_str("early")), -EAGAIN);
    answer(&w, "HTTP/1.1 200 Conn");
    for (int i = 0; i < 5; i++)
        assert_int_equal(ev_loop_turn(w.loop, MSEC), 0);
    assert_false(w.events & STREAM_CONNECTED);
    answer(&w, "ected\r\nVia: x\r\n\r\nhi");
    turn_until(&w, STREAM_CONNECTED);
    assert_int_equal(stream_read(w.stream, got, 1), 1);
    assert_int_equal(stream_read(w.stream, got + 1, 8), 1);
    assert_string_equal(got, "hi");
    assert_int_equal(stream_write(w.stream, span_from_str("hello")), 5);
    while (n <= 0)
        n = recv(w.peer, got, sizeof(got), MSG_DONTWAIT);
    assert_int_equal(n, 5);
    w.events = 0;
    answer(&w, "more");
    turn_until(&w, STREAM_READABLE);
    assert_int_equal(stream_read(w.stream, got, sizeof(got)), 4);
    end(&w);
}

static void fails_with(const char *host, const char *reply, const char *expected)
{
    struct world w;
    char asked[512], why[STREAM_FAILURE_BYTES];

    dial(&w, host, asked, sizeof(asked));
    if (reply)
        answer(&w, reply);
    close(w.peer);
    w.peer = -1;
    turn_until(&w, STREAM_FAILED);
    if (!strstr(stream_failure(w.stream, why), expected))
        fail_msg("\"%s\" does not say \"%s\"", why, expected);
    assert_true(stream_read(w.stream, asked, 1) < 0 && stream_write(w.stream, span_from_str("x")) < 0);
    end(&w);
}

static void a_refusal_is_told_in_words(void **state)
{
    static char long_answer[STREAM_PROXY_HEAD_BYTES_MAX + 100];

    (void)state;
    memset(long_answer, 'a', sizeof(long_answer) - 1);
    fails_with("h", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
               "refused: 407 Proxy Authentication Required");
    fails_with("h", "HTTP/1.0 502 bad\x1b[31m\r\nA: b\r\n\r\n", "refused: 502 bad?[31m");
    fails_with("h", "SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP");
    fails_with("h", NULL, "closed the connection instead of answering");
    fails_with("2001:db8::1", long_answer, "too long an answer");
}

static void a_proxy_that_is_down_is_named(void **state)
{
    struct stream_proxies *p = proxies_of("http://127.0.0.1:1", NULL, NULL);
    struct stream_dial to = { .host = "h", .port = 443, .proxies = p, .tls = true };
    struct world w = { 0 };
    char why[STREAM_FAILURE_BYTES];

    (void)state;
    assert_int_equal(ev_loop_new(&w.loop), 0);
    assert_int_equal(stream_dial(&w.stream, w.loop, &to), 0);
    stream_set_owner(w.stream, &w, note);
    turn_until(&w, STREAM_FAILED);
    assert_string_equal(stream_failure(w.stream, why), "the proxy at 127.0.0.1:1: connection refused");
    stream_close(w.stream);
    stream_proxies_free(p);
    ev_loop_free(w.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exceptions_are_kept),
        cmocka_unit_test(this_machine_is_never_behind_the_proxy),
        cmocka_unit_test(tls_and_plain_have_their_own_proxy),
        cmocka_unit_test(unusable_settings_are_refused_without_quoting_them),
        cmocka_unit_test(a_tunnel_carries_bytes),
        cmocka_unit_test(a_refusal_is_told_in_words),
        cmocka_unit_test(a_proxy_that_is_down_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

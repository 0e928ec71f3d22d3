/* Two of the program's own client machines on the relay, over real sockets. */
#include "derp/derp.h"
#include "lab/relay.h"
#include "lab/test_world.h"

static struct lab_relay *relay;

struct user {
    struct stream *stream;
    struct derp_client *client;
    struct secret_key secret;
    struct public_key key;
    struct buf got; /* packets, one behind the other */
    struct public_key from;
    int gone; /* times that it heard so */
    bool ready, over, not_here;
};

static void user_flush(struct user *u)
{
    struct span parts[8];
    size_t count;
    ssize_t n;

    while ((count = derp_client_pending(u->client, parts, COUNT_OF(parts))) > 0 &&
           (n = stream_writev(u->stream, parts, count)) > 0)
        derp_client_sent(u->client, (size_t)n);
}

static void user_take(struct user *u)
{
    struct derp_event ev;

    while (derp_client_next(u->client, &ev)) {
        u->ready |= ev.kind == DERP_READY;
        if (ev.kind == DERP_PEER_GONE) {
            u->gone++;
            u->not_here = ev.not_here;
        }
        if (ev.kind == DERP_PACKET) {
            u->from = ev.from;
            assert_int_equal(buf_append(&u->got, span_make(ev.packet.data, ev.packet.len)), 0);
        }
    }
    assert_int_equal(derp_client_error(u->client), 0);
}

static void user_event(struct stream *s, unsigned events, time_ns now)
{
    struct user *u = s->owner;
    uint8_t bytes[4096];
    ssize_t n = -EAGAIN;

    u->over |= (events & STREAM_FAILED) != 0;
    while (!u->over && (n = stream_read(s, bytes, sizeof(bytes))) > 0) {
        assert_int_equal(derp_client_feed(u->client, (struct mspan) { bytes, (size_t)n }, now), 0);
        user_take(u);
    }
    u->over |= n != -EAGAIN;
    if (!u->over)
        user_flush(u);
}

static void join(struct user *u, const struct secret_key *secret)
{
    struct ip_port to = on_loopback(lab_relay_port(relay));
    struct derp_config config = { .host = "127.0.0.1", .node_key = &u->secret, .home = true };

    *u = (struct user) { 0 };
    buf_init(&u->got, 1 << 20);
    if (secret)
        u->secret = *secret;
    else
        secret_key_generate(&u->secret);
    secret_key_public(&u->secret, &u->key);
    assert_int_equal(derp_client_new(&u->client, &config, ev_now(loop)), 0);
    assert_int_equal(stream_tcp_connect(&u->stream, loop, &to), 0);
    stream_set_owner(u->stream, u, user_event);
    wait_until(u->ready || u->over);
    assert_true(u->ready);
}

static void leave(struct user *u)
{
    stream_close(u->stream);
    derp_client_free(u->client);
    buf_deinit(&u->got);
}

static void send_to(struct user *u, const struct user *to, struct span packet)
{
    assert_int_equal(derp_client_send(u->client, &to->key, packet, ev_now(loop)), 0);
    user_flush(u);
}

static void open_relay(void)
{
    struct lab_relay_config config = { .at = on_loopback(0) };

    assert_int_equal(lab_relay_new(&relay, loop, &config), 0);
}

static void packets_reach_their_key_with_the_senders_key(void **state)
{
    (void)state;
    struct user a, b, c;

    open_relay();
    join(&a, NULL);
    join(&b, NULL);
    join(&c, NULL);
    assert_int_equal(lab_relay_guests(relay), 3);
    send_to(&a, &b, span_from_str("for b"));
    send_to(&c, &b, span_from_str(", too"));
    wait_until(b.got.len == 10);
    assert_int_equal(lab_relay_counters(relay)->packets, 2);
    assert_int_equal(a.got.len + c.got.len, 0);
    send_to(&b, &a, span_from_str("back"));
    wait_until(a.got.len == 4);
    assert_true(public_key_equal(&a.from, &b.key));
    leave(&a);
    leave(&b);
    leave(&c);
    wait_until(!lab_relay_guests(relay));
    lab_relay_free(relay);
}

static void who_had_packets_hears_that_the_sender_left(void **state)
{
    (void)state;
    struct user a, b;

    open_relay();
    join(&a, NULL);
    join(&b, NULL);
    send_to(&a, &b, span_from_str("hello"));
    wait_until(b.got.len);
    leave(&a);
    wait_until(b.gone);
    assert_false(b.not_here);
    leave(&b);
    lab_relay_free(relay);
}

/* WireGuard packets for nobody vanish, as on the real relay; disco packets are answered, but not a flood. */
static void only_disco_packets_learn_that_nobody_is_there(void **state)
{
    (void)state;
    struct user a, nobody = { .key = { { 1, 2, 3 } } };
    uint8_t disco[100] = { 'T', 'S', 0xf0, 0x9f, 0x92, 0xac };

    open_relay();
    join(&a, NULL);
    send_to(&a, &nobody, span_from_str("data"));
    send_to(&a, &a, span_from_str("behind it"));
    wait_until(a.got.len == 9);
    assert_int_equal(a.gone, 0);
    assert_int_equal(lab_relay_counters(relay)->packets_nowhere, 1);
    for (int i = 0; i < 10; i++)
        send_to(&a, &nobody, SPAN_OF(disco));
    send_to(&a, &a, span_from_str("behind them"));
    wait_until(a.got.len == 20);
    assert_true(a.not_here);
    assert_in_range(a.gone, 1, 6); /* three at once, and three more if a second began in between */
    leave(&a);
    lab_relay_free(relay);
}

static void the_newer_connection_of_a_key_is_served_and_then_the_older_again(void **state)
{
    (void)state;
    struct user old, new, b;

    open_relay();
    join(&old, NULL);
    join(&new, &old.secret);
    join(&b, NULL);
    send_to(&b, &new, span_from_str("1"));
    wait_until(new.got.len == 1);
    leave(&new);
    wait_until(lab_relay_guests(relay) == 2);
    send_to(&b, &old, span_from_str("2"));
    wait_until(old.got.len == 1);
    leave(&old);
    leave(&b);
    lab_relay_free(relay);
}

static void faults_on_cue_cut_and_refuse(void **state)
{
    (void)state;
    struct user a;
    struct caller c;

    open_relay();
    join(&a, NULL);
    lab_relay_refuse(relay, true);
    lab_relay_cut(relay);
    wait_until(a.over);
    call(&c, lab_relay_port(relay));
    say(&c, "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n");
    wait_until(heard(&c, "HTTP/1.1 503 "));
    hang_up(&c);
    leave(&a);
    lab_relay_refuse(relay, false);
    join(&a, NULL);
    leave(&a);
    lab_relay_free(relay);
}

static void browsers_and_probes_get_answers_of_their_own(void **state)
{
    (void)state;
    struct caller c;

    open_relay();
    call(&c, lab_relay_port(relay));
    say(&c, "GET /derp HTTP/1.1\r\nHost: x\r\n\r\nHEAD /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /generate_204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    wait_until(c.ended);
    assert_true(heard(&c, "HTTP/1.1 426 "));
    assert_true(heard(&c, "HTTP/1.1 200 "));
    assert_true(heard(&c, "HTTP/1.1 204 "));
    hang_up(&c);
    lab_relay_free(relay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_reach_their_key_with_the_senders_key),
        cmocka_unit_test(who_had_packets_hears_that_the_sender_left),
        cmocka_unit_test(only_disco_packets_learn_that_nobody_is_there),
        cmocka_unit_test(the_newer_connection_of_a_key_is_served_and_then_the_older_again),
        cmocka_unit_test(faults_on_cue_cut_and_refuse),
        cmocka_unit_test(browsers_and_probes_get_answers_of_their_own),
    };

    return cmocka_run_group_tests(tests, world_open, world_close);
}

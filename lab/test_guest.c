/* The relay's machine against the program's own client machine, and against what it must refuse. The proof
 * that both are right is real: tailscaled and derper (test/demo, test/relay-derper). */
#include "check.h"
#include "derp/derp.h"
#include "lab/guest.h"

#define NOW (100 * SEC)

struct pair {
    struct secret_key server, node;
    struct public_key node_public;
    struct guest *guest;
    struct derp_client *client;
    struct buf to_client; /* what the client has not been fed */
};

/* Puts the pieces behind each other; how many bytes. */
static size_t join(const struct span *parts, size_t count, uint8_t *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        assert_true(n + parts[i].len <= size);
        memcpy(out + n, parts[i].data, parts[i].len);
        n += parts[i].len;
    }
    return n;
}

static size_t take_from_guest(struct guest *g, uint8_t *out, size_t size)
{
    struct span parts[8];
    size_t total = 0, count;

    while ((count = guest_pending(g, parts, COUNT_OF(parts))) > 0) {
        size_t n = join(parts, count, out + total, size - total);

        guest_sent(g, n);
        total += n;
    }
    return total;
}

static size_t take_from_client(struct derp_client *c, uint8_t *out, size_t size)
{
    struct span parts[8];
    size_t total = 0, count;

    while ((count = derp_client_pending(c, parts, COUNT_OF(parts))) > 0) {
        size_t n = join(parts, count, out + total, size - total);

        derp_client_sent(c, n);
        total += n;
    }
    return total;
}

static uint8_t room[200000];

/* The client has sent its request, and got 101 and our key. */
static void begin(struct pair *p)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n";
    struct derp_config config = { .host = "lab", .node_key = &p->node, .home = true };
    struct derp_event ev;
    size_t len = sizeof(answer) - 1;

    *p = (struct pair) { 0 };
    assert_int_equal(crypto_init(), 0);
    secret_key_generate(&p->server);
    secret_key_generate(&p->node);
    secret_key_public(&p->node, &p->node_public);
    assert_int_equal(guest_new(&p->guest, &p->server), 0);
    assert_int_equal(derp_client_new(&p->client, &config, NOW), 0);
    take_from_client(p->client, room, sizeof(room)); /* the HTTP request */
    memcpy(room, answer, len);
    len += take_from_guest(p->guest, room + len, sizeof(room) - len);
    assert_int_equal(derp_client_feed(p->client, (struct mspan) { room, len }, NOW), 0);
    assert_false(derp_client_next(p->client, &ev));
}

static void end(struct pair *p)
{
    guest_free(p->guest);
    derp_client_free(p->client);
}

static void connect_both(struct pair *p)
{
    struct guest_event ev;
    struct derp_event theirs;
    size_t len;

    begin(p);
    len = take_from_client(p->client, room, sizeof(room));
    assert_int_equal(guest_feed(p->guest, span_make(room, len)), 0);
    assert_true(guest_next(p->guest, &ev));
    assert_int_equal(ev.kind, GUEST_HELLO);
    assert_true(public_key_equal(guest_key(p->guest), &p->node_public));
    assert_true(guest_next(p->guest, &ev));
    assert_int_equal(ev.kind, GUEST_HOME);
    assert_true(guest_is_home(p->guest));
    assert_false(guest_next(p->guest, &ev));
    len = take_from_guest(p->guest, room, sizeof(room));
    assert_int_equal(derp_client_feed(p->client, (struct mspan) { room, len }, NOW), 0);
    assert_true(derp_client_next(p->client, &theirs));
    assert_int_equal(theirs.kind, DERP_READY);
    assert_false(derp_client_next(p->client, &theirs));
}

static void a_client_proves_its_key_and_packets_go_both_ways(void **state)
{
    (void)state;
    struct public_key other = { { 7 } };
    struct pair p;
    struct guest_event ev;
    struct derp_event theirs;
    size_t len;

    connect_both(&p);
    assert_int_equal(derp_client_send(p.client, &other, span_from_str("ask"), NOW), 0);
    len = take_from_client(p.client, room, sizeof(room));
    assert_int_equal(guest_feed(p.guest, span_make(room, len)), 0);
    assert_true(guest_next(p.guest, &ev));
    assert_int_equal(ev.kind, GUEST_PACKET);
    assert_true(public_key_equal(&ev.to, &other));
    assert_span_text(ev.packet, "ask");
    assert_int_equal(guest_deliver(p.guest, &other, span_from_str("tell")), 0);
    guest_tell_gone(p.guest, &other, true);
    len = take_from_guest(p.guest, room, sizeof(room));
    assert_int_equal(derp_client_feed(p.client, (struct mspan) { room, len }, NOW), 0);
    assert_true(derp_client_next(p.client, &theirs));
    assert_int_equal(theirs.kind, DERP_PEER_GONE);
    assert_true(theirs.not_here);
    assert_true(derp_client_next(p.client, &theirs));
    assert_int_equal(theirs.kind, DERP_PACKET);
    assert_memory_equal(theirs.packet.data, "tell", 4);
    end(&p);
}

static void bytes_may_arrive_one_at_a_time(void **state)
{
    (void)state;
    struct pair p;
    struct guest_event ev;
    int events = 0;
    size_t len;

    begin(&p);
    len = take_from_client(p.client, room, sizeof(room));
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(guest_feed(p.guest, span_make(room + i, 1)), 0);
        while (guest_next(p.guest, &ev))
            events++;
    }
    assert_int_equal(guest_error(p.guest), 0);
    assert_int_equal(events, 2); /* hello, home */
    end(&p);
}

static void a_key_without_its_secret_is_refused(void **state)
{
    (void)state;
    struct pair p;
    struct guest_event ev;
    size_t len;

    begin(&p);
    len = take_from_client(p.client, room, sizeof(room));
    room[6] ^= 1; /* of the key in clear */
    assert_int_equal(guest_feed(p.guest, span_make(room, len)), 0);
    assert_false(guest_next(p.guest, &ev));
    assert_int_equal(guest_error(p.guest), GUEST_E_KEY);
    assert_true(public_key_is_zero(guest_key(p.guest)));
    end(&p);
}

static int refused_with(struct guest *g, const uint8_t *bytes, size_t len)
{
    struct guest_event ev;

    assert_int_equal(guest_feed(g, span_make(bytes, len)), 0);
    assert_false(guest_next(g, &ev));
    return guest_error(g);
}

static void what_only_meshed_relays_may_say_ends_the_connection(void **state)
{
    (void)state;
    static const uint8_t types[] = { 0x0a, 0x10, 0x11 };

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        const uint8_t frame[] = { types[i], 0, 0, 0, 0 };
        struct pair p;

        connect_both(&p);
        assert_int_equal(refused_with(p.guest, frame, sizeof(frame)), GUEST_E_PROTOCOL);
        end(&p);
    }
}

static void packets_before_the_hello_and_frames_too_long_are_refused(void **state)
{
    (void)state;
    static const uint8_t early[] = { 0x04, 0, 0, 0, 33, 1 };
    static const uint8_t long_hello[] = { 0x02, 0, 0, 0x20, 0 };
    static const uint8_t long_packet[] = { 0x04, 0, 1, 0, 33 };
    static const uint8_t longest[] = { 0x04, 0, 1, 0, 32 };
    struct guest_event ev;
    struct pair p;
    uint8_t whole[5 + 33] = { 0x04, 0, 0, 0, 33 };

    begin(&p);
    assert_int_equal(refused_with(p.guest, whole, sizeof(whole)), GUEST_E_PROTOCOL);
    end(&p);
    begin(&p);
    assert_int_equal(refused_with(p.guest, early, sizeof(early)), 0); /* not whole yet */
    end(&p);
    begin(&p);
    assert_int_equal(refused_with(p.guest, long_hello, sizeof(long_hello)), GUEST_E_TOO_BIG);
    end(&p);
    connect_both(&p);
    assert_int_equal(refused_with(p.guest, long_packet, sizeof(long_packet)), GUEST_E_TOO_BIG);
    end(&p);
    connect_both(&p);
    assert_int_equal(guest_feed(p.guest, SPAN_OF(longest)), 0);
    assert_false(guest_next(p.guest, &ev));
    assert_int_equal(guest_error(p.guest), 0);
    end(&p);
}

static void a_client_that_does_not_read_loses_the_oldest_packets(void **state)
{
    (void)state;
    struct public_key from = { { 9 } };
    struct pair p;
    struct span part;

    connect_both(&p);
    for (uint32_t i = 0; i < GUEST_QUEUE_PACKETS + 3; i++)
        assert_int_equal(guest_deliver(p.guest, &from, span_make(&i, sizeof(i))), 0);
    assert_int_equal(guest_dropped(p.guest), 3);
    assert_int_equal(guest_pending(p.guest, &part, 1), 1);
    assert_int_equal(load_le32(part.data + 5 + KEY_BYTES), 3);
    guest_sent(p.guest, 2); /* half out of the door: the next one goes instead */
    assert_int_equal(guest_deliver(p.guest, &from, span_from_str("last")), 0);
    assert_int_equal(guest_pending(p.guest, &part, 1), 1);
    assert_int_equal(load_le32(part.data + 3 + KEY_BYTES), 3);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_proves_its_key_and_packets_go_both_ways),
        cmocka_unit_test(bytes_may_arrive_one_at_a_time),
        cmocka_unit_test(a_key_without_its_secret_is_refused),
        cmocka_unit_test(what_only_meshed_relays_may_say_ends_the_connection),
        cmocka_unit_test(packets_before_the_hello_and_frames_too_long_are_refused),
        cmocka_unit_test(a_client_that_does_not_read_loses_the_oldest_packets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

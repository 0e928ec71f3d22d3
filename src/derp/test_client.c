#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "derp/derp.h"

/* A server's side, written from the protocol page with the box of libsodium behind crypto/. */
struct server {
    struct secret_key secret;
    struct public_key key;
    struct buf out;
};

static const char answer[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n\r\n";

static void put_frame(struct buf *out, uint8_t type, struct span a, struct span b)
{
    uint8_t header[5] = { type };

    store_be32(header + 1, (uint32_t)(a.len + b.len));
    assert_int_equal(buf_append(out, SPAN_OF(header)) | buf_append(out, a) | buf_append(out, b), 0);
}

static void server_begin(struct server *s)
{
    static const uint8_t magic[8] = { 'D', 'E', 'R', 'P', 0xf0, 0x9f, 0x94, 0x91 };

    assert_int_equal(crypto_init(), 0);
    secret_key_generate(&s->secret);
    secret_key_public(&s->secret, &s->key);
    buf_init(&s->out, 1 << 22);
    assert_int_equal(buf_append_str(&s->out, answer), 0);
    put_frame(&s->out, 0x01, SPAN_OF(magic), SPAN_OF(s->key.bytes));
}

static void put_server_info(struct server *s, const struct public_key *client, const char *json)
{
    uint8_t shared[KEY_BYTES], nonce[BOX_NONCE_BYTES] = { 9 }, sealed[512];

    assert_true(box_key_make(shared, &s->secret, client));
    box_seal(sealed, span_from_str(json), nonce, shared);
    put_frame(&s->out, 0x03, SPAN_OF(nonce), span_make(sealed, strlen(json) + BOX_TAG_BYTES));
}

static void put_packet(struct server *s, uint8_t from, const char *text)
{
    struct public_key key = { { from } };

    put_frame(&s->out, 0x05, SPAN_OF(key.bytes), span_from_str(text));
}

static struct derp_client *client_new(struct secret_key *secret, struct public_key *key)
{
    struct derp_config config = { .host = "derp.example", .node_key = secret, .home = true };
    struct derp_client *c;

    secret_key_generate(secret);
    secret_key_public(secret, key);
    assert_int_equal(derp_client_new(&c, &config, 0), 0);
    return c;
}

/* Everything that waits, as one text; it is taken as sent. */
static size_t take_output(struct derp_client *c, uint8_t *out, size_t size)
{
    struct span parts[4];
    size_t total = 0, count;

    while ((count = derp_client_pending(c, parts, 4))) {
        size_t n = 0;

        for (size_t i = 0; i < count; i++) {
            assert_true(total + n + parts[i].len <= size);
            memcpy(out + total + n, parts[i].data, parts[i].len);
            n += parts[i].len;
        }
        derp_client_sent(c, n);
        total += n;
    }
    return total;
}

/* Feeds all that the server said in pieces of `chunk` and writes what happened. */
static void run(struct derp_client *c, struct server *s, size_t chunk, char *events)
{
    struct span rest = buf_span(&s->out);

    while (rest.len) {
        uint8_t piece[70000];
        size_t n = MIN(MIN(chunk, rest.len), sizeof(piece));
        struct derp_event ev;

        memcpy(piece, rest.data, n);
        rest = span_slice(rest, n, rest.len);
        assert_int_equal(derp_client_feed(c, (struct mspan) { piece, n }, 0), 0);
        while (derp_client_next(c, &ev)) {
            if (ev.kind == DERP_READY)
                strcat(events, "ready ");
            if (ev.kind == DERP_PACKET)
                sprintf(events + strlen(events), "%d:%.*s ", ev.from.bytes[0], (int)ev.packet.len,
                        ev.packet.data);
            if (ev.kind == DERP_PEER_GONE)
                sprintf(events + strlen(events), "gone %d%s ", ev.from.bytes[0], ev.not_here ? "!" : "");
            if (ev.kind == DERP_HEALTH)
                sprintf(events + strlen(events), "health %.*s ", (int)ev.text.len,
                        ev.text.len ? (const char *)ev.text.data : "");
            if (ev.kind == DERP_RESTARTING)
                sprintf(events + strlen(events), "restart %d ", (int)(ev.reconnect_in / MSEC));
        }
        assert_int_equal(derp_client_error(c), 0);
    }
}

/* However the bytes are cut, the same happens; unknown frames are skipped, pings answered. */
static void every_cut_gives_the_same(void **state)
{
    (void)state;
    static const char want[] = "ready 7:hello 8: gone 7 gone 8! health slow down restart 1500 9:end ";

    for (size_t chunk = 1; chunk < 400; chunk += chunk < 60 ? 1 : 37) {
        struct public_key gone = { { 7 } }, key;
        struct server s;
        struct secret_key secret;
        char events[512] = "";
        uint8_t out[1024], restart[8] = { 0, 0, 0x05, 0xdc, 0, 0, 0, 1 };
        struct derp_client *c = client_new(&secret, &key);

        server_begin(&s);
        put_server_info(&s, &key, "{\"version\":2}");
        put_packet(&s, 7, "hello");
        put_frame(&s.out, 0x77, span_from_str("unknown type, skipped"), SPAN_NONE);
        put_packet(&s, 8, "");
        put_frame(&s.out, 0x06, SPAN_NONE, SPAN_NONE);
        put_frame(&s.out, 0x12, span_from_str("12345678"), SPAN_NONE);
        put_frame(&s.out, 0x08, SPAN_OF(gone.bytes), SPAN_NONE);
        gone.bytes[0] = 8;
        put_frame(&s.out, 0x08, SPAN_OF(gone.bytes), span_from_str("\x01"));
        put_frame(&s.out, 0x14, span_from_str("slow down"), SPAN_NONE);
        put_frame(&s.out, 0x15, SPAN_OF(restart), SPAN_NONE);
        put_packet(&s, 9, "end");
        run(c, &s, chunk, events);
        assert_string_equal(events, want);
        size_t n = take_output(c, out, sizeof(out));
        assert_memory_equal(out, "GET /derp HTTP/1.1\r\nHost: derp.example\r\nUpgrade: DERP\r\n", 54);
        assert_memory_equal(out + n - 13,
                            "\x13\x00\x00\x00\x08"
                            "12345678",
                            13);
        derp_client_free(c);
        buf_deinit(&s.out);
    }
}

/* The server can open what we say of ourselves, and the home note follows it. */
static void the_client_info_opens_at_the_server(void **state)
{
    (void)state;
    struct public_key key;
    struct server s;
    struct secret_key secret;
    char events[64] = "";
    uint8_t out[1024], shared[KEY_BYTES], json[128];
    struct derp_client *c = client_new(&secret, &key);
    size_t n, head;

    server_begin(&s);
    n = take_output(c, out, sizeof(out));
    assert_memory_equal(out + n - 4, "\r\n\r\n", 4);
    run(c, &s, 1000, events);
    n = take_output(c, out, sizeof(out));
    assert_int_equal(out[0], 0x02);
    head = load_be32(out + 1);
    assert_memory_equal(out + 5, key.bytes, KEY_BYTES);
    assert_true(box_key_make(shared, &s.secret, &key));
    assert_true(box_open(json, span_make(out + 5 + 56, head - 56), out + 5 + 32, shared));
    assert_memory_equal(json, "{\"version\":2,\"CanAckPings\":true}", head - 56 - 16);
    assert_memory_equal(out + 5 + head, "\x07\x00\x00\x00\x01\x01", 6); /* this is our home */
    assert_int_equal(n, 5 + head + 6);
    derp_client_free(c);
    buf_deinit(&s.out);
}

static struct derp_client *steady(struct server *s, struct secret_key *secret, struct public_key *key,
                                  const char *info)
{
    struct derp_client *c = client_new(secret, key);
    char events[64] = "";
    uint8_t out[1024];

    server_begin(s);
    put_server_info(s, key, info);
    run(c, s, 10000, events);
    assert_string_equal(events, "ready ");
    take_output(c, out, sizeof(out));
    return c;
}

/* A stream that does not take them makes the oldest packets go, never one that has begun. */
static void the_oldest_packet_is_dropped(void **state)
{
    (void)state;
    struct public_key key, to = { { 5 } };
    struct server s;
    struct secret_key secret;
    struct derp_client *c = steady(&s, &secret, &key, "{\"version\":2}");
    struct span parts[64];

    for (uint8_t i = 0; i < DERP_QUEUE_PACKETS; i++)
        assert_int_equal(derp_client_send(c, &to, span_make(&i, 1), 0), 0);
    assert_int_equal(derp_client_room(c), 0);
    derp_client_sent(c, 3); /* three bytes of the first went */
    for (uint8_t i = 100; i < 103; i++)
        assert_int_equal(derp_client_send(c, &to, span_make(&i, 1), 0), 0);
    assert_int_equal(derp_client_pending(c, parts, 64), DERP_QUEUE_PACKETS);
    assert_int_equal(parts[0].len, 38 - 3);
    assert_int_equal(parts[0].data[34], 0);
    assert_int_equal(parts[1].data[37], 4);
    assert_int_equal(parts[31].data[37], 102);
    assert_int_equal(derp_client_counters(c)->dropped_full, 3);
    derp_client_sent(c, 35 + 31 * 38);
    assert_int_equal(derp_client_pending(c, parts, 64), 0);
    assert_int_equal(derp_client_room(c), DERP_QUEUE_PACKETS);
    derp_client_free(c);
    buf_deinit(&s.out);
}

static void the_servers_rate_limit_is_kept(void **state)
{
    (void)state;
    struct public_key key, to = { { 5 } };
    struct server s;
    struct secret_key secret;
    struct derp_client *c =
        steady(&s, &secret, &key,
               "{\"version\":2,\"TokenBucketBytesPerSecond\":1000,\"TokenBucketBytesBurst\":70000}");
    static uint8_t big[60000];

    assert_int_equal(derp_client_send(c, &to, SPAN_OF(big), SEC), 0);
    assert_int_equal(derp_client_send(c, &to, SPAN_OF(big), SEC), DERP_E_LIMITED);
    assert_int_equal(derp_client_send(c, &to, span_make(big, 100), 2 * SEC), 0);
    assert_int_equal(derp_client_counters(c)->dropped_rate, 1);
    derp_client_free(c);
    buf_deinit(&s.out);
}

static int feed_text(const char *text, size_t len)
{
    struct public_key key;
    struct secret_key secret;
    struct derp_client *c = client_new(&secret, &key);
    uint8_t copy[10000];
    struct derp_event ev;
    int r;

    memcpy(copy, text, len);
    r = derp_client_feed(c, (struct mspan) { copy, len }, 0);
    while (!r && derp_client_next(c, &ev)) {
    }
    r = derp_client_error(c);
    derp_client_free(c);
    return r;
}

static void nonsense_is_refused_by_name(void **state)
{
    (void)state;
    static char text[9000];
    size_t n = sizeof(answer) - 1;

    assert_int_equal(crypto_init(), 0);
    assert_int_equal(feed_text("HTTP/1.1 404 Not Found\r\n\r\n", 26), DERP_E_HTTP);
    assert_int_equal(feed_text("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", 46), DERP_E_HTTP);
    memset(text, 'a', sizeof(text));
    assert_int_equal(feed_text(text, sizeof(text)), DERP_E_HTTP);
    memcpy(text, answer, n);
    memcpy(text + n, "\x05\x00\x01\x00\x21", 5);
    assert_int_equal(feed_text(text, n + 5), DERP_E_TOO_BIG);
    memcpy(text + n, "\x77\x00\x10\x00\x01", 5);
    assert_int_equal(feed_text(text, n + 5), DERP_E_TOO_BIG);
    memcpy(text + n, "\x06\x00\x00\x00\x00", 5);
    assert_int_equal(feed_text(text, n + 5), DERP_E_PROTOCOL); /* before the server's key */
    memcpy(text + n, "\x01\x00\x00\x00\x28WRONGMAG", 13);
    assert_int_equal(feed_text(text, n + 45), DERP_E_PROTOCOL);
}

/* Quiet for long: one ping, then dead. */
static void silence_is_death(void **state)
{
    (void)state;
    struct public_key key;
    struct server s;
    struct secret_key secret;
    struct derp_client *c = steady(&s, &secret, &key, "{}");
    uint8_t out[64];

    assert_true(derp_client_tick(c, derp_client_deadline(c)));
    assert_int_equal(take_output(c, out, sizeof(out)), 13);
    assert_int_equal(out[0], 0x12);
    assert_true(derp_client_deadline(c) == DERP_SILENCE);
    assert_false(derp_client_tick(c, derp_client_deadline(c)));
    derp_client_free(c);
    buf_deinit(&s.out);
}

/* What a derper (tailscale.com v1.102.3) sent to the key 01..20, clamped: a packet of another client, the
 * answer to a ping, "not here" for a disco packet to nobody, and that the other client left. */
static const char recorded[] =
    "485454502f312e312031303120537769746368696e672050726f746f636f6c730d0a557067726164653a20444552500d"
    "0a436f6e6e656374696f6e3a20557067726164650d0a446572702d56657273696f6e3a20320d0a446572702d5075626c"
    "69632d4b65793a2061396366336639656361366430613737313336323831646531653863333666396635306165663339"
    "3836396630363832626130653561333738343432323235610d0a0d0a010000002844455250f09f9491a9cf3f9eca6d0a"
    "77136281de1e8c36f9f50aef39869f0682ba0e5a378442225a0300000035d9d6cfc0c3be6cee0cc027dd28a05f3b74d8"
    "c65363cd96a11964e47884a464609982238b2d1415d6bc02ea7c006a5886e4d1ccfd59050000002c5869aff450549732"
    "cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b68656c6c6f2066726f6d2062130000000831323334353637"
    "380800000021000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0108000000215869aff4"
    "50549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b00";

static void a_recorded_session_reads_as_it_happened(void **state)
{
    (void)state;
    static const char want[] = "ready 88:hello from b gone 0! gone 88 ";

    for (size_t chunk = 1; chunk < 420; chunk++) {
        struct secret_key secret;
        struct server s = { 0 };
        struct derp_config config = { .host = "derp.lab.test", .node_key = &secret };
        struct derp_client *c;
        uint8_t bytes[512];
        char events[256] = "";
        size_t n = from_hex(recorded, bytes, sizeof(bytes));

        for (uint8_t i = 0; i < KEY_BYTES; i++)
            secret.bytes[i] = i + 1;
        secret_key_clamp(&secret);
        assert_int_equal(derp_client_new(&c, &config, 0), 0);
        buf_init(&s.out, sizeof(bytes));
        assert_int_equal(buf_append(&s.out, span_make(bytes, n)), 0);
        run(c, &s, chunk, events);
        assert_string_equal(events, want);
        derp_client_free(c);
        buf_deinit(&s.out);
    }
}

/* The frame of another implementation that proves the key 01..20 to the server e0..ff. */
static void the_box_is_that_of_others(void **state)
{
    (void)state;
    static const char frame_hex[] = "020000006807a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c"
                                    "7c000102030405060708090a0b0c0d0e0f101112"
                                    "131415161766d44432cd469868ea96a63ab7fbfe3b88a0d9ce77704a69f0373b13458904"
                                    "b3e3d4f0ba0eb5c1e23f594f39e4b87e51";
    uint8_t frame[128], shared[KEY_BYTES], json[64];
    size_t n = from_hex(frame_hex, frame, sizeof(frame));
    struct secret_key server;
    struct public_key client;

    for (int i = 0; i < KEY_BYTES; i++)
        server.bytes[i] = (uint8_t)(0xe0 + i);
    secret_key_clamp(&server);
    memcpy(client.bytes, frame + 5, KEY_BYTES);
    assert_true(box_key_make(shared, &server, &client));
    assert_true(box_open(json, span_make(frame + 61, n - 61), frame + 37, shared));
    assert_memory_equal(json, "{\"version\":2,\"CanAckPings\":true}", n - 61 - BOX_TAG_BYTES);
}

/* After a change of the network: an answer in five seconds, or any other byte, or dead. */
static void a_ping_asks_for_life(void **state)
{
    (void)state;
    struct public_key key;
    struct server s;
    struct secret_key secret;
    struct derp_client *c = steady(&s, &secret, &key, "{}");
    uint8_t out[64], keep_alive[5] = { 0x06 };
    struct derp_event ev;

    derp_client_ping(c, SEC);
    derp_client_ping(c, 2 * SEC); /* once is enough */
    assert_int_equal(take_output(c, out, sizeof(out)), 13);
    assert_true(derp_client_deadline(c) == SEC + DERP_PING_WAIT);
    assert_true(derp_client_tick(c, 5 * SEC));
    assert_int_equal(derp_client_feed(c, (struct mspan) { keep_alive, 5 }, 5 * SEC), 0);
    assert_false(derp_client_next(c, &ev));
    assert_true(derp_client_tick(c, 20 * SEC));
    derp_client_ping(c, 20 * SEC);
    assert_false(derp_client_tick(c, 25 * SEC));
    derp_client_free(c);
    buf_deinit(&s.out);
}

/* The key is known beforehand: request and hello leave together, no HTTP answer comes. */
static void a_fast_start_saves_the_answer(void **state)
{
    (void)state;
    static const uint8_t magic[8] = { 'D', 'E', 'R', 'P', 0xf0, 0x9f, 0x94, 0x91 };

    for (int wrong = 0; wrong < 2; wrong++) {
        struct secret_key secret;
        struct public_key key, named;
        struct server s;
        struct derp_client *c = client_new(&secret, &key);
        struct derp_event ev;
        char events[64] = "";
        uint8_t out[1024], bytes[256];
        const uint8_t *end;
        size_t n;

        server_begin(&s);
        buf_clear(&s.out);
        assert_true(derp_client_fast_start(c, &s.key));
        n = take_output(c, out, sizeof(out));
        end = memmem(out, n, "\r\nDerp-Fast-Start: 1\r\n\r\n", 24);
        assert_non_null(end);
        assert_int_equal(end[24], 0x02);
        assert_int_equal(out[n - 6], 0x07); /* home */
        named = s.key;
        named.bytes[0] ^= (uint8_t)wrong;
        put_frame(&s.out, 0x01, SPAN_OF(magic), SPAN_OF(named.bytes));
        put_server_info(&s, &key, "{}");
        if (!wrong) {
            run(c, &s, 7, events);
            assert_string_equal(events, "ready ");
            assert_int_equal(take_output(c, out, sizeof(out)), 0);
        } else {
            memcpy(bytes, buf_span(&s.out).data, s.out.len);
            assert_int_equal(derp_client_feed(c, (struct mspan) { bytes, s.out.len }, 0), 0);
            assert_false(derp_client_next(c, &ev));
            assert_int_equal(derp_client_error(c), DERP_E_KEY);
        }
        derp_client_free(c);
        buf_deinit(&s.out);
    }
}

/* Packets wait for the hello, and move on when the connection has to be made anew. */
static void packets_wait_for_the_hello(void **state)
{
    (void)state;
    struct public_key key, to = { { 5 } };
    struct server s;
    struct secret_key secret;
    struct derp_client *c = client_new(&secret, &key), *next;
    struct derp_config config = { .host = "derp.example", .node_key = &secret };
    char events[64] = "";
    uint8_t out[4096];
    size_t n;

    for (uint8_t i = 0; i < DERP_QUEUE_PACKETS + 1; i++)
        assert_int_equal(derp_client_send(c, &to, span_make(&i, 1), 0), 0);
    assert_int_equal(derp_client_counters(c)->dropped_full, 1);
    n = take_output(c, out, sizeof(out)); /* the request alone */
    assert_memory_equal(out + n - 4, "\r\n\r\n", 4);
    assert_int_equal(derp_client_queued(c), DERP_QUEUE_PACKETS);

    assert_int_equal(derp_client_new(&next, &config, 0), 0);
    derp_client_take_queue(next, c);
    assert_int_equal(derp_client_queued(c), 0);
    assert_int_equal(derp_client_send(c, &to, span_make("x", 1), 0), 0); /* the old one still works */
    derp_client_free(c);
    assert_int_equal(derp_client_room(next), 0);
    take_output(next, out, sizeof(out));
    server_begin(&s);
    run(next, &s, 1000, events);
    n = take_output(next, out, sizeof(out));
    assert_int_equal(out[0], 0x02); /* hello, then one packet after another */
    n = 5 + load_be32(out + 1);
    for (uint8_t i = 1; i <= DERP_QUEUE_PACKETS; i++, n += 38) {
        assert_int_equal(out[n], 0x04);
        assert_int_equal(out[n + 37], i);
    }
    derp_client_free(next);
    buf_deinit(&s.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_session_reads_as_it_happened),
        cmocka_unit_test(the_box_is_that_of_others),
        cmocka_unit_test(a_fast_start_saves_the_answer),
        cmocka_unit_test(a_ping_asks_for_life),
        cmocka_unit_test(packets_wait_for_the_hello),
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(the_client_info_opens_at_the_server),
        cmocka_unit_test(the_oldest_packet_is_dropped),
        cmocka_unit_test(the_servers_rate_limit_is_kept),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(silence_is_death),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

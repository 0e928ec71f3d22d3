#include "test_sim.h"

static struct wireguard_source source_of(uint8_t last, uint16_t port)
{
    return (struct wireguard_source) { .address = { ip_from_v4((uint8_t[]) { 198, 51, 100, last }), port } };
}

static int receive_from(struct sim_side *s, struct wireguard_node *hint, struct span message,
                        const struct wireguard_source *source, struct wireguard_received *out)
{
    uint8_t bytes[256];
    struct wireguard_received unused;

    assert_true(message.len <= sizeof(bytes));
    memcpy(bytes, message.data, message.len);
    return wireguard_receive(s->w, hint, (struct mspan) { bytes, message.len }, source, s->sim->now,
                             out ? out : &unused);
}

static struct span last_of(struct sim_side *s, enum wireguard_kind kind)
{
    return span_make(s->last[kind], s->last_len[kind]);
}

/* A with a session to B, everything quiet. */
static struct sim *session(uint64_t seed)
{
    struct sim *sim = sim_new(seed);

    sim_send(&sim->a);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.data, 1);
    return sim;
}

/* Shorter, longer, other types: not one byte of it is looked at. */
static void other_lengths_and_types_are_no_messages(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, INITIATION_BYTES, RESPONSE_BYTES, COOKIE_REPLY_BYTES };
    struct sim *sim = session(50);
    uint8_t bytes[200] = { 0 };

    for (uint8_t type = 0; type < 8; type++)
        for (size_t len = 0; len < sizeof(bytes); len++) {
            bytes[0] = type;
            if (type < COUNT_OF(lengths) && type && len == lengths[type])
                continue;
            if (type == TYPE_DATA && len >= 32)
                continue;
            assert_int_equal(sim_receive(&sim->b, span_make(bytes, len), NULL), WIREGUARD_E_NO_MESSAGE);
        }
    for (size_t i = 1; i < 4; i++) { /* the reserved bytes are part of the type */
        memset(bytes, 0, sizeof(bytes));
        bytes[0] = TYPE_DATA;
        bytes[i] = 1;
        assert_int_equal(sim_receive(&sim->b, span_make(bytes, 64), NULL), WIREGUARD_E_NO_MESSAGE);
    }
    sim_free(sim);
}

/* Every prefix of a real message is refused and changes nothing: the whole one still works. */
static void truncated_messages_are_refused(void **state)
{
    (void)state;
    struct sim *sim = sim_new(51);
    uint8_t data[512];
    size_t len;

    sim->delay = HOUR; /* we carry the messages ourselves */
    wireguard_initiate(sim->a.peer, sim->now);
    for (size_t n = 0; n < INITIATION_BYTES; n++)
        assert_true(sim_receive(&sim->b, span_make(sim->a.last[0], n), NULL) > 0);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL), 0);
    for (size_t n = 0; n < RESPONSE_BYTES; n++)
        assert_true(sim_receive(&sim->a, span_make(sim->b.last[1], n), NULL) > 0);
    assert_int_equal(sim_receive(&sim->a, last_of(&sim->b, WIREGUARD_RESPONSE), NULL), 0);
    sim_inner(data + 16, 100);
    assert_int_equal(wireguard_seal(sim->a.peer, (struct mspan) { data, sizeof(data) }, 100, sim->now, &len),
                     0);
    for (size_t n = 0; n < len; n++)
        assert_true(sim_receive(&sim->b, span_make(data, n), NULL) > 0);
    assert_int_equal(sim_receive(&sim->b, span_make(data, len), NULL), 0);
    assert_int_equal(sim->b.data, 1);
    sim_free(sim);
}

static void one_wrong_bit_changes_nothing(void **state)
{
    (void)state;
    struct sim *sim = sim_new(52);
    uint8_t bad[256], data[512];
    size_t len;

    sim->delay = HOUR;
    wireguard_initiate(sim->a.peer, sim->now);
    for (size_t bit = 0; bit < 8 * INITIATION_AT_MACS + 128; bit += 5) {
        memcpy(bad, sim->a.last[0], INITIATION_BYTES);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(sim_receive(&sim->b, span_make(bad, INITIATION_BYTES), NULL) > 0);
        sim->now += 20 * MSEC; /* the searches that fail are limited */
    }
    assert_null(sim->b.peer->active);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL), 0);
    for (size_t bit = 0; bit < 8 * RESPONSE_AT_MACS + 128; bit += 5) {
        memcpy(bad, sim->b.last[1], RESPONSE_BYTES);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(sim_receive(&sim->a, span_make(bad, RESPONSE_BYTES), NULL) > 0);
    }
    assert_int_equal(sim_receive(&sim->a, last_of(&sim->b, WIREGUARD_RESPONSE), NULL), 0);
    sim_inner(data + 16, 100);
    assert_int_equal(wireguard_seal(sim->a.peer, (struct mspan) { data, sizeof(data) }, 100, sim->now, &len),
                     0);
    for (size_t bit = 0; bit < 8 * len; bit += 5) {
        memcpy(bad, data, len);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(sim_receive(&sim->b, span_make(bad, len), NULL) > 0);
    }
    assert_int_equal(sim->b.ready, 0);
    assert_int_equal(sim_receive(&sim->b, span_make(data, len), NULL), 0);
    sim_free(sim);
}

/* A response with the right index and mac1, made without the keys: the real one is still awaited. */
static void a_forged_response_does_not_end_the_handshake(void **state)
{
    (void)state;
    struct sim *sim = sim_new(53);
    uint8_t forged[RESPONSE_BYTES] = { 0 };
    struct blake2s_key key;

    sim->delay = HOUR;
    wireguard_initiate(sim->a.peer, sim->now);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL), 0);
    memcpy(forged, sim->b.last[WIREGUARD_RESPONSE], RESPONSE_BYTES);
    forged[RESPONSE_AT_EMPTY] ^= 1;
    mac1_key(&key, &sim->a.key);
    mac1_write(&key, forged, RESPONSE_AT_MACS);
    for (int i = 0; i < 100; i++)
        assert_int_equal(sim_receive(&sim->a, SPAN_OF(forged), NULL), WIREGUARD_E_FORGED);
    memset(forged + RESPONSE_AT_EPHEMERAL, 0, 32);
    mac1_write(&key, forged, RESPONSE_AT_MACS);
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(forged), NULL), WIREGUARD_E_HOSTILE_KEY);
    forged[RESPONSE_AT_MACS] ^= 1;
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(forged), NULL), WIREGUARD_E_BAD_MAC);
    assert_int_equal(sim_receive(&sim->a, last_of(&sim->b, WIREGUARD_RESPONSE), NULL), 0);
    assert_int_equal(sim_receive(&sim->a, last_of(&sim->b, WIREGUARD_RESPONSE), NULL), WIREGUARD_E_NO_INDEX);
    sim_free(sim);
}

static void unknown_indices_are_told_apart_from_foreign_ones(void **state)
{
    (void)state;
    struct sim *sim = session(54);
    uint8_t data[64] = { TYPE_DATA };
    unsigned shard;

    store_le32(data + 4, 0xabcdef00 | 3); /* B's shard */
    assert_int_equal(sim_receive(&sim->b, SPAN_OF(data), NULL), WIREGUARD_E_NO_INDEX);
    assert_true(wireguard_shard_of(SPAN_OF(data), 2, &shard));
    assert_int_equal(shard, 3);
    store_le32(data + 4, 0xabcdef00 | 2);
    assert_int_equal(sim_receive(&sim->b, SPAN_OF(data), NULL), WIREGUARD_E_OTHER_SHARD);
    assert_true(wireguard_shard_of(last_of(&sim->b, WIREGUARD_RESPONSE), 2, &shard));
    assert_int_equal(shard, 1); /* it goes to A */
    assert_false(wireguard_shard_of(last_of(&sim->a, WIREGUARD_INITIATION), 2, &shard));
    assert_false(wireguard_shard_of(span_make(data, 31), 2, &shard));
    /* data to the index of a handshake that is still pending */
    sim->delay = HOUR;
    sim_run(sim, 10 * SEC);
    wireguard_initiate(sim->a.peer, sim->now);
    memcpy(data + 4, sim->a.last[WIREGUARD_INITIATION] + AT_SENDER, 4);
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(data), NULL), WIREGUARD_E_NO_INDEX);
    sim_free(sim);
}

/* The same initiation by two paths is one handshake; a second one within 20 ms is refused. */
static void duplicates_and_floods_of_initiations_are_refused(void **state)
{
    (void)state;
    struct sim *sim = sim_new(55);

    sim->delay = HOUR;
    wireguard_initiate(sim->a.peer, sim->now);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL), 0);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL),
                     WIREGUARD_E_OLD_INITIATION);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 1);
    sim->a.peer->active->handshake_sent_at = LONG_AGO;
    timers_stop(sim->a.peer->active);
    wireguard_initiate(sim->a.peer, sim->now);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 2);
    sim->now += 20 * MSEC;
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL), WIREGUARD_E_FLOOD);
    sim->now += 1 * MSEC;
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), NULL), 0);
    sim_free(sim);
}

/* A stranger: the owner hears who it is and may hand the same datagram in again when it knows. */
static void an_unknown_initiator_is_told_and_not_remembered(void **state)
{
    (void)state;
    struct sim *sim = sim_new(56);
    struct wireguard_received got;

    wireguard_peer_free(sim->b.peer);
    sim->b.peer = NULL;
    sim->delay = HOUR;
    wireguard_initiate(sim->a.peer, sim->now);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), &got),
                         WIREGUARD_E_UNKNOWN_PEER);
        assert_int_equal(sim->b.unknown, i);
        assert_ptr_equal(got.node, sim->b.node);
        assert_true(public_key_equal(&got.initiator, &sim->a.key));
    }
    sim->now += 9 * SEC;
    assert_int_equal(wireguard_peer_new(&sim->b.peer, sim->b.node, &sim->a.key, &sim->b), 0);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), &got), 0);
    assert_int_equal(sim_receive(&sim->b, last_of(&sim->a, WIREGUARD_INITIATION), &got),
                     WIREGUARD_E_OLD_INITIATION);
    assert_int_equal(sim_receive(&sim->a, last_of(&sim->b, WIREGUARD_RESPONSE), NULL), 0);
    sim_free(sim);
}

static void a_peer_may_be_made_just_in_time(void **state)
{
    (void)state;
    struct sim *sim = sim_new(57);

    wireguard_peer_free(sim->b.peer);
    sim->b.peer = NULL;
    sim->b.make_unknown = true;
    sim_send(&sim->a);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.data, 1);
    assert_int_equal(sim->b.unknown, 1);
    sim_free(sim);
}

/* Whoever claims a key without having it makes the owner do nothing. */
static void a_claimed_key_is_not_told(void **state)
{
    (void)state;
    struct sim *sim = sim_new(58);
    struct identity liar = { sim->a.secret, sim->a.key };
    struct secret_key e = sim->b.secret;
    struct handshake hs;
    struct blake2s_key key;
    uint8_t message[INITIATION_BYTES], guess[32] = { 1 }, stamp[12] = { 0x40, 1 };

    memset(liar.public.bytes, 9, 32); /* some public key whose secret the liar does not have */
    assert_int_equal(initiation_create(&hs, message, &liar, &sim->b.key, guess, &e, stamp, 77), 0);
    mac1_key(&key, &sim->b.key);
    mac1_write(&key, message, INITIATION_AT_MACS);
    assert_int_equal(sim_receive(&sim->b, SPAN_OF(message), NULL), WIREGUARD_E_FORGED);
    assert_int_equal(sim->b.unknown, 0);
    sim_free(sim);
}

/* Over a relay the sender is known before anything is decrypted. */
static void a_relay_must_name_the_right_sender(void **state)
{
    (void)state;
    struct sim *sim = sim_new(59);
    struct wireguard_source from_a = { .relayed = true, .relay_key = sim->a.key };
    struct wireguard_source from_b = { .relayed = true, .relay_key = sim->b.key };
    struct wireguard_source other = { .relayed = true, .relay_key = { { 5 } } };
    uint8_t data[512];
    size_t len;

    sim->delay = HOUR;
    wireguard_initiate(sim->a.peer, sim->now);
    assert_int_equal(receive_from(&sim->b, NULL, last_of(&sim->a, WIREGUARD_INITIATION), &other, NULL),
                     WIREGUARD_E_RELAY_SOURCE);
    assert_int_equal(receive_from(&sim->b, NULL, last_of(&sim->a, WIREGUARD_INITIATION), &from_a, NULL), 0);
    assert_int_equal(receive_from(&sim->a, NULL, last_of(&sim->b, WIREGUARD_RESPONSE), &other, NULL),
                     WIREGUARD_E_RELAY_SOURCE);
    assert_int_equal(receive_from(&sim->a, NULL, last_of(&sim->b, WIREGUARD_RESPONSE), &from_b, NULL), 0);
    sim_inner(data + 16, 100);
    assert_int_equal(wireguard_seal(sim->a.peer, (struct mspan) { data, sizeof(data) }, 100, sim->now, &len),
                     0);
    assert_int_equal(receive_from(&sim->b, NULL, span_make(data, len), &other, NULL),
                     WIREGUARD_E_RELAY_SOURCE);
    assert_int_equal(receive_from(&sim->b, NULL, span_make(data, len), &from_a, NULL), 0);
    sim_free(sim);
}

/* ---- padding ------------------------------------------------------------------- */

static int seal_open(struct sim *sim, const uint8_t *plain, size_t plain_len, struct wireguard_received *got,
                     size_t *wire_len)
{
    static uint8_t room[4096];

    memset(room, 0xee, sizeof(room));
    memcpy(room + 16, plain, plain_len);
    assert_int_equal(wireguard_seal(sim->a.peer, (struct mspan) { room, wireguard_sealed_bytes(plain_len) },
                                    plain_len, sim->now, wire_len),
                     0);
    assert_int_equal(room[*wire_len], 0xee);
    return wireguard_receive(sim->b.w, NULL, (struct mspan) { room, *wire_len }, &sim->a.source, sim->now,
                             got);
}

static void padding_is_to_16_but_not_beyond_the_mtu(void **state)
{
    (void)state;
    static const struct {
        size_t plain, padded;
    } rows[] = { { 20, 32 },     { 32, 32 },     { 33, 48 },     { 1264, 1264 }, { 1265, 1280 },
                 { 1279, 1280 }, { 1280, 1280 }, { 1281, 1296 }, { 2560, 2560 } };
    struct sim *sim = session(60);
    struct wireguard_received got;
    uint8_t plain[2560];
    size_t wire;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        sim_inner(plain, rows[i].plain);
        assert_int_equal(seal_open(sim, plain, rows[i].plain, &got, &wire), 0);
        assert_int_equal(wire, rows[i].padded + 32);
        assert_int_equal(got.kind, WIREGUARD_RECEIVED_DATA);
        assert_span_equal(span_make(got.packet.data, got.packet.len), plain, rows[i].plain);
    }
    sim_free(sim);
}

static void inner_lengths_must_be_possible(void **state)
{
    (void)state;
    struct sim *sim = session(61);
    struct wireguard_received got;
    uint8_t v4[64] = { 0x45 }, v6[64] = { 0x60 }, other[64] = { 0x70 };
    size_t wire;

    store_be16(v4 + 2, 64);
    assert_int_equal(seal_open(sim, v4, 64, &got, &wire), 0);
    assert_int_equal(got.packet.len, 64);
    store_be16(v4 + 2, 20);
    assert_int_equal(seal_open(sim, v4, 64, &got, &wire), 0);
    assert_int_equal(got.packet.len, 20);
    store_be16(v4 + 2, 19);
    assert_int_equal(seal_open(sim, v4, 64, &got, &wire), WIREGUARD_E_BAD_INNER);
    store_be16(v4 + 2, 65);
    assert_int_equal(seal_open(sim, v4, 64, &got, &wire), WIREGUARD_E_BAD_INNER);
    store_be16(v4 + 2, 16);
    assert_int_equal(seal_open(sim, v4, 16, &got, &wire), WIREGUARD_E_BAD_INNER);

    store_be16(v6 + 4, 24);
    assert_int_equal(seal_open(sim, v6, 64, &got, &wire), 0);
    assert_int_equal(got.packet.len, 64);
    store_be16(v6 + 4, 0);
    assert_int_equal(seal_open(sim, v6, 64, &got, &wire), 0);
    assert_int_equal(got.packet.len, 40);
    store_be16(v6 + 4, 25);
    assert_int_equal(seal_open(sim, v6, 64, &got, &wire), WIREGUARD_E_BAD_INNER);
    store_be16(v6 + 4, 0xffff);
    assert_int_equal(seal_open(sim, v6, 64, &got, &wire), WIREGUARD_E_BAD_INNER);
    assert_int_equal(seal_open(sim, v6, 32, &got, &wire), WIREGUARD_E_BAD_INNER);

    assert_int_equal(seal_open(sim, other, 64, &got, &wire), WIREGUARD_E_BAD_INNER);
    sim_free(sim);
}

/* A run for UDP_SEGMENT: equal pieces, the last one shorter. */
static void a_batch_is_one_run_of_datagrams(void **state)
{
    (void)state;
    enum { COUNT = 20, STRIDE = 1280 + 32 };
    static uint8_t run[COUNT * STRIDE];
    struct sim *sim = session(62);
    struct wireguard_batch b = { run, COUNT, STRIDE, 1280, 77 };
    struct wireguard_received got;

    for (size_t i = 0; i < COUNT; i++) {
        sim_inner(run + i * STRIDE + 16, i + 1 == COUNT ? 77 : 1280);
        run[i * STRIDE + 16 + 21] = (uint8_t)i;
    }
    assert_int_equal(wireguard_seal_batch(sim->a.peer, &b, sim->now), 0);
    for (size_t i = 0; i < COUNT; i++) {
        size_t len = i + 1 == COUNT ? 32 + 80 : STRIDE;

        assert_int_equal(load_le64(run + i * STRIDE + 8), i + 1); /* counter 0 was the first packet */
        assert_int_equal(wireguard_receive(sim->b.w, NULL, (struct mspan) { run + i * STRIDE, len },
                                           &sim->a.source, sim->now, &got),
                         0);
        assert_int_equal(got.packet.len, i + 1 == COUNT ? 77 : 1280);
        assert_int_equal(got.packet.data[21], i);
    }
    sim_free(sim);
}

/* ---- load ---------------------------------------------------------------------- */

/* Initiations whose mac1 is right and nothing else, from many addresses. */
static void flood(struct sim_side *s, int count)
{
    uint8_t message[INITIATION_BYTES] = { TYPE_INITIATION };
    struct blake2s_key key;

    mac1_key(&key, &s->key);
    for (int i = 0; i < count; i++) {
        struct wireguard_source source = source_of((uint8_t)i, (uint16_t)i);
        int r;

        sim_random(s->sim, message + 4, INITIATION_AT_MACS - 4);
        mac1_write(&key, message, INITIATION_AT_MACS);
        r = receive_from(s, NULL, SPAN_OF(message), &source, NULL);
        assert_true(r == WIREGUARD_E_FORGED || r == WIREGUARD_E_COOKIE_SENT);
    }
}

/* Keeps the other side under load while time passes. */
static void run_under_load(struct sim *sim, struct sim_side *loaded, time_ns for_ns)
{
    for (time_ns t = 0; t < for_ns; t += 100 * MSEC) {
        flood(loaded, 60);
        sim_run(sim, 100 * MSEC);
    }
}

/* Under load the responder wants a cookie; the initiator shows it with its next try. */
static void under_load_a_cookie_gets_through(void **state)
{
    (void)state;
    struct sim *sim = sim_new(63);
    int cookies;

    flood(&sim->b, 256);
    assert_int_equal(sim->b.sent[WIREGUARD_COOKIE_REPLY], 0); /* so many are taken as they come */
    run_under_load(sim, &sim->b, SEC);
    cookies = sim->b.sent[WIREGUARD_COOKIE_REPLY];
    assert_true(cookies > 500);
    sim_send(&sim->a);
    run_under_load(sim, &sim->b, SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 0);
    assert_true(sim->a.peer->active->cookie_at > 0);
    run_under_load(sim, &sim->b, 5 * SEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 2);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 1);
    assert_int_equal(sim->b.data, 1);
    /* and the load ends by itself, one second after the last of it */
    sim_run(sim, 1100 * MSEC);
    cookies = sim->b.sent[WIREGUARD_COOKIE_REPLY];
    flood(&sim->b, 50);
    assert_int_equal(sim->b.sent[WIREGUARD_COOKIE_REPLY], cookies);
    sim_free(sim);
}

/* The initiator is the one under load: the responder shows a cookie with its next response. */
static void responses_need_cookies_too(void **state)
{
    (void)state;
    struct sim *sim = sim_new(64);

    flood(&sim->a, 300);
    sim_send(&sim->a);
    run_under_load(sim, &sim->a, SEC);
    assert_int_equal(sim->a.ready, 0);
    assert_true(sim->b.peer->active->cookie_at > 0);
    run_under_load(sim, &sim->a, 5 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 2);
    assert_int_equal(sim->a.ready, 1);
    assert_int_equal(sim->b.data, 1);
    sim_free(sim);
}

/* A cookie is no free ticket: five at once from one address, then twenty a second. */
static void cookies_do_not_lift_the_rate(void **state)
{
    (void)state;
    struct sim *sim = sim_new(65);
    struct wireguard_source source = source_of(1, 1);
    struct blake2s_key key;
    uint8_t message[INITIATION_BYTES] = { TYPE_INITIATION }, cookie[COOKIE_BYTES];
    int through = 0;

    flood(&sim->b, 300);
    mac1_key(&key, &sim->b.key);
    for (int i = 0; i < 50; i++) {
        int r;

        sim_random(sim, message + 4, INITIATION_AT_MACS - 4);
        mac1_write(&key, message, INITIATION_AT_MACS);
        source.address.port = (uint16_t)i; /* ports do not help */
        cookie_make(cookie, sim->b.w->process_secret, sim->now, &source);
        mac2_write(cookie, message, INITIATION_AT_MACS);
        r = receive_from(&sim->b, NULL, SPAN_OF(message), &source, NULL);
        assert_true(r == WIREGUARD_E_FORGED || r == WIREGUARD_E_RATE_LIMIT);
        through += r == WIREGUARD_E_FORGED;
        sim->now += 2 * MSEC;
    }
    assert_int_equal(through, 5 + 1); /* one more after 50 ms */
    sim_free(sim);
}

static void a_cookie_for_another_message_is_refused(void **state)
{
    (void)state;
    struct sim *sim = sim_new(66);
    uint8_t reply[COOKIE_REPLY_BYTES], cookie[16] = { 1 }, nonce[24] = { 2 }, mac1[16] = { 3 };
    uint32_t index;

    sim->delay = HOUR;
    wireguard_initiate(sim->a.peer, sim->now);
    index = sim->a.peer->active->pending_index;
    cookie_reply_create(reply, &sim->b.key, index, nonce, cookie, mac1);
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(reply), NULL), WIREGUARD_E_FORGED);
    cookie_reply_create(reply, &sim->b.key, index ^ 0x100, nonce, cookie,
                        sim->a.last[0] + INITIATION_AT_MACS);
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(reply), NULL), WIREGUARD_E_NO_INDEX);
    cookie_reply_create(reply, &sim->b.key, index, nonce, cookie, sim->a.last[0] + INITIATION_AT_MACS);
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(reply), NULL), 0);
    assert_memory_equal(sim->a.peer->active->cookie, cookie, 16);
    sim_free(sim);
}

/* ---- many nodes ------------------------------------------------------------------ */

#define CROWD 300

struct crowd {
    struct sim *sim;
    struct wireguard_node *nodes[CROWD];
    struct public_key keys[CROWD];
};

static void crowd_make(struct crowd *c, uint64_t seed)
{
    c->sim = sim_new(seed);
    c->sim->delay = HOUR;
    for (size_t i = 0; i < CROWD; i++) {
        struct secret_key k = { { (uint8_t)i, (uint8_t)(i >> 8), 7 } };

        secret_key_clamp(&k);
        k.bytes[1] = (uint8_t)i;
        k.bytes[2] = (uint8_t)(i >> 8);
        secret_key_public(&k, &c->keys[i]);
        assert_int_equal(wireguard_node_new(&c->nodes[i], c->sim->b.w, &k, NULL), 0);
    }
}

static void crowd_free(struct crowd *c)
{
    for (size_t i = 0; i < CROWD; i++)
        wireguard_node_free(c->nodes[i]);
    sim_free(c->sim);
}

/* An initiation of A to a key that is not its usual peer. */
static void initiation_to(struct crowd *c, const struct public_key *key, uint8_t out[INITIATION_BYTES])
{
    struct sim_side *a = &c->sim->a;
    struct wireguard_peer *usual = a->peer;

    assert_int_equal(wireguard_peer_new(&a->peer, a->node, key, a), 0);
    wireguard_initiate(a->peer, c->sim->now);
    memcpy(out, a->last[WIREGUARD_INITIATION], INITIATION_BYTES);
    wireguard_peer_free(a->peer);
    a->peer = usual;
}

static void an_initiation_finds_its_node_among_many(void **state)
{
    (void)state;
    struct crowd c;
    struct wireguard_received got;
    uint8_t message[INITIATION_BYTES];

    crowd_make(&c, 67);
    for (size_t i = 0; i < CROWD; i += 7) {
        initiation_to(&c, &c.keys[i], message);
        assert_int_equal(sim_receive(&c.sim->b, SPAN_OF(message), &got), WIREGUARD_E_UNKNOWN_PEER);
        assert_ptr_equal(got.node, c.nodes[i]);
        /* a wrong hint does no harm */
        assert_int_equal(receive_from(&c.sim->b, c.nodes[5], SPAN_OF(message), &c.sim->a.source, &got),
                         WIREGUARD_E_UNKNOWN_PEER);
        assert_ptr_equal(got.node, c.nodes[i]);
        c.sim->now += 10 * SEC;
    }
    crowd_free(&c);
}

static void a_key_can_be_used_once_a_shard(void **state)
{
    (void)state;
    struct sim *sim = sim_new(68);
    struct wireguard_node *n;
    struct wireguard_peer *p;

    assert_int_equal(wireguard_node_new(&n, sim->a.w, &sim->a.secret, NULL), -EEXIST);
    assert_int_equal(wireguard_peer_new(&p, sim->a.node, &sim->b.key, NULL), -EEXIST);
    assert_ptr_equal(wireguard_peer_find(sim->a.node, &sim->b.key), sim->a.peer);
    assert_null(wireguard_peer_find(sim->a.node, &sim->a.key));
    sim_free(sim);
}

/* Searches that fail are charged to their network: 50, then one each 20 ms. Others, and those whose
 * node is found, go on. */
static void failing_searches_are_limited(void **state)
{
    (void)state;
    struct crowd c;
    struct wireguard_source loud = source_of(1, 1),
                            calm = { .address = { ip_from_v4((uint8_t[]) { 9, 9, 9, 9 }), 1 } };
    uint8_t junk[INITIATION_BYTES] = { TYPE_INITIATION }, good[INITIATION_BYTES];
    struct wireguard_received got;
    int searched = 0;

    crowd_make(&c, 69);
    initiation_to(&c, &c.keys[200], good);
    for (int i = 0; i < 200; i++) {
        int r;

        loud.address = source_of((uint8_t)i, (uint16_t)i).address;
        r = receive_from(&c.sim->b, NULL, SPAN_OF(junk), &loud, NULL);
        assert_true(r == WIREGUARD_E_NO_NODE || r == WIREGUARD_E_SEARCH_LIMIT);
        searched += r == WIREGUARD_E_NO_NODE;
    }
    assert_int_equal(searched, 50);
    assert_int_equal(receive_from(&c.sim->b, NULL, SPAN_OF(good), &loud, NULL), WIREGUARD_E_SEARCH_LIMIT);
    assert_int_equal(receive_from(&c.sim->b, c.nodes[200], SPAN_OF(good), &loud, NULL),
                     WIREGUARD_E_UNKNOWN_PEER);
    for (int i = 0; i < 200; i++)
        assert_int_equal(receive_from(&c.sim->b, NULL, SPAN_OF(good), &calm, &got), WIREGUARD_E_UNKNOWN_PEER);
    c.sim->now += 20 * MSEC;
    assert_int_equal(receive_from(&c.sim->b, NULL, SPAN_OF(junk), &loud, NULL), WIREGUARD_E_NO_NODE);
    crowd_free(&c);
}

/* A source that has made a handshake with a node reaches it again although its searches are used up. */
static void known_sources_need_no_search(void **state)
{
    (void)state;
    struct crowd c;
    uint8_t junk[INITIATION_BYTES] = { TYPE_INITIATION };

    crowd_make(&c, 70);
    c.sim->delay = MSEC;
    sim_send(&c.sim->a);
    sim_run(c.sim, SEC);
    assert_int_equal(c.sim->b.data, 1);
    while (sim_receive(&c.sim->b, SPAN_OF(junk), NULL) == WIREGUARD_E_NO_NODE)
        ;
    sim_run(c.sim, 10 * MSEC);
    c.sim->a.peer->active->handshake_sent_at = LONG_AGO;
    wireguard_initiate(c.sim->a.peer, c.sim->now);
    sim_run(c.sim, 10 * MSEC);
    assert_int_equal(c.sim->b.sent[WIREGUARD_RESPONSE], 2);
    crowd_free(&c);
}

/* A thousand peers at once: those over the limit wait a little, and all of them get their turn. */
static void many_initiations_at_once_are_spread(void **state)
{
    (void)state;
    struct sim *sim = sim_new(71);
    struct sim_side *a = &sim->a;
    struct wireguard_peer *usual = a->peer, *peers[200];
    int sent;

    sim->delay = HOUR;
    for (size_t i = 0; i < COUNT_OF(peers); i++) {
        struct secret_key k;
        struct public_key p;

        sim_random(sim, &k, sizeof(k));
        secret_key_clamp(&k);
        secret_key_public(&k, &p);
        assert_int_equal(wireguard_peer_new(&a->peer, a->node, &p, a), 0);
        peers[i] = a->peer;
        wireguard_initiate(a->peer, sim->now);
    }
    sent = a->sent[WIREGUARD_INITIATION];
    assert_int_equal(sent, 100);
    for (int i = 0; i < 60; i++) {
        sim->now += 25 * MSEC;
        for (size_t j = 0; j < COUNT_OF(peers); j++) {
            a->peer = peers[j];
            if (wireguard_peer_deadline(peers[j]) <= sim->now)
                wireguard_peer_tick(peers[j], sim->now);
        }
        assert_true(a->sent[WIREGUARD_INITIATION] <= sent + 10 * (i + 1));
    }
    assert_int_equal(a->sent[WIREGUARD_INITIATION], 200);
    for (size_t j = 0; j < COUNT_OF(peers); j++)
        wireguard_peer_free(peers[j]);
    a->peer = usual;
    sim_free(sim);
}

static void outcomes_have_texts_and_counters(void **state)
{
    (void)state;
    struct sim *sim = session(72);
    uint8_t nothing[4] = { 0 };

    for (int i = 0; i < WIREGUARD_OUTCOME_COUNT; i++)
        assert_true(strlen(wireguard_outcome_text(i)) > 3);
    assert_int_equal(sim_receive(&sim->a, SPAN_OF(nothing), NULL), WIREGUARD_E_NO_MESSAGE);
    assert_int_equal(wireguard_counters(sim->a.w)->outcomes[WIREGUARD_E_NO_MESSAGE], 1);
    assert_int_equal(wireguard_counters(sim->b.w)->outcomes[0], 2);
    assert_int_equal(wireguard_counters(sim->a.w)->handshakes_done, 1);
    assert_int_equal(wireguard_counters(sim->b.w)->handshakes_done, 1);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_lengths_and_types_are_no_messages),
        cmocka_unit_test(truncated_messages_are_refused),
        cmocka_unit_test(one_wrong_bit_changes_nothing),
        cmocka_unit_test(a_forged_response_does_not_end_the_handshake),
        cmocka_unit_test(unknown_indices_are_told_apart_from_foreign_ones),
        cmocka_unit_test(duplicates_and_floods_of_initiations_are_refused),
        cmocka_unit_test(an_unknown_initiator_is_told_and_not_remembered),
        cmocka_unit_test(a_peer_may_be_made_just_in_time),
        cmocka_unit_test(a_claimed_key_is_not_told),
        cmocka_unit_test(a_relay_must_name_the_right_sender),
        cmocka_unit_test(padding_is_to_16_but_not_beyond_the_mtu),
        cmocka_unit_test(inner_lengths_must_be_possible),
        cmocka_unit_test(a_batch_is_one_run_of_datagrams),
        cmocka_unit_test(under_load_a_cookie_gets_through),
        cmocka_unit_test(responses_need_cookies_too),
        cmocka_unit_test(cookies_do_not_lift_the_rate),
        cmocka_unit_test(a_cookie_for_another_message_is_refused),
        cmocka_unit_test(an_initiation_finds_its_node_among_many),
        cmocka_unit_test(a_key_can_be_used_once_a_shard),
        cmocka_unit_test(failing_searches_are_limited),
        cmocka_unit_test(known_sources_need_no_search),
        cmocka_unit_test(many_initiations_at_once_are_spread),
        cmocka_unit_test(outcomes_have_texts_and_counters),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

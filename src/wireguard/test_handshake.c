#include "check.h"

#include "wireguard/handshake.h"
#include "wireguard/mac.h"

/* Made by an independent program; wireguard-go's own functions accepted and reproduced the messages.
 * Keys are seeds 01, 21, 41, 61 counting up, clamped; time 1700000000 s, nanoseconds 11000000 (hex). */
#define INITIATION                                                                                        \
    "010000000102030464b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466158a0e4ca242d151ca"  \
    "97ab90159a98b67e616625e68b4065d357376b6598e644ad7d678c0295d22de4cb43d5135581ed36346bfa7cf42a123039f" \
    "8930847a7d24072f0ab692146334d07dbde88f6105fd04a975da3db205e17adff3100000000000000000000000000000000"
#define CK_INITIATION "643693a7636a42b588f115bc0aae9a1db8432634b2e8d96ed67d308e74e132f5"
#define H_INITIATION "51b81db6a4c0a4661e5915a08d0317063ace3854db61bf81d104cc83827ceb65"
#define RESPONSE                                                                                         \
    "020000000506070801020304244fe3b963e899dd295baffce248d3530f3a9a7479ba063002680ebfe7adad495463be1244" \
    "f4b3d1875cf9e083cae32056942c32d4112a5bc2f855fb32be127e00000000000000000000000000000000"
#define SEND_KEY "c5f330b6dc92c8bd4124800733b33cd9d7e5dd2ac8c782e1b558f9b2b60804d8"
#define RECEIVE_KEY "df0e53eac779a4c1ab023907c8dda549efdbf8ca9a4ce931ba1d27a2a8be73f9"
#define INITIATOR_INDEX 0x04030201
#define RESPONDER_INDEX 0x08070605

/* Made with golang.org/x/crypto: cookie c0..cf, nonce 00..17, for the initiation above. */
#define COOKIE_REPLY                                                                                     \
    "0300000001020304000102030405060708090a0b0c0d0e0f101112131415161704d443653cda5347908cb4c9ae5a306073" \
    "cd2fd8054a6eab2b3d0b3206f7124d"
#define MAC2 "8428fb08dba113eaf89da3e263228483"

struct world {
    struct identity i, r;
    struct secret_key ei, er;
    uint8_t shared[32], timestamp[12];
    uint8_t initiation[INITIATION_BYTES], response[RESPONSE_BYTES];
};

static struct secret_key key_from(uint8_t start)
{
    struct secret_key k;

    for (size_t i = 0; i < sizeof(k.bytes); i++)
        k.bytes[i] = (uint8_t)(start + i);
    secret_key_clamp(&k);
    return k;
}

static void world_make(struct world *w)
{
    w->i.secret = key_from(0x01);
    w->r.secret = key_from(0x21);
    w->ei = key_from(0x41);
    w->er = key_from(0x61);
    secret_key_public(&w->i.secret, &w->i.public);
    secret_key_public(&w->r.secret, &w->r.public);
    assert_true(x25519(w->shared, &w->i.secret, &w->r.public));
    from_hex("400000006553f10a11000000", w->timestamp, sizeof(w->timestamp));
    from_hex(INITIATION, w->initiation, sizeof(w->initiation));
    from_hex(RESPONSE, w->response, sizeof(w->response));
}

static void assert_hex(const uint8_t *got, const char *hex)
{
    uint8_t want[256];
    size_t len = from_hex(hex, want, sizeof(want));

    assert_memory_equal(got, want, len);
}

static void initiate(const struct world *w, struct handshake *hs)
{
    uint8_t out[INITIATION_BYTES];
    struct blake2s_key key;

    assert_int_equal(
        initiation_create(hs, out, &w->i, &w->r.public, w->shared, &w->ei, w->timestamp, INITIATOR_INDEX), 0);
    mac1_key(&key, &w->r.public);
    mac1_write(&key, out, INITIATION_AT_MACS);
    assert_memory_equal(out, w->initiation, sizeof(out));
}

static void the_initiator_makes_the_known_handshake(void **state)
{
    (void)state;
    struct world w;
    struct handshake hs;
    struct session_keys keys;

    world_make(&w);
    initiate(&w, &hs);
    assert_hex(hs.ck, CK_INITIATION);
    assert_hex(hs.h, H_INITIATION);
    assert_int_equal(response_consume(&hs, w.response, &w.i, &keys), 0);
    assert_hex(keys.send, SEND_KEY);
    assert_hex(keys.receive, RECEIVE_KEY);
}

static void the_responder_makes_the_known_handshake(void **state)
{
    (void)state;
    struct world w;
    struct initiation in;
    struct session_keys keys;
    struct blake2s_key key;
    uint8_t out[RESPONSE_BYTES];

    world_make(&w);
    mac1_key(&key, &w.r.public);
    assert_true(mac1_matches(&key, w.initiation, INITIATION_AT_MACS));
    assert_int_equal(initiation_open(&in, w.initiation, &w.r), 0);
    assert_true(public_key_equal(&in.initiator, &w.i.public));
    assert_int_equal(initiation_verify(&in, w.initiation, w.shared), 0);
    assert_memory_equal(in.timestamp, w.timestamp, sizeof(in.timestamp));
    assert_hex(in.ck, CK_INITIATION);
    assert_hex(in.h, H_INITIATION);
    assert_int_equal(in.sender, INITIATOR_INDEX);
    assert_int_equal(response_create(&in, out, &w.er, RESPONDER_INDEX, &keys), 0);
    mac1_key(&key, &w.i.public);
    mac1_write(&key, out, RESPONSE_AT_MACS);
    assert_memory_equal(out, w.response, sizeof(out));
    assert_hex(keys.send, RECEIVE_KEY);
    assert_hex(keys.receive, SEND_KEY);
}

/* Every bit of the initiation up to the macs matters, and of the response after the sender index
 * (which the transcript does not cover: it only says where to send). */
static void one_wrong_bit_is_refused(void **state)
{
    (void)state;
    struct world w;
    struct handshake hs;
    struct session_keys keys;

    world_make(&w);
    initiate(&w, &hs);
    for (size_t bit = 8 * INITIATION_AT_EPHEMERAL; bit < 8 * INITIATION_AT_MACS; bit++) {
        struct initiation in;
        uint8_t bad[INITIATION_BYTES];
        int r;

        memcpy(bad, w.initiation, sizeof(bad));
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        r = initiation_open(&in, bad, &w.r);
        if (!r)
            r = initiation_verify(&in, bad, w.shared);
        assert_true(r == WIREGUARD_E_FORGED || r == WIREGUARD_E_HOSTILE_KEY);
    }
    for (size_t bit = 8 * RESPONSE_AT_EPHEMERAL; bit < 8 * RESPONSE_AT_MACS; bit++) {
        uint8_t bad[RESPONSE_BYTES];

        memcpy(bad, w.response, sizeof(bad));
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(response_consume(&hs, bad, &w.i, &keys) > 0);
    }
    assert_int_equal(response_consume(&hs, w.response, &w.i, &keys), 0); /* still */
}

static void hostile_keys_are_refused(void **state)
{
    (void)state;
    struct world w;
    struct handshake hs;
    struct initiation in;
    struct session_keys keys;
    struct public_key zero = { { 0 } };
    uint8_t out[INITIATION_BYTES];

    world_make(&w);
    assert_int_equal(initiation_create(&hs, out, &w.i, &zero, w.shared, &w.ei, w.timestamp, 1),
                     WIREGUARD_E_HOSTILE_KEY);
    initiate(&w, &hs);
    memset(w.response + RESPONSE_AT_EPHEMERAL, 0, 32);
    assert_int_equal(response_consume(&hs, w.response, &w.i, &keys), WIREGUARD_E_HOSTILE_KEY);
    assert_int_equal(initiation_open(&in, w.initiation, &w.r), 0);
    in.ephemeral = zero;
    assert_int_equal(response_create(&in, out, &w.er, 1, &keys), WIREGUARD_E_HOSTILE_KEY);
    memset(w.initiation + INITIATION_AT_EPHEMERAL, 0, 32);
    assert_int_equal(initiation_open(&in, w.initiation, &w.r), WIREGUARD_E_HOSTILE_KEY);
}

static void data_packets_are_the_known_ones(void **state)
{
    (void)state;
    uint8_t key[32], keepalive[16], data[32], want[32], nonce[12];

    from_hex(SEND_KEY, key, 32);
    aead_nonce_le(nonce, 0);
    aead_seal(keepalive, SPAN_NONE, SPAN_NONE, nonce, key);
    from_hex("fd3ffdf38f1bfad20a6fdb169d83d3d3", want, 16);
    assert_memory_equal(keepalive, want, 16);
    memcpy(data, "hello\0\0\0\0\0\0\0\0\0\0\0", 16);
    aead_nonce_le(nonce, 1);
    aead_seal(data, span_make(data, 16), SPAN_NONE, nonce, key);
    from_hex("ffdd0c2b04829cdf8bec09c816167c49896b9474f55b82e016fe50dc07ccfc65", want, 32);
    assert_memory_equal(data, want, 32);
}

static void cookie_replies_are_the_known_ones(void **state)
{
    (void)state;
    struct world w;
    uint8_t cookie[16], nonce[24], want[COOKIE_REPLY_BYTES], got[COOKIE_REPLY_BYTES], back[16];
    const uint8_t *mac1 = w.initiation + INITIATION_AT_MACS;

    world_make(&w);
    for (size_t i = 0; i < 24; i++)
        nonce[i] = (uint8_t)i;
    for (size_t i = 0; i < 16; i++)
        cookie[i] = (uint8_t)(0xc0 + i);
    from_hex(COOKIE_REPLY, want, sizeof(want));
    cookie_reply_create(got, &w.r.public, INITIATOR_INDEX, nonce, cookie, mac1);
    assert_memory_equal(got, want, sizeof(got));
    assert_true(cookie_reply_consume(got, &w.r.public, mac1, back));
    assert_memory_equal(back, cookie, 16);
    assert_false(cookie_reply_consume(got, &w.i.public, mac1, back));
    got[COOKIE_AT_SEALED] ^= 1;
    assert_false(cookie_reply_consume(got, &w.r.public, mac1, back));

    mac2_write(cookie, w.initiation, INITIATION_AT_MACS);
    assert_hex(w.initiation + INITIATION_AT_MACS + MAC_BYTES, MAC2);
    assert_true(mac2_matches(cookie, w.initiation, INITIATION_AT_MACS));
    w.initiation[0] ^= 1;
    assert_false(mac2_matches(cookie, w.initiation, INITIATION_AT_MACS));
}

/* One source, one cookie, for two minutes; a relay key is a source of its own. */
static void cookies_bind_source_and_time(void **state)
{
    (void)state;
    struct wireguard_source a = { .address = { .ip = { { 1 } }, .port = 7 } }, b = a;
    uint8_t secret[32] = { 1 }, x[16], y[16];

    cookie_make(x, secret, 1000 * SEC, &a);
    cookie_make(y, secret, 1001 * SEC, &a);
    assert_memory_equal(x, y, 16);
    cookie_make(y, secret, 1000 * SEC + COOKIE_LIFE, &a);
    assert_memory_not_equal(x, y, 16);
    b.address.port = 8;
    cookie_make(y, secret, 1000 * SEC, &b);
    assert_memory_not_equal(x, y, 16);
    b = a;
    b.relayed = true;
    cookie_make(y, secret, 1000 * SEC, &b);
    assert_memory_not_equal(x, y, 16);
    secret[31] = 1;
    cookie_make(y, secret, 1000 * SEC, &a);
    assert_memory_not_equal(x, y, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_initiator_makes_the_known_handshake),
        cmocka_unit_test(the_responder_makes_the_known_handshake),
        cmocka_unit_test(one_wrong_bit_is_refused),
        cmocka_unit_test(hostile_keys_are_refused),
        cmocka_unit_test(data_packets_are_the_known_ones),
        cmocka_unit_test(cookie_replies_are_the_known_ones),
        cmocka_unit_test(cookies_bind_source_and_time),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

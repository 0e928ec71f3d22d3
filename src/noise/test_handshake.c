#include "check.h"

#include "noise/noise.h"

/* Vectors: made by an independent implementation and compared with the reference client's own
 * handshake code. Version 130; keys are seeds 00, 20, 40, 60 counting up, clamped. */
#define VERSION 130
#define H_MESSAGE_1 "9a93d00bef1a37e155d7b74add229d1429e4d387677cf4d60c6cb872039e0edb"
#define CK_MESSAGE_1 "859ff0aa416be42ccff019b9b0a8c90127042d9022f1b7653360236214fabc5c"
#define INITIATION                                                                                     \
    "008201006079a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51aad5b8febedeb97415be536" \
    "12205e6bfab385e34cb127dd8854c4f9afb10f9b0eb83cff7aa60a9181fdc9262eab1cb2f2011786ba945d97c1e2ae74" \
    "a75496cb12"
#define RESPONSE                                                                                       \
    "020030675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52fba7fc8a05ada2d56df24bbaee4" \
    "660d6f"
#define FINAL_H "b2d04a4ee141b4f2f2fdbf2a0f8f533a6a6329b4bfc1515c857d1b4848021db6"
#define K1 "b5a6c358cd51a1fc717517315852e009148ee5480cf70a3caf4d4f9498c9ca8e"
#define K2 "d8ebca0df9236e3c51fcc4e5d506d473b019dd191d7ac7112d1e046898a1e78d"

struct keys {
    struct secret_key machine, server, e, re;
    struct public_key machine_public, server_public;
    uint8_t initiation[NOISE_INITIATION_BYTES], response[NOISE_RESPONSE_BYTES];
};

static struct secret_key key_from(uint8_t start)
{
    struct secret_key k;

    for (size_t i = 0; i < sizeof(k.bytes); i++)
        k.bytes[i] = (uint8_t)(start + i);
    secret_key_clamp(&k);
    return k;
}

static struct keys known(void)
{
    struct keys k = { key_from(0x00), key_from(0x20), key_from(0x40), key_from(0x60),
                      { { 0 } },      { { 0 } },      { 0 },          { 0 } };

    secret_key_public(&k.machine, &k.machine_public);
    secret_key_public(&k.server, &k.server_public);
    from_hex(INITIATION, k.initiation, sizeof(k.initiation));
    from_hex(RESPONSE, k.response, sizeof(k.response));
    return k;
}

static void assert_hex(const uint8_t *got, const char *hex)
{
    uint8_t want[256];
    size_t len = from_hex(hex, want, sizeof(want));

    assert_memory_equal(got, want, len);
}

static void start(struct keys *k, struct noise_handshake *hs)
{
    uint8_t out[NOISE_INITIATION_BYTES];

    assert_int_equal(noise_initiation_create(hs, VERSION, &k->machine, &k->server_public, &k->e, out), 0);
    assert_memory_equal(out, k->initiation, sizeof(out));
}

static void the_client_makes_the_known_handshake(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake hs;
    struct noise_session s;
    struct span refusal;
    size_t used;

    start(&k, &hs);
    assert_hex(hs.h, H_MESSAGE_1);
    assert_hex(hs.ck, CK_MESSAGE_1);
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(k.response), &used, &s, &refusal), 0);
    assert_int_equal(used, NOISE_RESPONSE_BYTES);
    assert_hex(s.hash, FINAL_H);
    assert_hex(s.send_key, K1);
    assert_hex(s.receive_key, K2);
}

static void the_server_makes_the_known_handshake(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake hs;
    struct noise_session s;
    uint8_t out[NOISE_RESPONSE_BYTES];
    uint16_t version;
    size_t used;

    assert_int_equal(noise_initiation_consume(&hs, &k.server, SPAN_OF(k.initiation), &used, &version), 0);
    assert_int_equal(used, NOISE_INITIATION_BYTES);
    assert_int_equal(version, VERSION);
    assert_true(public_key_equal(&hs.peer, &k.machine_public));
    assert_hex(hs.h, H_MESSAGE_1);
    assert_int_equal(noise_response_create(&hs, &k.re, out, &s), 0);
    assert_memory_equal(out, k.response, sizeof(out));
    assert_hex(s.hash, FINAL_H);
    assert_hex(s.send_key, K2);
    assert_hex(s.receive_key, K1);
}

/* With fresh keys on both sides: two handshakes never look the same, and the two ends agree. */
static void fresh_ephemerals_agree(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake client, server;
    struct noise_session a, b;
    uint8_t first[NOISE_INITIATION_BYTES], second[NOISE_INITIATION_BYTES], out[NOISE_RESPONSE_BYTES];
    struct span refusal;
    uint16_t version;
    size_t used;

    assert_int_equal(noise_initiation_create(&client, 113, &k.machine, &k.server_public, NULL, first), 0);
    assert_int_equal(noise_initiation_create(&client, 113, &k.machine, &k.server_public, NULL, second), 0);
    assert_memory_not_equal(first + 5, second + 5, 32);
    assert_int_equal(noise_initiation_consume(&server, &k.server, SPAN_OF(second), &used, &version), 0);
    assert_int_equal(version, 113);
    assert_int_equal(noise_response_create(&server, NULL, out, &b), 0);
    assert_int_equal(noise_response_consume(&client, SPAN_OF(out), &used, &a, &refusal), 0);
    assert_memory_equal(a.send_key, b.receive_key, 32);
    assert_memory_equal(a.receive_key, b.send_key, 32);
    assert_memory_equal(a.hash, b.hash, 32);
}

static void every_prefix_asks_for_more(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake hs, server;
    struct noise_session s;
    struct span refusal;
    uint16_t version;
    size_t used = 77;

    start(&k, &hs);
    for (size_t len = 0; len < sizeof(k.response); len++)
        assert_int_equal(noise_response_consume(&hs, span_make(k.response, len), &used, &s, &refusal),
                         NOISE_E_MORE);
    for (size_t len = 0; len < sizeof(k.initiation); len++)
        assert_int_equal(
            noise_initiation_consume(&server, &k.server, span_make(k.initiation, len), &used, &version),
            NOISE_E_MORE);
    assert_int_equal(used, 77);
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(k.response), &used, &s, &refusal), 0);
}

/* Whatever bit is wrong; and the handshake under way survives it. */
static void one_wrong_bit_is_refused(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake hs, server;
    struct noise_session s;
    struct span refusal;
    uint16_t version;
    size_t used;

    start(&k, &hs);
    for (size_t bit = 0; bit < 8 * sizeof(k.response); bit++) {
        uint8_t bad[NOISE_RESPONSE_BYTES];
        int r;

        memcpy(bad, k.response, sizeof(bad));
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        r = noise_response_consume(&hs, SPAN_OF(bad), &used, &s, &refusal);
        /* the top bit of a Curve25519 point is ignored, but it is hashed */
        assert_true(r > 0);
    }
    for (size_t bit = 0; bit < 8 * sizeof(k.initiation); bit++) {
        uint8_t bad[NOISE_INITIATION_BYTES];

        memcpy(bad, k.initiation, sizeof(bad));
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(noise_initiation_consume(&server, &k.server, SPAN_OF(bad), &used, &version) > 0);
    }
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(k.response), &used, &s, &refusal), 0);
}

static void another_server_key_is_refused(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake server;
    uint16_t version;
    size_t used;

    assert_int_equal(noise_initiation_consume(&server, &k.re, SPAN_OF(k.initiation), &used, &version),
                     NOISE_E_FORGED);
    memset(k.initiation + 5, 0, 32);
    assert_int_equal(noise_initiation_consume(&server, &k.server, SPAN_OF(k.initiation), &used, &version),
                     NOISE_E_KEY);
    memset(&k.server_public, 0, sizeof(k.server_public));
    assert_int_equal(
        noise_initiation_create(&server, VERSION, &k.machine, &k.server_public, NULL, k.initiation),
        NOISE_E_KEY);
}

static void a_refusal_comes_out_as_its_text(void **state)
{
    (void)state;
    struct keys k = known();
    struct noise_handshake hs;
    struct noise_session s;
    struct span refusal = SPAN_NONE;
    size_t used;
    uint8_t frame[] = { 3, 0, 7, 't', 'o', 'o', ' ', 'o', 'l', 'd', 4 };
    uint8_t huge[] = { 3, 0x0f, 0xfe }, wrong[] = { 2, 0, 49 }, other[] = { 4 };

    start(&k, &hs);
    for (size_t len = 0; len < 10; len++)
        assert_int_equal(noise_response_consume(&hs, span_make(frame, len), &used, &s, &refusal),
                         NOISE_E_MORE);
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(frame), &used, &s, &refusal), NOISE_E_REFUSED);
    assert_span_text(refusal, "too old");
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(huge), &used, &s, &refusal), NOISE_E_FORMAT);
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(wrong), &used, &s, &refusal), NOISE_E_FORMAT);
    assert_int_equal(noise_response_consume(&hs, SPAN_OF(other), &used, &s, &refusal), NOISE_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_makes_the_known_handshake),
        cmocka_unit_test(the_server_makes_the_known_handshake),
        cmocka_unit_test(fresh_ephemerals_agree),
        cmocka_unit_test(every_prefix_asks_for_more),
        cmocka_unit_test(one_wrong_bit_is_refused),
        cmocka_unit_test(another_server_key_is_refused),
        cmocka_unit_test(a_refusal_comes_out_as_its_text),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

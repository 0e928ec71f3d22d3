#include "disco/disco.h"

#include <stdio.h>

#include "check.h"

/* Vectors of the protocol notes: made by an independent script, boxes opened with Go's NaCl. */
#define PING_A_TO_B                                                                                          \
    "5453f09f92ac605a725d2a4adfeeb1a29e17edd621c1b7593ee8cdbc44ac6c4ab6e2f805d23c000102030405060708090a0b0c" \
    "0d"                                                                                                     \
    "0e0f1011121314151617 9c99e6f318bf5a8ec1f2350c7954a4dc "                                                 \
    "eb1cc3c88f46c81612b0acb70c3800b58e800163491b44295c"                                                     \
    "e005a7cac2baa0ae8ccca09333b562edcfdab9e1b6"
#define PONG_B_TO_A                                                                                          \
    "5453f09f92acdc2cca31e8e43bbd91dff7e475cca3347eb478107d5bd765aba4ae4a30c35d44000102030405060708090a0b0c" \
    "0d"                                                                                                     \
    "0e0f1011121314151617 e236c506935f697c3031170f535da680 "                                                 \
    "e81cc3c88f46c81612b0acb70c380716f23c1543dad3f37c7f"                                                     \
    "04d54fa4773e3e"
#define NODE_KEY "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
#define SHARED "3008217445536735d8ea67fd336a3d8baa9e6c039dd99fb8e9922a8017f3ca69"

struct pair {
    struct secret_key a_secret, b_secret;
    struct public_key a, b;
    uint8_t shared[KEY_BYTES];
    uint8_t nonce[BOX_NONCE_BYTES];
};

static void make_pair(struct pair *p)
{
    for (uint8_t i = 0; i < KEY_BYTES; i++) {
        p->a_secret.bytes[i] = (uint8_t)(0xa0 + i);
        p->b_secret.bytes[i] = (uint8_t)(0xc0 + i);
    }
    secret_key_clamp(&p->a_secret);
    secret_key_clamp(&p->b_secret);
    secret_key_public(&p->a_secret, &p->a);
    secret_key_public(&p->b_secret, &p->b);
    assert_true(box_key_make(p->shared, &p->b_secret, &p->a));
    for (uint8_t i = 0; i < BOX_NONCE_BYTES; i++)
        p->nonce[i] = i;
}

static struct disco_message vector_ping(void)
{
    struct disco_message m = { .type = DISCO_PING };

    for (uint8_t i = 0; i < DISCO_TXID_BYTES; i++)
        m.txid.bytes[i] = (uint8_t)(i + 1);
    from_hex(NODE_KEY, m.node_key.bytes, KEY_BYTES);
    return m;
}

static struct disco_message vector_pong(void)
{
    struct disco_message m = { .type = DISCO_PONG, .txid = vector_ping().txid };

    assert_true(ip_port_parse(span_from_str("192.0.2.1:41641"), &m.seen_from));
    return m;
}

static int open_and_parse(struct span datagram, const uint8_t key[KEY_BYTES], struct disco_message *m)
{
    uint8_t room[2048];
    struct disco_envelope e;
    struct span inner;
    int r = disco_envelope_parse(datagram, &e);

    if (!r)
        r = disco_open(&e, key, (struct mspan) { room, sizeof(room) }, &inner);
    return r ? r : disco_message_parse(inner, m);
}

static void messages_are_written_as_others_write_them(void **state)
{
    (void)state;
    struct pair p;
    uint8_t want[256], got[DISCO_DATAGRAM_BYTES_MAX];
    struct disco_message ping = vector_ping(), pong = vector_pong();
    size_t len;

    make_pair(&p);
    from_hex(SHARED, want, sizeof(want));
    assert_memory_equal(p.shared, want, KEY_BYTES);
    len = disco_write(got, &ping, &p.a, p.nonce, p.shared);
    assert_int_equal(len, DISCO_PING_BYTES);
    assert_int_equal(from_hex(PING_A_TO_B, want, sizeof(want)), len);
    assert_memory_equal(got, want, len);
    len = disco_write(got, &pong, &p.b, p.nonce, p.shared);
    assert_int_equal(len, DISCO_PONG_BYTES);
    assert_int_equal(from_hex(PONG_B_TO_A, want, sizeof(want)), len);
    assert_memory_equal(got, want, len);
}

static void messages_of_others_are_read(void **state)
{
    (void)state;
    struct pair p;
    uint8_t bytes[256];
    struct disco_message m, want = vector_ping();
    size_t len = from_hex(PING_A_TO_B, bytes, sizeof(bytes));

    make_pair(&p);
    assert_int_equal(open_and_parse(span_make(bytes, len), p.shared, &m), 0);
    assert_int_equal(m.type, DISCO_PING);
    assert_true(disco_txid_equal(&m.txid, &want.txid));
    assert_true(public_key_equal(&m.node_key, &want.node_key));

    len = from_hex(PONG_B_TO_A, bytes, sizeof(bytes));
    want = vector_pong();
    assert_int_equal(open_and_parse(span_make(bytes, len), p.shared, &m), 0);
    assert_int_equal(m.type, DISCO_PONG);
    assert_true(ip_port_equal(&m.seen_from, &want.seen_from));
}

static void another_key_opens_nothing(void **state)
{
    (void)state;
    struct pair p;
    uint8_t bytes[256];
    struct disco_message m;
    size_t len = from_hex(PING_A_TO_B, bytes, sizeof(bytes));

    make_pair(&p);
    p.shared[0] ^= 1;
    assert_int_equal(open_and_parse(span_make(bytes, len), p.shared, &m), DISCO_E_FORGED);
    p.shared[0] ^= 1;
    bytes[len - 1] ^= 1;
    assert_int_equal(open_and_parse(span_make(bytes, len), p.shared, &m), DISCO_E_FORGED);
}

static void short_datagrams_are_refused_before_any_crypto(void **state)
{
    (void)state;
    static uint8_t bytes[DISCO_OVERHEAD_BYTES + DISCO_INNER_BYTES_MAX + 1];
    struct disco_envelope e;

    from_hex("5453f09f92ac", bytes, sizeof(bytes));
    assert_false(disco_is(span_make(bytes, 37)));
    assert_true(disco_is(span_make(bytes, 38)));
    for (size_t n = 0; n < 38; n++)
        assert_int_equal(disco_envelope_parse(span_make(bytes, n), &e), DISCO_E_NOT_DISCO);
    for (size_t n = 38; n < DISCO_OVERHEAD_BYTES + 2; n++)
        assert_int_equal(disco_envelope_parse(span_make(bytes, n), &e), DISCO_E_SHORT);
    assert_int_equal(disco_envelope_parse(span_make(bytes, DISCO_OVERHEAD_BYTES + 2), &e), 0);
    assert_int_equal(disco_envelope_parse(span_make(bytes, sizeof(bytes) - 1), &e), 0);
    assert_int_equal(disco_envelope_parse(SPAN_OF(bytes), &e), DISCO_E_SHORT);
    bytes[5] ^= 1;
    assert_int_equal(disco_envelope_parse(span_make(bytes, 200), &e), DISCO_E_NOT_DISCO);
}

static int parse_hex(const char *hex, struct disco_message *m)
{
    uint8_t bytes[1024];
    size_t len = from_hex(hex, bytes, sizeof(bytes));

    return disco_message_parse(span_make(bytes, len), m);
}

#define TXID "0102030405060708090a0b0c"
#define ADDRESS "00000000000000000000ffffc0000201a2a9" /* 192.0.2.1:41641 */

/* Layouts as the reference's own disco tests have them. */
static void parsing_is_as_lax_as_the_reference(void **state)
{
    (void)state;
    struct disco_message m;

    /* A ping without a node key, of another version, with padding. */
    assert_int_equal(parse_hex("0100" TXID, &m), 0);
    assert_true(public_key_is_zero(&m.node_key));
    assert_int_equal(parse_hex("0107" TXID NODE_KEY "000000", &m), 0);
    assert_false(public_key_is_zero(&m.node_key));
    assert_int_equal(parse_hex("0100" TXID "00000000", &m), 0);
    assert_true(public_key_is_zero(&m.node_key));
    /* A longer pong. */
    assert_int_equal(parse_hex("0201" TXID ADDRESS "ffffff", &m), 0);
    assert_int_equal(m.seen_from.port, 41641);
    assert_true(ip_is_v4(&m.seen_from.ip));
    /* An odd CallMeMaybe is an empty one; one of another version is none. */
    assert_int_equal(parse_hex("0300" ADDRESS "00", &m), 0);
    assert_int_equal(m.endpoint_count, 0);
    assert_int_equal(parse_hex("0300", &m), 0);
    assert_int_equal(m.endpoint_count, 0);
    assert_int_equal(parse_hex("0301" ADDRESS, &m), DISCO_E_IGNORED);
    assert_int_equal(parse_hex("0300" ADDRESS "2001000000000000000000000000345610e1", &m), 0);
    assert_int_equal(m.endpoint_count, 2);
    assert_int_equal(m.endpoints[1].port, 0x10e1);
}

static void too_short_and_unknown_messages_have_names(void **state)
{
    (void)state;
    struct disco_message m;
    char hex[8];

    assert_int_equal(parse_hex("", &m), DISCO_E_SHORT);
    assert_int_equal(parse_hex("01", &m), DISCO_E_SHORT);
    assert_int_equal(parse_hex("01000102030405060708090a0b", &m), DISCO_E_SHORT);
    assert_int_equal(parse_hex("0200" TXID "00000000000000000000ffffc0000201a2", &m), DISCO_E_SHORT);
    for (unsigned type = 4; type < 256; type += 7) {
        snprintf(hex, sizeof(hex), "%02x00", type);
        assert_int_equal(parse_hex(hex, &m), DISCO_E_IGNORED);
    }
    assert_int_equal(parse_hex("0000", &m), DISCO_E_IGNORED);
}

static void a_peer_cannot_name_more_endpoints_than_the_limit(void **state)
{
    (void)state;
    struct pair p;
    uint8_t room[DISCO_DATAGRAM_BYTES_MAX];
    static uint8_t inner[2 + (DISCO_ENDPOINTS_MAX + 1) * DISCO_ENDPOINT_BYTES];
    struct disco_message m = { .type = DISCO_CALL_ME_MAYBE, .endpoint_count = DISCO_ENDPOINTS_MAX }, got;

    make_pair(&p);
    for (size_t i = 0; i < DISCO_ENDPOINTS_MAX; i++)
        m.endpoints[i] = (struct ip_port) { ip_from_v4((uint8_t[]) { 192, 0, 2, (uint8_t)i }), 1000 };
    size_t len = disco_write(room, &m, &p.a, p.nonce, p.shared);

    assert_int_equal(len, DISCO_DATAGRAM_BYTES_MAX);
    assert_int_equal(open_and_parse(span_make(room, len), p.shared, &got), 0);
    assert_int_equal(got.endpoint_count, DISCO_ENDPOINTS_MAX);
    assert_memory_equal(got.endpoints, m.endpoints, sizeof(m.endpoints));

    inner[0] = DISCO_CALL_ME_MAYBE;
    assert_int_equal(disco_message_parse(SPAN_OF(inner), &got), 0);
    assert_int_equal(got.endpoint_count, DISCO_ENDPOINTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_written_as_others_write_them),
        cmocka_unit_test(messages_of_others_are_read),
        cmocka_unit_test(another_key_opens_nothing),
        cmocka_unit_test(short_datagrams_are_refused_before_any_crypto),
        cmocka_unit_test(parsing_is_as_lax_as_the_reference),
        cmocka_unit_test(too_short_and_unknown_messages_have_names),
        cmocka_unit_test(a_peer_cannot_name_more_endpoints_than_the_limit),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "check.h"

#include "crypto/crypto.h"

static struct secret_key key_from(uint8_t start)
{
    struct secret_key k;

    for (size_t i = 0; i < sizeof(k.bytes); i++)
        k.bytes[i] = (uint8_t)(start + i);
    secret_key_clamp(&k);
    return k;
}

/* Seeds and results were made by an independent program and checked against the reference client. */
static void public_keys_are_the_known_ones(void **state)
{
    (void)state;
    static const struct {
        uint8_t start;
        const char *public_hex;
    } rows[] = {
        { 0x00, "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f" },
        { 0x20, "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254" },
        { 0x01, "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c" },
        { 0xa0, "605a725d2a4adfeeb1a29e17edd621c1b7593ee8cdbc44ac6c4ab6e2f805d23c" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct secret_key k = key_from(rows[i].start);
        struct public_key got, want;

        from_hex(rows[i].public_hex, want.bytes, 32);
        secret_key_public(&k, &got);
        assert_true(public_key_equal(&got, &want));
    }
}

static void both_sides_share_one_secret(void **state)
{
    (void)state;
    struct secret_key e = key_from(0x40), rs = key_from(0x20);
    struct public_key e_public, rs_public;
    uint8_t a[32], b[32], want[32];

    secret_key_public(&e, &e_public);
    secret_key_public(&rs, &rs_public);
    assert_true(x25519(a, &e, &rs_public));
    assert_true(x25519(b, &rs, &e_public));
    from_hex("04c304fb1ca83cee75e206344231f33797e07d9929db670994b7c6fbeb1dc255", want, 32);
    assert_memory_equal(a, want, 32);
    assert_memory_equal(b, want, 32);
}

/* Points of small order give an all-zero secret (RFC 7748, 6.1): refused in every form. */
static void hostile_public_keys_are_refused(void **state)
{
    (void)state;
    static const char *points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    static const uint8_t zero[32];
    struct secret_key k = key_from(0x10);

    for (size_t i = 0; i < COUNT_OF(points); i++) {
        struct public_key p;
        uint8_t out[32] = { 1 };

        from_hex(points[i], p.bytes, 32);
        assert_false(x25519(out, &k, &p));
        assert_memory_equal(out, zero, 32);
        out[0] = 1;
        assert_false(box_key_make(out, &k, &p));
        assert_memory_equal(out, zero, 32);
    }
}

static void generated_keys_are_clamped_and_differ(void **state)
{
    (void)state;
    struct secret_key a, b;

    secret_key_generate(&a);
    secret_key_generate(&b);
    assert_int_equal(a.bytes[0] & 7, 0);
    assert_int_equal(a.bytes[31] & 0xc0, 0x40);
    assert_false(crypto_equal(&a, &b, sizeof(a)));
    wipe(&a, sizeof(a));
    assert_true(public_key_is_zero(&(struct public_key) { { a.bytes[0] } }));
}

static void key_text_comes_back_and_nothing_else_parses(void **state)
{
    (void)state;
    struct secret_key k = key_from(0);
    struct public_key p;
    char text[KEY_TEXT_BYTES], shorter[KEY_SHORT_TEXT_BYTES];
    uint8_t back[32];

    secret_key_public(&k, &p);
    assert_string_equal(key_text(text, "nodekey:", p.bytes),
                        "nodekey:8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
    assert_string_equal(public_key_short(shorter, &p), "[j0DFr]");
    assert_true(key_parse(span_from_str(text), "nodekey:", back));
    assert_memory_equal(back, p.bytes, 32);
    assert_false(key_parse(span_from_str(text), "mkey:", back));
    for (size_t len = 0; len < strlen(text); len++)
        assert_false(key_parse(span_make(text, len), "nodekey:", back));
    assert_false(key_parse(span_make(text, strlen(text) + 1), "nodekey:", back)); /* the NUL is too much */
    text[10] = 'F';
    assert_true(key_parse(span_from_str(text), "nodekey:", back));
    text[10] = 'g';
    assert_false(key_parse(span_from_str(text), "nodekey:", back));
    memset(&p, 0, sizeof(p));
    assert_string_equal(public_key_short(shorter, &p), "");
}

/* Made with golang.org/x/crypto/nacl/box. */
static void boxes_are_those_of_go(void **state)
{
    (void)state;
    static const char text[] = "a message of forty bytes, in a NaCl box.";
    struct secret_key a = key_from(0xa0), b = key_from(0xc0);
    struct public_key a_public, b_public;
    uint8_t shared[32], same[32], want[56], got[56], nonce[24], open[40];

    for (size_t i = 0; i < sizeof(nonce); i++)
        nonce[i] = (uint8_t)i;
    secret_key_public(&a, &a_public);
    secret_key_public(&b, &b_public);
    assert_true(box_key_make(shared, &a, &b_public));
    assert_true(box_key_make(same, &b, &a_public));
    from_hex("3008217445536735d8ea67fd336a3d8baa9e6c039dd99fb8e9922a8017f3ca69", want, 32);
    assert_memory_equal(shared, want, 32);
    assert_memory_equal(same, want, 32);
    from_hex(
        "7e044dfbd84af210a3277ff4eedd0fec8b3cafafff31ac777098cadb2752686486453521a3a7960facdb7c218617bcd98"
        "51eca28a2b1c693",
        want, sizeof(want));
    box_seal(got, span_from_str(text), nonce, shared);
    assert_memory_equal(got, want, sizeof(want));
    assert_true(box_open(open, SPAN_OF(got), nonce, shared));
    assert_memory_equal(open, text, sizeof(open));
    for (size_t len = 0; len < sizeof(got); len++)
        assert_false(box_open(open, span_make(got, len), nonce, shared));
    got[20] ^= 1;
    assert_false(box_open(open, SPAN_OF(got), nonce, shared));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_keys_are_the_known_ones),
        cmocka_unit_test(both_sides_share_one_secret),
        cmocka_unit_test(hostile_public_keys_are_refused),
        cmocka_unit_test(generated_keys_are_clamped_and_differ),
        cmocka_unit_test(key_text_comes_back_and_nothing_else_parses),
        cmocka_unit_test(boxes_are_those_of_go),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "check.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "crypto/crypto.h"

static void fill(uint8_t *out, size_t len, uint8_t from)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(from + i);
}

/* RFC 7693, appendix B. */
static void abc_hashes_as_the_rfc_says(void **state)
{
    (void)state;
    uint8_t want[32], got[32];

    from_hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982", want, sizeof(want));
    blake2s_hash(got, span_from_str("ab"), span_from_str("c"));
    assert_memory_equal(got, want, 32);
}

/* Made with golang.org/x/crypto/blake2s: key 00..1f (clamped), message 00..73. */
static void keyed_macs_are_those_of_go(void **state)
{
    (void)state;
    struct secret_key key;
    struct blake2s_key cached;
    uint8_t message[116], want[32], got[32];

    fill(key.bytes, 32, 0);
    secret_key_clamp(&key);
    fill(message, sizeof(message), 0);
    from_hex("ac7e9311e9d0ec9943019ceefafe51ac", want, 16);
    blake2s_mac(got, 16, SPAN_OF(key.bytes), SPAN_OF(message));
    assert_memory_equal(got, want, 16);
    blake2s_key_init(&cached, 16, SPAN_OF(key.bytes));
    memset(got, 0, sizeof(got));
    blake2s_key_mac(&cached, got, SPAN_OF(message));
    assert_memory_equal(got, want, 16);
    from_hex("7c8c7d181427556d01d1338f7c133e1a9d2685585f949d3c40f78feed3ec6ef7", want, 32);
    blake2s_mac(got, 32, SPAN_OF(key.bytes), SPAN_OF(message));
    assert_memory_equal(got, want, 32);
}

static void oracle_mac(uint8_t *out, size_t out_len, const uint8_t *key, size_t key_len,
                       const uint8_t *message, size_t len)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
    OSSL_PARAM params[] = { OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &out_len),
                            OSSL_PARAM_construct_end() };
    size_t done;

    assert_non_null(ctx);
    assert_int_equal(EVP_MAC_init(ctx, key, key_len, params), 1);
    assert_int_equal(EVP_MAC_update(ctx, message, len), 1);
    assert_int_equal(EVP_MAC_final(ctx, out, &done, 32), 1);
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
}

/* Every length around the block borders, in one piece and in two, keyed and not. */
static void openssl_agrees_at_every_length(void **state)
{
    (void)state;
    uint8_t message[300], key[32], want[32], got[32];
    struct blake2s_key cached;
    struct blake2s s;

    fill(message, sizeof(message), 7);
    fill(key, sizeof(key), 99);
    blake2s_key_init(&cached, 32, SPAN_OF(key));
    for (size_t len = 0; len <= sizeof(message); len++) {
        unsigned n;

        assert_int_equal(EVP_Digest(message, len, want, &n, EVP_blake2s256(), NULL), 1);
        blake2s_hash(got, span_make(message, len / 3), span_make(message + len / 3, len - len / 3));
        assert_memory_equal(got, want, 32);

        oracle_mac(want, 32, key, 32, message, len);
        blake2s_init(&s, 32, SPAN_OF(key));
        for (size_t at = 0; at < len; at += 61)
            blake2s_update(&s, span_make(message + at, MIN((size_t)61, len - at)));
        blake2s_final(&s, got);
        assert_memory_equal(got, want, 32);
        if (len) {
            blake2s_key_mac(&cached, got, span_make(message, len));
            assert_memory_equal(got, want, 32);
        }
        oracle_mac(want, 16, key, 5, message, len);
        blake2s_mac(got, 16, span_make(key, 5), span_make(message, len));
        assert_memory_equal(got, want, 16);
    }
}

/* wireguard-go, device/kdf_test.go. Keys shorter than a block are padded with zeros by HMAC itself. */
static void kdf_outputs_are_those_of_wireguard_go(void **state)
{
    (void)state;
    static const struct {
        const char *key, *input, *out[3];
    } rows[] = {
        { "test-key",
          "test-input",
          { "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
            "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
            "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24" } },
        { "wireguard",
          "wireguard",
          { "491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
            "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
            "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160" } },
        { "",
          "",
          { "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
            "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
            "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e" } },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t key[32] = { 0 }, got[3][32] = { { 0 } }, want[32];

        memcpy(key, rows[i].key, strlen(rows[i].key));
        kdf_blake2s(got[0], got[1], got[2], key, span_from_str(rows[i].input));
        for (int j = 0; j < 3; j++) {
            from_hex(rows[i].out[j], want, 32);
            assert_memory_equal(got[j], want, 32);
        }
        kdf_blake2s(key, NULL, NULL, key, span_from_str(rows[i].input)); /* chaining key in place */
        assert_memory_equal(key, got[0], 32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(abc_hashes_as_the_rfc_says),
        cmocka_unit_test(keyed_macs_are_those_of_go),
        cmocka_unit_test(openssl_agrees_at_every_length),
        cmocka_unit_test(kdf_outputs_are_those_of_wireguard_go),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

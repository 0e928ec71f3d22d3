#include "check.h"

#include <sodium.h>

#include "crypto/crypto.h"

static const uint8_t key[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };

static void fill(uint8_t *out, size_t len, uint8_t from)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(from + i);
}

/* RFC 8439, 2.8.2: the only vector that needs no other program. */
static void sunscreen_seals_as_the_rfc_says(void **state)
{
    (void)state;
    static const char text[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
        "the future, sunscreen would be it.";
    uint8_t rfc_key[32], nonce[12], ad[12], want[16], out[sizeof(text) + 15];

    fill(rfc_key, 32, 0x80);
    from_hex("070000004041424344454647", nonce, 12);
    from_hex("50515253c0c1c2c3c4c5c6c7", ad, 12);
    aead_seal(out, span_from_str(text), SPAN_OF(ad), nonce, rfc_key);
    from_hex("1ae10b594f09e26a7e902ecbd0600691", want, 16);
    assert_memory_equal(out + sizeof(text) - 1, want, 16);
    assert_true(aead_open(out, SPAN_OF(out), SPAN_OF(ad), nonce, rfc_key));
    assert_memory_equal(out, text, sizeof(text) - 1);
}

/* Made with golang.org/x/crypto/chacha20poly1305: 300 bytes, so that the other library seals. */
static void long_records_are_those_of_go(void **state)
{
    (void)state;
    struct secret_key k;
    uint8_t nonce[12], room[316], want[32], got[32];

    fill(k.bytes, 32, 0);
    secret_key_clamp(&k);
    fill(nonce, 12, 0);
    fill(room, 300, 0);
    aead_seal(room, span_make(room, 300), span_from_str("header"), nonce, k.bytes);
    from_hex("47933abb43199cdc75d0a862518d89aa", want, 16);
    assert_memory_equal(room + 300, want, 16);
    from_hex("cd3fd314f5919a105d783349b0e62807695b689f39f7428806cf2ee6d072179e", want, 32);
    blake2s_hash(got, SPAN_OF(room), SPAN_NONE);
    assert_memory_equal(got, want, 32);
}

/* Both back ends, every length over the border between them: libsodium is the oracle. */
static void both_libraries_agree_at_every_length(void **state)
{
    (void)state;
    uint8_t plain[1400], want[1416], got[1416], nonce[12];

    fill(plain, sizeof(plain), 3);
    for (size_t len = 0; len <= sizeof(plain); len += len < 300 ? 1 : 97)
        for (size_t ad_len = 0; ad_len <= 32; ad_len += 16) {
            struct span ad = { plain, ad_len };

            aead_nonce_le(nonce, len * 0x0101010101010101);
            crypto_aead_chacha20poly1305_ietf_encrypt(want, NULL, plain, len, ad.data, ad.len, NULL, nonce,
                                                      key);
            memcpy(got, plain, len);
            aead_seal(got, span_make(got, len), ad, nonce, key);
            assert_memory_equal(got, want, len + 16);
            assert_true(aead_open(got, span_make(got, len + 16), ad, nonce, key));
            if (len)
                assert_memory_equal(got, plain, len);
        }
}

/* Wherever the bit sits: tag, text, associated data, nonce. Nothing of the plaintext comes out. */
static void one_wrong_bit_is_refused(void **state)
{
    (void)state;
    static const size_t lens[] = { 0, 40, 127, 128, 400 };
    uint8_t plain[400], sealed[416], out[416], ad[16] = { 9 }, nonce[12] = { 0 };

    fill(plain, sizeof(plain), 100);
    for (size_t i = 0; i < COUNT_OF(lens); i++) {
        size_t len = lens[i];

        aead_seal(sealed, span_make(plain, len), SPAN_OF(ad), nonce, key);
        for (size_t bit = 0; bit < 8 * (len + 16); bit += 7) {
            memcpy(out, sealed, len + 16);
            out[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_false(aead_open(out, span_make(out, len + 16), SPAN_OF(ad), nonce, key));
            if (len > 16)
                assert_memory_not_equal(out, plain, len);
        }
        memcpy(out, sealed, len + 16);
        assert_false(aead_open(out, span_make(out, len + 15), SPAN_OF(ad), nonce, key));
        assert_false(aead_open(out, span_make(sealed, len + 16), SPAN_NONE, nonce, key));
        nonce[11] ^= 1;
        assert_false(aead_open(out, span_make(sealed, len + 16), SPAN_OF(ad), nonce, key));
        nonce[11] ^= 1;
        assert_true(aead_open(out, span_make(sealed, len + 16), SPAN_OF(ad), nonce, key));
    }
    assert_false(aead_open(out, span_make(sealed, 15), SPAN_NONE, nonce, key));
    assert_false(aead_open(out, SPAN_NONE, SPAN_NONE, nonce, key));
}

/* A batch is what sealing one by one gives, also for a short last record and for none. */
static void a_batch_equals_single_records(void **state)
{
    (void)state;
    static const struct {
        size_t count, len, last_len;
    } rows[] = {
        { 0, 0, 0 }, { 1, 50, 50 }, { 1, 1280, 0 }, { 5, 1280, 1280 }, { 4, 1280, 16 }, { 3, 40, 0 }
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t batch[5 * 1312], single[5 * 1312], nonce[12];
        struct aead_batch b = { batch + 16, rows[i].count, 1312, rows[i].len, rows[i].last_len, 77 };

        fill(batch, sizeof(batch), (uint8_t)i);
        memcpy(single, batch, sizeof(batch));
        aead_seal_batch(&b, key);
        for (size_t j = 0; j < rows[i].count; j++) {
            uint8_t *at = single + 16 + j * 1312;

            aead_nonce_le(nonce, 77 + j);
            aead_seal(at, span_make(at, j + 1 == rows[i].count ? rows[i].last_len : rows[i].len), SPAN_NONE,
                      nonce, key);
        }
        assert_memory_equal(batch, single, sizeof(batch));
    }
}

/* Made with golang.org/x/crypto/chacha20poly1305.NewX. */
static void long_nonces_seal_as_in_go(void **state)
{
    (void)state;
    struct secret_key k;
    uint8_t nonce[24], want[32], got[32];
    struct span ad = span_from_str("associated data!");

    fill(k.bytes, 32, 0);
    secret_key_clamp(&k);
    fill(nonce, 24, 0);
    from_hex("328f858f7d5b50fef0adcc9aa61d4850a3e60a531a80d9a90eda342ce1fae5b0", want, 32);
    xaead_seal(got, span_from_str("0123456789abcdef"), ad, nonce, k.bytes);
    assert_memory_equal(got, want, 32);
    assert_false(xaead_open(want, SPAN_OF(got), SPAN_NONE, nonce, k.bytes));
    assert_false(xaead_open(want, span_make(got, 15), ad, nonce, k.bytes));
    assert_true(xaead_open(want, SPAN_OF(got), ad, nonce, k.bytes));
    assert_memory_equal(want, "0123456789abcdef", 16);
}

/* A thread may end and seal again: the next call sets itself up. */
static void a_thread_may_end_twice(void **state)
{
    (void)state;
    uint8_t out[400], nonce[12] = { 0 };

    for (int i = 0; i < 3; i++) {
        memset(out, 0, sizeof(out));
        aead_seal(out, span_make(out, 384), SPAN_NONE, nonce, key);
        assert_true(aead_open(out, SPAN_OF(out), SPAN_NONE, nonce, key));
        crypto_thread_end();
        crypto_thread_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sunscreen_seals_as_the_rfc_says),
        cmocka_unit_test(long_records_are_those_of_go),
        cmocka_unit_test(both_libraries_agree_at_every_length),
        cmocka_unit_test(one_wrong_bit_is_refused),
        cmocka_unit_test(a_batch_equals_single_records),
        cmocka_unit_test(long_nonces_seal_as_in_go),
        cmocka_unit_test(a_thread_may_end_twice),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Records: which library seals what.
 *
 * bench/aead.c on a Xeon with AVX-512, key set each time, in place: 64 bytes OpenSSL 612 ns, libsodium
 * 338, libgcrypt 302; 1,280 bytes OpenSSL 1,040, libsodium 1,243, libgcrypt 975. So OpenSSL takes what is
 * long and libsodium, whose setup is cheaper, what is short. libgcrypt is some 6 % faster, and 15 % on CPUs
 * without AVX-512: not enough for one more library.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sodium.h>
#include <stdlib.h>

#include "crypto/internal.h"

/* From this many bytes on OpenSSL is faster. */
#define LONG_BYTES 128

struct contexts {
    EVP_CIPHER_CTX *seal, *open; /* NULL: OpenSSL does not offer the cipher (FIPS): libsodium does it all */
};

/* One per thread, because a context may not be shared and making one for each record would cost
 * more than sealing it. It holds no state between calls apart from the schedule of the last key. */
static _Thread_local struct contexts *contexts;

static EVP_CIPHER_CTX *context_new(const EVP_CIPHER *cipher, int seal)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

    must(ctx); /* once a thread; without it the thread can do nothing */
    must(EVP_CipherInit_ex2(ctx, cipher, NULL, NULL, seal, NULL) == 1);
    return ctx;
}

static struct contexts *contexts_get(void)
{
    EVP_CIPHER *cipher;

    if (contexts)
        return contexts;
    contexts = calloc(1, sizeof(*contexts));
    must(contexts);
    cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    if (cipher) {
        contexts->seal = context_new(cipher, 1);
        contexts->open = context_new(cipher, 0);
        EVP_CIPHER_free(cipher); /* the contexts keep it */
    }
    return contexts;
}

void crypto_thread_end(void)
{
    random_thread_end();
    if (!contexts)
        return;
    EVP_CIPHER_CTX_free(contexts->seal);
    EVP_CIPHER_CTX_free(contexts->open);
    free(contexts);
    contexts = NULL;
}

static void seal_short(uint8_t *out, struct span plain, struct span ad, const uint8_t *nonce,
                       const uint8_t *key)
{
    must(crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain.data, plain.len, ad.data, ad.len, NULL,
                                                   nonce, key) == 0);
}

/* The tag goes by parameter: EVP_CIPHER_CTX_ctrl would translate to one, which took a seventh of the record.
 */
#define TAG_AT(at)                                                                              \
    {                                                                                           \
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, at, AEAD_TAG_BYTES), OSSL_PARAM_END \
    }

/* OpenSSL's Poly1305 for AVX leaves the upper halves of the vector registers in use. The next SSE
 * instruction, which is anybody's, then waits for some 140 ns. */
#if defined(__x86_64__)
__attribute__((target("avx"))) static void upper_halves_clear(void)
{
    __builtin_ia32_vzeroupper();
}
static void vectors_rest(void)
{
    if (__builtin_cpu_supports("avx"))
        upper_halves_clear();
}
#else
static void vectors_rest(void)
{
}
#endif

/* key NULL: as the record before. */
static void seal_long(EVP_CIPHER_CTX *ctx, uint8_t *out, struct span plain, struct span ad,
                      const uint8_t *nonce, const uint8_t *key)
{
    OSSL_PARAM tag[] = TAG_AT(out + plain.len);
    int n = 0;

    must(plain.len <= INT32_MAX && ad.len <= INT32_MAX);
    must(EVP_EncryptInit_ex2(ctx, NULL, key, nonce, NULL) == 1);
    if (ad.len)
        must(EVP_EncryptUpdate(ctx, NULL, &n, ad.data, (int)ad.len) == 1);
    must(EVP_EncryptUpdate(ctx, out, &n, plain.data, (int)plain.len) == 1);
    must(EVP_EncryptFinal_ex(ctx, out + n, &n) == 1);
    vectors_rest();
    must(EVP_CIPHER_CTX_get_params(ctx, tag) == 1);
}

void aead_seal(uint8_t *out, struct span plain, struct span ad, const uint8_t nonce[AEAD_NONCE_BYTES],
               const uint8_t key[AEAD_KEY_BYTES])
{
    EVP_CIPHER_CTX *ctx = plain.len >= LONG_BYTES ? contexts_get()->seal : NULL;

    if (ctx)
        seal_long(ctx, out, plain, ad, nonce, key);
    else
        seal_short(out, plain, ad, nonce, key);
}

void aead_seal_batch(const struct aead_batch *b, const uint8_t key[AEAD_KEY_BYTES])
{
    EVP_CIPHER_CTX *ctx = b->count && b->len >= LONG_BYTES ? contexts_get()->seal : NULL;
    const uint8_t *new_key = key;
    uint8_t nonce[AEAD_NONCE_BYTES];

    for (size_t i = 0; i < b->count; i++) {
        uint8_t *at = b->first + i * b->stride;
        struct span plain = { at, i + 1 == b->count ? b->last_len : b->len };

        aead_nonce_le(nonce, b->counter + i);
        if (ctx)
            seal_long(ctx, at, plain, SPAN_NONE, nonce, new_key);
        else
            seal_short(at, plain, SPAN_NONE, nonce, key);
        new_key = NULL;
    }
}

static bool open_long(EVP_CIPHER_CTX *ctx, uint8_t *out, struct span sealed, struct span ad,
                      const uint8_t *nonce, const uint8_t *key)
{
    size_t len = sealed.len - AEAD_TAG_BYTES;
    OSSL_PARAM tag[] = TAG_AT((uint8_t *)(uintptr_t)sealed.data + len); /* only read */
    int n = 0, ok;

    must(sealed.len <= INT32_MAX && ad.len <= INT32_MAX);
    must(EVP_DecryptInit_ex2(ctx, NULL, key, nonce, tag) == 1);
    if (ad.len)
        must(EVP_DecryptUpdate(ctx, NULL, &n, ad.data, (int)ad.len) == 1);
    must(EVP_DecryptUpdate(ctx, out, &n, sealed.data, (int)len) == 1);
    ok = EVP_DecryptFinal_ex(ctx, out + n, &n);
    vectors_rest();
    if (ok == 1)
        return true;
    memset(out, 0, len); /* OpenSSL decrypts before it checks */
    return false;
}

bool aead_open(uint8_t *out, struct span sealed, struct span ad, const uint8_t nonce[AEAD_NONCE_BYTES],
               const uint8_t key[AEAD_KEY_BYTES])
{
    EVP_CIPHER_CTX *ctx;

    if (sealed.len < AEAD_TAG_BYTES)
        return false;
    ctx = sealed.len >= LONG_BYTES + AEAD_TAG_BYTES ? contexts_get()->open : NULL;
    if (ctx)
        return open_long(ctx, out, sealed, ad, nonce, key);
    return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed.data, sealed.len, ad.data,
                                                     ad.len, nonce, key) == 0;
}

void xaead_seal(uint8_t *out, struct span plain, struct span ad, const uint8_t nonce[XAEAD_NONCE_BYTES],
                const uint8_t key[AEAD_KEY_BYTES])
{
    must(crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, plain.data, plain.len, ad.data, ad.len, NULL,
                                                    nonce, key) == 0);
}

bool xaead_open(uint8_t *out, struct span sealed, struct span ad, const uint8_t nonce[XAEAD_NONCE_BYTES],
                const uint8_t key[AEAD_KEY_BYTES])
{
    if (sealed.len < AEAD_TAG_BYTES)
        return false;
    return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed.data, sealed.len, ad.data,
                                                      ad.len, nonce, key) == 0;
}

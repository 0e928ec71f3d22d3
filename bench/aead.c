/* bench/aead.c - which library seals WireGuard packets fastest on this machine?
 *
 * Seals in place, key set for every record as a shard with many peers does it, least of many
 * rounds in thread CPU time. Build and run:
 *   cc -O2 bench/aead.c -lcrypto -lsodium -lgcrypt -o /tmp/aead && /tmp/aead
 * The result chose the back end of src/crypto/aead.c; run it again on another kind of machine.
 */
#include <gcrypt.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ROUNDS 60
#define RECORDS 2000

static EVP_CIPHER_CTX *evp;
static EVP_CIPHER *evp_cipher;
static gcry_cipher_hd_t gcry;

typedef void seal_fn(uint8_t *at, size_t len, const uint8_t nonce[12], const uint8_t key[32], int new_key);

static void seal_openssl(uint8_t *at, size_t len, const uint8_t nonce[12], const uint8_t key[32], int new_key)
{
    OSSL_PARAM tag[] = { OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, at + len, 16), OSSL_PARAM_END };
    int n;

    EVP_EncryptInit_ex2(evp, NULL, new_key ? key : NULL, nonce, NULL);
    EVP_EncryptUpdate(evp, at, &n, at, (int)len);
    EVP_EncryptFinal_ex(evp, at + n, &n);
    EVP_CIPHER_CTX_get_params(evp, tag);
}

static void seal_sodium(uint8_t *at, size_t len, const uint8_t nonce[12], const uint8_t key[32], int new_key)
{
    (void)new_key;
    crypto_aead_chacha20poly1305_ietf_encrypt(at, NULL, at, len, NULL, 0, NULL, nonce, key);
}

static void seal_gcrypt(uint8_t *at, size_t len, const uint8_t nonce[12], const uint8_t key[32], int new_key)
{
    if (new_key)
        gcry_cipher_setkey(gcry, key, 32);
    gcry_cipher_setiv(gcry, nonce, 12);
    gcry_cipher_final(gcry);
    gcry_cipher_encrypt(gcry, at, len, NULL, 0);
    gcry_cipher_gettag(gcry, at + len, 16);
}

static double thread_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double best_ns(seal_fn *fn, size_t len, int new_key)
{
    static uint8_t room[2048], key[32] = { 1 };
    uint8_t nonce[12] = { 0 };
    double best = 1e9;

    fn(room, len, nonce, key, 1);
    for (int i = 0; i < ROUNDS; i++) {
        double start = thread_seconds(), took;

        for (uint32_t j = 0; j < RECORDS; j++) {
            memcpy(nonce + 4, &j, 4);
            fn(room, len, nonce, key, new_key);
        }
        took = (thread_seconds() - start) / RECORDS * 1e9;
        if (took < best)
            best = took;
    }
    return best;
}

int main(void)
{
    static const struct {
        const char *name;
        seal_fn *fn;
    } libraries[] = { { "openssl", seal_openssl }, { "sodium", seal_sodium }, { "gcrypt", seal_gcrypt } };
    static const size_t lengths[] = { 64, 1280 };

    if (sodium_init() < 0 || !gcry_check_version(NULL))
        return 1;
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    if (gcry_cipher_open(&gcry, GCRY_CIPHER_CHACHA20, GCRY_CIPHER_MODE_POLY1305, 0))
        return 1;
    evp = EVP_CIPHER_CTX_new();
    evp_cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    if (!evp || !evp_cipher || EVP_EncryptInit_ex2(evp, evp_cipher, NULL, NULL, NULL) != 1)
        return 1;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        for (size_t j = 0; j < sizeof(libraries) / sizeof(libraries[0]); j++)
            printf("%-8s %5zu bytes: %6.0f ns, same key as before: %6.0f ns\n", libraries[j].name, lengths[i],
                   best_ns(libraries[j].fn, lengths[i], 1), best_ns(libraries[j].fn, lengths[i], 0));
    return 0;
}

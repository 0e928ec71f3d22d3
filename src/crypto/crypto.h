/* crypto/crypto.h - every primitive that the program uses, behind one door
 *
 * Random bytes, X25519, ChaCha20-Poly1305, BLAKE2s with its MAC, HMAC and KDF, NaCl boxes, and the
 * text forms of keys. Nobody else includes a crypto library's header, except tls/ and cert/ which
 * live with OpenSSL's X.509.
 *
 * Back ends: libsodium (X25519, boxes, XChaCha20, short records, comparing, wiping), OpenSSL's EVP
 * (long records; bench/aead.c shows why), our own BLAKE2s (crypto/blake2s.c says why).
 * Thread: any; crypto_init() first, once, before threads start. Nothing allocates per call: the
 * first seal or open of a thread sets up about 3 KB for that thread, crypto_thread_end() frees it.
 * Sources: RFC 7748, 7693, 8439; docs/protocol/wireguard.md; Curve25519 keys are kept clamped.
 */
#ifndef MANYTAILS_CRYPTO_CRYPTO_H
#define MANYTAILS_CRYPTO_CRYPTO_H

#include "base/base.h"

#define KEY_BYTES 32
#define AEAD_KEY_BYTES 32
#define AEAD_NONCE_BYTES 12
#define AEAD_TAG_BYTES 16
#define XAEAD_NONCE_BYTES 24
#define BOX_NONCE_BYTES 24
#define BOX_TAG_BYTES 16

/* Two types, so that the compiler tells them apart. A secret key has no printer. */
struct public_key {
    uint8_t bytes[KEY_BYTES];
};
struct secret_key {
    uint8_t bytes[KEY_BYTES];
};

/* ---- life -------------------------------------------------------------------- */

NODISCARD int crypto_init(void); /* may be called again; -EIO: a library refused to start */
void crypto_thread_end(void);    /* the last call of a thread that used anything here */

/* ---- bytes --------------------------------------------------------------------- */

void random_bytes(void *out, size_t len);       /* the kernel's generator, in supplies; cannot fail */
void random_bytes_fresh(void *out, size_t len); /* the same without a supply: for secrets that last */
void wipe(void *secret, size_t len);            /* the compiler cannot drop it */
bool crypto_equal(const void *a, const void *b, size_t len); /* in constant time */

/* Where a protocol needs randomness and a test needs to know it, it is handed in as this. */
typedef void random_fn(void *ctx, void *out, size_t len);

/* ---- keys ------------------------------------------------------------------------ */

static inline bool public_key_equal(const struct public_key *a, const struct public_key *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}
static inline bool public_key_is_zero(const struct public_key *k)
{
    static const struct public_key zero;
    return public_key_equal(k, &zero);
}

void secret_key_generate(struct secret_key *out);
void secret_key_clamp(struct secret_key *k); /* what generating does to random bytes */
void secret_key_public(const struct secret_key *k, struct public_key *out);
/* The shared secret; false (and zeroes) if it would be all zero: a hostile public key. */
NODISCARD bool x25519(uint8_t out[KEY_BYTES], const struct secret_key *ours, const struct public_key *theirs);

/* "nodekey:" and 64 hex digits. Parsing takes exactly that, digits in either case. */
#define KEY_PREFIX_BYTES_MAX 16
#define KEY_TEXT_BYTES (KEY_PREFIX_BYTES_MAX + 2 * KEY_BYTES + 1)
bool key_parse(struct span text, const char *prefix, uint8_t out[KEY_BYTES]);
const char *key_text(char out[KEY_TEXT_BYTES], const char *prefix, const uint8_t key[KEY_BYTES]);
/* For log lines: "[j0DFr]"; empty for the zero key. */
#define KEY_SHORT_TEXT_BYTES 8
const char *public_key_short(char out[KEY_SHORT_TEXT_BYTES], const struct public_key *k);

/* ---- ChaCha20-Poly1305 ---------------------------------------------------------------
 * out may be where the input is (in place), or must not overlap it. Sealing writes plain.len + 16
 * bytes. Opening writes sealed.len - 16 bytes, or returns false: then the bytes at out are zeroed or
 * untouched, never unauthenticated plaintext.
 */
void aead_seal(uint8_t *out, struct span plain, struct span ad, const uint8_t nonce[AEAD_NONCE_BYTES],
               const uint8_t key[AEAD_KEY_BYTES]);
NODISCARD bool aead_open(uint8_t *out, struct span sealed, struct span ad,
                         const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t key[AEAD_KEY_BYTES]);

/* Nonce of WireGuard (and of Noise): four zero bytes, the counter little-endian. */
static inline void aead_nonce_le(uint8_t nonce[AEAD_NONCE_BYTES], uint64_t counter)
{
    memset(nonce, 0, 4);
    store_le64(nonce + 4, counter);
}

/* Many records of one key, sealed in place. Record i is `len` bytes (the last one `last_len`) at
 * `first + i * stride`, with room for its tag behind; nonce i is aead_nonce_le(counter + i); no
 * associated data. This is the door for an implementation that works on several records at once. */
struct aead_batch {
    uint8_t *first;
    size_t count, stride;
    size_t len, last_len;
    uint64_t counter;
};
void aead_seal_batch(const struct aead_batch *b, const uint8_t key[AEAD_KEY_BYTES]);

/* XChaCha20-Poly1305: nonces long enough to be random (WireGuard's cookie). Same rules. */
void xaead_seal(uint8_t *out, struct span plain, struct span ad, const uint8_t nonce[XAEAD_NONCE_BYTES],
                const uint8_t key[AEAD_KEY_BYTES]);
NODISCARD bool xaead_open(uint8_t *out, struct span sealed, struct span ad,
                          const uint8_t nonce[XAEAD_NONCE_BYTES], const uint8_t key[AEAD_KEY_BYTES]);

/* ---- BLAKE2s --------------------------------------------------------------------------- */

#define BLAKE2S_BYTES 32
#define BLAKE2S_BLOCK_BYTES 64

struct blake2s {
    uint32_t h[8];
    uint64_t fed; /* bytes compressed so far */
    uint8_t block[BLAKE2S_BLOCK_BYTES];
    uint8_t held; /* bytes in block */
    uint8_t out_len;
};

/* out_len 1..32. key may be SPAN_NONE, else up to 32 bytes: the native keyed mode, not HMAC. */
void blake2s_init(struct blake2s *s, size_t out_len, struct span key);
void blake2s_update(struct blake2s *s, struct span bytes);
void blake2s_final(struct blake2s *s, uint8_t *out); /* and wipes *s */

/* HASH(a || b). */
void blake2s_hash(uint8_t out[BLAKE2S_BYTES], struct span a, struct span b);
/* Keyed, out_len bytes. */
void blake2s_mac(uint8_t *out, size_t out_len, struct span key, struct span message);

/* A MAC key with its block already compressed, for those who try many keys on one message. */
struct blake2s_key {
    uint32_t h[8];
    uint8_t out_len;
};
void blake2s_key_init(struct blake2s_key *k, size_t out_len, struct span key);
void blake2s_key_mac(const struct blake2s_key *k, uint8_t *out, struct span message); /* message not empty */

void hmac_blake2s(uint8_t out[BLAKE2S_BYTES], struct span key, struct span message);
/* Noise's HKDF with one to three outputs (t2, t3 may be NULL from the end). key and t1 may be the
 * same place. */
void kdf_blake2s(uint8_t t1[BLAKE2S_BYTES], uint8_t *t2, uint8_t *t3, const uint8_t key[BLAKE2S_BYTES],
                 struct span input);

/* ---- NaCl box (XSalsa20-Poly1305): disco and relay handshakes ------------------------------
 * The tag comes first on the wire. The shared key is the same in both directions; caching it saves
 * the X25519 (35 us against 0.5 us).
 */
NODISCARD bool box_key_make(uint8_t shared[KEY_BYTES], const struct secret_key *ours,
                            const struct public_key *theirs); /* false: hostile public key */
/* Writes 16 + plain.len bytes; not in place. */
void box_seal(uint8_t *out, struct span plain, const uint8_t nonce[BOX_NONCE_BYTES],
              const uint8_t shared[KEY_BYTES]);
/* Writes sealed.len - 16 bytes; not in place. false: not for us, or forged. */
NODISCARD bool box_open(uint8_t *out, struct span sealed, const uint8_t nonce[BOX_NONCE_BYTES],
                        const uint8_t shared[KEY_BYTES]);

#endif

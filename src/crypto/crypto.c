#include "crypto/crypto.h"

#include <errno.h>
#include <sodium.h>

#include "crypto/internal.h"

int crypto_init(void)
{
    if (sodium_init() < 0)
        return -EIO;
    random_init();
    return 0;
}

void wipe(void *secret, size_t len)
{
    sodium_memzero(secret, len);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

void secret_key_clamp(struct secret_key *k)
{
    k->bytes[0] &= 0xf8;
    k->bytes[31] = (uint8_t)((k->bytes[31] & 0x7f) | 0x40);
}

void secret_key_generate(struct secret_key *out)
{
    random_bytes_fresh(out->bytes, sizeof(out->bytes));
    secret_key_clamp(out);
}

void secret_key_public(const struct secret_key *k, struct public_key *out)
{
    must(crypto_scalarmult_base(out->bytes, k->bytes) == 0);
}

bool x25519(uint8_t out[KEY_BYTES], const struct secret_key *ours, const struct public_key *theirs)
{
    if (crypto_scalarmult(out, ours->bytes, theirs->bytes) == 0)
        return true;
    memset(out, 0, KEY_BYTES);
    return false;
}

bool key_parse(struct span text, const char *prefix, uint8_t out[KEY_BYTES])
{
    if (!text_starts_with(text, prefix))
        return false;
    return hex_decode(span_slice(text, strlen(prefix), text.len), out, KEY_BYTES);
}

const char *key_text(char out[KEY_TEXT_BYTES], const char *prefix, const uint8_t key[KEY_BYTES])
{
    size_t len = strlen(prefix);

    must(len <= KEY_PREFIX_BYTES_MAX);
    memcpy(out, prefix, len);
    hex_encode(out + len, span_make(key, KEY_BYTES));
    return out;
}

const char *public_key_short(char out[KEY_SHORT_TEXT_BYTES], const struct public_key *k)
{
    char base64[BASE64_BYTES(KEY_BYTES)];

    out[0] = '\0';
    if (public_key_is_zero(k))
        return out;
    base64_encode(base64, SPAN_OF(k->bytes));
    out[0] = '[';
    memcpy(out + 1, base64, 5);
    out[6] = ']';
    out[7] = '\0';
    return out;
}

bool box_key_make(uint8_t shared[KEY_BYTES], const struct secret_key *ours, const struct public_key *theirs)
{
    if (crypto_box_beforenm(shared, theirs->bytes, ours->bytes) == 0)
        return true;
    memset(shared, 0, KEY_BYTES);
    return false;
}

void box_seal(uint8_t *out, struct span plain, const uint8_t nonce[BOX_NONCE_BYTES],
              const uint8_t shared[KEY_BYTES])
{
    must(crypto_box_easy_afternm(out, plain.data, plain.len, nonce, shared) == 0);
}

bool box_open(uint8_t *out, struct span sealed, const uint8_t nonce[BOX_NONCE_BYTES],
              const uint8_t shared[KEY_BYTES])
{
    if (sealed.len < BOX_TAG_BYTES)
        return false;
    return crypto_box_open_easy_afternm(out, sealed.data, sealed.len, nonce, shared) == 0;
}

#include "wireguard/mac.h"

void mac1_key(struct blake2s_key *out, const struct public_key *receiver)
{
    uint8_t key[BLAKE2S_BYTES];

    blake2s_hash(key, span_from_str("mac1----"), SPAN_OF(receiver->bytes));
    blake2s_key_init(out, MAC_BYTES, SPAN_OF(key));
}

bool mac1_matches(const struct blake2s_key *key, const uint8_t *message, size_t at)
{
    uint8_t mac[MAC_BYTES];

    blake2s_key_mac(key, mac, span_make(message, at));
    return crypto_equal(mac, message + at, MAC_BYTES);
}

void mac1_write(const struct blake2s_key *key, uint8_t *message, size_t at)
{
    blake2s_key_mac(key, message + at, span_make(message, at));
}

bool mac2_matches(const uint8_t cookie[COOKIE_BYTES], const uint8_t *message, size_t at)
{
    uint8_t mac[MAC_BYTES];

    blake2s_mac(mac, MAC_BYTES, span_make(cookie, COOKIE_BYTES), span_make(message, at + MAC_BYTES));
    return crypto_equal(mac, message + at + MAC_BYTES, MAC_BYTES);
}

void mac2_write(const uint8_t cookie[COOKIE_BYTES], uint8_t *message, size_t at)
{
    blake2s_mac(message + at + MAC_BYTES, MAC_BYTES, span_make(cookie, COOKIE_BYTES),
                span_make(message, at + MAC_BYTES));
}

void cookie_make(uint8_t out[COOKIE_BYTES], const uint8_t process_secret[32], time_ns now,
                 const struct wireguard_source *source)
{
    uint8_t secret[BLAKE2S_BYTES], bytes[1 + KEY_BYTES];
    struct writer w = writer_of(bytes, sizeof(bytes));

    store_le64(bytes, (uint64_t)(now / COOKIE_LIFE));
    blake2s_mac(secret, sizeof(secret), span_make(process_secret, 32), span_make(bytes, 8));
    writer_u8(&w, source->relayed);
    if (source->relayed) {
        writer_bytes(&w, SPAN_OF(source->relay_key.bytes));
    } else {
        writer_bytes(&w, SPAN_OF(source->address.ip.bytes));
        writer_be16(&w, source->address.port);
    }
    blake2s_mac(out, COOKIE_BYTES, SPAN_OF(secret), writer_done(&w));
    wipe(secret, sizeof(secret));
}

static void reply_key(uint8_t out[BLAKE2S_BYTES], const struct public_key *replier)
{
    blake2s_hash(out, span_from_str("cookie--"), SPAN_OF(replier->bytes));
}

void cookie_reply_create(uint8_t out[COOKIE_REPLY_BYTES], const struct public_key *ours, uint32_t receiver,
                         const uint8_t nonce[XAEAD_NONCE_BYTES], const uint8_t cookie[COOKIE_BYTES],
                         const uint8_t mac1[MAC_BYTES])
{
    uint8_t key[BLAKE2S_BYTES];

    reply_key(key, ours);
    store_le32(out, TYPE_COOKIE_REPLY);
    store_le32(out + COOKIE_AT_RECEIVER, receiver);
    memcpy(out + COOKIE_AT_NONCE, nonce, XAEAD_NONCE_BYTES);
    xaead_seal(out + COOKIE_AT_SEALED, span_make(cookie, COOKIE_BYTES), span_make(mac1, MAC_BYTES), nonce,
               key);
}

bool cookie_reply_consume(const uint8_t reply[COOKIE_REPLY_BYTES], const struct public_key *theirs,
                          const uint8_t mac1[MAC_BYTES], uint8_t cookie[COOKIE_BYTES])
{
    uint8_t key[BLAKE2S_BYTES], opened[COOKIE_BYTES];

    reply_key(key, theirs);
    if (!xaead_open(opened, span_make(reply + COOKIE_AT_SEALED, COOKIE_BYTES + AEAD_TAG_BYTES),
                    span_make(mac1, MAC_BYTES), reply + COOKIE_AT_NONCE, key))
        return false;
    memcpy(cookie, opened, COOKIE_BYTES);
    return true;
}

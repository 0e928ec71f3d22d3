#include "wireguard/handshake.h"

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

/* Each handshake key seals once. */
static const uint8_t nonce_zero[AEAD_NONCE_BYTES];

static void mix_hash(uint8_t h[BLAKE2S_BYTES], struct span bytes)
{
    blake2s_hash(h, span_make(h, BLAKE2S_BYTES), bytes);
}

static void mix_key(uint8_t ck[BLAKE2S_BYTES], struct span input)
{
    kdf_blake2s(ck, NULL, NULL, ck, input);
}

/* Mixes a shared secret into ck; key may be NULL. */
static int mix_dh(uint8_t ck[BLAKE2S_BYTES], uint8_t *key, const struct secret_key *ours,
                  const struct public_key *theirs)
{
    uint8_t shared[KEY_BYTES];

    if (!x25519(shared, ours, theirs))
        return WIREGUARD_E_HOSTILE_KEY;
    kdf_blake2s(ck, key, NULL, ck, SPAN_OF(shared));
    wipe(shared, sizeof(shared));
    return 0;
}

/* Both sides, up to and including the initiator's ephemeral key. */
static void begin(uint8_t h[BLAKE2S_BYTES], uint8_t ck[BLAKE2S_BYTES], const struct public_key *responder,
                  struct span ephemeral)
{
    blake2s_hash(ck, span_from_str(construction), SPAN_NONE);
    blake2s_hash(h, span_make(ck, BLAKE2S_BYTES), span_from_str(identifier));
    mix_hash(h, SPAN_OF(responder->bytes));
    mix_key(ck, ephemeral);
    mix_hash(h, ephemeral);
}

/* psk2: Tailscale's pre-shared key is always zero, and is mixed in all the same. */
static void mix_psk(uint8_t h[BLAKE2S_BYTES], uint8_t ck[BLAKE2S_BYTES], uint8_t key[AEAD_KEY_BYTES])
{
    static const uint8_t psk[32];
    uint8_t tau[BLAKE2S_BYTES];

    kdf_blake2s(ck, tau, key, ck, SPAN_OF(psk));
    mix_hash(h, SPAN_OF(tau));
    wipe(tau, sizeof(tau));
}

int initiation_create(struct handshake *hs, uint8_t out[INITIATION_BYTES], const struct identity *own,
                      const struct public_key *peer, const uint8_t static_shared[KEY_BYTES],
                      const struct secret_key *ephemeral, const uint8_t timestamp[TIMESTAMP_BYTES],
                      uint32_t sender)
{
    struct span e = { out + INITIATION_AT_EPHEMERAL, KEY_BYTES };
    struct span sealed_static = { out + INITIATION_AT_STATIC, KEY_BYTES + AEAD_TAG_BYTES };
    struct span sealed_time = { out + INITIATION_AT_TIMESTAMP, TIMESTAMP_BYTES + AEAD_TAG_BYTES };
    struct public_key e_public;
    uint8_t key[AEAD_KEY_BYTES];
    int r;

    memset(out, 0, INITIATION_BYTES);
    store_le32(out, TYPE_INITIATION);
    store_le32(out + AT_SENDER, sender);
    secret_key_public(ephemeral, &e_public);
    memcpy(out + INITIATION_AT_EPHEMERAL, e_public.bytes, KEY_BYTES);
    begin(hs->h, hs->ck, peer, e);
    r = mix_dh(hs->ck, key, ephemeral, peer);
    if (r)
        return r;
    aead_seal(out + INITIATION_AT_STATIC, SPAN_OF(own->public.bytes), SPAN_OF(hs->h), nonce_zero, key);
    mix_hash(hs->h, sealed_static);
    kdf_blake2s(hs->ck, key, NULL, hs->ck, span_make(static_shared, KEY_BYTES));
    aead_seal(out + INITIATION_AT_TIMESTAMP, span_make(timestamp, TIMESTAMP_BYTES), SPAN_OF(hs->h),
              nonce_zero, key);
    mix_hash(hs->h, sealed_time);
    hs->ephemeral = *ephemeral;
    wipe(key, sizeof(key));
    return 0;
}

int initiation_open(struct initiation *in, const uint8_t message[INITIATION_BYTES],
                    const struct identity *own)
{
    struct span sealed = { message + INITIATION_AT_STATIC, KEY_BYTES + AEAD_TAG_BYTES };
    uint8_t key[AEAD_KEY_BYTES];
    int r;

    in->sender = load_le32(message + AT_SENDER);
    memcpy(in->ephemeral.bytes, message + INITIATION_AT_EPHEMERAL, KEY_BYTES);
    begin(in->h, in->ck, &own->public, SPAN_OF(in->ephemeral.bytes));
    r = mix_dh(in->ck, key, &own->secret, &in->ephemeral);
    if (r)
        return r;
    if (!aead_open(in->initiator.bytes, sealed, SPAN_OF(in->h), nonce_zero, key))
        r = WIREGUARD_E_FORGED;
    mix_hash(in->h, sealed);
    wipe(key, sizeof(key));
    return r;
}

int initiation_verify(struct initiation *in, const uint8_t message[INITIATION_BYTES],
                      const uint8_t static_shared[KEY_BYTES])
{
    struct span sealed = { message + INITIATION_AT_TIMESTAMP, TIMESTAMP_BYTES + AEAD_TAG_BYTES };
    uint8_t key[AEAD_KEY_BYTES];
    int r = 0;

    kdf_blake2s(in->ck, key, NULL, in->ck, span_make(static_shared, KEY_BYTES));
    if (!aead_open(in->timestamp, sealed, SPAN_OF(in->h), nonce_zero, key))
        r = WIREGUARD_E_FORGED;
    mix_hash(in->h, sealed);
    wipe(key, sizeof(key));
    return r;
}

int response_create(const struct initiation *in, uint8_t out[RESPONSE_BYTES],
                    const struct secret_key *ephemeral, uint32_t sender, struct session_keys *keys)
{
    uint8_t h[BLAKE2S_BYTES], ck[BLAKE2S_BYTES], key[AEAD_KEY_BYTES];
    struct public_key e;
    int r;

    memset(out, 0, RESPONSE_BYTES);
    store_le32(out, TYPE_RESPONSE);
    store_le32(out + AT_SENDER, sender);
    store_le32(out + RESPONSE_AT_RECEIVER, in->sender);
    secret_key_public(ephemeral, &e);
    memcpy(out + RESPONSE_AT_EPHEMERAL, e.bytes, KEY_BYTES);
    memcpy(h, in->h, sizeof(h));
    memcpy(ck, in->ck, sizeof(ck));
    mix_hash(h, SPAN_OF(e.bytes));
    mix_key(ck, SPAN_OF(e.bytes));
    r = mix_dh(ck, NULL, ephemeral, &in->ephemeral);
    if (!r)
        r = mix_dh(ck, NULL, ephemeral, &in->initiator);
    if (!r) {
        mix_psk(h, ck, key);
        aead_seal(out + RESPONSE_AT_EMPTY, SPAN_NONE, SPAN_OF(h), nonce_zero, key);
        kdf_blake2s(keys->receive, keys->send, NULL, ck, SPAN_NONE);
        wipe(key, sizeof(key));
    }
    wipe(ck, sizeof(ck));
    return r;
}

int response_consume(const struct handshake *hs, const uint8_t message[RESPONSE_BYTES],
                     const struct identity *own, struct session_keys *keys)
{
    uint8_t h[BLAKE2S_BYTES], ck[BLAKE2S_BYTES], key[AEAD_KEY_BYTES], none[1];
    struct public_key e;
    int r;

    memcpy(e.bytes, message + RESPONSE_AT_EPHEMERAL, KEY_BYTES);
    memcpy(h, hs->h, sizeof(h));
    memcpy(ck, hs->ck, sizeof(ck));
    mix_hash(h, SPAN_OF(e.bytes));
    mix_key(ck, SPAN_OF(e.bytes));
    r = mix_dh(ck, NULL, &hs->ephemeral, &e);
    if (!r)
        r = mix_dh(ck, NULL, &own->secret, &e);
    if (!r) {
        mix_psk(h, ck, key);
        if (!aead_open(none, span_make(message + RESPONSE_AT_EMPTY, AEAD_TAG_BYTES), SPAN_OF(h), nonce_zero,
                       key))
            r = WIREGUARD_E_FORGED;
        wipe(key, sizeof(key));
    }
    if (!r)
        kdf_blake2s(keys->send, keys->receive, NULL, ck, SPAN_NONE);
    wipe(ck, sizeof(ck));
    return r;
}

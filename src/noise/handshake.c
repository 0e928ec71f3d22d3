/* Noise_IK_25519_ChaChaPoly_BLAKE2s with empty payloads.
 *
 *   client                                  server
 *   e, es, s, ss  (initiation, 101 bytes) ->
 *                 <- (response, 51 bytes)   e, ee, se
 */
#include "noise/noise.h"

#include <assert.h>
#include <stdio.h>

static const char protocol[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

/* First byte of a frame; the initiation has two bytes of version in front. */
enum { TYPE_INITIATION = 1, TYPE_RESPONSE = 2, TYPE_ERROR = 3 };

#define SEALED_KEY_BYTES (KEY_BYTES + AEAD_TAG_BYTES)
#define INITIATION_HEADER_BYTES 5
#define AT_SEALED_STATIC (INITIATION_HEADER_BYTES + KEY_BYTES)
#define AT_INITIATION_TAG (AT_SEALED_STATIC + SEALED_KEY_BYTES)
#define AT_RESPONSE_TAG (NOISE_HEADER_BYTES + KEY_BYTES)
static_assert(AT_INITIATION_TAG + AEAD_TAG_BYTES == NOISE_INITIATION_BYTES, "initiation layout");
static_assert(AT_RESPONSE_TAG + AEAD_TAG_BYTES == NOISE_RESPONSE_BYTES, "response layout");

/* Each handshake key seals once. */
static const uint8_t nonce_zero[AEAD_NONCE_BYTES];

static void mix_hash(struct noise_handshake *hs, struct span bytes)
{
    blake2s_hash(hs->h, SPAN_OF(hs->h), bytes);
}

/* false: hostile public key. */
static bool mix_dh(struct noise_handshake *hs, uint8_t key[AEAD_KEY_BYTES], const struct secret_key *ours,
                   const struct public_key *theirs)
{
    uint8_t shared[KEY_BYTES];
    bool ok = x25519(shared, ours, theirs);

    if (ok)
        kdf_blake2s(hs->ck, key, NULL, hs->ck, SPAN_OF(shared));
    wipe(shared, sizeof(shared));
    return ok;
}

static void seal_and_hash(struct noise_handshake *hs, const uint8_t key[AEAD_KEY_BYTES], struct span plain,
                          uint8_t *out)
{
    aead_seal(out, plain, SPAN_OF(hs->h), nonce_zero, key);
    mix_hash(hs, span_make(out, plain.len + AEAD_TAG_BYTES));
}

static bool open_and_hash(struct noise_handshake *hs, const uint8_t key[AEAD_KEY_BYTES], struct span sealed,
                          uint8_t *out)
{
    if (!aead_open(out, sealed, SPAN_OF(hs->h), nonce_zero, key))
        return false;
    mix_hash(hs, sealed);
    return true;
}

/* Up to and including the server's static key, which both sides know. */
static void begin(struct noise_handshake *hs, uint16_t version, const struct public_key *server)
{
    char prologue[48];
    int len = snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%u", (unsigned)version);

    blake2s_hash(hs->h, span_from_str(protocol), SPAN_NONE);
    memcpy(hs->ck, hs->h, sizeof(hs->ck));
    mix_hash(hs, span_make(prologue, (size_t)len));
    mix_hash(hs, SPAN_OF(server->bytes));
}

/* The client sends with the first key, the server with the second. */
static void split(struct noise_handshake *hs, struct noise_session *s, bool client)
{
    *s = (struct noise_session) { 0 };
    kdf_blake2s(client ? s->send_key : s->receive_key, client ? s->receive_key : s->send_key, NULL, hs->ck,
                SPAN_NONE);
    memcpy(s->hash, hs->h, sizeof(s->hash));
    noise_handshake_wipe(hs);
}

static void take_ephemeral(struct noise_handshake *hs, const struct secret_key *given, struct public_key *out)
{
    if (given)
        hs->ephemeral = *given;
    else
        secret_key_generate(&hs->ephemeral);
    secret_key_public(&hs->ephemeral, out);
}

int noise_initiation_create(struct noise_handshake *hs, uint16_t version, const struct secret_key *machine,
                            const struct public_key *server, const struct secret_key *ephemeral,
                            uint8_t out[NOISE_INITIATION_BYTES])
{
    struct writer w = writer_of(out, NOISE_INITIATION_BYTES);
    struct public_key e, machine_public;
    uint8_t key[AEAD_KEY_BYTES];
    bool ok;

    *hs = (struct noise_handshake) { .own = *machine };
    take_ephemeral(hs, ephemeral, &e);
    secret_key_public(machine, &machine_public);
    writer_be16(&w, version);
    writer_u8(&w, TYPE_INITIATION);
    writer_be16(&w, NOISE_INITIATION_BYTES - INITIATION_HEADER_BYTES);
    writer_bytes(&w, SPAN_OF(e.bytes));

    begin(hs, version, server);
    mix_hash(hs, SPAN_OF(e.bytes));
    ok = mix_dh(hs, key, &hs->ephemeral, server);
    if (ok)
        seal_and_hash(hs, key, SPAN_OF(machine_public.bytes), out + AT_SEALED_STATIC);
    ok = ok && mix_dh(hs, key, &hs->own, server);
    if (ok)
        seal_and_hash(hs, key, SPAN_NONE, out + AT_INITIATION_TAG);
    else
        noise_handshake_wipe(hs);
    wipe(key, sizeof(key));
    return ok ? 0 : NOISE_E_KEY;
}

/* A whole frame with the three-byte header, of either kind that may come now. */
static int response_frame(struct span bytes, struct span *body, struct span *refusal)
{
    struct reader r = reader_of(bytes);
    uint8_t type = reader_u8(&r);
    uint16_t len;

    if (!r.failed && type != TYPE_RESPONSE && type != TYPE_ERROR)
        return NOISE_E_FORMAT;
    len = reader_be16(&r);
    if (r.failed)
        return NOISE_E_MORE;
    if (type == TYPE_RESPONSE ? len != NOISE_RESPONSE_BYTES - NOISE_HEADER_BYTES
                              : len > NOISE_FRAME_BYTES_MAX - NOISE_HEADER_BYTES)
        return NOISE_E_FORMAT;
    *body = reader_bytes(&r, len);
    if (r.failed)
        return NOISE_E_MORE;
    if (type == TYPE_ERROR) {
        *refusal = *body;
        return NOISE_E_REFUSED;
    }
    return 0;
}

int noise_response_consume(struct noise_handshake *hs, struct span bytes, size_t *used,
                           struct noise_session *out, struct span *refusal)
{
    struct noise_handshake next = *hs; /* ours stays as it is until the message has proved itself */
    uint8_t key[AEAD_KEY_BYTES], none[1];
    struct public_key re;
    struct span body;
    int r = response_frame(bytes, &body, refusal);

    if (r)
        goto out;
    memcpy(re.bytes, body.data, KEY_BYTES);
    mix_hash(&next, SPAN_OF(re.bytes));
    r = NOISE_E_KEY;
    if (!mix_dh(&next, key, &next.ephemeral, &re) || !mix_dh(&next, key, &next.own, &re))
        goto out;
    r = NOISE_E_FORGED;
    if (!open_and_hash(&next, key, span_slice(body, KEY_BYTES, AEAD_TAG_BYTES), none))
        goto out;
    split(&next, out, true);
    noise_handshake_wipe(hs);
    *used = NOISE_RESPONSE_BYTES;
    r = 0;
out:
    wipe(key, sizeof(key));
    noise_handshake_wipe(&next);
    return r;
}

static int initiation_frame(struct span bytes, uint16_t *version)
{
    struct reader r = reader_of(bytes);
    uint8_t type;
    uint16_t len;

    *version = reader_be16(&r);
    type = reader_u8(&r);
    if (!r.failed && type != TYPE_INITIATION)
        return NOISE_E_FORMAT;
    len = reader_be16(&r);
    if (!r.failed && len != NOISE_INITIATION_BYTES - INITIATION_HEADER_BYTES)
        return NOISE_E_FORMAT;
    return bytes.len < NOISE_INITIATION_BYTES ? NOISE_E_MORE : 0;
}

int noise_initiation_consume(struct noise_handshake *hs, const struct secret_key *server, struct span bytes,
                             size_t *used, uint16_t *version)
{
    struct public_key server_public;
    uint8_t key[AEAD_KEY_BYTES], none[1];
    uint16_t claimed;
    int r = initiation_frame(bytes, &claimed);

    if (r)
        return r;
    *hs = (struct noise_handshake) { .own = *server };
    memcpy(hs->peer_ephemeral.bytes, bytes.data + INITIATION_HEADER_BYTES, KEY_BYTES);
    secret_key_public(server, &server_public);
    begin(hs, claimed, &server_public);
    mix_hash(hs, SPAN_OF(hs->peer_ephemeral.bytes));
    r = NOISE_E_KEY;
    if (!mix_dh(hs, key, &hs->own, &hs->peer_ephemeral))
        goto out;
    r = NOISE_E_FORGED;
    if (!open_and_hash(hs, key, span_make(bytes.data + AT_SEALED_STATIC, SEALED_KEY_BYTES), hs->peer.bytes))
        goto out;
    r = NOISE_E_KEY;
    if (!mix_dh(hs, key, &hs->own, &hs->peer))
        goto out;
    r = NOISE_E_FORGED;
    if (!open_and_hash(hs, key, span_make(bytes.data + AT_INITIATION_TAG, AEAD_TAG_BYTES), none))
        goto out;
    *used = NOISE_INITIATION_BYTES;
    *version = claimed;
    r = 0;
out:
    wipe(key, sizeof(key));
    if (r)
        noise_handshake_wipe(hs);
    return r;
}

int noise_response_create(struct noise_handshake *hs, const struct secret_key *ephemeral,
                          uint8_t out[NOISE_RESPONSE_BYTES], struct noise_session *session)
{
    struct writer w = writer_of(out, NOISE_RESPONSE_BYTES);
    uint8_t key[AEAD_KEY_BYTES];
    struct public_key e;
    int r = NOISE_E_KEY;

    take_ephemeral(hs, ephemeral, &e);
    writer_u8(&w, TYPE_RESPONSE);
    writer_be16(&w, NOISE_RESPONSE_BYTES - NOISE_HEADER_BYTES);
    writer_bytes(&w, SPAN_OF(e.bytes));
    mix_hash(hs, SPAN_OF(e.bytes));
    if (mix_dh(hs, key, &hs->ephemeral, &hs->peer_ephemeral) && mix_dh(hs, key, &hs->ephemeral, &hs->peer)) {
        seal_and_hash(hs, key, SPAN_NONE, out + AT_RESPONSE_TAG);
        split(hs, session, false);
        r = 0;
    }
    wipe(key, sizeof(key));
    noise_handshake_wipe(hs);
    return r;
}

void noise_handshake_wipe(struct noise_handshake *hs)
{
    wipe(hs, sizeof(*hs));
}

/* noise/noise.h - the Noise IK handshake and records of the control connection ("ts2021")
 *
 * Pure: the owner moves bytes. The client makes an initiation (it travels in a request header),
 * consumes the response, then seals and opens records; the server side does the same from the other
 * end and exists for the lab and the tests. Once a call gave an outcome other than NOISE_E_MORE the
 * connection is dead: close it and start again with a new handshake.
 * Format: docs/protocol/noise.md. Thread: any, one at a time. Memory: the caller's structs, no heap.
 */
#ifndef MANYTAILS_NOISE_NOISE_H
#define MANYTAILS_NOISE_NOISE_H

#include "crypto/crypto.h"

#define NOISE_INITIATION_BYTES 101
#define NOISE_RESPONSE_BYTES 51
#define NOISE_HEADER_BYTES 3
#define NOISE_FRAME_BYTES_MAX 4096 /* with its header */
#define NOISE_OVERHEAD_BYTES (NOISE_HEADER_BYTES + AEAD_TAG_BYTES)
#define NOISE_PLAIN_BYTES_MAX (NOISE_FRAME_BYTES_MAX - NOISE_OVERHEAD_BYTES) /* 4077 */

enum noise_outcome {
    NOISE_E_MORE = 1,  /* not enough bytes yet; nothing was consumed */
    NOISE_E_KEY,       /* a public key of small order: no secret can come of it */
    NOISE_E_FORMAT,    /* wrong type or impossible length */
    NOISE_E_FORGED,    /* does not authenticate: wrong server key, or somebody in between */
    NOISE_E_REFUSED,   /* the other side sent an error text instead of its message */
    NOISE_E_EXHAUSTED, /* 2^64 - 1 records in one direction */
};

struct noise_handshake {
    uint8_t h[BLAKE2S_BYTES], ck[BLAKE2S_BYTES];
    struct secret_key own;       /* client: our static key */
    struct secret_key ephemeral; /* client: ours */
    struct public_key peer;      /* server: the client's static key */
    struct public_key peer_ephemeral;
};

struct noise_session {
    uint8_t send_key[AEAD_KEY_BYTES], receive_key[AEAD_KEY_BYTES];
    uint64_t send_counter, receive_counter;
    uint8_t hash[BLAKE2S_BYTES]; /* channel binding */
};

/* ---- handshake, client ------------------------------------------------------------
 * version: the capability version that every request on this connection will claim too.
 * ephemeral: NULL for a fresh key; tests hand one in.
 */
NODISCARD int noise_initiation_create(struct noise_handshake *hs, uint16_t version,
                                      const struct secret_key *machine, const struct public_key *server,
                                      const struct secret_key *ephemeral,
                                      uint8_t out[NOISE_INITIATION_BYTES]);
/* bytes: what has arrived. 0: *used of them were the response, *out is ready, *hs is wiped.
 * NOISE_E_REFUSED: *refusal is the text (inside bytes, unauthenticated, not printable as it is). */
NODISCARD int noise_response_consume(struct noise_handshake *hs, struct span bytes, size_t *used,
                                     struct noise_session *out, struct span *refusal);

/* ---- handshake, server -------------------------------------------------------------- */

/* 0: hs->peer is the client's authenticated machine key, *version what it claims. */
NODISCARD int noise_initiation_consume(struct noise_handshake *hs, const struct secret_key *server,
                                       struct span bytes, size_t *used, uint16_t *version);
NODISCARD int noise_response_create(struct noise_handshake *hs, const struct secret_key *ephemeral,
                                    uint8_t out[NOISE_RESPONSE_BYTES], struct noise_session *session);

void noise_handshake_wipe(struct noise_handshake *hs);

/* ---- records ----------------------------------------------------------------------------
 * A byte stream cut into records; where it is cut means nothing.
 */

/* Writes plain.len + NOISE_OVERHEAD_BYTES; plain may be empty or already be at out + 3.
 * plain.len is at most NOISE_PLAIN_BYTES_MAX (must). */
NODISCARD int noise_seal(struct noise_session *s, struct span plain, uint8_t *out);
/* The first record of what has arrived, decrypted in place. *plain is inside bytes; it may be empty,
 * which says nothing. */
NODISCARD int noise_open(struct noise_session *s, struct mspan bytes, size_t *used, struct mspan *plain);
void noise_session_wipe(struct noise_session *s);

#endif

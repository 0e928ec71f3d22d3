/* Noise_IKpsk2 as WireGuard writes it, without state of peers, timers or indices.
 *
 * Four steps: initiation_create and response_consume on one side, initiation_open (static key) with
 * initiation_verify (timestamp) and response_create on the other. Nothing but the result is changed
 * by a message that does not authenticate. The macs are not made here.
 */
#ifndef MANYTAILS_WIREGUARD_HANDSHAKE_H
#define MANYTAILS_WIREGUARD_HANDSHAKE_H

#include "wireguard/message.h"

/* What the initiator keeps until the response. */
struct handshake {
    uint8_t h[BLAKE2S_BYTES], ck[BLAKE2S_BYTES];
    struct secret_key ephemeral;
};

/* What the responder knows while it answers. */
struct initiation {
    uint8_t h[BLAKE2S_BYTES], ck[BLAKE2S_BYTES];
    struct public_key ephemeral, initiator;
    uint8_t timestamp[TIMESTAMP_BYTES];
    uint32_t sender; /* the initiator's index */
};

struct session_keys {
    uint8_t send[AEAD_KEY_BYTES], receive[AEAD_KEY_BYTES];
};

struct identity {
    struct secret_key secret;
    struct public_key public;
};

/* static_shared: X25519(own secret, peer's public key). 0, WIREGUARD_E_HOSTILE_KEY. */
NODISCARD int initiation_create(struct handshake *hs, uint8_t out[INITIATION_BYTES],
                                const struct identity *own, const struct public_key *peer,
                                const uint8_t static_shared[KEY_BYTES], const struct secret_key *ephemeral,
                                const uint8_t timestamp[TIMESTAMP_BYTES], uint32_t sender);
/* Gives in->initiator, which anybody can claim until initiation_verify. 0, FORGED, HOSTILE_KEY. */
NODISCARD int initiation_open(struct initiation *in, const uint8_t message[INITIATION_BYTES],
                              const struct identity *own);
/* Gives in->timestamp; the initiator has proved its key. 0, FORGED. */
NODISCARD int initiation_verify(struct initiation *in, const uint8_t message[INITIATION_BYTES],
                                const uint8_t static_shared[KEY_BYTES]);
/* 0, HOSTILE_KEY. */
NODISCARD int response_create(const struct initiation *in, uint8_t out[RESPONSE_BYTES],
                              const struct secret_key *ephemeral, uint32_t sender, struct session_keys *keys);
/* 0, FORGED, HOSTILE_KEY. */
NODISCARD int response_consume(const struct handshake *hs, const uint8_t message[RESPONSE_BYTES],
                               const struct identity *own, struct session_keys *keys);

#endif

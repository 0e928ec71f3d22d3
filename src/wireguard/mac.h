/* mac1, mac2 and cookies: what is checked before any Curve25519 is computed. */
#ifndef MANYTAILS_WIREGUARD_MAC_H
#define MANYTAILS_WIREGUARD_MAC_H

#include "wireguard/message.h"

#define COOKIE_LIFE (120 * SEC) /* CookieRefreshTime */

/* The key of mac1 for messages to the holder of this public key. */
void mac1_key(struct blake2s_key *out, const struct public_key *receiver);

/* `at`: where the macs begin, the last 32 bytes of the message. */
bool mac1_matches(const struct blake2s_key *key, const uint8_t *message, size_t at);
void mac1_write(const struct blake2s_key *key, uint8_t *message, size_t at);
bool mac2_matches(const uint8_t cookie[COOKIE_BYTES], const uint8_t *message, size_t at);
void mac2_write(const uint8_t cookie[COOKIE_BYTES], uint8_t *message, size_t at);

/* What a source must show under load. The secret follows from the process secret and the time, so all
 * shards agree without sharing anything that changes. */
void cookie_make(uint8_t out[COOKIE_BYTES], const uint8_t process_secret[32], time_ns now,
                 const struct wireguard_source *source);
/* ours: the key of the node that was addressed; mac1: of the message that asks for too much. */
void cookie_reply_create(uint8_t out[COOKIE_REPLY_BYTES], const struct public_key *ours, uint32_t receiver,
                         const uint8_t nonce[XAEAD_NONCE_BYTES], const uint8_t cookie[COOKIE_BYTES],
                         const uint8_t mac1[MAC_BYTES]);
/* theirs: the key of the peer that answered; false: forged, or about another message. */
NODISCARD bool cookie_reply_consume(const uint8_t reply[COOKIE_REPLY_BYTES], const struct public_key *theirs,
                                    const uint8_t mac1[MAC_BYTES], uint8_t cookie[COOKIE_BYTES]);

#endif

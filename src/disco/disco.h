/* disco/disco.h - the messages by which two nodes look for a direct path to each other
 *
 * Codec only: bytes in, structs out, and back. Who asks whom and when is underlay/path.h; which of our
 * nodes a sealed message is for is underlay/underlay.h. Format and laxness: docs/protocol/disco.md.
 * Keeping the box key of a pair of disco keys is the caller's business (making one costs an X25519).
 *
 *   magic 6 | sender's disco key 32 | nonce 24 | tag 16 | sealed: type 1, version 1, payload
 *
 * Thread: any.  Memory: none is kept.
 */
#ifndef MANYTAILS_DISCO_DISCO_H
#define MANYTAILS_DISCO_DISCO_H

#include "base/base.h"
#include "crypto/crypto.h"

#define DISCO_HEADER_BYTES 62                                     /* magic, key, nonce */
#define DISCO_OVERHEAD_BYTES (DISCO_HEADER_BYTES + BOX_TAG_BYTES) /* 78 */
#define DISCO_INNER_BYTES_MAX \
    9216 /* pings are padded up to a jumbo frame to probe the path; none is longer */
#define DISCO_TXID_BYTES 12
#define DISCO_ENDPOINT_BYTES 18
/* Of one CallMeMaybe, read or written; later ones are ignored. Bounds whom a peer can make us ping. */
#define DISCO_ENDPOINTS_MAX 16

/* What our writers make, whole datagrams. */
#define DISCO_PING_BYTES (DISCO_OVERHEAD_BYTES + 2 + DISCO_TXID_BYTES + KEY_BYTES)            /* 124 */
#define DISCO_PONG_BYTES (DISCO_OVERHEAD_BYTES + 2 + DISCO_TXID_BYTES + DISCO_ENDPOINT_BYTES) /* 110 */
#define DISCO_DATAGRAM_BYTES_MAX (DISCO_OVERHEAD_BYTES + 2 + DISCO_ENDPOINTS_MAX * DISCO_ENDPOINT_BYTES)

enum disco_outcome {
    DISCO_E_SHORT = 1, /* too short for what it says it is, or longer than DISCO_INNER_BYTES_MAX */
    DISCO_E_NOT_DISCO, /* no magic */
    DISCO_E_FORGED,    /* does not open: another node's, or nobody's */
    DISCO_E_IGNORED,   /* a type or version we do not speak: relay servers of peers (4..9), newer ones */
};

enum disco_type {
    DISCO_PING = 1,
    DISCO_PONG = 2,
    DISCO_CALL_ME_MAYBE = 3,
};

/* Names one ping. Random: who cannot read the ping cannot answer it. */
struct disco_txid {
    uint8_t bytes[DISCO_TXID_BYTES];
};

static inline bool disco_txid_equal(const struct disco_txid *a, const struct disco_txid *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- in --------------------------------------------------------------------- */

/* Looks like disco: what demultiplexing asks; such a datagram may still be too short. */
bool disco_is(struct span datagram);

/* What is readable without a key. Spans are borrowed from the datagram. */
struct disco_envelope {
    struct public_key sender;
    const uint8_t *nonce; /* BOX_NONCE_BYTES */
    struct span sealed;
};
NODISCARD int disco_envelope_parse(struct span datagram, struct disco_envelope *out); /* SHORT, NOT_DISCO */

/* room: at least sealed.len bytes, not the datagram itself. 0 or DISCO_E_FORGED; the datagram is unchanged.
 */
NODISCARD int disco_open(const struct disco_envelope *e, const uint8_t box_key[KEY_BYTES], struct mspan room,
                         struct span *inner);

struct disco_message {
    enum disco_type type;
    struct disco_txid txid;                        /* ping, pong */
    struct public_key node_key;                    /* ping: who pings; zero if an old peer did not say */
    struct ip_port seen_from;                      /* pong: where our ping came from */
    struct ip_port endpoints[DISCO_ENDPOINTS_MAX]; /* CallMeMaybe */
    size_t endpoint_count;
};
/* 0, SHORT, IGNORED. A CallMeMaybe of odd length is an empty list, as the reference reads it. */
NODISCARD int disco_message_parse(struct span inner, struct disco_message *out);

/* ---- out -------------------------------------------------------------------- */

/* Writes the whole datagram for ping, pong and CallMeMaybe and returns its length. room has at least
 * DISCO_DATAGRAM_BYTES_MAX bytes; nonce is fresh and random. */
size_t disco_write(uint8_t *room, const struct disco_message *m, const struct public_key *our_disco,
                   const uint8_t nonce[BOX_NONCE_BYTES], const uint8_t box_key[KEY_BYTES]);

#endif

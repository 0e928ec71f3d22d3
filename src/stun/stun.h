/* stun/stun.h - asking a server which address our datagrams come from (RFC 8489, the part that is used)
 *
 * Codec only: a 40-byte binding request that relay servers of this network answer (they insist on
 * SOFTWARE and FINGERPRINT), and a parser for the answer. Whom to ask and when: underlay/netcheck.h.
 * Thread: any.  Memory: none is kept.
 */
#ifndef MANYTAILS_STUN_STUN_H
#define MANYTAILS_STUN_STUN_H

#include "base/base.h"

#define STUN_TXID_BYTES 12
#define STUN_REQUEST_BYTES 40
#define STUN_PORT_DEFAULT 3478

enum stun_outcome {
    STUN_E_NOT_RESPONSE = 1, /* not STUN, or not the success answer to a binding request */
    STUN_E_MALFORMED,        /* lengths do not add up */
    STUN_E_NO_ADDRESS,       /* well formed, but without a mapped address that we can read */
};

struct stun_txid {
    uint8_t bytes[STUN_TXID_BYTES];
};

/* Looks like STUN: what demultiplexing asks. Never true for WireGuard or disco. */
bool stun_is(struct span datagram);

void stun_request_write(uint8_t out[STUN_REQUEST_BYTES], const struct stun_txid *txid);

/* XOR-MAPPED-ADDRESS (0x0020 or, from old servers, 0x8020), else MAPPED-ADDRESS. The caller matches txid. */
NODISCARD int stun_response_parse(struct span datagram, struct stun_txid *txid, struct ip_port *mapped);

#endif

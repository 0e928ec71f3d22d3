/* lab/stun.h - the answering side of STUN (RFC 8489), on one loopback port
 *
 * Answers binding requests as relay servers do: only those that carry a FINGERPRINT, with the address that
 * the request came from. Everything else is dropped and counted.
 * Thread: the loop's.
 */
#ifndef MANYTAILS_LAB_STUN_H
#define MANYTAILS_LAB_STUN_H

#include "ev/ev.h"
#include "stun/stun.h"

#define LAB_STUN_RESPONSE_BYTES_MAX 44 /* header, one XOR-MAPPED-ADDRESS of IPv6 */

/* Is it a binding request of the kind that relays answer? */
bool lab_stun_request_parse(struct span datagram, struct stun_txid *txid);
size_t lab_stun_response_write(uint8_t out[LAB_STUN_RESPONSE_BYTES_MAX], const struct stun_txid *txid,
                               const struct ip_port *from);

struct lab_stun;

NODISCARD int lab_stun_new(struct lab_stun **out, struct ev_loop *loop, const struct ip_port *at);
void lab_stun_free(struct lab_stun *s); /* NULL is fine */
uint16_t lab_stun_port(const struct lab_stun *s);

struct lab_stun_counters {
    uint64_t answered, ignored;
};
const struct lab_stun_counters *lab_stun_counters(const struct lab_stun *s);

#endif

/* underlay/classify.h - what a UDP datagram is, by its first bytes (docs/protocol/disco.md) */
#ifndef MANYTAILS_UNDERLAY_CLASSIFY_H
#define MANYTAILS_UNDERLAY_CLASSIFY_H

#include "base/base.h"

enum datagram_class {
    DATAGRAM_WIREGUARD, /* everything else: WireGuard itself looks at it */
    DATAGRAM_DISCO,
    DATAGRAM_STUN,
    DATAGRAM_GENEVE, /* through a peer's relay server: we use none */
    DATAGRAM_SHORT,  /* cannot be anything; real peers append a byte 07 to some batches */
};

#define WIREGUARD_BYTES_MIN 32 /* a keepalive */

enum datagram_class datagram_classify(struct span datagram);

#endif

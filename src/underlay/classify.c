#include "underlay/classify.h"

#include "disco/disco.h"
#include "stun/stun.h"

#define GENEVE_HEADER_BYTES 8
#define GENEVE_PROTOCOL_DISCO 0x7a11
#define GENEVE_PROTOCOL_WIREGUARD 0x7a12

static bool geneve_is(struct span d)
{
    uint16_t protocol;

    if (d.len < GENEVE_HEADER_BYTES || (d.data[0] & 0xc0) || (d.data[1] & 0x3f) || d.data[7])
        return false;
    protocol = load_be16(d.data + 2);
    return protocol == GENEVE_PROTOCOL_DISCO || protocol == GENEVE_PROTOCOL_WIREGUARD;
}

enum datagram_class datagram_classify(struct span datagram)
{
    if (stun_is(datagram))
        return DATAGRAM_STUN;
    if (geneve_is(datagram))
        return DATAGRAM_GENEVE;
    if (disco_is(datagram))
        return DATAGRAM_DISCO;
    return datagram.len < WIREGUARD_BYTES_MIN ? DATAGRAM_SHORT : DATAGRAM_WIREGUARD;
}

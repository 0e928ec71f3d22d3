/* base/crc32.h - the CRC-32 of IEEE 802.3, as Ethernet, gzip and STUN compute it (part of base.h) */
#ifndef MANYTAILS_BASE_CRC32_H
#define MANYTAILS_BASE_CRC32_H

#include "base/span.h"

uint32_t crc32_ieee(struct span bytes);

#endif

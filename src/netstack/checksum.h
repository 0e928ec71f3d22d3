/* netstack/checksum.h - the Internet checksum (RFC 1071), alone and while copying
 *
 * Sums are of native 16-bit words in a 64-bit accumulator and may be added to each other; the byte order
 * of the machine does not matter as long as the result is stored as a native word.
 */
#ifndef MANYTAILS_NETSTACK_CHECKSUM_H
#define MANYTAILS_NETSTACK_CHECKSUM_H

#include "base/base.h"

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t len);
/* The same while copying to `out`. */
uint64_t checksum_copy(uint64_t sum, uint8_t *out, const uint8_t *data, size_t len);
/* To 16 bits, with end-around carries. */
uint16_t checksum_fold(uint64_t sum);

/* The sum of bytes that begin at an odd offset of the whole. */
static inline uint64_t checksum_odd(uint64_t sum)
{
    return __builtin_bswap16(checksum_fold(sum));
}

/* A value as it stands in a header, ready to be added. */
static inline uint64_t checksum_be16(uint16_t v)
{
    uint16_t word;
    uint8_t bytes[2];

    store_be16(bytes, v);
    memcpy(&word, bytes, 2);
    return word;
}
static inline uint64_t checksum_be32(uint32_t v)
{
    return checksum_be16((uint16_t)(v >> 16)) + checksum_be16((uint16_t)v);
}
static inline void checksum_store(uint8_t *out, uint64_t sum)
{
    uint16_t word = (uint16_t)~checksum_fold(sum);

    memcpy(out, &word, 2);
}

#endif

#include "base/crc32.h"

#define POLYNOMIAL_REFLECTED 0xedb88320u

/* Bit by bit: its users hash some dozen bytes now and then, a table would only cost cache. */
uint32_t crc32_ieee(struct span bytes)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL_REFLECTED : 0);
    }
    return ~crc;
}

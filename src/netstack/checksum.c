#include "netstack/checksum.h"

/* Four lanes of 64 bits, whatever the machine makes of them. */
typedef uint64_t lanes __attribute__((vector_size(32)));

#define LOW_HALVES ((lanes) { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff })

/* By pointer: how such vectors are passed depends on the machine. */
static uint64_t sum_lanes(const lanes *low, const lanes *high)
{
    lanes s = *low + *high;

    return s[0] + s[1] + s[2] + s[3];
}

/* What is left behind the blocks: fewer than 32 bytes. */
static uint64_t add_tail(uint64_t sum, const uint8_t *data, size_t len)
{
    for (; len >= 4; len -= 4, data += 4) {
        uint32_t v;

        memcpy(&v, data, 4);
        sum += v;
    }
    if (len) {
        uint32_t v = 0;

        memcpy(&v, data, len);
        sum += v;
    }
    return sum;
}

/* Keeps sums of several calls far from overflow: a fold of 64 to 33 bits is still the same sum. */
static uint64_t shorten(uint64_t sum)
{
    return (sum >> 32) + (sum & 0xffffffff);
}

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t len)
{
    lanes low = { 0 }, high = { 0 };

    for (; len >= 32; len -= 32, data += 32) {
        lanes v;

        memcpy(&v, data, 32);
        low += v & LOW_HALVES;
        high += v >> 32;
    }
    return add_tail(shorten(sum) + shorten(sum_lanes(&low, &high)), data, len);
}

uint64_t checksum_copy(uint64_t sum, uint8_t *out, const uint8_t *data, size_t len)
{
    lanes low = { 0 }, high = { 0 };

    for (; len >= 32; len -= 32, data += 32, out += 32) {
        lanes v;

        memcpy(&v, data, 32);
        memcpy(out, &v, 32);
        low += v & LOW_HALVES;
        high += v >> 32;
    }
    if (len)
        memcpy(out, data, len);
    return add_tail(shorten(sum) + shorten(sum_lanes(&low, &high)), data, len);
}

uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + (sum & 0xffff));
}

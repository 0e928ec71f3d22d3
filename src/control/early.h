/* control/early.h - the early payload that may precede HTTP/2 inside Noise (inside control/)
 *
 * FF FF FF 'T' 'S', 4 bytes of length (big-endian), JSON that nobody answers. Headscale sends it, testcontrol
 * does not; so the first five bytes are looked at and given back when they are something else. Pure, no heap.
 */
#ifndef MANYTAILS_CONTROL_EARLY_H
#define MANYTAILS_CONTROL_EARLY_H

#include "base/base.h"

#define EARLY_BYTES_MAX (64u << 10) /* of the JSON; real ones have ~100 */

enum early_outcome {
    EARLY_E_MORE = 1, /* all taken, undecided or still skipping */
    EARLY_E_TOO_BIG,
};

struct early {
    uint8_t head[9];
    uint8_t head_len;
    bool done;
    uint32_t skip;
};

/* Takes from the front of *in. 0: from here on it is HTTP/2: first *held (bytes kept from earlier calls,
 * borrowed from `e`), then what is left in *in. EARLY_E_*. */
NODISCARD int early_feed(struct early *e, struct span *in, struct span *held);

#endif

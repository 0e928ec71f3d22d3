/* control/frames.h - the framing of the map stream (inside control/)
 *
 * A body is a run of messages: 4 bytes of length, little-endian, then that many bytes. They arrive cut
 * anywhere. Pure; holds memory only for a message that is not complete.
 */
#ifndef MANYTAILS_CONTROL_FRAMES_H
#define MANYTAILS_CONTROL_FRAMES_H

#include "base/base.h"

#define FRAMES_MESSAGE_BYTES_MAX (16u << 20) /* the limit of the reference server for a map message */

enum frames_outcome {
    FRAMES_E_MORE = 1, /* all input taken, no complete message */
    FRAMES_E_SIZE,     /* length 0 or above the limit: the stream is lost, only a new one helps */
};

struct frames {
    uint8_t head[4];
    uint8_t head_len; /* how many of them are here */
    bool delivered;   /* `body` holds a message that the caller has seen */
    struct buf body;  /* of the message being collected */
};

void frames_init(struct frames *f);
void frames_deinit(struct frames *f);

/* Takes from the front of *in. 0: *message is complete, borrowed until the next call (from *in's memory or
 * ours); call again for the next one. FRAMES_E_*; -ENOMEM. */
NODISCARD int frames_next(struct frames *f, struct span *in, struct span *message);
/* In the middle of a message: the end of the stream here means that something was lost. */
bool frames_partial(const struct frames *f);

#endif

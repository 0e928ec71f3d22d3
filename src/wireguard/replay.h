/* Which counters of one receiving key have been seen.
 *
 * A window of 8,128 behind the highest: 192 loses reordered packets on fast links. It costs 1 KB, so
 * keys that never get past 64 packets (most of them: idle peers that rekey) do without it.
 */
#ifndef MANYTAILS_WIREGUARD_REPLAY_H
#define MANYTAILS_WIREGUARD_REPLAY_H

#include "base/base.h"

#define REPLAY_RING_WORDS 128
#define REPLAY_WINDOW ((REPLAY_RING_WORDS - 1) * 64) /* 8128 */
#define REPLAY_COUNTER_END (UINT64_MAX - (1 << 13))  /* RejectAfterMessages: never used */

/* All zero is a new one. */
struct replay {
    uint64_t highest;
    uint64_t first; /* counters 0..63, while there is no ring */
    uint64_t *ring;
};

/* Seen, too old or beyond the end: no need to decrypt. */
bool replay_refuses(const struct replay *r, uint64_t counter);
/* Only for counters that replay_refuses did not refuse and that were authenticated. -ENOMEM: drop the
 * packet, nothing has changed. */
NODISCARD int replay_mark(struct replay *r, uint64_t counter);
void replay_deinit(struct replay *r);

#endif

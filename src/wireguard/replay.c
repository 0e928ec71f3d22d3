#include "wireguard/replay.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t *word_of(const struct replay *r, uint64_t counter)
{
    return &r->ring[counter / 64 % REPLAY_RING_WORDS];
}

bool replay_refuses(const struct replay *r, uint64_t counter)
{
    if (counter >= REPLAY_COUNTER_END)
        return true;
    if (counter > r->highest)
        return false;
    if (r->highest - counter > REPLAY_WINDOW)
        return true;
    return ((r->ring ? *word_of(r, counter) : r->first) >> counter % 64) & 1;
}

static void advance(struct replay *r, uint64_t counter)
{
    uint64_t from = r->highest / 64, to = counter / 64;

    for (uint64_t i = 1; i <= MIN(to - from, (uint64_t)REPLAY_RING_WORDS); i++)
        r->ring[(from + i) % REPLAY_RING_WORDS] = 0;
    r->highest = counter;
}

int replay_mark(struct replay *r, uint64_t counter)
{
    must(!replay_refuses(r, counter));
    if (!r->ring && counter < 64) {
        r->first |= (uint64_t)1 << counter;
        r->highest = MAX(r->highest, counter);
        return 0;
    }
    if (!r->ring) {
        r->ring = calloc(REPLAY_RING_WORDS, sizeof(*r->ring));
        if (!r->ring)
            return -ENOMEM;
        r->ring[0] = r->first; /* highest is below 64 */
    }
    if (counter > r->highest)
        advance(r, counter);
    *word_of(r, counter) |= (uint64_t)1 << counter % 64;
    return 0;
}

void replay_deinit(struct replay *r)
{
    free(r->ring);
    *r = (struct replay) { 0 };
}

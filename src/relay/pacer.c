/* How fast a process may dial: a relay that comes back must not meet all nodes at once.
 *
 * The generic cell rate algorithm in one number per lane: the time at which the bucket would be full
 * again. Nodes with packets waiting have a lane of their own, so they never queue behind quiet ones.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "relay/internal.h"

#define INTERVAL (SEC / RELAY_DIALS_PER_SECOND)

struct relay_pacer {
    _Atomic time_ns full_at[PACE_LANES];
};

int relay_pacer_new(struct relay_pacer **out)
{
    struct relay_pacer *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    for (size_t i = 0; i < PACE_LANES; i++)
        atomic_init(&p->full_at[i], 0);
    *out = p;
    return 0;
}

void relay_pacer_free(struct relay_pacer *p)
{
    free(p);
}

time_ns pacer_reserve(struct relay_pacer *p, enum pace_lane lane, time_ns now)
{
    time_ns before, after;

    if (!p)
        return now;
    before = atomic_load_explicit(&p->full_at[lane], memory_order_relaxed);
    do {
        after = MAX(before, now) + INTERVAL;
    } while (!atomic_compare_exchange_weak_explicit(&p->full_at[lane], &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
    return MAX(now, after - RELAY_DIALS_BURST * INTERVAL);
}

/* control/backoff.h - how long to wait after failures (inside control/)
 *
 * Grows with the square of the failures in a row, jittered by half in both directions, plus an even spread
 * that depends on how many nodes of this process use the server: after its restart they come back over
 * seconds, not at once. Pure: the random number comes in.
 */
#ifndef MANYTAILS_CONTROL_BACKOFF_H
#define MANYTAILS_CONTROL_BACKOFF_H

#include "base/base.h"

#define BACKOFF_STEP (500 * MSEC) /* the reference has 10 ms, which is for one node */
#define BACKOFF_MAX (30 * SEC)
#define BACKOFF_SPREAD_PER_NODE (30 * MSEC)
#define BACKOFF_SPREAD_MAX (30 * SEC)

/* min(failures^2 * step, max), times 0.5 to 1.5. */
time_ns backoff_delay(unsigned failures, time_ns step, time_ns max, uint64_t random);
/* Evenly from 0 to what `nodes` nodes need. One node: nothing. */
time_ns backoff_spread(unsigned nodes, uint64_t random);

#endif

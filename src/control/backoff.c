#include "control/backoff.h"

#define FAILURES_MAX 1000u /* keeps the square small */

/* 0 to span - 1 */
static time_ns below(time_ns span, uint64_t random)
{
    return span > 0 ? (time_ns)(random % (uint64_t)span) : 0;
}

time_ns backoff_delay(unsigned failures, time_ns step, time_ns max, uint64_t random)
{
    time_ns n = (time_ns)MIN(failures, FAILURES_MAX), delay = MIN(n * n * step, max);

    return delay / 2 + below(delay, random);
}

time_ns backoff_spread(unsigned nodes, uint64_t random)
{
    time_ns span = nodes > 1 ? (time_ns)nodes * BACKOFF_SPREAD_PER_NODE : 0;

    return below(MIN(span, BACKOFF_SPREAD_MAX), random);
}

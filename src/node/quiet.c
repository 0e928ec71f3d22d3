/* node/quiet.c - giving memory back after a burst
 *
 * Connections come and go by the thousand and leave holes in the heap, which the allocator keeps, and the
 * stack keeps free buffers. The first quiet time after many packets gives both back to the system: one look
 * at the heap (milliseconds) per burst, nothing at all for a shard that is idle, or that never stops being
 * busy.
 */
#include "node/internal.h"

#include <malloc.h>

#define QUIET_PACKETS 2000 /* in and out: fewer leave nothing worth looking for */
#define QUIET_TIME (30 * SEC)

static uint64_t packets(const struct node_shard *s)
{
    return s->counters.inner_in + s->counters.inner_out;
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct node_shard *s = CONTAINER_OF(t, struct node_shard, quiet_timer);
    bool busy = packets(s) - s->quiet_mark >= QUIET_PACKETS;

    s->quiet_mark = packets(s);
    s->quiet_armed = busy;
    if (busy) {
        ev_timer_set(t, now + QUIET_TIME);
    } else {
        netstack_trim(s->netstack);
        malloc_trim(0);
    }
}

void quiet_init(struct node_shard *s)
{
    ev_timer_init(&s->quiet_timer, s->loop, on_timer);
}

void quiet_note(struct node_shard *s, time_ns now)
{
    if (s->quiet_armed || packets(s) - s->quiet_mark < QUIET_PACKETS)
        return;
    s->quiet_armed = true;
    s->quiet_mark = packets(s);
    ev_timer_set(&s->quiet_timer, now + QUIET_TIME);
}

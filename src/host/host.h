/* host/host.h - what exists once per process: the addresses of this machine
 *
 * One rtnetlink listener keeps a table of interfaces, addresses and default routes, updated message by
 * message; nothing is ever enumerated again unless the kernel says that it lost messages. The owner
 * hears of a change only when the list of usable addresses, or whether there is a default route, really
 * changed: a container's interface that comes and goes costs some microseconds and no call.
 *
 * Usable: of an interface that is up; not loopback, not link-local (IPv4 link-local and IPv6 private
 * ones only if there is nothing better), not of a tailnet's ranges, not of another tunnel (zt*, wt0),
 * not of a container bridge or virtual pair unless the default route goes through it; at most two
 * global IPv6 addresses of one subnet. If the rules leave nothing, bridges count; then loopback.
 *
 * Thread: the loop's.  Memory: about 40 bytes per interface and per address, within the limits below.
 */
#ifndef MANYTAILS_HOST_HOST_H
#define MANYTAILS_HOST_HOST_H

#include "base/base.h"
#include "ev/ev.h"

#define HOST_INTERFACES_MAX 4096 /* more: the rest are treated as down */
#define HOST_ADDRESSES_MAX 1024  /* held, usable or not; more are ignored and counted */
#define HOST_USABLE_MAX 32       /* handed out; the first ones in order */

/* A burst of kernel messages is read once, this long after its first one; twice as long each time that it
 * changed nothing for us, where bursts follow each other: containers start and stop. */
#define HOST_SETTLE (500 * MSEC)
#define HOST_SETTLE_MAX (2 * SEC)
#define HOST_CALM (5 * SEC) /* so long after a burst the next one is a new beginning */

/* What the others see. Sorted, so two equal states are equal byte by byte. */
struct host_view {
    uint32_t count;
    bool default_v4, default_v6; /* there is a default route */
    struct ip gateway_v4;        /* next hop of the best one; zero: none, or not through a gateway */
    struct ip addresses[HOST_USABLE_MAX];
};

struct host;

/* changed: the view differs from the one before. May be NULL. */
NODISCARD int host_new(struct host **out, struct ev_loop *loop,
                       void (*changed)(void *owner, const struct host_view *view, time_ns now), void *owner);
void host_free(struct host *h);

/* Complete from host_new on. Valid until the next turn of the loop. */
const struct host_view *host_view_get(const struct host *h);

/* For the metrics: kernel messages read, bursts, times the kernel lost some, and views that changed. */
struct host_counters {
    uint64_t messages, bursts, overruns, ignored, changes;
};
const struct host_counters *host_counters_get(const struct host *h);

#endif

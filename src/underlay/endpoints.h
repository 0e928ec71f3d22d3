/* underlay/endpoints.h - the addresses under which our socket may be reached: a list without I/O
 *
 * What STUN saw, best first; addresses that it saw within the last five minutes (a NAT may still know
 * them); the host's own addresses with our port. Duplicates leave, the first type wins. Told to others
 * only when the set changed.
 */
#ifndef MANYTAILS_UNDERLAY_ENDPOINTS_H
#define MANYTAILS_UNDERLAY_ENDPOINTS_H

#include "underlay/netcheck.h"

#define ENDPOINTS_TRACK \
    (5 * MINUTE + 10 * SEC) /* the reference's: how long an address stays after it was seen */
#define ENDPOINTS_TRACKED_MAX 24
#define ENDPOINTS_PER_IP_MAX 6 /* the reference's: ports of one address, newest first */

struct tracked {
    struct underlay_endpoint endpoint;
    time_ns seen_at;
};

struct endpoints {
    struct underlay_endpoint list[UNDERLAY_ENDPOINTS_MAX];
    size_t count;
    struct tracked tracked[ENDPOINTS_TRACKED_MAX]; /* newest first */
    size_t tracked_count;
};

/* STUN saw these; call for every machine that measured, then build. */
void endpoints_note_mapped(struct endpoints *e, const struct netcheck_mapped *mapped, size_t count,
                           time_ns now);
/* Our public IPv4 address with our own port: where the NAT maps by destination and the port is fixed. */
void endpoints_note_guess(struct endpoints *e, uint16_t local_port, time_ns now);
/* True: the set differs from the one before. Ports 0: that family is not there. */
bool endpoints_build(struct endpoints *e, const struct host_view *host, uint16_t port_v4, uint16_t port_v6,
                     time_ns now);

#endif

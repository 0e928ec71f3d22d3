/* underlay/netcheck.h - what STUN tells about the network: a machine without I/O
 *
 * One per DERP map and socket. A run asks the relay regions' STUN servers and ends with a report: which
 * region is nearest (the home region changes reluctantly), under which addresses the socket is seen from
 * outside, whether the NAT gives every destination another one. A full run asks every region; within
 * five minutes of one, the nearest three and the home are enough. Between runs it holds no timer.
 *
 * Where no STUN answer comes, UDP is blocked or half blocked: then the relays are measured over their own
 * port (HTTPS), in the same run and without waiting for it to end. Left out: ICMP, which needs privileges and
 * tells nothing that HTTPS does not.
 *
 * Memory: copies of the map's host names, about 100 bytes per region and history; a run adds 48 bytes per
 * probe and returns them.
 */
#ifndef MANYTAILS_UNDERLAY_NETCHECK_H
#define MANYTAILS_UNDERLAY_NETCHECK_H

#include "stun/stun.h"
#include "underlay/underlay.h"

/* "ref" is the reference client's value. */
#define NETCHECK_STUN_PHASE (3 * SEC)            /* ref: then who has not answered does not */
#define NETCHECK_FULL_EVERY (5 * MINUTE)         /* ref */
#define NETCHECK_FULL_TRIES 3                    /* ref: per region and family, rotating over its servers */
#define NETCHECK_FULL_TRY_GAP (100 * MSEC)       /* ref */
#define NETCHECK_ENOUGH_REGIONS 3                /* ref: answers of so many are enough, soon */
#define NETCHECK_RETRANSMIT_DEFAULT (200 * MSEC) /* ref: between tries, latency unknown */
#define NETCHECK_HOME_TRIES 4                    /* ref */
#define NETCHECK_LINGER_MIN (20 * MSEC)          /* ours: after enough answers, wait at least so long */
#define NETCHECK_HISTORY (5 * MINUTE + 5 * SEC)  /* ref: the best latency of so long counts */
#define NETCHECK_HISTORY_MAX 16                  /* runs kept; one each 20 s fills it */
#define NETCHECK_HTTPS_AFTER (500 * MSEC)        /* ours (ref: 3 s): no STUN answer by then, ask relays */
#define NETCHECK_HTTPS_PHASE (5 * SEC)           /* ref: a run ends this long after it began to */
#define NETCHECK_HOME_GAIN_MIN (10 * MSEC)       /* ref: a nearer home must gain this and a third */
#define NETCHECK_HEARD_RECENTLY (8 * SEC)        /* ref: a relay that spoke is alive, STUN or not */
#define NETCHECK_HEARD (2 * MINUTE)              /* ref: so long without a frame means that it may be dead */
#define NETCHECK_RESOLVE_AGAIN (10 * MINUTE) /* ours: age of an answer of DNS that is used without asking */
#define NETCHECK_MAPPED_MAX 16

enum netcheck_outcome {
    NETCHECK_E_UNEXPECTED = 1, /* an answer to nothing we asked, or too late */
};

struct netcheck;

NODISCARD int netcheck_new(struct netcheck **out, const struct tailcfg_derp_map *map, random_fn *random,
                           void *random_ctx);
void netcheck_free(struct netcheck *n); /* NULL is fine */

/* Takes over what the machine that measures the regions found; what is known of our own socket stays. */
void netcheck_adopt(struct netcheck *n, const struct underlay_report *report);

/* Takes over the home of the map before, if this one has that region and it may be a home. */
void netcheck_set_home(struct netcheck *n, uint16_t region);

/* ---- a run ------------------------------------------------------------------------------ */

enum netcheck_kind {
    NETCHECK_REGIONS, /* regions, home and mapping */
    NETCHECK_MAPPING, /* two servers, only for the socket's mapping: another machine measures the regions */
};

/* v4, v6: families that the socket and the host have. Nothing happens while a run is under way. -ENOMEM. */
NODISCARD int netcheck_start(struct netcheck *n, enum netcheck_kind kind, bool v4, bool v6, time_ns now);
bool netcheck_running(const struct netcheck *n);

enum netcheck_action_kind { NETCHECK_STUN, NETCHECK_RESOLVE, NETCHECK_HTTPS };
struct netcheck_action {
    enum netcheck_action_kind kind;
    struct ip_port to; /* STUN: send a request with this id there */
    struct stun_txid txid;
    const char *host_name; /* RESOLVE: find its addresses; lives as long as the machine */
    uint32_t server;       /* and say so with netcheck_resolved(server) */
    uint16_t region;       /* HTTPS: measure it, and say so with netcheck_https_done(region) */
};
/* What is to be done now; call until false. */
bool netcheck_next(struct netcheck *n, struct netcheck_action *out, time_ns now);

/* The kernel would not send it: no route for that family. */
void netcheck_not_sent(struct netcheck *n, const struct stun_txid *txid);
void netcheck_resolved(struct netcheck *n, uint32_t server, const struct ip *addresses, size_t count,
                       time_ns now);
NODISCARD int netcheck_stun_received(struct netcheck *n, const struct stun_txid *txid,
                                     const struct ip_port *mapped, time_ns now);
/* latency 0: it did not answer. Late or unasked: ignored. */
void netcheck_https_done(struct netcheck *n, uint16_t region, time_ns latency, time_ns now);
void netcheck_heard(struct netcheck *n, uint16_t region, time_ns now); /* a frame from that relay */

time_ns netcheck_deadline(const struct netcheck *n); /* TIME_NEVER while no run is under way */
void netcheck_tick(struct netcheck *n, time_ns now);

/* ---- results ------------------------------------------------------------------------------ */

/* Changes since the last call, UNDERLAY_CHANGED_*; *finished: a run ended since. */
unsigned netcheck_take_changes(struct netcheck *n, bool *finished);

const struct underlay_report *netcheck_report(const struct netcheck *n);

struct netcheck_mapped {
    struct ip_port address;
    uint32_t seen; /* by how many answers of the last run */
};
/* Of the last run; of each family the first to arrive comes first. */
const struct netcheck_mapped *netcheck_mapped(const struct netcheck *n, size_t *count);

#endif

/* underlay/netcheck_internal.h - what the files of the netcheck share
 *
 * netcheck_map.c knows regions and servers, netcheck_plan.c whom a run asks and when, netcheck.c leads a run,
 * netcheck_report.c draws its conclusions.
 */
#ifndef MANYTAILS_UNDERLAY_NETCHECK_INTERNAL_H
#define MANYTAILS_UNDERLAY_NETCHECK_INTERNAL_H

#include "underlay/netcheck.h"

#define NO_TIME INT64_MIN
#define NETCHECK_INCREMENTAL_REGIONS 3

enum family { V4, V6, FAMILIES };
#define PROBES_INCREMENTAL ((NETCHECK_INCREMENTAL_REGIONS + 1) * FAMILIES * NETCHECK_HOME_TRIES)

enum address_kind { ADDRESS_RESOLVE, ADDRESS_GIVEN, ADDRESS_OFF };

/* One STUN server: a node of a region. */
struct server {
    char *host_name;
    uint16_t port; /* 0: does not answer STUN */
    uint8_t kind[FAMILIES];
    struct ip ip[FAMILIES]; /* none: given as off, or DNS has none */
    bool resolving, asked;  /* a question is out; the owner was told to put one */
    time_ns resolved_at;
};

/* Of a region, in this run. */
enum https_state { HTTPS_NOT_ASKED, HTTPS_WANTED, HTTPS_ASKED, HTTPS_DONE };

struct region {
    uint16_t id;
    uint16_t server_first, server_count;
    bool may_be_home, avoid, measurable;
    double score;
    time_ns heard_at;
    /* of the run */
    uint32_t latency_us[FAMILIES]; /* 0: no answer yet */
    uint8_t pending[FAMILIES];     /* probes planned or sent, not answered */
    uint8_t https;                 /* enum https_state */
    uint32_t https_us;             /* 0: no answer */
    uint32_t last_us[FAMILIES];    /* of the report before */
};

enum probe_state { PROBE_PLANNED, PROBE_SENT, PROBE_DONE };
struct probe {
    uint16_t region, server;
    uint8_t family, state;
    time_ns send_at, sent_at;
    struct stun_txid txid;
};

struct past {
    time_ns at;
    uint32_t *latency_us; /* per region */
};

struct netcheck {
    random_fn *random;
    void *random_ctx;
    struct region *regions;
    struct server *servers;
    uint16_t region_count, server_count;
    /* run */
    bool running, full, full_had_udp;
    enum netcheck_kind kind;
    struct probe *probes;
    uint16_t probe_count, probe_room;
    uint16_t regions_planned;
    time_ns started_at, stop_at, full_at;
    time_ns https_at; /* when to give STUN up, if it has not answered; TIME_NEVER: not, or done so already */
    time_ns https_began_at;
    bool family_dead[FAMILIES];
    struct netcheck_mapped mapped[NETCHECK_MAPPED_MAX];
    size_t mapped_count;
    struct ip_port first_v4;
    uint16_t first_v4_server;
    enum underlay_fact varies;
    /* results */
    struct past history[NETCHECK_HISTORY_MAX];
    size_t history_next;
    struct netcheck_mapped last_mapped[NETCHECK_MAPPED_MAX];
    size_t last_mapped_count;
    struct underlay_report report;
    unsigned changes;
    bool finished;
};

static inline uint32_t netcheck_best_us(const uint32_t us[FAMILIES])
{
    if (!us[V4] || !us[V6])
        return us[V4] | us[V6];
    return MIN(us[V4], us[V6]);
}

/* Of the run: STUN's answer counts, HTTPS is what is left without one. */
static inline uint32_t netcheck_run_us(const struct region *r)
{
    uint32_t stun = netcheck_best_us(r->latency_us);

    return stun ? stun : r->https_us;
}

static inline bool netcheck_measures(const struct netcheck *n, const struct region *r)
{
    return r->measurable && (!r->avoid || r->id == n->report.home_region);
}

/* netcheck_map.c */
NODISCARD int netcheck_copy_map(struct netcheck *n, const struct tailcfg_derp_map *map);
struct region *netcheck_region(const struct netcheck *n, uint16_t id); /* NULL: the map has none */
/* The try-th server of this region that has this family, rotating; false: none has. */
bool netcheck_pick_server(const struct netcheck *n, const struct region *r, enum family f, unsigned try,
                          uint16_t *out);
bool netcheck_needs_dns(const struct server *s, enum family f, time_ns now);

/* netcheck_plan.c: fills the probes of a run that begins, and says when relays are to be asked. */
void netcheck_plan(struct netcheck *n, time_ns now);

/* netcheck_report.c */
void netcheck_move_home(struct netcheck *n, uint16_t region);
void netcheck_conclude(struct netcheck *n,
                       time_ns now); /* the run is over: what it found becomes the report */

#endif

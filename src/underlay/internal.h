/* underlay/internal.h - what the files of underlay/ share */
#ifndef MANYTAILS_UNDERLAY_INTERNAL_H
#define MANYTAILS_UNDERLAY_INTERNAL_H

#include <assert.h>

#include "underlay/endpoints.h"
#include "underlay/netcheck.h"
#include "underlay/path.h"
#include "underlay/senders.h"
#include "underlay/survey.h"
#include "underlay/underlay.h"

#define UNDERLAY_ENDPOINTS_FRESH \
    (27 * SEC) /* the reference's: older ones are measured again before a CallMeMaybe */
#define UNDERLAY_MEASURE_MIN (20 * SEC)   /* the reference's: periodic while something is active, ... */
#define UNDERLAY_MEASURE_SPREAD (6 * SEC) /* ... plus up to this much */
#define UNDERLAY_MEASURE_GAP (5 * SEC)    /* ours: between two runs, whoever asks */
#define UNDERLAY_REBIND_GAP (5 * SEC)     /* the reference's: between two rebinds, at least; ... */
#define UNDERLAY_REBIND_GAP_MAX \
    (5 * MINUTE) /* ... ours: doubled each time that it did not help, up to this */
#define UNDERLAY_PEERS_MAX (1u << 20)

/* One DERP map, shared by the nodes that have it. */
struct region_map {
    struct list link;
    struct underlay *u;
    struct netcheck *check;
    struct survey_seat seat;
    bool started; /* a run of ours has begun */
    uint32_t refs;
    uint8_t digest[BLAKE2S_BYTES];
    struct list questions; /* struct question: names being resolved */
};

struct underlay {
    struct ev_loop *loop;
    struct ev_udp *udp;
    const struct underlay_ops *ops;
    void *ctx;
    bool fixed_port;
    struct slab nodes, peers;
    struct senders senders;
    uint32_t tag_mask;   /* hides peer indexes in ping ids */
    struct list awake;   /* peers whose path has state */
    struct list calling; /* peers whose CallMeMaybe waits for fresh endpoints */
    /* measuring (measure.c) */
    struct underlay_survey *survey;
    struct ev_mailbox *mailbox; /* the survey's letters */
    struct list maps;
    struct ev_timer timer;
    bool measuring, measure_again;
    time_ns measured_at; /* end of the last run; INT64_MIN: never */
    time_ns periodic_at; /* TIME_NEVER: not armed */
    time_ns active_until;
    time_ns rebound_at; /* INT64_MIN: never */
    time_ns rebind_gap; /* until the next one */
    bool rebind_due;
    struct host_view host;
    bool host_known;
    struct endpoints endpoints;
    struct underlay_counters counters;
    uint8_t *room; /* DISCO_INNER_BYTES_MAX and a tag */
};

struct underlay_node {
    account_charge charge; /* of whoever made it */
    struct underlay *u;
    void *user;
    struct secret_key secret;
    struct public_key disco_key, node_key;
    struct region_map *map;
    uint32_t index;
    uint32_t peer_count;
};

struct underlay_peer {
    struct underlay_node *node;
    void *user;
    struct public_key node_key;
    struct sender *sender; /* its disco key; NULL: it has none */
    struct path path;
    struct ev_timer timer;
    struct list awake, calling;
    uint16_t home_region;
    bool expired;
};

/* With the slab's header. */
static_assert(sizeof(struct underlay_peer) + 16 <= UNDERLAY_IDLE_PEER_BYTES, "say so in the door");

random_fn underlay_random;

static inline void turn_begin(struct path_turn *t, time_ns now)
{
    path_turn_begin(t, now, underlay_random, NULL);
}

/* underlay.c: performs what a path's turn asked for. */
void underlay_perform(struct underlay_peer *p, const struct path_turn *t);
int underlay_send_udp(struct underlay *u, const struct ip_port *to, struct span bytes, size_t segment);

/* talk.c: disco, both ways */
void talk_received(struct underlay *u, struct underlay_node *node, const struct underlay_source *source,
                   struct span datagram, time_ns now);
void talk_send_ping(struct underlay_peer *p, const struct path_ping *ping);
void talk_send_call_me_maybe(struct underlay_peer *p);

/* measure.c */
/* The socket does not send any more, or the network is another one: fresh ones, soon and not too often. */
void measure_rebind_wanted(struct underlay *u, time_ns now);
NODISCARD int measure_init(struct underlay *u, struct underlay_survey *survey);
void measure_deinit(struct underlay *u);
void measure_wanted(struct underlay *u, time_ns now);
void measure_active(struct underlay *u, time_ns now);      /* somebody sends */
bool measure_fresh(const struct underlay *u, time_ns now); /* endpoints are good enough for a CallMeMaybe */
void measure_stun_received(struct underlay *u, struct span datagram, time_ns now);
void measure_release_map(struct region_map *m);

#endif

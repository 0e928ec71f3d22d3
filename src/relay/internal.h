/* relay/internal.h - what the files of relay/ share */
#ifndef MANYTAILS_RELAY_INTERNAL_H
#define MANYTAILS_RELAY_INTERNAL_H

#include "derp/derp.h"
#include "relay/relay.h"

/* ---- pacer.c ---- */

enum pace_lane {
    PACE_QUIET,  /* nothing waits for it */
    PACE_URGENT, /* packets do */
    PACE_LANES,
};
/* The caller's turn: `now`, or a time to come. */
time_ns pacer_reserve(struct relay_pacer *p, enum pace_lane lane, time_ns now);

/* ---- map.c: a DERP map, as relays need it, once per shard and content ---- */

struct relay_host {
    const char *name;      /* of the map */
    const char *host_name; /* DNS, SNI, HTTP Host */
    const char *cert_name; /* "": as host_name */
    struct ip addresses[2];
    uint8_t address_count; /* 0: ask the DNS */
    bool without_v4, without_v6, insecure;
    uint16_t port;
};

struct relay_region {
    uint16_t id;
    const char *code;
    const struct relay_host *hosts; /* those that are relays */
    size_t host_count;
};

struct relay_map {
    struct list link; /* of the shard */
    unsigned refs;
    struct arena arena;
    struct relay_region *regions; /* by id */
    size_t region_count;
};

/* The shard's copy of this map, with a reference for the caller. -ENOMEM. */
NODISCARD int relay_map_get(struct relay_map **out, struct relay_shard *s,
                            const struct tailcfg_derp_map *map);
void relay_map_unref(struct relay_map *m);                                           /* NULL is fine */
const struct relay_region *relay_map_region(const struct relay_map *m, uint16_t id); /* NULL: not there */
bool relay_region_equal(const struct relay_region *a, const struct relay_region *b);

/* ---- shard.c ---- */

struct relay_shard {
    struct ev_loop *loop;
    struct relay_pacer *pacer;
    struct tls_client *tls;
    const struct stream_proxies *proxies; /* NULL: none */
    struct list maps;
    uint8_t hash_key[16];
    uint8_t buffer[RELAY_READ_BYTES];
};

/* ---- routes.c: who was heard where ---- */

struct routes {
    struct table table;
    struct list order; /* the one heard last is last */
};

void routes_init(struct routes *r);
void routes_deinit(struct routes *r);
/* Remembers; the oldest goes when RELAY_ROUTES_MAX are there. Without memory: nothing happens. */
void routes_note(struct routes *r, const uint8_t hash_key[16], const struct public_key *peer,
                 uint16_t region);
uint16_t routes_find(const struct routes *r, const uint8_t hash_key[16],
                     const struct public_key *peer); /* 0 */
void routes_forget(struct routes *r, const uint8_t hash_key[16], const struct public_key *peer,
                   uint16_t region);
size_t routes_memory(const struct routes *r); /* bytes of the heap */
void routes_forget_region(struct routes *r, uint16_t region);

/* ---- probe.c ---- */

void probes_end(struct relay_node *n); /* nobody hears of them any more */

/* ---- connection.c ---- */

/* One line per state. */
enum connection_state {
    CONNECTION_RESTING, /* no stream; `retry_at` says when it may dial */
    CONNECTION_DIALING, /* until the relay has greeted us */
    CONNECTION_UP,
};

struct relay_connection {
    struct list link; /* of the node */
    struct relay_node *node;
    struct stream *stream; /* NULL while resting */
    struct derp_client *derp;
    struct ev_timer timer;             /* the nearest of: turn to dial, end of dialing, derp's, idle */
    struct ev_task task;               /* write what was queued in this turn; read on */
    char *why;                         /* it last failed; NULL: it did not */
    time_ns since;                     /* of the state */
    time_ns retry_at;                  /* resting: when it may dial; dialing: when that has failed */
    time_ns check_at;                  /* up: ping it then; TIME_NEVER: no reason to */
    time_ns wrote_at;                  /* last packet of ours */
    time_ns heard_at;                  /* when ops.heard was last called */
    time_ns restart_in, restart_until; /* the relay said it would restart */
    uint32_t attempts;                 /* failed rounds */
    uint16_t region;
    uint8_t host; /* of the region, tried now */
    uint8_t state;
    uint8_t holds;                 /* ways in that are under way: no freeing */
    account_charge charged_before; /* the first of them */
    bool dead;                     /* the last of them frees it */
    bool read_on;                  /* the stream may hold more bytes: go on in the task */
    bool paced;                    /* retry_at is a turn that the pacer gave */
    bool fast_failed;              /* a fast start did not lead to a connection: do without */
    bool told_full;                /* relay_node_room said 0 */
};

struct relay_node {
    struct relay_shard *shard;
    account_charge charge; /* of whoever made it */
    struct secret_key secret;
    char *name;
    const struct relay_ops *ops;
    void *ctx;
    struct relay_map *map;
    struct list connections, probes;
    struct routes routes;
    struct relay_counters counters;
    uint16_t home;
    bool plain_http;
};

/* A stream to this server as the map and the node want it: through a proxy, with TLS, with its pin. */
NODISCARD int relay_dial(struct stream **out, struct relay_node *n, const struct relay_host *host);

/* -ENOMEM. It dials as soon as it may. */
NODISCARD int connection_new(struct relay_connection **out, struct relay_node *n, uint16_t region,
                             time_ns now);
void connection_free(struct relay_connection *c, time_ns now);
/* Ends the stream and rests; what waits stays. */
void connection_redial(struct relay_connection *c, time_ns now);
/* It became our home, or no longer is. */
void connection_set_home(struct relay_connection *c, time_ns now);
/* Something changed: look again at what to wait for. */
void connection_arm(struct relay_connection *c, time_ns now);
void connection_send(struct relay_connection *c, const struct public_key *to, struct span packet,
                     time_ns now);
void connection_check(struct relay_connection *c, time_ns at, time_ns now);
void connection_words(const struct relay_connection *c, time_ns now, char *out, size_t size);
static inline bool connection_is_home(const struct relay_connection *c)
{
    return c->region == c->node->home;
}

#endif

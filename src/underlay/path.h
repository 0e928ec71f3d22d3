/* underlay/path.h - which way packets to one peer go: a machine without I/O
 *
 * One per (node, peer). While nobody sends it is quiet: no state, no deadline, only a reference to the
 * endpoints of the netmap. The first packet wakes it: it goes through the relay at once, while pings to
 * all candidates look for a direct way, and a CallMeMaybe through the relay asks the peer to do the
 * same. A pong makes a path; pongs to heartbeats keep it trusted. Invariants:
 *
 *   P1  Data goes to an address only after a pong for a ping that we sent to that address.
 *   P2  While a path is trusted, packets go there alone; while it is not, the relay gets them too.
 *       Pongs make trust, but an address that was seen to carry pongs and no data has to wait for it.
 *   P3  No ping leaves unless we sent data within PATH_ACTIVE or the peer asked (CallMeMaybe).
 *   P4  A ping that arrives adds a candidate and nothing else.
 *   P5  Whatever the peer sends, at most PATH_CANDIDATES_MAX candidates with PATH_PINGS_MAX pings each.
 *
 * Every verb takes a turn: the time and randomness that come in, and the actions that go out. The owner
 * performs them. Afterwards path_deadline() says when path_tick() is due; TIME_NEVER while quiet.
 * Memory: struct path, and about 200 + 116 x candidates bytes from the heap while not quiet.
 */
#ifndef MANYTAILS_UNDERLAY_PATH_H
#define MANYTAILS_UNDERLAY_PATH_H

#include "disco/disco.h"

/* ---- timers and limits ----------------------------------------------------------------
 * "ref" is the reference client's value (its path code, 2026); where we differ, why.
 */
#define PATH_TRUST (6500 * MSEC) /* ref: a pong makes its path the only one for so long */
#define PATH_HEARTBEAT (3 * SEC) /* ref: ping the best address this often; two fit into PATH_TRUST */
#define PATH_HEARTBEAT_GRID \
    (250 * MSEC) /* ours: heartbeats of all paths fall on multiples of it: one wake-up for many */
#define PATH_HEARTBEAT_RETRY                                                                        \
    (1 * SEC)                   /* ours: no pong by then, ping again; loss must not look like death \
                                 */
#define PATH_HEARTBEAT_TRIES 3  /* ours: pings of one heartbeat */
#define PATH_ACTIVE (45 * SEC)  /* ref: without data of ours for so long heartbeats stop */
#define PATH_PING_GAP (5 * SEC) /* ref: between discovery pings to one candidate */
#define PATH_PING_GAP_HOPELESS (15 * SEC) /* ours: after PATH_HOPELESS_ROUNDS in vain */
#define PATH_HOPELESS_ROUNDS 6
#define PATH_PING_TIMEOUT (5 * SEC) /* ref: then the ping is lost */
#define PATH_UPGRADE (60 * SEC)     /* ref: look for something better than a working path */
#define PATH_GOOD_ENOUGH_US 5000    /* ref: at most so slow: do not look */
#define PATH_CALL_GAP (500 * MSEC)  /* ours: CallMeMaybes closer than this do not lift PATH_PING_GAP */
#define PATH_CHECK (1 * SEC) /* ours: a stream has stalled: so long may a ping to the path go unanswered */
#define PATH_DOUBT_MIN \
    (30 * SEC) /* ours: an address that carries pongs but no data is not trusted so long, ... */
#define PATH_DOUBT_MAX \
    (5 * MINUTE)               /* ... doubled up to this each time that it is found so again soon after */
#define PATH_GAIN_POINTS_MIN 5 /* ours (ref: 1): a trusted path is left only for a clear gain */
#define PATH_NETMAP_CANDIDATES_MAX 24
#define PATH_LEARNED_CANDIDATES_MAX 8 /* addresses it pinged us from; the oldest leaves */
#define PATH_CANDIDATES_MAX (PATH_NETMAP_CANDIDATES_MAX + DISCO_ENDPOINTS_MAX + PATH_LEARNED_CANDIDATES_MAX)
#define PATH_PINGS_MAX 3 /* outstanding per candidate; the oldest is forgotten */

enum path_outcome {
    PATH_E_UNEXPECTED = 1, /* pong for no ping of ours, or too late */
    PATH_E_DUPLICATE,      /* the same ping again from the same address: needs no second pong */
};

enum path_kind { PATH_RELAY, PATH_DIRECT };

struct path_state; /* while not quiet */

struct path {
    struct path_state *state;
    const struct ip_port *endpoints; /* of the netmap, borrowed */
    uint16_t endpoint_count;
    bool relayed;             /* the peer can be reached by a relay: CallMeMaybe makes sense */
    uint32_t tag;             /* first bytes of our ping ids: tells the owner whose pong it is */
    uint32_t epoch;           /* how often `kind` or the direct address changed */
    struct ip_port last_best; /* port 0: none. Tried first, beside the relay, when we wake up */
};

size_t path_memory(const struct path *p); /* bytes of the heap */

/* ---- one turn -------------------------------------------------------------------------- */

struct path_ping {
    struct ip_port to;
    struct disco_txid txid;
};

struct path_turn {
    time_ns now;
    random_fn *random;
    void *random_ctx;
    /* out */
    bool call_me_maybe; /* send one through the relay, as soon as our endpoints are fresh */
    bool changed;       /* path->epoch grew */
    bool lost;          /* a direct path stopped being one */
    bool quiet;         /* the state is gone: no deadline any more */
    bool no_memory;
    size_t ping_count;
    struct path_ping pings[PATH_CANDIDATES_MAX + 1]; /* all candidates and a heartbeat */
};

static inline void path_turn_begin(struct path_turn *t, time_ns now, random_fn *random, void *random_ctx)
{
    t->now = now;
    t->random = random;
    t->random_ctx = random_ctx;
    t->call_me_maybe = t->changed = t->lost = t->quiet = t->no_memory = false;
    t->ping_count = 0; /* the array is large and stays as it is */
}

/* ---- life -------------------------------------------------------------------------------- */

void path_init(struct path *p, uint32_t tag);
void path_deinit(struct path *p);

/* From the netmap. endpoints: borrowed until the next call. */
void path_set_endpoints(struct path *p, const struct ip_port *endpoints, size_t count, bool relayed,
                        struct path_turn *t);

/* ---- in ------------------------------------------------------------------------------------ */

/* A batch for this peer is about to leave: where to? Both may be true; direct false and relay true at first.
 */
struct path_route {
    bool direct, relay;
    struct ip_port address; /* if direct */
};
struct path_route path_send(struct path *p, struct path_turn *t);

/* 0 or PATH_E_DUPLICATE. */
NODISCARD int path_ping_received(struct path *p, const struct ip_port *from, const struct disco_txid *txid,
                                 struct path_turn *t);
/* 0 or PATH_E_UNEXPECTED. Matched by id only: the address that answers need not be the one we pinged. */
NODISCARD int path_pong_received(struct path *p, const struct disco_txid *txid, struct path_turn *t);
void path_call_me_maybe_received(struct path *p, const struct ip_port *endpoints, size_t count,
                                 struct path_turn *t);

void path_unreachable(struct path *p, const struct ip_port *address,
                      struct path_turn *t); /* the kernel says so */
void path_link_changed(struct path *p,
                       struct path_turn *t); /* our own addresses changed: prove everything again */
/* Somebody waits for an answer: is the path alive? */
void path_check(struct path *p, struct path_turn *t);
/* Data is not getting through, whatever pongs say: the best address is not trusted for a while. What the peer
 * sends us proves nothing about our direction, so only time ends a doubt. */
void path_doubt(struct path *p, struct path_turn *t);

/* ---- time ---------------------------------------------------------------------------------- */

time_ns path_deadline(const struct path *p);
void path_tick(struct path *p, struct path_turn *t);

/* ---- looking ------------------------------------------------------------------------------- */

enum path_kind path_kind(const struct path *p, time_ns now);
bool path_active(const struct path *p, time_ns now); /* data of ours within PATH_ACTIVE */

struct path_view {
    struct ip_port best; /* port 0: none */
    uint32_t latency_us;
    time_ns trust_until, active_until;
    size_t candidate_count;
};
void path_look(const struct path *p, struct path_view *out);

/* How much better `a` is than `b`, in points; > 0: better. Speed first; then nearer kinds of addresses, IPv6.
 */
struct path_quality {
    struct ip ip;
    uint32_t latency_us;
};
int path_lead(const struct path_quality *a, const struct path_quality *b);

#endif

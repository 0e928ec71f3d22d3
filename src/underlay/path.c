#include "underlay/path.h"

#include <stdlib.h>

#include "metrics/metrics.h"

#define NO_TIME INT64_MIN /* never happened */
#define CANDIDATES_FIRST 4

enum source {
    FROM_NETMAP = BIT(0),
    FROM_CALL = BIT(1),   /* CallMeMaybe; stays until the next one replaces the set */
    FROM_PING = BIT(2),   /* it pinged us from there within PATH_ACTIVE */
    FROM_MEMORY = BIT(3), /* was best before we went quiet; until it is proven or given up */
};

struct outstanding {
    struct disco_txid txid;
    time_ns sent_at; /* NO_TIME: free */
};

struct candidate {
    struct ip_port address;
    uint8_t sources;     /* 0: goes with the next round */
    uint32_t latency_us; /* of the newest pong; 0: none */
    time_ns pinged_at;   /* NO_TIME: never, or the floor is lifted */
    time_ns learned_at;  /* FROM_PING */
    struct disco_txid learned_txid;
    struct outstanding pings[PATH_PINGS_MAX];
};

struct path_state {
    struct ip_port best; /* port 0: none */
    uint32_t best_latency_us;
    enum path_kind shown_kind; /* what the owner was told */
    struct ip_port shown_address;
    time_ns trust_until;
    struct ip_port doubted;       /* carries no data; port 0: none */
    time_ns doubted_until, doubt; /* doubt: how long this one lasts */
    time_ns unanswered_at;        /* first ping to best that has no pong yet; NO_TIME: none */
    time_ns sent_at;              /* data; NO_TIME: none yet */
    time_ns asked_at;             /* the peer sent a ping or a CallMeMaybe */
    time_ns called_at;
    time_ns heartbeat_at, retry_at;
    time_ns check_at; /* a check ends; TIME_NEVER: none is under way */
    time_ns round_at; /* no round before */
    time_ns full_at;  /* last round */
    uint8_t heartbeat_tries;
    uint8_t rounds_in_vain;
    uint16_t count, cap;
    struct candidate *candidates;
};

static bool older_than(time_ns at, time_ns age, time_ns now)
{
    return at == NO_TIME || now - at > age;
}

static bool due(time_ns at, time_ns gap, time_ns now)
{
    return at == NO_TIME || now - at >= gap;
}

/* ---- candidates ------------------------------------------------------------------ */

static struct candidate *find(struct path_state *st, const struct ip_port *address)
{
    for (uint16_t i = 0; i < st->count; i++)
        if (ip_port_equal(&st->candidates[i].address, address))
            return &st->candidates[i];
    return NULL;
}

static bool is_best(const struct path_state *st, const struct candidate *c)
{
    return st->best.port && ip_port_equal(&st->best, &c->address);
}

/* Addresses that nobody can mean: pinging them would only make noise. */
static bool worth_pinging(const struct ip_port *a)
{
    static const uint8_t v4_zero[4], v4_ones[4] = { 255, 255, 255, 255 };

    if (!a->port || ip_is_none(&a->ip) || ip_is_multicast(&a->ip))
        return false;
    if (ip_is_v4(&a->ip))
        return memcmp(ip_v4_bytes(&a->ip), v4_zero, 4) && memcmp(ip_v4_bytes(&a->ip), v4_ones, 4);
    return !ip_is_link_local(&a->ip); /* needs a zone, which nobody can tell us */
}

static bool grow(struct path_state *st, struct path_turn *t)
{
    uint16_t cap = st->cap ? (uint16_t)(st->cap * 2) : CANDIDATES_FIRST;
    struct candidate *more;

    if (st->count < st->cap)
        return true;
    if (st->cap >= PATH_CANDIDATES_MAX)
        return false;
    cap = MIN(cap, PATH_CANDIDATES_MAX);
    more = realloc(st->candidates, cap * sizeof(*more));
    if (!more) {
        t->no_memory = true;
        return false;
    }
    st->candidates = more;
    st->cap = cap;
    return true;
}

/* The candidate with this address, made if need be; NULL: no room, or not worth it. */
static struct candidate *add(struct path_state *st, const struct ip_port *address, enum source source,
                             struct path_turn *t)
{
    struct candidate *c = find(st, address);

    if (!c) {
        if (!worth_pinging(address) || !grow(st, t))
            return NULL;
        c = &st->candidates[st->count++];
        *c = (struct candidate) { .address = *address, .pinged_at = NO_TIME, .learned_at = NO_TIME };
        for (int i = 0; i < PATH_PINGS_MAX; i++)
            c->pings[i].sent_at = NO_TIME;
        st->round_at = t->now;
        st->rounds_in_vain = 0;
    }
    c->sources |= (uint8_t)source;
    return c;
}

static void clear_source(struct path_state *st, enum source source)
{
    for (uint16_t i = 0; i < st->count; i++)
        st->candidates[i].sources &= (uint8_t)~source;
}

/* Drops who has no reason to stay. The best address stays while it is best. */
static void prune(struct path_state *st, time_ns now)
{
    uint16_t kept = 0;

    for (uint16_t i = 0; i < st->count; i++) {
        struct candidate *c = &st->candidates[i];

        if (older_than(c->learned_at, PATH_ACTIVE, now))
            c->sources &= (uint8_t)~FROM_PING;
        if (c->sources || is_best(st, c))
            st->candidates[kept++] = *c;
    }
    st->count = kept;
}

static void add_netmap_endpoints(struct path *p, struct path_turn *t)
{
    size_t added = 0;

    for (size_t i = 0; i < p->endpoint_count && added < PATH_NETMAP_CANDIDATES_MAX; i++)
        added += add(p->state, &p->endpoints[i], FROM_NETMAP, t) != NULL;
}

/* ---- waking up and going quiet ------------------------------------------------------ */

static struct path_state *wake(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    if (st)
        return st;
    st = calloc(1, sizeof(*st));
    if (!st) {
        t->no_memory = true;
        return NULL;
    }
    *st = (struct path_state) { .trust_until = NO_TIME,
                                .unanswered_at = NO_TIME,
                                .sent_at = NO_TIME,
                                .asked_at = t->now,
                                .called_at = NO_TIME,
                                .heartbeat_at = TIME_NEVER,
                                .retry_at = TIME_NEVER,
                                .check_at = TIME_NEVER,
                                .round_at = t->now,
                                .full_at = NO_TIME };
    p->state = st;
    add_netmap_endpoints(p, t);
    if (p->last_best.port && add(st, &p->last_best, FROM_MEMORY, t))
        st->best = p->last_best;
    return st;
}

static bool doubted(const struct path_state *st, const struct ip_port *address, time_ns now)
{
    return st->doubted.port && now < st->doubted_until && ip_port_equal(&st->doubted, address);
}

static bool trusted(const struct path_state *st, time_ns now)
{
    return st->best.port && st->trust_until != NO_TIME && now <= st->trust_until &&
           !doubted(st, &st->best, now);
}

/* Tells the owner what became of the way packets go. Every verb ends here. */
static void settle(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;
    enum path_kind kind = trusted(st, t->now) ? PATH_DIRECT : PATH_RELAY;

    if (kind == st->shown_kind && (kind == PATH_RELAY || ip_port_equal(&st->best, &st->shown_address)))
        return;
    t->lost = st->shown_kind == PATH_DIRECT && kind == PATH_RELAY;
    t->changed = true;
    p->epoch++;
    st->shown_kind = kind;
    st->shown_address = st->best;
}

static time_ns quiet_at(const struct path_state *st)
{
    time_ns last = st->sent_at == NO_TIME ? st->asked_at : MAX(st->sent_at, st->asked_at);

    return last + PATH_ACTIVE;
}

static void release(struct path *p)
{
    if (!p->state)
        return;
    free(p->state->candidates);
    free(p->state);
    p->state = NULL;
}

static void go_quiet(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    p->last_best = st->best;
    if (st->shown_kind == PATH_DIRECT) {
        p->epoch++;
        t->changed = true;
    }
    release(p);
    t->quiet = true;
}

static void forget_best(struct path_state *st)
{
    struct candidate *c = st->best.port ? find(st, &st->best) : NULL;

    if (c)
        c->sources &= (uint8_t)~FROM_MEMORY;
    st->best = (struct ip_port) { .port = 0 };
    st->best_latency_us = 0;
    st->trust_until = st->unanswered_at = NO_TIME;
    st->retry_at = TIME_NEVER;
}

/* ---- pings ---------------------------------------------------------------------------- */

static void ping(struct path *p, struct candidate *c, struct path_turn *t)
{
    struct outstanding *slot = &c->pings[0];
    struct path_ping *out = &t->pings[t->ping_count++];

    must(t->ping_count <= COUNT_OF(t->pings));
    for (int i = 1; i < PATH_PINGS_MAX && slot->sent_at != NO_TIME; i++)
        if (c->pings[i].sent_at < slot->sent_at)
            slot = &c->pings[i]; /* NO_TIME is the smallest */
    store_be32(slot->txid.bytes, p->tag);
    t->random(t->random_ctx, slot->txid.bytes + 4, DISCO_TXID_BYTES - 4);
    slot->sent_at = c->pinged_at = t->now;
    if (is_best(p->state, c) && p->state->unanswered_at == NO_TIME)
        p->state->unanswered_at = t->now;
    out->to = c->address;
    out->txid = slot->txid;
}

/* An unanswered ping costs the best address its place, but only once it is not trusted any more. */
static void check_best(struct path_state *st, time_ns now)
{
    if (st->best.port && !trusted(st, now) && st->unanswered_at != NO_TIME &&
        now - st->unanswered_at >= PATH_PING_TIMEOUT)
        forget_best(st);
}

/* A discovery round: pings all candidates that are due. */
static void round_of_pings(struct path *p, bool with_call, struct path_turn *t)
{
    struct path_state *st = p->state;
    time_ns gap = st->rounds_in_vain >= PATH_HOPELESS_ROUNDS ? PATH_PING_GAP_HOPELESS : PATH_PING_GAP;
    bool asked = false;

    if (t->now < st->round_at)
        return;
    prune(st, t->now);
    st->full_at = t->now;
    st->round_at = t->now + gap;
    for (uint16_t i = 0; i < st->count; i++) {
        struct candidate *c = &st->candidates[i];

        if (due(c->pinged_at, gap, t->now)) {
            ping(p, c, t);
            asked = true;
        } else {
            st->round_at = MIN(st->round_at, c->pinged_at + gap);
        }
    }
    /* Without candidates the call is all we can do: the peer may know how to reach us. */
    if (asked || !st->count) {
        st->rounds_in_vain += st->rounds_in_vain < PATH_HOPELESS_ROUNDS;
        t->call_me_maybe |= with_call && p->relayed;
    }
}

static void ping_best(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;
    struct candidate *c = st->best.port ? find(st, &st->best) : NULL;

    if (!c)
        return;
    ping(p, c, t);
    st->retry_at = t->now + PATH_HEARTBEAT_RETRY;
}

/* At most PATH_HEARTBEAT from now, and at the same instants for every path of the process. */
static time_ns next_heartbeat(time_ns now)
{
    time_ns at = now + PATH_HEARTBEAT;

    return at - at % PATH_HEARTBEAT_GRID;
}

static void heartbeat(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    if (!path_active(p, t->now)) {
        st->heartbeat_at = st->retry_at = TIME_NEVER;
        return;
    }
    check_best(st, t->now);
    ping_best(p, t);
    st->heartbeat_tries = 1;
    if (!trusted(st, t->now) || st->full_at == NO_TIME ||
        (st->best_latency_us > PATH_GOOD_ENOUGH_US && due(st->full_at, PATH_UPGRADE, t->now)))
        round_of_pings(p, true, t);
    st->heartbeat_at = next_heartbeat(t->now);
}

static void retry(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    st->retry_at = TIME_NEVER; /* a pong would have set it so */
    if (st->heartbeat_tries >= PATH_HEARTBEAT_TRIES || !path_active(p, t->now))
        return;
    st->heartbeat_tries++;
    ping_best(p, t);
}

/* ---- life -------------------------------------------------------------------------------- */

void path_init(struct path *p, uint32_t tag)
{
    *p = (struct path) { .tag = tag };
}

void path_deinit(struct path *p)
{
    release(p);
}

void path_set_endpoints(struct path *p, const struct ip_port *endpoints, size_t count, bool relayed,
                        struct path_turn *t)
{
    p->endpoints = endpoints;
    p->endpoint_count = (uint16_t)MIN(count, UINT16_MAX);
    p->relayed = relayed;
    if (!p->state)
        return;
    clear_source(p->state, FROM_NETMAP);
    add_netmap_endpoints(p, t);
    prune(p->state, t->now);
}

/* ---- in ------------------------------------------------------------------------------------ */

struct path_route path_send(struct path *p, struct path_turn *t)
{
    struct path_state *st = wake(p, t);
    struct candidate *c;

    if (!st)
        return (struct path_route) { .relay = true };
    st->sent_at = t->now;
    if (trusted(st, t->now)) {
        /* Others share our address: a fresh ping tells the peer whose packets these are. */
        c = find(st, &st->best);
        if (c && due(c->pinged_at, PATH_PING_GAP, t->now))
            ping(p, c, t);
    } else {
        check_best(st, t->now);
        round_of_pings(p, true, t);
    }
    if (st->heartbeat_at == TIME_NEVER)
        st->heartbeat_at = next_heartbeat(t->now);
    settle(p, t);
    return (struct path_route) { .direct = st->best.port != 0,
                                 .relay = !trusted(st, t->now),
                                 .address = st->best };
}

/* Room among the learned ones: the oldest that is nothing but learned leaves. */
static void make_room_for_learned(struct path_state *st)
{
    struct candidate *oldest = NULL;
    size_t learned = 0;

    for (uint16_t i = 0; i < st->count; i++) {
        struct candidate *c = &st->candidates[i];

        if (!(c->sources & FROM_PING))
            continue;
        learned++;
        if (c->sources == FROM_PING && !is_best(st, c) && (!oldest || c->learned_at < oldest->learned_at))
            oldest = c;
    }
    if (learned >= PATH_LEARNED_CANDIDATES_MAX && oldest)
        *oldest = st->candidates[--st->count];
}

int path_ping_received(struct path *p, const struct ip_port *from, const struct disco_txid *txid,
                       struct path_turn *t)
{
    struct path_state *st = wake(p, t);
    struct candidate *c;

    if (!st)
        return 0;
    st->asked_at = t->now;
    c = find(st, from);
    if (c && c->learned_at != NO_TIME && disco_txid_equal(&c->learned_txid, txid))
        return PATH_E_DUPLICATE;
    if (!c)
        make_room_for_learned(st);
    c = add(st, from, FROM_PING, t);
    if (!c)
        return 0;
    c->learned_at = t->now;
    c->learned_txid = *txid;
    return 0;
}

static struct candidate *take_outstanding(struct path_state *st, const struct disco_txid *txid,
                                          time_ns *sent_at)
{
    for (uint16_t i = 0; i < st->count; i++)
        for (int k = 0; k < PATH_PINGS_MAX; k++) {
            struct outstanding *o = &st->candidates[i].pings[k];

            if (o->sent_at == NO_TIME || !disco_txid_equal(&o->txid, txid))
                continue;
            *sent_at = o->sent_at;
            o->sent_at = NO_TIME;
            return &st->candidates[i];
        }
    return NULL;
}

/* Should this candidate, just proven, take the place of the best one? */
static bool takes_over(const struct path_state *st, const struct candidate *c, time_ns now)
{
    if (is_best(st, c))
        return true;
    if (doubted(st, &c->address, now))
        return !st->best.port;
    if (!trusted(st, now))
        return true;
    return path_lead(&(struct path_quality) { c->address.ip, c->latency_us },
                     &(struct path_quality) { st->best.ip, st->best_latency_us }) > PATH_GAIN_POINTS_MIN;
}

int path_pong_received(struct path *p, const struct disco_txid *txid, struct path_turn *t)
{
    struct path_state *st = p->state;
    struct candidate *c;
    time_ns sent_at;

    if (!st)
        return PATH_E_UNEXPECTED;
    c = take_outstanding(st, txid, &sent_at);
    if (!c || t->now - sent_at >= PATH_PING_TIMEOUT)
        return PATH_E_UNEXPECTED;
    c->latency_us = (uint32_t)MAX((t->now - sent_at) / USEC, 1);
    if (takes_over(st, c, t->now)) {
        st->best = c->address;
        st->best_latency_us = c->latency_us;
        st->trust_until = t->now + PATH_TRUST;
        st->unanswered_at = NO_TIME;
        st->retry_at = st->check_at = TIME_NEVER;
        st->rounds_in_vain = 0;
    }
    settle(p, t);
    return 0;
}

void path_call_me_maybe_received(struct path *p, const struct ip_port *endpoints, size_t count,
                                 struct path_turn *t)
{
    struct path_state *st = wake(p, t);

    if (!st)
        return;
    st->asked_at = t->now;
    clear_source(st, FROM_CALL);
    for (size_t i = 0; i < MIN(count, DISCO_ENDPOINTS_MAX); i++)
        add(st, &endpoints[i], FROM_CALL, t);
    if (due(st->called_at, PATH_CALL_GAP, t->now)) {
        for (uint16_t i = 0; i < st->count; i++)
            st->candidates[i].pinged_at = NO_TIME;
        st->round_at = t->now;
        st->rounds_in_vain = 0;
    }
    st->called_at = t->now;
    round_of_pings(p, false, t);
    settle(p, t);
}

void path_unreachable(struct path *p, const struct ip_port *address, struct path_turn *t)
{
    struct path_state *st = p->state;
    struct candidate *c = st ? find(st, address) : NULL;

    if (!st)
        return;
    if (c)
        c->latency_us = 0;
    if (st->best.port && ip_port_equal(&st->best, address))
        forget_best(st);
    settle(p, t);
}

void path_link_changed(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    if (!st) {
        p->last_best = (struct ip_port) { .port = 0 };
        return;
    }
    for (uint16_t i = 0; i < st->count; i++) {
        struct candidate *c = &st->candidates[i];

        c->latency_us = 0;
        c->pinged_at = NO_TIME;
        for (int k = 0; k < PATH_PINGS_MAX; k++)
            c->pings[k].sent_at = NO_TIME;
    }
    st->unanswered_at = NO_TIME;
    st->trust_until = NO_TIME; /* the address stays, beside the relay, until it is proven or given up */
    st->round_at = t->now;
    st->rounds_in_vain = 0;
    if (path_active(p, t->now))
        round_of_pings(p, true, t);
    settle(p, t);
}

/* A ping that is under way tells; otherwise one leaves. A pong renews trust, silence ends it. */
void path_check(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    if (!st || !trusted(st, t->now) || !path_active(p, t->now))
        return;
    if (st->unanswered_at == NO_TIME)
        ping_best(p, t);
    if (st->unanswered_at == NO_TIME)
        return;
    st->trust_until = MIN(st->trust_until, st->unanswered_at + PATH_CHECK);
    st->check_at = st->trust_until + 1;
    settle(p, t);
}

void path_doubt(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;
    struct candidate *c;
    bool again;

    if (!st || !trusted(st, t->now) || !path_active(p, t->now))
        return;
    again = ip_port_equal(&st->doubted, &st->best) && t->now - st->doubted_until < st->doubt;
    st->doubt = again ? MIN(2 * st->doubt, PATH_DOUBT_MAX) : PATH_DOUBT_MIN;
    st->doubted = st->best;
    st->doubted_until = t->now + st->doubt;
    c = find(st, &st->best);
    if (c && due(c->pinged_at, PATH_HEARTBEAT_RETRY, t->now))
        ping(p, c, t);
    round_of_pings(p, true, t); /* perhaps another address is better */
    settle(p, t);
}

/* ---- time ---------------------------------------------------------------------------------- */

time_ns path_deadline(const struct path *p)
{
    const struct path_state *st = p->state;

    if (!st)
        return TIME_NEVER;
    return MIN(MIN(st->heartbeat_at, st->retry_at), MIN(st->check_at, quiet_at(st)));
}

void path_tick(struct path *p, struct path_turn *t)
{
    struct path_state *st = p->state;

    if (!st)
        return;
    if (t->now >= quiet_at(st)) {
        go_quiet(p, t);
        return;
    }
    if (t->now >= st->check_at)
        st->check_at = TIME_NEVER; /* trust is over: settle tells */
    if (t->now >= st->heartbeat_at)
        heartbeat(p, t);
    else if (t->now >= st->retry_at)
        retry(p, t);
    settle(p, t);
}

/* ---- looking ------------------------------------------------------------------------------- */

enum path_kind path_kind(const struct path *p, time_ns now)
{
    return p->state && trusted(p->state, now) ? PATH_DIRECT : PATH_RELAY;
}

bool path_active(const struct path *p, time_ns now)
{
    return p->state && !older_than(p->state->sent_at, PATH_ACTIVE, now);
}

void path_look(const struct path *p, struct path_view *out)
{
    const struct path_state *st = p->state;

    *out = (struct path_view) { .best = p->last_best };
    if (!st)
        return;
    *out = (struct path_view) { .best = st->best,
                                .latency_us = st->best_latency_us,
                                .trust_until = st->trust_until == NO_TIME ? 0 : st->trust_until,
                                .active_until = st->sent_at == NO_TIME ? 0 : st->sent_at + PATH_ACTIVE,
                                .candidate_count = st->count };
}

static int kind_points(const struct ip *a)
{
    int points = ip_is_v4(a) ? 0 : 10;

    if (ip_is_loopback(a))
        return points + 50;
    if (ip_is_link_local(a))
        return points + 30;
    return ip_is_private(a) ? points + 20 : points;
}

/* 0..100: what `a` gains by being faster. */
static int speed_points(uint32_t a_us, uint32_t b_us)
{
    return a_us < b_us ? 100 - (int)((uint64_t)100 * a_us / b_us) : 0;
}

int path_lead(const struct path_quality *a, const struct path_quality *b)
{
    return kind_points(&a->ip) + speed_points(a->latency_us, b->latency_us) - kind_points(&b->ip) -
           speed_points(b->latency_us, a->latency_us);
}

size_t path_memory(const struct path *p)
{
    return p->state ? account_block(p->state) + account_block(p->state->candidates) : 0;
}

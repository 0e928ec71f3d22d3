#include "underlay/netcheck.h"

#include <errno.h>
#include <stdlib.h>

#define NO_TIME INT64_MIN
#define INCREMENTAL_REGIONS 3

enum family { V4, V6, FAMILIES };
#define PROBES_INCREMENTAL ((INCREMENTAL_REGIONS + 1) * FAMILIES * NETCHECK_HOME_TRIES)

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

/* ---- the map ------------------------------------------------------------------------ */

static void server_address(struct server *s, enum family f, struct span text)
{
    struct ip ip;

    if (!text.len) {
        s->kind[f] = ADDRESS_RESOLVE;
    } else if (ip_parse(text, &ip) && ip_is_v4(&ip) == (f == V4)) {
        s->kind[f] = ADDRESS_GIVEN;
        s->ip[f] = ip;
    } else {
        s->kind[f] = ADDRESS_OFF; /* "none", by convention */
    }
}

static int copy_server(struct server *s, const struct tailcfg_derp_node *from)
{
    struct ip test;

    s->resolved_at = NO_TIME;
    s->port = from->stun_port > 0 && from->stun_port <= UINT16_MAX ? (uint16_t)from->stun_port : 0;
    server_address(s, V4, from->ipv4);
    server_address(s, V6, from->ipv6);
    if (ip_parse(from->stun_test_ip, &test)) {
        s->kind[V4] = s->kind[V6] = ADDRESS_OFF;
        s->kind[ip_is_v4(&test) ? V4 : V6] = ADDRESS_GIVEN;
        s->ip[ip_is_v4(&test) ? V4 : V6] = test;
    }
    s->host_name = text_dup(from->host_name);
    return s->host_name ? 0 : -ENOMEM;
}

static int copy_region(struct netcheck *n, struct region *r, const struct tailcfg_derp_region *from)
{
    size_t count = MIN(from->node_count, UNDERLAY_REGION_NODES_MAX);

    *r = (struct region) { .id = (uint16_t)from->id,
                           .server_first = n->server_count,
                           .avoid = from->avoid,
                           .score = from->score > 0 ? from->score : 1.0,
                           .heard_at = NO_TIME };
    for (size_t i = 0; i < count; i++) {
        struct server *s = &n->servers[n->server_count];
        int e = copy_server(s, &from->nodes[i]);

        if (e)
            return e;
        n->server_count++;
        r->server_count++;
        r->measurable |= s->port != 0 && !from->no_measure_no_home;
        r->may_be_home |= !from->nodes[i].stun_only && !from->no_measure_no_home;
    }
    return 0;
}

static int copy_map(struct netcheck *n, const struct tailcfg_derp_map *map)
{
    size_t servers = 0, regions = 0;

    for (size_t i = 0; i < map->region_count && regions < UNDERLAY_REGIONS_MAX; i++) {
        servers += MIN(map->regions[i].node_count, UNDERLAY_REGION_NODES_MAX);
        regions++;
    }
    n->regions = calloc(regions + 1, sizeof(*n->regions));
    n->servers = calloc(servers + 1, sizeof(*n->servers));
    if (!n->regions || !n->servers)
        return -ENOMEM;
    for (size_t i = 0; i < regions; i++) {
        int e;

        if (map->regions[i].id <= 0 || map->regions[i].id > UINT16_MAX)
            continue;
        e = copy_region(n, &n->regions[n->region_count], &map->regions[i]);
        if (e)
            return e;
        n->region_count++;
    }
    return 0;
}

static int make_history(struct netcheck *n)
{
    for (size_t i = 0; i < NETCHECK_HISTORY_MAX; i++) {
        n->history[i].at = NO_TIME;
        n->history[i].latency_us = calloc(n->region_count + 1u, sizeof(uint32_t));
        if (!n->history[i].latency_us)
            return -ENOMEM;
    }
    return 0;
}

int netcheck_new(struct netcheck **out, const struct tailcfg_derp_map *map, random_fn *random,
                 void *random_ctx)
{
    struct netcheck *n = calloc(1, sizeof(*n));
    int r;

    if (!n)
        return -ENOMEM;
    n->random = random;
    n->random_ctx = random_ctx;
    n->full_at = NO_TIME;
    r = copy_map(n, map);
    if (!r)
        r = make_history(n);
    if (r) {
        netcheck_free(n);
        return r;
    }
    *out = n;
    return 0;
}

void netcheck_free(struct netcheck *n)
{
    if (!n)
        return;
    for (size_t i = 0; n->servers && i < n->server_count; i++)
        free(n->servers[i].host_name);
    for (size_t i = 0; i < NETCHECK_HISTORY_MAX; i++)
        free(n->history[i].latency_us);
    free(n->servers);
    free(n->regions);
    free(n->probes);
    free(n);
}

static struct region *region_by_id(const struct netcheck *n, uint16_t id)
{
    for (uint16_t i = 0; id && i < n->region_count; i++)
        if (n->regions[i].id == id)
            return &n->regions[i];
    return NULL;
}

void netcheck_set_home(struct netcheck *n, uint16_t region)
{
    const struct region *r = region_by_id(n, region);

    if (r && r->may_be_home)
        n->report.home_region = region;
}

/* ---- plan ------------------------------------------------------------------------------ */

static uint32_t best_of(const uint32_t us[FAMILIES])
{
    if (!us[V4] || !us[V6])
        return us[V4] | us[V6];
    return MIN(us[V4], us[V6]);
}

/* Of the run: STUN's answer counts, HTTPS is what is left without one. */
static uint32_t run_us(const struct region *r)
{
    uint32_t stun = best_of(r->latency_us);

    return stun ? stun : r->https_us;
}

static bool server_has(const struct server *s, enum family f)
{
    return s->port && (s->kind[f] == ADDRESS_RESOLVE || (s->kind[f] == ADDRESS_GIVEN));
}

/* The try-th server of this region that has this family, rotating; false: none has. */
static bool pick_server(const struct netcheck *n, const struct region *r, enum family f, unsigned try,
                        uint16_t *out)
{
    unsigned usable = 0;

    for (uint16_t i = 0; i < r->server_count; i++)
        usable += server_has(&n->servers[r->server_first + i], f);
    if (!usable)
        return false;
    try %= usable;
    for (uint16_t i = 0; i < r->server_count; i++) {
        uint16_t index = (uint16_t)(r->server_first + i);

        if (server_has(&n->servers[index], f) && try-- == 0) {
            *out = index;
            return true;
        }
    }
    return false;
}

static void plan_probe(struct netcheck *n, struct region *r, enum family f, unsigned try, time_ns delay)
{
    struct probe *p = &n->probes[n->probe_count];
    uint16_t server;

    if (n->family_dead[f] || n->probe_count >= n->probe_room || !pick_server(n, r, f, try, &server))
        return;
    *p = (struct probe) { .region = (uint16_t)(r - n->regions),
                          .server = server,
                          .family = (uint8_t)f,
                          .state = PROBE_PLANNED,
                          .send_at = n->started_at + delay };
    n->probe_count++;
    r->pending[f]++;
}

static bool measured(const struct netcheck *n, const struct region *r)
{
    return r->measurable && (!r->avoid || r->id == n->report.home_region);
}

static void plan_full(struct netcheck *n)
{
    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];

        if (!measured(n, r))
            continue;
        for (unsigned try = 0; try < NETCHECK_FULL_TRIES; try++)
            for (enum family f = V4; f < FAMILIES; f++)
                plan_probe(n, r, f, try, try * NETCHECK_FULL_TRY_GAP);
    }
}

/* Region number `rank` by the latencies of the report before; the home counts, wherever it stands. */
static void plan_near(struct netcheck *n, struct region *r, unsigned rank)
{
    bool home = r->id == n->report.home_region, fastest_two = rank < 2;
    bool had_both = n->report.v4 && n->report.v6;
    unsigned tries = home ? NETCHECK_HOME_TRIES : fastest_two ? 2 : 1;
    time_ns gap = (time_ns)best_of(r->last_us) * USEC * 12 / 10;

    if (!gap)
        gap = NETCHECK_RETRANSMIT_DEFAULT;
    for (unsigned try = 0; try < tries; try++) {
        time_ns delay = try * gap + (try > 1 ? try * 50 * MSEC : 0);
        bool v6_works = fastest_two && try == 0 ? true : n->report.v6;

        /* Slower ones of a dual stack take turns between the families. */
        if (fastest_two || home || !had_both || rank % 2 == 0)
            plan_probe(n, r, V4, try, delay);
        if (v6_works && (fastest_two || home || !had_both || rank % 2 == 1))
            plan_probe(n, r, V6, try, delay);
    }
}

static void plan_incremental(struct netcheck *n)
{
    bool planned[UNDERLAY_REGIONS_MAX] = { false };
    struct region *home = region_by_id(n, n->report.home_region);

    for (unsigned rank = 0; rank < INCREMENTAL_REGIONS; rank++) {
        struct region *nearest = NULL;

        for (uint16_t i = 0; i < n->region_count; i++) {
            struct region *r = &n->regions[i];

            if (!planned[i] && measured(n, r) && best_of(r->last_us) &&
                (!nearest || best_of(r->last_us) < best_of(nearest->last_us)))
                nearest = r;
        }
        if (!nearest)
            break;
        planned[nearest - n->regions] = true;
        plan_near(n, nearest, rank);
    }
    if (home && measured(n, home) && !planned[home - n->regions])
        plan_near(n, home, INCREMENTAL_REGIONS);
}

/* The nearest measured region but this one; if no latency is known yet, the first of the map. */
static struct region *nearest_other(const struct netcheck *n, const struct region *than)
{
    struct region *found = NULL;

    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];
        uint32_t us = best_of(r->last_us);

        if (r == than || !measured(n, r))
            continue;
        if (!found || (us && (!best_of(found->last_us) || us < best_of(found->last_us))))
            found = r;
    }
    return found;
}

/* Two regions, because two servers tell whether the NAT maps by destination. */
static void plan_mapping(struct netcheck *n)
{
    struct region *home = region_by_id(n, n->report.home_region);
    struct region *other = nearest_other(n, home);

    if (n->report.measured_at && !n->report.udp)
        return; /* nothing comes back; who measures the regions will tell when that changes */
    if (home && measured(n, home))
        plan_near(n, home, 0);
    if (other)
        plan_near(n, other, 1);
}

static void count_planned_regions(struct netcheck *n)
{
    n->regions_planned = 0;
    for (uint16_t i = 0; i < n->region_count; i++)
        n->regions_planned += n->regions[i].pending[V4] || n->regions[i].pending[V6];
}

static void finish(struct netcheck *n, time_ns now);
static void begin_https_if_due(struct netcheck *n, time_ns now);
static void finish_if_over(struct netcheck *n, time_ns now);

static bool full_is_due(const struct netcheck *n, time_ns now)
{
    return n->full_at == NO_TIME || now - n->full_at >= NETCHECK_FULL_EVERY ||
           (n->report.udp && !n->full_had_udp); /* UDP came back: find out who is near */
}

static void reset_run(struct netcheck *n, bool v4, bool v6, time_ns now)
{
    n->running = true;
    n->started_at = now;
    n->stop_at = now + NETCHECK_STUN_PHASE;
    n->probe_count = 0;
    n->mapped_count = 0;
    n->first_v4 = (struct ip_port) { .port = 0 };
    n->varies = UNDERLAY_UNKNOWN;
    n->family_dead[V4] = !v4;
    n->family_dead[V6] = !v6;
    for (uint16_t i = 0; i < n->region_count; i++)
        for (enum family f = V4; f < FAMILIES; f++) {
            n->regions[i].latency_us[f] = 0;
            n->regions[i].pending[f] = 0;
        }
    for (uint16_t i = 0; i < n->region_count; i++) {
        n->regions[i].https = HTTPS_NOT_ASKED;
        n->regions[i].https_us = 0;
    }
    n->https_at = n->https_began_at = TIME_NEVER;
    for (uint16_t i = 0; i < n->server_count; i++)
        n->servers[i].asked = n->servers[i].resolving;
}

/* Relays are asked seldom, because each answer costs them and us a TLS handshake: in full runs, and when the
 * home is missing or silent. At once if nothing else will tell. */
static void plan_https(struct netcheck *n, time_ns now)
{
    const struct region *home = region_by_id(n, n->report.home_region);
    bool blocked = n->report.measured_at && !n->report.udp;

    if (n->full || !home || home->heard_at == NO_TIME || now - home->heard_at > NETCHECK_HEARD)
        n->https_at = blocked || !n->probe_count ? now : now + NETCHECK_HTTPS_AFTER;
}

static void plan(struct netcheck *n, time_ns now)
{
    if (n->kind == NETCHECK_MAPPING) {
        n->full = false;
        plan_mapping(n);
        return;
    }
    n->full = full_is_due(n, now);
    if (!n->full)
        plan_incremental(n);
    if (!n->probe_count) {
        n->full = true;
        plan_full(n);
    }
    plan_https(n, now);
}

int netcheck_start(struct netcheck *n, enum netcheck_kind kind, bool v4, bool v6, time_ns now)
{
    if (n->running)
        return 0;
    n->probe_room = (uint16_t)MAX(n->region_count * FAMILIES * NETCHECK_FULL_TRIES, PROBES_INCREMENTAL);
    n->probes = calloc(n->probe_room, sizeof(*n->probes));
    if (!n->probes)
        return -ENOMEM;
    n->kind = kind;
    n->report.os_has_v6 = v6;
    reset_run(n, v4, v6, now);
    plan(n, now);
    count_planned_regions(n);
    begin_https_if_due(n, now);
    finish_if_over(n, now);
    return 0;
}

bool netcheck_running(const struct netcheck *n)
{
    return n->running;
}

/* ---- probes ------------------------------------------------------------------------------ */

static void give_up(struct netcheck *n, struct probe *p)
{
    p->state = PROBE_DONE;
    n->regions[p->region].pending[p->family]--;
}

static bool stun_pending(const struct netcheck *n)
{
    for (uint16_t i = 0; i < n->probe_count; i++)
        if (n->probes[i].state != PROBE_DONE)
            return true;
    return false;
}

static bool https_pending(const struct netcheck *n)
{
    for (uint16_t i = 0; i < n->region_count; i++)
        if (n->regions[i].https == HTTPS_WANTED || n->regions[i].https == HTTPS_ASKED)
            return true;
    return n->https_at != TIME_NEVER;
}

static bool stun_answered(const struct netcheck *n)
{
    return n->mapped_count != 0;
}

static uint16_t https_answers(const struct netcheck *n)
{
    uint16_t answered = 0;

    for (uint16_t i = 0; i < n->region_count; i++)
        answered += n->regions[i].https_us != 0;
    return answered;
}

/* Everything was answered or given up. Once STUN works, nobody waits for HTTPS; once relays answered and STUN
 * is still silent, nobody waits for STUN: it would have been much faster. */
static bool run_over(const struct netcheck *n)
{
    if (stun_answered(n))
        return !stun_pending(n);
    return !https_pending(n) && (https_answers(n) || !stun_pending(n));
}

static void finish_if_over(struct netcheck *n, time_ns now)
{
    if (n->running && run_over(n))
        finish(n, now);
}

/* No STUN answer came, or none can come any more. */
static void begin_https_if_due(struct netcheck *n, time_ns now)
{
    if (!n->running || n->https_at == TIME_NEVER || stun_answered(n) ||
        (now < n->https_at && stun_pending(n)))
        return;
    n->https_at = TIME_NEVER;
    n->https_began_at = now;
    n->stop_at = now + NETCHECK_HTTPS_PHASE;
    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];

        if (r->may_be_home && (!r->avoid || r->id == n->report.home_region))
            r->https = HTTPS_WANTED;
    }
}

static void make_txid(struct netcheck *n, struct probe *p)
{
    n->random(n->random_ctx, p->txid.bytes, sizeof(p->txid.bytes));
    store_be16(p->txid.bytes, (uint16_t)(p - n->probes)); /* finds the probe again */
}

static struct probe *probe_of(struct netcheck *n, const struct stun_txid *txid)
{
    uint16_t index = load_be16(txid->bytes);
    struct probe *p = &n->probes[index];

    if (!n->running || index >= n->probe_count || p->sent_at == 0 ||
        memcmp(&p->txid, txid, sizeof(*txid)) != 0)
        return NULL;
    return p;
}

static bool needs_dns(const struct server *s, enum family f, time_ns now)
{
    return s->kind[f] == ADDRESS_RESOLVE &&
           (s->resolved_at == NO_TIME || now - s->resolved_at >= NETCHECK_RESOLVE_AGAIN);
}

static bool waits_for_dns(const struct netcheck *n, const struct probe *p)
{
    return n->servers[p->server].resolving;
}

/* A probe whose time has come. True: *out says what to do. */
static bool act(struct netcheck *n, struct probe *p, struct netcheck_action *out, time_ns now)
{
    struct server *s = &n->servers[p->server];

    if (needs_dns(s, p->family, now) && !s->asked) {
        s->resolving = s->asked = true;
        *out = (struct netcheck_action) { .kind = NETCHECK_RESOLVE,
                                          .host_name = s->host_name,
                                          .server = p->server };
        return true;
    }
    if (s->resolving)
        return false;
    if (n->family_dead[p->family] || ip_is_none(&s->ip[p->family])) {
        give_up(n, p);
        return false;
    }
    make_txid(n, p);
    p->state = PROBE_SENT;
    p->sent_at = MAX(now, 1);
    *out = (struct netcheck_action) { .kind = NETCHECK_STUN,
                                      .to = { s->ip[p->family], s->port },
                                      .txid = p->txid };
    return true;
}

static bool next_https(struct netcheck *n, struct netcheck_action *out)
{
    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];

        if (r->https != HTTPS_WANTED)
            continue;
        r->https = HTTPS_ASKED;
        *out = (struct netcheck_action) { .kind = NETCHECK_HTTPS, .region = r->id };
        return true;
    }
    return false;
}

bool netcheck_next(struct netcheck *n, struct netcheck_action *out, time_ns now)
{
    for (uint16_t i = 0; n->running && i < n->probe_count; i++) {
        struct probe *p = &n->probes[i];

        if (p->state == PROBE_PLANNED && p->send_at <= now && act(n, p, out, now))
            return true;
    }
    begin_https_if_due(n, now);
    if (n->running && next_https(n, out))
        return true;
    finish_if_over(n, now);
    return false;
}

void netcheck_not_sent(struct netcheck *n, const struct stun_txid *txid)
{
    struct probe *p = probe_of(n, txid);

    if (p && p->state == PROBE_SENT)
        give_up(n, p);
}

void netcheck_resolved(struct netcheck *n, uint32_t server, const struct ip *addresses, size_t count,
                       time_ns now)
{
    struct server *s;

    if (server >= n->server_count)
        return;
    s = &n->servers[server];
    s->resolving = false;
    if (!count)
        return; /* old addresses are better than none, and the next run asks again */
    s->resolved_at = now;
    for (enum family f = V4; f < FAMILIES; f++) {
        if (s->kind[f] != ADDRESS_RESOLVE)
            continue;
        s->ip[f] = IP_NONE;
        for (size_t i = 0; i < count && ip_is_none(&s->ip[f]); i++)
            if (ip_is_v4(&addresses[i]) == (f == V4))
                s->ip[f] = addresses[i];
    }
}

/* ---- answers ------------------------------------------------------------------------------ */

static void note_mapped(struct netcheck *n, const struct probe *p, const struct ip_port *mapped)
{
    struct ip server_ip = n->servers[p->server].ip[V4];

    for (size_t i = 0; i < n->mapped_count; i++)
        if (ip_port_equal(&n->mapped[i].address, mapped)) {
            n->mapped[i].seen++;
            goto varies;
        }
    if (n->mapped_count < NETCHECK_MAPPED_MAX)
        n->mapped[n->mapped_count++] = (struct netcheck_mapped) { *mapped, 1 };
varies:
    if (p->family != V4)
        return;
    if (!n->first_v4.port) {
        n->first_v4 = *mapped;
        n->first_v4_server = p->server;
    } else if (!ip_equal(&server_ip, &n->servers[n->first_v4_server].ip[V4]) && n->varies != UNDERLAY_YES) {
        n->varies = ip_port_equal(&n->first_v4, mapped) ? UNDERLAY_NO : UNDERLAY_YES;
    }
}

static void cancel_set(struct netcheck *n, uint16_t region, uint8_t family)
{
    for (uint16_t i = 0; i < n->probe_count; i++) {
        struct probe *p = &n->probes[i];

        if (p->region == region && p->family == family && p->state != PROBE_DONE)
            give_up(n, p);
    }
}

/* The first answer of enough regions ends the run soon. */
static void check_enough(struct netcheck *n, time_ns now)
{
    time_ns slowest = 0;
    uint16_t answered = 0;

    for (uint16_t i = 0; i < n->region_count; i++) {
        uint32_t us = best_of(n->regions[i].latency_us);

        answered += us != 0;
        slowest = MAX(slowest, (time_ns)us * USEC);
    }
    if (answered != MIN(NETCHECK_ENOUGH_REGIONS, n->regions_planned))
        return;
    slowest = MAX(slowest * (n->full ? 2 : 1), NETCHECK_LINGER_MIN);
    n->stop_at = MIN(n->stop_at, now + slowest);
}

static void set_home(struct netcheck *n, uint16_t region)
{
    if (n->report.home_region == region)
        return;
    n->report.home_region = region;
    n->changes |= UNDERLAY_CHANGED_HOME;
}

int netcheck_stun_received(struct netcheck *n, const struct stun_txid *txid, const struct ip_port *mapped,
                           time_ns now)
{
    struct probe *p = probe_of(n, txid);
    struct region *r;
    bool first;

    if (!p)
        return NETCHECK_E_UNEXPECTED;
    r = &n->regions[p->region];
    note_mapped(n, p, mapped);
    if (p->state != PROBE_SENT)
        return 0; /* a second answer of this set tells about the mapping, not about latency */
    first = !best_of(r->latency_us);
    r->latency_us[p->family] = (uint32_t)MAX((now - p->sent_at) / USEC, 1);
    cancel_set(n, p->region, p->family);
    /* All were asked at the same time: without a home, the first to answer is a good one at once. */
    if (!n->report.home_region && r->may_be_home && n->kind == NETCHECK_REGIONS)
        set_home(n, r->id);
    if (first)
        check_enough(n, now);
    finish_if_over(n, now);
    return 0;
}

/* Three relays answered: give the others as long again as that took. */
static void check_enough_https(struct netcheck *n, time_ns now)
{
    if (https_answers(n) == NETCHECK_ENOUGH_REGIONS)
        n->stop_at = MIN(n->stop_at, now + MAX(now - n->https_began_at, NETCHECK_LINGER_MIN));
}

void netcheck_https_done(struct netcheck *n, uint16_t region, time_ns latency, time_ns now)
{
    struct region *r = region_by_id(n, region);

    if (!n->running || !r || r->https != HTTPS_ASKED)
        return;
    r->https = HTTPS_DONE;
    if (latency > 0 && !stun_answered(n)) {
        r->https_us = (uint32_t)MIN(MAX(latency / USEC, (time_ns)1), (time_ns)UINT32_MAX);
        if (!n->report.home_region)
            set_home(n, r->id);
        check_enough_https(n, now);
    }
    if (!https_pending(n) && !https_answers(n))
        n->stop_at = MIN(n->stop_at, MAX(n->started_at + NETCHECK_STUN_PHASE, now));
    finish_if_over(n, now);
}

void netcheck_heard(struct netcheck *n, uint16_t region, time_ns now)
{
    struct region *r = region_by_id(n, region);

    if (r)
        r->heard_at = MAX(r->heard_at, now);
}

/* ---- the end of a run ------------------------------------------------------------------------ */

static void remember(struct netcheck *n, time_ns now)
{
    struct past *past = &n->history[n->history_next];

    n->history_next = (n->history_next + 1) % NETCHECK_HISTORY_MAX;
    past->at = now;
    for (uint16_t i = 0; i < n->region_count; i++)
        past->latency_us[i] = run_us(&n->regions[i]);
}

/* Best latency of the last five minutes, weighted as control wants it; 0: none. */
static double score_of(const struct netcheck *n, uint16_t region, time_ns now)
{
    uint32_t best = 0;

    for (size_t i = 0; i < NETCHECK_HISTORY_MAX; i++) {
        const struct past *past = &n->history[i];

        if (past->at == NO_TIME || now - past->at > NETCHECK_HISTORY || !past->latency_us[region])
            continue;
        if (!best || past->latency_us[region] < best)
            best = past->latency_us[region];
    }
    return best * n->regions[region].score;
}

/* The first usable region, in the order of the map: deterministic, so that all our nodes agree. */
static uint16_t fallback_home(const struct netcheck *n)
{
    uint16_t avoided = 0;

    for (uint16_t i = 0; i < n->region_count; i++) {
        if (!n->regions[i].may_be_home)
            continue;
        if (!n->regions[i].avoid)
            return n->regions[i].id;
        avoided = avoided ? avoided : n->regions[i].id;
    }
    return avoided;
}

/* Is the home still there: it answered, or its relay spoke lately? */
static bool accessible(const struct netcheck *n, const struct region *r, time_ns now)
{
    return run_us(r) || (r->heard_at != NO_TIME &&
                         (r->heard_at >= n->started_at || now - r->heard_at <= NETCHECK_HEARD_RECENTLY));
}

static uint16_t choose_home(const struct netcheck *n, time_ns now)
{
    const struct region *old = region_by_id(n, n->report.home_region);
    const struct region *best = NULL;
    double best_score = 0, old_now;

    for (uint16_t i = 0; i < n->region_count; i++) {
        const struct region *r = &n->regions[i];
        double score;

        if (!r->may_be_home || (r->avoid && r != old) || !run_us(r))
            continue;
        score = score_of(n, i, now);
        if (!best || score < best_score) {
            best = r;
            best_score = score;
        }
    }
    if (!best)
        return old ? old->id : fallback_home(n);
    if (!old || best == old || !accessible(n, old, now))
        return best->id;
    old_now = run_us(old);
    if (old_now - best_score < (double)NETCHECK_HOME_GAIN_MIN / USEC || best_score > old_now * 2 / 3)
        return old->id;
    return best->id;
}

static void fill_latencies(struct netcheck *n)
{
    struct underlay_report *report = &n->report;

    report->latency_count = 0;
    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];

        if (best_of(r->latency_us)) {
            r->last_us[V4] = r->latency_us[V4];
            r->last_us[V6] = r->latency_us[V6];
        } else if (r->https_us || n->full) {
            r->last_us[V4] = r->https_us; /* which family it was does not matter, as in the reference */
            r->last_us[V6] = 0;
        }
        if (best_of(r->last_us))
            report->latencies[report->latency_count++] = (struct underlay_region_latency) {
                .region = r->id, .v4_us = r->last_us[V4], .v6_us = r->last_us[V6]
            };
    }
}

static void set_varies(struct netcheck *n, enum underlay_fact varies)
{
    if (varies == UNDERLAY_UNKNOWN)
        return; /* one answer does not refute what two told */
    if (n->report.mapping_varies_by_dest_ip != varies)
        n->changes |= UNDERLAY_CHANGED_NETINFO;
    n->report.mapping_varies_by_dest_ip = varies;
}

static void set_families(struct netcheck *n, bool v4, bool v6)
{
    if (n->report.v4 != v4 || n->report.v6 != v6)
        n->changes |= UNDERLAY_CHANGED_NETINFO;
    n->report.v4 = v4;
    n->report.v6 = v6;
    n->report.udp = v4 || v6;
}

static void fill_families(struct netcheck *n)
{
    bool v4 = false, v6 = false;

    for (uint16_t i = 0; i < n->region_count; i++) {
        v4 |= n->regions[i].latency_us[V4] != 0;
        v6 |= n->regions[i].latency_us[V6] != 0;
    }
    if (!n->full && (v4 || v6)) {
        v4 |= n->report.v4; /* only a full run waits long enough to take a family away */
        v6 |= n->report.v6;
    }
    set_families(n, v4, v6);
}

/* What a run that measured regions knows more than one that did not. */
static void finish_regions(struct netcheck *n, time_ns now)
{
    remember(n, now);
    set_home(n, choose_home(n, now));
    fill_latencies(n);
    fill_families(n);
    if (n->full) {
        n->full_at = now;
        n->full_had_udp = n->report.udp;
    }
    n->report.measured_at = MAX(now, 1);
}

static void finish(struct netcheck *n, time_ns now)
{
    n->running = false;
    free(n->probes);
    n->probes = NULL;
    n->probe_count = 0;
    if (n->kind == NETCHECK_REGIONS)
        finish_regions(n, now);
    set_varies(n, n->varies);
    memcpy(n->last_mapped, n->mapped, sizeof(n->mapped));
    n->last_mapped_count = n->mapped_count;
    n->finished = true;
}

void netcheck_adopt(struct netcheck *n, const struct underlay_report *report)
{
    enum underlay_fact varies = n->report.mapping_varies_by_dest_ip;

    set_home(n, report->home_region);
    set_families(n, report->v4, report->v6);
    n->report = *report;
    n->report.mapping_varies_by_dest_ip = varies;
    for (uint16_t i = 0; i < n->region_count; i++)
        n->regions[i].last_us[V4] = n->regions[i].last_us[V6] = 0;
    for (size_t i = 0; i < report->latency_count; i++) {
        struct region *r = region_by_id(n, report->latencies[i].region);

        if (!r)
            continue;
        r->last_us[V4] = report->latencies[i].v4_us;
        r->last_us[V6] = report->latencies[i].v6_us;
    }
}

/* ---- time -------------------------------------------------------------------------------------- */

time_ns netcheck_deadline(const struct netcheck *n)
{
    time_ns at = n->stop_at;

    if (!n->running)
        return TIME_NEVER;
    for (uint16_t i = 0; i < n->probe_count; i++)
        if (n->probes[i].state == PROBE_PLANNED && !waits_for_dns(n, &n->probes[i]))
            at = MIN(at, n->probes[i].send_at);
    return MIN(at, stun_answered(n) ? TIME_NEVER : n->https_at);
}

void netcheck_tick(struct netcheck *n, time_ns now)
{
    begin_https_if_due(n, now);
    if (n->running && now >= n->stop_at)
        finish(n, now);
}

/* ---- results ------------------------------------------------------------------------------------ */

unsigned netcheck_take_changes(struct netcheck *n, bool *finished)
{
    unsigned changes = n->changes;

    *finished = n->finished;
    n->changes = 0;
    n->finished = false;
    return changes;
}

const struct underlay_report *netcheck_report(const struct netcheck *n)
{
    return &n->report;
}

const struct netcheck_mapped *netcheck_mapped(const struct netcheck *n, size_t *count)
{
    *count = n->last_mapped_count;
    return n->last_mapped;
}

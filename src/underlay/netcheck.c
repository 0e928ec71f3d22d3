#include "underlay/netcheck_internal.h"

#include <errno.h>
#include <stdlib.h>

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
    r = netcheck_copy_map(n, map);
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

/* ---- a run ------------------------------------------------------------------------------ */

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

static void finish(struct netcheck *n, time_ns now)
{
    n->running = false;
    free(n->probes);
    n->probes = NULL;
    n->probe_count = 0;
    netcheck_conclude(n, now);
}

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
    netcheck_plan(n, now);
    begin_https_if_due(n, now);
    finish_if_over(n, now);
    return 0;
}

bool netcheck_running(const struct netcheck *n)
{
    return n->running;
}

/* ---- probes ------------------------------------------------------------------------------ */

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

static bool waits_for_dns(const struct netcheck *n, const struct probe *p)
{
    return n->servers[p->server].resolving;
}

/* A probe whose time has come. True: *out says what to do. */
static bool act(struct netcheck *n, struct probe *p, struct netcheck_action *out, time_ns now)
{
    struct server *s = &n->servers[p->server];

    if (netcheck_needs_dns(s, p->family, now) && !s->asked) {
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

/* ---- answers ------------------------------------------------------------------------------ */

static void count_mapped(struct netcheck *n, const struct ip_port *mapped)
{
    for (size_t i = 0; i < n->mapped_count; i++)
        if (ip_port_equal(&n->mapped[i].address, mapped)) {
            n->mapped[i].seen++;
            return;
        }
    if (n->mapped_count < NETCHECK_MAPPED_MAX)
        n->mapped[n->mapped_count++] = (struct netcheck_mapped) { *mapped, 1 };
}

/* Two servers that see the socket under two addresses: the NAT maps by destination. */
static void compare_mapped(struct netcheck *n, const struct probe *p, const struct ip_port *mapped)
{
    struct ip server_ip = n->servers[p->server].ip[V4];

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
        uint32_t us = netcheck_best_us(n->regions[i].latency_us);

        answered += us != 0;
        slowest = MAX(slowest, (time_ns)us * USEC);
    }
    if (answered != MIN(NETCHECK_ENOUGH_REGIONS, n->regions_planned))
        return;
    slowest = MAX(slowest * (n->full ? 2 : 1), NETCHECK_LINGER_MIN);
    n->stop_at = MIN(n->stop_at, now + slowest);
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
    count_mapped(n, mapped);
    compare_mapped(n, p, mapped);
    if (p->state != PROBE_SENT)
        return 0; /* a second answer of this set tells about the mapping, not about latency */
    first = !netcheck_best_us(r->latency_us);
    r->latency_us[p->family] = (uint32_t)MAX((now - p->sent_at) / USEC, 1);
    cancel_set(n, p->region, p->family);
    /* All were asked at the same time: without a home, the first to answer is a good one at once. */
    if (!n->report.home_region && r->may_be_home && n->kind == NETCHECK_REGIONS)
        netcheck_move_home(n, r->id);
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
    struct region *r = netcheck_region(n, region);

    if (!n->running || !r || r->https != HTTPS_ASKED)
        return;
    r->https = HTTPS_DONE;
    if (latency > 0 && !stun_answered(n)) {
        r->https_us = (uint32_t)MIN(MAX(latency / USEC, (time_ns)1), (time_ns)UINT32_MAX);
        if (!n->report.home_region)
            netcheck_move_home(n, r->id);
        check_enough_https(n, now);
    }
    if (!https_pending(n) && !https_answers(n))
        n->stop_at = MIN(n->stop_at, MAX(n->started_at + NETCHECK_STUN_PHASE, now));
    finish_if_over(n, now);
}

void netcheck_heard(struct netcheck *n, uint16_t region, time_ns now)
{
    struct region *r = netcheck_region(n, region);

    if (r)
        r->heard_at = MAX(r->heard_at, now);
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

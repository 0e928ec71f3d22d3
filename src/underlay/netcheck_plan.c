#include "underlay/netcheck_internal.h"

static void plan_probe(struct netcheck *n, struct region *r, enum family f, unsigned try, time_ns delay)
{
    struct probe *p = &n->probes[n->probe_count];
    uint16_t server;

    if (n->family_dead[f] || n->probe_count >= n->probe_room || !netcheck_pick_server(n, r, f, try, &server))
        return;
    *p = (struct probe) { .region = (uint16_t)(r - n->regions),
                          .server = server,
                          .family = (uint8_t)f,
                          .state = PROBE_PLANNED,
                          .send_at = n->started_at + delay };
    n->probe_count++;
    r->pending[f]++;
}

static void plan_full(struct netcheck *n)
{
    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];

        if (!netcheck_measures(n, r))
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
    time_ns gap = (time_ns)netcheck_best_us(r->last_us) * USEC * 12 / 10;

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
    struct region *home = netcheck_region(n, n->report.home_region);

    for (unsigned rank = 0; rank < NETCHECK_INCREMENTAL_REGIONS; rank++) {
        struct region *nearest = NULL;

        for (uint16_t i = 0; i < n->region_count; i++) {
            struct region *r = &n->regions[i];

            if (!planned[i] && netcheck_measures(n, r) && netcheck_best_us(r->last_us) &&
                (!nearest || netcheck_best_us(r->last_us) < netcheck_best_us(nearest->last_us)))
                nearest = r;
        }
        if (!nearest)
            break;
        planned[nearest - n->regions] = true;
        plan_near(n, nearest, rank);
    }
    if (home && netcheck_measures(n, home) && !planned[home - n->regions])
        plan_near(n, home, NETCHECK_INCREMENTAL_REGIONS);
}

/* The nearest measured region but this one; if no latency is known yet, the first of the map. */
static struct region *nearest_other(const struct netcheck *n, const struct region *than)
{
    struct region *found = NULL;

    for (uint16_t i = 0; i < n->region_count; i++) {
        struct region *r = &n->regions[i];
        uint32_t us = netcheck_best_us(r->last_us);

        if (r == than || !netcheck_measures(n, r))
            continue;
        if (!found || (us && (!netcheck_best_us(found->last_us) || us < netcheck_best_us(found->last_us))))
            found = r;
    }
    return found;
}

/* Two regions, because two servers tell whether the NAT maps by destination. */
static void plan_mapping(struct netcheck *n)
{
    struct region *home = netcheck_region(n, n->report.home_region);
    struct region *other = nearest_other(n, home);

    if (n->report.measured_at && !n->report.udp)
        return; /* nothing comes back; who measures the regions will tell when that changes */
    if (home && netcheck_measures(n, home))
        plan_near(n, home, 0);
    if (other)
        plan_near(n, other, 1);
}

static bool full_is_due(const struct netcheck *n, time_ns now)
{
    return n->full_at == NO_TIME || now - n->full_at >= NETCHECK_FULL_EVERY ||
           (n->report.udp && !n->full_had_udp); /* UDP came back: find out who is near */
}

/* Relays are asked seldom, because each answer costs them and us a TLS handshake: in full runs, and when the
 * home is missing or silent. At once if nothing else will tell. */
static void plan_https(struct netcheck *n, time_ns now)
{
    const struct region *home = netcheck_region(n, n->report.home_region);
    bool blocked = n->report.measured_at && !n->report.udp;

    if (n->full || !home || home->heard_at == NO_TIME || now - home->heard_at > NETCHECK_HEARD)
        n->https_at = blocked || !n->probe_count ? now : now + NETCHECK_HTTPS_AFTER;
}

static void plan_regions(struct netcheck *n, time_ns now)
{
    n->full = full_is_due(n, now);
    if (!n->full)
        plan_incremental(n);
    if (!n->probe_count) {
        n->full = true;
        plan_full(n);
    }
    plan_https(n, now);
}

static void count_planned_regions(struct netcheck *n)
{
    n->regions_planned = 0;
    for (uint16_t i = 0; i < n->region_count; i++)
        n->regions_planned += n->regions[i].pending[V4] || n->regions[i].pending[V6];
}

void netcheck_plan(struct netcheck *n, time_ns now)
{
    n->full = false;
    if (n->kind == NETCHECK_MAPPING)
        plan_mapping(n);
    else
        plan_regions(n, now);
    count_planned_regions(n);
}

#include "underlay/netcheck_internal.h"

void netcheck_move_home(struct netcheck *n, uint16_t region)
{
    if (n->report.home_region == region)
        return;
    n->report.home_region = region;
    n->changes |= UNDERLAY_CHANGED_HOME;
}

void netcheck_set_home(struct netcheck *n, uint16_t region)
{
    const struct region *r = netcheck_region(n, region);

    if (r && r->may_be_home)
        n->report.home_region = region;
}
/* ---- which region is home ---------------------------------------------------------------- */

static void remember(struct netcheck *n, time_ns now)
{
    struct past *past = &n->history[n->history_next];

    n->history_next = (n->history_next + 1) % NETCHECK_HISTORY_MAX;
    past->at = now;
    for (uint16_t i = 0; i < n->region_count; i++)
        past->latency_us[i] = netcheck_run_us(&n->regions[i]);
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
    return netcheck_run_us(r) || (r->heard_at != NO_TIME && (r->heard_at >= n->started_at ||
                                                             now - r->heard_at <= NETCHECK_HEARD_RECENTLY));
}

static uint16_t choose_home(const struct netcheck *n, time_ns now)
{
    const struct region *old = netcheck_region(n, n->report.home_region);
    const struct region *best = NULL;
    double best_score = 0, old_now;

    for (uint16_t i = 0; i < n->region_count; i++) {
        const struct region *r = &n->regions[i];
        double score;

        if (!r->may_be_home || (r->avoid && r != old) || !netcheck_run_us(r))
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
    old_now = netcheck_run_us(old);
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

        if (netcheck_best_us(r->latency_us)) {
            r->last_us[V4] = r->latency_us[V4];
            r->last_us[V6] = r->latency_us[V6];
        } else if (r->https_us || n->full) {
            r->last_us[V4] = r->https_us; /* which family it was does not matter, as in the reference */
            r->last_us[V6] = 0;
        }
        if (netcheck_best_us(r->last_us))
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
static void conclude_regions(struct netcheck *n, time_ns now)
{
    remember(n, now);
    netcheck_move_home(n, choose_home(n, now));
    fill_latencies(n);
    fill_families(n);
    if (n->full) {
        n->full_at = now;
        n->full_had_udp = n->report.udp;
    }
    n->report.measured_at = MAX(now, 1);
}

void netcheck_conclude(struct netcheck *n, time_ns now)
{
    if (n->kind == NETCHECK_REGIONS)
        conclude_regions(n, now);
    set_varies(n, n->varies);
    memcpy(n->last_mapped, n->mapped, sizeof(n->mapped));
    n->last_mapped_count = n->mapped_count;
    n->finished = true;
}

void netcheck_adopt(struct netcheck *n, const struct underlay_report *report)
{
    enum underlay_fact varies = n->report.mapping_varies_by_dest_ip;

    netcheck_move_home(n, report->home_region);
    set_families(n, report->v4, report->v6);
    n->report = *report;
    n->report.mapping_varies_by_dest_ip = varies;
    for (uint16_t i = 0; i < n->region_count; i++)
        n->regions[i].last_us[V4] = n->regions[i].last_us[V6] = 0;
    for (size_t i = 0; i < report->latency_count; i++) {
        struct region *r = netcheck_region(n, report->latencies[i].region);

        if (!r)
            continue;
        r->last_us[V4] = report->latencies[i].v4_us;
        r->last_us[V6] = report->latencies[i].v6_us;
    }
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

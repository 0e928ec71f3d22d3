/* underlay/measure.c - when to measure, and what to do with the result */
#include <errno.h>
#include <stdlib.h>

#include "underlay/internal.h"

#define NEVER_MEASURED INT64_MIN

/* A name being resolved for one STUN server. */
struct question {
    struct list link;
    struct region_map *map;
    struct ev_resolve *resolve;
    uint32_t server;
};

static void pump(struct underlay *u, time_ns now);

/* ---- maps ------------------------------------------------------------------------------ */

static void digest_text(struct blake2s *s, struct span text)
{
    uint64_t len = text.len;

    blake2s_update(s, span_make(&len, sizeof(len)));
    blake2s_update(s, text);
}

static void digest_node(struct blake2s *s, const struct tailcfg_derp_node *n)
{
    int32_t numbers[] = { n->stun_port, n->stun_only };

    digest_text(s, n->host_name);
    digest_text(s, n->ipv4);
    digest_text(s, n->ipv6);
    digest_text(s, n->stun_test_ip);
    blake2s_update(s, span_make(numbers, sizeof(numbers)));
}

/* Of everything that netcheck looks at. */
static void digest_map(uint8_t out[BLAKE2S_BYTES], const struct tailcfg_derp_map *map)
{
    struct blake2s s;

    blake2s_init(&s, BLAKE2S_BYTES, SPAN_NONE);
    for (size_t i = 0; i < map->region_count; i++) {
        const struct tailcfg_derp_region *r = &map->regions[i];
        int32_t numbers[] = { r->id, r->avoid, r->no_measure_no_home, (int32_t)r->node_count };

        blake2s_update(&s, span_make(numbers, sizeof(numbers)));
        blake2s_update(&s, span_make(&r->score, sizeof(r->score)));
        for (size_t k = 0; k < r->node_count; k++)
            digest_node(&s, &r->nodes[k]);
    }
    blake2s_final(&s, out);
}

static struct region_map *find_map(struct underlay *u, const uint8_t digest[BLAKE2S_BYTES], size_t *count)
{
    *count = 0;
    LIST_EACH (m, &u->maps, struct region_map, link) {
        ++*count;
        if (memcmp(m->digest, digest, BLAKE2S_BYTES) == 0)
            return m;
    }
    return NULL;
}

/* What the surveyor has found so far, if that is somebody else. */
static void adopt(struct region_map *m)
{
    struct underlay_report report;

    if (!survey_is_surveyor(m->u->survey, &m->seat) && survey_read(m->u->survey, &m->seat, &report))
        netcheck_adopt(m->check, &report);
}

static int make_map(struct underlay *u, const struct tailcfg_derp_map *map,
                    const uint8_t digest[BLAKE2S_BYTES], struct region_map **out)
{
    struct region_map *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return -ENOMEM;
    r = netcheck_new(&m->check, map, underlay_random, NULL);
    if (!r)
        r = survey_join(u->survey, &m->seat, digest, u->mailbox);
    if (r) {
        netcheck_free(m->check);
        free(m);
        return r;
    }
    m->u = u;
    memcpy(m->digest, digest, BLAKE2S_BYTES);
    list_init(&m->questions);
    list_push_back(&u->maps, &m->link);
    adopt(m);
    *out = m;
    return 0;
}

void measure_release_map(struct region_map *m)
{
    if (!m || --m->refs)
        return;
    LIST_EACH (q, &m->questions, struct question, link) {
        ev_resolve_cancel(q->resolve);
        list_remove(&q->link);
        free(q);
    }
    survey_leave(m->u->survey, &m->seat);
    list_remove(&m->link);
    netcheck_free(m->check);
    free(m);
}

int underlay_node_set_map(struct underlay_node *n, const struct tailcfg_derp_map *map, time_ns now)
{
    struct underlay *u = n->u;
    struct region_map *m = NULL, *old = n->map;
    uint8_t digest[BLAKE2S_BYTES];
    size_t count;
    int r;

    if (map) {
        digest_map(digest, map);
        m = find_map(u, digest, &count);
        if (m && m == old)
            return 0;
        if (!m && count >= UNDERLAY_MAPS_MAX)
            return -ENOSPC;
        r = m ? 0 : make_map(u, map, digest, &m);
        if (r)
            return r;
        m->refs++;
        if (old && !netcheck_report(m->check)->home_region)
            netcheck_set_home(m->check, netcheck_report(old->check)->home_region);
    }
    n->map = m;
    measure_release_map(old);
    if (m && !m->started)
        measure_wanted(u, now);
    return 0;
}

/* ---- fresh sockets ------------------------------------------------------------------------- */

static time_ns rebind_at(const struct underlay *u)
{
    return u->rebound_at == NEVER_MEASURED ? 0 : u->rebound_at + u->rebind_gap;
}

static void rearm(struct underlay *u);

/* Done from the timer, because whoever noticed is in the middle of sending. */
void measure_rebind_wanted(struct underlay *u, time_ns now)
{
    if (u->rebind_due)
        return;
    u->rebind_due = true;
    if (u->rebound_at == NEVER_MEASURED || now - u->rebound_at >= 2 * UNDERLAY_REBIND_GAP_MAX)
        u->rebind_gap = UNDERLAY_REBIND_GAP; /* the last one helped */
    rearm(u);
}

/* All that was proven about the way from here is open again. */
static void prove_paths(struct underlay *u, time_ns now)
{
    LIST_EACH (p, &u->awake, struct underlay_peer, awake) {
        struct path_turn t;

        turn_begin(&t, now);
        path_link_changed(&p->path, &t);
        underlay_perform(p, &t);
    }
}

static unsigned build_endpoints(struct underlay *u, time_ns now);
static void report(struct underlay *u, unsigned changes, time_ns now);

static void rebind(struct underlay *u, time_ns now)
{
    bool again = u->rebound_at != NEVER_MEASURED;
    int r = ev_udp_rebind(u->udp);

    u->counters.rebinds++;
    u->rebind_due = r != 0;
    u->rebind_gap = again ? MIN(2 * u->rebind_gap, UNDERLAY_REBIND_GAP_MAX) : UNDERLAY_REBIND_GAP;
    u->rebound_at = now;
    log_debug(NULL, "a fresh UDP socket on port %u%s%s", ev_udp_port(u->udp, true), r ? ": " : "",
              r ? err_text(r) : "");
    if (r)
        return;
    prove_paths(u, now);
    if (u->measured_at != NEVER_MEASURED)
        report(u, build_endpoints(u, now), now);
    measure_wanted(u, now);
}

/* ---- runs --------------------------------------------------------------------------------- */

static void rearm(struct underlay *u)
{
    time_ns at = u->periodic_at;

    if (u->measure_again && !u->measuring)
        at = MIN(at, u->measured_at + UNDERLAY_MEASURE_GAP);
    if (u->rebind_due)
        at = MIN(at, rebind_at(u));
    LIST_EACH (m, &u->maps, struct region_map, link)
        at = MIN(at, netcheck_deadline(m->check));
    ev_timer_set(&u->timer, at);
}

/* Whoever does not measure regions waits for the first report: it names the servers that are worth asking. */
static bool may_start(const struct region_map *m)
{
    const struct underlay_report *r = netcheck_report(m->check);

    return r->measured_at || r->home_region || survey_is_surveyor(m->u->survey, &m->seat);
}

static void start_map(struct region_map *m, bool v4, bool v6, time_ns now)
{
    struct underlay *u = m->u;
    bool surveyor = survey_is_surveyor(u->survey, &m->seat);

    if (!surveyor)
        survey_ask(u->survey, &m->seat, UNDERLAY_MEASURE_MIN, now);
    if (!may_start(m))
        return;
    u->counters.surveys += surveyor;
    u->counters.mappings += !surveyor;
    m->started = u->measuring = true;
    if (netcheck_start(m->check, surveyor ? NETCHECK_REGIONS : NETCHECK_MAPPING, v4, v6, now))
        u->counters.out_of_memory++;
}

static void start(struct underlay *u, time_ns now)
{
    bool v4 = ev_udp_port(u->udp, true) != 0, v6 = ev_udp_port(u->udp, false) != 0;

    u->measure_again = false;
    u->periodic_at = TIME_NEVER;
    LIST_EACH (m, &u->maps, struct region_map, link)
        start_map(m, v4, v6, now);
    pump(u, now);
}

/* A map that nobody has measured yet does not wait. */
static bool any_unmeasured(const struct underlay *u)
{
    LIST_EACH (m, &u->maps, struct region_map, link)
        if (!m->started && may_start(m))
            return true;
    return false;
}

void measure_wanted(struct underlay *u, time_ns now)
{
    if (u->measuring) {
        u->measure_again = true;
        return;
    }
    if (u->measured_at == NEVER_MEASURED || now - u->measured_at >= UNDERLAY_MEASURE_GAP ||
        any_unmeasured(u)) {
        start(u, now);
        return;
    }
    u->measure_again = true;
    rearm(u);
}

static void arm_periodic(struct underlay *u, time_ns now)
{
    uint32_t spread;

    if (u->periodic_at != TIME_NEVER || u->measuring || list_empty(&u->maps))
        return;
    random_bytes(&spread, sizeof(spread));
    u->periodic_at = u->measured_at == NEVER_MEASURED ? now : u->measured_at;
    u->periodic_at += UNDERLAY_MEASURE_MIN + (time_ns)((uint64_t)spread * UNDERLAY_MEASURE_SPREAD >> 32);
    rearm(u);
}

void measure_active(struct underlay *u, time_ns now)
{
    u->active_until = now + PATH_ACTIVE;
    arm_periodic(u, now);
}

bool measure_fresh(const struct underlay *u, time_ns now)
{
    return list_empty(&u->maps) || (!u->measuring && u->measured_at != NEVER_MEASURED &&
                                    now - u->measured_at <= UNDERLAY_ENDPOINTS_FRESH);
}

static unsigned build_endpoints(struct underlay *u, time_ns now)
{
    return endpoints_build(&u->endpoints, &u->host, ev_udp_port(u->udp, true), ev_udp_port(u->udp, false),
                           now)
               ? UNDERLAY_CHANGED_ENDPOINTS
               : 0;
}

static void report(struct underlay *u, unsigned changes, time_ns now)
{
    if (changes && u->ops->report_changed)
        u->ops->report_changed(u->ctx, u, changes, now);
}

/* The last of the machines has finished: one list for all, and whoever waited for it may call now. */
static unsigned finished(struct underlay *u, time_ns now)
{
    unsigned changes;
    enum underlay_fact varies = UNDERLAY_UNKNOWN;

    u->measuring = false;
    u->measured_at = now;
    LIST_EACH (m, &u->maps, struct region_map, link) {
        size_t count;
        const struct netcheck_mapped *mapped = netcheck_mapped(m->check, &count);

        endpoints_note_mapped(&u->endpoints, mapped, count, now);
        varies = MAX(varies, netcheck_report(m->check)->mapping_varies_by_dest_ip);
    }
    if (varies == UNDERLAY_YES && u->fixed_port)
        endpoints_note_guess(&u->endpoints, ev_udp_port(u->udp, true), now);
    changes = build_endpoints(u, now);
    while (!list_empty(&u->calling)) {
        struct underlay_peer *p = LIST_FIRST(&u->calling, struct underlay_peer, calling);

        list_remove(&p->calling);
        talk_send_call_me_maybe(p);
    }
    if (now < u->active_until)
        arm_periodic(u, now);
    return changes;
}

static void on_resolved(void *owner, int status, const struct ip *addresses, size_t count)
{
    struct question *q = owner;
    struct region_map *m = q->map;
    time_ns now = ev_now(m->u->loop);

    netcheck_resolved(m->check, q->server, addresses, status ? 0 : count, now);
    list_remove(&q->link);
    free(q);
    pump(m->u, now);
}

static void resolve(struct region_map *m, const struct netcheck_action *a, time_ns now)
{
    struct question *q = calloc(1, sizeof(*q));

    if (q) {
        q->map = m;
        q->server = a->server;
        if (ev_resolve_start(&q->resolve, m->u->loop, a->host_name, on_resolved, q) == 0) {
            list_push_back(&m->questions, &q->link);
            return;
        }
        free(q);
    }
    netcheck_resolved(m->check, a->server, NULL, 0, now);
}

/* Any node with this map will do: its relays are those of the map. */
static void probe_relay(struct region_map *m, uint16_t region, time_ns now)
{
    struct underlay *u = m->u;
    uint32_t index = 0;

    for (struct underlay_node *n; u->ops->probe_relay && (n = slab_next(&u->nodes, &index));) {
        if (n->map != m)
            continue;
        u->counters.relays_probed++;
        u->ops->probe_relay(u->ctx, n, region, now);
        return;
    }
    netcheck_https_done(m->check, region, 0, now);
}

static void perform_action(struct region_map *m, const struct netcheck_action *a, time_ns now)
{
    uint8_t request[STUN_REQUEST_BYTES];

    if (a->kind == NETCHECK_RESOLVE) {
        resolve(m, a, now);
        return;
    }
    if (a->kind == NETCHECK_HTTPS) {
        probe_relay(m, a->region, now);
        return;
    }
    stun_request_write(request, &a->txid);
    if (underlay_send_udp(m->u, &a->to, SPAN_OF(request), sizeof(request)))
        netcheck_not_sent(m->check, &a->txid);
}

static unsigned pump_map(struct region_map *m, time_ns now)
{
    struct underlay *u = m->u;
    struct netcheck_action a;
    unsigned changes;
    bool done;

    while (netcheck_next(m->check, &a, now))
        perform_action(m, &a, now);
    changes = netcheck_take_changes(m->check, &done);
    if ((done || (changes & UNDERLAY_CHANGED_HOME)) && survey_is_surveyor(u->survey, &m->seat))
        survey_publish(u->survey, &m->seat, netcheck_report(m->check));
    return changes;
}

/* Does what the machines ask for, and notices when all of them have finished. */
static void pump(struct underlay *u, time_ns now)
{
    unsigned changes = 0;
    bool running = false;

    LIST_EACH (m, &u->maps, struct region_map, link) {
        changes |= pump_map(m, now);
        running |= netcheck_running(m->check);
    }
    if (u->measuring && !running)
        changes |= finished(u, now);
    rearm(u);
    report(u, changes, now);
}

/* The home's relay may have spoken to nodes of other shards only. */
static void hear_of_home(struct region_map *m)
{
    uint16_t home = netcheck_report(m->check)->home_region;
    time_ns at = survey_heard_at(m->u->survey, &m->seat, home);

    if (at != INT64_MIN)
        netcheck_heard(m->check, home, at);
}

static void on_timer(struct ev_timer *timer, time_ns now)
{
    struct underlay *u = CONTAINER_OF(timer, struct underlay, timer);
    bool periodic, again;

    if (u->rebind_due && now >= rebind_at(u))
        rebind(u, now);
    again = u->measure_again && !u->measuring && now - u->measured_at >= UNDERLAY_MEASURE_GAP;
    periodic = now >= u->periodic_at;
    LIST_EACH (m, &u->maps, struct region_map, link) {
        if (now >= netcheck_deadline(m->check))
            hear_of_home(m);
        netcheck_tick(m->check, now);
    }
    if (periodic) {
        u->periodic_at = TIME_NEVER;
        periodic = now < u->active_until && !u->measuring;
    }
    if (again || periodic)
        start(u, now);
    else
        pump(u, now);
}

void measure_stun_received(struct underlay *u, struct span datagram, time_ns now)
{
    struct stun_txid txid;
    struct ip_port mapped;

    if (!u->measuring || stun_response_parse(datagram, &txid, &mapped))
        return;
    LIST_EACH (m, &u->maps, struct region_map, link)
        if (netcheck_stun_received(m->check, &txid, &mapped, now) == 0)
            break;
    pump(u, now);
}

/* ---- letters ---------------------------------------------------------------------------------- */

static void on_report(struct underlay *u, struct region_map *m, const struct underlay_report *r, time_ns now)
{
    const struct underlay_report *before = netcheck_report(m->check);
    bool blocked = before->measured_at && !before->udp, done;

    if (survey_is_surveyor(u->survey, &m->seat))
        return; /* it crossed our taking over */
    netcheck_adopt(m->check, r);
    report(u, netcheck_take_changes(m->check, &done), now);
    if (!m->started || (blocked && r->udp))
        measure_wanted(u, now);
}

/* Somebody asks for a report. One that is young, or on its way, will do. */
static void on_ask(struct underlay *u, const struct region_map *m, time_ns now)
{
    time_ns measured_at = netcheck_report(m->check)->measured_at;

    if (!netcheck_running(m->check) && (!measured_at || now - measured_at >= UNDERLAY_MEASURE_GAP))
        measure_wanted(u, now);
}

static void on_letter(void *owner, struct ev_letter *base, time_ns now)
{
    struct survey_letter *l = CONTAINER_OF(base, struct survey_letter, base);
    struct underlay *u = owner;
    size_t count;
    struct region_map *m = find_map(u, l->digest, &count);

    if (m && l->kind == SURVEY_REPORT)
        on_report(u, m, &l->report, now);
    else if (m && l->kind == SURVEY_ASK)
        on_ask(u, m, now);
    else if (m)
        measure_wanted(u, now);
    free(l);
}

/* ---- door ---------------------------------------------------------------------------------- */

int measure_init(struct underlay *u, struct underlay_survey *survey)
{
    list_init(&u->maps);
    ev_timer_init(&u->timer, u->loop, on_timer);
    u->measured_at = NEVER_MEASURED;
    u->periodic_at = TIME_NEVER;
    u->active_until = INT64_MIN;
    u->rebound_at = NEVER_MEASURED;
    u->rebind_gap = UNDERLAY_REBIND_GAP;
    u->survey = survey;
    return survey ? ev_mailbox_new(&u->mailbox, u->loop, on_letter, u) : 0;
}

void measure_deinit(struct underlay *u)
{
    must(list_empty(&u->maps));  /* nodes hold them */
    ev_mailbox_free(u->mailbox); /* nobody writes to it: we left every table */
    ev_timer_stop(&u->timer);
}

void underlay_measure(struct underlay *u, time_ns now)
{
    LIST_EACH (m, &u->maps, struct region_map, link)
        survey_ask(u->survey, &m->seat, UNDERLAY_MEASURE_GAP, now);
    measure_wanted(u, now);
}

void underlay_relay_heard(struct underlay_node *n, uint16_t region, time_ns now)
{
    if (!n->map)
        return;
    netcheck_heard(n->map->check, region, now);
    survey_heard(n->u->survey, &n->map->seat, region, now);
}

void underlay_relay_probed(struct underlay_node *n, uint16_t region, time_ns latency, time_ns now)
{
    if (!n->map)
        return;
    netcheck_https_done(n->map->check, region, latency, now);
    pump(n->u, now);
}

const struct underlay_report *underlay_node_report(const struct underlay_node *n)
{
    static const struct underlay_report nothing;

    return n->map ? netcheck_report(n->map->check) : &nothing;
}

const struct underlay_endpoint *underlay_endpoints(const struct underlay *u, size_t *count)
{
    *count = u->endpoints.count;
    return u->endpoints.list;
}

static bool same_addresses(const struct host_view *a, const struct host_view *b)
{
    return a->count == b->count &&
           memcmp(a->addresses, b->addresses, a->count * sizeof(a->addresses[0])) == 0 &&
           a->default_v4 == b->default_v4 && a->default_v6 == b->default_v6 &&
           ip_equal(&a->gateway_v4, &b->gateway_v4);
}

/* Not an address more or less, but another network: another way out, or nothing left of what we had. */
static bool another_network(const struct host_view *a, const struct host_view *b)
{
    if (a->default_v4 != b->default_v4 || a->default_v6 != b->default_v6 ||
        !ip_equal(&a->gateway_v4, &b->gateway_v4))
        return true;
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++)
            if (ip_equal(&a->addresses[i], &b->addresses[k]))
                return false;
    return true;
}

void underlay_woke(struct underlay *u, time_ns now)
{
    prove_paths(u, now);
    if (!u->measuring)
        u->measured_at = NEVER_MEASURED; /* now, whatever was measured before the sleep */
    measure_wanted(u, now);
}

void underlay_set_host(struct underlay *u, const struct host_view *view, time_ns now)
{
    bool known = u->host_known;

    bool another = known && another_network(&u->host, view);

    if (known && same_addresses(&u->host, view))
        return;
    u->host = *view;
    u->host_known = true;
    if (!known)
        return; /* told with the first measurement */
    if (another)
        measure_rebind_wanted(u, now);
    prove_paths(u, now);
    if (u->measured_at != NEVER_MEASURED)
        report(u, build_endpoints(u, now), now);
    measure_wanted(u, now);
}

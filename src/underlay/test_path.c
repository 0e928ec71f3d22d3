/* Scenarios of one path in simulated time: a peer behind links that have a round trip, a loss and a switch.
 */
#include "underlay/path.h"

#include <stdio.h>

#include "check.h"

#define LINKS_MAX 8
#define PONGS_MAX 256

struct link {
    struct ip_port address;
    time_ns rtt, jitter;
    unsigned loss_percent; /* of the round trip */
    bool up;
};

struct pong {
    time_ns at;
    struct disco_txid txid;
};

struct world {
    struct path path;
    time_ns now, last_send;
    uint64_t seed;
    struct link links[LINKS_MAX];
    size_t link_count;
    struct ip_port endpoints[LINKS_MAX];
    struct pong pongs[PONGS_MAX];
    size_t pong_count;
    /* what happened */
    size_t pings, calls, changes, losses, quiets, unexpected;
    size_t sent_direct, sent_relay, sent_both;
    size_t delivered_direct; /* packets that went over a link that is up */
    struct ip_port last_address;
    size_t switches; /* of the address that data goes to alone */
};

static uint64_t draw(struct world *w)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return w->seed >> 33;
}

static void fake_random(void *ctx, void *out, size_t len)
{
    struct world *w = ctx;
    uint8_t *bytes = out;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)draw(w);
}

static struct ip_port endpoint(const char *text)
{
    struct ip_port p;

    assert_true(ip_port_parse(span_from_str(text), &p));
    return p;
}

static void begin(struct world *w, struct path_turn *t)
{
    path_turn_begin(t, w->now, fake_random, w);
}

static struct link *link_to(struct world *w, const struct ip_port *address)
{
    for (size_t i = 0; i < w->link_count; i++)
        if (ip_port_equal(&w->links[i].address, address))
            return &w->links[i];
    return NULL;
}

/* Performs what the machine asked for. */
static void perform(struct world *w, const struct path_turn *t)
{
    for (size_t i = 0; i < t->ping_count; i++) {
        struct link *l = link_to(w, &t->pings[i].to);

        w->pings++;
        if (!l || !l->up || draw(w) % 100 < l->loss_percent)
            continue;
        assert_true(w->pong_count < PONGS_MAX);
        w->pongs[w->pong_count++] = (struct pong) {
            .at = w->now + l->rtt + (l->jitter ? (time_ns)(draw(w) % (uint64_t)l->jitter) : 0),
            .txid = t->pings[i].txid,
        };
    }
    w->calls += t->call_me_maybe;
    w->changes += t->changed;
    w->losses += t->lost;
    w->quiets += t->quiet;
    assert_false(t->no_memory);
}

static void world_init(struct world *w)
{
    *w = (struct world) { .seed = 7, .now = 1000 * SEC };
    path_init(&w->path, 0x01020304);
}

static struct link *add_link(struct world *w, const char *address, time_ns rtt)
{
    struct link *l = &w->links[w->link_count];

    *l = (struct link) { .address = endpoint(address), .rtt = rtt, .up = true };
    w->endpoints[w->link_count++] = l->address;
    return l;
}

/* All links are in the netmap. */
static void publish(struct world *w)
{
    struct path_turn t;

    begin(w, &t);
    path_set_endpoints(&w->path, w->endpoints, w->link_count, true, &t);
    perform(w, &t);
}

static struct path_route send(struct world *w)
{
    struct path_turn t;
    struct path_route route;

    begin(w, &t);
    route = path_send(&w->path, &t);
    assert_true(route.direct || route.relay);
    perform(w, &t);
    w->sent_direct += route.direct && !route.relay;
    w->sent_relay += route.relay && !route.direct;
    w->sent_both += route.direct && route.relay;
    if (route.direct) {
        struct link *l = link_to(w, &route.address);

        w->delivered_direct += l && l->up;
    }
    if (route.direct && !route.relay) {
        w->switches += w->last_address.port && !ip_port_equal(&w->last_address, &route.address);
        w->last_address = route.address;
    }
    return route;
}

static time_ns next_pong(const struct world *w, size_t *index)
{
    time_ns at = TIME_NEVER;

    for (size_t i = 0; i < w->pong_count; i++)
        if (w->pongs[i].at < at) {
            at = w->pongs[i].at;
            *index = i;
        }
    return at;
}

static void take_pong(struct world *w, size_t index)
{
    struct path_turn t;
    struct disco_txid txid = w->pongs[index].txid;

    w->pongs[index] = w->pongs[--w->pong_count];
    begin(w, &t);
    w->unexpected += path_pong_received(&w->path, &txid, &t) != 0;
    perform(w, &t);
}

static void tick(struct world *w)
{
    struct path_turn t;

    begin(w, &t);
    path_tick(&w->path, &t);
    perform(w, &t);
    assert_true(path_deadline(&w->path) > w->now); /* no busy loop */
}

/* Lets time pass; sends a packet every `every` (0: none). */
static void run(struct world *w, time_ns duration, time_ns every)
{
    time_ns end = w->now + duration, send_at = every ? w->now : TIME_NEVER;

    for (;;) {
        size_t index = 0;
        time_ns pong_at = next_pong(w, &index), tick_at = path_deadline(&w->path);
        time_ns at = MIN(MIN(send_at, pong_at), tick_at);

        if (at >= end)
            break;
        w->now = MAX(w->now, at);
        if (at == pong_at) {
            take_pong(w, index);
        } else if (at == tick_at) {
            tick(w);
        } else {
            send(w);
            send_at += every;
        }
    }
    w->now = end;
}

static void forget_counts(struct world *w)
{
    w->pings = w->calls = w->changes = w->losses = w->quiets = w->unexpected = 0;
    w->sent_direct = w->sent_relay = w->sent_both = w->delivered_direct = w->switches = 0;
}

static void call(struct world *w, const char *address)
{
    struct ip_port e = endpoint(address);
    struct path_turn t;

    begin(w, &t);
    path_call_me_maybe_received(&w->path, &e, 1, &t);
    perform(w, &t);
}

static int pinged_by_peer(struct world *w, const char *address, uint8_t id)
{
    struct ip_port from = endpoint(address);
    struct disco_txid txid = { { id } };
    struct path_turn t;
    int r;

    begin(w, &t);
    r = path_ping_received(&w->path, &from, &txid, &t);
    perform(w, &t);
    return r;
}

static size_t candidates(const struct world *w)
{
    struct path_view v;

    path_look(&w->path, &v);
    return v.candidate_count;
}

/* ---- first contact -------------------------------------------------------------------- */

static void the_first_packet_takes_the_relay_and_asks_everybody(void **state)
{
    (void)state;
    struct world w;
    struct path_route route;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 20 * MSEC);
    add_link(&w, "10.0.0.1:41641", 5 * MSEC)->up = false;
    add_link(&w, "[2001:db8::1]:41641", 20 * MSEC)->up = false;
    publish(&w);
    assert_int_equal(w.pings, 0);
    assert_true(path_deadline(&w.path) == TIME_NEVER);
    route = send(&w);
    assert_true(route.relay && !route.direct);
    assert_int_equal(w.pings, 3);
    assert_int_equal(w.calls, 1);
    run(&w, 100 * MSEC, 0);
    route = send(&w);
    assert_true(route.direct && !route.relay);
    assert_true(ip_port_equal(&route.address, &w.links[0].address));
    assert_int_equal(path_kind(&w.path, w.now), PATH_DIRECT);
    assert_int_equal(w.pings, 3); /* the floor holds for the silent ones */
    path_deinit(&w.path);
}

/* ---- a path that dies ------------------------------------------------------------------- */

/* link down at 10 s: both ways by 16.5 s, the relay alone by 18 s; link up at 30 s: direct by 35.1 s. */
static void a_dead_path_is_left_within_its_trust_and_found_again(void **state)
{
    (void)state;
    struct world w;
    struct link *l;

    world_init(&w);
    l = add_link(&w, "192.0.2.1:41641", 10 * MSEC);
    publish(&w);
    run(&w, 10 * SEC, 100 * MSEC);
    assert_int_equal(path_kind(&w.path, w.now), PATH_DIRECT);

    l->up = false;
    forget_counts(&w);
    run(&w, 6600 * MSEC, 100 * MSEC);
    assert_int_equal(path_kind(&w.path, w.now), PATH_RELAY);
    assert_int_equal(w.losses, 1);
    forget_counts(&w);
    run(&w, 1500 * MSEC, 100 * MSEC);
    assert_true(w.sent_both > 0); /* until the ping timed out */
    assert_int_equal(w.sent_direct, 0);
    forget_counts(&w);
    run(&w, 11900 * MSEC, 100 * MSEC);
    assert_int_equal(w.sent_direct + w.sent_both, 0);
    assert_int_equal(w.sent_relay, 119);

    l->up = true;
    forget_counts(&w);
    run(&w, 5100 * MSEC, 100 * MSEC);
    assert_int_equal(path_kind(&w.path, w.now), PATH_DIRECT);
    assert_int_equal(w.changes, 1);
    path_deinit(&w.path);
}

/* A heartbeat whose pong is lost is repeated at once: a tenth of all round trips lost is no reason to flap.
 */
static void loss_is_not_taken_for_death(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC)->loss_percent = 20;
    publish(&w);
    run(&w, 20 * SEC, 100 * MSEC);
    forget_counts(&w);
    run(&w, 30 * MINUTE, 100 * MSEC);
    assert_int_equal(w.losses, 0);
    assert_int_equal(w.sent_both, 0);
    path_deinit(&w.path);
}

static void heartbeats_confirm_before_trust_lapses(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 3 * MSEC);
    publish(&w);
    run(&w, 10 * MINUTE, 1 * SEC);
    assert_int_equal(w.changes, 1);
    assert_int_equal(w.sent_relay, 1);
    assert_int_equal(w.pings, 1 + 199); /* one each 3 s, and no look for better ones: it is fast */
    assert_int_equal(w.calls, 1);
    path_deinit(&w.path);
}

static void an_unreachable_address_is_left_at_once(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 3 * MSEC);
    publish(&w);
    run(&w, 1 * SEC, 100 * MSEC);
    begin(&w, &t);
    path_unreachable(&w.path, &w.links[0].address, &t);
    assert_true(t.lost && t.changed);
    assert_true(send(&w).relay);
    assert_int_equal(w.sent_both, 0);
    path_deinit(&w.path);
}

/* A stream that stalls has the path checked: within a second it has answered, or the relay helps. */
static void a_check_is_settled_within_a_second(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 3 * MSEC);
    publish(&w);
    run(&w, 11 * SEC, 100 * MSEC);
    for (int dead = 0; dead <= 1; dead++) {
        w.links[0].up = !dead;
        w.now += SEC; /* away from the last heartbeat */
        begin(&w, &t);
        path_check(&w.path, &t);
        assert_int_equal(t.ping_count, 1);
        assert_false(t.changed);
        perform(&w, &t);
        begin(&w, &t);
        path_check(&w.path, &t); /* its ping is under way */
        assert_int_equal(t.ping_count, 0);
        run(&w, 1100 * MSEC, 100 * MSEC);
        assert_int_equal(path_kind(&w.path, w.now), dead ? PATH_RELAY : PATH_DIRECT);
    }
    path_deinit(&w.path);
}

static void doubt(struct world *w)
{
    struct path_turn t;

    begin(w, &t);
    path_doubt(&w->path, &t);
    perform(w, &t);
}

/* Pongs come, data does not: pongs alone do not bring trust back. Found so again soon after, it lasts longer.
 */
static void an_address_that_carries_only_pongs_is_doubted(void **state)
{
    (void)state;
    struct world w;
    time_ns hold = PATH_DOUBT_MIN;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 3 * MSEC);
    publish(&w);
    run(&w, 11 * SEC, 100 * MSEC);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(path_kind(&w.path, w.now), PATH_DIRECT);
        doubt(&w);
        doubt(&w); /* said twice: once */
        assert_int_equal(path_kind(&w.path, w.now), PATH_RELAY);
        run(&w, hold - SEC, 100 * MSEC);
        assert_true(send(&w).direct && send(&w).relay);
        run(&w, 5 * SEC, 100 * MSEC);
        hold = MIN(2 * hold, PATH_DOUBT_MAX);
    }
    run(&w, 2 * PATH_DOUBT_MAX, SEC); /* all was well for long */
    doubt(&w);
    run(&w, PATH_DOUBT_MIN + 5 * SEC, 100 * MSEC);
    assert_int_equal(path_kind(&w.path, w.now), PATH_DIRECT);
    path_deinit(&w.path);
}

static void another_address_takes_over_from_a_doubted_one(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 3 * MSEC);
    add_link(&w, "198.51.100.1:41641", 30 * MSEC);
    publish(&w);
    run(&w, 11 * SEC, 100 * MSEC);
    assert_true(ip_port_equal(&w.last_address, &w.links[0].address));
    doubt(&w);
    run(&w, 6 * SEC, 100 * MSEC);
    assert_int_equal(path_kind(&w.path, w.now), PATH_DIRECT);
    assert_true(ip_port_equal(&w.last_address, &w.links[1].address));
    path_deinit(&w.path);
}

/* ---- several candidates ------------------------------------------------------------------ */

static void equal_candidates_do_not_oscillate(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    for (int i = 0; i < 2; i++)
        add_link(&w, i ? "192.0.2.1:41641" : "198.51.100.1:41641", 20 * MSEC)->jitter = 1 * MSEC;
    publish(&w);
    run(&w, 60 * MINUTE, 1 * SEC);
    assert_int_equal(w.switches, 0);
    assert_int_equal(w.losses, 0);
    path_deinit(&w.path);
}

static void a_clearly_better_candidate_takes_over_within_a_minute(void **state)
{
    (void)state;
    struct world w;
    struct link *fast;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 40 * MSEC);
    fast = add_link(&w, "10.0.0.1:41641", 10 * MSEC);
    fast->up = false;
    publish(&w);
    run(&w, 10 * SEC, 1 * SEC);
    fast->up = true;
    run(&w, 61 * SEC, 1 * SEC);
    assert_true(ip_port_equal(&w.last_address, &fast->address));
    assert_int_equal(w.switches, 1);
    assert_int_equal(w.sent_both, 0);
    path_deinit(&w.path);
}

/* Both ways round, the rules of the reference. */
static void quality_is_speed_then_nearness_then_family(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        uint32_t a_us;
        const char *b;
        uint32_t b_us;
        int sign;
    } rows[] = {
        { "1.1.1.1", 100000, "2.2.2.2", 100000, 0 },      { "1.1.1.1", 100000, "2.2.2.2", 101000, 0 },
        { "1.1.1.1", 100000, "2.2.2.2", 110000, 1 },      { "2.2.2.2", 110000, "1.1.1.1", 100000, -1 },
        { "2001::1", 100000, "2.2.2.2", 100000, 1 },      { "2001::1", 105000, "2.2.2.2", 100000, 1 },
        { "2001::1", 200000, "2.2.2.2", 100000, -1 },     { "10.0.0.1", 100000, "2.2.2.2", 100000, 1 },
        { "10.0.0.1", 120000, "2.2.2.2", 100000, 1 },     { "10.0.0.1", 200000, "2.2.2.2", 100000, -1 },
        { "fd00::1", 100000, "2001::1", 100000, 1 },      { "127.0.0.1", 100000, "10.0.0.1", 100000, 1 },
        { "169.254.1.1", 100000, "10.0.0.1", 100000, 1 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct path_quality a = { .latency_us = rows[i].a_us }, b = { .latency_us = rows[i].b_us };
        int lead;

        assert_true(ip_parse(span_from_str(rows[i].a), &a.ip) && ip_parse(span_from_str(rows[i].b), &b.ip));
        lead = path_lead(&a, &b);
        assert_int_equal(lead, -path_lead(&b, &a));
        assert_int_equal(rows[i].sign, lead > 1    ? 1
                                       : lead < -1 ? -1
                                                   : 0); /* one point is no reason to move */
    }
}

/* ---- what the peer asks for ----------------------------------------------------------------- */

static void call_me_maybe_lifts_the_floor(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC)->up = false;
    publish(&w);
    send(&w);
    assert_int_equal(w.pings, 1);
    run(&w, 1 * SEC, 100 * MSEC);
    assert_int_equal(w.pings, 1);
    call(&w, "198.51.100.1:5000");
    assert_int_equal(w.pings, 3); /* both, at once */
    assert_int_equal(w.calls, 1); /* none is sent back */
    call(&w, "198.51.100.2:5000");
    assert_int_equal(w.pings, 4);        /* a second one in the same breath: only who is new */
    assert_int_equal(candidates(&w), 2); /* the first list was replaced */
    run(&w, 1 * SEC, 0);
    call(&w, "198.51.100.2:5000");
    assert_int_equal(w.pings, 6);
    path_deinit(&w.path);
}

static void call_me_maybe_opens_the_way_of_a_quiet_node(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC);
    w.path.relayed = true;
    call(&w, "192.0.2.1:41641");
    assert_int_equal(w.pings, 1);
    run(&w, 1 * SEC, 0);
    assert_true(send(&w).direct);
    assert_int_equal(w.sent_direct, 1);
    path_deinit(&w.path);
}

static void addresses_that_nobody_can_mean_are_not_pinged(void **state)
{
    (void)state;
    static const char *const bad[] = { "0.0.0.0:1",      "255.255.255.255:1", "224.0.0.1:1",
                                       "[fe80::1]:4000", "[ff02::1]:4000",    "192.0.2.1:0" };
    struct world w;

    world_init(&w);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        call(&w, bad[i]);
    assert_int_equal(w.pings, 0);
    assert_int_equal(candidates(&w), 0);
    path_deinit(&w.path);
}

static void a_ping_only_adds_a_candidate(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "198.51.100.9:33333", 10 * MSEC);
    w.path.relayed = true;
    assert_int_equal(pinged_by_peer(&w, "198.51.100.9:33333", 1), 0);
    assert_int_equal(pinged_by_peer(&w, "198.51.100.9:33333", 1), PATH_E_DUPLICATE);
    assert_int_equal(pinged_by_peer(&w, "198.51.100.9:33333", 2), 0);
    run(&w, 10 * SEC, 0);
    assert_int_equal(w.pings, 0);
    assert_int_equal(path_kind(&w.path, w.now), PATH_RELAY);
    assert_false(send(&w).direct); /* pinged now, trusted after the pong */
    assert_int_equal(w.pings, 1);
    run(&w, 1 * SEC, 0);
    assert_true(send(&w).direct);
    path_deinit(&w.path);
}

static void a_peer_that_pings_from_everywhere_is_bounded(void **state)
{
    (void)state;
    struct world w;
    char text[32];

    world_init(&w);
    for (int i = 1; i < 250; i++) {
        snprintf(text, sizeof(text), "198.51.100.%d:1000", i);
        pinged_by_peer(&w, text, (uint8_t)i);
        w.now += 10 * MSEC;
    }
    assert_int_equal(candidates(&w), PATH_LEARNED_CANDIDATES_MAX);
    send(&w);
    assert_int_equal(w.pings, PATH_LEARNED_CANDIDATES_MAX);
    path_deinit(&w.path);
}

static void a_netmap_with_too_many_endpoints_is_cut(void **state)
{
    (void)state;
    struct ip_port many[200];
    struct world w;
    struct path_turn t;

    world_init(&w);
    for (size_t i = 0; i < COUNT_OF(many); i++)
        many[i] = (struct ip_port) { ip_from_v4((uint8_t[]) { 192, 0, 2, (uint8_t)i }), 1 };
    begin(&w, &t);
    path_set_endpoints(&w.path, many, COUNT_OF(many), true, &t);
    send(&w);
    assert_int_equal(w.pings, PATH_NETMAP_CANDIDATES_MAX);
    path_deinit(&w.path);
}

static void an_address_that_left_the_netmap_is_not_pinged_again(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;

    world_init(&w);
    add_link(&w, "192.0.2.1:1", 10 * MSEC)->up = false;
    add_link(&w, "192.0.2.2:1", 10 * MSEC)->up = false;
    publish(&w);
    send(&w);
    assert_int_equal(w.pings, 2);
    begin(&w, &t);
    path_set_endpoints(&w.path, w.endpoints, 1, true, &t);
    run(&w, 5 * SEC, 0);
    send(&w);
    assert_int_equal(candidates(&w), 1);
    path_deinit(&w.path);
}

/* ---- quiet --------------------------------------------------------------------------------- */

static void without_traffic_nothing_is_sent_and_nothing_is_kept(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC);
    publish(&w);
    run(&w, 2 * SEC, 1 * SEC);
    run(&w, 45 * SEC, 0);
    assert_null(w.path.state);
    assert_int_equal(w.quiets, 1);
    assert_true(path_deadline(&w.path) == TIME_NEVER);
    forget_counts(&w);
    run(&w, 1 * HOUR, 0);
    assert_int_equal(w.pings, 0);
    /* The old address is tried at once, beside the relay. */
    send(&w);
    assert_int_equal(w.sent_both, 1);
    run(&w, 1 * SEC, 0);
    send(&w);
    assert_int_equal(w.sent_direct, 1);
    path_deinit(&w.path);
}

static void a_remembered_address_that_is_dead_costs_five_seconds_of_copies(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC);
    publish(&w);
    run(&w, 2 * SEC, 1 * SEC);
    run(&w, 60 * SEC, 0);
    w.links[0].up = false;
    forget_counts(&w);
    run(&w, 5 * SEC, 100 * MSEC);
    assert_int_equal(w.sent_both, 50);
    run(&w, 10 * SEC, 100 * MSEC);
    assert_int_equal(w.sent_both, 50);
    assert_int_equal(w.sent_relay, 100);
    path_deinit(&w.path);
}

static void a_hopeless_search_slows_down(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC)->up = false;
    publish(&w);
    run(&w, 10 * MINUTE, 100 * MSEC);
    assert_in_range(w.pings, 30, 50);
    assert_int_equal(w.calls, w.pings);
    assert_int_equal(w.sent_relay, 6000);
    path_deinit(&w.path);
}

static void a_peer_without_candidates_is_asked_to_call(void **state)
{
    (void)state;
    struct world w;

    world_init(&w);
    publish(&w);
    run(&w, 11 * SEC, 100 * MSEC);
    assert_int_equal(w.pings, 0);
    assert_int_equal(w.calls, 3);
    path_deinit(&w.path);
}

static void a_changed_link_is_proven_again_without_a_gap(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC);
    publish(&w);
    run(&w, 10 * SEC, 100 * MSEC);
    forget_counts(&w);
    begin(&w, &t);
    path_link_changed(&w.path, &t);
    perform(&w, &t);
    assert_int_equal(w.pings, 1);
    assert_int_equal(w.calls, 1);
    send(&w);
    assert_int_equal(w.sent_both, 1);
    run(&w, 100 * MSEC, 0);
    send(&w);
    assert_int_equal(w.sent_direct, 1);
    path_deinit(&w.path);
}

/* ---- pongs ---------------------------------------------------------------------------------- */

static void pongs_out_of_nowhere_change_nothing(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;
    struct disco_txid wrong = { { 1, 2, 3, 4 } };

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 6 * SEC); /* slower than a ping may be */
    publish(&w);
    begin(&w, &t);
    assert_int_equal(path_pong_received(&w.path, &wrong, &t), PATH_E_UNEXPECTED);
    send(&w);
    begin(&w, &t);
    assert_int_equal(path_pong_received(&w.path, &wrong, &t), PATH_E_UNEXPECTED);
    run(&w, 10 * SEC, 0);
    assert_true(w.unexpected > 0);
    assert_int_equal(path_kind(&w.path, w.now), PATH_RELAY);
    path_deinit(&w.path);
}

static void a_pong_counts_once(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;
    struct disco_txid txid;

    world_init(&w);
    add_link(&w, "192.0.2.1:41641", 10 * MSEC);
    publish(&w);
    send(&w);
    txid = w.pongs[0].txid;
    assert_int_equal(load_be32(txid.bytes), 0x01020304);
    run(&w, 100 * MSEC, 0);
    begin(&w, &t);
    assert_int_equal(path_pong_received(&w.path, &txid, &t), PATH_E_UNEXPECTED);
    path_deinit(&w.path);
}

/* Chaos with a seed: whatever happens, limits hold and the machine never asks for a busy loop. */
static void limits_hold_under_random_events(void **state)
{
    (void)state;
    struct world w;
    struct path_turn t;
    char text[32];

    world_init(&w);
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof(text), "192.0.2.%d:41641", i);
        add_link(&w, text, (time_ns)(i + 1) * 7 * MSEC)->loss_percent = 10;
    }
    publish(&w);
    for (int step = 0; step < 20000; step++) {
        snprintf(text, sizeof(text), "198.51.100.%u:%u", (unsigned)(draw(&w) % 250) + 1,
                 (unsigned)(draw(&w) % 3) + 1);
        switch (draw(&w) % 8) {
        case 0:
            call(&w, text);
            break;
        case 1:
            pinged_by_peer(&w, text, (uint8_t)step);
            break;
        case 2:
            begin(&w, &t);
            path_link_changed(&w.path, &t);
            perform(&w, &t);
            break;
        case 3:
            w.links[draw(&w) % 4].up = draw(&w) & 1;
            break;
        case 4:
            begin(&w, &t);
            path_unreachable(&w.path, &w.links[draw(&w) % 4].address, &t);
            perform(&w, &t);
            break;
        case 5:
            begin(&w, &t);
            path_set_endpoints(&w.path, w.endpoints, draw(&w) % 5, draw(&w) & 1, &t);
            perform(&w, &t);
            break;
        case 6:
            run(&w, (time_ns)(draw(&w) % 60) * SEC, draw(&w) & 1 ? 700 * MSEC : 0);
            break;
        default:
            send(&w);
        }
        assert_true(candidates(&w) <= PATH_CANDIDATES_MAX);
        w.pong_count = MIN(w.pong_count, PONGS_MAX / 2);
    }
    path_deinit(&w.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_packet_takes_the_relay_and_asks_everybody),
        cmocka_unit_test(a_dead_path_is_left_within_its_trust_and_found_again),
        cmocka_unit_test(loss_is_not_taken_for_death),
        cmocka_unit_test(heartbeats_confirm_before_trust_lapses),
        cmocka_unit_test(an_unreachable_address_is_left_at_once),
        cmocka_unit_test(a_check_is_settled_within_a_second),
        cmocka_unit_test(an_address_that_carries_only_pongs_is_doubted),
        cmocka_unit_test(another_address_takes_over_from_a_doubted_one),
        cmocka_unit_test(equal_candidates_do_not_oscillate),
        cmocka_unit_test(a_clearly_better_candidate_takes_over_within_a_minute),
        cmocka_unit_test(quality_is_speed_then_nearness_then_family),
        cmocka_unit_test(call_me_maybe_lifts_the_floor),
        cmocka_unit_test(call_me_maybe_opens_the_way_of_a_quiet_node),
        cmocka_unit_test(addresses_that_nobody_can_mean_are_not_pinged),
        cmocka_unit_test(a_ping_only_adds_a_candidate),
        cmocka_unit_test(a_peer_that_pings_from_everywhere_is_bounded),
        cmocka_unit_test(a_netmap_with_too_many_endpoints_is_cut),
        cmocka_unit_test(an_address_that_left_the_netmap_is_not_pinged_again),
        cmocka_unit_test(without_traffic_nothing_is_sent_and_nothing_is_kept),
        cmocka_unit_test(a_remembered_address_that_is_dead_costs_five_seconds_of_copies),
        cmocka_unit_test(a_hopeless_search_slows_down),
        cmocka_unit_test(a_peer_without_candidates_is_asked_to_call),
        cmocka_unit_test(a_changed_link_is_proven_again_without_a_gap),
        cmocka_unit_test(pongs_out_of_nowhere_change_nothing),
        cmocka_unit_test(a_pong_counts_once),
        cmocka_unit_test(limits_hold_under_random_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

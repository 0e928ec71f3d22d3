/* Runs in simulated time against servers that have a latency, an address they see, and a switch. */
#include "underlay/netcheck.h"

#include <stdio.h>

#include "check.h"

#define REGIONS 6
#define FLIGHT_MAX 2048

struct flight {
    time_ns at;
    struct stun_txid txid;
    struct ip_port mapped;
    uint16_t https_region; /* 0: STUN */
};

struct net {
    struct netcheck *check;
    time_ns now;
    uint64_t seed;
    struct tailcfg_derp_region regions[REGIONS];
    struct tailcfg_derp_node nodes[REGIONS][2];
    char hosts[REGIONS][2][48], v4[REGIONS][2][32], v6[REGIONS][2][48];
    size_t region_count;
    time_ns latency[REGIONS]; /* 0: silent */
    time_ns https[REGIONS];   /* 0: refused */
    bool v6_works, v6_unreachable, symmetric;
    struct flight flights[FLIGHT_MAX];
    size_t flight_count;
    size_t sent, sent_v6, https_asked, resolved, runs, sent_to[REGIONS];
    unsigned changes;
};

static void fake_random(void *ctx, void *out, size_t len)
{
    struct net *net = ctx;

    for (size_t i = 0; i < len; i++) {
        net->seed = net->seed * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(net->seed >> 40);
    }
}

/* Region i + 1 has two servers, 192.0.2.<10 i> and + 1; 2001:db8::<same>. */
static void net_init(struct net *net, size_t region_count)
{
    *net = (struct net) { .now = 100 * SEC, .seed = 3, .region_count = region_count };
    for (size_t i = 0; i < region_count; i++) {
        for (int k = 0; k < 2; k++) {
            struct tailcfg_derp_node *node = &net->nodes[i][k];

            snprintf(net->hosts[i][k], sizeof(net->hosts[i][k]), "derp%zu%c.test", i + 1, 'a' + k);
            snprintf(net->v4[i][k], sizeof(net->v4[i][k]), "192.0.2.%zu", i * 10 + (size_t)k);
            snprintf(net->v6[i][k], sizeof(net->v6[i][k]), "2001:db8::%zu", i * 10 + (size_t)k);
            *node = (struct tailcfg_derp_node) { .host_name = span_from_str(net->hosts[i][k]),
                                                 .ipv4 = span_from_str(net->v4[i][k]),
                                                 .ipv6 = span_from_str(net->v6[i][k]),
                                                 .stun_port = 3478 };
        }
        net->regions[i] = (struct tailcfg_derp_region) {
            .id = (int32_t)i + 1, .score = 1.0, .nodes = net->nodes[i], .node_count = 2
        };
        net->latency[i] = (time_ns)(i + 1) * 10 * MSEC;
    }
}

static void net_start(struct net *net)
{
    struct tailcfg_derp_map map = { .has_regions = true,
                                    .regions = net->regions,
                                    .region_count = net->region_count };

    assert_int_equal(netcheck_new(&net->check, &map, fake_random, net), 0);
}

static struct ip_port address(const char *text)
{
    struct ip_port p;

    assert_true(ip_port_parse(span_from_str(text), &p));
    return p;
}

static size_t region_of(const struct ip_port *to)
{
    return (ip_is_v4(&to->ip) ? to->ip.bytes[15] : (size_t)(to->ip.bytes[15] / 16 * 10)) / 10;
}

static void put_in_flight(struct net *net, const struct netcheck_action *a)
{
    bool v4 = ip_is_v4(&a->to.ip);
    size_t region = region_of(&a->to);
    struct flight *f = &net->flights[net->flight_count];

    net->sent++;
    net->sent_v6 += !v4;
    assert_true(region < REGIONS);
    net->sent_to[region]++;
    if (!v4 && net->v6_unreachable) {
        netcheck_not_sent(net->check, &a->txid);
        return;
    }
    if (!net->latency[region] || (!v4 && !net->v6_works))
        return;
    assert_true(net->flight_count < FLIGHT_MAX);
    *f = (struct flight) { .at = net->now + net->latency[region], .txid = a->txid };
    f->mapped = v4 ? address("203.0.113.7:40000") : address("[2001:db8:f::7]:40000");
    if (net->symmetric)
        f->mapped.port = (uint16_t)(40000 + a->to.ip.bytes[15]);
    net->flight_count++;
}

/* TCP, TLS and the question: four round trips until the answer is there. */
static void ask_relay(struct net *net, uint16_t region)
{
    net->https_asked++;
    assert_in_range(region, 1, REGIONS);
    if (net->https[region - 1])
        net->flights[net->flight_count++] =
            (struct flight) { .at = net->now + 4 * net->https[region - 1], .https_region = region };
    else
        netcheck_https_done(net->check, region, 0, net->now);
}

static void act(struct net *net)
{
    struct netcheck_action a;
    bool finished;

    while (netcheck_next(net->check, &a, net->now)) {
        if (a.kind == NETCHECK_STUN) {
            assert_int_equal(a.to.port, 3478);
            put_in_flight(net, &a);
        } else if (a.kind == NETCHECK_HTTPS) {
            ask_relay(net, a.region);
        } else {
            struct ip ips[2];

            net->resolved++;
            assert_true(ip_parse(span_from_str("192.0.2.0"), &ips[0]));
            assert_true(ip_parse(span_from_str("2001:db8::"), &ips[1]));
            netcheck_resolved(net->check, a.server, ips, 2, net->now);
        }
    }
    net->changes |= netcheck_take_changes(net->check, &finished);
    net->runs += finished;
}

static struct flight *next_flight(struct net *net)
{
    struct flight *next = NULL;

    for (size_t i = 0; i < net->flight_count; i++)
        if (!next || net->flights[i].at < next->at)
            next = &net->flights[i];
    return next;
}

/* One whole run; returns how long it took. */
static time_ns run(struct net *net)
{
    time_ns start = net->now;

    net->sent = net->sent_v6 = net->https_asked = net->flight_count = net->changes = 0;
    memset(net->sent_to, 0, sizeof(net->sent_to));
    assert_int_equal(netcheck_start(net->check, NETCHECK_REGIONS, true, true, net->now), 0);
    act(net);
    while (netcheck_running(net->check)) {
        struct flight *f = next_flight(net);
        time_ns tick_at = netcheck_deadline(net->check);

        assert_true(tick_at != TIME_NEVER);
        if (f && f->at <= tick_at) {
            struct flight landed = *f;

            *f = net->flights[--net->flight_count];
            net->now = landed.at;
            if (landed.https_region)
                netcheck_https_done(net->check, landed.https_region, net->https[landed.https_region - 1],
                                    net->now);
            else
                assert_int_equal(netcheck_stun_received(net->check, &landed.txid, &landed.mapped, net->now),
                                 0);
        } else {
            assert_true(tick_at >= net->now);
            net->now = tick_at;
            netcheck_tick(net->check, net->now);
        }
        act(net);
    }
    assert_true(netcheck_deadline(net->check) == TIME_NEVER);
    return net->now - start;
}

static void later(struct net *net, time_ns duration)
{
    net->now += duration;
    run(net);
}

static uint16_t home(const struct net *net)
{
    return netcheck_report(net->check)->home_region;
}

/* ---- runs -------------------------------------------------------------------------------- */

static void the_nearest_region_becomes_home(void **state)
{
    (void)state;
    struct net net;
    const struct underlay_report *report;

    net_init(&net, 5);
    net.latency[2] = 4 * MSEC;
    net_start(&net);
    assert_in_range(run(&net), 20 * MSEC, 80 * MSEC); /* three answers are enough, soon */
    report = netcheck_report(net.check);
    assert_int_equal(report->home_region, 3);
    assert_true(report->udp && report->v4 && !report->v6);
    assert_int_equal(report->mapping_varies_by_dest_ip, UNDERLAY_NO);
    assert_int_equal(net.changes, UNDERLAY_CHANGED_HOME | UNDERLAY_CHANGED_NETINFO);
    assert_int_equal(net.runs, 1);
    assert_int_equal(net.https_asked, 0);
    netcheck_free(net.check);
}

static void bring_up_has_a_home_with_the_first_answer(void **state)
{
    (void)state;
    struct net net;
    struct netcheck_action a;
    struct ip_port mapped = address("203.0.113.7:40000");

    net_init(&net, 5);
    net_start(&net);
    assert_int_equal(netcheck_start(net.check, NETCHECK_REGIONS, true, false, net.now), 0);
    assert_true(netcheck_next(net.check, &a, net.now));
    assert_int_equal(netcheck_stun_received(net.check, &a.txid, &mapped, net.now + 5 * MSEC), 0);
    assert_int_equal(home(&net), 1);
    netcheck_free(net.check);
}

static void a_later_run_asks_only_who_is_near(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 6);
    net_start(&net);
    run(&net);
    assert_true(net.sent >= 12);
    later(&net, 25 * SEC);
    assert_in_range(net.sent, 3, 8);
    assert_int_equal(net.sent_to[4] + net.sent_to[5], 0);
    later(&net, NETCHECK_FULL_EVERY);
    assert_true(net.sent_to[5] > 0);
    netcheck_free(net.check);
}

static void a_silent_network_ends_the_run_and_keeps_a_home(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 3);
    memset(net.latency, 0, sizeof(net.latency));
    net_start(&net);
    assert_int_equal(run(&net), NETCHECK_STUN_PHASE);
    assert_int_equal(home(&net), 1); /* deterministic: the first usable */
    assert_false(netcheck_report(net.check)->udp);
    assert_int_equal(net.sent, 3 * 2 * NETCHECK_FULL_TRIES);
    later(&net, 20 * SEC);
    assert_in_range(net.sent, 1, 8); /* only the home is asked again and again */
    assert_int_equal(net.changes, 0);
    /* UDP comes back: seen at once, and then everybody is asked. */
    for (int i = 0; i < 3; i++)
        net.latency[i] = (3 - i) * 20 * MSEC;
    later(&net, 20 * SEC);
    assert_true(netcheck_report(net.check)->udp);
    later(&net, 20 * SEC);
    assert_int_equal(home(&net), 3);
    netcheck_free(net.check);
}

static void set_https(struct net *net, time_ns a, time_ns b, time_ns c)
{
    memset(net->latency, 0, sizeof(net->latency));
    net->https[0] = a;
    net->https[1] = b;
    net->https[2] = c;
}

static void without_udp_the_relays_are_measured_themselves(void **state)
{
    (void)state;
    struct net net;
    const struct underlay_report *report;

    net_init(&net, 3);
    set_https(&net, 60 * MSEC, 20 * MSEC, 40 * MSEC);
    net_start(&net);
    assert_in_range(run(&net), NETCHECK_HTTPS_AFTER, NETCHECK_HTTPS_AFTER + 300 * MSEC); /* not 3 s */
    report = netcheck_report(net.check);
    assert_int_equal(report->home_region, 2);
    assert_false(report->udp || report->v4 || report->v6);
    assert_int_equal(report->latency_count, 3);
    assert_int_equal(report->latencies[1].v4_us, 20000);
    assert_int_equal(net.https_asked, 3);
    netcheck_free(net.check);
}

/* Where it is known that UDP is blocked, a full run does not wait for it again, and others ask no relay whose
 * home speaks; UDP is tried all the same, and seen when it works. */
static void a_blocked_network_is_measured_at_once_but_seldom(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 3);
    set_https(&net, 60 * MSEC, 20 * MSEC, 40 * MSEC);
    net_start(&net);
    run(&net);
    netcheck_heard(net.check, 2, net.now);
    later(&net, 20 * SEC);
    assert_int_equal(net.https_asked, 0);
    assert_true(net.sent > 0);
    assert_int_equal(home(&net), 2);
    later(&net, NETCHECK_HEARD + SEC); /* nothing was heard meanwhile */
    assert_int_equal(net.https_asked, 3);
    net.now += NETCHECK_FULL_EVERY;
    assert_in_range(run(&net), 1, 300 * MSEC);
    assert_int_equal(net.https_asked, 3);
    netcheck_heard(net.check, 2, net.now);
    for (int i = 0; i < 3; i++)
        net.latency[i] = (i + 1) * 10 * MSEC;
    later(&net, 20 * SEC);
    assert_true(netcheck_report(net.check)->udp);
    assert_int_equal(net.changes & UNDERLAY_CHANGED_NETINFO, UNDERLAY_CHANGED_NETINFO);
    later(&net, 20 * SEC);
    assert_int_equal(net.https_asked, 0);
    netcheck_free(net.check);
}

/* The kernel refuses every datagram (a firewall of this host): no reason to wait half a second. */
static void refused_datagrams_lead_to_the_relays_at_once(void **state)
{
    (void)state;
    struct net net;
    struct netcheck_action a;

    net_init(&net, 3);
    set_https(&net, 60 * MSEC, 20 * MSEC, 40 * MSEC);
    net_start(&net);
    assert_int_equal(netcheck_start(net.check, NETCHECK_REGIONS, true, false, net.now), 0);
    for (net.now += 250 * MSEC; netcheck_next(net.check, &a, net.now) && a.kind == NETCHECK_STUN;)
        netcheck_not_sent(net.check, &a.txid);
    assert_int_equal(a.kind, NETCHECK_HTTPS);
    netcheck_free(net.check);
}

/* 600 ms by satellite: relays are asked meanwhile, but STUN's answer comes first and counts. */
static void a_slow_answer_of_stun_beats_the_relays(void **state)
{
    (void)state;
    struct net net;
    const struct underlay_report *report;

    net_init(&net, 3);
    set_https(&net, 600 * MSEC, 620 * MSEC, 640 * MSEC);
    memcpy(net.latency, net.https, sizeof(net.latency));
    net_start(&net);
    run(&net);
    report = netcheck_report(net.check);
    assert_int_equal(net.https_asked, 3);
    assert_true(report->udp);
    assert_int_equal(report->home_region, 1);
    assert_int_equal(report->latencies[2].v4_us, 640000);
    netcheck_free(net.check);
}

static void answers_to_nothing_change_nothing(void **state)
{
    (void)state;
    struct net net;
    struct stun_txid wrong = { { 0 } };
    struct ip_port mapped = address("203.0.113.7:40000");
    struct netcheck_action a;

    net_init(&net, 2);
    net_start(&net);
    assert_int_equal(netcheck_stun_received(net.check, &wrong, &mapped, net.now), NETCHECK_E_UNEXPECTED);
    assert_int_equal(netcheck_start(net.check, NETCHECK_REGIONS, true, true, net.now), 0);
    assert_int_equal(netcheck_stun_received(net.check, &wrong, &mapped, net.now), NETCHECK_E_UNEXPECTED);
    assert_true(netcheck_next(net.check, &a, net.now));
    a.txid.bytes[11] ^= 1;
    assert_int_equal(netcheck_stun_received(net.check, &a.txid, &mapped, net.now), NETCHECK_E_UNEXPECTED);
    a.txid.bytes[0] = a.txid.bytes[1] = 0xff;
    assert_int_equal(netcheck_stun_received(net.check, &a.txid, &mapped, net.now), NETCHECK_E_UNEXPECTED);
    netcheck_free(net.check);
}

static void a_missing_family_costs_no_waiting(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 1);
    net.v6_unreachable = true;
    net_start(&net);
    assert_true(run(&net) <= 200 * MSEC);
    assert_true(net.sent_v6 > 0);
    netcheck_free(net.check);
}

static void both_families_are_measured(void **state)
{
    (void)state;
    struct net net;
    const struct netcheck_mapped *mapped;
    size_t count;

    net_init(&net, 4);
    net.v6_works = true;
    net_start(&net);
    run(&net);
    assert_true(netcheck_report(net.check)->v4 && netcheck_report(net.check)->v6);
    assert_true(netcheck_report(net.check)->latencies[0].v6_us > 0);
    mapped = netcheck_mapped(net.check, &count);
    assert_int_equal(count, 2);
    assert_true(mapped[0].seen > 1);
    later(&net, 25 * SEC);
    assert_true(netcheck_report(net.check)->v6);
    netcheck_free(net.check);
}

static void a_nat_that_maps_by_destination_is_noticed(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 3);
    net.symmetric = true;
    net_start(&net);
    run(&net);
    assert_int_equal(netcheck_report(net.check)->mapping_varies_by_dest_ip, UNDERLAY_YES);
    netcheck_free(net.check);
}

static void one_server_cannot_tell_about_the_mapping(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 1);
    net.regions[0].node_count = 1;
    net_start(&net);
    run(&net);
    assert_int_equal(netcheck_report(net.check)->mapping_varies_by_dest_ip, UNDERLAY_UNKNOWN);
    netcheck_free(net.check);
}

/* ---- the map ------------------------------------------------------------------------------- */

static void regions_that_must_not_be_measured_are_not(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 4);
    net.regions[0].no_measure_no_home = true;
    net.regions[1].avoid = true;
    net.nodes[2][0].stun_port = net.nodes[2][1].stun_port = -1;
    net_start(&net);
    run(&net);
    assert_int_equal(net.sent_to[0] + net.sent_to[1] + net.sent_to[2], 0);
    assert_int_equal(home(&net), 4);
    netcheck_free(net.check);
}

static void a_region_without_relay_is_no_home(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 2);
    net.nodes[0][0].stun_only = net.nodes[0][1].stun_only = true;
    net_start(&net);
    run(&net);
    assert_true(net.sent_to[0] > 0);
    assert_int_equal(home(&net), 2);
    netcheck_free(net.check);
}

static void a_map_without_stun_has_a_home_at_once(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 2);
    for (int i = 0; i < 2; i++)
        net.nodes[i][0].stun_port = net.nodes[i][1].stun_port = -1;
    net_start(&net);
    assert_int_equal(run(&net), 0);
    assert_int_equal(home(&net), 1);
    assert_int_equal(net.runs, 1);
    netcheck_free(net.check);

    net_init(&net, 0);
    net_start(&net);
    run(&net);
    assert_int_equal(home(&net), 0);
    netcheck_free(net.check);
}

static void names_are_resolved_once(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 1);
    net.nodes[0][0].ipv4 = net.nodes[0][0].ipv6 = SPAN_NONE;
    net.regions[0].node_count = 1;
    net_start(&net);
    run(&net);
    assert_int_equal(net.resolved, 1);
    assert_int_equal(home(&net), 1);
    assert_true(netcheck_report(net.check)->udp);
    later(&net, 25 * SEC);
    assert_int_equal(net.resolved, 1);
    later(&net, NETCHECK_RESOLVE_AGAIN);
    assert_int_equal(net.resolved, 2);
    netcheck_free(net.check);
}

static void a_family_called_none_is_off(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 1);
    net.nodes[0][0].ipv6 = net.nodes[0][1].ipv6 = span_from_str("none");
    net_start(&net);
    run(&net);
    assert_int_equal(net.sent_v6, 0);
    assert_int_equal(net.resolved, 0);
    netcheck_free(net.check);
}

static void a_test_address_replaces_the_real_ones(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 1);
    net.nodes[0][0].stun_test_ip = span_from_str("192.0.2.50");
    net.regions[0].node_count = 1;
    net_start(&net);
    run(&net);
    assert_int_equal(net.sent_to[0], 0);
    assert_true(net.sent_to[5] > 0);
    netcheck_free(net.check);
}

/* ---- home: the reference's table of reluctance --------------------------------------------------- */

struct home_step {
    time_ns after;
    time_ns latency[2]; /* regions 1 and 2 */
    uint16_t heard;     /* a frame came from this region just before */
    uint16_t want;
};

static void walk(const struct home_step *steps, size_t count)
{
    struct net net;

    net_init(&net, 2);
    net_start(&net);
    for (size_t i = 0; i < count; i++) {
        net.latency[0] = steps[i].latency[0];
        net.latency[1] = steps[i].latency[1];
        net.now += steps[i].after;
        netcheck_heard(net.check, steps[i].heard, net.now - 1 * SEC);
        run(&net);
        assert_int_equal(home(&net), steps[i].want);
    }
    netcheck_free(net.check);
}

static void home_changes_reluctantly(void **state)
{
    (void)state;
    static const struct home_step worse_first[] = {
        { 0, { 20 * MSEC, 30 * MSEC }, 0, 1 },
        { 20 * SEC, { 40 * MSEC, 30 * MSEC }, 0, 1 }, /* its best of five minutes still counts */
    };
    static const struct home_step small_gain[] = {
        { 0, { 9 * MSEC, 0 }, 0, 1 },
        { 6 * MINUTE, { 9 * MSEC, 4 * MSEC }, 0, 1 }, /* twice as fast, but not by 10 ms */
    };
    static const struct home_step small_ratio[] = {
        { 0, { 100 * MSEC, 0 }, 0, 1 },
        { 6 * MINUTE, { 100 * MSEC, 80 * MSEC }, 0, 1 }, /* by 20 ms, but not by a third */
        { 6 * MINUTE, { 100 * MSEC, 40 * MSEC }, 0, 2 },
    };
    static const struct home_step home_is_gone[] = {
        { 0, { 20 * MSEC, 40 * MSEC }, 0, 1 },
        { 20 * SEC, { 0, 40 * MSEC }, 0, 2 },
    };
    static const struct home_step stun_is_silent_but_the_relay_speaks[] = {
        { 0, { 20 * MSEC, 40 * MSEC }, 0, 1 },
        { 20 * SEC, { 0, 40 * MSEC }, 1, 1 },
    };
    static const struct home_step everything_is_silent[] = {
        { 0, { 40 * MSEC, 20 * MSEC }, 0, 2 },
        { 20 * SEC, { 0, 0 }, 0, 2 },
        { 20 * MINUTE, { 0, 0 }, 0, 2 },
    };

    walk(worse_first, COUNT_OF(worse_first));
    walk(small_gain, COUNT_OF(small_gain));
    walk(small_ratio, COUNT_OF(small_ratio));
    walk(home_is_gone, COUNT_OF(home_is_gone));
    walk(stun_is_silent_but_the_relay_speaks, COUNT_OF(stun_is_silent_but_the_relay_speaks));
    walk(everything_is_silent, COUNT_OF(everything_is_silent));
}

static void control_can_weigh_regions(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 2);
    net.regions[0].score = 5;
    net_start(&net);
    netcheck_set_home(net.check, 2);
    run(&net);
    assert_int_equal(home(&net), 2); /* 20 ms against 5 x 10 ms */
    netcheck_free(net.check);
}

static void a_home_that_the_map_lacks_is_not_taken_over(void **state)
{
    (void)state;
    struct net net;

    net_init(&net, 2);
    net.regions[1].no_measure_no_home = true;
    net_start(&net);
    netcheck_set_home(net.check, 9);
    assert_int_equal(home(&net), 0);
    netcheck_set_home(net.check, 2);
    assert_int_equal(home(&net), 0);
    netcheck_set_home(net.check, 1);
    assert_int_equal(home(&net), 1);
    netcheck_free(net.check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_region_becomes_home),
        cmocka_unit_test(bring_up_has_a_home_with_the_first_answer),
        cmocka_unit_test(a_later_run_asks_only_who_is_near),
        cmocka_unit_test(a_silent_network_ends_the_run_and_keeps_a_home),
        cmocka_unit_test(without_udp_the_relays_are_measured_themselves),
        cmocka_unit_test(a_blocked_network_is_measured_at_once_but_seldom),
        cmocka_unit_test(refused_datagrams_lead_to_the_relays_at_once),
        cmocka_unit_test(a_slow_answer_of_stun_beats_the_relays),
        cmocka_unit_test(answers_to_nothing_change_nothing),
        cmocka_unit_test(a_missing_family_costs_no_waiting),
        cmocka_unit_test(both_families_are_measured),
        cmocka_unit_test(a_nat_that_maps_by_destination_is_noticed),
        cmocka_unit_test(one_server_cannot_tell_about_the_mapping),
        cmocka_unit_test(regions_that_must_not_be_measured_are_not),
        cmocka_unit_test(a_region_without_relay_is_no_home),
        cmocka_unit_test(a_map_without_stun_has_a_home_at_once),
        cmocka_unit_test(names_are_resolved_once),
        cmocka_unit_test(a_family_called_none_is_off),
        cmocka_unit_test(a_test_address_replaces_the_real_ones),
        cmocka_unit_test(home_changes_reluctantly),
        cmocka_unit_test(control_can_weigh_regions),
        cmocka_unit_test(a_home_that_the_map_lacks_is_not_taken_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whole underlays against each other in a simulated network: NATs, a relay, STUN servers. */
#include "underlay/underlay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "disco/disco.h"
#include "sim/sim.h"

#define SIDES_MAX 4
#define NODES_MAX 300
#define PEERS_MAX 320
#define RELAY_DELAY (40 * MSEC)
#define REGION 1

struct side;

struct test_peer {
    struct public_key node_key, disco_key;
    struct ip_port endpoints[UNDERLAY_ENDPOINTS_MAX];
    size_t endpoint_count;
    struct underlay_peer *peer; /* just in time */
    struct test_node *node;
    enum underlay_path path;
    size_t changes, quiets, calls;
};

struct test_node {
    struct side *side;
    struct underlay_node *node;
    struct secret_key disco_secret;
    struct public_key node_key;
    struct test_peer *peers[PEERS_MAX];
    size_t peer_count;
    bool off_relay;
    size_t got_direct, got_relay; /* WireGuard messages */
};

struct side {
    struct underlay *u;
    struct test_node *nodes[NODES_MAX];
    size_t node_count;
    size_t reports, wireguard_calls, wireguard_datagrams, made_peers;
    unsigned last_report;
    struct test_node *addressee; /* datagrams carry an index: see payload() */
};

struct probe {
    struct underlay_node *node;
    uint16_t region;
};

static struct side sides[SIDES_MAX];
static size_t side_count;
static struct underlay_survey *survey; /* of sides that are shards of one process */
static const struct tailcfg_derp_map *map_in_use;
static uint32_t next_key;
static size_t relayed;

/* ---- the node layer, as small as it can be --------------------------------------------- */

/* What stands in for a WireGuard data message: type 4, then who it is for. */
static size_t payload(uint8_t out[100], uint8_t type, const struct test_node *to)
{
    memset(out, 0, 100);
    out[0] = type;
    store_le32(out + 4, load_le32(to->node_key.bytes));
    return 100;
}

static struct test_node *node_by_tag(uint32_t tag)
{
    for (size_t s = 0; s < side_count; s++)
        for (size_t i = 0; i < sides[s].node_count; i++)
            if (load_le32(sides[s].nodes[i]->node_key.bytes) == tag)
                return sides[s].nodes[i];
    return NULL;
}

static void on_wireguard(void *ctx, struct underlay *u, struct underlay_node *hint,
                         const struct mspan *datagrams, size_t count, const struct underlay_source *source,
                         time_ns now)
{
    struct side *side = ctx;

    (void)now;
    assert_ptr_equal(u, side->u);
    side->wireguard_calls++;
    side->wireguard_datagrams += count;
    assert_int_equal(hint != NULL, source->relayed);
    for (size_t i = 0; i < count; i++) {
        struct test_node *n = node_by_tag(load_le32(datagrams[i].data + 4));

        if (!n)
            continue;
        n->got_relay += source->relayed;
        n->got_direct += !source->relayed;
    }
}

struct relayed {
    struct public_key from, to;
    size_t len;
    uint8_t bytes[SIM_DATAGRAM_BYTES_MAX];
};

static void relay_arrives(void *ctx)
{
    struct relayed *r = ctx;
    struct test_node *to = node_by_tag(load_le32(r->to.bytes));

    if (to && !to->off_relay)
        underlay_relay_received(to->node, REGION, &r->from, (struct mspan) { r->bytes, r->len }, sim_now());
    free(r);
}

static void relay_send(void *ctx, struct underlay_node *node, uint16_t region, const struct public_key *to,
                       struct span packet)
{
    struct test_node *from = underlay_node_user(node);
    struct relayed *r = calloc(1, sizeof(*r));

    (void)ctx;
    assert_non_null(r);
    assert_int_equal(region, REGION);
    assert_true(packet.len <= sizeof(r->bytes));
    relayed++;
    r->from = from->node_key;
    r->to = *to;
    r->len = packet.len;
    memcpy(r->bytes, packet.data, packet.len);
    sim_later(RELAY_DELAY, relay_arrives, r);
}

static void set_facts(struct test_peer *p, bool expired)
{
    struct underlay_peer_facts facts = { .disco_key = p->disco_key,
                                         .home_region = REGION,
                                         .expired = expired,
                                         .endpoints = p->endpoints,
                                         .endpoint_count = p->endpoint_count };

    underlay_peer_set(p->peer, &facts, sim_now());
}

static struct underlay_peer *wake(struct test_peer *p)
{
    if (!p->peer) {
        assert_int_equal(underlay_peer_new(&p->peer, p->node->node, &p->node_key, p), 0);
        p->node->side->made_peers++;
        set_facts(p, false);
    }
    return p->peer;
}

static struct underlay_peer *find_peer(void *ctx, struct underlay_node *node,
                                       const struct public_key *node_key, const struct public_key *disco_key)
{
    struct test_node *n = underlay_node_user(node);
    struct test_peer *found = NULL;

    (void)ctx;
    for (size_t i = 0; i < n->peer_count; i++) {
        struct test_peer *p = n->peers[i];

        if (node_key && public_key_equal(&p->node_key, node_key))
            return wake(p);
        if (node_key || !public_key_equal(&p->disco_key, disco_key))
            continue;
        if (found)
            return NULL;
        found = p;
    }
    return found ? wake(found) : NULL;
}

static void path_changed(void *ctx, struct underlay_peer *peer, enum underlay_path path, uint32_t epoch)
{
    struct test_peer *p = underlay_peer_user(peer);

    (void)ctx;
    assert_true(epoch > 0);
    p->path = path;
    p->changes++;
}

static void peer_calls(void *ctx, struct underlay_peer *peer, time_ns now)
{
    struct test_peer *p = underlay_peer_user(peer);

    (void)ctx;
    (void)now;
    p->calls++;
}

static void peer_quiet(void *ctx, struct underlay_peer *peer, time_ns now)
{
    struct test_peer *p = underlay_peer_user(peer);

    (void)ctx;
    (void)now;
    p->quiets++;
}

static void report_changed(void *ctx, struct underlay *u, unsigned what, time_ns now)
{
    struct side *side = ctx;

    (void)now;
    assert_ptr_equal(u, side->u);
    side->reports++;
    side->last_report = what;
}

/* Region 2 is near, 1 is far, others do not answer. */
static void relay_probed(void *ctx)
{
    struct probe *p = ctx;

    underlay_relay_probed(p->node, p->region,
                          p->region == 2   ? 20 * MSEC
                          : p->region == 1 ? 90 * MSEC
                                           : 0,
                          sim_now());
    free(p);
}

static void probe_relay(void *ctx, struct underlay_node *node, uint16_t region, time_ns now)
{
    struct probe *p = calloc(1, sizeof(*p));

    (void)ctx;
    (void)now;
    assert_non_null(p);
    *p = (struct probe) { node, region };
    sim_later(region == 2 ? 80 * MSEC : 360 * MSEC, relay_probed, p);
}

static const struct underlay_ops ops = {
    .on_wireguard = on_wireguard,
    .relay_send = relay_send,
    .find_peer = find_peer,
    .path_changed = path_changed,
    .probe_relay = probe_relay,
    .peer_calls = peer_calls,
    .peer_quiet = peer_quiet,
    .report_changed = report_changed,
};

/* ---- building a world ------------------------------------------------------------------- */

static const struct tailcfg_derp_node derp_nodes[] = {
    { .host_name = { (const uint8_t *)"derp1.test", 10 },
      .ipv4 = { (const uint8_t *)"203.0.113.1", 11 },
      .stun_port = 3478 },
    { .host_name = { (const uint8_t *)"derp2.test", 10 }, .stun_port = 3478 },
};
static const struct tailcfg_derp_region derp_regions[] = {
    { .id = REGION, .score = 1.0, .nodes = &derp_nodes[0], .node_count = 1 },
    { .id = 2, .score = 1.0, .nodes = &derp_nodes[1], .node_count = 1, .avoid = false },
};
static const struct tailcfg_derp_map derp_map = { .has_regions = true,
                                                  .regions = derp_regions,
                                                  .region_count = 2 };

static void world_start(void)
{
    sim_start(1000 * SEC);
    sim_stun_server("203.0.113.1:3478");
    sim_stun_server("203.0.113.2:3478");
    sim_name("derp2.test", "203.0.113.2");
    memset(sides, 0, sizeof(sides));
    side_count = 0;
    next_key = 1;
    relayed = 0;
    map_in_use = &derp_map;
}

static void world_stop(void)
{
    for (size_t s = 0; s < side_count; s++) {
        for (size_t i = 0; i < sides[s].node_count; i++) {
            struct test_node *n = sides[s].nodes[i];

            for (size_t k = 0; k < n->peer_count; k++) {
                underlay_peer_free(n->peers[k]->peer);
                free(n->peers[k]);
            }
            underlay_node_free(n->node);
        }
        for (size_t i = 0; i < sides[s].node_count; i++)
            free(sides[s].nodes[i]);
        underlay_free(sides[s].u);
        sides[s].node_count = 0;
    }
    underlay_survey_free(survey);
    survey = NULL;
    sim_run(1 * SEC); /* names and relayed packets still on their way */
    sim_stop();
}

static void set_host(struct side *side, const char *ip)
{
    struct host_view view = { .count = 1, .default_v4 = true };

    assert_true(ip_parse(span_from_str(ip), &view.addresses[0]));
    underlay_set_host(side->u, &view, sim_now());
}

static struct side *add_side(const char *local_ip, const char *public_ip, enum sim_nat nat)
{
    struct side *side = &sides[side_count++];
    struct underlay_config config = { .ops = &ops, .ctx = side, .survey = survey };

    sim_next_host(local_ip, public_ip, nat);
    assert_int_equal(underlay_new(&side->u, sim_loop(), &config), 0);
    set_host(side, local_ip);
    return side;
}

static struct test_node *add_node(struct side *side)
{
    struct test_node *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    n->side = side;
    secret_key_generate(&n->disco_secret);
    store_le32(n->node_key.bytes, next_key++);
    assert_int_equal(underlay_node_new(&n->node, side->u, &n->disco_secret, &n->node_key, n), 0);
    assert_int_equal(underlay_node_set_map(n->node, map_in_use, sim_now()), 0);
    side->nodes[side->node_count++] = n;
    return n;
}

/* `n` learns of `other` from its netmap. */
static struct test_peer *know(struct test_node *n, const struct test_node *other)
{
    struct test_peer *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    p->node = n;
    p->node_key = other->node_key;
    p->disco_key = *underlay_node_disco_key(other->node);
    n->peers[n->peer_count++] = p;
    assert_int_equal(underlay_node_knows(n->node, &p->disco_key, true), 0);
    return p;
}

/* Control tells everybody where `other` can be reached. */
static void publish(struct test_peer *p, struct side *other)
{
    size_t count;
    const struct underlay_endpoint *list = underlay_endpoints(other->u, &count);

    p->endpoint_count = 0;
    for (size_t i = 0; i < count; i++)
        p->endpoints[p->endpoint_count++] = list[i].address;
    if (p->peer)
        set_facts(p, false);
}

static int send_kind(struct test_peer *p, const struct test_node *to, enum underlay_kind kind)
{
    uint8_t bytes[100];
    size_t len = payload(bytes, kind == UNDERLAY_INITIATION ? 1 : 4, to);

    return underlay_send(wake(p), span_make(bytes, len), len, kind, sim_now());
}

/* Both talk to each other for a while, ten packets a second each way. */
static void talk(struct test_peer *ab, struct test_node *a, struct test_peer *ba, struct test_node *b,
                 time_ns duration)
{
    for (time_ns end = sim_now() + duration; sim_now() < end;) {
        assert_int_equal(send_kind(ab, b, UNDERLAY_DATA), 0);
        assert_int_equal(send_kind(ba, a, UNDERLAY_DATA), 0);
        sim_run(100 * MSEC);
    }
}

struct couple {
    struct side *side_a, *side_b;
    struct test_node *a, *b;
    struct test_peer *ab, *ba;
};

static struct couple couple(enum sim_nat nat_a, enum sim_nat nat_b)
{
    struct couple c;

    world_start();
    c.side_a = add_side(nat_a ? "192.168.1.2" : "198.51.100.1", "198.51.100.1", nat_a);
    c.side_b = add_side(nat_b ? "192.168.2.2" : "198.51.100.2", "198.51.100.2", nat_b);
    c.a = add_node(c.side_a);
    c.b = add_node(c.side_b);
    sim_run(5 * SEC);
    c.ab = know(c.a, c.b);
    c.ba = know(c.b, c.a);
    publish(c.ab, c.side_b);
    publish(c.ba, c.side_a);
    return c;
}

/* ---- paths ---------------------------------------------------------------------------------- */

static void two_easy_nats_are_traversed(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    talk(c.ab, c.a, c.ba, c.b, 3 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    assert_int_equal(c.ba->path, UNDERLAY_PATH_DIRECT);
    relayed = 0;
    c.a->got_direct = c.b->got_direct = 0;
    talk(c.ab, c.a, c.ba, c.b, 60 * SEC);
    assert_in_range(relayed, 0, 2); /* the look for something better, once a minute */
    assert_in_range(c.a->got_direct, 595, 600);
    assert_int_equal(c.ab->changes, 1);
    world_stop();
}

static void an_open_host_is_reached_from_behind_a_hard_nat(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_HARD, SIM_NAT_NONE);

    talk(c.ab, c.a, c.ba, c.b, 8 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    assert_int_equal(c.ba->path, UNDERLAY_PATH_DIRECT); /* by the address that a pinged from */
    world_stop();
}

static void two_hard_nats_stay_on_the_relay_and_lose_nothing(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_HARD, SIM_NAT_HARD);

    talk(c.ab, c.a, c.ba, c.b, 20 * SEC);
    sim_run(1 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    assert_int_equal(c.a->got_relay, 200);
    assert_int_equal(c.b->got_relay, 200);
    assert_int_equal(c.a->got_direct + c.b->got_direct, 0);
    world_stop();
}

/* The link goes at 0 s: what is sent until 6.5 s is lost, then the relay carries it. */
static void a_cut_path_is_replaced_by_the_relay_in_time(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);
    size_t before;

    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    /* Only the way between the two: STUN goes on. */
    sim_cut("198.51.100.2", true);
    before = c.b->got_relay;
    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    assert_in_range(c.b->got_relay - before, 30, 70);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    sim_cut("198.51.100.2", false);
    talk(c.ab, c.a, c.ba, c.b, 16 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    world_stop();
}

/* The link is cut: disco alone notices after 6.5 s, a stream that stalls after half a second and a ping. */
static void a_stalled_stream_shortens_the_wait(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    sim_cut("198.51.100.2", true);
    sim_run(500 * MSEC);
    underlay_peer_check(c.ab->peer, sim_now());
    sim_run(900 * MSEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    sim_run(200 * MSEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    world_stop();
}

/* The link is cut: disco would notice in 6.5 s, whoever sees data lost says it earlier. */
static void doubt_shortens_the_wait(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);
    size_t before;

    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    sim_cut("198.51.100.2", true);
    sim_run(500 * MSEC);
    underlay_peer_doubt(c.ab->peer, sim_now());
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    before = c.b->got_relay;
    send_kind(c.ab, c.b, UNDERLAY_DATA);
    sim_run(100 * MSEC);
    assert_int_equal(c.b->got_relay - before, 1);
    world_stop();
}

static void initiations_take_both_ways(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    talk(c.ab, c.a, c.ba, c.b, 5 * SEC);
    c.b->got_direct = c.b->got_relay = 0;
    send_kind(c.ab, c.b, UNDERLAY_INITIATION);
    sim_run(1 * SEC);
    assert_int_equal(c.b->got_direct, 1);
    assert_int_equal(c.b->got_relay, 1);
    send_kind(c.ab, c.b, UNDERLAY_RESPONSE);
    sim_run(1 * SEC);
    assert_int_equal(c.b->got_direct, 2);
    assert_int_equal(c.b->got_relay, 1);
    world_stop();
}

static void what_the_kernel_refuses_goes_by_the_relay(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    talk(c.ab, c.a, c.ba, c.b, 5 * SEC);
    c.b->got_relay = 0;
    sim_send_error(-EHOSTUNREACH);
    assert_int_equal(send_kind(c.ab, c.b, UNDERLAY_DATA), 0);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    sim_send_error(0);
    sim_run(1 * SEC);
    assert_int_equal(c.b->got_relay, 1);
    /* A full socket loses datagrams, and says so when there is no other way. */
    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    sim_send_error(-EAGAIN);
    assert_int_equal(send_kind(c.ab, c.b, UNDERLAY_DATA), UNDERLAY_E_FULL);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    sim_send_error(0);
    world_stop();
}

static void an_expired_peer_gets_nothing(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    wake(c.ab);
    set_facts(c.ab, true);
    assert_int_equal(send_kind(c.ab, c.b, UNDERLAY_DATA), UNDERLAY_E_EXPIRED);
    assert_int_equal(relayed, 0);
    world_stop();
}

static void a_peer_without_disco_key_is_reached_by_the_relay(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_NONE, SIM_NAT_NONE);

    c.ab->disco_key = (struct public_key) { { 0 } };
    for (int i = 0; i < 5; i++) {
        send_kind(c.ab, c.b, UNDERLAY_DATA);
        sim_run(1 * SEC);
    }
    assert_int_equal(c.b->got_relay, 5);
    assert_int_equal(c.b->got_direct, 0);
    assert_int_equal(underlay_counters_get(c.side_a->u)->pings_out, 0);
    world_stop();
}

/* ---- nobody talks ------------------------------------------------------------------------------ */

static void silence_costs_nothing(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);
    uint64_t timers, sent;

    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    sim_run(2 * MINUTE);
    assert_int_equal(c.ab->quiets, 1);
    assert_int_equal(c.ba->quiets, 1);
    timers = sim_counters()->timers_fired;
    sent = sim_counters()->sent;
    sim_run(24 * HOUR);
    assert_int_equal(sim_counters()->timers_fired, timers);
    assert_int_equal(sim_counters()->sent, sent);
    /* And then it works again at once. */
    relayed = 0;
    talk(c.ab, c.a, c.ba, c.b, 2 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    world_stop();
}

/* ---- measuring ---------------------------------------------------------------------------------- */

static void endpoints_are_reported_once_while_nothing_changes(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);
    const struct underlay_endpoint *list;
    size_t count;

    list = underlay_endpoints(c.side_a->u, &count);
    assert_int_equal(count, 2);
    assert_int_equal(list[0].type, UNDERLAY_ENDPOINT_STUN);
    assert_int_equal(list[1].type, UNDERLAY_ENDPOINT_LOCAL);
    assert_int_equal(underlay_node_report(c.a->node)->home_region, REGION);
    assert_int_equal(underlay_node_report(c.a->node)->mapping_varies_by_dest_ip, UNDERLAY_NO);
    assert_int_equal(underlay_node_report(c.a->node)->latency_count, 2);
    c.side_a->reports = 0;
    uint64_t runs = underlay_counters_get(c.side_a->u)->surveys;

    talk(c.ab, c.a, c.ba, c.b, 10 * MINUTE);
    assert_int_equal(c.side_a->reports, 0);
    assert_in_range(underlay_counters_get(c.side_a->u)->surveys - runs, 600 / 26, 600 / 20 + 1);
    world_stop();
}

static void a_changed_host_is_reported_and_proven(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);
    size_t count;

    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    c.side_a->reports = 0;
    set_host(c.side_a, "192.168.1.2"); /* the same */
    assert_int_equal(c.side_a->reports, 0);
    set_host(c.side_a, "192.168.1.3");
    assert_int_equal(c.side_a->reports, 1);
    assert_int_equal(c.side_a->last_report, UNDERLAY_CHANGED_ENDPOINTS);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    underlay_endpoints(c.side_a->u, &count);
    assert_int_equal(count, 2);
    sim_run(100 * MSEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    world_stop();
}

static void nodes_with_equal_maps_share_one_measurement(void **state)
{
    (void)state;
    struct side *side;
    uint64_t sent;

    world_start();
    side = add_side("192.168.1.2", "198.51.100.1", SIM_NAT_EASY);
    add_node(side);
    sim_run(5 * SEC);
    sent = sim_counters()->sent;
    for (int i = 0; i < 100; i++)
        add_node(side);
    sim_run(5 * SEC);
    assert_int_equal(sim_counters()->sent, sent);
    assert_int_equal(underlay_node_report(side->nodes[50]->node)->home_region, REGION);
    /* The last holder of a map takes it along, even in the middle of a run. */
    underlay_measure(side->u, sim_now());
    for (size_t i = 0; i < side->node_count; i++)
        assert_int_equal(underlay_node_set_map(side->nodes[i]->node, NULL, sim_now()), 0);
    sim_run(10 * SEC);
    assert_int_equal(underlay_node_set_map(side->nodes[0]->node, &derp_map, sim_now()), 0);
    sim_run(5 * SEC);
    assert_int_equal(underlay_node_report(side->nodes[0]->node)->home_region, REGION);
    world_stop();
}

/* ---- many nodes, one address ---------------------------------------------------------------------- */

/* Ten nodes with a path each: their heartbeats share their wake-ups, and a pong that came in time costs none.
 */
static void heartbeats_of_many_nodes_share_their_wake_ups(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_NONE);
    struct test_peer *peers[10] = { c.ab };
    uint64_t wakes, pings;

    for (int i = 1; i < 10; i++) {
        struct test_node *n = add_node(c.side_a);

        peers[i] = know(n, c.b);
        publish(know(c.b, n), c.side_a);
        publish(peers[i], c.side_b);
    }
    for (int i = 0; i < 10; i++) { /* each starts at another time */
        assert_int_equal(send_kind(peers[i], c.b, UNDERLAY_DATA), 0);
        sim_run(97 * MSEC);
    }
    sim_run(3 * SEC);
    for (int i = 0; i < 10; i++)
        assert_int_equal(peers[i]->path, UNDERLAY_PATH_DIRECT);
    wakes = sim_counters()->timer_instants;
    pings = underlay_counters_get(c.side_a->u)->pings_out;
    sim_run(27 * SEC);
    assert_in_range(underlay_counters_get(c.side_a->u)->pings_out - pings, 80, 100);
    assert_in_range(sim_counters()->timer_instants - wakes, 9, 45); /* one by one: 90 and more */
    world_stop();
}

/* ---- shards of one process ------------------------------------------------------------------- */

#define MANY_REGIONS 6
static struct tailcfg_derp_node many_nodes[MANY_REGIONS];
static struct tailcfg_derp_region many_regions[MANY_REGIONS];
static const struct tailcfg_derp_map many_map = { .has_regions = true,
                                                  .regions = many_regions,
                                                  .region_count = MANY_REGIONS };

/* Shards behind one NAT, each with nodes of a tailnet of six regions, none of them measured yet. */
static void process_start(size_t shards, size_t nodes)
{
    static char texts[MANY_REGIONS][2][24];

    sim_start(1000 * SEC);
    memset(sides, 0, sizeof(sides));
    side_count = 0;
    next_key = 1;
    map_in_use = &many_map;
    for (size_t i = 0; i < MANY_REGIONS; i++) {
        snprintf(texts[i][0], sizeof(texts[i][0]), "203.0.113.%zu", i + 1);
        snprintf(texts[i][1], sizeof(texts[i][1]), "203.0.113.%zu:3478", i + 1);
        sim_stun_server(texts[i][1]);
        many_nodes[i] = (struct tailcfg_derp_node) { .host_name = span_from_str("derp.test"),
                                                     .ipv4 = span_from_str(texts[i][0]),
                                                     .stun_port = 3478 };
        many_regions[i] = (struct tailcfg_derp_region) {
            .id = (int32_t)i + 1, .score = 1.0, .nodes = &many_nodes[i], .node_count = 1
        };
    }
    assert_int_equal(underlay_survey_new(&survey), 0);
    for (size_t s = 0; s < shards; s++)
        add_side("192.168.1.2", "198.51.100.1", SIM_NAT_EASY);
    for (size_t i = 0; i < nodes; i++)
        add_node(&sides[i % shards]);
}

static uint64_t surveys_of_all(void)
{
    uint64_t sum = 0;

    for (size_t s = 0; s < side_count; s++)
        sum += underlay_counters_get(sides[s].u)->surveys;
    return sum;
}

static void assert_all_agree(void)
{
    uint16_t home = underlay_node_report(sides[0].nodes[0]->node)->home_region;

    assert_int_not_equal(home, 0);
    for (size_t s = 0; s < side_count; s++)
        for (size_t i = 0; i < sides[s].node_count; i++) {
            const struct underlay_report *r = underlay_node_report(sides[s].nodes[i]->node);

            assert_int_equal(r->home_region, home);
            assert_true(r->udp);
            assert_int_equal(r->latency_count, MANY_REGIONS);
        }
}

/* The probes of regions are those of one shard, however many shards and nodes there are. Every other socket
 * asks two servers for its own mapping, and gets it. */
static void regions_are_measured_once_for_all_shards(void **state)
{
    (void)state;
    uint64_t alone;

    process_start(1, 1);
    sim_run(5 * SEC);
    alone = sim_counters()->stun_requests;
    assert_in_range(alone, MANY_REGIONS, 3 * MANY_REGIONS);
    world_stop();

    process_start(4, 40);
    sim_run(5 * SEC);
    assert_int_equal(surveys_of_all(), 1);
    assert_in_range(sim_counters()->stun_requests, alone + 3, alone + 3 * 2);
    assert_all_agree();
    for (size_t s = 0; s < side_count; s++) {
        size_t count;
        const struct underlay_endpoint *list = underlay_endpoints(sides[s].u, &count);

        assert_in_range(count, 2, UNDERLAY_ENDPOINTS_MAX);
        assert_int_equal(list[0].type, UNDERLAY_ENDPOINT_STUN);
        assert_int_equal(underlay_node_report(sides[s].nodes[0]->node)->mapping_varies_by_dest_ip,
                         UNDERLAY_NO);
        for (size_t other = 0; other < s; other++)
            assert_int_not_equal(list[0].address.port,
                                 underlay_endpoints(sides[other].u, &count)->address.port);
    }
    world_stop();
}

/* The kernel refuses to send: fresh sockets, at once the first time, then less and less often. */
static void a_socket_that_refuses_is_replaced_but_not_for_ever(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    talk(c.ab, c.a, c.ba, c.b, 5 * SEC);
    sim_send_error(-EPERM);
    relayed = 0;
    assert_int_equal(send_kind(c.ab, c.b, UNDERLAY_DATA), 0);
    assert_int_equal(relayed, 1); /* it did not get lost */
    assert_int_equal(underlay_counters_get(c.side_a->u)->rebinds, 0);
    sim_run(MSEC);
    assert_int_equal(underlay_counters_get(c.side_a->u)->rebinds, 1);
    talk(c.ab, c.a, c.ba, c.b, 10 * MINUTE);
    assert_in_range(underlay_counters_get(c.side_a->u)->rebinds, 6, 9);
    sim_send_error(0);
    talk(c.ab, c.a, c.ba, c.b, 30 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    world_stop();
}

static void only_another_network_costs_fresh_sockets(void **state)
{
    (void)state;
    struct host_view view = { .count = 1, .default_v4 = true };
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);

    talk(c.ab, c.a, c.ba, c.b, 5 * SEC);
    assert_true(ip_parse(span_from_str("192.168.1.2"), &view.addresses[0]));
    assert_true(ip_parse(span_from_str("192.168.1.3"), &view.addresses[1]));
    view.count = 2; /* one more */
    underlay_set_host(c.side_a->u, &view, sim_now());
    sim_run(10 * SEC);
    assert_int_equal(underlay_counters_get(c.side_a->u)->rebinds, 0);
    assert_true(ip_parse(span_from_str("10.0.0.1"), &view.gateway_v4));
    underlay_set_host(c.side_a->u, &view, sim_now());
    sim_run(MSEC);
    assert_int_equal(underlay_counters_get(c.side_a->u)->rebinds, 1);
    view.count = 1;
    set_host(c.side_a, "10.0.0.7"); /* again at once: waits its turn */
    sim_run(MSEC);
    assert_int_equal(underlay_counters_get(c.side_a->u)->rebinds, 1);
    sim_run(5 * SEC);
    assert_int_equal(underlay_counters_get(c.side_a->u)->rebinds, 2);
    world_stop();
}

/* Mappings are asked for at once, and the path is proven, not believed. */
static void after_a_sleep_everything_is_asked_anew(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_EASY);
    uint64_t surveys, pings;

    talk(c.ab, c.a, c.ba, c.b, 5 * SEC);
    sim_run(SEC);
    surveys = underlay_counters_get(c.side_a->u)->surveys;
    pings = underlay_counters_get(c.side_a->u)->pings_out;
    underlay_woke(c.side_a->u, sim_now());
    assert_int_equal(underlay_counters_get(c.side_a->u)->surveys, surveys + 1);
    assert_true(underlay_counters_get(c.side_a->u)->pings_out > pings);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_RELAY);
    talk(c.ab, c.a, c.ba, c.b, SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    world_stop();
}

/* Our NAT restarts. The peer's pong tells of an address that we did not know, so we ask at once. */
static void a_changed_mapping_is_noticed_by_a_pong(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_EASY, SIM_NAT_NONE);
    struct ip_port before, after;
    size_t count;

    talk(c.ab, c.a, c.ba, c.b, 10 * SEC);
    before = underlay_endpoints(c.side_a->u, &count)->address;
    sim_nat_forget("198.51.100.1");
    for (int i = 0; i < 40; i++) { /* until the next heartbeat's pong, and a STUN exchange */
        assert_int_equal(send_kind(c.ab, c.b, UNDERLAY_DATA), 0);
        sim_run(100 * MSEC);
    }
    after = underlay_endpoints(c.side_a->u, &count)->address;
    assert_int_not_equal(before.port, after.port);
    world_stop();
}

/* Also for a node of another shard than the one that measures, and within a second. */
static void a_network_without_udp_has_the_nearest_home(void **state)
{
    (void)state;
    struct test_node *n, *other;

    process_start(2, 0);
    sim_cut("192.168.1.2", true);
    n = add_node(&sides[0]);
    other = add_node(&sides[1]);
    sim_run(SEC);
    assert_int_equal(underlay_node_report(n->node)->home_region, 2);
    assert_int_equal(underlay_node_report(other->node)->home_region, 2);
    assert_false(underlay_node_report(other->node)->udp);
    assert_int_equal(underlay_counters_get(sides[0].u)->relays_probed, MANY_REGIONS);
    assert_int_equal(underlay_counters_get(sides[1].u)->relays_probed, 0);

    /* UDP works again: traffic of either shard finds out, and the other gets its mapping too. */
    sim_cut("192.168.1.2", false);
    sim_run(30 * SEC);
    assert_int_equal(send_kind(know(other, n), n, UNDERLAY_DATA), 0);
    sim_run(5 * SEC);
    assert_true(underlay_node_report(n->node)->udp);
    assert_true(underlay_node_report(other->node)->udp);
    for (size_t s = 0; s < 2; s++) {
        size_t count;

        assert_int_equal(underlay_endpoints(sides[s].u, &count)->type, UNDERLAY_ENDPOINT_STUN);
    }
    world_stop();
}

static void a_later_shard_gets_the_report_without_measuring(void **state)
{
    (void)state;
    struct side *late;

    process_start(1, 3);
    sim_run(5 * SEC);
    late = add_side("192.168.1.2", "198.51.100.1", SIM_NAT_EASY);
    assert_int_equal(underlay_node_report(add_node(late)->node)->home_region,
                     underlay_node_report(sides[0].nodes[0]->node)->home_region);
    sim_run(5 * SEC);
    assert_int_equal(surveys_of_all(), 1);
    assert_int_equal(underlay_counters_get(late->u)->mappings, 1);
    assert_all_agree();
    world_stop();
}

static void another_shard_takes_over_from_one_that_leaves(void **state)
{
    (void)state;
    struct test_node *n;

    process_start(2, 2);
    sim_run(5 * SEC);
    n = sides[0].nodes[--sides[0].node_count];
    underlay_node_free(n->node);
    free(n);
    sim_run(10 * SEC);
    assert_int_equal(underlay_counters_get(sides[1].u)->surveys, 1);
    add_node(&sides[0]);
    sim_run(5 * SEC);
    assert_int_equal(surveys_of_all(), 2);
    assert_all_agree();
    world_stop();
}

/* The surveyor has no traffic; a node of another shard does, and its relay breaks. */
static void whoever_needs_it_asks_the_surveyor(void **state)
{
    (void)state;

    process_start(3, 6);
    sim_run(10 * SEC);
    assert_int_equal(surveys_of_all(), 1);
    for (size_t s = 0; s < side_count; s++)
        underlay_measure(sides[s].u, sim_now());
    sim_run(10 * SEC);
    assert_int_equal(underlay_counters_get(sides[0].u)->surveys, 2);
    assert_int_equal(surveys_of_all(), 2);
    world_stop();
}

/* Traffic of one shard keeps the report young for all, and asks no more often than one shard alone would. */
static void traffic_on_any_shard_keeps_the_report_young(void **state)
{
    (void)state;
    struct test_peer *p;
    uint64_t busy;

    process_start(3, 3);
    sim_run(5 * SEC);
    p = know(sides[2].nodes[0], sides[1].nodes[0]);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(send_kind(p, sides[1].nodes[0], UNDERLAY_DATA), 0);
        sim_run(100 * MSEC);
    }
    assert_in_range(underlay_counters_get(sides[0].u)->surveys, 3, 6);
    assert_int_equal(underlay_counters_get(sides[2].u)->surveys, 0);
    assert_int_equal(underlay_counters_get(sides[1].u)->mappings, 1);
    sim_run(60 * SEC); /* 45 s of these still count as active */
    busy = underlay_counters_get(sides[0].u)->surveys;
    assert_in_range(busy, 3, 9);
    sim_run(HOUR);
    assert_int_equal(underlay_counters_get(sides[0].u)->surveys, busy);
    world_stop();
}

static void a_peer_reaches_every_node_of_the_socket(void **state)
{
    (void)state;
    struct side *many, *one;
    struct test_node *r;
    size_t direct = 0;
    const struct underlay_counters *counters;
    uint64_t trials, messages;

    world_start();
    many = add_side("192.168.1.2", "198.51.100.1", SIM_NAT_EASY);
    one = add_side("192.168.2.2", "198.51.100.2", SIM_NAT_EASY);
    r = add_node(one);
    for (int i = 0; i < 57; i++)
        add_node(many);
    sim_run(5 * SEC);
    for (size_t i = 0; i < many->node_count; i++) {
        publish(know(many->nodes[i], r), one);
        publish(know(r, many->nodes[i]), many);
    }
    for (int second = 0; second < 30; second++) {
        for (size_t i = 0; i < many->node_count; i++)
            talk(many->nodes[i]->peers[0], many->nodes[i], r->peers[i], r, 1 * MSEC);
        sim_run(1 * SEC);
    }
    for (size_t i = 0; i < many->node_count; i++)
        direct += many->nodes[i]->peers[0]->path == UNDERLAY_PATH_DIRECT &&
                  r->peers[i]->path == UNDERLAY_PATH_DIRECT;
    assert_int_equal(direct, 57);
    counters = underlay_counters_get(many->u);
    assert_int_equal(counters->disco_forged, 0);
    assert_int_equal(counters->box_keys_made, 57);
    /* Heartbeats come round: the right key is nearly always among the first two. */
    trials = counters->disco_trials;
    messages = counters->disco_in;
    for (int second = 0; second < 60; second++) {
        for (size_t i = 0; i < many->node_count; i++)
            talk(many->nodes[i]->peers[0], many->nodes[i], r->peers[i], r, 1 * MSEC);
        sim_run(1 * SEC);
    }
    trials = counters->disco_trials - trials;
    messages = counters->disco_in - messages;
    print_message("%" PRIu64 " trials for %" PRIu64 " messages\n", trials, messages);
    assert_true(trials < 4 * messages);
    world_stop();
}

/* A raw peer: keys, and messages made by hand. */
struct raw {
    struct secret_key secret;
    struct public_key disco_key, node_key;
    struct ip_port address;
};

static struct raw make_raw(const char *address)
{
    struct raw r;

    secret_key_generate(&r.secret);
    secret_key_public(&r.secret, &r.disco_key);
    store_le32(r.node_key.bytes, next_key++);
    memset(r.node_key.bytes + 4, 0, KEY_BYTES - 4);
    assert_true(ip_port_parse(span_from_str(address), &r.address));
    return r;
}

static size_t raw_message(const struct raw *r, const struct test_node *to, const struct disco_message *m,
                          uint8_t *out)
{
    uint8_t key[KEY_BYTES], nonce[BOX_NONCE_BYTES];

    assert_true(box_key_make(key, &r->secret, underlay_node_disco_key(to->node)));
    random_bytes(nonce, sizeof(nonce));
    return disco_write(out, m, &r->disco_key, nonce, key);
}

static void raw_send(const struct raw *r, const struct test_node *to, const struct disco_message *m)
{
    uint8_t bytes[DISCO_DATAGRAM_BYTES_MAX];
    struct ip_port where = { .port = underlay_port(to->side->u, true) };
    size_t len = raw_message(r, to, m, bytes);

    assert_true(ip_parse(span_from_str("198.51.100.1"), &where.ip));
    sim_inject(&r->address, &where, span_make(bytes, len));
    sim_run(20 * MSEC);
}

static struct disco_message ping_of(const struct raw *r, uint8_t id)
{
    return (struct disco_message) { .type = DISCO_PING, .txid = { { id } }, .node_key = r->node_key };
}

static struct test_peer *know_raw(struct test_node *n, const struct raw *r)
{
    struct test_peer *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    p->node = n;
    p->node_key = r->node_key;
    p->disco_key = r->disco_key;
    n->peers[n->peer_count++] = p;
    assert_int_equal(underlay_node_knows(n->node, &p->disco_key, true), 0);
    return p;
}

static void strangers_get_no_answer_and_cost_no_crypto(void **state)
{
    (void)state;
    struct side *side;
    struct test_node *n;
    struct raw r;
    struct disco_message ping;
    const struct underlay_counters *counters;

    world_start();
    side = add_side("198.51.100.1", "198.51.100.1", SIM_NAT_NONE);
    n = add_node(side);
    counters = underlay_counters_get(side->u);
    r = make_raw("198.51.100.9:1000");
    ping = ping_of(&r, 1);
    raw_send(&r, n, &ping);
    assert_int_equal(counters->disco_unknown_sender, 1);
    assert_int_equal(counters->box_keys_made + counters->pongs_out, 0);

    struct test_peer *p = know_raw(n, &r);

    raw_send(&r, n, &ping);
    assert_int_equal(counters->pongs_out, 1);
    assert_non_null(p->peer); /* made for the candidate */
    raw_send(&r, n, &ping);
    assert_int_equal(counters->pongs_out, 1); /* the same ping again */
    assert_int_equal(counters->pings_out, 0);

    assert_int_equal(underlay_node_knows(n->node, &r.disco_key, false), 0);
    ping = ping_of(&r, 2);
    raw_send(&r, n, &ping);
    assert_int_equal(counters->pongs_out, 1);
    world_stop();
}

/* Two peers with one disco key: a ping that names neither is answered, but teaches nothing. */
static void an_ambiguous_ping_is_only_answered(void **state)
{
    (void)state;
    struct side *side;
    struct test_node *n;
    struct raw r;
    struct disco_message ping;
    struct test_peer *first, *second;

    world_start();
    side = add_side("198.51.100.1", "198.51.100.1", SIM_NAT_NONE);
    n = add_node(side);
    r = make_raw("198.51.100.9:1000");
    first = know_raw(n, &r);
    second = know_raw(n, &r);
    store_le32(second->node_key.bytes, 0xfffffff0);
    ping = ping_of(&r, 1);
    ping.node_key = (struct public_key) { { 0 } };
    raw_send(&r, n, &ping);
    assert_int_equal(underlay_counters_get(side->u)->pongs_out, 1);
    assert_null(first->peer);
    assert_null(second->peer);
    ping = ping_of(&r, 2);
    raw_send(&r, n, &ping);
    assert_non_null(first->peer);
    assert_null(second->peer);
    world_stop();
}

static void call_me_maybe_counts_only_from_the_peers_relay(void **state)
{
    (void)state;
    struct side *side;
    struct test_node *n;
    struct raw r, other;
    uint8_t bytes[DISCO_DATAGRAM_BYTES_MAX];
    struct disco_message call = { .type = DISCO_CALL_ME_MAYBE, .endpoint_count = 1 };
    const struct underlay_counters *counters;
    size_t len;

    world_start();
    side = add_side("198.51.100.1", "198.51.100.1", SIM_NAT_NONE);
    n = add_node(side);
    counters = underlay_counters_get(side->u);
    r = make_raw("198.51.100.9:1000");
    other = make_raw("198.51.100.10:1000");
    know_raw(n, &r);
    know_raw(n, &other);
    call.endpoints[0] = r.address;
    raw_send(&r, n, &call);
    assert_int_equal(counters->disco_wrong_way, 1);
    len = raw_message(&r, n, &call, bytes);
    underlay_relay_received(n->node, REGION, &other.node_key, (struct mspan) { bytes, len }, sim_now());
    assert_int_equal(counters->disco_wrong_way, 2);
    assert_int_equal(counters->pings_out, 0);
    len = raw_message(&r, n, &call, bytes);
    underlay_relay_received(n->node, REGION, &r.node_key, (struct mspan) { bytes, len }, sim_now());
    assert_int_equal(counters->call_me_maybes_in, 1);
    assert_int_equal(counters->pings_out, 1);
    assert_int_equal(n->peers[0]->calls, 1);
    assert_int_equal(n->peers[1]->calls, 0);
    world_stop();
}

static void a_pong_through_the_relay_proves_nothing(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_NONE, SIM_NAT_NONE);
    const struct underlay_counters *counters = underlay_counters_get(c.side_a->u);
    struct raw as_b = { .secret = c.b->disco_secret, .node_key = c.b->node_key };
    struct disco_message pong = { .type = DISCO_PONG };
    uint8_t bytes[DISCO_DATAGRAM_BYTES_MAX];
    size_t len;

    secret_key_public(&as_b.secret, &as_b.disco_key);
    for (uint32_t i = 0; i < 8; i++) {
        random_bytes(pong.txid.bytes, sizeof(pong.txid.bytes));
        len = raw_message(&as_b, c.a, &pong, bytes);
        underlay_relay_received(c.a->node, REGION, &c.b->node_key, (struct mspan) { bytes, len }, sim_now());
    }
    assert_int_equal(counters->pongs_unexpected, 8);
    world_stop();
}

/* Who saw a peer's disco key on the wire can forge messages that nobody can open; each costs a search. */
static void forged_messages_are_rationed(void **state)
{
    (void)state;
    struct side *side;
    struct raw r;
    uint8_t bytes[DISCO_PING_BYTES];
    struct disco_message ping;
    const struct underlay_counters *counters;
    struct test_peer *p;

    world_start();
    side = add_side("198.51.100.1", "198.51.100.1", SIM_NAT_NONE);
    r = make_raw("198.51.100.9:1000");
    for (int i = 0; i < 250; i++)
        know_raw(add_node(side), &r);
    counters = underlay_counters_get(side->u);
    ping = ping_of(&r, 1);
    raw_message(&r, side->nodes[0], &ping, bytes);
    bytes[80] ^= 1;
    for (int i = 0; i < 2000; i++) {
        struct ip_port where = { .port = underlay_port(side->u, true) };

        assert_true(ip_parse(span_from_str("198.51.100.1"), &where.ip));
        sim_inject(&r.address, &where, SPAN_OF(bytes));
        sim_run(1 * MSEC);
    }
    sim_run(1 * SEC);
    assert_int_equal(counters->disco_forged, 2000);
    assert_true(counters->box_keys_made <= 250);
    assert_true(counters->scans_refused > 1700);
    assert_true(counters->disco_trials < 250 * 160 + 2000 * 5);
    /* The real one is still heard once the flood is over. */
    p = side->nodes[200]->peers[0];
    sim_run(2 * SEC);
    raw_send(&r, side->nodes[200], &ping);
    assert_non_null(p->peer);
    world_stop();
}

static void first_contacts_are_paced(void **state)
{
    (void)state;
    struct side *side;
    struct raw r;
    struct disco_message ping;
    const struct underlay_counters *counters;

    world_start();
    side = add_side("198.51.100.1", "198.51.100.1", SIM_NAT_NONE);
    r = make_raw("198.51.100.9:1000");
    for (int i = 0; i < NODES_MAX; i++)
        know_raw(add_node(side), &r);
    counters = underlay_counters_get(side->u);
    for (uint8_t i = 1; i <= 10; i++) {
        ping = ping_of(&r, i);
        raw_send(&r, side->nodes[NODES_MAX - 1], &ping);
    }
    assert_true(counters->box_keys_made < 260);
    assert_true(counters->first_contacts_refused > 0);
    sim_run(1 * SEC);
    ping = ping_of(&r, 99);
    raw_send(&r, side->nodes[NODES_MAX - 1], &ping);
    assert_int_equal(counters->pongs_out, 1); /* retried, and found */
    world_stop();
}

static void a_new_disco_key_is_used_at_once(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_NONE, SIM_NAT_NONE);
    struct test_node *b2;

    talk(c.ab, c.a, c.ba, c.b, 3 * SEC);
    assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    /* b restarts: another disco key, the same node key and address. */
    b2 = add_node(c.side_b);
    b2->node_key = c.b->node_key;
    c.b->off_relay = true;
    know(b2, c.a);
    publish(b2->peers[0], c.side_a);
    assert_int_equal(underlay_node_knows(c.b->node, &c.ba->disco_key, false), 0);
    c.ab->disco_key = *underlay_node_disco_key(b2->node);
    set_facts(c.ab, false);
    for (int i = 0; i < 100; i++) {
        send_kind(c.ab, c.b, UNDERLAY_DATA);
        sim_run(100 * MSEC);
        if (i > 35)
            assert_int_equal(c.ab->path, UNDERLAY_PATH_DIRECT);
    }
    world_stop();
}

/* ---- the socket -------------------------------------------------------------------------------------- */

static void wireguard_comes_in_runs_of_one_source(void **state)
{
    (void)state;
    struct side *side;
    static uint8_t bytes[8][100];
    struct ev_datagram batch[8];
    struct ip_port to = { .port = 0 }, from[2];

    world_start();
    side = add_side("198.51.100.1", "198.51.100.1", SIM_NAT_NONE);
    add_node(side);
    to.port = underlay_port(side->u, true);
    assert_true(ip_parse(span_from_str("198.51.100.1"), &to.ip));
    assert_true(ip_port_parse(span_from_str("198.51.100.8:1"), &from[0]));
    assert_true(ip_port_parse(span_from_str("198.51.100.9:1"), &from[1]));
    for (int i = 0; i < 8; i++) {
        payload(bytes[i], 4, side->nodes[0]);
        batch[i] = (struct ev_datagram) { { bytes[i], 100 }, from[i >= 6] };
    }
    batch[2].bytes.len = 1; /* the byte that some kernels need behind a batch */
    bytes[2][0] = 7;
    from_hex("5453f09f92ac", bytes[4], 100); /* disco of nobody */
    assert_true(sim_batch(&to, batch, 8));
    assert_int_equal(side->wireguard_calls, 2);
    assert_int_equal(side->wireguard_datagrams, 6);
    assert_int_equal(underlay_counters_get(side->u)->short_in, 1);
    assert_int_equal(underlay_counters_get(side->u)->disco_unknown_sender, 1);
    world_stop();
}

static void relayed_wireguard_names_its_node(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_NONE, SIM_NAT_NONE);
    uint8_t bytes[100];
    size_t len = payload(bytes, 4, c.a);

    /* A peer may send b's packets to a's relay connection: they are handed up all the same. */
    underlay_relay_received(c.a->node, REGION, &c.b->node_key, (struct mspan) { bytes, len }, sim_now());
    assert_int_equal(c.a->got_relay, 1);
    underlay_relay_received(c.a->node, REGION, &c.b->node_key, (struct mspan) { bytes, 31 }, sim_now());
    assert_int_equal(c.side_a->wireguard_calls, 1);
    world_stop();
}

static void replies_go_back_the_way_they_came(void **state)
{
    (void)state;
    struct couple c = couple(SIM_NAT_NONE, SIM_NAT_NONE);
    uint8_t bytes[100];
    size_t len = payload(bytes, 3, c.b);
    struct underlay_source direct = { .address.port = underlay_port(c.side_b->u, true) };
    struct underlay_source relay = { .relayed = true, .region = REGION, .relay_key = c.b->node_key };

    assert_true(ip_parse(span_from_str("198.51.100.2"), &direct.address.ip));
    underlay_reply(c.side_a->u, NULL, &direct, span_make(bytes, len));
    underlay_reply(c.side_a->u, c.a->node, &relay, span_make(bytes, len));
    sim_run(1 * SEC);
    assert_int_equal(c.b->got_direct, 1);
    assert_int_equal(c.b->got_relay, 1);
    world_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_easy_nats_are_traversed),
        cmocka_unit_test(an_open_host_is_reached_from_behind_a_hard_nat),
        cmocka_unit_test(two_hard_nats_stay_on_the_relay_and_lose_nothing),
        cmocka_unit_test(a_cut_path_is_replaced_by_the_relay_in_time),
        cmocka_unit_test(a_stalled_stream_shortens_the_wait),
        cmocka_unit_test(doubt_shortens_the_wait),
        cmocka_unit_test(initiations_take_both_ways),
        cmocka_unit_test(what_the_kernel_refuses_goes_by_the_relay),
        cmocka_unit_test(an_expired_peer_gets_nothing),
        cmocka_unit_test(a_peer_without_disco_key_is_reached_by_the_relay),
        cmocka_unit_test(silence_costs_nothing),
        cmocka_unit_test(endpoints_are_reported_once_while_nothing_changes),
        cmocka_unit_test(a_changed_host_is_reported_and_proven),
        cmocka_unit_test(a_socket_that_refuses_is_replaced_but_not_for_ever),
        cmocka_unit_test(only_another_network_costs_fresh_sockets),
        cmocka_unit_test(after_a_sleep_everything_is_asked_anew),
        cmocka_unit_test(a_changed_mapping_is_noticed_by_a_pong),
        cmocka_unit_test(a_network_without_udp_has_the_nearest_home),
        cmocka_unit_test(nodes_with_equal_maps_share_one_measurement),
        cmocka_unit_test(heartbeats_of_many_nodes_share_their_wake_ups),
        cmocka_unit_test(regions_are_measured_once_for_all_shards),
        cmocka_unit_test(a_later_shard_gets_the_report_without_measuring),
        cmocka_unit_test(another_shard_takes_over_from_one_that_leaves),
        cmocka_unit_test(whoever_needs_it_asks_the_surveyor),
        cmocka_unit_test(traffic_on_any_shard_keeps_the_report_young),
        cmocka_unit_test(a_peer_reaches_every_node_of_the_socket),
        cmocka_unit_test(strangers_get_no_answer_and_cost_no_crypto),
        cmocka_unit_test(an_ambiguous_ping_is_only_answered),
        cmocka_unit_test(call_me_maybe_counts_only_from_the_peers_relay),
        cmocka_unit_test(a_pong_through_the_relay_proves_nothing),
        cmocka_unit_test(forged_messages_are_rationed),
        cmocka_unit_test(first_contacts_are_paced),
        cmocka_unit_test(a_new_disco_key_is_used_at_once),
        cmocka_unit_test(wireguard_comes_in_runs_of_one_source),
        cmocka_unit_test(relayed_wireguard_names_its_node),
        cmocka_unit_test(replies_go_back_the_way_they_came),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

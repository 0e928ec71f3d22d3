/* The program's own control client and netmap against the lab's server. What real clients make of it is shown
 * by test/demo and test/interop. */
#include <stdio.h>
#include <stdlib.h>

#include "control/control.h"
#include "lab/control.h"
#include "lab/test_world.h"
#include "netmap/netmap.h"

#define MEMBERS_MAX 200

struct member {
    struct control_client *client;
    struct netmap *map;
    struct secret_key disco, machine;
    struct control_keys keys;
    uint16_t port; /* of the endpoint that it reports */
    char name[32], url[128];
    unsigned messages, wholes, filters;
    bool logged_out;
};

static struct control_gate *gate;
static struct control_shard *shard;
static struct netmap_store *store;
static struct lab_control *server;
static struct registry_key *auth;
static struct member members[MEMBERS_MAX];

/* ---- the nodes ------------------------------------------------------------------------------- */

static void on_state(void *owner, struct control_client *c)
{
    (void)owner;
    (void)c;
}

static void on_url(void *owner, const char *url)
{
    struct member *m = owner;

    snprintf(m->url, sizeof(m->url), "%s", url ? url : "");
}

static int on_keys(void *owner, const struct control_keys *keys)
{
    ((struct member *)owner)->keys = *keys;
    return 0;
}

static int on_map(void *owner, const struct tailcfg_map_response *response, bool first, time_ns now)
{
    struct member *m = owner;
    struct netmap_changes changes;
    int r = netmap_apply(m->map, response, first, ev_wall_clock(), &changes);

    (void)now;
    assert_int_equal(changes.skipped, 0);
    m->filters += changes.filter;
    netmap_changes_release(&changes);
    m->messages++;
    m->wholes += first;
    return r ? -EPROTO : 0;
}

static void on_report(void *owner, struct control_report *out)
{
    static struct tailcfg_endpoint endpoint;
    static struct tailcfg_netinfo netinfo;
    struct member *m = owner;

    assert_true(ip_port_parse(span_from_str("192.0.2.7:1"), &endpoint.address));
    endpoint.address.port = m->port;
    endpoint.type = TAILCFG_ENDPOINT_STUN;
    netinfo = (struct tailcfg_netinfo) { .preferred_derp = LAB_REGION };
    out->endpoints = &endpoint;
    out->endpoint_count = 1;
    out->hostinfo.netinfo = &netinfo;
    secret_key_public(&m->disco, &out->disco_key);
}

static void on_logged_out(void *owner, bool done)
{
    ((struct member *)owner)->logged_out = done;
}

static const struct control_ops ops = { on_state, on_url, on_keys, on_map, on_report, on_logged_out, NULL };

static void start(struct member *m, const char *auth_key, bool ephemeral)
{
    struct control_config config = { .name = m->name,
                                     .control_url = lab_control_url(server),
                                     .hostname = m->name,
                                     .auth_key = auth_key,
                                     .ephemeral = ephemeral,
                                     .machine_key = m->machine,
                                     .keys = m->keys };

    if (!m->map)
        assert_int_equal(netmap_new(&m->map, store), 0);
    assert_int_equal(control_client_new(&m->client, shard, &config, &ops, m), 0);
    control_client_start(m->client);
}

static struct member *join(size_t i, const char *name, const char *auth_key)
{
    struct member *m = &members[i];

    snprintf(m->name, sizeof(m->name), "%s", name);
    secret_key_generate(&m->machine);
    secret_key_generate(&m->disco);
    m->port = 41641;
    start(m, auth_key, false);
    return m;
}

static enum control_state state_of(const struct member *m)
{
    struct control_status s;

    control_client_status(m->client, ev_now(loop), &s);
    return s.state;
}

static const struct netmap_peer *peer(const struct member *m, const char *name)
{
    char shown[NETMAP_NAME_BYTES];

    for (size_t i = 0; i < netmap_peer_count(m->map); i++)
        if (strcmp(netmap_peer_display_name(m->map, netmap_peer_at(m->map, i), shown), name) == 0)
            return netmap_peer_at(m->map, i);
    return NULL;
}

/* It sees the other with its endpoint, disco key and home: what a lite update brought. */
static bool reaches(const struct member *m, const struct member *other)
{
    const struct netmap_peer *p = peer(m, other->name);
    struct public_key disco;

    secret_key_public(&other->disco, &disco);
    return p && p->node.endpoints.count == 1 && p->node.endpoints.items[0].port == other->port &&
           p->node.home_derp == LAB_REGION && public_key_equal(&p->node.disco_key, &disco);
}

static int open_server(void **state)
{
    struct lab_control_config config = { .at = on_loopback(0),
                                         .network = { .relay = on_loopback(4443), .stun_port = 3478 } };
    uint8_t key[16] = { 1 };

    (void)state;
    memset(members, 0, sizeof(members));
    log_set_level(LOG_ERROR);
    snprintf(config.network.pin, sizeof(config.network.pin), "sha256-raw:%064d", 0);
    assert_int_equal(control_gate_new(&gate, NULL), 0);
    assert_int_equal(control_shard_new(&shard, gate, loop), 0);
    assert_int_equal(netmap_store_new(&store, key), 0);
    assert_int_equal(lab_control_new(&server, loop, &config), 0);
    registry_user_add(lab_control_registry(server), "you@lab", "You");
    auth = registry_key_add(lab_control_registry(server), 1, "");
    assert_non_null(auth);
    auth->reusable = true;
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        control_client_free(members[i].client);
        netmap_free(members[i].map);
    }
    lab_control_free(server);
    control_shard_free(shard);
    control_gate_free(gate);
    netmap_store_free(store);
    return 0;
}

/* ---- what must be true --------------------------------------------------------------------------- */

static void two_nodes_with_an_auth_key_see_each_other_and_how_to_reach_each_other(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text), *b = join(1, "B_2.example", auth->text);
    const struct netmap_peer *p;

    snprintf(b->name, sizeof(b->name), "b-2"); /* what a DNS label makes of it */
    wait_until(reaches(a, b) && reaches(b, a));
    p = peer(a, "b-2");
    assert_int_equal(p->node.addresses.count, 2);
    assert_span_text(p->node.name, "b-2." LAB_DOMAIN ".");
    assert_int_equal(netmap_peer_online(a->map, p), TAILCFG_TRUE);
    assert_span_text(netmap_user(a->map, p->node.user)->login_name, "you@lab");
    assert_int_equal(netmap_derp_map(a->map)->region_count, 1);
    assert_int_equal(state_of(a), CONTROL_RUNNING);
}

static void what_changes_reaches_the_others_as_a_delta_and_not_as_a_whole_map(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text), *b = join(1, "b", auth->text);

    wait_until(reaches(a, b) && reaches(b, a));
    b->port = 5;
    control_client_report_changed(b->client);
    wait_until(reaches(a, b));
    assert_int_equal(a->wholes, 1);
    control_client_stop(b->client);
    wait_until(netmap_peer_online(a->map, peer(a, "b")) == TAILCFG_FALSE);
    lab_control_remove(server, registry_by_name(lab_control_registry(server), "b"));
    wait_until(!peer(a, "b"));
    assert_int_equal(a->wholes, 1);
}

static void a_second_node_of_a_name_gets_another_name_and_other_addresses(void **state)
{
    (void)state;
    struct member *a = join(0, "web", auth->text), *b;

    wait_until(netmap_self(a->map));
    b = join(1, "web", auth->text);
    wait_until(peer(a, "web-1") && netmap_self(b->map));
    assert_false(ip_equal(&netmap_self(a->map)->node.addresses.items[0].ip,
                          &netmap_self(b->map)->node.addresses.items[0].ip));
}

static void a_node_that_starts_anew_keeps_its_place_and_needs_no_key(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text);
    struct ip before;

    wait_until(netmap_self(a->map));
    before = netmap_self(a->map)->node.addresses.items[0].ip;
    control_client_free(a->client);
    start(a, NULL, false);
    wait_until(a->wholes == 2);
    assert_true(ip_equal(&before, &netmap_self(a->map)->node.addresses.items[0].ip));
    assert_int_equal(lab_control_registry(server)->node_count, 1);
}

static void without_a_key_a_person_has_to_open_the_url_first(void **state)
{
    (void)state;
    struct member *a = join(0, "a", NULL);
    struct caller browser;
    char request[256];
    const char *path;

    wait_until(*a->url);
    assert_int_equal(lab_control_registry(server)->node_count, 0);
    path = strstr(a->url, "/login/");
    assert_non_null(path);
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n", path);
    call(&browser, (uint16_t)strtoul(strrchr(a->url, ':') + 1, NULL, 10));
    say(&browser, request);
    wait_until(browser.ended);
    assert_true(heard(&browser, "HTTP/1.1 200 "));
    hang_up(&browser);
    wait_until(state_of(a) == CONTROL_RUNNING);
}

static void a_key_that_is_wrong_or_used_up_is_refused_in_words(void **state)
{
    (void)state;
    struct registry_key *once = registry_key_add(lab_control_registry(server), 1, "");
    struct control_status s;
    struct member *a = join(0, "a", "tskey-auth-wrong"), *b = join(1, "b", once->text), *c;

    wait_until(state_of(b) == CONTROL_RUNNING);
    c = join(2, "c", once->text);
    do {
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
        control_client_status(a->client, ev_now(loop), &s);
    } while (!strstr(s.sentence, "invalid pre auth key"));
    do {
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
        control_client_status(c->client, ev_now(loop), &s);
    } while (!strstr(s.sentence, "authkey already used"));
    assert_int_equal(lab_control_registry(server)->node_count, 1);
}

static void who_waits_for_approval_sees_nobody_until_it_comes(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text), *b;

    wait_until(netmap_self(a->map));
    lab_control_registry(server)->needs_approval = true;
    b = join(1, "b", auth->text);
    wait_until(netmap_self(b->map));
    assert_int_equal(state_of(b), CONTROL_WAITING_APPROVAL);
    assert_int_equal(netmap_peer_count(b->map) + netmap_peer_count(a->map), 0);
    lab_control_approve(server, registry_by_name(lab_control_registry(server), "b"));
    wait_until(reaches(b, a) && reaches(a, b));
    assert_int_equal(state_of(b), CONTROL_RUNNING);
}

static void a_key_that_expired_is_replaced_and_peers_learn_the_new_one(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text), *b = join(1, "b", auth->text);
    struct public_key before, now;

    wait_until(reaches(a, b) && reaches(b, a));
    before = peer(a, "b")->node.key;
    registry_expire(lab_control_registry(server), registry_by_name(lab_control_registry(server), "b"),
                    ev_wall_clock() - SEC);
    lab_control_changed(server);
    wait_until(!public_key_equal(&peer(a, "b")->node.key, &before) && reaches(b, a));
    now = control_client_node_key(b->client);
    assert_true(public_key_equal(&peer(a, "b")->node.key, &now));
    assert_int_equal(lab_control_registry(server)->node_count, 2);
}

static void an_ephemeral_node_that_logs_out_is_gone(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text), *b = &members[1];

    snprintf(b->name, sizeof(b->name), "b");
    secret_key_generate(&b->machine);
    secret_key_generate(&b->disco);
    start(b, auth->text, true);
    wait_until(peer(a, "b"));
    control_client_logout(b->client);
    wait_until(b->logged_out && !peer(a, "b"));
    assert_int_equal(lab_control_registry(server)->node_count, 1);
}

static void faults_come_when_asked_for_and_then_all_is_well_again(void **state)
{
    (void)state;
    static const enum lab_fault faults[] = { LAB_FAULT_RATE_LIMIT, LAB_FAULT_BROKEN, LAB_FAULT_NONSENSE };

    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        char name[8];
        struct member *m;

        snprintf(name, sizeof(name), "m%zu", i);
        lab_control_fault_register(server, faults[i], 1);
        m = join(i, name, auth->text);
        wait_until(state_of(m) == CONTROL_RUNNING);
        assert_int_equal(lab_control_counters(server)->registrations, 2 * (i + 1));
    }
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        unsigned before = members[0].wholes;

        lab_control_fault_map(server, faults[i], 1);
        lab_control_end_streams(server);
        wait_until(members[0].wholes > before && state_of(&members[0]) == CONTROL_RUNNING);
    }
    lab_control_send_raw(server, span_from_str("{\"Node\":nonsense"));
    lab_control_cut(server);
    wait_until(netmap_self(members[1].map) && state_of(&members[1]) == CONTROL_RUNNING &&
               netmap_peer_online(members[0].map, peer(&members[0], "m1")) == TAILCFG_TRUE);
}

static void a_filter_that_is_set_reaches_everybody(void **state)
{
    (void)state;
    struct member *a = join(0, "a", auth->text);

    wait_until(netmap_self(a->map));
    assert_int_equal(a->filters, 1);
    lab_control_set_filter(server, "[]");
    wait_until(a->filters == 2);
    assert_int_equal(a->wholes, 1);
}

/* 200 joins among 200 nodes: each hears of each, and nobody gets the whole map twice. */
static void two_hundred_nodes_cost_deltas(void **state)
{
    (void)state;
    size_t done = 0;

    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        char name[16];

        snprintf(name, sizeof(name), "node%zu", i);
        join(i, name, auth->text);
    }
    while (done < MEMBERS_MAX) {
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
        while (done < MEMBERS_MAX && netmap_peer_count(members[done].map) == MEMBERS_MAX - 1)
            done++;
    }
    for (size_t i = 0; i < MEMBERS_MAX; i++)
        assert_int_equal(members[i].wholes, 1);
    print_message("%llu messages, %llu bytes\n", (unsigned long long)lab_control_counters(server)->messages,
                  (unsigned long long)lab_control_counters(server)->message_bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)
    const struct CMUnitTest tests[] = {
        TEST(two_nodes_with_an_auth_key_see_each_other_and_how_to_reach_each_other),
        TEST(what_changes_reaches_the_others_as_a_delta_and_not_as_a_whole_map),
        TEST(a_second_node_of_a_name_gets_another_name_and_other_addresses),
        TEST(a_node_that_starts_anew_keeps_its_place_and_needs_no_key),
        TEST(without_a_key_a_person_has_to_open_the_url_first),
        TEST(a_key_that_is_wrong_or_used_up_is_refused_in_words),
        TEST(who_waits_for_approval_sees_nobody_until_it_comes),
        TEST(a_key_that_expired_is_replaced_and_peers_learn_the_new_one),
        TEST(an_ephemeral_node_that_logs_out_is_gone),
        TEST(faults_come_when_asked_for_and_then_all_is_well_again),
        TEST(a_filter_that_is_set_reaches_everybody),
        TEST(two_hundred_nodes_cost_deltas),
    };

    return cmocka_run_group_tests(tests, world_open, world_close);
}

#include "node/test_world.h"

/* The service on one side, the client on the other. */
static struct side here, there;
static struct member web, plain, client;

static int begin(void **state)
{
    (void)state;
    sim_start(SEC);
    side_open(&here, "198.51.100.1");
    side_open(&there, "198.51.100.2");
    member_init(&web, &here, 1, "web", "100.64.0.1", "fd7a:115c:a1e0::1");
    member_init(&plain, &here, 2, "plain", "100.64.0.2", "fd7a:115c:a1e0::2");
    member_init(&client, &there, 3, "client", "100.64.0.3", "fd7a:115c:a1e0::3");
    return 0;
}

static int end(void **state)
{
    (void)state;
    member_free(&web);
    member_free(&plain);
    member_free(&client);
    sim_run(SEC);
    side_close(&here);
    side_close(&there);
    sim_stop();
    return 0;
}

static void start_both(void)
{
    member_start(&web, (struct member *[]) { &client, NULL });
    member_start(&client, (struct member *[]) { &web, NULL });
}

/* ---- from netmap to answer -------------------------------------------------------------------- */

static void a_stored_netmap_leads_to_an_answered_connection(void **state)
{
    (void)state;
    start_both();
    sim_run(SEC);
    assert_int_equal(node_state_get(web.node), NODE_SERVING_STORED);
    assert_true(is_answered(&client, web.ip));
    assert_true(is_answered(&client, web.ip6));
}

/* The first handshake message goes to a relay, and here is none. WireGuard itself would repeat it after 5 s.
 */
static void a_handshake_begun_before_there_was_a_path_is_repeated_as_soon_as_there_is_one(void **state)
{
    const struct wireguard_counters *ours;
    struct client c;

    (void)state;
    start_both();
    sim_run(SEC);
    client_open(&c, &client, web.ip);
    sim_run(2 * SEC);
    assert_true(c.connected);
    ours = wireguard_counters(there.shard->wireguard);
    assert_int_equal(ours->initiations_sent, 2);
    assert_int_equal(wireguard_counters(here.shard->wireguard)->responses_sent, 1);
    client_close(&c);
}

static void nobody_is_reached_whom_the_netmap_does_not_name(void **state)
{
    (void)state;
    member_start(&web, (struct member *[]) { NULL });
    member_start(&client, (struct member *[]) { &web, NULL });
    assert_false(is_answered(&client, web.ip));
}

/* The client's first handshake comes before the netmap that names its key (it has a new one, so that there
 * is a path to come by): no wait for its own retry. */
static void an_unknown_initiator_is_answered_when_a_delta_names_it(void **state)
{
    struct member former = client;
    struct client c;

    (void)state;
    secret_key_generate(&former.keys.node);
    member_start(&web, (struct member *[]) { &former, NULL });
    member_start(&client, (struct member *[]) { &web, NULL });
    client_open(&c, &client, web.ip);
    for (int i = 0; i < 60 && !here.shard->counters.handshakes_remembered; i++)
        sim_run(SEC / 2);
    assert_true(here.shard->counters.handshakes_remembered > 0);
    assert_false(c.connected);
    member_told_of(&web, &client);
    assert_int_equal(here.shard->counters.handshakes_resumed, 1);
    assert_int_equal(wireguard_counters(here.shard->wireguard)->responses_sent,
                     1); /* by the relay, in life */
    sim_run(10 * SEC);
    assert_true(c.connected);
    client_close(&c);
}

/* ---- before the first netmap -------------------------------------------------------------------------- */

/* It is kept beyond the netmap that brought it, and never given to nodes of another server. */
static void a_relay_map_is_shared_by_the_nodes_of_one_control_server(void **state)
{
    static const char text[] =
        "{\"Node\":{\"ID\":1,\"StableID\":\"1\",\"Name\":\"a.test.\",\"User\":1,\"Key\":\"nodekey:"
        "0101010101010101010101010101010101010101010101010101010101010101\",\"Addresses\":"
        "[\"100.64.0.1/32\"]},\"DERPMap\":{\"Regions\":{\"7\":{\"RegionID\":7,\"RegionCode\":\"x\",\"Nodes\":"
        "[{\"Name\":\"7a\",\"RegionID\":7,\"HostName\":\"192.0.2.3\"}]}}}}";
    struct node_process *p = here.process;
    struct tailcfg_map_response response;
    const struct tailcfg_derp_map *got;
    struct netmap_changes changes;
    struct netmap *map;

    (void)state;
    assert_int_equal(netmap_new(&map, p->store), 0);
    assert_int_equal(tailcfg_map_response_parse(span_from_str(text), &response), 0);
    assert_int_equal(netmap_apply(map, &response, true, 0, &changes), 0);
    tailcfg_map_response_deinit(&response);
    netmap_changes_release(&changes);
    assert_null(process_derp_map_get(p, "https://a.example"));
    process_derp_map_set(p, "https://a.example", netmap_derp_map(map));
    netmap_free(map);
    assert_null(process_derp_map_get(p, "https://b.example"));
    got = process_derp_map_get(p, "https://a.example");
    assert_non_null(got);
    assert_int_equal(got->regions[0].id, 7);
    netmap_derp_map_unref(p->store, got);
}

/* ---- neighbours ----------------------------------------------------------------------------------- */

static void a_node_without_control_tries_again_and_its_neighbour_never_notices(void **state)
{
    struct control_status before, after;
    struct client c;

    (void)state;
    start_both();
    client_open(&c, &client, web.ip);
    sim_run(20 * SEC);
    assert_true(c.connected);
    member_start(&plain, (struct member *[]) { NULL });
    control_client_status(plain.node->control, sim_now(), &before);
    sim_run(2 * MINUTE);
    control_client_status(plain.node->control, sim_now(), &after);
    assert_true(after.failures > before.failures + 3);
    node_free(plain.node);
    plain.node = NULL;
    client_say(&c, REQUEST);
    sim_run(SEC);
    assert_true(client_hears(&c, ANSWER));
    client_close(&c);
}

static void a_node_that_cannot_start_says_why_and_its_neighbour_never_notices(void **state)
{
    char why[NODE_WHY_BYTES];
    struct node *kept;

    (void)state;
    start_both();
    kept = web.node;
    assert_int_equal(member_new(&web, why), 1); /* the same folder again */
    web.node = kept;
    assert_non_null(strstr(why, "in use"));
    assert_true(is_answered(&client, web.ip));
}

/* ---- expiry ------------------------------------------------------------------------------------------ */

/* Its own netmap has no expiry any more, so it is the other side that refuses. */
static void client_says_it_is_fine(void)
{
    client.expiry = 0;
}

static void a_peer_whose_key_expires_is_refused_from_then_on(void **state)
{
    (void)state;
    client.expiry = ev_wall_clock() + 5 * MINUTE;
    start_both();
    assert_true(is_answered(&client, web.ip));
    sim_run(10 * MINUTE);
    client_says_it_is_fine();
    assert_false(is_answered(&client, web.ip));
}

/* ---- rotation ------------------------------------------------------------------------------------------ */

static void rotate(struct member *m)
{
    struct control_keys keys;

    secret_key_public(&m->keys.node, &keys.old_node);
    secret_key_generate(&m->keys.node);
    keys.node = m->keys.node;
    assert_int_equal(keys_changed(m->node, &keys), CONTROL_KEYS_LATER);
    state_disk_wait(m->side->process->disk);
    sim_run(SEC / 10);
}

static void request_is_answered(struct client *c)
{
    client_say(c, REQUEST);
    sim_run(3 * SEC);
    assert_false(c->failed);
    assert_true(client_hears(c, ANSWER));
}

static void a_connection_outlives_a_new_node_key_of_the_service(void **state)
{
    struct client c;

    (void)state;
    start_both();
    client_open(&c, &client, web.ip);
    sim_run(20 * SEC);
    request_is_answered(&c);
    rotate(&web);
    request_is_answered(&c); /* the client has not heard of it: the session of the old key carries it */
    member_told_of(&client, &web);
    request_is_answered(&c);
    rotate(&web);
    member_told_of(&client, &web); /* before the new handshake had a chance */
    request_is_answered(&c);
    assert_int_equal(netstack_counters(here.shard->netstack)->conns_accepted, 1);
    client_close(&c);
}

/* TCP's timeout has grown to seconds meanwhile; nobody waits for it once there is a key again. */
static void what_was_lost_during_a_rotation_is_repeated_as_soon_as_there_is_a_session(void **state)
{
    struct client c;

    (void)state;
    start_both();
    client_open(&c, &client, web.ip);
    sim_run(20 * SEC);
    request_is_answered(&c);
    rotate(&web);
    sim_cut(there.outer_ip, true);
    client_say(&c, REQUEST);
    sim_run(4 * SEC); /* repeated after 0.2, 0.6, 1.4, 3 s; next at 6.2 */
    sim_cut(there.outer_ip, false);
    member_told_of(&client, &web);
    sim_run(SEC);
    assert_true(client_hears(&c, ANSWER));
    client_close(&c);
}

static void a_connection_outlives_a_new_node_key_of_the_client(void **state)
{
    struct client c;

    (void)state;
    start_both();
    client_open(&c, &client, web.ip);
    sim_run(20 * SEC);
    request_is_answered(&c);
    rotate(&client);
    member_told_of(&web, &client);
    request_is_answered(&c);
    assert_int_equal(netstack_counters(here.shard->netstack)->conns_accepted, 1);
    client_close(&c);
}

/* Between nodes of one process, where packets go by handle and key, without WireGuard. */
static void a_connection_outlives_a_new_node_key_of_a_neighbour(void **state)
{
    struct client c;

    (void)state;
    member_start(&web, (struct member *[]) { &plain, NULL });
    member_start(&plain, (struct member *[]) { &web, NULL });
    client_open(&c, &plain, web.ip);
    sim_run(5 * SEC);
    request_is_answered(&c);
    rotate(&web);
    member_told_of(&plain, &web);
    request_is_answered(&c);
    rotate(&plain);
    member_told_of(&web, &plain);
    request_is_answered(&c);
    assert_true(here.shard->counters.inner_local > 0);
    assert_int_equal(wireguard_counters(here.shard->wireguard)->handshakes_done, 0);
    client_close(&c);
}

static void after_a_rotation_the_old_key_opens_nothing(void **state)
{
    struct public_key old;

    (void)state;
    start_both();
    assert_true(is_answered(&client, web.ip));
    secret_key_public(&client.keys.node, &old);
    rotate(&client);
    member_told_of(&web, &client);
    assert_null(peer_get(web.node, &old));
    assert_true(is_answered(&client, web.ip));
    assert_int_equal(wireguard_counters(here.shard->wireguard)->peers, 1);
}

static void the_netmap_is_stored_under_the_new_key(void **state)
{
    char why[NODE_WHY_BYTES];

    (void)state;
    start_both();
    rotate(&web);
    node_free(web.node);
    web.node = NULL;
    member_told_of(&client, &web);
    assert_int_equal(member_new(&web, why), 0);
    node_start(web.node);
    sim_run(SEC);
    assert_int_equal(node_state_get(web.node), NODE_SERVING_STORED);
    assert_true(is_answered(&client, web.ip));
}

/* ---- masquerade -----------------------------------------------------------------------------------------
 */

/* The service is shared: the client's tailnet has it under an address that its own does not know. */
static void share_web(void)
{
    web.shown_ip = "100.99.88.77";
    client.masquerade = "100.99.88.77"; /* in web's netmap: so the client knows us */
}

static void a_shared_service_answers_under_the_address_the_peer_has_for_it(void **state)
{
    struct ip_port from = { .port = 1 };
    struct netmap_whois who;

    (void)state;
    share_web();
    start_both();
    assert_true(is_answered(&client, "100.99.88.77"));
    assert_true(is_answered(&client, web.ip6)); /* the other family as ever */
    assert_int_equal(here.shard->counters.inner_filtered, 0);
    assert_true(ip_parse(span_from_str(client.ip), &from.ip));
    assert_true(netmap_whois(web.node->netmap, &from.ip, &who));
    assert_span_text(who.user->login_name, "alice@example.com");
}

static void a_shared_node_opens_connections_from_the_address_the_peer_has_for_it(void **state)
{
    (void)state;
    share_web();
    start_both();
    assert_true(is_answered(&web, client.ip));
    assert_int_equal(there.shard->counters.inner_source_refused, 0);
}

/* Without the field the packets come for an address that is not ours. */
static void only_the_peer_that_is_named_reaches_the_other_address(void **state)
{
    (void)state;
    share_web();
    client.masquerade = NULL;
    start_both();
    assert_false(is_answered(&client, "100.99.88.77"));
    assert_true(here.shard->counters.inner_filtered > 0);
}

/* Between nodes of one process, where no WireGuard is in between. */
static void a_neighbour_in_the_process_is_masqueraded_as_well(void **state)
{
    (void)state;
    web.shown_ip = plain.masquerade = "100.99.88.77";
    member_start(&web, (struct member *[]) { &plain, NULL });
    member_start(&plain, (struct member *[]) { &web, NULL });
    assert_true(is_answered(&plain, "100.99.88.77"));
    assert_true(is_answered(&web, plain.ip));
    assert_true(here.shard->counters.inner_local > 0);
}

static void a_delta_moves_the_address(void **state)
{
    (void)state;
    share_web();
    start_both();
    assert_true(is_answered(&client, "100.99.88.77"));
    web.shown_ip = client.masquerade = "100.99.88.66";
    member_told_of(&web, &client);
    member_told_of(&client, &web);
    assert_true(is_answered(&client, "100.99.88.66"));
}

/* ---- the end --------------------------------------------------------------------------------------------
 */

static void a_drain_waits_for_the_request_under_way_and_takes_no_other(void **state)
{
    struct client busy, idle;

    (void)state;
    start_both();
    client_open(&busy, &client, web.ip);
    client_open(&idle, &client, web.ip);
    sim_run(20 * SEC);
    client_say(&busy, "POST / HTTP/1.1\r\nHost: web\r\n");
    sim_run(SEC);
    node_stop(web.node, sim_now() + MINUTE);
    sim_run(SEC);
    assert_int_equal(web.stopped, 0);
    assert_true(stream_read(idle.stream, (char[1]) { 0 }, 1) == 0); /* the end */
    assert_false(is_answered(&client, web.ip));
    sim_run(MINUTE);
    assert_int_equal(web.stopped, 1);
    client_close(&busy);
    client_close(&idle);
}

/* The settings that it began with are not in force any more; it is under way all the same. */
static void a_drain_waits_for_a_request_from_before_a_reload(void **state)
{
    struct node_config config = member_config(&web);
    char why[NODE_WHY_BYTES];
    struct client busy;

    (void)state;
    start_both();
    client_open(&busy, &client, web.ip);
    sim_run(20 * SEC);
    client_say(&busy, "POST / HTTP/1.1\r\nHost: web\r\n");
    sim_run(SEC);
    assert_int_equal(node_reconfigure(web.node, &config, why), 0);
    sim_run(SEC);
    node_stop(web.node, sim_now() + MINUTE);
    sim_run(SEC);
    assert_int_equal(web.stopped, 0);
    sim_run(MINUTE);
    assert_int_equal(web.stopped, 1);
    client_close(&busy);
}

static void a_node_that_is_ended_resets_its_clients_and_waits_for_nobody(void **state)
{
    struct client busy;

    (void)state;
    start_both();
    client_open(&busy, &client, web.ip);
    sim_run(20 * SEC);
    client_say(&busy, "POST / HTTP/1.1\r\nHost: web\r\n");
    sim_run(SEC);
    node_stop(web.node, sim_now() + MINUTE);
    sim_run(SEC);
    assert_int_equal(web.stopped, 0);
    node_end(web.node);
    sim_run(SEC);
    assert_int_equal(web.stopped, 1);
    assert_int_equal(stream_read(busy.stream, (char[1]) { 0 }, 1), -ECONNRESET);
    client_close(&busy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
        T(a_stored_netmap_leads_to_an_answered_connection),
        T(a_handshake_begun_before_there_was_a_path_is_repeated_as_soon_as_there_is_one),
        T(nobody_is_reached_whom_the_netmap_does_not_name),
        T(an_unknown_initiator_is_answered_when_a_delta_names_it),
        T(a_relay_map_is_shared_by_the_nodes_of_one_control_server),
        T(a_node_without_control_tries_again_and_its_neighbour_never_notices),
        T(a_node_that_cannot_start_says_why_and_its_neighbour_never_notices),
        T(a_peer_whose_key_expires_is_refused_from_then_on),
        T(a_connection_outlives_a_new_node_key_of_the_service),
        T(what_was_lost_during_a_rotation_is_repeated_as_soon_as_there_is_a_session),
        T(a_connection_outlives_a_new_node_key_of_the_client),
        T(a_connection_outlives_a_new_node_key_of_a_neighbour),
        T(after_a_rotation_the_old_key_opens_nothing),
        T(the_netmap_is_stored_under_the_new_key),
        T(a_node_that_is_ended_resets_its_clients_and_waits_for_nobody),
        T(a_shared_service_answers_under_the_address_the_peer_has_for_it),
        T(a_shared_node_opens_connections_from_the_address_the_peer_has_for_it),
        T(only_the_peer_that_is_named_reaches_the_other_address),
        T(a_neighbour_in_the_process_is_masqueraded_as_well),
        T(a_delta_moves_the_address),
        T(a_drain_waits_for_the_request_under_way_and_takes_no_other),
        T(a_drain_waits_for_a_request_from_before_a_reload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "check.h"

#include "tailcfg/tailcfg.h"
#include "vectors/control_maps.h"
#include "vectors/headscale_maps.h"

#include <errno.h>

static struct tailcfg_map_response response;
static struct arena arena;

static int begin(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tailcfg_map_response_deinit(&response);
    arena_deinit(&arena);
    return 0;
}

static void read_map(const char *text)
{
    tailcfg_map_response_deinit(&response);
    assert_int_equal(tailcfg_map_response_parse(span_from_str(text), &response), 0);
}

static struct tailcfg_node read_node(struct span text)
{
    struct tailcfg_node node;

    assert_int_equal(tailcfg_node_parse(text, &arena, &node), 0);
    return node;
}

static int node_outcome(const char *text)
{
    struct tailcfg_node node;

    return tailcfg_node_parse(span_from_str(text), &arena, &node);
}

static void self_of_the_first_map(void **state)
{
    (void)state;
    struct tailcfg_node n;

    read_map(control_first_map);
    n = read_node(response.node);
    assert_int_equal(n.id, 42);
    assert_span_text(n.stable_id, "n42CNTRL");
    assert_span_text(n.name, "grafana.tail1234.ts.net.");
    assert_int_equal(n.user, 7001);
    assert_int_equal(n.key.bytes[0], 0x35);
    assert_true(public_key_is_zero(&n.disco_key));
    assert_int_equal(n.key_expiry, 0);
    assert_int_equal(n.addresses.count, 2);
    assert_int_equal(n.addresses.items[1].bits, 128);
    assert_int_equal(n.tags.count, 1);
    assert_span_text(n.tags.items[0], "tag:svc");
    assert_true(n.machine_authorized);
    assert_int_equal(n.caps.count, 2);
    assert_span_text(n.caps.items[0].name, "https");
    assert_int_equal(n.caps.items[0].values.len, 0);
    assert_span_text(n.caps.items[1].values, "[false]");
    assert_int_equal(n.online, TAILCFG_UNSET);
}

static void peer_of_the_first_map(void **state)
{
    (void)state;
    struct tailcfg_node n;

    read_map(control_first_map);
    assert_int_equal(response.peers.count, 1);
    n = read_node(response.peers.items[0]);
    assert_int_equal(n.id, 7);
    assert_true(n.key_expiry == INT64_C(1788220800) * SEC);
    assert_int_equal(n.allowed_ips.count, 1); /* null: the addresses */
    assert_true(ip_prefix_equal(&n.allowed_ips.items[0], &n.addresses.items[0]));
    assert_int_equal(n.endpoints.count, 1);
    assert_int_equal(n.endpoints.items[0].port, 41641);
    assert_int_equal(n.home_derp, 4);
    assert_span_text(n.os, "macOS");
    assert_int_equal(n.cap, 138);
    assert_int_equal(n.online, TAILCFG_TRUE);
}

static void other_parts_of_the_first_map(void **state)
{
    (void)state;
    struct tailcfg_user_profile user;
    struct tailcfg_filter_rule rule;
    struct tailcfg_derp_map derp;
    struct json_cursor rules;
    struct span text;

    read_map(control_first_map);
    assert_int_equal(response.skipped, 0);
    assert_int_equal(response.collect_services, TAILCFG_FALSE);
    assert_span_text(response.domain, "example.com");
    assert_true(response.control_time == INT64_C(1787392800123456789));
    assert_true(response.dns->proxied);
    assert_int_equal(response.dns->cert_domains.count, 1);
    assert_false(response.keep_alive || response.has_health || response.has_tka || response.filters_cleared);
    assert_int_equal(response.user_profiles.count, 2);
    assert_int_equal(tailcfg_user_profile_parse(response.user_profiles.items[0], &arena, &user), 0);
    assert_span_text(user.login_name, "alice@example.com");
    assert_int_equal(tailcfg_derp_map_parse(response.derp_map, &arena, &derp), 0);
    assert_true(derp.has_regions && !derp.has_scores);
    assert_int_equal(derp.regions[0].id, 4);
    assert_true(derp.regions[0].score == 1.0);
    assert_span_text(derp.regions[0].nodes[0].host_name, "derp4a.example");
    assert_int_equal(derp.regions[0].nodes[0].derp_port, 443);
    assert_int_equal(derp.regions[0].nodes[0].stun_port, 3478);
    assert_int_equal(response.filter_count, 1);
    assert_span_text(response.filters[0].name, "base");
    rules = json_cursor_of(response.filters[0].rules);
    assert_true(json_cursor_next(&rules, NULL, &text));
    assert_int_equal(tailcfg_filter_rule_parse(text, &arena, &rule), 0);
    assert_span_text(rule.sources.items[0], "100.64.0.7");
    assert_int_equal(rule.destinations[0].ports.last, 443);
    assert_true(rule.has_protocols && rule.protocols[0] == BIT(6));
    assert_true(json_cursor_next(&rules, NULL, &text));
    assert_int_equal(tailcfg_filter_rule_parse(text, &arena, &rule), 0);
    assert_int_equal(rule.destination_count, 0);
    assert_false(rule.has_protocols);
    assert_span_text(rule.grants[0].cap_map.items[0].name, "example.com/cap/grafana");
    assert_span_text(rule.grants[0].cap_map.items[0].values, "[{\"role\":\"admin\"}]");
}

static void deltas_say_what_they_say_and_nothing_else(void **state)
{
    (void)state;
    read_map(control_deltas[0]);
    assert_int_equal(response.patch_count, 1);
    assert_int_equal(response.patches[0].id, 7);
    assert_int_equal(response.patches[0].home_derp, 9);
    assert_true(response.patches[0].has_endpoints);
    assert_int_equal(response.patches[0].endpoints.items[0].port, 50000);
    assert_false(response.patches[0].has_key || response.patches[0].has_key_expiry ||
                 response.patches[0].has_caps);
    assert_int_equal(response.patches[0].online, TAILCFG_UNSET);
    read_map(control_deltas[1]);
    assert_int_equal(response.patches[0].online, TAILCFG_FALSE);
    assert_true(response.patches[0].last_seen == INT64_C(1787392920) * SEC);
    assert_false(response.patches[0].has_endpoints);
    read_map(control_deltas[2]);
    assert_int_equal(response.online_change_count, 1);
    assert_int_equal(response.online_changes[0].id, 7);
    assert_true(response.online_changes[0].value);
    read_map(control_deltas[3]);
    assert_int_equal(response.peers_removed.items[0], 7);
    assert_span_text(response.filters[0].rules, "[]");
    read_map(control_deltas[4]);
    assert_true(response.filters_cleared);
    assert_int_equal(response.filter_count, 1);
    assert_span_text(response.filters[0].name, "acl-3");
    read_map(control_deltas[5]);
    assert_true(response.keep_alive);
}

static void null_absent_and_empty_are_three_things(void **state)
{
    (void)state;
    struct tailcfg_node n;

    read_map("{\"PacketFilter\":null,\"PacketFilters\":null,\"Health\":null,\"Peers\":null,\"Node\":null,"
             "\"DERPMap\":null,\"PeersChangedPatch\":[{\"NodeID\":1,\"Endpoints\":null,\"CapMap\":null}]}");
    assert_int_equal(response.filter_count, 0);
    assert_false(response.has_health);
    assert_false(response.patches[0].has_endpoints || response.patches[0].has_caps);
    read_map("{\"PacketFilter\":[],\"Health\":[],\"PeersChangedPatch\":[{\"NodeID\":1,\"Endpoints\":[],"
             "\"CapMap\":{},"
             "\"KeyExpiry\":\"0001-01-01T00:00:00Z\"}]}");
    assert_int_equal(response.filter_count, 1);
    assert_span_text(response.filters[0].name, "base");
    assert_true(response.has_health && !response.health.count);
    assert_true(response.patches[0].has_endpoints && response.patches[0].has_caps);
    assert_true(response.patches[0].has_key_expiry && !response.patches[0].key_expiry);
    n = read_node(span_from_str("{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"],\"AllowedIPs\":[]}"));
    assert_int_equal(n.allowed_ips.count, 0);
    n = read_node(span_from_str("{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"]}"));
    assert_int_equal(n.allowed_ips.count, 1);
}

/* PacketFilter sets "base", then "*" clears it too, then the names are set. */
static void old_filter_comes_before_the_named_ones(void **state)
{
    (void)state;
    read_map("{\"PacketFilters\":{\"x\":null,\"*\":[]},\"PacketFilter\":[{}]}");
    assert_false(response.filters_cleared); /* only null clears */
    assert_int_equal(response.filter_count, 2);
    assert_span_text(response.filters[0].name, "base");
    assert_span_text(response.filters[0].rules, "[{}]");
    assert_span_text(response.filters[1].name, "x");
    assert_int_equal(response.filters[1].rules.len, 0);
    read_map("{\"PacketFilters\":{\"a\\u0026b\":[],\"*\":null},\"PacketFilter\":[{}]}");
    assert_true(response.filters_cleared);
    assert_int_equal(response.filter_count, 1);
    assert_span_text(response.filters[0].name, "a&b");
}

static void chunk_that_is_no_list_denies(void **state)
{
    (void)state;
    read_map("{\"PacketFilters\":{\"base\":{\"SrcIPs\":[\"*\"]}}}");
    assert_span_text(response.filters[0].rules, "[]");
    assert_int_equal(response.skipped, 1);
}

static void ids_are_not_squeezed_through_32_bits_or_a_double(void **state)
{
    (void)state;
    read_map(
        "{\"PeersRemoved\":[9007199254740993,-5],\"OnlineChange\":{\"9007199254740993\":true,\"x\":true}}");
    assert_true(response.peers_removed.items[0] == 9007199254740993);
    assert_true(response.online_changes[0].id == 9007199254740993);
    assert_int_equal(response.skipped, 1);
}

static void older_spellings_are_understood(void **state)
{
    (void)state;
    struct tailcfg_node n;

    n = read_node(span_from_str("{\"ID\":1,\"DERP\":\"127.3.3.40:17\",\"Capabilities\":[\"a\",\"b\"],"
                                "\"CapMap\":{\"b\":[1]}}"));
    assert_int_equal(n.home_derp, 17);
    assert_int_equal(n.caps.count, 2);
    assert_span_text(n.caps.items[0].name, "b");
    assert_span_text(n.caps.items[1].name, "a");
    n = read_node(span_from_str("{\"ID\":1,\"DERP\":\"127.3.3.40:17\",\"HomeDERP\":2}"));
    assert_int_equal(n.home_derp, 2);
    n = read_node(span_from_str("{\"ID\":1,\"DERP\":\"127.3.3.41:17\"}"));
    assert_int_equal(n.home_derp, 0);
}

static void unsigned_node_gets_no_routes(void **state)
{
    (void)state;
    struct tailcfg_node n = read_node(span_from_str("{\"ID\":1,\"UnsignedPeerAPIOnly\":true,\"Addresses\":["
                                                    "\"100.64.0.1/32\"],\"AllowedIPs\":[\"0.0.0.0/0\"]}"));

    assert_int_equal(n.allowed_ips.count, 1);
    assert_int_equal(n.allowed_ips.items[0].bits, 32);
}

/* What decides who may do what must be right, or the node is refused; what only informs may be anything. */
static void wrong_types_are_refused_where_they_matter(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"ID\":0}",
        "{\"ID\":\"1\"}",
        "{\"ID\":1.0}",
        "{\"ID\":1,\"Key\":\"\"}",
        "{\"ID\":1,\"Key\":\"nodekey:12\"}",
        "{\"ID\":1,\"Key\":5}",
        ("{\"ID\":1,\"DiscoKey\":\"nodekey:"
         "0000000000000000000000000000000000000000000000000000000000000000\"}"),
        "{\"ID\":1,\"KeyExpiry\":\"tomorrow\"}",
        "{\"ID\":1,\"AllowedIPs\":\"100.64.0.1/32\"}",
        "{\"ID\":1,\"Addresses\":{}}",
        "{\"ID\":1,\"IsJailed\":1}",
        "{\"ID\":1,\"Expired\":\"true\"}",
        "{\"ID\":1,\"Tags\":\"tag:x\"}",
        "{\"ID\":1,\"CapMap\":[]}",
        "{\"ID\":1,\"SelfNodeV4MasqAddrForThisPeer\":\"1.2\"}",
        "[]",
    };

    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (node_outcome(bad[i]) != TAILCFG_E_SHAPE)
            fail_msg("%s: %d", bad[i], node_outcome(bad[i]));
    assert_int_equal(node_outcome("{\"ID\":1"), TAILCFG_E_JSON);
    assert_int_equal(node_outcome("{\"ID\":1,\"X\":tru}"), TAILCFG_E_JSON);
    assert_int_equal(
        node_outcome("{\"ID\":1,\"Hostinfo\":7,\"Online\":\"yes\",\"Endpoints\":\"x\",\"HomeDERP\":\"4\","
                     "\"Created\":\"x\",\"LastSeen\":3,\"Name\":null,\"Addresses\":[\"x\",\"\",7]}"),
        0);
}

static void times_at_the_edges(void **state)
{
    (void)state;
    struct tailcfg_node n;

    n = read_node(span_from_str("{\"ID\":1,\"KeyExpiry\":\"9999-12-31T23:59:59Z\"}"));
    assert_true(n.key_expiry == INT64_MAX);
    n = read_node(span_from_str("{\"ID\":1,\"KeyExpiry\":\"1970-01-01T00:00:00Z\"}"));
    assert_true(n.key_expiry == 1); /* 0 would be "never" */
    n = read_node(span_from_str("{\"ID\":1,\"KeyExpiry\":\"0001-01-01T00:00:00Z\"}"));
    assert_true(n.key_expiry == 0);
}

static void lists_of_one_node_are_bounded(void **state)
{
    (void)state;
    struct tailcfg_node n;
    struct json_writer w;
    struct buf b;

    for (int routes = 0; routes <= 1; routes++) {
        buf_init(&b, 1 << 20);
        w = json_writer_of(&b);
        json_object_begin(&w, NULL);
        json_put_i64(&w, "ID", 1);
        json_array_begin(&w, routes ? "AllowedIPs" : "Endpoints");
        for (int i = 0; i <= TAILCFG_PREFIXES_MAX; i++)
            json_put_str(&w, NULL, routes ? "10.0.0.0/8" : "10.0.0.1:80");
        json_array_end(&w);
        json_object_end(&w);
        assert_int_equal(json_writer_done(&w), 0);
        assert_int_equal(tailcfg_node_parse(buf_span(&b), &arena, &n), routes ? TAILCFG_E_SHAPE : 0);
        if (!routes)
            assert_int_equal(n.endpoints.count, TAILCFG_ENDPOINTS_MAX);
        buf_deinit(&b);
    }
}

static void one_bad_entry_spoils_only_itself(void **state)
{
    (void)state;
    read_map("{\"Peers\":[7,{\"ID\":1},null,{\"ID\":tru}],\"PeersChangedPatch\":[{\"NodeID\":\"x\"},{"
             "\"NodeID\":3}],"
             "\"PeersRemoved\":[\"x\",4]}");
    assert_int_equal(response.peers.count, 2);
    assert_int_equal(response.patch_count, 1);
    assert_int_equal(response.patches[0].id, 3);
    assert_int_equal(response.peers_removed.count, 1);
    assert_int_equal(response.skipped, 4);
}

static void broken_messages_are_refused_whole(void **state)
{
    (void)state;
    struct tailcfg_map_response r;
    static const struct {
        const char *text;
        int outcome;
    } cases[] = {
        { "", TAILCFG_E_JSON },
        { "x", TAILCFG_E_JSON },
        { "[]", TAILCFG_E_SHAPE },
        { "7", TAILCFG_E_SHAPE },
        { "{\"Peers\":{}}", TAILCFG_E_SHAPE },
        { "{\"Node\":7}", TAILCFG_E_SHAPE },
        { "{\"PacketFilters\":[]}", TAILCFG_E_SHAPE },
        { "{\"PeersRemoved\":7}", TAILCFG_E_SHAPE },
        { "{\"KeepAlive\":tru}", TAILCFG_E_JSON },
        { "{} {}", TAILCFG_E_JSON },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int got = tailcfg_map_response_parse(span_from_str(cases[i].text), &r);

        if (got != cases[i].outcome)
            fail_msg("%s: %d", cases[i].text, got);
    }
}

/* A message that was cut off anywhere is no message. */
static void every_prefix_is_refused(void **state)
{
    (void)state;
    struct tailcfg_map_response r;

    for (size_t len = 0; len < sizeof(control_first_map) - 1; len++)
        assert_int_equal(tailcfg_map_response_parse(span_make(control_first_map, len), &r), TAILCFG_E_JSON);
}

static void small_parts_of_a_map(void **state)
{
    (void)state;
    read_map(
        "{\"PingRequest\":{\"URL\":\"http://x/p\",\"URLIsNoise\":true,\"Types\":\"c2n\",\"Payload\":\"R0VU\","
        "\"IP\":\"100.64.0.1\"},\"PopBrowserURL\":\"https://a\",\"Debug\":{\"SleepSeconds\":1.5,\"Exit\":3},"
        "\"TKAInfo\":{\"Head\":\"ABC\",\"Disabled\":false},\"Health\":[\"bad\",\"worse\"],"
        "\"DisplayMessages\":{\"*\":null,\"a\":{\"Title\":\"T\",\"Severity\":\"high\"},\"b\":null},"
        "\"PeerSeenChange\":{\"5\":false},\"SSHPolicy\":{},\"ControlDialPlan\":{\"Candidates\":[]}}");
    assert_span_text(response.ping->url, "http://x/p");
    assert_span_text(response.ping->payload, "GET");
    assert_true(response.ping->url_is_noise);
    assert_span_text(response.pop_browser_url, "https://a");
    assert_true(response.debug.has_sleep && response.debug.sleep_seconds == 1.5);
    assert_true(response.debug.has_exit && response.debug.exit_code == 3);
    assert_true(response.has_tka && !response.tka_disabled);
    assert_span_text(response.tka_head, "ABC");
    assert_int_equal(response.health.count, 2);
    assert_true(response.display_cleared);
    assert_int_equal(response.display_count, 2);
    assert_span_text(response.display[0].title, "T");
    assert_true(response.display[1].removed);
    assert_int_equal(response.seen_change_count, 1);
}

static void relay_map_rules(void **state)
{
    (void)state;
    struct tailcfg_derp_map m;

    assert_int_equal(tailcfg_derp_map_parse(
                         span_from_str("{\"HomeParams\":{\"RegionScore\":{\"1\":0.5,\"x\":2,\"2\":-1}},"
                                       "\"Regions\":{\"10\":{\"Nodes\":[7,{\"STUNPort\":-1,\"DERPPort\":"
                                       "8443,\"STUNOnly\":true}]},\"3\":null,\"1\":{\"RegionID\":1,"
                                       "\"NoMeasureNoHome\":true},\"01\":{}},"
                                       "\"omitDefaultRegions\":true}"),
                         &arena, &m),
                     0);
    assert_true(m.has_regions && m.has_scores && m.omit_default_regions);
    assert_int_equal(m.region_count, 2);
    assert_int_equal(m.regions[0].id, 1);
    assert_true(m.regions[0].score == 0.5 && m.regions[0].no_measure_no_home);
    assert_int_equal(m.regions[1].id, 10);
    assert_int_equal(m.regions[1].node_count, 1);
    assert_int_equal(m.regions[1].nodes[0].stun_port, -1);
    assert_int_equal(m.regions[1].nodes[0].derp_port, 8443);
    assert_int_equal(m.score_count, 1);
    assert_int_equal(
        tailcfg_derp_map_parse(span_from_str("{\"HomeParams\":{\"RegionScore\":{}}}"), &arena, &m), 0);
    assert_true(!m.has_regions && m.has_scores);
}

static void real_messages_of_headscale_leave_nothing_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(headscale_maps); i++) {
        read_map(headscale_maps[i]);
        assert_int_equal(response.skipped, 0);
        if (response.node.len)
            assert_span_text(read_node(response.node).name, "c1.lab.ts.test.");
        for (size_t k = 0; k < response.peers_changed.count; k++)
            assert_int_equal(read_node(response.peers_changed.items[k]).addresses.count, 2);
        if (!i) {
            struct tailcfg_node n = read_node(response.node);

            assert_int_equal(n.caps.count, 4);
            assert_span_text(n.tags.items[0], "tag:svc");
        }
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(self_of_the_first_map),
        WITH(peer_of_the_first_map),
        WITH(other_parts_of_the_first_map),
        WITH(deltas_say_what_they_say_and_nothing_else),
        WITH(null_absent_and_empty_are_three_things),
        WITH(old_filter_comes_before_the_named_ones),
        WITH(chunk_that_is_no_list_denies),
        WITH(ids_are_not_squeezed_through_32_bits_or_a_double),
        WITH(older_spellings_are_understood),
        WITH(unsigned_node_gets_no_routes),
        WITH(wrong_types_are_refused_where_they_matter),
        WITH(times_at_the_edges),
        WITH(lists_of_one_node_are_bounded),
        WITH(one_bad_entry_spoils_only_itself),
        WITH(broken_messages_are_refused_whole),
        WITH(every_prefix_is_refused),
        WITH(small_parts_of_a_map),
        WITH(relay_map_rules),
        WITH(real_messages_of_headscale_leave_nothing_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

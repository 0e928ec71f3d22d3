#include "check.h"

#include "netmap/netmap.h"
#include "vectors/control_maps.h"
#include "vectors/headscale_maps.h"
#include "vectors/netmap_steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* 2026-08-22T10:00:00Z, when the worked examples were sent. */
#define NOW (INT64_C(1787392800) * SEC)

static struct netmap_store *store;
static struct netmap *map;
static struct netmap_changes changes;

static int begin(void **state)
{
    (void)state;
    static const uint8_t key[16] = "sixteen bytes..";

    changes = (struct netmap_changes) { .store = NULL };
    assert_int_equal(netmap_store_new(&store, key), 0);
    assert_int_equal(netmap_new(&map, store), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    struct netmap_store_stats stats;

    netmap_changes_release(&changes);
    netmap_free(map);
    netmap_store_stats(store, &stats);
    assert_int_equal(
        stats.peers + stats.peer_bytes + stats.users + stats.rules + stats.derp_maps + stats.text_bytes, 0);
    netmap_store_free(store);
    return 0;
}

static int apply_to(struct netmap *n, const char *text, bool first, int64_t now)
{
    struct tailcfg_map_response r;
    int e;

    netmap_changes_release(&changes);
    assert_int_equal(tailcfg_map_response_parse(span_from_str(text), &r), 0);
    e = netmap_apply(n, &r, first, now, &changes);
    tailcfg_map_response_deinit(&r);
    return e;
}

static void first(const char *text)
{
    assert_int_equal(apply_to(map, text, true, NOW), 0);
}

static void delta(const char *text)
{
    assert_int_equal(apply_to(map, text, false, NOW), 0);
}

static struct ip ip_of(const char *text)
{
    struct ip a;

    assert_true(ip_parse(span_from_str(text), &a));
    return a;
}

static int64_t route(const char *address)
{
    struct ip a = ip_of(address);
    const struct netmap_peer *p = netmap_route(map, &a);

    return p ? p->node.id : 0;
}

static const struct netmap_peer *peer(int64_t id)
{
    return netmap_peer_by_id(map, id);
}

static enum filter_verdict syn(const char *src, const char *dst, uint16_t port)
{
    struct ip a = ip_of(src);
    struct ip_port to = { ip_of(dst), port };
    const struct netmap_peer *p = netmap_peer_by_address(map, &a);
    struct filter_source from = p ? netmap_peer_filter_source(p) : (struct filter_source) { .jailed = false };
    struct filter_local local;
    struct ip_prefix ours = { to.ip, ip_is_v4(&to.ip) ? 32 : 128 };
    enum filter_verdict v;

    filter_local_init(&local, 1);
    assert_int_equal(filter_local_set(&local, &ours, 1), 0);
    v = filter_check(netmap_filter(map), &local, PACKET_TCP, &a, &to, &from);
    filter_local_deinit(&local);
    return v;
}

/* ---- the worked examples
 * ------------------------------------------------------------------------------------ */

static void first_map(void **state)
{
    (void)state;
    struct ip a = ip_of("100.64.0.7"), none = ip_of("100.64.0.8");
    char name[NETMAP_NAME_BYTES];
    struct netmap_whois who;

    first(control_first_map);
    assert_int_equal(netmap_self(map)->node.id, 42);
    assert_int_equal(netmap_peer_count(map), 1);
    assert_true(netmap_whois(map, &a, &who));
    assert_int_equal(who.peer->node.id, 7);
    assert_span_text(who.user->login_name, "alice@example.com");
    assert_false(who.tagged);
    assert_string_equal(netmap_peer_display_name(map, who.peer, name), "laptop");
    assert_false(netmap_whois(map, &none, &who));
    a = ip_of("fd7a:115c:a1e0::2a");
    assert_true(netmap_whois(map, &a, &who)); /* ourselves */
    assert_true(who.tagged);
    assert_span_text(netmap_magic_dns_suffix(map), "tail1234.ts.net");
    assert_span_text(netmap_domain(map), "example.com");
    assert_true(netmap_magic_dns(map));
    assert_int_equal(netmap_cert_domain_count(map), 1);
    assert_span_text(netmap_cert_domain(map, 0), "grafana.tail1234.ts.net");
    assert_non_null(netmap_peer_cap(netmap_self(map), "https"));
    assert_null(netmap_peer_cap(netmap_self(map), "funnel"));
    assert_int_equal(netmap_derp_map(map)->region_count, 1);
    assert_int_equal(netmap_peer_online(map, peer(7)), TAILCFG_TRUE);
    assert_int_equal(syn("100.64.0.7", "100.64.0.42", 443), FILTER_ACCEPT_RULE);
    assert_int_equal(syn("100.64.0.7", "100.64.0.42", 80), FILTER_DROP_NO_RULE);
    assert_true(changes.self && changes.filter && changes.derp_map && changes.users && changes.domain &&
                changes.dns);
    assert_int_equal(changes.count, 1);
    assert_null(changes.peers[0].old);
    assert_ptr_equal(changes.peers[0].new, peer(7));
    assert_null(changes.old_self);
}

static void print_cap(void *ctx, struct span name, struct span values)
{
    struct buf *b = ctx;

    assert_int_equal(buf_append(b, name) || buf_append_str(b, "=") || buf_append(b, values), 0);
}

static void grants_of_a_peer(void **state)
{
    (void)state;
    struct ip other = ip_of("100.64.0.43");
    struct buf b;

    buf_init(&b, 1000);
    first(control_first_map);
    netmap_caps(map, peer(7), NULL, print_cap, &b);
    assert_span_text(buf_span(&b), "example.com/cap/grafana=[{\"role\":\"admin\"}]");
    buf_clear(&b);
    netmap_caps(map, peer(7), &other, print_cap, &b);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
}

static void deltas_of_the_examples(void **state)
{
    (void)state;
    first(control_first_map);
    delta(control_deltas[0]);
    assert_int_equal(changes.count, 1);
    assert_int_equal(changes.peers[0].old->node.endpoints.items[0].port, 41641);
    assert_int_equal(changes.peers[0].new->node.endpoints.items[0].port, 50000);
    assert_int_equal(peer(7)->node.home_derp, 9);
    assert_false(changes.self || changes.filter || changes.derp_map || changes.users || changes.liveness);
    delta(control_deltas[1]);
    assert_int_equal(changes.count, 0); /* nothing that the data path would care for */
    assert_true(changes.liveness);
    assert_int_equal(netmap_peer_online(map, peer(7)), TAILCFG_FALSE);
    assert_true(netmap_peer_last_seen(map, peer(7)) == NOW + 120 * SEC);
    delta(control_deltas[2]);
    assert_int_equal(netmap_peer_online(map, peer(7)), TAILCFG_TRUE);
    delta(control_deltas[3]);
    assert_int_equal(netmap_peer_count(map), 0);
    assert_int_equal(changes.count, 1);
    assert_null(changes.peers[0].new);
    assert_int_equal(changes.peers[0].old->node.id, 7);
    assert_int_equal(syn("100.64.0.7", "100.64.0.42", 443), FILTER_DROP_NO_RULE);
    delta(control_deltas[4]);
    assert_true(changes.filter);
    assert_int_equal(syn("100.64.0.99", "100.64.0.42", 22), FILTER_ACCEPT_RULE);
    delta(control_deltas[5]);
    assert_int_equal(netmap_self(map)->node.id, 42);
}

/* ---- rules that are easy to get wrong
 * ------------------------------------------------------------------------- */

#define ADDRESS(id) "\"Addresses\":[\"100.64.0." #id "/32\"]"
#define NODE(id, more) "{\"ID\":" #id ",\"User\":9," ADDRESS(id) more "}"
#define SELF "\"Node\":" NODE(42, ",\"Name\":\"me.t.net.\"")
#define START(peers) "{" SELF ",\"Peers\":[" peers "]}"

static void first_message_without_ourselves_changes_nothing(void **state)
{
    (void)state;
    first(control_first_map);
    assert_int_equal(apply_to(map, "{\"Peers\":[" NODE(1, "") "]}", true, NOW), NETMAP_E_NO_NODE);
    assert_int_equal(apply_to(map, "{\"Node\":{\"ID\":0},\"PeersRemoved\":[7]}", true, NOW),
                     NETMAP_E_BAD_NODE);
    assert_int_equal(apply_to(map, "{\"Node\":{\"ID\":0},\"PeersRemoved\":[7]}", false, NOW),
                     NETMAP_E_BAD_NODE);
    assert_int_equal(changes.count, 0);
    assert_non_null(peer(7));
    assert_int_equal(netmap_self(map)->node.id, 42);
}

static void new_stream_forgets_what_it_does_not_name(void **state)
{
    (void)state;
    first(control_first_map);
    first("{" SELF ",\"PeersChanged\":[" NODE(8, "") "]}");
    assert_null(peer(7));
    assert_non_null(peer(8));
    assert_int_equal(changes.count, 2);
    assert_null(netmap_user(map, 9));
    assert_null(netmap_derp_map(map));
    assert_int_equal(netmap_domain(map).len, 0);
    assert_int_equal(netmap_cert_domain_count(map), 0);
    assert_int_equal(netmap_filter(map)->count, 0);
    assert_true(changes.self && changes.users && changes.derp_map && changes.filter && changes.domain &&
                changes.dns);
    first("{" SELF "}"); /* a tailnet without visible peers */
    assert_int_equal(netmap_peer_count(map), 0);
    assert_false(changes.self);
}

static void same_map_on_a_new_stream_changes_nothing(void **state)
{
    (void)state;
    uint64_t generation;

    first(control_first_map);
    generation = netmap_generation(map);
    first(control_first_map);
    assert_int_equal(changes.count, 0);
    assert_false(changes.self || changes.filter || changes.derp_map || changes.users || changes.domain ||
                 changes.dns || changes.tka);
    assert_int_equal(netmap_generation(map), generation);
}

static void peers_is_complete_only_if_it_is_not_empty(void **state)
{
    (void)state;
    first(START(NODE(1, "") "," NODE(2, "")));
    delta("{\"Peers\":[]}");
    assert_int_equal(netmap_peer_count(map), 2);
    delta("{\"Peers\":[" NODE(2, "") "," NODE(3, "") "],\"PeersRemoved\":[3],\"PeersChanged\":[" NODE(
        4, "") "],"
               "\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":5}],\"OnlineChange\":{\"2\":true}}");
    assert_int_equal(netmap_peer_count(map), 2);
    assert_null(peer(1));
    assert_non_null(peer(3));
    assert_int_equal(peer(2)->node.home_derp, 0); /* the rest of the message does not count */
    assert_int_equal(netmap_peer_online(map, peer(2)), TAILCFG_UNSET);
    assert_int_equal(changes.count, 2);
}

/* Removed, changed, online, patched: the last word has the patch. */
static void order_within_a_delta(void **state)
{
    (void)state;
    first(START(NODE(1, ",\"HomeDERP\":1") "," NODE(2, "")));
    delta("{\"PeersChangedPatch\":[{\"NodeID\":1,\"DERPRegion\":7,\"Online\":false}],\"OnlineChange\":{\"1\":"
          "true},"
          "\"PeersChanged\":[" NODE(1, ",\"HomeDERP\":3,\"Cap\":99") "],\"PeersRemoved\":[1,2,77]}");
    assert_int_equal(netmap_peer_count(map), 1);
    assert_int_equal(peer(1)->node.home_derp, 7);
    assert_int_equal(peer(1)->node.cap, 99);
    assert_int_equal(netmap_peer_online(map, peer(1)), TAILCFG_FALSE);
    assert_int_equal(changes.count, 2); /* each peer once */
    assert_int_equal(changes.peers[0].old->node.home_derp, 1);
    assert_int_equal(changes.peers[0].new->node.home_derp, 7);
}

static void patches_only_touch_peers_that_are_there(void **state)
{
    (void)state;
    first(START(NODE(1, "")));
    delta("{\"PeersChangedPatch\":[{\"NodeID\":42,\"DERPRegion\":3},{\"NodeID\":5,\"DERPRegion\":3}],"
          "\"OnlineChange\":{\"5\":true,\"42\":true},\"PeerSeenChange\":{\"5\":true}}");
    assert_int_equal(netmap_self(map)->node.home_derp, 0);
    assert_int_equal(netmap_peer_count(map), 1);
    assert_int_equal(changes.count, 0);
}

static void patch_and_its_reverse_leave_no_trace(void **state)
{
    (void)state;
    const struct netmap_peer *before;

    first(START(NODE(1, ",\"HomeDERP\":1")));
    before = peer(1);
    delta("{\"PeersChangedPatch\":[{\"NodeID\":1,\"DERPRegion\":2},{\"NodeID\":1,\"DERPRegion\":1}]}");
    assert_int_equal(changes.count, 0);
    assert_ptr_equal(peer(1), before);
    delta("{\"PeersChanged\":[" NODE(1, ",\"HomeDERP\":1") "]}");
    assert_int_equal(changes.count, 0);
}

static void key_changes_are_found_under_the_new_key(void **state)
{
    (void)state;
    struct public_key old = { { 0xaa } }, new = { { 0xbb } };
    char message[400], text[KEY_TEXT_BYTES];

    snprintf(message, sizeof(message), "{" SELF ",\"Peers\":[{\"ID\":1," ADDRESS(1) ",\"Key\":\"%s\"}]}",
             key_text(text, "nodekey:", old.bytes));
    first(message);
    assert_int_equal(netmap_peer_by_key(map, &old)->node.id, 1);
    assert_null(netmap_peer_by_key(map, &new));
    snprintf(message, sizeof(message), "{\"PeersChangedPatch\":[{\"NodeID\":1,\"Key\":\"%s\"}]}",
             key_text(text, "nodekey:", new.bytes));
    delta(message);
    assert_null(netmap_peer_by_key(map, &old));
    assert_int_equal(netmap_peer_by_key(map, &new)->node.id, 1);
    assert_null(netmap_peer_by_key(map, &(struct public_key) { { 0 } }));
}

static void longest_prefix_gets_the_packet(void **state)
{
    (void)state;
    struct ip a = ip_of("10.1.2.3"), own = ip_of("100.64.0.1");

    first(START(NODE(1, ",\"AllowedIPs\":[\"100.64.0.1/32\",\"10.0.0.0/8\",\"0.0.0.0/0\",\"::/0\"]") "," NODE(
        2, ",\"AllowedIPs\":[\"100.64.0.2/32\",\"10.1.0.0/16\",\"192.0.2.7/32\"]") "," NODE(3, ",\"AllowedIPs"
                                                                                               "\":[]")));
    assert_int_equal(route("100.64.0.1"), 1);
    assert_int_equal(route("10.2.2.2"), 1);
    assert_int_equal(route("10.1.2.3"), 2);
    assert_int_equal(route("192.0.2.7"), 2);
    assert_int_equal(route("192.0.2.8"), 1);
    assert_int_equal(route("2001:db8::1"), 1);
    assert_int_equal(route("100.64.0.3"), 1); /* 3 is allowed nothing */
    assert_true(netmap_source_allowed(map, peer(2), &a));
    assert_false(netmap_source_allowed(map, peer(1), &a)); /* 2 has the longer prefix */
    assert_true(netmap_source_allowed(map, peer(1), &own));
    assert_false(netmap_source_allowed(map, peer(2), &own));
    assert_null(netmap_peer_by_address(map, &a)); /* routes are nobody's address */
    delta("{\"PeersRemoved\":[2]}");
    assert_int_equal(route("10.1.2.3"), 1);
    delta("{\"PeersRemoved\":[1]}");
    assert_int_equal(route("10.1.2.3"), 0);
}

static void other_nodes_do_not_see_what_is_ours(void **state)
{
    (void)state;
    struct ip one = ip_of("100.64.0.1"), two = ip_of("100.64.0.2");
    struct netmap_whois who;
    struct netmap *other;

    assert_int_equal(netmap_new(&other, store), 0);
    first("{" SELF ",\"Peers\":[" NODE(1, "") "],\"UserProfiles\":[{\"ID\":9}]}");
    assert_int_equal(
        apply_to(other, "{" SELF ",\"Peers\":[" NODE(2, "") "],\"UserProfiles\":[{\"ID\":9}]}", true, NOW),
        0);
    assert_true(netmap_whois(map, &one, &who));
    assert_false(netmap_whois(map, &two, &who));
    assert_true(netmap_whois(other, &two, &who));
    assert_false(netmap_whois(other, &one, &who));
    netmap_free(other);
}

static void what_is_equal_is_stored_once(void **state)
{
    (void)state;
    struct netmap_store_stats stats;
    struct netmap *others[20];

    first(control_first_map);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_int_equal(netmap_new(&others[i], store), 0);
        assert_int_equal(apply_to(others[i], control_first_map, true, NOW), 0);
        assert_ptr_equal(netmap_peer_by_id(others[i], 7), peer(7));
        assert_ptr_equal(netmap_derp_map(others[i]), netmap_derp_map(map));
        assert_int_equal(netmap_peer_online(others[i], peer(7)), TAILCFG_TRUE);
    }
    netmap_store_stats(store, &stats);
    assert_int_equal(stats.peers, 2); /* the peer and ourselves */
    assert_int_equal(stats.users, 2);
    assert_int_equal(stats.rules, 1);
    assert_int_equal(stats.derp_maps, 1);
    assert_int_equal(stats.texts_parsed, 2);
    assert_int_equal(stats.texts_known, 40);
    delta(control_deltas[0]);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_int_equal(apply_to(others[i], control_deltas[0], false, NOW), 0);
        assert_ptr_equal(netmap_peer_by_id(others[i], 7), peer(7)); /* so does the same patch */
    }
    netmap_changes_release(&changes);
    netmap_store_stats(store, &stats);
    assert_int_equal(stats.peers, 2);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        netmap_free(others[i]);
}

static void a_bad_peer_spoils_only_itself(void **state)
{
    (void)state;
    first("{" SELF ",\"Peers\":[" NODE(1, "") ",{\"ID\":2,\"Key\":\"x\"},7,{\"ID\":tru},{\"User\":5}," NODE(
        3,
        "") "],"
            "\"UserProfiles\":[{\"ID\":\"x\"},{\"ID\":4,\"LoginName\":\"d\"}],\"DERPMap\":{\"Regions\":tru},"
            "\"PacketFilters\":{\"a\":[tru],\"b\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":"
            "{\"First\":1,"
            "\"Last\":9}}]}]}}");
    assert_int_equal(netmap_peer_count(map), 2);
    assert_non_null(netmap_user(map, 4));
    assert_null(netmap_derp_map(map));
    assert_int_equal(changes.skipped, 6);
    assert_int_equal(syn("100.64.0.1", "100.64.0.42", 5), FILTER_ACCEPT_RULE);
}

/* Also a peer that we knew goes, if what is said about it now makes no sense. */
static void bad_peer_in_a_complete_list_is_gone(void **state)
{
    (void)state;
    first(START(NODE(1, "") "," NODE(2, "")));
    delta("{\"Peers\":[" NODE(1, "") ",{\"ID\":2,\"IsJailed\":\"no\"}]}");
    assert_null(peer(2));
    first(START(NODE(1, "") "," NODE(2, "")));
    delta("{\"PeersChanged\":[{\"ID\":2,\"IsJailed\":\"no\"}]}");
    assert_non_null(peer(2)); /* a delta that makes no sense says nothing */
}

static void lists_out_of_order_and_twice(void **state)
{
    (void)state;
    first(START(
        NODE(9, "") "," NODE(3, ",\"Cap\":1") "," NODE(5, "") "," NODE(3, ",\"Cap\":2") "," NODE(1, "")));
    assert_int_equal(netmap_peer_count(map), 4);
    for (size_t i = 1; i < 4; i++)
        assert_true(netmap_peer_at(map, i - 1)->node.id < netmap_peer_at(map, i)->node.id);
    assert_int_equal(peer(3)->node.cap, 2); /* the last one counts */
    assert_null(netmap_peer_at(map, 4));
}

static void filter_chunks_by_name(void **state)
{
    (void)state;
#define ALLOW(port)                                                                                          \
    "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":" #port ",\"Last\":" #port "}}]}" \
    "]"
    first("{" SELF ",\"PacketFilter\":" ALLOW(1) ",\"PacketFilters\":{\"x\":" ALLOW(2) "}}");
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 1), FILTER_ACCEPT_RULE);
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 2), FILTER_ACCEPT_RULE);
    delta("{\"PacketFilters\":{\"y\":" ALLOW(3) ",\"x\":null}}");
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 1), FILTER_ACCEPT_RULE);
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 2), FILTER_DROP_NO_RULE);
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 3), FILTER_ACCEPT_RULE);
    delta("{\"PacketFilters\":{\"y\":" ALLOW(3) "}}");
    assert_false(changes.filter);
    delta("{\"PacketFilter\":" ALLOW(4) "}");
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 1), FILTER_DROP_NO_RULE);
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 4), FILTER_ACCEPT_RULE);
    delta("{\"PacketFilters\":{\"*\":null}}");
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 4), FILTER_DROP_NO_FILTER);
    delta("{\"PacketFilter\":[]}");
    assert_int_equal(syn("100.64.0.9", "100.64.0.42", 4), FILTER_DROP_NO_RULE);
}

/* A server that gives an unsigned node network access is broken or hostile. */
static void filter_that_names_an_unsigned_peer_is_thrown_away(void **state)
{
    (void)state;
    first("{" SELF ",\"PacketFilter\":[{\"SrcIPs\":[\"100.64.0.0/"
          "24\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,"
          "\"Last\":9}}]}],\"Peers\":[" NODE(1, "") "]}");
    assert_int_equal(syn("100.64.0.1", "100.64.0.42", 5), FILTER_ACCEPT_RULE);
    delta("{\"PeersChanged\":[" NODE(2, ",\"UnsignedPeerAPIOnly\":true,\"AllowedIPs\":[\"0.0.0.0/0\"]") "]}");
    assert_true(changes.filter);
    assert_true(netmap_filter(map)->refused);
    assert_int_equal(syn("100.64.0.1", "100.64.0.42", 5), FILTER_DROP_NO_FILTER);
    assert_int_equal(route("8.8.8.8"), 0); /* and it gets no routes */
    delta("{\"PeersRemoved\":[2]}");
    assert_true(changes.filter);
    assert_int_equal(syn("100.64.0.1", "100.64.0.42", 5), FILTER_ACCEPT_RULE);
}

static void capability_sources_ask_the_peer(void **state)
{
    (void)state;
    first("{" SELF
          ",\"PacketFilter\":[{\"SrcIPs\":[\"cap:blue\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,"
          "\"Last\":9}}]}],\"Peers\":[" NODE(1, ",\"CapMap\":{\"blue\":null}") "," NODE(2, "") "]}");
    assert_int_equal(syn("100.64.0.1", "100.64.0.42", 5), FILTER_ACCEPT_RULE);
    assert_int_equal(syn("100.64.0.2", "100.64.0.42", 5), FILTER_DROP_NO_RULE);
    delta("{\"PeersChangedPatch\":[{\"NodeID\":1,\"CapMap\":{}}]}");
    assert_int_equal(syn("100.64.0.1", "100.64.0.42", 5), FILTER_DROP_NO_RULE);
}

static void unsigned_peers_keep_only_the_ingress_capability(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 1000);
    first("{" SELF
          ",\"PacketFilter\":[{\"SrcIPs\":[\"*\"],\"CapGrant\":[{\"Dsts\":[\"0.0.0.0/0\"],\"Caps\":[\"x\","
          "\"https://tailscale.com/cap/ingress\"]}]}],\"Peers\":[" NODE(
              1, ",\"UnsignedPeerAPIOnly\":true") "]}");
    netmap_caps(map, peer(1), NULL, print_cap, &b);
    assert_span_text(buf_span(&b), "https://tailscale.com/cap/ingress=");
    buf_deinit(&b);
}

static void relay_map_keeps_what_a_new_one_leaves_out(void **state)
{
    (void)state;
    first("{" SELF ",\"DERPMap\":{\"HomeParams\":{\"RegionScore\":{\"1\":0.5}},\"Regions\":{\"1\":{"
          "\"RegionCode\":\"a\"},"
          "\"2\":null}}}");
    assert_int_equal(netmap_derp_map(map)->region_count, 1);
    assert_true(netmap_derp_map(map)->regions[0].score == 0.5);
    delta("{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionCode\":\"b\"},\"3\":{}}}}");
    assert_true(changes.derp_map);
    assert_int_equal(netmap_derp_map(map)->region_count, 2);
    assert_span_text(netmap_derp_map(map)->regions[0].code, "b");
    assert_true(netmap_derp_map(map)->regions[0].score == 0.5);
    delta("{\"DERPMap\":{\"HomeParams\":{\"RegionScore\":{}}}}");
    assert_int_equal(netmap_derp_map(map)->region_count, 2);
    assert_true(netmap_derp_map(map)->regions[0].score == 1.0);
    delta("{\"DERPMap\":{\"Regions\":{}}}");
    assert_int_equal(netmap_derp_map(map)->region_count, 0);
    delta("{\"DERPMap\":7}");
    assert_false(changes.derp_map);
}

static void tailnet_lock_state_is_remembered(void **state)
{
    (void)state;
    first("{" SELF ",\"TKAInfo\":{\"Head\":\"ABC\"}}");
    assert_span_text(netmap_tka_head(map), "ABC");
    delta("{\"Domain\":\"x.org\"}");
    assert_span_text(netmap_tka_head(map), "ABC");
    assert_false(changes.tka);
    delta("{\"TKAInfo\":{\"Head\":\"ABC\",\"Disabled\":true}}");
    assert_int_equal(netmap_tka_head(map).len, 0);
    assert_true(changes.tka);
    assert_span_text(netmap_domain(map), "x.org");
}

static void names_for_people(void **state)
{
    (void)state;
    static const struct {
        const char *node, *name;
    } cases[] = {
        { NODE(1, ",\"Name\":\"web.t.net.\""), "web" },
        { NODE(1, ",\"Name\":\"web.t.net\""), "web" },
        { NODE(1, ",\"Name\":\"web.other.net.\""), "web.other.net" },
        { NODE(1, ",\"Name\":\"webt.net.\""), "webt.net" },
        { NODE(1, ",\"Name\":\"t.net.\""), "t.net" },
        { NODE(1, ",\"Hostinfo\":{\"Hostname\":\"Alice's Mac_1.local\"}"), "alice-s-mac-1" },
        { NODE(1, ",\"Key\":\"nodekey:aa00000000000000000000000000000000000000000000000000000000000000\""),
          "nodekey:aa00000000000000000000000000000000000000000000000000000000000000" },
    };
    char message[600], name[NETMAP_NAME_BYTES];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        snprintf(message, sizeof(message), "{" SELF ",\"Peers\":[%s]}", cases[i].node);
        first(message);
        assert_string_equal(netmap_peer_display_name(map, peer(1), name), cases[i].name);
    }
}

/* ---- expiry
 * --------------------------------------------------------------------------------------------------- */

static void keys_end_when_control_says(void **state)
{
    (void)state;
    int64_t end_of_1 = NOW + HOUR, end_of_2 = NOW + 2 * HOUR;

    first("{\"Node\":" NODE(42, ",\"KeyExpiry\":\"2026-08-22T13:00:00Z\"") ",\"Peers\":[" NODE(
        1, ",\"KeyExpiry\":\"2026-08-22T11:00:00Z\"") "," NODE(2, ",\"KeyExpiry\":\"2026-08-22T12:00:"
                                                                  "00Z\"") "," NODE(3, "") "]}");
    assert_true(netmap_next_expiry(map) == end_of_1);
    assert_false(netmap_peer_expired(map, peer(1), end_of_1 - 1));
    assert_true(netmap_peer_expired(map, peer(1), end_of_1));
    assert_false(netmap_peer_expired(map, peer(3), INT64_MAX - HOUR));
    assert_int_equal(route("100.64.0.1"), 1);
    netmap_changes_release(&changes);
    assert_int_equal(netmap_expire(map, end_of_1 - 1, &changes), 0);
    assert_int_equal(changes.count, 0);
    assert_int_equal(netmap_expire(map, end_of_1, &changes), 0);
    assert_int_equal(changes.count, 1);
    assert_true(changes.peers[0].expired && changes.peers[0].old == changes.peers[0].new);
    assert_int_equal(changes.peers[0].new->node.id, 1);
    assert_int_equal(route("100.64.0.1"), 0);
    assert_true(netmap_next_expiry(map) == end_of_2);
    delta("{\"PeersChangedPatch\":[{\"NodeID\":1,\"KeyExpiry\":\"0001-01-01T00:00:00Z\"}]}"); /* renewed for
                                                                                                 ever */
    assert_false(netmap_peer_expired(map, peer(1), end_of_1));
    assert_int_equal(route("100.64.0.1"), 1);
    netmap_changes_release(&changes);
    assert_int_equal(netmap_expire(map, NOW + 5 * HOUR, &changes), 0);
    assert_int_equal(changes.count, 1);
    assert_true(changes.self); /* ourselves */
    assert_true(netmap_next_expiry(map) == INT64_MAX);
}

static void clocks_that_differ(void **state)
{
    (void)state;
    first("{" SELF ",\"ControlTime\":\"2026-08-22T10:00:59Z\",\"Peers\":[" NODE(
        1, ",\"KeyExpiry\":\"2026-08-22T11:00:00Z\"") "]}");
    assert_true(netmap_control_now(map, NOW) == NOW); /* within a minute: ours is as good */
    delta("{\"KeepAlive\":true,\"ControlTime\":\"2026-08-22T10:30:00Z\"}");
    assert_true(netmap_control_now(map, NOW) == NOW + 30 * MINUTE);
    assert_true(netmap_next_expiry(map) == NOW + 30 * MINUTE);
    assert_true(netmap_peer_expired(map, peer(1), NOW + 30 * MINUTE));
    delta("{\"ControlTime\":\"2020-01-01T00:00:00Z\"}"); /* nonsense: then nothing expires */
    assert_false(netmap_peer_expired(map, peer(1), NOW + 30 * MINUTE));
    assert_int_equal(netmap_expire(map, NOW + 24 * HOUR, &changes), 0);
    assert_int_equal(changes.count, 0);
}

static void marked_as_expired(void **state)
{
    (void)state;
    first(START(NODE(1, ",\"Expired\":true")));
    assert_true(netmap_peer_expired(map, peer(1), 0));
    assert_int_equal(route("100.64.0.1"), 0);
}

/* ---- on disk
 * -------------------------------------------------------------------------------------------------- */

/* How a peer knows us is part of the peer: deltas change it, and it is there after a restart. */
static void masquerade_addresses_are_changed_by_deltas_and_saved(void **state)
{
    (void)state;
    struct netmap *again;
    struct ip want;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_true(ip_parse(span_from_str("100.99.88.77"), &want));
    first(control_first_map);
    assert_true(ip_is_none(&peer(7)->node.masquerade_v4));
    delta("{\"PeersChanged\":[{\"ID\":7,\"Name\":\"x.\",\"Addresses\":[\"100.64.0.7/32\"],"
          "\"SelfNodeV4MasqAddrForThisPeer\":\"100.99.88.77\"}]}");
    assert_true(ip_equal(&peer(7)->node.masquerade_v4, &want));
    assert_int_equal(netmap_save(map, &b), 0);
    assert_int_equal(netmap_new(&again, store), 0);
    assert_int_equal(netmap_load(again, buf_span(&b)), 0);
    assert_true(ip_equal(&netmap_peer_by_id(again, 7)->node.masquerade_v4, &want));
    netmap_free(again);
    buf_deinit(&b);
    delta("{\"PeersChanged\":[{\"ID\":7,\"Name\":\"x.\",\"Addresses\":[\"100.64.0.7/32\"]}]}");
    assert_true(ip_is_none(&peer(7)->node.masquerade_v4));
}

static void saved_and_loaded_is_the_same(void **state)
{
    (void)state;
    struct netmap *again;
    struct buf b, b2;

    buf_init(&b, 1 << 20);
    buf_init(&b2, 1 << 20);
    assert_int_equal(netmap_save(map, &b), -ENODATA);
    first(control_first_map);
    delta("{\"TKAInfo\":{\"Head\":\"ABC\"},\"PacketFilters\":{\"x\\u0026\\\"y\":[]}}");
    assert_int_equal(netmap_save(map, &b), 0);
    assert_int_equal(netmap_new(&again, store), 0);
    assert_int_equal(netmap_load(again, buf_span(&b)), 0);
    assert_ptr_equal(netmap_self(again), netmap_self(map)); /* equal content is one object */
    assert_ptr_equal(netmap_peer_by_id(again, 7), peer(7));
    assert_ptr_equal(netmap_derp_map(again), netmap_derp_map(map));
    assert_int_equal(netmap_filter(again)->count, 2);
    assert_span_text(netmap_user(again, 9)->display_name, "Alice");
    assert_span_text(netmap_domain(again), "example.com");
    assert_span_text(netmap_tka_head(again), "ABC");
    assert_true(netmap_magic_dns(again));
    assert_span_text(netmap_cert_domain(again, 0), "grafana.tail1234.ts.net");
    assert_int_equal(netmap_save(again, &b2), 0);
    assert_true(span_equal(buf_span(&b), buf_span(&b2)));
    netmap_free(again);
    buf_deinit(&b);
    buf_deinit(&b2);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    struct netmap *again;
    struct buf b;

    buf_init(&b, 1 << 20);
    first(control_first_map);
    assert_int_equal(netmap_save(map, &b), 0);
    assert_int_equal(netmap_new(&again, store), 0);
    for (size_t i = 0; i < b.len; i += 3) { /* a bit somewhere */
        uint8_t *at = b.data + b.start + i;

        if (*at == '\n')
            continue;
        *at ^= 0x04;
        if (netmap_load(again, buf_span(&b)) != NETMAP_E_DAMAGED)
            fail_msg("byte %zu", i);
        *at ^= 0x04;
    }
    for (size_t len = 0; len + 1 < b.len; len += 7) /* cut */
        assert_int_equal(netmap_load(again, span_slice(buf_span(&b), 0, len)), NETMAP_E_DAMAGED);
    assert_null(netmap_self(again));
    assert_int_equal(netmap_load(again, span_from_str("{\"Saved\":2,\"Hash\":\"\",\"Map\":{}}")),
                     NETMAP_E_DAMAGED);
    assert_int_equal(netmap_load(again, SPAN_NONE), NETMAP_E_DAMAGED);
    assert_int_equal(netmap_load(again, buf_span(&b)), 0);
    netmap_free(again);
    buf_deinit(&b);
}

/* ---- other people's messages
 * ---------------------------------------------------------------------------------- */

static void stream_of_headscale(void **state)
{
    (void)state;
    struct ip two = ip_of("100.64.0.2"), three = ip_of("fd7a:115c:a1e0::3");
    struct netmap_whois who;

    for (size_t i = 0; i < COUNT_OF(headscale_maps); i++) {
        assert_int_equal(apply_to(map, headscale_maps[i], !i, INT64_C(1795539903) * SEC), 0);
        assert_int_equal(changes.skipped, 0);
        if (i == 12) { /* both are here, with endpoints */
            assert_int_equal(netmap_peer_count(map), 2);
            assert_true(netmap_whois(map, &two, &who));
            assert_span_text(who.user->login_name, "bench@lab.test");
            assert_int_equal(netmap_peer_online(map, peer(2)), TAILCFG_TRUE);
            assert_int_equal(peer(2)->node.endpoints.count, 1);
            assert_int_equal(syn("100.64.0.2", "100.64.0.1", 443), FILTER_ACCEPT_RULE);
            assert_int_equal(syn("100.64.0.2", "100.64.0.1", 8005), FILTER_ACCEPT_RULE);
            assert_int_equal(syn("100.64.0.2", "100.64.0.1", 8011), FILTER_DROP_NO_RULE);
        }
        if (i == 13)
            assert_int_equal(netmap_peer_online(map, peer(2)), TAILCFG_FALSE);
    }
    assert_int_equal(netmap_peer_count(map), 1); /* 2 was deleted */
    assert_false(netmap_whois(map, &two, &who));
    assert_true(netmap_whois(map, &three, &who));
    assert_true(netmap_peer_expired(map, who.peer, INT64_C(1795539903) * SEC)); /* 3 was expired */
}

static void print_node(struct buf *b, const struct netmap_peer *p, bool self)
{
    static const char *const online[] = { "-", "false", "true" };
    char a[KEY_TEXT_BYTES], d[KEY_TEXT_BYTES], t[IP_PORT_TEXT_BYTES];
    const struct tailcfg_node *n = &p->node;
    int r = buf_printf(b, "%lld %.*s \"%.*s\" %lld %.16s %.17s %lld|", (long long)n->id,
                       (int)n->stable_id.len, (const char *)n->stable_id.data, (int)n->name.len,
                       (const char *)n->name.data, (long long)n->user, key_text(a, "nodekey:", n->key.bytes),
                       key_text(d, "discokey:", n->disco_key.bytes), (long long)n->key_expiry);

    for (size_t i = 0; i < n->addresses.count; i++)
        r |= buf_printf(b, "%s%s/%d", i ? "," : "", ip_text(&n->addresses.items[i].ip, t),
                        n->addresses.items[i].bits);
    r |= buf_append_str(b, "|");
    for (size_t i = 0; i < n->allowed_ips.count; i++)
        r |= buf_printf(b, "%s%s/%d", i ? "," : "", ip_text(&n->allowed_ips.items[i].ip, t),
                        n->allowed_ips.items[i].bits);
    r |= buf_append_str(b, "|");
    for (size_t i = 0; i < n->endpoints.count; i++)
        r |= buf_printf(b, "%s%s", i ? "," : "", ip_port_text(&n->endpoints.items[i], t));
    r |= buf_printf(b, "|%d %d|", n->home_derp, n->cap);
    for (size_t i = 0; i < n->tags.count; i++)
        r |= buf_printf(b, "%s%.*s", i ? "," : "", (int)n->tags.items[i].len,
                        (const char *)n->tags.items[i].data);
    r |= buf_append_str(b, "|");
    for (size_t i = 0; i < n->caps.count; i++) { /* the vectors have them in this order already */
        struct json_cursor c = json_cursor_of(n->caps.items[i].values);
        struct span value;

        r |= buf_printf(b, "%s%.*s=", i ? "," : "", (int)n->caps.items[i].name.len,
                        (const char *)n->caps.items[i].name.data);
        while (n->caps.items[i].values.len && json_cursor_next(&c, NULL, &value))
            r |= buf_append(b, value) | buf_append_str(b, ";");
    }
    r |= buf_printf(b, "|%s %lld %s %s\n", self ? "-" : online[netmap_peer_online(map, p)],
                    self ? 0 : (long long)(netmap_peer_last_seen(map, p) / SEC), n->jailed ? "true" : "false",
                    n->unsigned_peerapi_only ? "true" : "false");
    assert_int_equal(r, 0);
}

static void print_map(struct buf *b)
{
    const struct tailcfg_derp_map *derp = netmap_derp_map(map);
    int r = buf_append_str(b, "self ");

    print_node(b, netmap_self(map), true);
    for (size_t i = 0; i < netmap_peer_count(map); i++)
        print_node(b, netmap_peer_at(map, i), false);
    for (int64_t id = 0; id < 10; id++) {
        const struct tailcfg_user_profile *u = netmap_user(map, id);

        if (u)
            r |= buf_printf(b, "user %lld %.*s\n", (long long)id, (int)u->login_name.len,
                            (const char *)u->login_name.data);
    }
    for (size_t i = 0; derp && i < derp->region_count; i++)
        r |= buf_printf(b, "derp %d %.*s %g %zu %s\n", derp->regions[i].id, (int)derp->regions[i].code.len,
                        (const char *)derp->regions[i].code.data, derp->regions[i].score,
                        derp->regions[i].node_count, derp->omit_default_regions ? "true" : "false");
    r |= buf_printf(b, "domain \"%.*s\" tka \"%.*s\" certs [", (int)netmap_domain(map).len,
                    (const char *)netmap_domain(map).data, (int)netmap_tka_head(map).len,
                    (const char *)netmap_tka_head(map).data);
    for (size_t i = 0; i < netmap_cert_domain_count(map); i++)
        r |= buf_printf(b, "%s%.*s", i ? " " : "", (int)netmap_cert_domain(map, i).len,
                        (const char *)netmap_cert_domain(map, i).data);
    r |= buf_printf(b, "] magic %s\n", netmap_magic_dns(map) ? "true" : "false");
    assert_int_equal(r, 0);
}

static void reference_sees_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(netmap_steps); i++) {
        struct buf b;

        assert_int_equal(
            apply_to(map, netmap_steps[i].message, netmap_steps[i].first, INT64_C(1800000000) * SEC), 0);
        assert_int_equal(changes.skipped, 0);
        buf_init(&b, 1 << 20);
        print_map(&b);
        assert_span_text(buf_span(&b), netmap_steps[i].netmap);
        buf_deinit(&b);
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, begin, end)

/* A map with so many peers. */
static void see_peers(struct netmap *n, unsigned count)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    assert_int_equal(buf_append_str(&text, "{\"Node\":{\"ID\":1,\"Name\":\"a.test.\"},\"Peers\":["), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(buf_printf(&text,
                                    "%s{\"ID\":%u,\"Name\":\"p%u.test.\",\"Key\":\"nodekey:%064x\","
                                    "\"Addresses\":[\"100.64.%u.%u/32\"]}",
                                    i ? "," : "", i + 10, i, i + 1, i / 250, i % 250 + 1),
                         0);
    assert_int_equal(buf_append(&text, span_make("]}", 3)), 0);
    assert_int_equal(apply_to(n, (const char *)buf_span(&text).data, true, NOW), 0);
    assert_int_equal(netmap_peer_count(n), count);
    netmap_changes_release(&changes);
    buf_deinit(&text);
}

static void memory_grows_by_a_reference_for_the_node_and_by_an_object_for_all(void **state)
{
    (void)state;
    enum { FEW = 10, MANY = 1010, ROUNDING = 32 }; /* what an allocator may leave at the end of a block */
    struct netmap_store_stats few, many, shared;
    struct netmap *other;
    size_t before;

    see_peers(map, FEW);
    before = netmap_memory(map);
    netmap_store_stats(store, &few);
    see_peers(map, MANY);
    netmap_store_stats(store, &many);
    /* Its list has room for as many again at most. */
    assert_in_range(netmap_memory(map) - before, (MANY - FEW) * NETMAP_REF_BYTES - ROUNDING,
                    2 * MANY * NETMAP_REF_BYTES);
    assert_in_range(many.peer_bytes - few.peer_bytes, (MANY - FEW) * sizeof(struct netmap_peer),
                    (MANY - FEW) * (sizeof(struct netmap_peer) + 600)); /* places in tables, texts */
    assert_int_equal(netmap_new(&other, store), 0);
    see_peers(other, MANY);
    netmap_store_stats(store, &shared);
    assert_int_equal(shared.peer_bytes, many.peer_bytes);
    assert_in_range(netmap_memory(other), MANY * NETMAP_REF_BYTES, netmap_memory(map) + 64);
    netmap_free(other);
    see_peers(map, FEW);
    netmap_store_stats(store, &shared);
    assert_int_equal(shared.peer_bytes, few.peer_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(first_map),
        WITH(grants_of_a_peer),
        WITH(deltas_of_the_examples),
        WITH(first_message_without_ourselves_changes_nothing),
        WITH(new_stream_forgets_what_it_does_not_name),
        WITH(same_map_on_a_new_stream_changes_nothing),
        WITH(peers_is_complete_only_if_it_is_not_empty),
        WITH(order_within_a_delta),
        WITH(patches_only_touch_peers_that_are_there),
        WITH(patch_and_its_reverse_leave_no_trace),
        WITH(key_changes_are_found_under_the_new_key),
        WITH(longest_prefix_gets_the_packet),
        WITH(other_nodes_do_not_see_what_is_ours),
        WITH(what_is_equal_is_stored_once),
        WITH(a_bad_peer_spoils_only_itself),
        WITH(bad_peer_in_a_complete_list_is_gone),
        WITH(lists_out_of_order_and_twice),
        WITH(filter_chunks_by_name),
        WITH(filter_that_names_an_unsigned_peer_is_thrown_away),
        WITH(capability_sources_ask_the_peer),
        WITH(unsigned_peers_keep_only_the_ingress_capability),
        WITH(relay_map_keeps_what_a_new_one_leaves_out),
        WITH(tailnet_lock_state_is_remembered),
        WITH(names_for_people),
        WITH(keys_end_when_control_says),
        WITH(clocks_that_differ),
        WITH(marked_as_expired),
        WITH(masquerade_addresses_are_changed_by_deltas_and_saved),
        WITH(saved_and_loaded_is_the_same),
        WITH(damage_is_noticed),
        WITH(stream_of_headscale),
        WITH(reference_sees_the_same),
        WITH(memory_grows_by_a_reference_for_the_node_and_by_an_object_for_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

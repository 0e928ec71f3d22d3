/* fuzz/tailcfg_map.c - any text as a map response and as each of its parts */
#include "tailcfg/tailcfg.h"

static void within(struct tailcfg_texts t, struct span text)
{
    for (size_t i = 0; i < t.count; i++)
        must(t.items[i].data >= text.data && t.items[i].data + t.items[i].len <= text.data + text.len);
}

static void parse_part(struct span text)
{
    struct tailcfg_register_response answer;
    struct tailcfg_user_profile user;
    struct tailcfg_filter_rule rule;
    struct tailcfg_derp_map derp;
    struct tailcfg_node node;
    struct public_key key;
    struct arena a;

    arena_init(&a, 16 << 20);
    if (tailcfg_node_parse(text, &a, &node) == 0) {
        must(node.id);
        must(node.endpoints.count <= TAILCFG_ENDPOINTS_MAX && node.allowed_ips.count <= TAILCFG_PREFIXES_MAX);
        must(!node.unsigned_peerapi_only || node.allowed_ips.items == node.addresses.items);
    }
    if (tailcfg_derp_map_parse(text, &a, &derp) == 0)
        for (size_t i = 1; i < derp.region_count; i++)
            must(derp.regions[i - 1].id < derp.regions[i].id);
    (void)!tailcfg_user_profile_parse(text, &a, &user);
    (void)!tailcfg_filter_rule_parse(text, &a, &rule);
    arena_deinit(&a);
    if (tailcfg_register_response_parse(text, &answer) == 0)
        tailcfg_register_response_deinit(&answer);
    must(tailcfg_server_key_parse(text, &key) != 0 || !public_key_is_zero(&key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span text = span_make(data, len);
    struct tailcfg_map_response r;

    parse_part(text);
    if (tailcfg_map_response_parse(text, &r))
        return 0;
    within(r.peers, text);
    within(r.peers_changed, text);
    within(r.user_profiles, text);
    for (size_t i = 0; i < r.peers.count; i++)
        parse_part(r.peers.items[i]);
    parse_part(r.node);
    parse_part(r.derp_map);
    for (size_t i = 0; i < r.patch_count; i++)
        must(r.patches[i].id);
    must(r.filter_count <= len);
    tailcfg_map_response_deinit(&r);
    return 0;
}

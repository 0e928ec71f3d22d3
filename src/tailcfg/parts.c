/* tailcfg/parts.c - users, relay maps and filter rules */
#include "tailcfg/decode.h"

#include <errno.h>

#define STUN_PORT_DEFAULT 3478
#define DERP_PORT_DEFAULT 443

int tailcfg_user_profile_parse(struct span text, struct arena *a, struct tailcfg_user_profile *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_SMALL_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root, .arena = a };

    if (r)
        return r;
    *out = (struct tailcfg_user_profile) {
        .id = decode_id(&d, "ID"),
        .login_name = decode_text(&d, "LoginName"),
        .display_name = decode_text(&d, "DisplayName"),
        .picture_url = decode_text(&d, "ProfilePicURL"),
        .groups = decode_texts(&d, "Groups", NULL),
    };
    return decode_result(&d);
}

/* ---- relay map ------------------------------------------------------------------------------------------
 */

static bool decode_derp_node(const struct json *v, struct arena *a, struct tailcfg_derp_node *out)
{
    struct decode d = { .object = v, .arena = a };
    int64_t port = 0, stun = 0;

    if (json_kind(v) != JSON_KIND_OBJECT)
        return false;
    (void)json_get_int(v, "DERPPort", 1, UINT16_MAX, &port);
    (void)json_get_int(v, "STUNPort", -1, UINT16_MAX, &stun);
    *out = (struct tailcfg_derp_node) {
        .name = decode_text(&d, "Name"),
        .host_name = decode_text(&d, "HostName"),
        .cert_name = decode_text(&d, "CertName"),
        .ipv4 = decode_text(&d, "IPv4"),
        .ipv6 = decode_text(&d, "IPv6"),
        .stun_test_ip = decode_text(&d, "STUNTestIP"),
        .derp_port = port ? (uint16_t)port : DERP_PORT_DEFAULT,
        .stun_port = stun ? (int32_t)stun : STUN_PORT_DEFAULT,
        .stun_only = decode_loose_flag(&d, "STUNOnly"),
        .insecure_for_tests = decode_loose_flag(&d, "InsecureForTests"),
        .can_port80 = decode_loose_flag(&d, "CanPort80"),
    };
    return true;
}

static void decode_derp_region(const struct json *v, struct arena *a, int32_t id,
                               struct tailcfg_derp_region *out)
{
    struct decode d = { .object = v, .arena = a };
    const struct json *nodes = NULL;
    struct tailcfg_derp_node *items;

    *out = (struct tailcfg_derp_region) {
        .id = id,
        .code = decode_text(&d, "RegionCode"),
        .name = decode_text(&d, "RegionName"),
        .score = 1,
        .avoid = decode_loose_flag(&d, "Avoid"),
        .no_measure_no_home = decode_loose_flag(&d, "NoMeasureNoHome"),
    };
    (void)json_get_real(v, "Latitude", &out->latitude);
    (void)json_get_real(v, "Longitude", &out->longitude);
    (void)json_get_array(v, "Nodes", &nodes);
    items = ARENA_ARRAY(a, json_array_count(nodes), struct tailcfg_derp_node);
    for (size_t i = 0; items && i < json_array_count(nodes); i++)
        out->node_count += decode_derp_node(json_array_at(nodes, i), a, &items[out->node_count]);
    out->nodes = items;
}

static bool region_id(struct span key, int32_t *out)
{
    uint64_t v;

    if (!text_parse_u64(key, INT32_MAX, &v) || !v)
        return false;
    *out = (int32_t)v;
    return true;
}

static size_t member_count(const struct json *object)
{
    struct json_iter it = { 0 };
    const struct json *value;
    struct span key;
    size_t n = 0;

    while (json_object_next(object, &it, &key, &value))
        n++;
    return n;
}

/* Into order by id; a region that two spellings of one number name is there once ("01" is no clean server).
 */
static size_t sort_regions(struct tailcfg_derp_region *items, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        struct tailcfg_derp_region region = items[i];
        size_t at = kept;

        while (at && items[at - 1].id > region.id)
            at--;
        if (at && items[at - 1].id == region.id)
            continue;
        memmove(&items[at + 1], &items[at], (kept - at) * sizeof(*items));
        items[at] = region;
        kept++;
    }
    return kept;
}

static void decode_regions(const struct json *object, struct arena *a, struct tailcfg_derp_map *out)
{
    struct tailcfg_derp_region *items =
        ARENA_ARRAY(a, MIN(member_count(object), (size_t)TAILCFG_REGIONS_MAX), struct tailcfg_derp_region);
    struct json_iter it = { 0 };
    const struct json *value;
    struct span key;
    size_t count = 0;
    int32_t id;

    if (!items)
        return;
    while (count < TAILCFG_REGIONS_MAX && json_object_next(object, &it, &key, &value))
        if (json_kind(value) == JSON_KIND_OBJECT && region_id(key, &id)) /* older headscale sent null ones */
            decode_derp_region(value, a, id, &items[count++]);
    out->regions = items;
    out->region_count = sort_regions(items, count);
}

static void decode_scores(const struct json *object, struct arena *a, struct tailcfg_derp_map *out)
{
    struct tailcfg_derp_score *items = ARENA_ARRAY(a, member_count(object), struct tailcfg_derp_score);
    struct tailcfg_derp_region *regions = (struct tailcfg_derp_region *)(uintptr_t)out->regions;
    struct json_iter it = { 0 };
    const struct json *value;
    struct span key;

    while (items && json_object_next(object, &it, &key, &value)) {
        struct tailcfg_derp_score *s = &items[out->score_count];

        if (!region_id(key, &s->region) ||
            json_get_real(object, (const char *)key.data, &s->score) != JSON_GOT || !(s->score > 0))
            continue;
        for (size_t i = 0; i < out->region_count; i++)
            if (regions[i].id == s->region)
                regions[i].score = s->score;
        out->score_count++;
    }
    out->scores = items;
}

int tailcfg_derp_map_parse(struct span text, struct arena *a, struct tailcfg_derp_map *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_SMALL_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root, .arena = a };
    const struct json *regions = NULL, *home = NULL, *scores = NULL;

    if (r)
        return r;
    *out = (struct tailcfg_derp_map) { .omit_default_regions = decode_loose_flag(&d, "omitDefaultRegions") };
    out->has_regions = json_get_object(root, "Regions", &regions) == JSON_GOT;
    (void)json_get_object(root, "HomeParams", &home);
    out->has_scores = json_get_object(home, "RegionScore", &scores) == JSON_GOT;
    if (out->has_regions)
        decode_regions(regions, a, out);
    if (out->has_scores)
        decode_scores(scores, a, out);
    return decode_result(&d);
}

/* ---- filter rules
 * ------------------------------------------------------------------------------------------ */

static bool decode_destination(const struct json *v, struct arena *a, struct tailcfg_filter_destination *out,
                               bool *ancient)
{
    const struct json *ports = json_member(v, "Ports");
    int64_t first = 0, last = 0;
    struct span ip;

    if (json_kind(json_member(v, "Bits")) > JSON_KIND_NULL)
        *ancient = true;
    if (json_get_string(v, "IP", &ip) != JSON_GOT)
        return false;
    if (json_get_int(ports, "First", 0, UINT16_MAX, &first) == JSON_GOT_OTHER ||
        json_get_int(ports, "Last", 0, UINT16_MAX, &last) == JSON_GOT_OTHER)
        return false;
    *out = (struct tailcfg_filter_destination) {
        .ip = arena_copy(a, ip),
        .ports = { (uint16_t)first, (uint16_t)last },
    };
    return true;
}

static void decode_destinations(struct decode *d, struct tailcfg_filter_rule *out)
{
    const struct json *list = NULL;
    struct tailcfg_filter_destination *items;

    d->bad |= json_get_array(d->object, "DstPorts", &list) == JSON_GOT_OTHER;
    items = ARENA_ARRAY(d->arena, json_array_count(list), struct tailcfg_filter_destination);
    for (size_t i = 0; items && i < json_array_count(list); i++) {
        if (decode_destination(json_array_at(list, i), d->arena, &items[out->destination_count],
                               &out->ancient))
            out->destination_count++;
        else
            out->skipped++;
    }
    out->destinations = items;
}

/* A list whose numbers are all out of range is a list: it matches nothing. */
static void decode_protocols(struct decode *d, struct tailcfg_filter_rule *out)
{
    const struct json *list = NULL;
    int64_t number;

    d->bad |= json_get_array(d->object, "IPProto", &list) == JSON_GOT_OTHER;
    out->has_protocols = json_array_count(list) > 0;
    for (size_t i = 0; i < json_array_count(list); i++)
        if (json_as_i64(json_array_at(list, i), &number) && number >= 0 && number <= 255)
            out->protocols[number / 32] |= BIT(number % 32);
}

static bool decode_grant(struct span text, const struct json *v, struct arena *a,
                         struct tailcfg_cap_grant *out)
{
    struct decode d = { .object = v, .arena = a };

    if (json_kind(v) != JSON_KIND_OBJECT)
        return false;
    *out = (struct tailcfg_cap_grant) {
        .destinations = decode_prefixes(&d, "Dsts", NULL),
        .caps = decode_texts(&d, "Caps", NULL),
        .cap_map = decode_caps(&d, json_text_member(text, "CapMap")),
    };
    return !d.bad;
}

static void decode_grants(struct decode *d, struct span text, struct tailcfg_filter_rule *out)
{
    const struct json *list = NULL;
    struct json_cursor c = json_cursor_of(text);
    struct tailcfg_cap_grant *items;
    struct span grant;

    d->bad |= json_get_array(d->object, "CapGrant", &list) == JSON_GOT_OTHER;
    if (!list)
        return;
    items = ARENA_ARRAY(d->arena, json_array_count(list), struct tailcfg_cap_grant);
    for (size_t i = 0; items && json_cursor_next(&c, NULL, &grant); i++) {
        if (decode_grant(grant, json_array_at(list, i), d->arena, &items[out->grant_count]))
            out->grant_count++;
        else
            out->skipped++;
    }
    out->grants = items;
}

int tailcfg_filter_rule_parse(struct span text, struct arena *a, struct tailcfg_filter_rule *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_RULE_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root, .arena = a };

    if (r)
        return r;
    *out = (struct tailcfg_filter_rule) { .sources = decode_texts(&d, "SrcIPs", NULL) };
    out->ancient = json_array_count(json_member(root, "SrcBits")) > 0;
    decode_destinations(&d, out);
    decode_protocols(&d, out);
    decode_grants(&d, json_text_member(text, "CapGrant"), out);
    return decode_result(&d);
}

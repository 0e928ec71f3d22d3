#include "tailcfg/decode.h"

#include <errno.h>

/* "127.3.3.40:4" is how old servers say region 4. */
static int32_t legacy_home(struct decode *d)
{
    struct span text;
    uint64_t region;

    if (json_get_string(d->object, "DERP", &text) != JSON_GOT || !text_starts_with(text, "127.3.3.40:"))
        return 0;
    return text_parse_u64(span_slice(text, 11, text.len), INT32_MAX, &region) ? (int32_t)region : 0;
}

static void decode_services(const struct json *hostinfo, struct tailcfg_node *out)
{
    const struct json *list = NULL;

    if (json_get_array(hostinfo, "Services", &list) != JSON_GOT)
        return;
    for (size_t i = 0; i < json_array_count(list); i++) {
        const struct json *service = json_array_at(list, i);
        struct span proto;
        int64_t port;

        if (json_get_string(service, "Proto", &proto) != JSON_GOT ||
            json_get_int(service, "Port", 1, UINT16_MAX, &port) != JSON_GOT)
            continue;
        if (span_equal_str(proto, "peerapi4"))
            out->peerapi4_port = (uint16_t)port;
        if (span_equal_str(proto, "peerapi6"))
            out->peerapi6_port = (uint16_t)port;
    }
}

static void decode_hostinfo(struct decode *d, struct tailcfg_node *out)
{
    struct decode host = { .arena = d->arena };

    if (json_get_object(d->object, "Hostinfo", &host.object) != JSON_GOT)
        return;
    out->hostname = decode_text(&host, "Hostname");
    out->os = decode_text(&host, "OS");
    out->sharee = decode_loose_flag(&host, "ShareeNode");
    decode_services(host.object, out);
}

/* CapMap; names that stand only in the older Capabilities come behind, without values. */
static struct tailcfg_caps decode_node_caps(struct decode *d, struct span text)
{
    struct tailcfg_caps map = decode_caps(d, json_text_member(text, "CapMap"));
    struct tailcfg_texts old = decode_texts(d, "Capabilities", NULL);
    struct tailcfg_cap *items;
    size_t count = map.count;

    if (!old.count || d->bad)
        return map;
    items = ARENA_ARRAY(d->arena, map.count + old.count, struct tailcfg_cap);
    if (!items)
        return map;
    if (map.count)
        memcpy(items, map.items, map.count * sizeof(*items));
    for (size_t i = 0; i < old.count; i++) {
        bool known = false;

        for (size_t k = 0; k < map.count && !known; k++)
            known = span_equal(old.items[i], map.items[k].name);
        if (!known)
            items[count++].name = old.items[i];
    }
    return (struct tailcfg_caps) { items, count };
}

static void decode_addresses(struct decode *d, struct tailcfg_node *out)
{
    bool allowed_given;

    out->addresses = decode_prefixes(d, "Addresses", NULL);
    out->allowed_ips = decode_prefixes(d, "AllowedIPs", &allowed_given);
    out->primary_routes = decode_prefixes(d, "PrimaryRoutes", NULL);
    /* Tailnet lock does not cover unsigned nodes: a server must not hand them routes. */
    if (!allowed_given || out->unsigned_peerapi_only)
        out->allowed_ips = out->addresses;
}

int tailcfg_node_parse(struct span text, struct arena *a, struct tailcfg_node *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_NODE_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root, .arena = a };

    if (r)
        return r;
    *out = (struct tailcfg_node) {
        .id = decode_id(&d, "ID"),
        .stable_id = decode_text(&d, "StableID"),
        .name = decode_text(&d, "Name"),
        .user = decode_id(&d, "User"),
        .sharer = decode_id(&d, "Sharer"),
        .key_expiry = decode_time(&d, "KeyExpiry", NULL),
        .key_signature = decode_base64(&d, "KeySignature", NULL),
        .endpoints = decode_endpoints(&d, "Endpoints", NULL),
        .home_derp = decode_number(&d, "HomeDERP"),
        .cap = decode_number(&d, "Cap"),
        .tags = decode_texts(&d, "Tags", NULL),
        .online = decode_bool(&d, "Online"),
        .machine_authorized = decode_flag(&d, "MachineAuthorized"),
        .unsigned_peerapi_only = decode_flag(&d, "UnsignedPeerAPIOnly"),
        .expired = decode_flag(&d, "Expired"),
        .wireguard_only = decode_flag(&d, "IsWireGuardOnly"),
        .jailed = decode_flag(&d, "IsJailed"),
        .masquerade_v4 = decode_ip(&d, "SelfNodeV4MasqAddrForThisPeer"),
        .masquerade_v6 = decode_ip(&d, "SelfNodeV6MasqAddrForThisPeer"),
    };
    decode_key(&d, "Key", "nodekey:", out->key.bytes, NULL);
    decode_key(&d, "DiscoKey", "discokey:", out->disco_key.bytes, NULL);
    decode_addresses(&d, out);
    out->caps = decode_node_caps(&d, text);
    if (!out->home_derp)
        out->home_derp = legacy_home(&d);
    decode_hostinfo(&d, out);
    d.bad |= !out->id;
    r = decode_result(&d);
    if (r)
        return r;
    out->created = decode_time(&d, "Created", NULL); /* these two only inform: whatever they are is fine */
    out->last_seen = decode_time(&d, "LastSeen", NULL);
    return 0;
}

int decode_peer_change(struct span text, struct arena *a, struct tailcfg_peer_change *out)
{
    OWNED(json_freep) struct json *root = NULL;
    int r = decode_parse(text, TAILCFG_NODE_BYTES_MAX, JSON_KIND_OBJECT, &root);
    struct decode d = { .object = root, .arena = a };
    struct span caps = json_text_member(text, "CapMap");

    if (r)
        return r;
    *out = (struct tailcfg_peer_change) {
        .id = decode_id(&d, "NodeID"),
        .home_derp = decode_number(&d, "DERPRegion"),
        .cap = decode_number(&d, "Cap"),
        .online = decode_bool(&d, "Online"),
    };
    out->has_caps = caps.len && json_text_kind(caps) != JSON_KIND_NULL;
    out->caps = decode_caps(&d, caps);
    out->endpoints = decode_endpoints(&d, "Endpoints", &out->has_endpoints);
    decode_key(&d, "Key", "nodekey:", out->key.bytes, &out->has_key);
    decode_key(&d, "DiscoKey", "discokey:", out->disco_key.bytes, &out->has_disco_key);
    out->key_signature = decode_base64(&d, "KeySignature", &out->has_key_signature);
    out->key_expiry = decode_time(&d, "KeyExpiry", &out->has_key_expiry);
    out->last_seen = decode_time(&d, "LastSeen", &out->has_last_seen);
    d.bad |= !out->id;
    return decode_result(&d);
}

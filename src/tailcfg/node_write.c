/* tailcfg/node_write.c - a node as JSON, the way servers send it */
#include "tailcfg/tailcfg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void put_text(struct json_writer *w, const char *key, struct span s)
{
    if (s.len)
        json_put_span(w, key, s);
}

static void put_number(struct json_writer *w, const char *key, int64_t v)
{
    if (v)
        json_put_i64(w, key, v);
}

static void put_flag(struct json_writer *w, const char *key, bool v)
{
    if (v)
        json_put_bool(w, key, true);
}

static void put_time(struct json_writer *w, const char *key, int64_t t)
{
    char text[TIME_TEXT_BYTES];

    if (t)
        json_put_str(w, key, t == INT64_MAX ? "9999-12-31T23:59:59Z" : time_text_rfc3339(t, text));
}

static void put_key(struct json_writer *w, const char *key, const char *prefix, const struct public_key *k)
{
    char text[KEY_TEXT_BYTES];

    if (!public_key_is_zero(k))
        json_put_str(w, key, key_text(text, prefix, k->bytes));
}

static void put_base64(struct json_writer *w, const char *key, struct span bytes)
{
    char *text = bytes.len ? malloc(BASE64_BYTES(bytes.len)) : NULL;

    if (bytes.len && !text)
        w->error = w->error ? w->error : -ENOMEM;
    if (!text)
        return;
    base64_encode(text, bytes);
    json_put_str(w, key, text);
    free(text);
}

static void put_prefixes(struct json_writer *w, const char *key, const struct tailcfg_prefixes *list)
{
    char ip[IP_TEXT_BYTES], text[IP_TEXT_BYTES + 8];

    json_array_begin(w, key);
    for (size_t i = 0; i < list->count; i++) {
        snprintf(text, sizeof(text), "%s/%u", ip_text(&list->items[i].ip, ip), list->items[i].bits);
        json_put_str(w, NULL, text);
    }
    json_array_end(w);
}

static void put_ip(struct json_writer *w, const char *key, const struct ip *a)
{
    char text[IP_TEXT_BYTES];

    if (!ip_is_none(a))
        json_put_str(w, key, ip_text(a, text));
}

static bool same_prefixes(const struct tailcfg_prefixes *a, const struct tailcfg_prefixes *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; same && i < a->count; i++)
        same = ip_prefix_equal(&a->items[i], &b->items[i]);
    return same;
}

static void put_endpoints(struct json_writer *w, const struct tailcfg_node *n)
{
    char text[IP_PORT_TEXT_BYTES];

    if (!n->endpoints.count)
        return;
    json_array_begin(w, "Endpoints");
    for (size_t i = 0; i < n->endpoints.count; i++)
        json_put_str(w, NULL, ip_port_text(&n->endpoints.items[i], text));
    json_array_end(w);
}

static void put_lists(struct json_writer *w, const struct tailcfg_node *n)
{
    put_prefixes(w, "Addresses", &n->addresses);
    if (!same_prefixes(&n->allowed_ips, &n->addresses)) /* that is what its absence means */
        put_prefixes(w, "AllowedIPs", &n->allowed_ips);
    if (n->primary_routes.count)
        put_prefixes(w, "PrimaryRoutes", &n->primary_routes);
    put_endpoints(w, n);
    if (n->tags.count) {
        json_array_begin(w, "Tags");
        for (size_t i = 0; i < n->tags.count; i++)
            json_put_span(w, NULL, n->tags.items[i]);
        json_array_end(w);
    }
    if (n->caps.count) {
        json_object_begin(w, "CapMap");
        for (size_t i = 0; i < n->caps.count; i++) {
            json_put_key(w, n->caps.items[i].name);
            json_put_raw(w, NULL,
                         n->caps.items[i].values.len ? n->caps.items[i].values : span_from_str("null"));
        }
        json_object_end(w);
    }
}

static void put_service(struct json_writer *w, const char *proto, uint16_t port)
{
    if (!port)
        return;
    json_object_begin(w, NULL);
    json_put_str(w, "Proto", proto);
    json_put_i64(w, "Port", port);
    json_object_end(w);
}

static void put_hostinfo(struct json_writer *w, const struct tailcfg_node *n)
{
    json_object_begin(w, "Hostinfo");
    put_text(w, "Hostname", n->hostname);
    put_text(w, "OS", n->os);
    put_flag(w, "ShareeNode", n->sharee);
    if (n->peerapi4_port || n->peerapi6_port) {
        json_array_begin(w, "Services");
        put_service(w, "peerapi4", n->peerapi4_port);
        put_service(w, "peerapi6", n->peerapi6_port);
        json_array_end(w);
    }
    json_object_end(w);
}

void tailcfg_node_write(struct json_writer *w, const char *key, const struct tailcfg_node *n)
{
    json_object_begin(w, key);
    json_put_i64(w, "ID", n->id);
    put_text(w, "StableID", n->stable_id);
    put_text(w, "Name", n->name);
    put_number(w, "User", n->user);
    put_number(w, "Sharer", n->sharer);
    put_key(w, "Key", "nodekey:", &n->key);
    put_time(w, "KeyExpiry", n->key_expiry);
    put_base64(w, "KeySignature", n->key_signature);
    put_key(w, "DiscoKey", "discokey:", &n->disco_key);
    put_lists(w, n);
    put_number(w, "HomeDERP", n->home_derp);
    put_hostinfo(w, n);
    put_time(w, "Created", n->created);
    put_number(w, "Cap", n->cap);
    put_flag(w, "MachineAuthorized", n->machine_authorized);
    put_flag(w, "UnsignedPeerAPIOnly", n->unsigned_peerapi_only);
    put_flag(w, "Expired", n->expired);
    put_ip(w, "SelfNodeV4MasqAddrForThisPeer", &n->masquerade_v4);
    put_ip(w, "SelfNodeV6MasqAddrForThisPeer", &n->masquerade_v6);
    put_flag(w, "IsWireGuardOnly", n->wireguard_only);
    put_flag(w, "IsJailed", n->jailed);
    json_object_end(w);
}

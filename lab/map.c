#include "lab/map.h"

#include <errno.h>
#include <stdio.h>

#define OPEN_FILTER \
    "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]"

/* ---- parts --------------------------------------------------------------------------------------- */

static void put_key(struct json_writer *w, const char *name, const char *prefix, const struct public_key *key)
{
    char text[KEY_TEXT_BYTES];

    json_put_str(w, name, key_text(text, prefix, key->bytes));
}

static void put_time(struct json_writer *w, const char *name, int64_t wall)
{
    char text[TIME_TEXT_BYTES];

    json_put_str(w, name, time_text_rfc3339(wall, text));
}

static void put_addresses(struct json_writer *w, const char *name, const struct registry_node *n)
{
    char ip[IP_TEXT_BYTES], text[IP_TEXT_BYTES + 4];

    json_array_begin(w, name);
    snprintf(text, sizeof(text), "%s/32", ip_text(&n->v4, ip));
    json_put_str(w, NULL, text);
    snprintf(text, sizeof(text), "%s/128", ip_text(&n->v6, ip));
    json_put_str(w, NULL, text);
    json_array_end(w);
}

static void put_endpoints(struct json_writer *w, const struct registry_node *n)
{
    char text[IP_PORT_TEXT_BYTES];

    json_array_begin(w, "Endpoints");
    for (uint32_t i = 0; i < n->endpoint_count; i++)
        json_put_str(w, NULL, ip_port_text(&n->endpoints[i], text));
    json_array_end(w);
}

static void put_node(struct json_writer *w, const char *name, const struct registry_node *n, int64_t wall)
{
    char text[REGISTRY_NAME_BYTES + sizeof(LAB_DOMAIN) + 2];

    json_object_begin(w, name);
    json_put_i64(w, "ID", n->id);
    snprintf(text, sizeof(text), "n%lldLAB", (long long)n->id);
    json_put_str(w, "StableID", text);
    snprintf(text, sizeof(text), "%s.%s.", n->name, LAB_DOMAIN);
    json_put_str(w, "Name", text);
    json_put_i64(w, "User", n->user);
    put_key(w, "Key", "nodekey:", &n->key);
    if (n->key_expiry)
        put_time(w, "KeyExpiry", n->key_expiry);
    put_key(w, "Machine", "mkey:", &n->machine);
    put_key(w, "DiscoKey", "discokey:", &n->disco);
    put_addresses(w, "Addresses", n);
    put_addresses(w, "AllowedIPs", n);
    put_endpoints(w, n);
    json_put_i64(w, "HomeDERP", n->home_region);
    json_put_raw(w, "Hostinfo", n->info ? span_from_str(n->info) : span_from_str("{}"));
    put_time(w, "Created", n->created);
    json_put_i64(w, "Cap", n->capability);
    if (*n->tag) {
        json_array_begin(w, "Tags");
        json_put_str(w, NULL, n->tag);
        json_array_end(w);
    }
    json_put_bool(w, "Online", n->online);
    if (!n->online && n->last_seen)
        put_time(w, "LastSeen", n->last_seen);
    json_put_bool(w, "MachineAuthorized", n->approved);
    if (registry_expired(n, wall))
        json_put_bool(w, "Expired", true);
    json_object_end(w);
}

static void put_patch(struct json_writer *w, const struct registry_node *n)
{
    json_object_begin(w, NULL);
    json_put_i64(w, "NodeID", n->id);
    if (n->home_region)
        json_put_i64(w, "DERPRegion", n->home_region);
    put_endpoints(w, n);
    put_key(w, "DiscoKey", "discokey:", &n->disco);
    json_put_bool(w, "Online", n->online);
    if (!n->online && n->last_seen)
        put_time(w, "LastSeen", n->last_seen);
    json_object_end(w);
}

static void put_user(struct json_writer *w, int64_t id, const char *login, const char *display)
{
    json_object_begin(w, NULL);
    json_put_i64(w, "ID", id);
    json_put_str(w, "LoginName", login);
    json_put_str(w, "DisplayName", display);
    json_object_end(w);
}

static void put_users(struct json_writer *w, const struct registry *r)
{
    json_array_begin(w, "UserProfiles");
    for (size_t i = 0; i < r->user_count; i++)
        put_user(w, r->users[i].id, r->users[i].login, r->users[i].display);
    put_user(w, REGISTRY_USER_TAGGED, "tagged-devices", "Tagged Devices");
    json_array_end(w);
}

static void put_derp_map(struct json_writer *w, const struct lab_network *net)
{
    char ip[IP_TEXT_BYTES], region[8];

    snprintf(region, sizeof(region), "%d", LAB_REGION);
    json_object_begin(w, "DERPMap");
    json_put_bool(w, "omitDefaultRegions", true);
    json_object_begin(w, "Regions");
    if (net->relay.port) {
        json_object_begin(w, region);
        json_put_i64(w, "RegionID", LAB_REGION);
        json_put_str(w, "RegionCode", "lab");
        json_put_str(w, "RegionName", "Lab");
        json_array_begin(w, "Nodes");
        json_object_begin(w, NULL);
        json_put_str(w, "Name", "901a");
        json_put_i64(w, "RegionID", LAB_REGION);
        json_put_str(w, "HostName", ip_text(&net->relay.ip, ip));
        json_put_str(w, "CertName", net->pin);
        json_put_str(w, "IPv4", ip);
        json_put_str(w, "IPv6", "none");
        json_put_i64(w, "STUNPort", net->stun_port ? net->stun_port : -1);
        json_put_i64(w, "DERPPort", net->relay.port);
        json_object_end(w);
        json_array_end(w);
        json_object_end(w);
    }
    json_object_end(w);
    json_object_end(w);
}

static void put_dns(struct json_writer *w)
{
    json_object_begin(w, "DNSConfig");
    json_object_begin(w, "Routes");
    json_put_null(w, LAB_DOMAIN ".");
    json_object_end(w);
    json_array_begin(w, "Domains");
    json_put_str(w, NULL, LAB_DOMAIN);
    json_array_end(w);
    json_put_bool(w, "Proxied", true);
    json_object_end(w);
}

static void put_filter(struct json_writer *w, const struct lab_network *net)
{
    json_object_begin(w, "PacketFilters");
    json_put_raw(w, "base", span_from_str(net->filter ? net->filter : OPEN_FILTER));
    json_object_end(w);
}

/* ---- messages ----------------------------------------------------------------------------------------- */

/* Who waits for approval sees nobody, and nobody sees it. */
static bool sees(const struct registry_node *self, const struct registry_node *peer)
{
    return self != peer && self->approved && peer->approved;
}

int lab_map_write_whole(struct buf *out, const struct registry *r, const struct lab_network *net,
                        const struct registry_node *self, int64_t wall)
{
    struct json_writer w = json_writer_of(out);

    json_object_begin(&w, NULL);
    put_node(&w, "Node", self, wall);
    put_derp_map(&w, net);
    json_array_begin(&w, "Peers"); /* sorted by id, as the list is */
    LIST_EACH (peer, &r->nodes, struct registry_node, link)
        if (sees(self, peer))
            put_node(&w, NULL, peer, wall);
    json_array_end(&w);
    put_dns(&w);
    json_put_str(&w, "Domain", LAB_DOMAIN);
    json_put_bool(&w, "CollectServices", false);
    put_filter(&w, net);
    put_users(&w, r);
    put_time(&w, "ControlTime", wall);
    json_object_end(&w);
    return json_writer_done(&w);
}

/* The oldest node whose last change is newer than `seen`; the list's head if there is none. */
static const struct list *first_newer(const struct registry *r, uint64_t seen)
{
    const struct list *at = &r->changes;

    while (at->prev != &r->changes && LIST_ENTRY(at->prev, struct registry_node, change)->changed_at > seen)
        at = at->prev;
    return at;
}

enum part { PART_FULL, PART_PATCH };

static bool has_part(const struct registry_node *self, const struct registry_node *n, uint64_t seen,
                     enum part part)
{
    bool full = n->full_at > seen;

    return sees(self, n) && (part == PART_FULL ? full : !full && n->patch_at > seen);
}

/* The key is written only if something is under it. */
static bool put_changes(struct json_writer *w, const struct registry *r, const struct registry_node *self,
                        uint64_t seen, enum part part, int64_t wall)
{
    bool any = false;

    for (const struct list *at = first_newer(r, seen); at != &r->changes; at = at->next) {
        const struct registry_node *n = LIST_ENTRY(at, struct registry_node, change);

        if (!has_part(self, n, seen, part))
            continue;
        if (!any)
            json_array_begin(w, part == PART_FULL ? "PeersChanged" : "PeersChangedPatch");
        any = true;
        if (part == PART_FULL)
            put_node(w, NULL, n, wall);
        else
            put_patch(w, n);
    }
    if (any)
        json_array_end(w);
    return any;
}

static bool put_removed(struct json_writer *w, const struct registry *r, uint64_t seen)
{
    uint64_t first = r->removed_count;

    while (first && r->removed_count - first < REGISTRY_REMOVED_MAX &&
           r->removed[(first - 1) % REGISTRY_REMOVED_MAX].at > seen)
        first--;
    if (first == r->removed_count)
        return false;
    json_array_begin(w, "PeersRemoved");
    for (uint64_t i = first; i < r->removed_count; i++)
        json_put_i64(w, NULL, r->removed[i % REGISTRY_REMOVED_MAX].id);
    json_array_end(w);
    return true;
}

static bool forgotten(const struct registry *r, uint64_t seen)
{
    return r->removed_count > REGISTRY_REMOVED_MAX &&
           r->removed[r->removed_count % REGISTRY_REMOVED_MAX].at > seen;
}

int lab_map_write_delta(struct buf *out, const struct registry *r, const struct lab_network *net,
                        const struct registry_node *self, uint64_t seen, int64_t wall)
{
    struct json_writer w = json_writer_of(out);
    bool any = false;

    if (forgotten(r, seen) || self->approved_at > seen)
        return LAB_MAP_TOO_OLD;
    json_object_begin(&w, NULL);
    any |= put_removed(&w, r, seen);
    any |= put_changes(&w, r, self, seen, PART_FULL, wall);
    any |= put_changes(&w, r, self, seen, PART_PATCH, wall);
    if (self->full_at > seen) {
        put_node(&w, "Node", self, wall);
        any = true;
    }
    if (net->filter_at > seen) {
        put_filter(&w, net);
        any = true;
    }
    if (any)
        put_time(&w, "ControlTime", wall);
    json_object_end(&w);
    if (!any) {
        buf_clear(out);
        return LAB_MAP_NOTHING;
    }
    return json_writer_done(&w);
}

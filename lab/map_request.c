/* What a node says about itself (docs/protocol/control.md): the parts that the lab looks at */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lab/map.h"

#define REQUEST_BYTES_MAX (1u << 20)

static bool get_flag(const struct json *root, const char *key)
{
    bool value = false;

    json_get_bool(root, key, &value);
    return value;
}

static bool get_key(const struct json *root, const char *name, const char *prefix, struct public_key *out)
{
    struct span text;

    return json_get_string(root, name, &text) == JSON_GOT && key_parse(text, prefix, out->bytes);
}

static void get_endpoints(const struct json *root, struct lab_map_request *out)
{
    const struct json *list = json_member(root, "Endpoints");

    for (size_t i = 0; i < json_array_count(list) && out->endpoint_count < REGISTRY_ENDPOINTS_MAX; i++) {
        struct span text;

        if (json_as_string(json_array_at(list, i), &text) &&
            ip_port_parse(text, &out->endpoints[out->endpoint_count]))
            out->endpoint_count++;
    }
}

/* The members that peers of a real server get to see. */
char *lab_public_info(struct span hostinfo)
{
    static const char *const members[] = { "OS", "OSVersion", "Hostname", "App", "IPNVersion", "Services" };
    struct buf text;
    char *out = NULL;
    struct json_writer w;

    buf_init(&text, REGISTRY_INFO_BYTES_MAX);
    w = json_writer_of(&text);
    json_object_begin(&w, NULL);
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        struct span value = json_text_member(hostinfo, members[i]);

        if (value.len)
            json_put_raw(&w, members[i], value);
    }
    json_object_end(&w);
    if (json_writer_done(&w) == 0)
        out = text_dup(buf_span(&text));
    buf_deinit(&text);
    return out;
}

bool lab_map_request_parse(struct span body, struct lab_map_request *out)
{
    OWNED(json_freep) struct json *root = NULL;
    const struct json *hostinfo, *netinfo;
    struct span text;

    *out = (struct lab_map_request) { 0 };
    if (json_parse(body, REQUEST_BYTES_MAX, &root) || !get_key(root, "NodeKey", "nodekey:", &out->key))
        return false;
    out->has_disco = get_key(root, "DiscoKey", "discokey:", &out->disco);
    out->stream = get_flag(root, "Stream");
    out->omit_peers = get_flag(root, "OmitPeers");
    out->read_only = get_flag(root, "ReadOnly");
    out->keep_alive = get_flag(root, "KeepAlive");
    out->zstd = json_get_string(root, "Compress", &text) == JSON_GOT && span_equal_str(text, "zstd");
    json_get_int(root, "Version", 0, INT32_MAX, &out->capability);
    get_endpoints(root, out);
    hostinfo = json_member(root, "Hostinfo");
    netinfo = json_member(hostinfo, "NetInfo");
    json_get_int(netinfo, "PreferredDERP", 0, INT32_MAX, &out->home_region);
    if (json_kind(hostinfo) == JSON_KIND_OBJECT)
        out->info = lab_public_info(json_text_member(body, "Hostinfo"));
    return true;
}

static bool same_endpoints(const struct registry_node *n, const struct lab_map_request *q)
{
    if (n->endpoint_count != q->endpoint_count)
        return false;
    for (uint32_t i = 0; i < n->endpoint_count; i++)
        if (!ip_port_equal(&n->endpoints[i], &q->endpoints[i]))
            return false;
    return true;
}

/* Each of these is new as a whole with every request; a home region that is not said stays (NetInfo may be
 * missing in the first requests of a node). */
void lab_map_request_apply(struct registry *r, struct registry_node *n, struct lab_map_request *q)
{
    bool patch = !same_endpoints(n, q) || (q->has_disco && !public_key_equal(&n->disco, &q->disco)) ||
                 (q->home_region && q->home_region != n->home_region);
    bool full = q->info && (!n->info || strcmp(n->info, q->info) != 0);

    memcpy(n->endpoints, q->endpoints, sizeof(n->endpoints));
    n->endpoint_count = q->endpoint_count;
    if (q->has_disco)
        n->disco = q->disco;
    if (q->home_region)
        n->home_region = q->home_region;
    n->capability = q->capability;
    if (full) {
        free(n->info);
        n->info = q->info;
        q->info = NULL;
    }
    free(q->info);
    q->info = NULL;
    if (full || patch)
        registry_changed(r, n, full ? REGISTRY_FULL : REGISTRY_PATCH);
}

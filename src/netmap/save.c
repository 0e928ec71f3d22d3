/* netmap/save.c - a netmap on disk
 *
 * {"Saved":1,"Hash":"<16 hex digits>","Map":{...}}: the map is a map response like those that servers send,
 * so that loading is applying. The hash (XXH64 of the map's text) is against damage, not against people.
 */
#include "netmap/view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define SAVED_VERSION 1

static void put_users(struct json_writer *w, const struct netmap *n)
{
    json_array_begin(w, "UserProfiles");
    for (uint32_t i = 0; i < n->user_count; i++)
        json_put_raw(w, NULL, n->users[i]->text);
    json_array_end(w);
}

static void put_filters(struct json_writer *w, const struct netmap *n)
{
    json_object_begin(w, "PacketFilters");
    for (uint32_t i = 0; i < n->chunk_count; i++)
        json_put_raw(w, n->chunks[i].name, n->chunks[i].rules->text);
    json_object_end(w);
}

static void put_texts(struct json_writer *w, const struct netmap *n)
{
    json_put_span(w, "Domain", n->domain);
    json_object_begin(w, "DNSConfig");
    json_put_bool(w, "Proxied", n->magic_dns);
    json_array_begin(w, "CertDomains");
    for (size_t i = 0; i < n->cert_domains.count; i++)
        json_put_span(w, NULL, n->cert_domains.items[i]);
    json_array_end(w);
    json_object_end(w);
    if (n->tka_head.len) {
        json_object_begin(w, "TKAInfo");
        json_put_span(w, "Head", n->tka_head);
        json_object_end(w);
    }
}

static int write_map(const struct netmap *n, struct buf *out)
{
    struct json_writer w = json_writer_of(out);

    json_object_begin(&w, NULL);
    tailcfg_node_write(&w, "Node", &n->self->peer.node);
    json_array_begin(&w, "Peers");
    for (uint32_t i = 0; i < n->peer_count; i++)
        tailcfg_node_write(&w, NULL, &view_peer(n, i)->peer.node);
    json_array_end(&w);
    put_users(&w, n);
    put_filters(&w, n);
    if (n->derp_map)
        json_put_raw(&w, "DERPMap", n->derp_map->text);
    put_texts(&w, n);
    json_object_end(&w);
    return json_writer_done(&w);
}

int netmap_save(const struct netmap *n, struct buf *out)
{
    struct buf map;
    int r;

    if (!n->self)
        return -ENODATA;
    buf_init(&map, NETMAP_SAVED_BYTES_MAX);
    r = write_map(n, &map);
    if (!r) {
        struct span text = buf_span(&map);

        r = buf_printf(out, "{\"Saved\":%d,\"Hash\":\"%016llx\",\"Map\":", SAVED_VERSION,
                       (unsigned long long)XXH64(text.data, text.len, 0));
        if (!r)
            r = buf_append(out, text);
        if (!r)
            r = buf_append_str(out, "}\n");
    }
    buf_deinit(&map);
    return r ? err_trace(r) : 0;
}

/* The text of the map, if all around it is as it should be. */
static bool open_saved(struct span saved, struct span *map)
{
    struct span version = json_text_member(saved, "Saved"), hash = json_text_member(saved, "Hash");
    char want[24];
    uint64_t v;

    *map = json_text_member(saved, "Map");
    if (saved.len > NETMAP_SAVED_BYTES_MAX || json_text_count(saved) != 3 ||
        !text_parse_u64(version, SAVED_VERSION, &v) || v != SAVED_VERSION || !map->len)
        return false;
    snprintf(want, sizeof(want), "\"%016llx\"", (unsigned long long)XXH64(map->data, map->len, 0));
    return span_equal_str(hash, want);
}

int netmap_load(struct netmap *n, struct span saved)
{
    struct tailcfg_map_response r;
    struct netmap_changes changes;
    struct span map;
    int e;

    must(!n->self && !n->peer_count);
    if (!open_saved(saved, &map))
        return NETMAP_E_DAMAGED;
    e = tailcfg_map_response_parse(map, &r);
    if (e)
        return e < 0 ? err_trace(e) : NETMAP_E_DAMAGED;
    e = netmap_apply(n, &r, true, 0, &changes);
    netmap_changes_release(&changes);
    tailcfg_map_response_deinit(&r);
    return e > 0 ? NETMAP_E_DAMAGED : e;
}

/* A DERP map as relays need it. Nodes of one tailnet have the same one: a shard keeps each content once. */
#include <errno.h>
#include <stdlib.h>

#include "relay/internal.h"

#define MAP_BYTES_MAX (4u << 20)
#define HOSTS_MAX UINT8_MAX /* of one region */

/* "": ask the DNS; an address: that one; anything else, by custom "none": this family is off. */
static void take_address(struct relay_host *h, struct span text, bool v4, bool *off)
{
    struct ip ip;

    if (!text.len)
        return;
    if (ip_parse(text, &ip) && ip_is_v4(&ip) == v4)
        h->addresses[h->address_count++] = ip;
    else
        *off = true;
}

static void take_host(struct arena *a, struct relay_host *out, const struct tailcfg_derp_node *from)
{
    out->name = (const char *)arena_copy(a, from->name).data;
    out->host_name = (const char *)arena_copy(a, from->host_name).data;
    out->cert_name = (const char *)arena_copy(a, from->cert_name).data;
    out->port = from->derp_port;
    out->insecure = from->insecure_for_tests;
    take_address(out, from->ipv6, false, &out->without_v6);
    take_address(out, from->ipv4, true, &out->without_v4);
}

static void take_region(struct arena *a, struct relay_region *out, const struct tailcfg_derp_region *from)
{
    struct relay_host *hosts = ARENA_ARRAY(a, from->node_count, struct relay_host);

    out->id = (uint16_t)from->id;
    out->code = (const char *)arena_copy(a, from->code).data;
    out->hosts = hosts;
    for (size_t i = 0; hosts && i < from->node_count && out->host_count < HOSTS_MAX; i++)
        if (!from->nodes[i].stun_only && from->nodes[i].host_name.len)
            take_host(a, &hosts[out->host_count++], &from->nodes[i]);
}

static int map_new(struct relay_map **out, const struct tailcfg_derp_map *from)
{
    struct relay_map *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    m->refs = 1;
    arena_init(&m->arena, MAP_BYTES_MAX);
    m->regions = ARENA_ARRAY(&m->arena, from->region_count, struct relay_region);
    for (size_t i = 0; m->regions && i < from->region_count; i++)
        if (from->regions[i].id > 0 && from->regions[i].id <= UINT16_MAX)
            take_region(&m->arena, &m->regions[m->region_count++], &from->regions[i]);
    if (m->arena.failed) {
        relay_map_unref(m);
        return -ENOMEM;
    }
    *out = m;
    return 0;
}

static bool host_equal(const struct relay_host *a, const struct relay_host *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->host_name, b->host_name) == 0 &&
           strcmp(a->cert_name, b->cert_name) == 0 && a->address_count == b->address_count &&
           memcmp(a->addresses, b->addresses, a->address_count * sizeof(a->addresses[0])) == 0 &&
           a->without_v4 == b->without_v4 && a->without_v6 == b->without_v6 && a->insecure == b->insecure &&
           a->port == b->port;
}

bool relay_region_equal(const struct relay_region *a, const struct relay_region *b)
{
    if (a->id != b->id || a->host_count != b->host_count || strcmp(a->code, b->code) != 0)
        return false;
    for (size_t i = 0; i < a->host_count; i++)
        if (!host_equal(&a->hosts[i], &b->hosts[i]))
            return false;
    return true;
}

static bool map_equal(const struct relay_map *a, const struct relay_map *b)
{
    if (a->region_count != b->region_count)
        return false;
    for (size_t i = 0; i < a->region_count; i++)
        if (!relay_region_equal(&a->regions[i], &b->regions[i]))
            return false;
    return true;
}

int relay_map_get(struct relay_map **out, struct relay_shard *s, const struct tailcfg_derp_map *from)
{
    struct relay_map *m = NULL;
    int r = map_new(&m, from);

    if (r)
        return r;
    LIST_EACH (other, &s->maps, struct relay_map, link) {
        if (!map_equal(m, other))
            continue;
        relay_map_unref(m);
        other->refs++;
        *out = other;
        return 0;
    }
    list_push_back(&s->maps, &m->link);
    *out = m;
    return 0;
}

void relay_map_unref(struct relay_map *m)
{
    if (!m || --m->refs)
        return;
    list_remove(&m->link);
    arena_deinit(&m->arena);
    free(m);
}

const struct relay_region *relay_map_region(const struct relay_map *m, uint16_t id)
{
    for (size_t i = 0; m && i < m->region_count; i++)
        if (m->regions[i].id == id)
            return &m->regions[i];
    return NULL;
}

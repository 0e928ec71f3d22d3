#include "underlay/netcheck_internal.h"

#include <errno.h>
#include <stdlib.h>

static void server_address(struct server *s, enum family f, struct span text)
{
    struct ip ip;

    if (!text.len) {
        s->kind[f] = ADDRESS_RESOLVE;
    } else if (ip_parse(text, &ip) && ip_is_v4(&ip) == (f == V4)) {
        s->kind[f] = ADDRESS_GIVEN;
        s->ip[f] = ip;
    } else {
        s->kind[f] = ADDRESS_OFF; /* "none", by convention */
    }
}

static int copy_server(struct server *s, const struct tailcfg_derp_node *from)
{
    struct ip test;

    s->resolved_at = NO_TIME;
    s->port = from->stun_port > 0 && from->stun_port <= UINT16_MAX ? (uint16_t)from->stun_port : 0;
    server_address(s, V4, from->ipv4);
    server_address(s, V6, from->ipv6);
    if (ip_parse(from->stun_test_ip, &test)) {
        s->kind[V4] = s->kind[V6] = ADDRESS_OFF;
        s->kind[ip_is_v4(&test) ? V4 : V6] = ADDRESS_GIVEN;
        s->ip[ip_is_v4(&test) ? V4 : V6] = test;
    }
    s->host_name = text_dup(from->host_name);
    return s->host_name ? 0 : -ENOMEM;
}

static int copy_region(struct netcheck *n, struct region *r, const struct tailcfg_derp_region *from)
{
    size_t count = MIN(from->node_count, UNDERLAY_REGION_NODES_MAX);

    *r = (struct region) { .id = (uint16_t)from->id,
                           .server_first = n->server_count,
                           .avoid = from->avoid,
                           .score = from->score > 0 ? from->score : 1.0,
                           .heard_at = NO_TIME };
    for (size_t i = 0; i < count; i++) {
        struct server *s = &n->servers[n->server_count];
        int e = copy_server(s, &from->nodes[i]);

        if (e)
            return e;
        n->server_count++;
        r->server_count++;
        r->measurable |= s->port != 0 && !from->no_measure_no_home;
        r->may_be_home |= !from->nodes[i].stun_only && !from->no_measure_no_home;
    }
    return 0;
}

int netcheck_copy_map(struct netcheck *n, const struct tailcfg_derp_map *map)
{
    size_t servers = 0, regions = 0;

    for (size_t i = 0; i < map->region_count && regions < UNDERLAY_REGIONS_MAX; i++) {
        servers += MIN(map->regions[i].node_count, UNDERLAY_REGION_NODES_MAX);
        regions++;
    }
    n->regions = calloc(regions + 1, sizeof(*n->regions));
    n->servers = calloc(servers + 1, sizeof(*n->servers));
    if (!n->regions || !n->servers)
        return -ENOMEM;
    for (size_t i = 0; i < regions; i++) {
        int e;

        if (map->regions[i].id <= 0 || map->regions[i].id > UINT16_MAX)
            continue;
        e = copy_region(n, &n->regions[n->region_count], &map->regions[i]);
        if (e)
            return e;
        n->region_count++;
    }
    return 0;
}

struct region *netcheck_region(const struct netcheck *n, uint16_t id)
{
    for (uint16_t i = 0; id && i < n->region_count; i++)
        if (n->regions[i].id == id)
            return &n->regions[i];
    return NULL;
}

static bool server_has(const struct server *s, enum family f)
{
    return s->port && (s->kind[f] == ADDRESS_RESOLVE || (s->kind[f] == ADDRESS_GIVEN));
}

bool netcheck_pick_server(const struct netcheck *n, const struct region *r, enum family f, unsigned try,
                          uint16_t *out)
{
    unsigned usable = 0;

    for (uint16_t i = 0; i < r->server_count; i++)
        usable += server_has(&n->servers[r->server_first + i], f);
    if (!usable)
        return false;
    try %= usable;
    for (uint16_t i = 0; i < r->server_count; i++) {
        uint16_t index = (uint16_t)(r->server_first + i);

        if (server_has(&n->servers[index], f) && try-- == 0) {
            *out = index;
            return true;
        }
    }
    return false;
}

bool netcheck_needs_dns(const struct server *s, enum family f, time_ns now)
{
    return s->kind[f] == ADDRESS_RESOLVE &&
           (s->resolved_at == NO_TIME || now - s->resolved_at >= NETCHECK_RESOLVE_AGAIN);
}

void netcheck_resolved(struct netcheck *n, uint32_t server, const struct ip *addresses, size_t count,
                       time_ns now)
{
    struct server *s;

    if (server >= n->server_count)
        return;
    s = &n->servers[server];
    s->resolving = false;
    if (!count)
        return; /* old addresses are better than none, and the next run asks again */
    s->resolved_at = now;
    for (enum family f = V4; f < FAMILIES; f++) {
        if (s->kind[f] != ADDRESS_RESOLVE)
            continue;
        s->ip[f] = IP_NONE;
        for (size_t i = 0; i < count && ip_is_none(&s->ip[f]); i++)
            if (ip_is_v4(&addresses[i]) == (f == V4))
                s->ip[f] = addresses[i];
    }
}

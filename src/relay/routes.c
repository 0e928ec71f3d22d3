/* Who was heard where: how to answer a peer without opening a connection to its home ("routes" in
 * docs/protocol/relay.md). One entry of about 90 bytes per peer that sent something over a relay. */
#include <stdlib.h>

#include "metrics/metrics.h"
#include "relay/internal.h"

struct route {
    struct table_node node;
    struct list link; /* of order */
    struct public_key peer;
    uint16_t region;
};

void routes_init(struct routes *r)
{
    table_init(&r->table);
    list_init(&r->order);
}

static void route_free(struct routes *r, struct route *route)
{
    table_remove(&r->table, &route->node);
    list_remove(&route->link);
    free(route);
}

void routes_deinit(struct routes *r)
{
    LIST_EACH (route, &r->order, struct route, link) {
        route_free(r, route);
    }
    table_deinit(&r->table);
}

static struct route *find(const struct routes *r, uint64_t hash, const struct public_key *peer)
{
    for (struct table_node *n = table_first(&r->table, hash); n; n = table_next_same(n)) {
        struct route *route = TABLE_ENTRY(n, struct route, node);

        if (public_key_equal(&route->peer, peer))
            return route;
    }
    return NULL;
}

void routes_note(struct routes *r, const uint8_t hash_key[16], const struct public_key *peer, uint16_t region)
{
    uint64_t hash = siphash(hash_key, peer, sizeof(*peer));
    struct route *route = find(r, hash, peer);

    if (!route) {
        if (r->table.count >= RELAY_ROUTES_MAX)
            route_free(r, LIST_FIRST(&r->order, struct route, link));
        route = calloc(1, sizeof(*route));
        if (!route)
            return;
        route->peer = *peer;
        if (table_insert(&r->table, &route->node, hash)) {
            free(route);
            return;
        }
    }
    route->region = region;
    list_remove(&route->link);
    list_push_back(&r->order, &route->link);
}

uint16_t routes_find(const struct routes *r, const uint8_t hash_key[16], const struct public_key *peer)
{
    const struct route *route = r->table.count ? find(r, siphash(hash_key, peer, sizeof(*peer)), peer) : NULL;

    return route ? route->region : 0;
}

void routes_forget(struct routes *r, const uint8_t hash_key[16], const struct public_key *peer,
                   uint16_t region)
{
    struct route *route = find(r, siphash(hash_key, peer, sizeof(*peer)), peer);

    if (route && route->region == region)
        route_free(r, route);
}

void routes_forget_region(struct routes *r, uint16_t region)
{
    LIST_EACH (route, &r->order, struct route, link) {
        if (route->region == region)
            route_free(r, route);
    }
}

size_t routes_memory(const struct routes *r)
{
    size_t bytes = account_block(r->table.buckets);

    LIST_EACH (route, &r->order, struct route, link)
        bytes += account_block(route);
    return bytes;
}

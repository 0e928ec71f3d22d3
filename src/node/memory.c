/* node/memory.c - what a node holds, by part of the program
 *
 * Nothing is counted as it is taken: whoever holds blocks of the heap names them when somebody asks, so a
 * node costs nothing for it and an answer takes a walk over its peers and connections. What nodes share
 * stands with the shard (node_shard_memory) or the process. docs/protocol/metrics.md says what is in it and
 * what is not.
 */
#include "node/internal.h"

static void hold(struct account_memory *m, const void *block)
{
    account_hold_block(m, ACCOUNT_OTHER, block);
}

static void hold_peers(const struct node *n, struct account_memory *m)
{
    hold(m, n->peers_by_key.buckets);
    LIST_EACH (p, &n->peers, struct node_peer, link) {
        account_hold(m, ACCOUNT_OTHER, n->shard->peers.object_bytes);
        if (p->wireguard)
            account_hold(m, ACCOUNT_WIREGUARD, wireguard_peer_memory(p->wireguard));
        if (p->underlay)
            account_hold(m, ACCOUNT_PATHS, underlay_peer_memory(p->underlay));
    }
}

static void hold_fronts(const struct node *n, struct account_memory *m)
{
    hold(m, n->front);
    if (n->proxy)
        proxy_service_memory(n->proxy, m);
    LIST_EACH (f, &n->retired, struct front, link) {
        hold(m, f);
        if (f->proxy)
            proxy_service_memory(f->proxy, m);
    }
}

static void hold_notices(const struct notices *n, struct account_memory *m)
{
    hold(m, n->items);
    for (unsigned i = 0; i < n->count; i++) {
        hold(m, n->items[i].id);
        hold(m, n->items[i].severity);
        hold(m, n->items[i].title);
        hold(m, n->items[i].text);
    }
}

void node_memory(const struct node *n, struct account_memory *m)
{
    account_hold(m, ACCOUNT_OTHER, n->shard->nodes.object_bytes);
    hold(m, n->name);
    hold(m, n->control_url);
    hold(m, n->state_directory);
    hold(m, n->auth_url);
    hold_notices(&n->notices, m);
    hold_peers(n, m);
    hold_fronts(n, m);
    control_client_memory(n->control, m);
    account_hold(m, ACCOUNT_CONTROL, netmap_memory(n->netmap));
    relay_node_memory(n->relay, m);
    account_hold(m, ACCOUNT_NETSTACK, netstack_node_memory(n->shard->netstack, node_index(n)));
    account_hold(m, ACCOUNT_NETSTACK, filter_local_memory(&n->filter));
    if (n->wireguard)
        account_hold(m, ACCOUNT_WIREGUARD, wireguard_node_memory(n->wireguard));
    if (n->underlay)
        account_hold(m, ACCOUNT_PATHS, underlay_node_memory(n->underlay));
    if (n->own_underlay)
        account_hold(m, ACCOUNT_PATHS, underlay_memory(n->own_underlay));
}

static size_t slab_spare(const struct slab *s)
{
    return slab_memory(s) - (size_t)s->used * s->object_bytes;
}

void node_shard_memory(const struct node_shard *s, struct account_memory *m)
{
    hold(m, s);
    account_hold(m, ACCOUNT_OTHER, slab_spare(&s->nodes) + slab_spare(&s->peers));
    account_hold_block(m, ACCOUNT_WIREGUARD, s->send_slab);
    account_hold(m, ACCOUNT_WIREGUARD, wireguard_memory(s->wireguard));
    account_hold(m, ACCOUNT_NETSTACK, netstack_shared_memory(s->netstack));
    account_hold(m, ACCOUNT_PATHS, underlay_memory(s->underlay));
    account_hold_block(m, ACCOUNT_RELAY, s->relays);
    account_hold_block(m, ACCOUNT_CONTROL, s->control);
    proxy_shard_memory(s->proxy, m);
}

size_t node_process_memory(const struct node_process *p)
{
    struct netmap_store_stats s;

    if (!p)
        return 0;
    netmap_store_stats(p->store, &s);
    return s.peer_bytes + s.text_bytes;
}

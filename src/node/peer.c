/* node/peer.c - one peer of one node, made when there is traffic
 *
 * A node may see thousands of peers and talk to two. So the netmap's reference is all that a peer costs
 * until a packet, a handshake or a ping names it.
 */
#include "node/internal.h"

#include <errno.h>

static uint64_t key_hash(const struct node *n, const struct public_key *key)
{
    return siphash(n->shard->process->hash_key, key, sizeof(*key));
}

uint64_t peer_token(const struct node_peer *p)
{
    return slab_handle(&p->node->shard->peers, p);
}

struct node_peer *peer_of_token(struct node_shard *s, uint64_t token)
{
    return slab_get(&s->peers, token);
}

struct node_peer *peer_find(struct node *n, const struct public_key *key)
{
    for (struct table_node *t = table_first(&n->peers_by_key, key_hash(n, key)); t; t = table_next_same(t)) {
        struct node_peer *p = TABLE_ENTRY(t, struct node_peer, by_key);

        if (public_key_equal(&p->key, key))
            return p;
    }
    return NULL;
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct node_peer *p = CONTAINER_OF(t, struct node_peer, timer);

    account_switch(node_charge(p->node, ACCOUNT_WIREGUARD));
    wireguard_peer_tick(p->wireguard, now);
}

void peer_update(struct node_peer *p, const struct netmap_peer *info, time_ns now)
{
    const struct tailcfg_node *node = &info->node;
    const struct netmap_peer *old = p->info;
    struct underlay_peer_facts facts = {
        .disco_key = node->disco_key,
        .home_region = (uint16_t)node->home_derp,
        .expired = netmap_peer_expired(p->node->netmap, info, ev_wall_clock()),
        .endpoints = node->endpoints.items,
        .endpoint_count = node->endpoints.count,
    };

    if (!old || !public_key_equal(&old->node.disco_key, &node->disco_key)) {
        p->disco_key = node->disco_key;
        p->disco_keys_told = 0;
    }
    facts.disco_key = p->disco_key;
    p->info = netmap_peer_ref(info);
    underlay_peer_set(p->underlay, &facts, now); /* before the old endpoints go */
    netmap_peer_unref(p->node->shard->process->store, old);
    peer_way_appeared(p, now);
}

bool peer_has_way(const struct node_peer *p, time_ns now)
{
    struct underlay_peer_status status;

    underlay_peer_status_get(p->underlay, now, &status);
    return status.path == UNDERLAY_PATH_DIRECT || p->info->node.home_derp;
}

void peer_way_appeared(struct node_peer *p, time_ns now)
{
    if (p->asked_nowhere && peer_has_way(p, now))
        tunnel_output(p); /* not from in here: WireGuard may be what found it */
}

int peer_rekey(struct node_peer *p, const struct public_key *key, time_ns now)
{
    struct node *n = p->node;
    struct wireguard_peer *fresh, *old = p->wireguard;
    struct wireguard_peer_facts facts;
    int r = wireguard_peer_new(&fresh, n->wireguard, key, p);

    if (r)
        return r;
    wireguard_peer_facts(old, now, &facts);
    table_remove(&n->peers_by_key, &p->by_key);
    must(table_insert(&n->peers_by_key, &p->by_key, key_hash(n, key)) ==
         0); /* it has just given up its place */
    p->key = *key;
    p->wireguard = fresh;
    ev_timer_stop(&p->timer);
    wireguard_peer_free(old);
    underlay_peer_set_key(p->underlay, key);
    p->local_shard = NULL;
    if (!peer_is_local(p) && facts.session)
        tunnel_output(p); /* begins the handshake: the other side may have nothing to send */
    return 0;
}

/* Asked again before a handshake, because the other node may have got its key after this peer was made. */
bool peer_is_local(struct node_peer *p)
{
    return p->local_shard || process_find(p->node->shard->process, &p->key, &p->local_shard, &p->local_node);
}

static int peer_init(struct node_peer *p, struct node *n, const struct netmap_peer *info)
{
    int r;

    *p = (struct node_peer) { .node = n, .key = info->node.key };
    ev_timer_init(&p->timer, n->shard->loop, on_timer);
    list_push_back(&n->peers, &p->link);
    r = table_insert(&n->peers_by_key, &p->by_key, key_hash(n, &p->key));
    if (r) {
        list_remove(&p->link);
        return r;
    }
    peer_is_local(p);
    r = wireguard_peer_new(&p->wireguard, n->wireguard, &p->key, p);
    if (!r)
        r = underlay_peer_new(&p->underlay, n->underlay, &p->key, p);
    return r;
}

struct node_peer *peer_for(struct node *n, const struct netmap_peer *info)
{
    struct node_peer *p = peer_find(n, &info->node.key);

    if (p)
        return p;
    if (!n->wireguard || !n->underlay || netmap_peer_expired(n->netmap, info, ev_wall_clock()))
        return NULL;
    p = slab_alloc(&n->shard->peers);
    if (!p || peer_init(p, n, info)) {
        n->shard->counters.peers_refused++;
        if (p && p->node)
            peer_free(p);
        else
            slab_release(&n->shard->peers, p);
        return NULL;
    }
    peer_update(p, info, ev_now(n->shard->loop));
    return p;
}

struct node_peer *peer_get(struct node *n, const struct public_key *key)
{
    const struct netmap_peer *info = netmap_peer_by_key(n->netmap, key);

    return info ? peer_for(n, info) : NULL;
}

void peer_free(struct node_peer *p)
{
    struct node *n = p->node;

    netstack_peer_remove(n->shard->netstack, node_index(n), peer_token(p));
    ev_timer_stop(&p->timer);
    list_remove(&p->output);
    wireguard_peer_free(p->wireguard);
    underlay_peer_free(p->underlay);
    netmap_peer_unref(n->shard->process->store, p->info);
    if (list_linked(&p->link)) {
        list_remove(&p->link);
        table_remove(&n->peers_by_key, &p->by_key);
    }
    slab_release(&n->shard->peers, p);
}

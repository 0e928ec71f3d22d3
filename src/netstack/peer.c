/* Nodes, their addresses, and what exists per (node, peer) while there is traffic. */
#include "netstack/internal.h"

#include <errno.h>
#include <stdlib.h>

bool rate_pass(struct rate *r, uint32_t per_second, uint32_t burst, uint32_t now_ms)
{
    uint64_t grown = (uint64_t)(now_ms - r->at_ms) * per_second;
    uint64_t tokens = MIN(r->milli_tokens + grown, (uint64_t)burst * 1000);

    r->at_ms = now_ms;
    r->milli_tokens = (uint32_t)tokens;
    if (tokens < 1000)
        return false;
    r->milli_tokens -= 1000;
    return true;
}

struct ns_node *ns_node_get(const struct netstack *ns, uint32_t index)
{
    return index < ns->node_slots ? ns->nodes[index] : NULL;
}

int ns_node_local(const struct ns_node *node, const struct ip *a)
{
    for (uint32_t i = 0; i < node->address_count; i++)
        if (ip_equal(&node->addresses[i], a))
            return (int)i;
    return -1;
}

/* ---- peers ------------------------------------------------------------------------ */

static uint64_t peer_hash(const struct netstack *ns, uint32_t node, uint64_t token)
{
    uint64_t key[2] = { token, node };

    return siphash(ns->table_key, key, sizeof(key));
}

static struct ns_peer *find_hashed(const struct netstack *ns, uint32_t node, uint64_t token, uint64_t hash)
{
    for (struct table_node *n = table_first(&ns->peers, hash); n; n = table_next_same(n)) {
        struct ns_peer *peer = TABLE_ENTRY(n, struct ns_peer, by_token);

        if (peer->token == token && peer->node == ns_node_get(ns, node))
            return peer;
    }
    return NULL;
}

struct ns_peer *ns_peer_find(const struct netstack *ns, uint32_t node, uint64_t token)
{
    return find_hashed(ns, node, token, peer_hash(ns, node, token));
}

struct ns_peer *ns_peer_get(struct netstack *ns, struct ns_node *node, uint64_t token)
{
    uint64_t hash = peer_hash(ns, node->index, token);
    struct ns_peer *peer = find_hashed(ns, node->index, token, hash);

    if (peer)
        return peer;
    peer = cache_alloc(&ns->peer_cache);
    if (!peer)
        return NULL;
    *peer = (struct ns_peer) {
        .node = node, .token = token, .mtu = NETSTACK_MTU, .rate_slot = (uint8_t)(hash >> 32) % RATE_SLOTS
    };
    if (table_insert(&ns->peers, &peer->by_token, hash)) {
        cache_release(&ns->peer_cache, peer);
        return NULL;
    }
    list_push_back(&node->peers, &peer->of_node);
    list_init(&peer->conns);
    list_init(&peer->syns);
    list_init(&peer->ready);
    list_init(&peer->ready_syns);
    list_init(&peer->control);
    ns->peer_count++;
    return peer;
}

static void node_free_if_gone(struct netstack *ns, struct ns_node *node)
{
    if (!node->removed || !list_empty(&node->peers))
        return;
    ns->node_count--;
    free(node);
}

void ns_peer_release(struct netstack *ns, struct ns_peer *peer)
{
    struct ns_node *node = peer->node;

    if (peer->conn_count || peer->syn_count || peer->control_count || peer->holds || peer->fragment_bytes)
        return;
    list_remove(&peer->of_node);
    list_remove(&peer->announce);
    table_remove(&ns->peers, &peer->by_token);
    if (!ns->peers.count)
        table_deinit(&ns->peers);
    cache_release(&ns->peer_cache, peer);
    ns->peer_count--;
    node_free_if_gone(ns, node);
}

void ns_peer_ready(struct netstack *ns, struct ns_peer *peer)
{
    if (peer->told || list_linked(&peer->announce))
        return;
    list_push_back(&ns->announce, &peer->announce);
}

bool ns_reset_allowed(struct netstack *ns, const struct ns_peer *peer)
{
    uint32_t per_second = MAX(ns->config.limits.resets_per_second / RATE_SLOTS, 1u);

    return rate_pass(&peer->node->resets[peer->rate_slot], per_second, per_second, ns->now_ms);
}

/* ---- whole packets ------------------------------------------------------------------ */

struct control *control_new(struct netstack *ns, size_t len)
{
    struct control *c = ns->control_bytes + len > CONTROL_BYTES_MAX ? NULL : malloc(sizeof(*c) + len);

    if (!c) {
        ns->counters.control_dropped++;
        return NULL;
    }
    *c = (struct control) { .len = (uint32_t)len };
    ns->control_bytes += len;
    ns->control_count++;
    return c;
}

void control_free(struct netstack *ns, struct control *c)
{
    if (!c)
        return;
    ns->control_bytes -= c->len;
    ns->control_count--;
    free(c);
}

bool ns_peer_control(struct netstack *ns, struct ns_peer *peer, struct control *c)
{
    if (peer->control_count >= ns->config.limits.control_per_peer) {
        ns->counters.control_dropped++;
        control_free(ns, c);
        return false;
    }
    list_push_back(&peer->control, &c->link);
    peer->control_count++;
    ns_peer_ready(ns, peer);
    return true;
}

/* ---- removal -------------------------------------------------------------------------- */

/* Everything of this peer ends, or only what uses local address `local` (-1: all). */
static void peer_drop(struct netstack *ns, struct ns_peer *peer, int local)
{
    peer->holds++;
    LIST_EACH (c, &peer->conns, struct tcp_conn, of_peer)
        if (local < 0 || c->local == local)
            tcp_conn_end(ns, c, NETSTACK_CLOSED_REMOVED);
    LIST_EACH (s, &peer->syns, struct tcp_syn, of_peer)
        if (local < 0 || s->local == local)
            syn_remove(ns, s, true);
    if (local < 0) {
        for (struct list *link; (link = list_pop_front(&peer->control));) {
            peer->control_count--;
            control_free(ns, LIST_ENTRY(link, struct control, link));
        }
        fragments_forget(ns, peer);
    }
    peer->holds--;
    ns_peer_release(ns, peer);
}

void netstack_peer_remove(struct netstack *ns, uint32_t node, uint64_t token)
{
    struct ns_peer *peer = ns_peer_find(ns, node, token);

    ns_enter(ns, -1);
    time_wait_purge(ns, node, -1, &token);
    if (peer)
        peer_drop(ns, peer, -1);
    ns_leave(ns);
}

static void drop_local(struct netstack *ns, struct ns_node *node, int local)
{
    LIST_EACH (peer, &node->peers, struct ns_peer, of_node)
        peer_drop(ns, peer, local);
    time_wait_purge(ns, node->index, local, NULL);
}

/* An address keeps its index while it is there: keys of flows contain it. */
static void set_addresses(struct netstack *ns, struct ns_node *node, const struct ip *addresses, size_t count)
{
    for (uint32_t i = 0; i < node->address_count; i++) {
        bool stays = false;

        for (size_t k = 0; k < count; k++)
            stays |= ip_equal(&node->addresses[i], &addresses[k]);
        if (!stays && !ip_is_none(&node->addresses[i])) {
            drop_local(ns, node, (int)i);
            node->addresses[i] = IP_NONE;
        }
    }
    for (size_t k = 0; k < count; k++) {
        int at = ns_node_local(node, &addresses[k]);

        if (ip_is_none(&addresses[k]))
            continue;
        if (at < 0)
            at = ns_node_local(node, &IP_NONE);
        if (at < 0)
            at = (int)node->address_count++;
        must(at < NETSTACK_NODE_ADDRESSES_MAX);
        node->addresses[at] = addresses[k];
    }
}

static int make_room(struct netstack *ns, uint32_t index)
{
    uint32_t slots = MAX(ns->node_slots, 8u);
    struct ns_node **nodes;

    if (index < ns->node_slots)
        return 0;
    while (slots <= index)
        slots *= 2;
    nodes = realloc(ns->nodes, slots * sizeof(*nodes));
    if (!nodes)
        return -ENOMEM;
    memset(nodes + ns->node_slots, 0, (slots - ns->node_slots) * sizeof(*nodes));
    ns->nodes = nodes;
    ns->node_slots = slots;
    return 0;
}

int netstack_node_add(struct netstack *ns, uint32_t index, const struct ip *addresses, size_t count)
{
    struct ns_node *node;
    int r;

    if (index >= NETSTACK_NODES_MAX || count > NETSTACK_NODE_ADDRESSES_MAX)
        return -EINVAL;
    r = make_room(ns, index);
    if (r)
        return r;
    node = ns->nodes[index];
    if (!node) {
        node = calloc(1, sizeof(*node));
        if (!node)
            return -ENOMEM;
        node->index = index;
        list_init(&node->peers);
        list_init(&node->syns);
        ns->nodes[index] = node;
        ns->node_count++;
    }
    ns_enter(ns, -1);
    set_addresses(ns, node, addresses, count);
    ns_leave(ns);
    return 0;
}

void netstack_node_remove(struct netstack *ns, uint32_t index)
{
    struct ns_node *node = ns_node_get(ns, index);

    if (!node)
        return;
    ns_enter(ns, -1);
    LIST_EACH (peer, &node->peers, struct ns_peer, of_node)
        peer_drop(ns, peer, -1);
    time_wait_purge(ns, index, -1, NULL);
    /* A batch of one of its peers may be on the stack; then the peer frees the node. */
    ns->nodes[index] = NULL;
    node->removed = true;
    node_free_if_gone(ns, node);
    ns_leave(ns);
}

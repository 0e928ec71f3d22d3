/* What the stack holds for one node, and for nobody in particular. */
#include "netstack/internal.h"

#include "metrics/metrics.h"

static size_t conn_memory(const struct netstack *ns, const struct tcp_conn *c)
{
    size_t bytes = ns->conns.object_bytes;

    if (c->tx) {
        bytes += sizeof(*c->tx) + c->tx->queue.memory;
        if (c->tx->records != c->tx->inline_records)
            bytes += account_block(c->tx->records);
    }
    if (c->rx) {
        bytes += sizeof(*c->rx) + c->rx->charged;
        if (c->rx->ranges != c->rx->inline_ranges)
            bytes += account_block(c->rx->ranges);
    }
    return bytes;
}

static size_t peer_memory(const struct netstack *ns, const struct ns_peer *p)
{
    size_t bytes = sizeof(*p) + p->fragment_bytes + p->syn_count * ns->syns.object_bytes;

    LIST_EACH (c, &p->conns, struct tcp_conn, of_peer)
        bytes += conn_memory(ns, c);
    LIST_EACH (k, &p->control, struct control, link)
        bytes += account_block(k);
    return bytes;
}

size_t netstack_node_memory(const struct netstack *ns, uint32_t node)
{
    const struct ns_node *n = node < ns->node_slots ? ns->nodes[node] : NULL;
    size_t bytes = n ? sizeof(*n) : 0;

    if (n)
        LIST_EACH (p, &n->peers, struct ns_peer, of_node)
            bytes += peer_memory(ns, p);
    return bytes;
}

size_t netstack_shared_memory(const struct netstack *ns)
{
    uint64_t all = netstack_usage(ns).memory_bytes, of_nodes = 0;

    for (uint32_t i = 0; i < ns->node_slots; i++)
        of_nodes += netstack_node_memory(ns, i);
    return all > of_nodes ? (size_t)(all - of_nodes) : 0;
}

/* node/socket.c - the UDP socket that a node's packets take: the shard's, or its own
 *
 * A socket of its own is an underlay of its own: other endpoints and NAT mapping, everything else is
 * the shard's. WireGuard's indexes and the search for an initiation's node are the shard's as well, so a
 * packet is for whom it names, whatever socket it came by.
 */
#include "node/internal.h"

#include <errno.h>
#include <stdio.h>

struct underlay *node_underlay(const struct node *n)
{
    return n->own_underlay ? n->own_underlay : n->shard->underlay;
}

int socket_open(struct node *n, const struct node_config *c, char why[NODE_WHY_BYTES])
{
    int r;

    if (!c->own_udp)
        return 0;
    r = shard_underlay_new(n->shard, c->own_udp_port, &n->own_underlay);
    if (r == -EADDRINUSE || r == -EACCES) {
        snprintf(why, NODE_WHY_BYTES, "dedicatedPort: UDP port %u: %s", c->own_udp_port, err_text(r));
        return 1;
    }
    if (r)
        return r;
    if (n->shard->host_known)
        underlay_set_host(n->own_underlay, &n->shard->host, ev_now(n->shard->loop));
    return 0;
}

void socket_close(struct node *n)
{
    underlay_free(n->own_underlay);
    n->own_underlay = NULL;
}

void sockets_each(struct node_shard *s, void (*fn)(struct underlay *u, const void *arg, time_ns now),
                  const void *arg)
{
    time_ns now = ev_now(s->loop);
    uint32_t index = 0;

    fn(s->underlay, arg, now);
    for (struct node *n; (n = slab_next(&s->nodes, &index));)
        if (n->own_underlay)
            fn(n->own_underlay, arg, now);
}

/* UDP (RFC 768; checksum rules of RFC 8200, 8.1): to the consumer's handler, or port unreachable. */
#include "netstack/internal.h"

#include <errno.h>

void datagram_input(struct netstack *ns, const struct inner_packet *p)
{
    const struct ip *local = &p->node->addresses[p->local];
    const uint8_t *u = p->payload.data;
    size_t len = p->payload.len >= UDP_BYTES ? load_be16(u + 4) : 0;
    struct netstack_flow flow = { .node = p->node->index, .peer = p->peer->token };

    if (len < UDP_BYTES || len > p->payload.len) {
        ns->counters.checksum_bad++;
        return;
    }
    /* 0 means "not computed", which only IPv4 allows. */
    if ((load_be16(u + 6) || !p->v4) &&
        checksum_fold(checksum_add(inner_pseudo_sum(&p->remote, local, PROTOCOL_UDP, len), u, len)) !=
            0xffff) {
        ns->counters.checksum_bad++;
        return;
    }
    flow.local = (struct ip_port) { *local, load_be16(u + 2) };
    flow.remote = (struct ip_port) { p->remote, load_be16(u) };
    if (ns->ops->on_udp &&
        ns->ops->on_udp(ns->ctx, &flow, span_slice(p->payload, UDP_BYTES, len - UDP_BYTES), ns->now)) {
        ns->counters.udp_in++;
        return;
    }
    ns->counters.udp_unreachable++;
    icmp_port_unreachable(ns, p);
}

int netstack_udp_send(struct netstack *ns, const struct netstack_flow *flow, struct span payload)
{
    struct ns_node *node = ns_node_get(ns, flow->node);
    const struct ip *from = &flow->local.ip, *to = &flow->remote.ip;
    uint8_t header[UDP_BYTES] = { 0 };
    size_t len = UDP_BYTES + payload.len;
    struct ns_peer *peer;
    uint64_t sum;
    int r;

    if (!node || ns_node_local(node, from) < 0 || ip_is_v4(from) != ip_is_v4(to))
        return -EADDRNOTAVAIL;
    if (payload.len > NETSTACK_UDP_PAYLOAD_MAX)
        return -EMSGSIZE;
    peer = ns_peer_get(ns, node, flow->peer);
    if (!peer)
        return -ENOMEM;
    ns_enter(ns, -1);
    store_be16(header, flow->local.port);
    store_be16(header + 2, flow->remote.port);
    store_be16(header + 4, (uint16_t)len);
    sum = checksum_add(inner_pseudo_sum(from, to, PROTOCOL_UDP, len), header, UDP_BYTES);
    sum = checksum_add(sum, payload.data, payload.len);
    checksum_store(header + 6, checksum_fold(sum) == 0xffff ? 0 : sum); /* 0 is sent as all ones */
    r = inner_send(ns, peer, from, to, PROTOCOL_UDP, SPAN_OF(header), payload) ? 0 : -ENOBUFS;
    ns_peer_release(ns, peer);
    ns_leave(ns);
    return r;
}

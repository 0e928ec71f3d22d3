/* node/relays.c - the node's relay connections, and what they tell the others */
#include "node/internal.h"

#include <stdio.h>

/* ---- what relays say ------------------------------------------------------------------------ */

static void on_received(void *ctx, uint16_t region, const struct public_key *from, struct mspan packet,
                        time_ns now)
{
    struct node *n = ctx;

    underlay_relay_received(n->underlay, region, from, packet, now);
}

static void on_heard(void *ctx, uint16_t region, time_ns now)
{
    underlay_relay_heard(((struct node *)ctx)->underlay, region, now);
    node_relay_heard(ctx, region);
}

static void on_trouble(void *ctx, uint16_t region, time_ns now)
{
    (void)region;
    underlay_measure(node_underlay(ctx), now);
}

/* Whoever waits for this way goes on; which peers that is, is not worth a table. */
static void on_room(void *ctx, uint16_t region, time_ns now)
{
    struct node *n = ctx;

    (void)region;
    (void)now;
    LIST_EACH (p, &n->peers, struct node_peer, link) {
        if (p->waits_for_relay) {
            p->waits_for_relay = false;
            tunnel_output(p);
        }
    }
}

static void on_probed(void *ctx, uint16_t region, time_ns latency, time_ns now)
{
    underlay_relay_probed(((struct node *)ctx)->underlay, region, latency, now);
}

static const struct relay_ops relay_ops = {
    .received = on_received, .heard = on_heard, .trouble = on_trouble, .room = on_room, .probed = on_probed
};

int relay_open(struct node *n)
{
    struct relay_config config = { .name = n->name,
                                   .node_key = &n->keys.node,
                                   .ops = &relay_ops,
                                   .ctx = n,
                                   .plain_http = n->shard->process->config.plain_relays };

    return relay_node_new(&n->relay, n->shard->relays, &config);
}

int relay_reopen(struct node *n, time_ns now)
{
    const struct tailcfg_derp_map *map = netmap_derp_map(n->netmap);
    int r;

    relay_node_free(n->relay);
    n->relay = NULL;
    r = relay_open(n);
    if (!r && map)
        r = relay_node_set_map(n->relay, map, now);
    if (r)
        return r;
    relay_node_set_home(n->relay, n->home_region, now);
    on_room(n, 0, now); /* who waited for room in the old queue finds an empty one */
    return 0;
}

int relay_shard_open(struct node_shard *s)
{
    return relay_shard_new(&s->relays, s->loop, s->process->pacer, s->process->tls, s->process->proxies);
}

void relay_send_packet(struct node *n, uint16_t region, const struct public_key *to, struct span packet)
{
    relay_node_send(n->relay, region, to, packet, ev_now(n->shard->loop));
}

size_t relay_room(struct node_peer *p)
{
    struct underlay_peer_status status;
    size_t room;

    underlay_peer_status_get(p->underlay, ev_now(p->node->shard->loop), &status);
    if (status.path == UNDERLAY_PATH_DIRECT)
        return NETSTACK_SEGMENTS_MAX;
    room = relay_node_room(p->node->relay, (uint16_t)p->info->node.home_derp, &p->key);
    p->waits_for_relay = room == 0;
    return room;
}

int relay_apply_map(struct node *n, const struct tailcfg_derp_map *map, time_ns now)
{
    int r = underlay_node_set_map(n->underlay, map, now);

    return r ? r : relay_node_set_map(n->relay, map, now);
}

/* ---- status ----------------------------------------------------------------------------------------- */

/* What was measured: does UDP work, and how far is each region? */
static void put_measured(const struct node *n, struct json_writer *w)
{
    const struct underlay_report *report = underlay_node_report(n->underlay);

    if (!report->measured_at)
        return;
    json_put_bool(w, "workingUDP", report->udp);
    json_object_begin(w, "relayLatencyMicroseconds");
    for (size_t i = 0; i < report->latency_count; i++) {
        const struct underlay_region_latency *l = &report->latencies[i];
        char region[8];

        snprintf(region, sizeof(region), "%u", l->region);
        json_put_u64(w, region, l->v4_us && l->v6_us ? MIN(l->v4_us, l->v6_us) : l->v4_us | l->v6_us);
    }
    json_object_end(w);
}

void relay_status_write(const struct node *n, struct json_writer *w, time_ns now)
{
    struct relay_status status;

    if (!n->relay)
        return;
    relay_node_status(n->relay, now, &status);
    json_put_str(w, "relay", status.sentence);
    json_put_bool(w, "relayConnected", status.home_connected);
    json_put_u64(w, "homeRegion", status.home_region);
    put_measured(n, w);
}

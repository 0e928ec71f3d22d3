/* node/shard.c - the machines of a thread, and where their callbacks lead */
#include "node/internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- handshakes of keys that the netmap does not name yet ------------------------------------
 *
 * A client that joined a second ago may shake hands before control has told us of it. Its first message is
 * kept for a while and answered as soon as a netmap names the key, so it need not wait for its own retry.
 */
#define INITIATION_BYTES 148

struct unknown_initiator {
    struct list link;
    handle node;
    struct public_key key;
    time_ns until;
    struct underlay_source source;
    size_t len;
    uint8_t datagram[INITIATION_BYTES];
};

static void unknown_drop(struct node_shard *s, struct unknown_initiator *u)
{
    list_remove(&u->link);
    s->unknown_count--;
    free(u);
}

static void unknown_trim(struct node_shard *s, time_ns now)
{
    struct unknown_initiator *oldest;

    while ((oldest = LIST_FIRST(&s->unknown, struct unknown_initiator, link)) &&
           (oldest->until <= now || s->unknown_count >= UNKNOWN_INITIATORS_MAX))
        unknown_drop(s, oldest);
}

void unknown_remember(struct node_shard *s, struct node *n, const struct public_key *initiator,
                      struct span datagram, const struct underlay_source *source, time_ns now)
{
    struct unknown_initiator *u;

    s->counters.handshakes_foreign++;
    if (datagram.len != INITIATION_BYTES)
        return;
    unknown_trim(s, now);
    LIST_EACH (old, &s->unknown, struct unknown_initiator, link) {
        if (old->node == slab_handle(&s->nodes, n) && public_key_equal(&old->key, initiator))
            unknown_drop(s, old); /* one each: the newest counts */
    }
    u = malloc(sizeof(*u));
    if (!u)
        return;
    *u = (struct unknown_initiator) { .node = slab_handle(&s->nodes, n),
                                      .key = *initiator,
                                      .until = now + UNKNOWN_INITIATOR_TTL,
                                      .source = *source,
                                      .len = datagram.len };
    memcpy(u->datagram, datagram.data, datagram.len);
    list_push_back(&s->unknown, &u->link);
    s->unknown_count++;
    s->counters.handshakes_remembered++;
}

void unknown_resume(struct node *n, const struct public_key *key, time_ns now)
{
    struct node_shard *s = n->shard;

    unknown_trim(s, now);
    LIST_EACH (u, &s->unknown, struct unknown_initiator, link) {
        struct mspan datagram = { u->datagram, u->len };

        if (u->node != slab_handle(&s->nodes, n) || !public_key_equal(&u->key, key))
            continue;
        list_remove(&u->link);
        s->unknown_count--;
        s->counters.handshakes_resumed++;
        tunnel_receive(s, n->underlay, &datagram, 1, &u->source, now);
        free(u);
        return;
    }
}

void unknown_forget(struct node *n)
{
    LIST_EACH (u, &n->shard->unknown, struct unknown_initiator, link) {
        if (u->node == slab_handle(&n->shard->nodes, n))
            unknown_drop(n->shard, u);
    }
}

/* ---- WireGuard ---------------------------------------------------------------------------------- */

static enum underlay_kind kind_of(enum wireguard_kind kind)
{
    switch (kind) {
    case WIREGUARD_INITIATION:
        return UNDERLAY_INITIATION;
    case WIREGUARD_RESPONSE:
        return UNDERLAY_RESPONSE;
    case WIREGUARD_COOKIE_REPLY:
    case WIREGUARD_KEEPALIVE:
        break;
    }
    return UNDERLAY_DATA;
}

/* Back the way it came. */
static void reply(struct node_shard *s, struct node *n, struct span message)
{
    if (s->arriving.source)
        underlay_reply(s->arriving.underlay ? s->arriving.underlay : node_underlay(n), n->underlay,
                       s->arriving.source, message);
}

static void send_to_peer(struct node_shard *s, struct node_peer *p, struct span message,
                         enum wireguard_kind kind, time_ns now)
{
    bool nowhere = !peer_has_way(p, now);

    if (kind == WIREGUARD_INITIATION)
        p->asked_nowhere = nowhere;
    if (underlay_send(p->underlay, message, message.len, kind_of(kind), now))
        s->counters.send_failed++;
    if (kind == WIREGUARD_RESPONSE && nowhere && s->arriving.source && !s->arriving.source->relayed)
        reply(s, p->node, message); /* the path will be proven a moment later */
}

static void wg_send(void *ctx, struct wireguard_node *node, struct wireguard_peer *peer,
                    const struct wireguard_source *reply_to, struct span message, enum wireguard_kind kind)
{
    struct node *n = wireguard_node_user(node);
    account_charge was =
        account_switch(node_charge(n, ACCOUNT_WIREGUARD)); /* what it answers may be nobody's yet */
    struct node_shard *s = ctx;

    (void)reply_to; /* the same as the source that is arriving, with less in it */
    account_count(ACCOUNT_WIREGUARD, ACCOUNT_OUT, 1, message.len);
    if (peer)
        send_to_peer(s, wireguard_peer_user(peer), message, kind, ev_now(s->loop));
    else
        reply(s, n, message);
    account_switch(was);
}

static struct wireguard_peer *wg_unknown_initiator(void *ctx, struct wireguard_node *node,
                                                   const struct public_key *initiator,
                                                   const struct wireguard_source *source)
{
    struct node *n = wireguard_node_user(node);
    struct node_peer *p = peer_get(n, initiator);
    struct node_shard *s = ctx;

    (void)source;
    if (p)
        return p->wireguard;
    if (s->arriving.source)
        unknown_remember(s, n, initiator, s->arriving.datagram, s->arriving.source, ev_now(s->loop));
    return NULL;
}

static void wg_session_ready(void *ctx, struct wireguard_peer *peer)
{
    struct node_shard *s = ctx;

    tunnel_session_ready(wireguard_peer_user(peer), ev_now(s->loop));
}

static void wg_given_up(void *ctx, struct wireguard_peer *peer)
{
    struct node_peer *p = wireguard_peer_user(peer);

    (void)ctx;
    p->asked_nowhere = false;
    log_debug(p->node->name, "no answer to handshakes from %.*s", (int)p->info->node.name.len,
              p->info->node.name.data);
}

static void wg_unanswered(void *ctx, struct wireguard_peer *peer)
{
    struct node_shard *s = ctx;

    underlay_peer_doubt(((struct node_peer *)wireguard_peer_user(peer))->underlay, ev_now(s->loop));
}

static void wg_deadline_changed(void *ctx, struct wireguard_peer *peer)
{
    (void)ctx;
    ev_timer_set(&((struct node_peer *)wireguard_peer_user(peer))->timer, wireguard_peer_deadline(peer));
}

static int64_t wg_wall_clock(void *ctx)
{
    (void)ctx;
    return ev_wall_clock();
}

static const struct wireguard_ops wireguard_ops = {
    .send = wg_send,
    .unknown_initiator = wg_unknown_initiator,
    .session_ready = wg_session_ready,
    .handshake_given_up = wg_given_up,
    .unanswered = wg_unanswered,
    .deadline_changed = wg_deadline_changed,
    .wall_clock = wg_wall_clock,
};

/* ---- underlay ------------------------------------------------------------------------------------- */

static void ul_wireguard(void *ctx, struct underlay *u, struct underlay_node *hint,
                         const struct mspan *datagrams, size_t count, const struct underlay_source *source,
                         time_ns now)
{
    struct node_shard *s = ctx;

    s->arriving.underlay = u;
    tunnel_receive(s, hint, datagrams, count, source, now);
    s->arriving.underlay = NULL;
}

static void ul_relay_send(void *ctx, struct underlay_node *node, uint16_t region, const struct public_key *to,
                          struct span packet)
{
    struct node *n = underlay_node_user(node);

    (void)ctx;
    if (n->relay)
        relay_send_packet(n, region, to, packet);
}

/* The only peer with this disco key. */
static const struct netmap_peer *by_disco_key(const struct node *n, const struct public_key *disco_key)
{
    const struct netmap_peer *found = NULL;

    for (size_t i = 0; i < netmap_peer_count(n->netmap); i++) {
        const struct netmap_peer *p = netmap_peer_at(n->netmap, i);

        if (!public_key_equal(&p->node.disco_key, disco_key))
            continue;
        if (found)
            return NULL;
        found = p;
    }
    return found;
}

static struct underlay_peer *ul_find_peer(void *ctx, struct underlay_node *node,
                                          const struct public_key *node_key,
                                          const struct public_key *disco_key)
{
    struct node *n = underlay_node_user(node);
    const struct netmap_peer *info =
        node_key ? netmap_peer_by_key(n->netmap, node_key) : by_disco_key(n, disco_key);
    struct node_peer *p = info ? peer_for(n, info) : NULL;

    (void)ctx;
    return p ? p->underlay : NULL;
}

static void ul_path_changed(void *ctx, struct underlay_peer *peer, enum underlay_path path, uint32_t epoch)
{
    struct node_peer *p = underlay_peer_user(peer);
    struct node_shard *s = ctx;

    netstack_path_changed(s->netstack, node_index(p->node), peer_token(p),
                          path == UNDERLAY_PATH_DIRECT ? NETSTACK_PATH_DIRECT : NETSTACK_PATH_RELAY, epoch,
                          ev_now(s->loop));
    if (p->waits_for_relay)
        tunnel_output(p); /* the other way may have room */
    peer_way_appeared(p, ev_now(s->loop));
    log_debug(p->node->name, "path to %.*s is %s now", (int)p->info->node.name.len, p->info->node.name.data,
              path == UNDERLAY_PATH_DIRECT ? "direct" : "the relay");
}

static void ul_probe_relay(void *ctx, struct underlay_node *node, uint16_t region, time_ns now)
{
    struct node *n = underlay_node_user(node);

    (void)ctx;
    if (n->relay && relay_node_probe(n->relay, region, now) == 0)
        return;
    log_debug(n->name, "relay region %u cannot be measured", region);
}

/* The first handshake messages can be lost around a relay: Tailscale's client queues 32 packets for one, and
 * derper 32 for a client, fewer than a page with an icon of each service makes. The client waits for 5 s
 * then. */
static void ul_peer_calls(void *ctx, struct underlay_peer *peer, time_ns now)
{
    struct node_peer *p = underlay_peer_user(peer);

    (void)ctx;
    if (!p->local_shard) /* as far as is known: each ping is too often to ask under the process's lock */
        wireguard_expect(p->wireguard, now + CALLER_BEGINS, now);
}

static void ul_peer_quiet(void *ctx, struct underlay_peer *peer, time_ns now)
{
    (void)ctx;
    (void)peer;
    (void)now;
}

static void ul_report_changed(void *ctx, struct underlay *u, unsigned what, time_ns now)
{
    struct node_shard *s = ctx;
    uint32_t index = 0;

    (void)now;
    for (struct node *n; (n = slab_next(&s->nodes, &index));)
        if (node_underlay(n) == u)
            node_report_changed(n, what);
}

static const struct underlay_ops underlay_ops = {
    .on_wireguard = ul_wireguard,
    .relay_send = ul_relay_send,
    .find_peer = ul_find_peer,
    .path_changed = ul_path_changed,
    .probe_relay = ul_probe_relay,
    .peer_calls = ul_peer_calls,
    .peer_quiet = ul_peer_quiet,
    .report_changed = ul_report_changed,
};

/* ---- TCP/IP ------------------------------------------------------------------------------------------ */

static enum netstack_verdict ns_on_syn(void *ctx, const struct netstack_flow *flow, handle pending,
                                       void **user)
{
    struct node *n = node_of_index(ctx, flow->node);

    (void)pending;
    return n ? service_on_syn(n, flow, user) : NETSTACK_RESET;
}

static void ns_established(void *ctx, handle conn, void *user, time_ns now)
{
    account_charge was = accounts.charge;
    struct netstack_flow flow;
    struct node_shard *s = ctx;
    struct node *n;

    if (user) {
        inner_stream_events(user, STREAM_CONNECTED | STREAM_WRITABLE, 0, now);
    } else if (tcp_flow(s->netstack, conn, &flow)) {
        n = node_of_index(s, flow.node);
        account_switch(account_charge_of(n ? n->account : 0, ACCOUNT_PROXY));
        service_accept(s, conn, &flow);
        account_switch(was);
    }
}

static void ns_readable(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    if (user)
        inner_stream_events(user, STREAM_READABLE, 0, now);
}

static void ns_writable(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    if (user)
        inner_stream_events(user, STREAM_WRITABLE, 0, now);
}

static int errno_of(enum netstack_reason reason)
{
    switch (reason) {
    case NETSTACK_CLOSED_DONE:
        return 0;
    case NETSTACK_CLOSED_RESET:
        return -ECONNRESET;
    case NETSTACK_CLOSED_REFUSED:
        return -ECONNREFUSED;
    case NETSTACK_CLOSED_TIMED_OUT:
    case NETSTACK_CLOSED_STALLED:
        return -ETIMEDOUT;
    case NETSTACK_CLOSED_NO_MEMORY:
        return -ENOMEM;
    case NETSTACK_CLOSED_REMOVED:
        return -ENETUNREACH;
    }
    return -EIO;
}

static void ns_closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now)
{
    (void)ctx;
    (void)conn;
    if (user)
        inner_stream_events(user, STREAM_FAILED, errno_of(reason), now);
}

static void ns_output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    struct node_peer *p = peer_of_token(ctx, peer);

    (void)node;
    if (p)
        tunnel_output(p);
}

static void ns_stalled(void *ctx, uint32_t node, uint64_t peer)
{
    struct node_peer *p = peer_of_token(ctx, peer);

    (void)node;
    if (p)
        p->stalled = true; /* what is repeated leaves soon: send_peer looks */
}

static void ns_deadline_changed(void *ctx)
{
    struct node_shard *s = ctx;

    ev_timer_set(&s->stack_timer, netstack_deadline(s->netstack));
}

static bool ns_on_udp(void *ctx, const struct netstack_flow *flow, struct span payload, time_ns now)
{
    (void)ctx;
    (void)flow;
    (void)payload;
    (void)now;
    return false; /* no service takes datagrams */
}

static const struct netstack_ops netstack_ops = {
    .on_syn = ns_on_syn,
    .established = ns_established,
    .readable = ns_readable,
    .writable = ns_writable,
    .closed = ns_closed,
    .output_ready = ns_output_ready,
    .stalled = ns_stalled,
    .deadline_changed = ns_deadline_changed,
    .on_udp = ns_on_udp,
};

static void on_stack_timer(struct ev_timer *t, time_ns now)
{
    struct node_shard *s = CONTAINER_OF(t, struct node_shard, stack_timer);

    account_switch(account_charge_of(0, ACCOUNT_NETSTACK)); /* of all nodes; the loop goes on from here */
    netstack_tick(s->netstack, now);
    ev_timer_set(&s->stack_timer, netstack_deadline(s->netstack));
}

/* ---- life -------------------------------------------------------------------------------------------- */

static void on_flush(struct ev_task *t, time_ns now)
{
    struct node_shard *s = CONTAINER_OF(t, struct node_shard, flush);

    tunnel_flush(s, now);
    quiet_note(s, now);
}

int shard_underlay_new(struct node_shard *s, uint16_t port, struct underlay **out)
{
    struct underlay_config config = {
        .ops = &underlay_ops, .ctx = s, .survey = s->process->survey, .port = port
    };

    return underlay_new(out, s->loop, &config);
}

static int open_machines(struct node_shard *s)
{
    uint16_t port = s->process->config.udp_port;
    struct wireguard_config wireguard = {
        .ops = &wireguard_ops, .ctx = s, .shard = s->index, .shard_bits = s->process->shard_bits
    };
    struct netstack_config netstack = { .ops = &netstack_ops, .ctx = s, .random = random_bytes };
    int r;

    memcpy(wireguard.process_secret, s->process->wireguard_secret, sizeof(wireguard.process_secret));
    r = wireguard_new(&s->wireguard, &wireguard);
    wipe(&wireguard, sizeof(wireguard));

    if (!r)
        r = netstack_new(&s->netstack, &netstack, ev_now(s->loop));
    if (!r)
        r = shard_underlay_new(s, port ? (uint16_t)(port + s->index) : 0, &s->underlay);
    if (!r)
        r = relay_shard_open(s);
    if (!r)
        r = control_shard_new(&s->control, s->process->gate, s->loop);
    if (!r)
        r = state_desk_new(&s->desk, s->process->disk, s->loop);
    if (!r)
        r = proxy_shard_new(&s->proxy, s->loop);
    if (!r)
        r = ev_mailbox_new(&s->mailbox, s->loop, tunnel_letter, s);
    return r;
}

static void on_slept(void *owner, time_ns slept, time_ns now);

int node_shard_new(struct node_shard **out, struct node_process *p, unsigned index, struct ev_loop *loop)
{
    struct node_shard *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    must(index < p->config.shard_count);
    s->process = p;
    s->index = index;
    s->loop = loop;
    slab_init(&s->nodes, sizeof(struct node), NODE_NODES_MAX);
    slab_init(&s->peers, sizeof(struct node_peer), NODE_PEERS_MAX);
    list_init(&s->output);
    list_init(&s->unknown);
    ev_task_init(&s->flush, loop, on_flush);
    ev_timer_init(&s->stack_timer, loop, on_stack_timer);
    quiet_init(s);
    s->send_slab = malloc(SEND_SLAB_BYTES);
    r = s->send_slab ? open_machines(s) : -ENOMEM;
    if (r) {
        node_shard_free(s);
        return err_trace(r);
    }
    ev_loop_watch_sleep(loop, on_slept, s);
    pthread_mutex_lock(&p->lock);
    p->shards[index] = s;
    pthread_mutex_unlock(&p->lock);
    *out = s;
    return 0;
}

void node_shard_free(struct node_shard *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->process->lock);
    s->process->shards[s->index] = NULL;
    pthread_mutex_unlock(&s->process->lock);
    ev_loop_watch_sleep(s->loop, NULL, NULL);
    ev_mailbox_free(s->mailbox);
    proxy_shard_free(s->proxy);
    cert_store_free(s->certificates);
    control_shard_free(s->control);
    state_desk_free(s->desk);
    relay_shard_free(s->relays);
    underlay_free(s->underlay);
    netstack_free(s->netstack);
    wireguard_free(s->wireguard);
    while (!list_empty(&s->unknown))
        unknown_drop(s, LIST_FIRST(&s->unknown, struct unknown_initiator, link));
    ev_task_cancel(&s->flush);
    ev_timer_stop(&s->stack_timer);
    ev_timer_stop(&s->quiet_timer);
    slab_deinit(&s->nodes);
    slab_deinit(&s->peers);
    free(s->send_slab);
    free(s);
}

/* Connections to relays may be dead. All nodes have the same reason to ask, so not all at the same time. */
static void check_relays(struct node_shard *s, time_ns now)
{
    time_ns spread = MIN((time_ns)s->nodes.used * RELAY_CHECK_EACH, RELAY_CHECK_SPREAD);
    uint32_t index = 0, part;

    for (struct node *n; (n = slab_next(&s->nodes, &index));) {
        if (!n->relay)
            continue;
        random_bytes(&part, sizeof(part));
        relay_node_check(n->relay, now + (time_ns)((uint64_t)part * (uint64_t)spread >> 32), now);
    }
}

static void tell_woke(struct underlay *u, const void *arg, time_ns now)
{
    (void)arg;
    underlay_woke(u, now);
}

static void tell_host(struct underlay *u, const void *arg, time_ns now)
{
    underlay_set_host(u, arg, now);
}

static void on_slept(void *owner, time_ns slept, time_ns now)
{
    struct node_shard *s = owner;

    log_info(NULL, "shard %u: the machine slept for %d s", s->index, (int)(slept / SEC));
    sockets_each(s, tell_woke, NULL);
    check_relays(s, now);
}

void node_shard_set_host(struct node_shard *s, const struct host_view *view)
{
    s->host = *view;
    s->host_known = true;
    sockets_each(s, tell_host, view);
    check_relays(s, ev_now(s->loop));
}

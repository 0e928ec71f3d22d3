/* Connections: how they come, change state and go, their timers, and what their consumers are told. */
#include "netstack/internal.h"

/* Row: from. Bits: the states it may go to. */
static const uint16_t allowed[] = {
    [TCP_SYN_SENT] = BIT(TCP_SYN_RECEIVED) | BIT(TCP_ESTABLISHED) | BIT(TCP_FINISHED),
    [TCP_SYN_RECEIVED] = BIT(TCP_ESTABLISHED) | BIT(TCP_FINISHED),
    [TCP_ESTABLISHED] = BIT(TCP_FIN_WAIT_1) | BIT(TCP_CLOSE_WAIT) | BIT(TCP_FINISHED),
    [TCP_FIN_WAIT_1] = BIT(TCP_FIN_WAIT_2) | BIT(TCP_CLOSING) | BIT(TCP_FINISHED),
    [TCP_FIN_WAIT_2] = BIT(TCP_FINISHED),
    [TCP_CLOSE_WAIT] = BIT(TCP_LAST_ACK) | BIT(TCP_FINISHED),
    [TCP_CLOSING] = BIT(TCP_FINISHED),
    [TCP_LAST_ACK] = BIT(TCP_FINISHED),
    [TCP_FINISHED] = BIT(TCP_FINISHED),
};
#define X(name) +1
static_assert(COUNT_OF(allowed) == 0 TCP_STATES(X), "a state without a row");
#undef X
static_assert(sizeof(struct tcp_conn) <= 272, "an idle connection is small");

void tcp_conn_enter(struct tcp_conn *c, enum tcp_state to)
{
    must(allowed[c->state] & BIT(to));
    c->state = to;
}

struct flow_key tcp_conn_key(const struct tcp_conn *c)
{
    return (struct flow_key) { .remote = c->remote,
                               .node = c->peer->node->index,
                               .local_port = c->local_port,
                               .remote_port = c->remote_port,
                               .local = c->local };
}

/* ---- numbers that others must not guess --------------------------------------------------------- */

/* RFC 6528: a clock of 4 us plus a keyed hash of the connection's identity. */
uint32_t tcp_isn(struct netstack *ns, const struct flow_key *key)
{
    return (uint32_t)(ns->now / (4 * USEC)) + (uint32_t)siphash(ns->isn_key, key, sizeof(*key));
}

/* RFC 7323, 5.4: one clock per pair of hosts, so that a reused pair of ports goes on upwards. */
uint32_t tcp_ts_offset(struct netstack *ns, const struct flow_key *key)
{
    struct flow_key hosts = { .remote = key->remote, .node = key->node, .local = key->local };

    return (uint32_t)(siphash(ns->isn_key, &hosts, sizeof(hosts)) >> 32);
}

/* ---- coming and going ----------------------------------------------------------------------------- */

bool tcp_conn_limits_allow(struct netstack *ns, const struct ns_peer *peer)
{
    const struct netstack_limits *l = &ns->config.limits;

    if (ns_memory_level(ns) >= 2) {
        ns->counters.conns_refused_memory++;
        return false;
    }
    if (peer->conn_count >= l->conns_per_peer || peer->node->conn_count >= l->conns_per_node ||
        ns->conns.used >= l->conns) {
        ns->counters.conns_refused_limit++;
        return false;
    }
    return true;
}

struct tcp_conn *tcp_conn_new(struct netstack *ns, struct ns_peer *peer, const struct flow_key *key,
                              uint32_t hash)
{
    struct tcp_conn *c = slab_alloc(&ns->conns);

    if (!c || flow_insert(ns, hash, flow_ref_make(FLOW_CONN, slab_index(&ns->conns, c)))) {
        ns->counters.conns_refused_memory++;
        slab_release(&ns->conns, c);
        return NULL;
    }
    c->peer = peer;
    c->remote = key->remote;
    c->local_port = key->local_port;
    c->remote_port = key->remote_port;
    c->local = (uint8_t)key->local;
    c->flags = CONN_IN_TABLE | (ip_is_v4(&key->remote) ? CONN_V4 : 0);
    c->rcv_limit = MIN(RECEIVE_WINDOW_FIRST, ns->config.limits.receive_window_bytes_max);
    c->rcv_mss = c->flags & CONN_V4 ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;
    c->rto_ms = RTO_INITIAL_MS;
    c->quick_acks = QUICK_ACKS;
    c->ts_recent_ms = c->space_ms = c->sent_ms = ns->now_ms;
    c->timer.kind = FLOW_CONN;
    list_push_back(&peer->conns, &c->of_peer);
    peer->conn_count++;
    peer->node->conn_count++;
    return c;
}

/* Out of the table: its segments are no longer ours, its timers are over. */
static void leave_table(struct netstack *ns, struct tcp_conn *c)
{
    if (c->flags & CONN_IN_TABLE) {
        struct flow_key key = tcp_conn_key(c);

        flow_remove(ns, flow_hash(ns, &key), flow_ref_make(FLOW_CONN, slab_index(&ns->conns, c)));
    }
    c->flags &= ~(CONN_IN_TABLE | CONN_IDLE_TIMER | CONN_ACK_DELAYED | CONN_ACK_NOW);
    timer_wheel_clear(&ns->wheel, &c->timer);
    list_remove(&c->ready);
    if (c->tx) {
        chunk_queue_clear(ns, &c->tx->queue);
        records_free(c->tx);
        cache_release(&ns->tx_cache, c->tx);
        c->tx = NULL;
    }
}

/* Everything but the object itself. */
static void strip(struct netstack *ns, struct tcp_conn *c)
{
    struct ns_peer *peer = c->peer;

    if (!peer)
        return;
    leave_table(ns, c);
    tcp_receive_free(ns, c);
    list_remove(&c->of_peer);
    peer->conn_count--;
    peer->node->conn_count--;
    c->peer = NULL;
    ns_peer_release(ns, peer);
}

void tcp_conn_free(struct netstack *ns, struct tcp_conn *c)
{
    strip(ns, c);
    list_remove(&c->event);
    slab_release(&ns->conns, c);
}

static void count_end(struct netstack *ns, enum netstack_reason reason)
{
    struct netstack_counters *n = &ns->counters;

    switch (reason) {
    case NETSTACK_CLOSED_DONE:
        n->conns_done++;
        break;
    case NETSTACK_CLOSED_RESET:
    case NETSTACK_CLOSED_REFUSED:
        n->conns_reset++;
        break;
    case NETSTACK_CLOSED_TIMED_OUT:
        n->conns_timed_out++;
        break;
    case NETSTACK_CLOSED_STALLED:
        n->conns_stalled++;
        break;
    case NETSTACK_CLOSED_NO_MEMORY:
    case NETSTACK_CLOSED_REMOVED:
        n->conns_aborted++;
        break;
    }
}

void tcp_conn_end(struct netstack *ns, struct tcp_conn *c, enum netstack_reason reason)
{
    if (!c->peer)
        return; /* has ended before; `closed` is due */
    count_end(ns, reason);
    tcp_conn_enter(c, TCP_FINISHED);
    if (c->flags & CONN_DETACHED) {
        tcp_conn_free(ns, c);
        return;
    }
    strip(ns, c);
    c->reason = (uint8_t)reason;
    tcp_conn_event(ns, c, EVENT_CLOSED);
}

static void enter_time_wait(struct netstack *ns, const struct tcp_conn *c)
{
    struct time_wait_record r = {
        .key = tcp_conn_key(c),
        .token = c->peer->token,
        .snd_nxt = c->snd_nxt,
        .rcv_nxt = c->rcv_nxt,
        .ts_recent = c->ts_recent,
        .ts_offset = c->ts_offset,
        .has_ts = (c->flags & CONN_TS) != 0,
        .window = (uint16_t)MIN((c->rcv_edge - c->rcv_nxt) >> c->rcv_scale, 65535u),
    };

    time_wait_add(ns, &r);
}

void tcp_conn_finish(struct netstack *ns, struct tcp_conn *c, bool time_wait)
{
    if (c->flags & (CONN_ACK_NOW | CONN_ACK_DELAYED)) {
        /* The peer's FIN must be acknowledged, and after this nobody pulls from the connection. */
        struct flow_key key = tcp_conn_key(c);
        uint8_t options[TCP_TS_BYTES];
        size_t len = tcp_ts_option(ns, c, options);

        tcp_bare_send(ns, c->peer, &key,
                      (struct tcp_bare) { .seq = c->snd_nxt,
                                          .ack = c->rcv_nxt,
                                          .flags = TCP_ACK,
                                          .window = (uint16_t)tcp_receive_window(ns, c),
                                          .options = span_make(options, len) });
    }
    tcp_conn_enter(c, TCP_FINISHED);
    leave_table(ns, c);
    if (time_wait)
        enter_time_wait(ns, c);
    if (!tcp_unread(c))
        tcp_conn_end(ns, c, NETSTACK_CLOSED_DONE);
}

/* ---- what comes and goes with traffic ---------------------------------------------------------------- */

struct tcp_tx *tcp_tx_get(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    if (tx)
        return tx;
    tx = cache_alloc(&ns->tx_cache);
    if (!tx)
        return NULL;
    memset(tx, 0, sizeof(*tx));
    tx->write_seq = tx->fack = tx->queue.next_seq = c->snd_nxt;
    tx->records = tx->inline_records;
    tx->record_cap = RECORDS_INLINE;
    tx->progress_ms = tx->heard_ms = ns->now_ms;
    c->tx = tx;
    return tx;
}

void tcp_tx_release_if_idle(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    if (!tx || tx->record_count || tx->queue.head)
        return;
    if ((c->flags & CONN_SHUT) && c->snd_una == tx->write_seq)
        return; /* the FIN is still to be sent */
    records_free(tx);
    cache_release(&ns->tx_cache, tx);
    c->tx = NULL;
}

struct tcp_rx *tcp_rx_get(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_rx *rx = c->rx;

    if (rx)
        return rx;
    rx = cache_alloc(&ns->rx_cache);
    if (!rx)
        return NULL;
    memset(rx, 0, sizeof(*rx));
    rx->ranges = rx->inline_ranges;
    rx->range_cap = RANGES_INLINE;
    c->rx = rx;
    return rx;
}

void tcp_rx_release_if_idle(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_rx *rx = c->rx;

    if (rx && !rx->stored.head && !rx->borrowed_bytes && !rx->range_count && !rx->has_fin && !rx->has_dsack)
        tcp_receive_free(ns, c);
}

void tcp_conn_set_mss(struct netstack *ns, struct tcp_conn *c, uint32_t peer_mss)
{
    uint32_t own = c->peer->mtu - (c->flags & CONN_V4 ? IP4_BYTES : IP6_BYTES) - TCP_BYTES;
    uint32_t mss = MAX(MIN(peer_mss, own), TCP_MSS_MIN);

    (void)ns;
    c->snd_mss = (uint16_t)(mss - (c->flags & CONN_TS ? TCP_TS_BYTES : 0));
}

/* ---- timers --------------------------------------------------------------------------------------------
 *
 * One entry in the wheel per connection, at the earliest of its deadlines or before. They are armed here
 * (idle: SYN repeats, FIN_WAIT_2 without a consumer, keepalive), in receive.c (delayed ACK) and in
 * recovery.c (retransmission, loss probe, reordering, shut window).
 */

static void earliest(uint32_t *at, bool *any, uint32_t candidate)
{
    if (!*any || seq_before(candidate, *at))
        *at = candidate;
    *any = true;
}

void tcp_conn_rearm(struct netstack *ns, struct tcp_conn *c)
{
    bool any = false;
    uint32_t at = 0;

    if (c->tx && c->tx->timer != TX_TIMER_NONE)
        earliest(&at, &any, c->tx->timer_at);
    if (c->flags & CONN_ACK_DELAYED)
        earliest(&at, &any, c->ack_at);
    if (c->flags & CONN_IDLE_TIMER)
        earliest(&at, &any, c->idle_at);
    if (!any)
        timer_wheel_clear(&ns->wheel, &c->timer);
    else if (!list_linked(&c->timer.link) || seq_before(at, c->timer.at))
        timer_wheel_set(&ns->wheel, &c->timer, at);
}

void tcp_conn_idle_at(struct netstack *ns, struct tcp_conn *c, uint32_t in_ms)
{
    c->flags |= CONN_IDLE_TIMER;
    c->idle_at = ns->now_ms + in_ms;
    tcp_conn_rearm(ns, c);
}

static void syn_again(struct netstack *ns, struct tcp_conn *c)
{
    if (c->retries >= SYN_RETRIES_MAX) {
        tcp_conn_end(ns, c, NETSTACK_CLOSED_TIMED_OUT);
        return;
    }
    c->retries++;
    c->flags |= CONN_SYN_DUE;
    tcp_conn_ready(ns, c);
    tcp_conn_idle_at(ns, c, RTO_INITIAL_MS << c->retries);
}

static void keepalive(struct netstack *ns, struct tcp_conn *c)
{
    if (c->retries >= KEEPALIVE_PROBES_MAX) {
        tcp_reset_send(ns, c);
        tcp_conn_end(ns, c, NETSTACK_CLOSED_TIMED_OUT);
        return;
    }
    if (!c->tx) { /* otherwise the retransmission timer watches */
        c->retries++;
        c->flags |= CONN_PROBE;
        tcp_conn_ready(ns, c);
    }
    tcp_conn_idle_at(ns, c, KEEPALIVE_INTERVAL_MS);
}

static void idle_due(struct netstack *ns, struct tcp_conn *c)
{
    c->flags &= ~CONN_IDLE_TIMER;
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED)
        syn_again(ns, c);
    else if (c->flags & CONN_DETACHED)
        tcp_conn_end(ns, c, NETSTACK_CLOSED_TIMED_OUT); /* FIN_WAIT_2, and nobody waits for the rest */
    else
        keepalive(ns, c);
}

void tcp_conn_timer(struct netstack *ns, struct tcp_conn *c)
{
    handle h = slab_handle(&ns->conns, c);

    if ((c->flags & CONN_ACK_DELAYED) && !seq_after(c->ack_at, ns->now_ms)) {
        ns->counters.acks_delayed++;
        tcp_conn_ack_now(ns, c);
    }
    if (c->tx && c->tx->timer != TX_TIMER_NONE && !seq_after(c->tx->timer_at, ns->now_ms))
        tcp_tx_timer(ns, c);
    c = slab_get(&ns->conns, h);
    if (c && c->peer && (c->flags & CONN_IDLE_TIMER) && !seq_after(c->idle_at, ns->now_ms))
        idle_due(ns, c);
    c = slab_get(&ns->conns, h);
    if (c && c->peer)
        tcp_conn_rearm(ns, c);
}

/* ---- output and events ----------------------------------------------------------------------------------
 */

void tcp_conn_ready(struct netstack *ns, struct tcp_conn *c)
{
    if (!list_linked(&c->ready))
        list_push_back(&c->peer->ready, &c->ready);
    ns_peer_ready(ns, c->peer);
}

void tcp_conn_ack_now(struct netstack *ns, struct tcp_conn *c)
{
    c->flags = (c->flags & ~CONN_ACK_DELAYED) | CONN_ACK_NOW;
    tcp_conn_ready(ns, c);
}

void tcp_conn_event(struct netstack *ns, struct tcp_conn *c, unsigned events)
{
    if (c->flags & CONN_DETACHED)
        return;
    c->events |= (uint8_t)events;
    if (!list_linked(&c->event))
        list_push_back(&ns->events, &c->event);
}

/* The consumer's object behind the handle, or NULL if it let go or the connection is over. */
static struct tcp_conn *still(struct netstack *ns, handle h)
{
    struct tcp_conn *c = slab_get(&ns->conns, h);

    return c && c->peer && !(c->flags & CONN_DETACHED) ? c : NULL;
}

static void deliver_one(struct netstack *ns, struct tcp_conn *c)
{
    const struct netstack_ops *ops = ns->ops;
    handle h = slab_handle(&ns->conns, c);
    unsigned events = c->events;

    c->events = 0;
    if ((events & EVENT_ESTABLISHED) && !((c->flags & CONN_OURS) && !c->peer))
        ops->established(ns->ctx, h, c->user, ns->now);
    c = slab_get(&ns->conns, h);
    if ((events & EVENT_READABLE) && c && (still(ns, h) || (!c->peer && c->reason == NETSTACK_CLOSED_DONE))) {
        ops->readable(ns->ctx, h, c->user, ns->now);
        if ((c = still(ns, h)))
            tcp_receive_keep(ns, c);
    }
    if ((events & EVENT_WRITABLE) && (c = still(ns, h)) && (c->flags & CONN_WANT_WRITE)) {
        c->flags &= ~CONN_WANT_WRITE;
        ops->writable(ns->ctx, h, c->user, ns->now);
    }
    c = slab_get(&ns->conns, h);
    if (!(events & EVENT_CLOSED) || !c)
        return;
    void *user = c->user;
    enum netstack_reason reason = (enum netstack_reason)c->reason;

    tcp_conn_free(ns, c);
    ops->closed(ns->ctx, h, user, reason, ns->now);
}

void tcp_deliver(struct netstack *ns)
{
    for (struct list *link; (link = list_pop_front(&ns->events));)
        deliver_one(ns, LIST_ENTRY(link, struct tcp_conn, event));
}

/* The consumer's calls: thin, and harmless when the connection is gone. */
#include "netstack/internal.h"

#include <errno.h>

#define EPHEMERAL_FIRST 32768u
#define EPHEMERAL_COUNT 28232u /* to 60999 */
#define PORT_TRIES 64u

/* The connection, if the handle still means one that its consumer has not let go. */
static struct tcp_conn *conn_of(const struct netstack *ns, handle h)
{
    struct tcp_conn *c = slab_get(&ns->conns, h);

    return c && c->peer && !(c->flags & CONN_DETACHED) ? c : NULL;
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* RFC 6056: a random start, then upwards over what exists. If all are taken, one that only waits gives way.
 */
static bool choose_port(struct netstack *ns, struct flow_key *key, uint32_t *hash, uint32_t *iss)
{
    uint32_t start;

    ns->config.random(&start, sizeof(start));
    for (uint32_t i = 0; i < 2 * PORT_TRIES; i++) {
        flow_ref ref;

        key->local_port = (uint16_t)(EPHEMERAL_FIRST + (start + i % PORT_TRIES) % EPHEMERAL_COUNT);
        *hash = flow_hash(ns, key);
        *iss = tcp_isn(ns, key);
        ref = flow_find(ns, key, *hash);
        if (!ref)
            return true;
        if (i >= PORT_TRIES && flow_ref_kind(ref) == FLOW_TIME_WAIT &&
            time_wait_give_way(ns, time_wait_at(ns, flow_ref_slot(ref)), iss))
            return true;
    }
    return false;
}

static struct tcp_conn *open_conn(struct netstack *ns, struct ns_peer *peer, const struct flow_key *key,
                                  uint32_t hash, uint32_t iss)
{
    struct tcp_conn *c = tcp_conn_new(ns, peer, key, hash);

    if (!c)
        return NULL;
    c->flags |= CONN_OURS | CONN_SYN_DUE | (ns->config.sack_off ? 0 : CONN_SACK) |
                (ns->config.timestamps_off ? 0 : CONN_TS) | (ns->config.window_scaling_off ? 0 : CONN_SCALE);
    c->snd_una = c->snd_nxt = iss;
    c->ts_offset = tcp_ts_offset(ns, key);
    tcp_conn_ready(ns, c);
    tcp_conn_idle_at(ns, c, RTO_INITIAL_MS);
    return c;
}

int tcp_connect(struct netstack *ns, uint32_t node_index, uint64_t token, const struct ip *local,
                const struct ip_port *remote, void *user, time_ns now, handle *out)
{
    struct ns_node *node = ns_node_get(ns, node_index);
    int at = node && !ip_is_none(local) ? ns_node_local(node, local) : -1;
    struct flow_key key = { .remote = remote->ip, .node = node_index, .remote_port = remote->port };
    struct ns_peer *peer;
    struct tcp_conn *c = NULL;
    uint32_t hash, iss;
    int r = 0;

    if (at < 0 || ip_is_v4(local) != ip_is_v4(&remote->ip) || !remote->port)
        return -EADDRNOTAVAIL;
    peer = ns_peer_get(ns, node, token);
    if (!peer)
        return -ENOMEM;
    ns_enter(ns, now);
    key.local = (uint32_t)at;
    if (!tcp_conn_limits_allow(ns, peer))
        r = -EMFILE;
    else if (!choose_port(ns, &key, &hash, &iss))
        r = -EADDRNOTAVAIL;
    else if (!(c = open_conn(ns, peer, &key, hash, iss)))
        r = -ENOMEM;
    if (c) {
        c->user = user;
        *out = slab_handle(&ns->conns, c);
    }
    ns_peer_release(ns, peer);
    ns_leave(ns);
    return r;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

size_t tcp_peek(struct netstack *ns, handle h, struct span *spans, size_t max)
{
    struct tcp_conn *c = conn_of(ns, h);
    size_t n = 0;

    if (!c || !c->rx)
        return 0;
    for (const struct chunk *k = c->rx->stored.head; k && n < max; k = k->next)
        spans[n++] = span_make(k->data + k->start, k->end - k->start);
    for (uint32_t i = c->rx->borrowed_first; i && n < max; i = ns->borrowed[i - 1].next)
        spans[n++] = ns->borrowed[i - 1].bytes;
    return n;
}

size_t tcp_readable_bytes(struct netstack *ns, handle h)
{
    struct tcp_conn *c = conn_of(ns, h);

    return c ? tcp_unread(c) : 0;
}

void tcp_consume(struct netstack *ns, handle h, size_t len)
{
    struct tcp_conn *c = conn_of(ns, h);

    if (!c || !len)
        return;
    must(len <= tcp_unread(c));
    ns_enter(ns, -1);
    tcp_receive_consumed(ns, c, (uint32_t)len);
    ns_leave(ns);
}

bool tcp_at_end(struct netstack *ns, handle h)
{
    struct tcp_conn *c = conn_of(ns, h);

    return !c || ((c->flags & CONN_FIN_RECEIVED) && !tcp_unread(c));
}

/* ---- writing ----------------------------------------------------------------------------------------- */

uint32_t tcp_write_room_now(const struct netstack *ns, const struct tcp_conn *c)
{
    const struct netstack_limits *l = &ns->config.limits;
    uint32_t queued = c->tx ? c->tx->queue.bytes : 0, unsent = tcp_write_seq(c) - c->snd_nxt;
    uint32_t limit = MIN(MAX(c->cwnd, SEND_BUFFER_FIRST / 2) * 2, l->send_buffer_bytes_max);

    if (c->state < TCP_ESTABLISHED || (c->flags & CONN_SHUT))
        return 0;
    if (ns_memory_level(ns) >= 2)
        limit = SEND_BUFFER_FIRST;
    if (queued >= limit || unsent >= l->not_sent_bytes_max)
        return 0;
    return MIN(limit - queued, l->not_sent_bytes_max - unsent);
}

size_t tcp_write_room(struct netstack *ns, handle h)
{
    struct tcp_conn *c = conn_of(ns, h);

    return c ? tcp_write_room_now(ns, c) : 0;
}

ssize_t tcp_write_place(struct netstack *ns, handle h, size_t want, uint8_t **at)
{
    struct tcp_conn *c = conn_of(ns, h);
    uint32_t most = c ? tcp_write_room_now(ns, c) : 0;
    struct mspan room;

    if (!c || !c->tx)
        return 0;
    room = chunk_queue_room(ns, &c->tx->queue);
    if (!room.len)
        return 0;
    if (most < SEND_BUFFER_FIRST) {
        c->flags |= CONN_WANT_WRITE;
        return -EAGAIN;
    }
    *at = room.data;
    return (ssize_t)MIN(MIN(room.len, want), most);
}

ssize_t tcp_write(struct netstack *ns, handle h, struct span bytes, bool more)
{
    struct tcp_conn *c = conn_of(ns, h);
    uint32_t taken, want;

    if (!c || c->state == TCP_FINISHED)
        return -ENOTCONN;
    if (c->flags & CONN_SHUT)
        return -EPIPE;
    want = (uint32_t)MIN(bytes.len, tcp_write_room_now(ns, c));
    ns_enter(ns, -1);
    taken = 0;
    if (want && tcp_tx_get(ns, c)) {
        taken = chunk_queue_append(ns, &c->tx->queue, span_slice(bytes, 0, want));
        c->tx->write_seq += taken;
    }
    if (taken < want)
        ns->counters.send_limited++;
    c->flags = more ? c->flags | CONN_MORE : c->flags & ~CONN_MORE;
    if (taken < bytes.len)
        c->flags |= CONN_WANT_WRITE;
    if (c->tx) {
        if (tcp_may_send_new(c))
            tcp_conn_ready(ns, c);
        else
            tcp_tx_arm(ns, c);
        tcp_tx_release_if_idle(ns, c);
    }
    ns_leave(ns);
    return (ssize_t)taken;
}

void tcp_fin_queue(struct netstack *ns, struct tcp_conn *c)
{
    c->flags &= ~CONN_MORE;
    if (!tcp_tx_get(ns, c)) {
        tcp_reset_send(ns, c);
        tcp_conn_end(ns, c, NETSTACK_CLOSED_NO_MEMORY);
        return;
    }
    c->flags |= CONN_SHUT;
    tcp_conn_enter(c, c->state == TCP_CLOSE_WAIT ? TCP_LAST_ACK : TCP_FIN_WAIT_1);
    tcp_tx_arm(ns, c); /* the window may be shut: then it is probed */
    tcp_conn_ready(ns, c);
}

static void end_writing(struct netstack *ns, struct tcp_conn *c)
{
    if (c->state < TCP_ESTABLISHED)
        c->flags |= CONN_SHUT; /* the FIN follows the handshake */
    else if (c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT)
        tcp_fin_queue(ns, c);
}

void tcp_shutdown(struct netstack *ns, handle h)
{
    struct tcp_conn *c = conn_of(ns, h);

    if (!c || (c->flags & CONN_SHUT))
        return;
    ns_enter(ns, -1);
    end_writing(ns, c);
    ns_leave(ns);
}

/* ---- letting go -----------------------------------------------------------------------------------------
 */

static void abort_conn(struct netstack *ns, struct tcp_conn *c)
{
    ns->counters.conns_aborted++;
    tcp_reset_send(ns, c);
    tcp_conn_free(ns, c);
}

void tcp_abort(struct netstack *ns, handle h)
{
    struct tcp_conn *c = slab_get(&ns->conns, h);

    if (!c || (c->flags & CONN_DETACHED))
        return;
    ns_enter(ns, -1);
    if (c->peer)
        abort_conn(ns, c);
    else
        tcp_conn_free(ns, c); /* `closed` was due */
    ns_leave(ns);
}

void tcp_close(struct netstack *ns, handle h)
{
    struct tcp_conn *c = slab_get(&ns->conns, h);

    if (!c || (c->flags & CONN_DETACHED))
        return;
    ns_enter(ns, -1);
    if (!c->peer || c->state == TCP_FINISHED) {
        tcp_conn_free(ns, c);
    } else if (c->state < TCP_ESTABLISHED || tcp_unread(c)) {
        abort_conn(ns, c);
    } else {
        c->flags = (c->flags | CONN_DETACHED) & ~(CONN_WANT_WRITE | CONN_IDLE_TIMER);
        c->events = 0;
        list_remove(&c->event);
        if (c->state == TCP_FIN_WAIT_2)
            tcp_conn_idle_at(ns, c, FIN_WAIT_2_MS);
        end_writing(ns, c);
    }
    ns_leave(ns);
}

void tcp_set_user(struct netstack *ns, handle h, void *user)
{
    struct tcp_conn *c = slab_get(&ns->conns, h);

    if (c && !(c->flags & CONN_DETACHED))
        c->user = user;
}

/* ---- questions -------------------------------------------------------------------------------------------
 */

bool tcp_flow(struct netstack *ns, handle h, struct netstack_flow *out)
{
    struct tcp_conn *c = conn_of(ns, h);

    if (!c)
        return false;
    *out = (struct netstack_flow) { .node = c->peer->node->index,
                                    .peer = c->peer->token,
                                    .local = { *tcp_conn_local(c), c->local_port },
                                    .remote = { c->remote, c->remote_port } };
    return true;
}

static const char *state_name(uint8_t state)
{
    static const char *const names[] = {
#define X(name) #name,
        TCP_STATES(X)
#undef X
    };

    return names[state];
}

bool tcp_stats(struct netstack *ns, handle h, struct tcp_stats *out)
{
    struct tcp_conn *c = conn_of(ns, h);
    size_t memory = sizeof(*c);

    if (!c)
        return false;
    *out = (struct tcp_stats) {
        .state = state_name(c->state),
        .congestion = ns->congestion->name,
        .srtt_us = c->srtt_us,
        .min_rtt_us = c->min_rtt_us,
        .rto_ms = c->rto_ms,
        .cwnd_bytes = c->cwnd,
        .ssthresh_bytes = c->ssthresh,
        .in_flight_bytes = tcp_in_flight(c),
        .send_window_bytes = c->snd_wnd,
        .receive_window_bytes = c->rcv_limit,
        .unsent_bytes = tcp_write_seq(c) - c->snd_nxt,
        .unread_bytes = tcp_unread(c),
        .mss = c->snd_mss,
    };
    if (c->tx)
        memory += sizeof(*c->tx) + c->tx->queue.memory;
    if (c->rx)
        memory += sizeof(*c->rx) + c->rx->charged;
    out->memory_bytes = (uint32_t)memory;
    return true;
}

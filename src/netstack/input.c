/* A TCP segment arrives: RFC 9293, 3.10.7, step by step, with RFC 7323 and 5961 where they belong. */
#include "netstack/internal.h"

/* ---- answers without a connection --------------------------------------------------------------------- */

void tcp_bare_send(struct netstack *ns, struct ns_peer *peer, const struct flow_key *key,
                   struct tcp_bare bare)
{
    struct tcp_header h = { .local = peer->node->addresses[key->local],
                            .remote = key->remote,
                            .local_port = key->local_port,
                            .remote_port = key->remote_port,
                            .seq = bare.seq,
                            .ack = bare.ack,
                            .flags = bare.flags,
                            .window = bare.window,
                            .options = bare.options.data,
                            .options_len = bare.options.len };
    struct netstack_segment packet = { .count = 1 };
    struct control *c;

    tcp_header_write(ns, &h, &packet);
    c = control_new(ns, packet.header_bytes);
    if (!c)
        return;
    netstack_segment_write(&packet, 0, c->bytes, c->len);
    ns_peer_control(ns, peer, c);
}

void tcp_reset_reply(struct netstack *ns, const struct inner_packet *p, const struct tcp_segment *s)
{
    struct tcp_bare bare = { .flags = TCP_RST };

    if (s->flags & TCP_RST)
        return;
    if (!ns_reset_allowed(ns, p->peer)) {
        ns->counters.resets_limited++;
        return;
    }
    if (s->flags & TCP_ACK) {
        bare.seq = s->ack;
    } else {
        bare.flags |= TCP_ACK;
        bare.ack = s->seq + segment_len(s);
    }
    ns->counters.resets_out++;
    tcp_bare_send(ns, p->peer, &s->key, bare);
}

void tcp_reset_send(struct netstack *ns, struct tcp_conn *c)
{
    struct flow_key key = tcp_conn_key(c);

    if (c->state == TCP_SYN_SENT || c->state == TCP_FINISHED)
        return; /* the peer does not know us, or no longer */
    ns->counters.resets_out++;
    tcp_bare_send(ns, c->peer, &key,
                  (struct tcp_bare) { .seq = c->snd_nxt, .ack = c->rcv_nxt, .flags = TCP_RST | TCP_ACK });
}

void tcp_challenge(struct netstack *ns, struct tcp_conn *c)
{
    uint32_t gained = (ns->now_ms - c->challenge_ms) / (1000 / CHALLENGES_PER_SECOND);

    if (gained) {
        c->challenge_tokens = (uint16_t)MIN(c->challenge_tokens + gained, CHALLENGES_PER_SECOND);
        c->challenge_ms = ns->now_ms;
    }
    if (!c->challenge_tokens) {
        ns->counters.challenge_limited++;
        return;
    }
    c->challenge_tokens--;
    ns->counters.challenge_acks++;
    tcp_conn_ack_now(ns, c);
}

/* ---- opening --------------------------------------------------------------------------------------------
 */

void tcp_established(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    if (!(c->flags & CONN_SCALE))
        c->snd_scale = 0;
    c->rcv_scale = c->flags & CONN_SCALE ? TCP_WINDOW_SCALE : 0;
    c->snd_wnd = c->snd_wnd_max = s->window << (s->flags & TCP_SYN ? 0 : c->snd_scale);
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
    c->retries = 0;
    c->flags &= ~(CONN_SYN_DUE | CONN_IDLE_TIMER);
    c->challenge_tokens = CHALLENGES_PER_SECOND;
    c->challenge_ms = ns->now_ms;
    c->cwnd = tcp_initial_window(c);
    c->ssthresh = UINT32_MAX;
    ns->congestion->init(c);
    tcp_conn_enter(c, TCP_ESTABLISHED);
    if (ns->config.keepalive_ns)
        tcp_conn_idle_at(ns, c, (uint32_t)(ns->config.keepalive_ns / MSEC));
    else
        tcp_conn_rearm(ns, c);
    tcp_conn_event(ns, c, EVENT_ESTABLISHED);
    if (c->flags & CONN_SHUT)
        tcp_fin_queue(ns, c);
}

/* The peer's SYN, while we connect. */
static void take_syn(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    bool v4 = c->flags & CONN_V4;

    if (!s->has_ts)
        c->flags &= ~CONN_TS;
    if (!s->sack_ok)
        c->flags &= ~CONN_SACK;
    if (s->window_scale == 0xff)
        c->flags &= ~CONN_SCALE;
    else
        c->snd_scale = s->window_scale;
    c->rcv_nxt = c->ack_sent = c->space_seq = s->seq + 1;
    c->rcv_edge = c->rcv_nxt + 65535;
    c->ts_recent = s->tsval;
    c->ts_recent_ms = ns->now_ms;
    tcp_conn_set_mss(ns, c, s->mss ? s->mss : v4 ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6);
}

/* RFC 9293, 3.10.7.3. */
static void syn_sent_segment(struct netstack *ns, struct tcp_conn *c, const struct inner_packet *p,
                             struct tcp_segment *s)
{
    bool acks_syn = (s->flags & TCP_ACK) && s->ack == c->snd_una + 1 && (c->flags & CONN_REPLIED);

    if ((s->flags & TCP_ACK) && !acks_syn) {
        tcp_reset_reply(ns, p, s);
        return;
    }
    if (s->flags & TCP_RST) {
        if (acks_syn)
            tcp_conn_end(ns, c, NETSTACK_CLOSED_REFUSED);
        return;
    }
    if (!(s->flags & TCP_SYN))
        return;
    take_syn(ns, c, s);
    if (!acks_syn) { /* simultaneous open */
        tcp_conn_enter(c, TCP_SYN_RECEIVED);
        c->flags |= CONN_SYN_DUE;
        tcp_conn_ready(ns, c);
        return;
    }
    c->snd_una = s->ack;
    if (c->retries)
        c->rto_ms = RTO_AFTER_SYN_LOSS_MS;
    else
        tcp_rtt_sample(ns, c, MAX(ns->now_us - c->cc[0], 1u));
    ns->counters.conns_connected++;
    tcp_established(ns, c, s);
    tcp_conn_ack_now(ns, c);
    if (s->data.len || (s->flags & TCP_FIN)) { /* data with the SYN */
        s->flags &= (uint8_t)~TCP_SYN;
        s->seq++;
        tcp_receive(ns, c, s);
    }
}

/* ---- established ------------------------------------------------------------------------------------------
 */

static void update_ts(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    /* RFC 7323, 4.3: only from segments that reach what we acknowledged last. */
    if (s->has_ts && !seq_before(s->tsval, c->ts_recent) && !seq_after(s->seq, c->ack_sent)) {
        c->ts_recent = s->tsval;
        c->ts_recent_ms = ns->now_ms;
    }
}

/* RFC 7323, 5.3. True: drop it. */
static bool too_old(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    if (!(c->flags & CONN_TS) || (s->flags & TCP_RST))
        return false;
    if (s->has_ts && (!seq_before(s->tsval, c->ts_recent) || ns->now_ms - c->ts_recent_ms > PAWS_FORGET_MS))
        return false;
    ns->counters.paws_dropped++;
    if (s->has_ts)
        tcp_challenge(ns, c);
    return true;
}

/* RFC 9293, 3.10.7.4, first: is any of it in the window? */
static bool acceptable(const struct tcp_conn *c, const struct tcp_segment *s)
{
    uint32_t len = segment_len(s), end = s->seq + len;

    /* A pure ACK may stand at the edge: its sender has filled the window. */
    if (!len)
        return seq_between(c->rcv_nxt, s->seq, c->rcv_edge);
    return seq_after(end, c->rcv_nxt) && seq_before(s->seq, c->rcv_edge);
}

/* Nothing in the window. What it acknowledges may still be news; it is answered, within the rate. */
static bool unacceptable(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    uint32_t len = segment_len(s), end = s->seq + len;
    bool old = !seq_after(end, c->rcv_nxt) && c->rcv_nxt - end < (1u << 30);

    if (s->flags & TCP_RST)
        return false;
    if (old && s->data.len) {
        tcp_report_duplicate(ns, c, s->seq, s->seq + (uint32_t)s->data.len);
        tcp_conn_ack_now(ns, c);
    } else if (old && (s->flags & TCP_FIN)) {
        tcp_conn_ack_now(ns, c);
    } else {
        ns->counters.out_of_window += !old;
        tcp_challenge(ns, c);
    }
    return old && len && (s->flags & (TCP_ACK | TCP_SYN)) == TCP_ACK;
}

/* RFC 5961, 3.2: only the exact number resets; another one in the window is asked about. */
static void reset_received(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    if (s->seq == c->rcv_nxt)
        tcp_conn_end(ns, c, c->state == TCP_SYN_RECEIVED ? NETSTACK_CLOSED_REFUSED : NETSTACK_CLOSED_RESET);
    else
        tcp_challenge(ns, c);
}

/* RFC 5961, 5.2: an ACK of what was never sent, or of what was acknowledged long ago, is not believed. */
static bool ack_acceptable(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    if (!seq_after(s->ack, c->snd_nxt) && !seq_before(s->ack, c->snd_una - c->snd_wnd_max))
        return true;
    tcp_challenge(ns, c);
    return false;
}

/* Our FIN was acknowledged, perhaps. Returns false when the connection left the table. */
static bool fin_acked(struct netstack *ns, struct tcp_conn *c)
{
    if (!(c->flags & CONN_SHUT) || c->tx || c->snd_una != c->snd_nxt)
        return true;
    switch ((enum tcp_state)c->state) {
    case TCP_FIN_WAIT_1:
        tcp_conn_enter(c, TCP_FIN_WAIT_2);
        if (c->flags & CONN_DETACHED)
            tcp_conn_idle_at(ns, c, FIN_WAIT_2_MS);
        return true;
    case TCP_CLOSING:
        tcp_conn_finish(ns, c, true);
        return false;
    case TCP_LAST_ACK:
        tcp_conn_finish(ns, c, false);
        return false;
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_FINISHED:
        return true;
    }
    return true;
}

/* What remains when the checks are passed: ACK, data, FIN. */
static void accepted(struct netstack *ns, struct tcp_conn *c, struct tcp_segment *s)
{
    update_ts(ns, c, s);
    tcp_acked(ns, c, s);
    if (!fin_acked(ns, c))
        return;
    if (!s->data.len && !(s->flags & TCP_FIN))
        return;
    if ((c->flags & CONN_DETACHED) && s->data.len && seq_after(s->seq + (uint32_t)s->data.len, c->rcv_nxt)) {
        /* Nobody reads it any more, and the peer must know (RFC 2525, 2.17). */
        tcp_reset_send(ns, c);
        tcp_conn_end(ns, c, NETSTACK_CLOSED_RESET);
        return;
    }
    tcp_receive(ns, c, s);
}

/* Header prediction: the next data in order, nothing else new. */
static bool predicted(const struct tcp_conn *c, const struct tcp_segment *s)
{
    return c->state == TCP_ESTABLISHED && (s->flags & ~TCP_PSH) == TCP_ACK && s->seq == c->rcv_nxt &&
           s->data.len && s->ack == c->snd_una && s->window << c->snd_scale == c->snd_wnd && !s->sack_count &&
           s->has_ts == ((c->flags & CONN_TS) != 0) && (!s->has_ts || !seq_before(s->tsval, c->ts_recent)) &&
           !seq_after(s->seq + (uint32_t)s->data.len, c->rcv_edge) && !(c->flags & CONN_DETACHED) &&
           !(c->rx && (c->rx->range_count || c->rx->has_fin));
}

void tcp_conn_segment(struct netstack *ns, struct tcp_conn *c, struct tcp_segment *s)
{
    if (predicted(c, s)) {
        ns->counters.header_predicted++;
        update_ts(ns, c, s);
        tcp_receive(ns, c, s);
        return;
    }
    if (c->state == TCP_SYN_RECEIVED && (s->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) &&
        s->seq + 1 == c->rcv_nxt) {
        /* The other half of a simultaneous open: its SYN came before, its ACK is the news (RFC 9293, figure
         * 7). */
        s->flags &= (uint8_t)~TCP_SYN;
        s->seq++;
    }
    if (too_old(ns, c, s))
        return;
    if (!acceptable(c, s)) {
        if (unacceptable(ns, c, s) && ack_acceptable(ns, c, s)) {
            tcp_acked(ns, c, s);
            fin_acked(ns, c);
        }
        return;
    }
    if (s->flags & TCP_RST) {
        reset_received(ns, c, s);
        return;
    }
    if (s->flags & TCP_SYN) { /* RFC 5961, 4.2 */
        tcp_challenge(ns, c);
        return;
    }
    if (!(s->flags & TCP_ACK) || !ack_acceptable(ns, c, s))
        return;
    if (c->state == TCP_SYN_RECEIVED) {
        if (s->ack != c->snd_nxt)
            return;
        c->snd_una = s->ack;
        ns->counters.conns_connected++;
        tcp_established(ns, c, s);
    }
    accepted(ns, c, s);
}

/* ---- from the packet to its owner
 * --------------------------------------------------------------------------- */

static flow_ref find_flow(struct netstack *ns, struct tcp_segment *s)
{
    struct flow_cache_entry *e = &ns->flow_cache[(s->key.remote_port ^ s->key.local_port) % FLOW_CACHE];

    if (e->ref && e->version == ns->flows.version && memcmp(&e->key, &s->key, sizeof(s->key)) == 0) {
        s->hash = e->hash;
        return e->ref;
    }
    s->hash = flow_hash(ns, &s->key);
    *e = (struct flow_cache_entry) { .key = s->key, .version = ns->flows.version, .hash = s->hash };
    e->ref = flow_find(ns, &s->key, s->hash);
    return e->ref;
}

static void no_flow(struct netstack *ns, const struct inner_packet *p, struct tcp_segment *s)
{
    if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN) {
        syn_received(ns, p, s, tcp_isn(ns, &s->key));
        return;
    }
    ns->counters.tcp_no_connection++;
    tcp_reset_reply(ns, p, s);
}

static void conn_input(struct netstack *ns, struct tcp_conn *c, const struct inner_packet *p,
                       struct tcp_segment *s)
{
    if (c->peer != p->peer) {
        /* The address moved to another peer. Who a connection is with must not change under its consumer. */
        ns->counters.tcp_wrong_peer++;
        return;
    }
    if (ns->config.keepalive_ns && c->state >= TCP_ESTABLISHED && !(c->flags & CONN_DETACHED)) {
        c->retries = 0;
        tcp_conn_idle_at(ns, c, (uint32_t)(ns->config.keepalive_ns / MSEC));
    }
    if (c->state == TCP_SYN_SENT)
        syn_sent_segment(ns, c, p, s);
    else
        tcp_conn_segment(ns, c, s);
}

void tcp_input(struct netstack *ns, const struct inner_packet *p)
{
    struct tcp_segment s;
    flow_ref ref;
    uint64_t sum;

    memset(&s.key, 0, sizeof(s.key));
    sum = inner_pseudo_sum(&p->remote, &p->node->addresses[p->local], PROTOCOL_TCP, p->payload.len);
    if (checksum_fold(checksum_add(sum, p->payload.data, p->payload.len)) != 0xffff) {
        ns->counters.checksum_bad++;
        return;
    }
    if (tcp_segment_parse(p, &s)) {
        ns->counters.tcp_malformed++;
        return;
    }
    ref = find_flow(ns, &s);
    switch (flow_ref_kind(ref)) {
    case FLOW_CONN:
        conn_input(ns, slab_at(&ns->conns, flow_ref_slot(ref)), p, &s);
        break;
    case FLOW_SYN:
        syn_segment(ns, slab_at(&ns->syns, flow_ref_slot(ref)), p, &s);
        break;
    case FLOW_TIME_WAIT:
        time_wait_segment(ns, time_wait_at(ns, flow_ref_slot(ref)), p, &s);
        break;
    case FLOW_NONE:
        no_flow(ns, p, &s);
        break;
    }
}

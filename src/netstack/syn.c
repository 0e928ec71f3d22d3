/* Half-open connections of listeners: SYN-RECEIVED without a connection.
 *
 * Sources are authenticated, so there are no SYN cookies; but a peer may still flood: limits per peer, node
 * and stack, the oldest goes first. A listener is a question to the consumer, asked once per SYN. */
#include "netstack/internal.h"

#include <errno.h>

struct flow_key syn_key(const struct tcp_syn *syn)
{
    return (struct flow_key) { .remote = syn->remote,
                               .node = syn->peer->node->index,
                               .local_port = syn->local_port,
                               .remote_port = syn->remote_port,
                               .local = syn->local };
}

void syn_remove(struct netstack *ns, struct tcp_syn *syn, bool tell)
{
    struct ns_peer *peer = syn->peer;
    void *user = syn->user;
    bool has_user = syn->flags & SYN_USER;

    flow_remove(ns, syn->hash, flow_ref_make(FLOW_SYN, slab_index(&ns->syns, syn)));
    timer_wheel_clear(&ns->wheel, &syn->timer);
    list_remove(&syn->of_peer);
    list_remove(&syn->of_node);
    list_remove(&syn->of_stack);
    list_remove(&syn->ready);
    peer->syn_count--;
    peer->node->syn_count--;
    slab_release(&ns->syns, syn);
    ns_peer_release(ns, peer);
    if (tell && has_user && ns->ops->syn_failed)
        ns->ops->syn_failed(ns->ctx, user);
}

static void shed(struct netstack *ns, struct tcp_syn *oldest)
{
    ns->counters.syns_shed++;
    syn_remove(ns, oldest, true);
}

/* Room for one more: the oldest of whoever has too many goes. */
static void make_room(struct netstack *ns, struct ns_peer *peer)
{
    const struct netstack_limits *l = &ns->config.limits;

    if (peer->syn_count >= l->half_open_per_peer)
        shed(ns, LIST_FIRST(&peer->syns, struct tcp_syn, of_peer));
    if (peer->node->syn_count >= l->half_open_per_node)
        shed(ns, LIST_FIRST(&peer->node->syns, struct tcp_syn, of_node));
    if (ns->syns.used >= l->half_open)
        shed(ns, LIST_FIRST(&ns->half_open, struct tcp_syn, of_stack));
}

static void answer(struct netstack *ns, struct tcp_syn *syn)
{
    if (!list_linked(&syn->ready))
        list_push_back(&syn->peer->ready_syns, &syn->ready);
    ns_peer_ready(ns, syn->peer);
}

static void arm(struct netstack *ns, struct tcp_syn *syn, uint32_t in_ms)
{
    syn->timer.kind = FLOW_SYN;
    timer_wheel_set(&ns->wheel, &syn->timer, ns->now_ms + in_ms);
}

static void fill(struct netstack *ns, struct tcp_syn *syn, struct ns_peer *peer, const struct tcp_segment *s,
                 uint32_t iss)
{
    bool v4 = ip_is_v4(&s->key.remote);

    syn->peer = peer;
    syn->remote = s->key.remote;
    syn->local = (uint8_t)s->key.local;
    syn->local_port = s->key.local_port;
    syn->remote_port = s->key.remote_port;
    syn->hash = s->hash;
    syn->irs = s->seq;
    syn->iss = iss;
    syn->mss = s->mss ? s->mss : v4 ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;
    syn->ts_recent = s->tsval;
    syn->ts_offset = tcp_ts_offset(ns, &s->key);
    if (s->has_ts && !ns->config.timestamps_off)
        syn->flags |= SYN_TS;
    if (s->sack_ok && !ns->config.sack_off)
        syn->flags |= SYN_SACK;
    if (s->window_scale != 0xff && !ns->config.window_scaling_off) {
        syn->flags |= SYN_SCALE;
        syn->window_scale = s->window_scale;
    }
}

static bool enlist(struct netstack *ns, struct tcp_syn *syn)
{
    struct ns_peer *peer = syn->peer;

    if (flow_insert(ns, syn->hash, flow_ref_make(FLOW_SYN, slab_index(&ns->syns, syn))))
        return false;
    list_push_back(&peer->syns, &syn->of_peer);
    list_push_back(&peer->node->syns, &syn->of_node);
    list_push_back(&ns->half_open, &syn->of_stack);
    peer->syn_count++;
    peer->node->syn_count++;
    return true;
}

static enum netstack_verdict ask(struct netstack *ns, struct ns_peer *peer, const struct tcp_segment *s,
                                 struct tcp_syn *syn)
{
    struct netstack_flow flow = {
        .node = peer->node->index,
        .peer = peer->token,
        .local = { peer->node->addresses[s->key.local], s->key.local_port },
        .remote = { s->key.remote, s->key.remote_port },
    };

    return ns->ops->on_syn(ns->ctx, &flow, slab_handle(&ns->syns, syn), &syn->user);
}

void syn_received(struct netstack *ns, const struct inner_packet *p, const struct tcp_segment *s,
                  uint32_t iss)
{
    enum netstack_verdict verdict;
    struct tcp_syn *syn;

    ns->counters.syns_in++;
    if (!tcp_conn_limits_allow(ns, p->peer))
        return; /* silence: it tries again, and there may be room then */
    make_room(ns, p->peer);
    syn = slab_alloc(&ns->syns);
    if (!syn) {
        ns->counters.conns_refused_memory++;
        return;
    }
    fill(ns, syn, p->peer, s, iss);
    verdict = ask(ns, p->peer, s, syn);
    if (verdict == NETSTACK_RESET) {
        ns->counters.syns_refused++;
        tcp_reset_reply(ns, p, s);
    } else if (verdict == NETSTACK_DROP) {
        ns->counters.syns_dropped++;
    } else if (!p->node->removed && enlist(ns, syn)) {
        syn->flags |= SYN_USER;
        if (verdict == NETSTACK_DEFER) {
            syn->flags |= SYN_DEFERRED;
            arm(ns, syn, (uint32_t)(ns->config.syn_defer_ns / MSEC));
        } else {
            answer(ns, syn);
            arm(ns, syn, RTO_INITIAL_MS);
        }
        return;
    } else if (ns->ops->syn_failed) {
        ns->ops->syn_failed(ns->ctx, syn->user);
    }
    slab_release(&ns->syns, syn);
}

/* Refuses what the peer still waits for. */
static void refuse(struct netstack *ns, struct tcp_syn *syn, bool tell)
{
    struct flow_key key = syn_key(syn);

    ns->counters.resets_out++;
    tcp_bare_send(ns, syn->peer, &key, (struct tcp_bare) { .ack = syn->irs + 1, .flags = TCP_RST | TCP_ACK });
    syn_remove(ns, syn, tell);
}

bool netstack_syn_decide(struct netstack *ns, handle pending, enum netstack_verdict verdict, void *user,
                         time_ns now)
{
    struct tcp_syn *syn = slab_get(&ns->syns, pending);

    if (!syn || !(syn->flags & SYN_DEFERRED))
        return false;
    ns_enter(ns, now);
    syn->flags &= (uint8_t)~SYN_DEFERRED;
    syn->user = user;
    if (verdict == NETSTACK_ACCEPT) {
        answer(ns, syn);
        arm(ns, syn, RTO_INITIAL_MS);
    } else if (verdict == NETSTACK_RESET) {
        ns->counters.syns_refused++;
        refuse(ns, syn, false);
    } else {
        ns->counters.syns_dropped++;
        syn_remove(ns, syn, false);
    }
    ns_leave(ns);
    return true;
}

void syn_timer(struct netstack *ns, struct tcp_syn *syn)
{
    if (syn->flags & SYN_DEFERRED) {
        ns->counters.syns_timed_out++;
        refuse(ns, syn, true);
    } else if (syn->retries >= SYN_ACK_RETRIES_MAX) {
        ns->counters.syns_timed_out++;
        syn_remove(ns, syn, true);
    } else {
        syn->retries++;
        answer(ns, syn);
        arm(ns, syn, RTO_INITIAL_MS << syn->retries);
    }
}

/* ---- out ------------------------------------------------------------------------------------- */

size_t tcp_syn_options(const struct netstack *ns, const struct tcp_syn_options *o, uint8_t *out)
{
    struct writer w = writer_of(out, TCP_OPTIONS_MAX);

    writer_be16(&w, 0x0204);
    writer_be16(&w, o->mss);
    if (o->timestamps) {
        writer_be16(&w, o->sack ? 0x0402 : 0x0101);
        writer_be16(&w, 0x080a);
        writer_be32(&w, ns->now_ms + o->ts_offset);
        writer_be32(&w, o->ts_recent);
    } else if (o->sack) {
        writer_be32(&w, 0x01010402);
    }
    if (o->scale)
        writer_be32(&w, 0x01030300 | TCP_WINDOW_SCALE);
    return w.at;
}

void syn_pull(struct netstack *ns, struct tcp_syn *syn, struct netstack_segment *out)
{
    uint8_t options[TCP_OPTIONS_MAX];
    const struct ip *local = &syn->peer->node->addresses[syn->local];
    struct tcp_syn_options o = { .mss = (uint16_t)(NETSTACK_MTU - inner_header_bytes(local) - TCP_BYTES),
                                 .timestamps = syn->flags & SYN_TS,
                                 .sack = syn->flags & SYN_SACK,
                                 .scale = syn->flags & SYN_SCALE,
                                 .ts_offset = syn->ts_offset,
                                 .ts_recent = syn->ts_recent };
    struct tcp_header h = { .local = *local,
                            .remote = syn->remote,
                            .local_port = syn->local_port,
                            .remote_port = syn->remote_port,
                            .seq = syn->iss,
                            .ack = syn->irs + 1,
                            .flags = TCP_SYN | TCP_ACK,
                            .window = 65535,
                            .options = options,
                            .options_len = tcp_syn_options(ns, &o, options) };

    tcp_header_write(ns, &h, out);
    if (!(syn->flags & SYN_ANSWERED))
        syn->sent_us = ns->now_us;
    else
        syn->retries = MAX(syn->retries, 1); /* answered twice: no RTT sample from it */
    syn->flags |= SYN_ANSWERED;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* The handshake is complete: the half-open connection becomes one. NULL: a limit or no memory. */
static struct tcp_conn *complete(struct netstack *ns, struct tcp_syn *syn, const struct tcp_segment *s)
{
    struct ns_peer *peer = syn->peer;
    struct tcp_syn old = *syn;
    struct tcp_conn *c;

    peer->holds++;
    syn_remove(ns, syn, false);
    c = tcp_conn_limits_allow(ns, peer) ? tcp_conn_new(ns, peer, &s->key, s->hash) : NULL;
    peer->holds--;
    if (!c) {
        if (ns->ops->syn_failed)
            ns->ops->syn_failed(ns->ctx, old.user);
        return NULL;
    }
    c->user = old.user;
    c->flags |= (old.flags & SYN_SACK ? CONN_SACK : 0) | (old.flags & SYN_TS ? CONN_TS : 0) |
                (old.flags & SYN_SCALE ? CONN_SCALE : 0);
    c->snd_scale = old.window_scale;
    c->rcv_nxt = c->ack_sent = c->space_seq = old.irs + 1;
    c->rcv_edge = c->rcv_nxt + 65535;
    c->snd_una = c->snd_nxt = old.iss + 1;
    c->ts_recent = old.ts_recent;
    c->ts_offset = old.ts_offset;
    tcp_conn_set_mss(ns, c, old.mss);
    if (old.retries)
        c->rto_ms = RTO_AFTER_SYN_LOSS_MS;
    else
        tcp_rtt_sample(ns, c, MAX(ns->now_us - old.sent_us, 1u));
    ns->counters.conns_accepted++;
    tcp_established(ns, c, s);
    return c;
}

/* RFC 9293, 3.10.7.4 for SYN-RECEIVED, a listener's. */
void syn_segment(struct netstack *ns, struct tcp_syn *syn, const struct inner_packet *p,
                 struct tcp_segment *s)
{
    struct tcp_conn *c;

    if (p->peer != syn->peer) {
        ns->counters.tcp_wrong_peer++;
        return;
    }
    if (s->flags & TCP_RST) {
        if (s->seq == syn->irs + 1)
            syn_remove(ns, syn, true);
        return;
    }
    if (s->flags & TCP_SYN) {
        if (s->flags & TCP_ACK)
            return;
        if (s->seq != syn->irs) { /* another attempt from the same port: the old one is given up */
            syn_remove(ns, syn, true);
            syn_received(ns, p, s, tcp_isn(ns, &s->key));
        } else if (!(syn->flags & SYN_DEFERRED)) {
            answer(ns, syn);
        }
        return;
    }
    if (!(s->flags & TCP_ACK) || (syn->flags & SYN_DEFERRED))
        return;
    if ((syn->flags & SYN_TS) && (!s->has_ts || seq_before(s->tsval, syn->ts_recent))) {
        ns->counters.paws_dropped++;
        return;
    }
    if (s->ack != syn->iss + 1) {
        tcp_reset_reply(ns, p, s);
        return;
    }
    if (!seq_between(syn->irs + 1, s->seq, syn->irs + 1 + 65535)) {
        ns->counters.out_of_window++;
        answer(ns, syn);
        return;
    }
    c = complete(ns, syn, s);
    if (c)
        tcp_conn_segment(ns, c, s);
    else
        tcp_reset_reply(ns, p, s);
}

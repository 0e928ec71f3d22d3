/* Loss: found by time (RACK, RFC 8985) where the peer sends SACK, by duplicate ACKs (NewReno, RFC 6582)
 * where not, by a probe of the tail (TLP), and in the end by the timeout (RFC 6298). What may be sent
 * meanwhile is the proportional rate of RFC 6937. Episodes that turn out to be unnecessary are undone the
 * way RFC 4015 allows: never back to the old window in one jump. */
#include "netstack/internal.h"

#define REORDER_KEEP 16u /* RFC 8985, 6.2 step 4: recoveries after which the window is narrow again */
#define REORDER_STEPS_MAX 16u
#define WORST_DELAYED_ACK_MS 200u
#define TIMEOUTS_BEFORE_SMALLER 3u /* then the path may not carry full packets */
#define BLACK_HOLE_MTU 1000u

/* ---- what was lost ------------------------------------------------------------------------------------- */

static uint32_t reorder_window_us(const struct tcp_conn *c)
{
    const struct tcp_tx *tx = c->tx;
    uint64_t window;

    if (!(c->flags & CONN_REORDERING) &&
        (tx->phase != PHASE_OPEN || tx->sacked >= DUPLICATE_ACKS * (uint32_t)c->snd_mss))
        return 0;
    window = (uint64_t)c->min_rtt_us / 4 * (tx->reorder_steps + 1u);
    return (uint32_t)MIN(window, c->srtt_us);
}

static bool sent_before_newest(const struct tcp_tx *tx, const struct tcp_record *r)
{
    if (r->sent_us != tx->rack_sent_us)
        return seq_before(r->sent_us, tx->rack_sent_us);
    return seq_before(r->end, tx->rack_end);
}

/* RFC 8985, 6.2 step 5. Arms the reordering timer for what may still be on its way. */
static void rack_detect(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;
    uint32_t limit = tx->rack_rtt_us + reorder_window_us(c), wait = 0, start = c->snd_una;

    tx->reorder_armed = false;
    if (!tx->rack_valid || !tx->sacked)
        return;
    if (tx->path_moved && seq_before(ns->now_ms, tx->path_settled)) {
        tx->reorder_armed = true;
        tx->reorder_at = tx->path_settled;
        return;
    }
    for (uint32_t i = 0; i < tx->record_count && seq_before(start, tx->fack); i++) {
        struct tcp_record *r = record_at(tx, i);
        uint32_t len = r->end - start, age = ns->now_us - r->sent_us;

        start = r->end;
        if (r->state == RECORD_SACKED || r->state == RECORD_LOST || !sent_before_newest(tx, r))
            continue;
        if (age >= limit)
            records_set_state(tx, r, len, RECORD_LOST);
        else
            wait = MAX(wait, limit - age);
    }
    if (wait) {
        tx->reorder_armed = true;
        tx->reorder_at = ns->now_ms + wait / 1000 + 1;
    }
}

/* Without SACK: the segment at the front is what duplicate ACKs ask for. */
static void lose_front(struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;
    struct tcp_record *r = record_at(tx, 0);
    uint32_t len;

    if (!tx->record_count || r->state != RECORD_OUT)
        return;
    len = r->end - c->snd_una;
    if (len > c->snd_mss) {
        if (!records_split(tx, 0, c->snd_una + c->snd_mss))
            return;
        len = c->snd_mss;
    }
    records_set_state(tx, record_at(tx, 0), len, RECORD_LOST);
}

static void reno_detect(struct tcp_conn *c, struct ack_facts *facts, bool duplicate)
{
    struct tcp_tx *tx = c->tx;

    if (duplicate) {
        facts->delivered = MIN((uint32_t)c->snd_mss, tcp_in_flight(c));
        tx->reno_arrived += facts->delivered;
        if (tx->duplicate_acks < UINT8_MAX)
            tx->duplicate_acks++;
        if (tx->duplicate_acks == DUPLICATE_ACKS && tx->phase == PHASE_OPEN)
            lose_front(c);
    } else if (facts->acked) {
        tx->duplicate_acks = 0;
        if (tx->phase == PHASE_RECOVERY && seq_before(c->snd_una, tx->high_seq)) {
            tx->reno_arrived -= MIN(tx->reno_arrived, facts->acked);
            lose_front(c); /* RFC 6582, 3.2 step 3: a partial ACK names the next loss */
        } else {
            tx->reno_arrived = 0;
        }
    }
}

/* ---- episodes --------------------------------------------------------------------------------------------
 */

static void remember(struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    tx->undo_cwnd = c->cwnd;
    tx->undo_ssthresh = c->ssthresh;
    tx->undo_repeats = 0;
    tx->has_repeat_ts = false;
}

static void enter_recovery(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    ns->counters.recoveries++;
    remember(c);
    tx->prr_flight = MAX(c->snd_nxt - c->snd_una - tx->sacked, 1u);
    tx->prr_delivered = tx->prr_out = 0;
    tx->high_seq = c->snd_nxt;
    tx->probing = tx->probe_due = false;
    c->ssthresh = ns->congestion->loss(c, ns->now_ms);
    tx->phase = PHASE_RECOVERY;
}

/* RFC 6937: as much as left the network, scaled to the new window. The RFC thinks of one ACK and then of
 * sending; here a batch of ACKs may come first, so what the ones before allowed and was not used yet is
 * carried on. */
static void proportional(struct tcp_conn *c, const struct ack_facts *facts, uint32_t lost_before)
{
    struct tcp_tx *tx = c->tx;
    uint32_t flight = tcp_in_flight(c);
    int64_t room;

    tx->prr_delivered += facts->delivered;
    if (flight > c->ssthresh) {
        room = (int64_t)(((uint64_t)tx->prr_delivered * c->ssthresh + tx->prr_flight - 1) / tx->prr_flight) -
               tx->prr_out;
    } else {
        room = MAX((int64_t)tx->prr_delivered - tx->prr_out - facts->unused, (int64_t)facts->delivered);
        if (facts->acked && tx->lost <= lost_before)
            room += c->snd_mss; /* things get better: faster */
        room = MIN(room + facts->unused, (int64_t)c->ssthresh - flight);
    }
    if (!tx->prr_out)
        room = MAX(room, c->snd_mss); /* the first repeat goes at once */
    c->cwnd = flight + (uint32_t)MAX(room, 0);
}

static void end_episode(struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    if (tx->phase == PHASE_RECOVERY)
        c->cwnd = MAX(c->ssthresh, 2u * c->snd_mss);
    tx->phase = PHASE_OPEN;
    tx->duplicate_acks = 0;
    tx->reno_arrived = 0;
    if (tx->reorder_keep && !--tx->reorder_keep)
        tx->reorder_steps = 0;
}

/* The episode was for nothing: RFC 4015, 3.2. */
static void spurious(struct netstack *ns, struct tcp_conn *c, const struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;
    uint32_t start = c->snd_una;

    ns->counters.recoveries_spurious++;
    for (uint32_t i = 0; i < tx->record_count; i++) {
        struct tcp_record *r = record_at(tx, i);

        if (r->state == RECORD_LOST)
            records_set_state(tx, r, r->end - start, RECORD_OUT);
        start = r->end;
    }
    c->ssthresh = MAX(tx->undo_ssthresh, tx->undo_cwnd);
    c->cwnd = tcp_in_flight(c) + MIN(MAX(facts->acked, (uint32_t)c->snd_mss), tcp_initial_window(c));
    if (ns->congestion->again)
        ns->congestion->again(c);
    tx->undo_cwnd = 0;
    tx->phase = PHASE_OPEN;
    tx->duplicate_acks = 0;
    c->flags |= CONN_REORDERING; /* it came late, but it came */
}

static void dsack_received(struct netstack *ns, struct tcp_conn *c, const struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;

    if (!seq_before(c->snd_una, tx->reorder_round) && tx->reorder_steps < REORDER_STEPS_MAX) {
        tx->reorder_steps++;
        tx->reorder_round = c->snd_nxt;
    }
    tx->reorder_keep = REORDER_KEEP;
    if (tx->probing && tx->probe_repeat)
        tx->probing = false; /* the probe was not needed: nothing was lost */
    if (tx->undo_cwnd && tx->undo_repeats && !--tx->undo_repeats)
        spurious(ns, c, facts);
}

/* RFC 3522: the ACK that ends the wait answers what was sent before the repeat. */
static bool eifel(const struct tcp_conn *c, const struct tcp_segment *s, const struct ack_facts *facts)
{
    const struct tcp_tx *tx = c->tx;

    return tx->phase != PHASE_OPEN && tx->undo_cwnd && tx->has_repeat_ts && facts->acked &&
           facts->repeated_acked && (c->flags & CONN_TS) && s->has_ts && s->tsecr &&
           seq_before(s->tsecr, tx->repeat_ts);
}

/* RFC 8985, 7.4. */
static void probe_answered(struct netstack *ns, struct tcp_conn *c, bool duplicate,
                           const struct tcp_segment *s)
{
    struct tcp_tx *tx = c->tx;

    if (!tx->probing || seq_before(c->snd_una, tx->probe_end))
        return;
    if (!tx->probe_repeat) {
        tx->probing = false;
    } else if (seq_after(c->snd_una, tx->probe_end)) {
        tx->probing = false; /* it repaired a loss that nobody saw: still a sign of congestion */
        c->ssthresh = ns->congestion->loss(c, ns->now_ms);
        c->cwnd = MIN(c->cwnd, c->ssthresh);
    } else if (duplicate && !s->sack_count) {
        tx->probing = false;
    }
}

/* ---- an ACK
 * ------------------------------------------------------------------------------------------------ */

static void grow(struct netstack *ns, struct tcp_conn *c, const struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;

    /* RFC 7661: a window that was not used has not been tested. In slow start half of it is enough. */
    bool used = tx->cwnd_full || tx->phase != PHASE_OPEN ||
                (c->cwnd < c->ssthresh && tcp_in_flight(c) + facts->delivered > c->cwnd / 2);

    if (facts->acked && facts->delivered && used)
        ns->congestion->acked(c, facts->delivered, ns->now_ms);
}

void tcp_recovery(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s,
                  struct ack_facts *facts, bool duplicate)
{
    struct tcp_tx *tx = c->tx;
    uint32_t lost_before = tx->lost;

    probe_answered(ns, c, duplicate, s);
    if (facts->dsack)
        dsack_received(ns, c, facts);
    if (eifel(c, s, facts))
        spurious(ns, c, facts);
    if (tx->phase != PHASE_OPEN && !seq_before(c->snd_una, tx->high_seq))
        end_episode(c);
    if (c->flags & CONN_SACK)
        rack_detect(ns, c);
    else
        reno_detect(c, facts, duplicate);
    if (tx->phase == PHASE_OPEN && tx->lost)
        enter_recovery(ns, c);
    if (tx->phase == PHASE_RECOVERY)
        proportional(c, facts, lost_before);
    else
        grow(ns, c, facts);
}

/* ---- timers
 * -------------------------------------------------------------------------------------------------- */

static uint32_t rto_now(const struct tcp_conn *c)
{
    return MIN(c->rto_ms << MIN(c->tx->timeouts, 16u), RTO_MAX_MS);
}

/* Something is queued that the peer's window does not admit, and nothing is on the way that would tell us
 * when it opens. */
static bool window_shut(const struct tcp_conn *c)
{
    const struct tcp_tx *tx = c->tx;
    bool fin = (c->flags & CONN_SHUT) && c->snd_nxt == tx->write_seq;

    return !tx->record_count && (seq_before(c->snd_nxt, tx->write_seq) || fin) && !tcp_may_send_new(c);
}

static bool probe_allowed(const struct tcp_conn *c)
{
    const struct tcp_tx *tx = c->tx;

    return (c->flags & CONN_SACK) && tx->phase == PHASE_OPEN && !tx->probing && !tx->probe_due &&
           !tx->sacked && !tx->lost && !tx->timeouts && c->srtt_us;
}

static void set_timer(struct tcp_tx *tx, enum tx_timer kind, uint32_t at)
{
    tx->timer = (uint8_t)kind;
    tx->timer_at = at;
}

void tcp_tx_arm(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;
    uint32_t at;

    if (tx->record_count && tx->reorder_armed) {
        set_timer(tx, TX_TIMER_REORDER, tx->reorder_at);
    } else if (tx->record_count) {
        set_timer(tx, TX_TIMER_RTO, tx->rto_base + rto_now(c));
        if (probe_allowed(c)) {
            at = MAX(2 * c->srtt_us / 1000, TLP_MIN_MS) + 1;
            if (c->snd_nxt - c->snd_una <= c->snd_mss)
                at += WORST_DELAYED_ACK_MS;
            at += seq_max(tx->rto_base, c->sent_ms);
            if (seq_before(at, tx->timer_at))
                set_timer(tx, TX_TIMER_PROBE, at);
        }
    } else if (window_shut(c)) {
        if (tx->timer != TX_TIMER_PERSIST) {
            at = MIN(MAX(c->rto_ms, PERSIST_MIN_MS) << MIN(tx->window_probes, 16u), PERSIST_MAX_MS);
            set_timer(tx, TX_TIMER_PERSIST, ns->now_ms + at);
        }
    } else {
        tx->timer = TX_TIMER_NONE;
    }
    tcp_conn_rearm(ns, c);
}

void tcp_repeat_now(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    if (!tx || !tx->record_count || !tx->timeouts)
        return;
    tx->timeouts = 0;
    tx->rto_base = ns->now_ms - rto_now(c);
    tcp_tx_arm(ns, c);
}

void tcp_sent(struct netstack *ns, struct tcp_conn *c, uint32_t len, bool again, bool front)
{
    struct tcp_tx *tx = c->tx;

    if (tx->phase == PHASE_RECOVERY)
        tx->prr_out += len;
    if (again && tx->undo_cwnd) {
        tx->undo_repeats++;
        if (!tx->has_repeat_ts) {
            tx->has_repeat_ts = true;
            tx->repeat_ts = ns->now_ms + c->ts_offset;
        }
    }
    if (front || tx->timer == TX_TIMER_NONE || tx->timer == TX_TIMER_PERSIST)
        tx->rto_base = ns->now_ms;
    c->sent_ms = ns->now_ms;
    tcp_tx_arm(ns, c);
}

static uint32_t to_ms(time_ns t)
{
    return (uint32_t)(t / MSEC);
}

static void give_up(struct netstack *ns, struct tcp_conn *c, enum netstack_reason reason)
{
    tcp_reset_send(ns, c);
    tcp_conn_end(ns, c, reason);
}

/* Full packets may be what the path swallows (RFC 2923, 2.1). */
static void try_smaller(struct netstack *ns, struct tcp_conn *c)
{
    if (c->tx->timeouts != TIMEOUTS_BEFORE_SMALLER || c->peer->mtu <= BLACK_HOLE_MTU)
        return;
    c->peer->mtu = BLACK_HOLE_MTU;
    tcp_conn_set_mss(ns, c, c->snd_mss + (c->flags & CONN_TS ? TCP_TS_BYTES : 0));
}

static void stalled(struct netstack *ns, const struct tcp_conn *c)
{
    ns->counters.stalls++;
    if (ns->ops->stalled)
        ns->ops->stalled(ns->ctx, c->peer->node->index, c->peer->token);
}

/* RFC 6298, 5.4 to 5.7, and RFC 5681, 3.1. */
static void timeout(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    if (ns->now_ms - tx->progress_ms >= to_ms(ns->config.user_timeout_ns)) {
        give_up(ns, c, NETSTACK_CLOSED_TIMED_OUT);
        return;
    }
    ns->counters.timeouts++;
    if (tx->phase == PHASE_OPEN) {
        remember(c);
        c->ssthresh = ns->congestion->loss(c, ns->now_ms);
    }
    if (tx->record_count && record_at(tx, 0)->state == RECORD_SACKED) {
        /* It said that it had these, and does not acknowledge them: it took them back (RFC 2018, 8). */
        for (uint32_t i = 0; i < tx->record_count; i++)
            records_set_state(tx, record_at(tx, i), record_at(tx, i)->end - records_start(c, i), RECORD_OUT);
        tx->fack = c->snd_una;
    }
    if (tx->timeouts < UINT8_MAX)
        tx->timeouts++;
    try_smaller(ns, c);
    records_mark_all_lost(c);
    tx->reno_arrived = 0;
    tx->duplicate_acks = 0;
    tx->reorder_armed = tx->probing = tx->probe_due = false;
    tx->phase = PHASE_LOSS;
    tx->high_seq = c->snd_nxt;
    tx->rto_base = ns->now_ms;
    c->cwnd = c->snd_mss;
    tcp_conn_ready(ns, c);
    if (tx->timeouts == NETSTACK_STALL_TIMEOUTS)
        stalled(ns, c);
}

static void probe_window(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    if (ns->now_ms - tx->heard_ms >= to_ms(ns->config.user_timeout_ns)) {
        give_up(ns, c, NETSTACK_CLOSED_TIMED_OUT);
        return;
    }
    if (ns->now_ms - tx->progress_ms >= to_ms(ns->config.zero_window_ns)) {
        give_up(ns, c, NETSTACK_CLOSED_STALLED);
        return;
    }
    ns->counters.window_probes++;
    if (tx->window_probes < UINT8_MAX)
        tx->window_probes++;
    c->flags |= CONN_PROBE;
    tcp_conn_ready(ns, c);
    tcp_tx_arm(ns, c);
}

void tcp_tx_timer(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;
    enum tx_timer kind = (enum tx_timer)tx->timer;

    tx->timer = TX_TIMER_NONE;
    switch (kind) {
    case TX_TIMER_NONE:
        break;
    case TX_TIMER_RTO:
        timeout(ns, c);
        break;
    case TX_TIMER_PROBE:
        tx->probe_due = true;
        tcp_conn_ready(ns, c);
        break;
    case TX_TIMER_REORDER:
        rack_detect(ns, c);
        if (tx->phase == PHASE_OPEN && tx->lost)
            enter_recovery(ns, c);
        if (tx->phase == PHASE_RECOVERY)
            proportional(c, &(struct ack_facts) { 0 }, tx->lost);
        tcp_tx_arm(ns, c);
        tcp_conn_ready(ns, c);
        break;
    case TX_TIMER_PERSIST:
        probe_window(ns, c);
        break;
    }
}

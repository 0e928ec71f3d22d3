/* What an acceptable ACK brings: bytes that arrived, an RTT sample, a window. */
#include "netstack/internal.h"

/* RFC 6298. In microseconds; the variance term is at least RTO_MIN_MS, as a delayed ACK may take that long.
 */
void tcp_rtt_sample(struct netstack *ns, struct tcp_conn *c, uint32_t rtt_us)
{
    uint32_t rtt = MIN(rtt_us, 60u * 1000 * 1000);

    if (!c->srtt_us) {
        c->srtt_us = rtt;
        c->rttvar_us = rtt / 2;
    } else {
        uint32_t off = rtt > c->srtt_us ? rtt - c->srtt_us : c->srtt_us - rtt;

        c->rttvar_us = c->rttvar_us - c->rttvar_us / 4 + off / 4;
        c->srtt_us = c->srtt_us - c->srtt_us / 8 + rtt / 8;
    }
    c->srtt_us = MAX(c->srtt_us, 1u);
    if (!c->min_rtt_us || rtt < c->min_rtt_us)
        c->min_rtt_us = rtt;
    c->rto_ms = c->srtt_us / 1000 + MAX(4 * c->rttvar_us / 1000, RTO_MIN_MS);
    c->rto_ms = MIN(c->rto_ms, RTO_MAX_MS);
    c->peer->srtt_us = c->srtt_us;
    if (ns->congestion->round)
        ns->congestion->round(c, rtt, ns->now_ms);
}

/* RFC 9293, 3.10.7.4: only a segment that is not older than the last update changes it. */
static bool update_window(struct tcp_conn *c, const struct tcp_segment *s)
{
    uint32_t window = s->window << c->snd_scale;
    bool changed = window != c->snd_wnd;

    if (!seq_before(s->ack, c->snd_una) &&
        (seq_before(c->snd_wl1, s->seq) || (c->snd_wl1 == s->seq && !seq_before(s->ack, c->snd_wl2)))) {
        c->snd_wnd = window;
        c->snd_wnd_max = MAX(c->snd_wnd_max, window);
        c->snd_wl1 = s->seq;
        c->snd_wl2 = s->ack;
        return changed;
    }
    return false;
}

static void advance(struct netstack *ns, struct tcp_conn *c, uint32_t ack, struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;

    facts->acked = ack - c->snd_una;
    records_acked(ns, c, ack, facts);
    if (tx->cursor && !seq_after(tx->cursor->base + tx->cursor->end, ack))
        tx->cursor = NULL;
    /* Less than what was acknowledged if the FIN was. */
    chunk_queue_consume(ns, &tx->queue, MIN(facts->acked, tx->queue.bytes));
    c->snd_una = ack;
    tx->fack = seq_max(tx->fack, ack);
    tx->progress_ms = ns->now_ms;
    tx->rto_base = ns->now_ms;
    tx->timeouts = tx->window_probes = 0;
}

/* RFC 2883: the first block repeats what is acknowledged or what the second block holds. */
static bool is_dsack(const struct tcp_conn *c, const struct tcp_segment *s)
{
    if (!s->sack_count || !seq_before(s->sack[0].start, s->sack[0].end))
        return false;
    if (!seq_after(s->sack[0].end, s->ack))
        return c->snd_una - s->sack[0].start < (1u << 30);
    return s->sack_count > 1 && !seq_before(s->sack[0].start, s->sack[1].start) &&
           !seq_after(s->sack[0].end, s->sack[1].end);
}

/* Blocks in ascending order, so that what one ACK reports does not look like reordering. */
static void take_sack(struct netstack *ns, struct tcp_conn *c, struct tcp_segment *s, struct ack_facts *facts)
{
    uint8_t first = 0;

    facts->dsack = is_dsack(c, s);
    first = facts->dsack;
    for (uint8_t i = first; i < s->sack_count; i++)
        for (uint8_t k = first; k + 1 < s->sack_count; k++)
            if (seq_after(s->sack[k].start, s->sack[k + 1].start)) {
                __typeof__(s->sack[0]) swap = s->sack[k];

                s->sack[k] = s->sack[k + 1];
                s->sack[k + 1] = swap;
            }
    for (uint8_t i = first; i < s->sack_count; i++) {
        uint32_t start = seq_max(s->sack[i].start, c->snd_una), end = s->sack[i].end;

        if (seq_before(start, end) && !seq_after(end, c->snd_nxt) &&
            s->sack[i].end - s->sack[i].start < (1u << 30))
            records_sacked(ns, c, start, end, facts);
    }
}

static void sample_rtt(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s,
                       const struct ack_facts *facts)
{
    /* With a repeated piece the rest may have waited for it at the peer (RFC 6298, 3). */
    if (facts->rtt_us && !facts->repeated_acked) {
        tcp_rtt_sample(ns, c, facts->rtt_us);
    } else if (facts->acked && (c->flags & CONN_TS) && s->has_ts && s->tsecr) {
        /* Only repeated pieces: the echoed timestamp still says which copy it was (RFC 7323, 4.1). */
        uint32_t ms = ns->now_ms + c->ts_offset - s->tsecr;

        if (ms < RTO_MAX_MS)
            tcp_rtt_sample(ns, c, MAX(ms, 1u) * 1000);
    }
}

static void want_write(struct netstack *ns, struct tcp_conn *c)
{
    if ((c->flags & CONN_WANT_WRITE) && tcp_write_room_now(ns, c) >= SEND_BUFFER_FIRST / 4)
        tcp_conn_event(ns, c, EVENT_WRITABLE);
}

void tcp_acked(struct netstack *ns, struct tcp_conn *c, struct tcp_segment *s)
{
    struct tcp_tx *tx = c->tx;
    uint32_t una = c->snd_una;
    bool changed = update_window(c, s), duplicate;
    struct ack_facts facts = { 0 };

    if (!tx)
        return;
    facts.fack = tx->fack;
    if (tx->phase == PHASE_RECOVERY && c->cwnd > tcp_in_flight(c))
        facts.unused = c->cwnd - tcp_in_flight(c);
    tx->heard_ms = ns->now_ms;
    duplicate =
        tx->record_count && s->ack == una && !s->data.len && !changed && !(s->flags & (TCP_SYN | TCP_FIN));
    if (seq_after(s->ack, una))
        advance(ns, c, s->ack, &facts);
    if ((c->flags & CONN_SACK) && s->sack_count)
        take_sack(ns, c, s, &facts);
    sample_rtt(ns, c, s, &facts);
    tcp_recovery(ns, c, s, &facts, duplicate);
    want_write(ns, c);
    tcp_tx_release_if_idle(ns, c);
    if (c->tx) {
        tcp_tx_arm(ns, c);
        if (tcp_conn_has_output(ns, c))
            tcp_conn_ready(ns, c);
    } else {
        tcp_conn_rearm(ns, c);
    }
}

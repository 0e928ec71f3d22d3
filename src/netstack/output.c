/* The pull: what a connection sends next, as one super-segment of equal packets with one header.
 *
 * In this order: a SYN, what was lost, the loss probe, new data, a probe with an old number, a bare ACK.
 * Every packet carries the acknowledgement, so whatever is sent settles a due ACK. */
#include "netstack/internal.h"

/* ---- what may be sent ---------------------------------------------------------------------------------- */

static uint32_t congestion_room(const struct tcp_conn *c)
{
    uint32_t flight = tcp_in_flight(c);

    if (flight < c->cwnd)
        return c->cwnd - flight;
    return 0;
}

static bool fin_unsent(const struct tcp_conn *c)
{
    return (c->flags & CONN_SHUT) && c->tx && c->snd_nxt == c->tx->write_seq;
}

/* Beyond snd_nxt, by the peer's window. */
static uint32_t window_room(const struct tcp_conn *c)
{
    uint32_t used = c->snd_nxt - c->snd_una;

    return c->snd_wnd > used ? c->snd_wnd - used : 0;
}

/* How many bytes of new data go now, in segments of mss. 0: none. */
static uint32_t new_bytes(const struct tcp_conn *c, uint32_t mss, bool *cwnd_full)
{
    uint32_t unsent = c->tx->write_seq - c->snd_nxt, room = window_room(c), budget = congestion_room(c), len;

    *cwnd_full = false;
    if (seq_after(c->snd_nxt, c->tx->write_seq) || !unsent)
        return 0;
    if (budget < mss && budget < unsent) {
        *cwnd_full = true;
        if (c->tx->pipe)
            return 0;
        budget = mss;
    }
    len = MIN(MIN(unsent, room), budget);
    if (len == unsent)
        return (c->flags & CONN_MORE) && c->tx->record_count ? len / mss * mss : len;
    *cwnd_full = len == budget;
    if (len >= mss)
        return len / mss * mss;
    /* RFC 9293, 3.8.6.2.1: no silly small segment because the window is small, unless it is always so. */
    return len == room && len && (len >= c->snd_wnd_max / 2 || !c->tx->record_count) && !*cwnd_full ? len : 0;
}

static bool may_repeat(const struct tcp_conn *c)
{
    return c->tx->lost && (congestion_room(c) >= c->snd_mss || !tcp_in_flight(c));
}

bool tcp_may_send_new(const struct tcp_conn *c)
{
    bool full;

    if (!c->tx || c->state < TCP_ESTABLISHED)
        return false;
    if (new_bytes(c, c->snd_mss, &full))
        return true;
    return fin_unsent(c) && (congestion_room(c) || !c->tx->pipe) && window_room(c);
}

bool tcp_conn_has_output(const struct netstack *ns, const struct tcp_conn *c)
{
    (void)ns;
    if (c->flags & (CONN_SYN_DUE | CONN_ACK_NOW | CONN_PROBE))
        return true;
    return c->tx && c->state >= TCP_ESTABLISHED && (may_repeat(c) || c->tx->probe_due || tcp_may_send_new(c));
}

/* ---- headers ---------------------------------------------------------------------------------------------
 */

size_t tcp_ts_option(const struct netstack *ns, const struct tcp_conn *c, uint8_t *out)
{
    if (!(c->flags & CONN_TS))
        return 0;
    store_be32(out, 0x0101080a);
    store_be32(out + 4, ns->now_ms + c->ts_offset);
    store_be32(out + 8, c->ts_recent);
    return TCP_TS_BYTES;
}

static size_t options(const struct netstack *ns, const struct tcp_conn *c, uint8_t out[TCP_OPTIONS_MAX])
{
    size_t len = tcp_ts_option(ns, c, out);

    if (c->flags & CONN_SACK)
        len += tcp_sack_option(c, out + len, TCP_OPTIONS_MAX - len);
    return len;
}

static void header(struct netstack *ns, struct tcp_conn *c, uint32_t seq, uint8_t flags, struct span opts,
                   struct netstack_segment *out)
{
    struct tcp_header h = { .local = *tcp_conn_local(c),
                            .remote = c->remote,
                            .local_port = c->local_port,
                            .remote_port = c->remote_port,
                            .seq = seq,
                            .ack = flags & TCP_ACK ? c->rcv_nxt : 0,
                            .flags = flags,
                            .window = 65535,
                            .options = opts.data,
                            .options_len = opts.len };

    if (!(flags & TCP_SYN))
        h.window = (uint16_t)tcp_receive_window(ns, c);
    tcp_header_write(ns, &h, out);
    c->ack_sent = c->rcv_nxt;
    c->flags &= ~(CONN_ACK_NOW | CONN_ACK_DELAYED);
    out->count = 1;
    out->payload_bytes = 0;
    out->segment_bytes = 0;
    out->span_count = 0;
}

/* The chunk that holds `seq`, from the cursor if it is not behind. */
static struct chunk *locate(struct tcp_tx *tx, uint32_t seq)
{
    struct chunk *c = tx->cursor;

    if (!c || seq_before(seq, c->base + c->start))
        c = tx->queue.head;
    while (c && !seq_before(seq, c->base + c->end))
        c = c->next;
    return c;
}

/* Spans of [seq, seq + len), as far as NETSTACK_SPANS_MAX reach: returns how far. */
static uint32_t gather(struct tcp_conn *c, uint32_t seq, uint32_t len, struct netstack_segment *out)
{
    uint32_t done = 0;
    struct chunk *chunk = len ? locate(c->tx, seq) : NULL;

    for (; done < len && chunk && out->span_count < NETSTACK_SPANS_MAX; chunk = chunk->next) {
        uint32_t from = seq + done - chunk->base, part = MIN(len - done, chunk->end - from);

        out->spans[out->span_count++] = span_make(chunk->data + from, part);
        done += part;
        c->tx->cursor = chunk;
    }
    return done;
}

/* Payload bytes [seq, seq + *len) and perhaps a FIN; *len becomes what really goes. */
static void packets(struct netstack *ns, struct tcp_conn *c, uint32_t seq, uint32_t *len, bool *fin,
                    uint32_t mss, struct span opts, struct netstack_segment *out)
{
    uint32_t got;

    header(ns, c, seq, TCP_ACK, opts, out);
    got = gather(c, seq, *len, out);
    if (got < *len) { /* scattered over too many chunks: whole segments of what was gathered */
        *fin = false;
        *len = got > mss ? got / mss * mss : got;
    }
    out->payload_bytes = *len;
    out->segment_bytes = (uint16_t)mss;
    out->count = MAX((*len + mss - 1) / mss, 1u);
    if (*len && seq + *len == c->tx->write_seq)
        out->last_flags |= TCP_PSH;
    if (*fin)
        out->last_flags |= TCP_FIN;
    ns->counters.bytes_out += *len;
}

/* ---- the kinds of output
 * ----------------------------------------------------------------------------------- */

static void pull_syn(struct netstack *ns, struct tcp_conn *c, struct netstack_segment *out)
{
    uint8_t opts[TCP_OPTIONS_MAX];
    struct tcp_syn_options o = { .mss = (uint16_t)(NETSTACK_MTU - inner_header_bytes(&c->remote) - TCP_BYTES),
                                 .timestamps = c->flags & CONN_TS,
                                 .sack = c->flags & CONN_SACK,
                                 .scale = c->flags & CONN_SCALE,
                                 .ts_offset = c->ts_offset,
                                 .ts_recent = c->ts_recent };
    bool answer = c->state == TCP_SYN_RECEIVED;

    c->flags &= ~CONN_SYN_DUE;
    if (!(c->flags & CONN_REPLIED))
        c->cc[0] = ns->now_us; /* congestion control begins later: this is when the SYN left */
    c->flags |= CONN_REPLIED;
    header(ns, c, c->snd_una, answer ? TCP_SYN | TCP_ACK : TCP_SYN,
           span_make(opts, tcp_syn_options(ns, &o, opts)), out);
    c->snd_nxt = c->snd_una + 1;
}

/* Payload bytes of [start, end), which may end with the FIN. */
static uint32_t payload_len(const struct tcp_conn *c, uint32_t start, uint32_t end, bool *fin)
{
    *fin = (c->flags & CONN_SHUT) && end == c->tx->write_seq + 1;
    return end - start - *fin;
}

/* Record i again, or its first part of at most `limit` bytes. */
static bool repeat(struct netstack *ns, struct tcp_conn *c, uint32_t i, uint32_t mss, uint32_t limit,
                   struct span opts, struct netstack_segment *out)
{
    struct tcp_tx *tx = c->tx;
    uint32_t start = records_start(c, i), end = record_at(tx, i)->end, len, want;
    bool fin;

    len = want = payload_len(c, start, end, &fin);
    if (len > limit) {
        len = limit;
        fin = false;
    }
    packets(ns, c, start, &len, &fin, mss, opts, out);
    if (start + len + fin != end && !records_split(tx, i, start + len + fin))
        return false;
    struct tcp_record *r = record_at(tx, i);

    records_set_state(tx, r, len + fin, RECORD_AGAIN);
    r->repeated = true;
    r->sent_us = ns->now_us;
    ns->counters.retransmits += out->count;
    tcp_sent(ns, c, len + fin, true, i == 0);
    return true;
}

static bool pull_lost(struct netstack *ns, struct tcp_conn *c, uint32_t mss, uint32_t count_max,
                      struct span opts, struct netstack_segment *out)
{
    uint32_t segments = MIN(MAX(congestion_room(c) / c->snd_mss, 1u), count_max);

    for (uint32_t i = 0; i < c->tx->record_count; i++)
        if (record_at(c->tx, i)->state == RECORD_LOST)
            return repeat(ns, c, i, mss, segments * mss, opts, out);
    return false;
}

static bool pull_new(struct netstack *ns, struct tcp_conn *c, uint32_t mss, uint32_t count_max,
                     struct span opts, struct netstack_segment *out)
{
    struct tcp_tx *tx = c->tx;
    bool full, fin = false;
    uint32_t len = new_bytes(c, mss, &full);

    tx->cwnd_full = full;
    len = MIN(len, count_max * mss);
    if (fin_unsent(c) || ((c->flags & CONN_SHUT) && c->snd_nxt + len == tx->write_seq))
        fin = window_room(c) > len;
    if (!len && !fin)
        return false;
    if (!tx->record_count)
        tx->progress_ms = ns->now_ms;
    packets(ns, c, c->snd_nxt, &len, &fin, mss, opts, out);
    if (!records_push(tx, c->snd_nxt, c->snd_nxt + len + fin, ns->now_us))
        return false;
    c->snd_nxt += len + fin;
    tcp_sent(ns, c, len + fin, false, false);
    if ((c->flags & CONN_WANT_WRITE) && tcp_write_room_now(ns, c) >= SEND_BUFFER_FIRST)
        tcp_conn_event(ns, c, EVENT_WRITABLE);
    return true;
}

/* RFC 8985, 7.3: new data if there is any, else the last segment again. */
static bool pull_probe(struct netstack *ns, struct tcp_conn *c, uint32_t mss, struct span opts,
                       struct netstack_segment *out)
{
    struct tcp_tx *tx = c->tx;
    uint32_t unsent = tx->write_seq - c->snd_nxt, last, start;

    tx->probe_due = false;
    if (!tx->record_count || tx->phase != PHASE_OPEN)
        return false;
    ns->counters.tail_probes++;
    tx->probing = true;
    tx->rto_base = ns->now_ms;
    if (!seq_after(c->snd_nxt, tx->write_seq) && unsent && window_room(c) >= MIN(unsent, mss)) {
        bool fin = false;
        uint32_t len = MIN(unsent, mss);

        packets(ns, c, c->snd_nxt, &len, &fin, mss, opts, out);
        if (!records_push(tx, c->snd_nxt, c->snd_nxt + len, ns->now_us))
            return false;
        c->snd_nxt += len;
        tx->probe_repeat = false;
        tx->probe_end = c->snd_nxt;
        tcp_sent(ns, c, len, false, false);
        return true;
    }
    last = tx->record_count - 1;
    start = records_start(c, last);
    if (c->snd_nxt - start > mss && records_split(tx, last, c->snd_nxt - mss))
        last++;
    tx->probe_repeat = true;
    tx->probe_end = c->snd_nxt;
    return record_at(tx, last)->state != RECORD_SACKED && repeat(ns, c, last, mss, mss, opts, out);
}

/* ---- the pull
 * -------------------------------------------------------------------------------------------------- */

/* RFC 5681, 4.1: after a pause the window says little about the path. Halved for every RTO of it (RFC 2861).
 */
static void after_idle(struct netstack *ns, struct tcp_conn *c)
{
    uint32_t idle = ns->now_ms - c->sent_ms, floor = tcp_initial_window(c);

    if (c->tx->record_count || idle < c->rto_ms || c->cwnd <= floor)
        return;
    c->ssthresh = MAX(c->ssthresh, c->cwnd / 4 * 3);
    for (; idle >= c->rto_ms && c->cwnd > floor; idle -= c->rto_ms)
        c->cwnd = MAX(c->cwnd / 2, floor);
    if (ns->congestion->again)
        ns->congestion->again(c);
}

static bool pull_data(struct netstack *ns, struct tcp_conn *c, uint32_t count_max, struct span opts,
                      struct netstack_segment *out)
{
    uint32_t mss = c->snd_mss - (uint32_t)(opts.len - (c->flags & CONN_TS ? TCP_TS_BYTES : 0));

    after_idle(ns, c);
    if (may_repeat(c))
        return pull_lost(ns, c, mss, count_max, opts, out);
    if (c->tx->probe_due && pull_probe(ns, c, mss, opts, out))
        return true;
    return tcp_may_send_new(c) && pull_new(ns, c, mss, count_max, opts, out);
}

bool tcp_conn_pull(struct netstack *ns, struct tcp_conn *c, size_t count_max, struct netstack_segment *out)
{
    uint8_t bytes[TCP_OPTIONS_MAX];
    bool probe = c->flags & CONN_PROBE;
    struct span opts;

    if (c->flags & CONN_SYN_DUE) {
        pull_syn(ns, c, out);
        return true;
    }
    if (c->state < TCP_ESTABLISHED)
        return false;
    if (!tcp_conn_has_output(ns, c)) {
        if (c->tx)
            tcp_tx_arm(ns, c); /* what keeps it may be the window: then it must be probed */
        return false;
    }
    opts = span_make(bytes, options(ns, c, bytes));
    if (c->tx && pull_data(ns, c, (uint32_t)MIN(count_max, NETSTACK_SEGMENTS_MAX), opts, out)) {
        c->flags &= ~CONN_PROBE;
        if (c->repeat_acks) /* an ACK with data is no duplicate */
            tcp_conn_ack_now(ns, c);
        tcp_rx_release_if_idle(ns, c);
        return true;
    }
    if (c->tx)
        tcp_tx_arm(ns, c);
    if (!probe && !(c->flags & CONN_ACK_NOW))
        return false;
    c->flags &= ~CONN_PROBE;
    header(ns, c, probe ? c->snd_una - 1 : c->snd_nxt, TCP_ACK, opts, out);
    if (c->repeat_acks && !probe)
        out->count = MIN(c->repeat_acks, (uint32_t)count_max);
    c->repeat_acks = 0;
    tcp_rx_release_if_idle(ns, c); /* it may have been there for a duplicate to report */
    tcp_conn_rearm(ns, c);
    return true;
}

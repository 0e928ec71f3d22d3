/* Received bytes: in order to the consumer, out of order into ranges; the window and the SACK option.
 *
 * In order, bytes stay where they arrived (borrowed) until the consumer was called; what it leaves is
 * copied. Out of order they are copied at once. Reading order: stored, then borrowed. */
#include "netstack/internal.h"

#include <stdlib.h>

/* ---- memory --------------------------------------------------------------------------------------- */

/* Charges what the connection holds to its peer and node. */
static void charge(struct tcp_conn *c)
{
    struct tcp_rx *rx = c->rx;
    uint32_t memory = rx->stored.memory;

    for (uint32_t i = 0; i < rx->range_count; i++)
        memory += rx->ranges[i].data.memory;
    c->peer->receive_bytes += (uint64_t)memory - rx->charged;
    c->peer->node->receive_bytes += (uint64_t)memory - rx->charged;
    rx->charged = memory;
}

static bool over_limit(const struct netstack *ns, const struct tcp_conn *c)
{
    return c->peer->receive_bytes > ns->config.limits.receive_bytes_per_peer ||
           c->peer->node->receive_bytes > ns->config.limits.receive_bytes_per_node;
}

static void remove_range(struct netstack *ns, struct tcp_rx *rx, uint32_t i)
{
    chunk_queue_clear(ns, &rx->ranges[i].data);
    memmove(&rx->ranges[i], &rx->ranges[i + 1], (rx->range_count - i - 1) * sizeof(*rx->ranges));
    rx->range_count--;
}

void tcp_receive_free(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_rx *rx = c->rx;

    if (!rx)
        return;
    chunk_queue_clear(ns, &rx->stored);
    while (rx->range_count)
        remove_range(ns, rx, rx->range_count - 1);
    charge(c);
    if (rx->ranges != rx->inline_ranges)
        free(rx->ranges);
    cache_release(&ns->rx_cache, rx);
    c->rx = NULL;
}

/* ---- in order --------------------------------------------------------------------------------------- */

static bool borrow(struct netstack *ns, struct tcp_rx *rx, struct span bytes)
{
    if (ns->borrowed_count == ns->borrowed_cap) {
        uint32_t cap = MAX(ns->borrowed_cap * 2, 64u);
        struct borrowed *all = realloc(ns->borrowed, cap * sizeof(*all));

        if (!all)
            return false;
        ns->borrowed = all;
        ns->borrowed_cap = cap;
    }
    ns->borrowed[ns->borrowed_count++] = (struct borrowed) { .bytes = bytes };
    if (rx->borrowed_first)
        ns->borrowed[rx->borrowed_last - 1].next = ns->borrowed_count;
    else
        rx->borrowed_first = ns->borrowed_count;
    rx->borrowed_last = ns->borrowed_count;
    rx->borrowed_bytes += (uint32_t)bytes.len;
    return true;
}

void tcp_receive_keep(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_rx *rx = c->rx;
    bool kept = true;

    if (!rx)
        return;
    for (uint32_t i = rx->borrowed_first; i && kept; i = ns->borrowed[i - 1].next) {
        struct span bytes = ns->borrowed[i - 1].bytes;

        kept = chunk_queue_append(ns, &rx->stored, bytes) == bytes.len;
    }
    rx->borrowed_first = rx->borrowed_last = rx->borrowed_bytes = 0;
    charge(c);
    if (!kept) { /* these bytes were promised to the consumer: without them the stream is broken */
        tcp_reset_send(ns, c);
        tcp_conn_end(ns, c, NETSTACK_CLOSED_NO_MEMORY);
        return;
    }
    tcp_rx_release_if_idle(ns, c);
}

/* Ranges that rcv_nxt reached become readable. */
static void absorb_ranges(struct netstack *ns, struct tcp_conn *c)
{
    struct tcp_rx *rx = c->rx;

    while (rx->range_count && !seq_after(rx->ranges[0].start, c->rcv_nxt)) {
        struct tcp_range *r = &rx->ranges[0];

        if (seq_after(r->end, c->rcv_nxt)) {
            if (rx->borrowed_bytes) {
                /* What is borrowed comes first. */
                for (uint32_t i = rx->borrowed_first; i; i = ns->borrowed[i - 1].next) {
                    struct span bytes = ns->borrowed[i - 1].bytes;

                    if (chunk_queue_append(ns, &rx->stored, bytes) != bytes.len) {
                        tcp_reset_send(ns, c);
                        tcp_conn_end(ns, c, NETSTACK_CLOSED_NO_MEMORY);
                        return;
                    }
                }
                rx->borrowed_first = rx->borrowed_last = rx->borrowed_bytes = 0;
            }
            chunk_queue_consume(ns, &r->data, c->rcv_nxt - r->start);
            ns->counters.bytes_in += r->end - c->rcv_nxt;
            c->rcv_nxt = r->end;
            chunk_queue_splice(ns, &rx->stored, &r->data);
        }
        remove_range(ns, rx, 0);
    }
    charge(c);
}

static void fin_reached(struct netstack *ns, struct tcp_conn *c)
{
    c->rcv_nxt++;
    c->rcv_edge = seq_max(c->rcv_edge, c->rcv_nxt);
    c->flags |= CONN_FIN_RECEIVED;
    if (c->rx)
        c->rx->has_fin = false;
    tcp_conn_ack_now(ns, c);
    tcp_conn_event(ns, c, EVENT_READABLE);
    if (c->state == TCP_ESTABLISHED)
        tcp_conn_enter(c, TCP_CLOSE_WAIT);
    else if (c->state == TCP_FIN_WAIT_1)
        tcp_conn_enter(c, TCP_CLOSING);
    else
        tcp_conn_finish(ns, c, true);
}

/* ---- out of order ------------------------------------------------------------------------------------- */

/* A range for [start, start) before ranges[i]. False: no room for so many holes, or no memory. */
static bool insert_range(struct netstack *ns, struct tcp_rx *rx, uint32_t i, uint32_t start)
{
    if (rx->range_count == RANGES_MAX) {
        if (i == rx->range_count)
            return false;
        remove_range(ns, rx, rx->range_count - 1); /* the farthest is the least useful */
        ns->counters.out_of_order_dropped++;
    }
    if (rx->range_count == rx->range_cap) {
        struct tcp_range *ranges = malloc(rx->range_cap * 2 * sizeof(*ranges));

        if (!ranges)
            return false;
        memcpy(ranges, rx->ranges, rx->range_count * sizeof(*ranges));
        if (rx->ranges != rx->inline_ranges)
            free(rx->ranges);
        rx->ranges = ranges;
        rx->range_cap *= 2;
    }
    memmove(&rx->ranges[i + 1], &rx->ranges[i], (rx->range_count - i) * sizeof(*rx->ranges));
    rx->ranges[i] = (struct tcp_range) { .start = start, .end = start };
    rx->range_count++;
    return true;
}

/* Fills the gap that begins at `at` before ranges[*i]; *i is then the range behind the filled one. */
static bool fill_gap(struct netstack *ns, struct tcp_rx *rx, uint32_t *i, uint32_t at, struct span bytes)
{
    struct tcp_range *r;
    uint32_t done;

    if (!*i || rx->ranges[*i - 1].end != at) {
        if (!insert_range(ns, rx, *i, at))
            return false;
        ++*i;
    }
    r = &rx->ranges[*i - 1];
    done = chunk_queue_append(ns, &r->data, bytes);
    r->end += done;
    if (done < bytes.len) {
        if (r->start == r->end)
            remove_range(ns, rx, --*i);
        return false;
    }
    if (*i < rx->range_count && rx->ranges[*i].start == r->end) {
        r->end = rx->ranges[*i].end;
        chunk_queue_splice(ns, &r->data, &rx->ranges[*i].data);
        remove_range(ns, rx, *i);
    }
    return true;
}

/* Keeps bytes that start at `start`, behind rcv_nxt. Returns false if all of them were here already. */
static bool keep_out_of_order(struct netstack *ns, struct tcp_conn *c, struct span bytes, uint32_t start)
{
    struct tcp_rx *rx = c->rx;
    uint32_t at = start, end = start + (uint32_t)bytes.len, i = 0;
    bool news = false, kept = true;

    while (i < rx->range_count && seq_before(rx->ranges[i].end, start))
        i++;
    while (kept && seq_before(at, end)) {
        if (i < rx->range_count && !seq_after(rx->ranges[i].start, at)) {
            at = seq_max(at, rx->ranges[i].end);
            i++;
            continue;
        }
        uint32_t stop = i < rx->range_count ? seq_min(end, rx->ranges[i].start) : end;

        kept = fill_gap(ns, rx, &i, at, span_slice(bytes, at - start, stop - at));
        at = kept ? rx->ranges[i - 1].end : at;
        news = true;
    }
    if (!kept)
        ns->counters.out_of_order_dropped++;
    rx->newest = start;
    charge(c);
    return news;
}

void tcp_report_duplicate(struct netstack *ns, struct tcp_conn *c, uint32_t start, uint32_t end)
{
    struct tcp_rx *rx = c->flags & CONN_SACK ? tcp_rx_get(ns, c) : NULL;

    ns->counters.duplicates++;
    if (!rx || start == end)
        return;
    rx->has_dsack = true;
    rx->dsack_start = start;
    rx->dsack_end = end;
}

/* ---- a segment ------------------------------------------------------------------------------------------
 */

/* At first at once, so that the peer's window grows. But a lone segment that is not full is a request more
 * often than the end of something, and its answer acknowledges it: a packet less of the few that a connection
 * has. It does not wait for long, since a peer may hold back what follows until then (Nagle). */
static void acknowledge_later(struct netstack *ns, struct tcp_conn *c, uint32_t len)
{
    bool quick = c->quick_acks != 0;

    if (len > c->rcv_mss)
        c->rcv_mss = (uint16_t)MIN(len, NETSTACK_MTU);
    if (quick)
        c->quick_acks--;
    if (quick ? len >= c->snd_mss || (c->flags & CONN_ACK_DELAYED)
              : c->rcv_nxt - c->ack_sent >= 2u * c->rcv_mss) {
        tcp_conn_ack_now(ns, c);
    } else if (!(c->flags & (CONN_ACK_NOW | CONN_ACK_DELAYED))) {
        c->flags |= CONN_ACK_DELAYED;
        c->ack_at = ns->now_ms + (quick ? DELAYED_ACK_FIRST_MS : DELAYED_ACK_MS);
        tcp_conn_rearm(ns, c);
    }
}

static bool take_in_order(struct netstack *ns, struct tcp_conn *c, struct span bytes)
{
    struct tcp_rx *rx = tcp_rx_get(ns, c);
    bool hole = rx && rx->range_count;

    if (!rx || (tcp_unread(c) && over_limit(ns, c)) || !borrow(ns, rx, bytes)) {
        ns->counters.receive_limited++;
        return false;
    }
    c->rcv_nxt += (uint32_t)bytes.len;
    ns->counters.bytes_in += bytes.len;
    tcp_conn_event(ns, c, EVENT_READABLE);
    if (!hole) {
        acknowledge_later(ns, c, (uint32_t)bytes.len);
        return true;
    }
    tcp_conn_ack_now(ns, c);
    absorb_ranges(ns, c);
    return c->peer != NULL;
}

static void take_out_of_order(struct netstack *ns, struct tcp_conn *c, struct span bytes, uint32_t start)
{
    struct tcp_rx *rx = tcp_rx_get(ns, c);

    ns->counters.out_of_order++;
    tcp_conn_ack_now(ns, c);
    c->quick_acks = QUICK_ACKS;
    if (!(c->flags & CONN_SACK) && c->repeat_acks < NETSTACK_SEGMENTS_MAX)
        c->repeat_acks++;
    if (!rx || over_limit(ns, c) || (ns_memory_level(ns) && rx->charged > RECEIVE_WINDOW_FIRST)) {
        ns->counters.out_of_order_dropped++;
        return;
    }
    if (!keep_out_of_order(ns, c, bytes, start))
        tcp_report_duplicate(ns, c, start, start + (uint32_t)bytes.len);
}

/* A FIN behind the segment's data: now, or when everything before it is here. */
static void take_fin(struct netstack *ns, struct tcp_conn *c, uint32_t fin_seq)
{
    struct tcp_rx *rx;

    if (fin_seq == c->rcv_nxt) {
        fin_reached(ns, c);
        return;
    }
    rx = tcp_rx_get(ns, c);
    if (!rx)
        return;
    rx->has_fin = true;
    rx->fin_seq = fin_seq;
    tcp_conn_ack_now(ns, c);
}

void tcp_receive(struct netstack *ns, struct tcp_conn *c, const struct tcp_segment *s)
{
    struct span bytes = s->data;
    uint32_t start = s->seq, fin_seq = s->seq + (uint32_t)bytes.len;
    bool fin = s->flags & TCP_FIN;

    if (c->flags & CONN_FIN_RECEIVED) { /* RFC 9293, 3.10.7.4: nothing may come behind a FIN */
        if (bytes.len || fin)
            tcp_conn_ack_now(ns, c);
        return;
    }
    if (seq_before(start, c->rcv_nxt)) {
        tcp_report_duplicate(ns, c, start, seq_min(c->rcv_nxt, fin_seq));
        bytes = span_slice(bytes, c->rcv_nxt - start, bytes.len);
        start = c->rcv_nxt;
        tcp_conn_ack_now(ns, c);
    }
    if (c->rx && c->rx->has_fin && seq_after(start + (uint32_t)bytes.len, c->rx->fin_seq))
        bytes = span_slice(bytes, 0, seq_after(c->rx->fin_seq, start) ? c->rx->fin_seq - start : 0);
    if (seq_after(start + (uint32_t)bytes.len, c->rcv_edge)) {
        bytes = span_slice(bytes, 0, c->rcv_edge - start);
        fin = false;
        tcp_conn_ack_now(ns, c);
    }
    if (bytes.len && start == c->rcv_nxt) {
        if (!take_in_order(ns, c, bytes))
            return;
    } else if (bytes.len) {
        take_out_of_order(ns, c, bytes, start);
    }
    if (fin)
        take_fin(ns, c, fin_seq);
    else if (c->rx && c->rx->has_fin && c->rx->fin_seq == c->rcv_nxt)
        fin_reached(ns, c);
}

/* ---- the window -------------------------------------------------------------------------------------- */

/* Where the right edge would be if it were announced now. It never moves left. */
static uint32_t wanted_edge(const struct netstack *ns, const struct tcp_conn *c)
{
    uint32_t unread = tcp_unread(c), limit = c->rcv_limit;

    if (ns_memory_level(ns) >= 2 || over_limit(ns, c))
        limit = MIN(limit, 2u * c->rcv_mss);
    if (c->flags & CONN_FIN_RECEIVED)
        return c->rcv_edge;
    return seq_max(c->rcv_edge, c->rcv_nxt + (limit > unread ? limit - unread : 0));
}

uint32_t tcp_receive_window(struct netstack *ns, struct tcp_conn *c)
{
    uint32_t units = (wanted_edge(ns, c) - c->rcv_nxt) >> c->rcv_scale;

    units = MIN(units, 65535u);
    c->rcv_edge = seq_max(c->rcv_edge, c->rcv_nxt + (units << c->rcv_scale));
    return units;
}

/* RFC 7323 leaves it open; this is what Linux calls dynamic right-sizing: what the consumer took in one
 * round trip, doubled, is what the window should allow. */
static void autotune(struct netstack *ns, struct tcp_conn *c)
{
    uint32_t taken_seq = c->rcv_nxt - tcp_unread(c);
    uint32_t rtt_ms = MAX(c->srtt_us / 1000, 1u), taken;

    if (ns->now_ms - c->space_ms < rtt_ms)
        return;
    taken = taken_seq - c->space_seq;
    c->space_seq = taken_seq;
    c->space_ms = ns->now_ms;
    if (!(c->flags & CONN_SCALE) || ns_memory_level(ns))
        return;
    taken = MIN(taken, ns->config.limits.receive_window_bytes_max) * 2;
    c->rcv_limit = MAX(c->rcv_limit, MIN(taken, ns->config.limits.receive_window_bytes_max));
}

void tcp_receive_consumed(struct netstack *ns, struct tcp_conn *c, uint32_t len)
{
    struct tcp_rx *rx = c->rx;
    uint32_t stored = rx ? MIN(len, rx->stored.bytes) : 0;

    if (!rx)
        return;
    chunk_queue_consume(ns, &rx->stored, stored);
    len = MIN(len - stored, rx->borrowed_bytes);
    rx->borrowed_bytes -= len;
    while (len) {
        struct borrowed *b = &ns->borrowed[rx->borrowed_first - 1];
        uint32_t part = (uint32_t)MIN(len, b->bytes.len);

        b->bytes = span_slice(b->bytes, part, b->bytes.len);
        len -= part;
        if (!b->bytes.len)
            rx->borrowed_first = b->next;
    }
    if (!rx->borrowed_first)
        rx->borrowed_last = 0;
    charge(c);
    tcp_rx_release_if_idle(ns, c);
    if (c->state == TCP_FINISHED) {
        if (!tcp_unread(c))
            tcp_conn_end(ns, c, NETSTACK_CLOSED_DONE);
        return;
    }
    autotune(ns, c);
    if (c->flags & CONN_FIN_RECEIVED)
        return;
    if (wanted_edge(ns, c) - c->rcv_edge >= MIN(2u * c->rcv_mss, c->rcv_limit / 2))
        tcp_conn_ack_now(ns, c);
}

/* ---- what arrived out of order, as an option (RFC 2018, 2883) -------------------------------------------
 */

static void write_block(struct writer *w, uint32_t start, uint32_t end)
{
    writer_be32(w, start);
    writer_be32(w, end);
}

size_t tcp_sack_option(const struct tcp_conn *c, uint8_t *out, size_t room)
{
    struct tcp_rx *rx = c->rx;
    struct writer w = writer_of(out, room);
    size_t max = room < 4 ? 0 : (room - 4) / 8, blocks = 0;
    uint32_t newest = RANGES_MAX;

    if (!rx || !max || (!rx->range_count && !rx->has_dsack))
        return 0;
    writer_be32(&w, 0x01010500);
    if (rx->has_dsack) {
        write_block(&w, rx->dsack_start, rx->dsack_end);
        rx->has_dsack = false;
        blocks++;
    }
    for (uint32_t i = 0; i < rx->range_count; i++)
        if (seq_between(rx->ranges[i].start, rx->newest, rx->ranges[i].end))
            newest = i;
    if (newest < rx->range_count && blocks < max) {
        write_block(&w, rx->ranges[newest].start, rx->ranges[newest].end);
        blocks++;
    }
    for (uint32_t i = 0; i < rx->range_count && blocks < max; i++)
        if (i != newest) {
            write_block(&w, rx->ranges[i].start, rx->ranges[i].end);
            blocks++;
        }
    out[3] = (uint8_t)(2 + 8 * blocks);
    return w.at;
}

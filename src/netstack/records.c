/* What is in flight, piece by piece: every sent and unacknowledged byte belongs to exactly one record.
 *
 * Invariants (records_check): records tile [snd_una, snd_nxt) in order; pipe, sacked and lost are the
 * bytes of the records in these states. A record changes its state at most a few times, so that the work
 * per ACK is bounded by what it brings. */
#include "netstack/internal.h"

#include <stdlib.h>

uint32_t records_start(const struct tcp_conn *c, uint32_t i)
{
    return i ? record_at(c->tx, i - 1)->end : c->snd_una;
}

static uint32_t *sum_of(struct tcp_tx *tx, uint8_t state)
{
    if (state == RECORD_SACKED)
        return &tx->sacked;
    return state == RECORD_LOST ? &tx->lost : &tx->pipe;
}

void records_set_state(struct tcp_tx *tx, struct tcp_record *r, uint32_t len, enum record_state to)
{
    *sum_of(tx, r->state) -= len;
    *sum_of(tx, (uint8_t)to) += len;
    r->state = (uint8_t)to;
}

void records_free(struct tcp_tx *tx)
{
    if (tx->records != tx->inline_records)
        free(tx->records);
    tx->records = tx->inline_records;
    tx->record_cap = RECORDS_INLINE;
    tx->record_head = tx->record_count = 0;
}

/* Room for one more behind the last. */
static bool make_room(struct tcp_tx *tx)
{
    uint32_t cap;
    struct tcp_record *records;

    if (tx->record_head + tx->record_count < tx->record_cap)
        return true;
    if (tx->record_head > tx->record_cap / 2) {
        memmove(tx->records, tx->records + tx->record_head, tx->record_count * sizeof(*records));
        tx->record_head = 0;
        return true;
    }
    cap = MIN(tx->record_cap * 2, RECORDS_MAX * 2);
    if (cap == tx->record_cap || tx->record_count >= RECORDS_MAX)
        return false;
    records = malloc(cap * sizeof(*records));
    if (!records)
        return false;
    memcpy(records, tx->records + tx->record_head, tx->record_count * sizeof(*records));
    if (tx->records != tx->inline_records)
        free(tx->records);
    tx->records = records;
    tx->record_cap = cap;
    tx->record_head = 0;
    return true;
}

bool records_push(struct tcp_tx *tx, uint32_t start, uint32_t end, uint32_t now_us)
{
    if (!make_room(tx))
        return false;
    *record_at(tx, tx->record_count++) =
        (struct tcp_record) { .end = end, .sent_us = now_us, .state = RECORD_OUT };
    tx->pipe += end - start;
    return true;
}

bool records_split(struct tcp_tx *tx, uint32_t i, uint32_t at)
{
    if (!make_room(tx))
        return false;
    memmove(record_at(tx, i + 1), record_at(tx, i), (tx->record_count - i) * sizeof(struct tcp_record));
    tx->record_count++;
    record_at(tx, i)->end = at;
    return true;
}

/* RFC 8985, 6.2 step 2 and 3: the piece sent last of all that arrived. */
static void newest(struct tcp_conn *c, const struct tcp_record *r, uint32_t end, uint32_t now_us)
{
    struct tcp_tx *tx = c->tx;
    uint32_t rtt = now_us - r->sent_us;

    /* Sent twice and back too quickly: this is the answer to the first copy. */
    if (r->repeated && c->min_rtt_us && rtt < c->min_rtt_us)
        return;
    if (tx->rack_valid && (seq_before(r->sent_us, tx->rack_sent_us) ||
                           (r->sent_us == tx->rack_sent_us && !seq_after(end, tx->rack_end))))
        return;
    tx->rack_valid = true;
    tx->rack_sent_us = r->sent_us;
    tx->rack_end = end;
    tx->rack_rtt_us = rtt;
}

/* Bytes [start, end) of record r arrived. */
static void arrived(struct netstack *ns, struct tcp_conn *c, const struct tcp_record *r, uint32_t start,
                    uint32_t end, struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;

    facts->any = true;
    facts->delivered += end - start;
    if (!r->repeated && r->state != RECORD_LOST) {
        uint32_t rtt = MAX(ns->now_us - r->sent_us, 1u);

        /* The piece that was sent last waited least: its sample is the path's. */
        if (!facts->rtt_us || rtt < facts->rtt_us)
            facts->rtt_us = rtt;
        if (seq_before(end, facts->fack))
            c->flags |= CONN_REORDERING; /* RFC 8985, 6.2 step 4 */
    } else if (r->repeated) {
        facts->repeated_acked = true;
    }
    tx->fack = seq_max(tx->fack, end);
    newest(c, r, end, ns->now_us);
}

void records_acked(struct netstack *ns, struct tcp_conn *c, uint32_t ack, struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;
    uint32_t start = c->snd_una;

    while (tx->record_count && seq_before(start, ack)) {
        struct tcp_record *r = record_at(tx, 0);
        uint32_t end = seq_min(r->end, ack);

        if (r->state != RECORD_SACKED)
            arrived(ns, c, r, start, end, facts);
        *sum_of(tx, r->state) -= end - start;
        start = end;
        if (end != r->end)
            break;
        tx->record_head++;
        tx->record_count--;
    }
    if (!tx->record_count)
        tx->record_head = 0;
}

/* Neighbours that arrived are one: keeps the list short while a hole stays open. */
static void merge_sacked(struct tcp_tx *tx, uint32_t i)
{
    struct tcp_record *r = record_at(tx, i);

    if (i + 1 >= tx->record_count || r->state != RECORD_SACKED || (r + 1)->state != RECORD_SACKED)
        return;
    r->end = (r + 1)->end;
    memmove(r + 1, r + 2, (tx->record_count - i - 2) * sizeof(*r));
    tx->record_count--;
}

/* Record i, or the part of it within [start, end), arrived out of order. Returns false if memory is short. */
static bool sack_one(struct netstack *ns, struct tcp_conn *c, uint32_t i, uint32_t start, uint32_t end,
                     struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;
    struct tcp_record *r;

    if (seq_after(record_at(tx, i)->end, end) && !records_split(tx, i, end))
        return false;
    if (seq_before(records_start(c, i), start)) {
        if (!records_split(tx, i, start))
            return false;
        i++;
    }
    r = record_at(tx, i);
    start = records_start(c, i);
    arrived(ns, c, r, start, r->end, facts);
    facts->sacked_new = true;
    records_set_state(tx, r, r->end - start, RECORD_SACKED);
    return true;
}

/* The first record that ends behind seq. */
static uint32_t find(const struct tcp_tx *tx, uint32_t seq)
{
    uint32_t low = 0, high = tx->record_count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (seq_after(record_at(tx, middle)->end, seq))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void records_sacked(struct netstack *ns, struct tcp_conn *c, uint32_t start, uint32_t end,
                    struct ack_facts *facts)
{
    struct tcp_tx *tx = c->tx;
    uint32_t first = find(tx, start);

    for (uint32_t i = first; i < tx->record_count && seq_before(records_start(c, i), end); i++)
        if (record_at(tx, i)->state != RECORD_SACKED && !sack_one(ns, c, i, start, end, facts))
            return;
    if (!facts->sacked_new)
        return;
    for (uint32_t i = first ? first - 1 : 0;
         i + 1 < tx->record_count && seq_before(record_at(tx, i)->end, end);) {
        uint32_t count = tx->record_count;

        merge_sacked(tx, i);
        if (tx->record_count == count)
            i++;
    }
}

void records_mark_all_lost(struct tcp_conn *c)
{
    struct tcp_tx *tx = c->tx;

    for (uint32_t i = 0; i < tx->record_count; i++) {
        struct tcp_record *r = record_at(tx, i);

        if (r->state != RECORD_SACKED)
            records_set_state(tx, r, r->end - records_start(c, i), RECORD_LOST);
    }
}

void records_check(const struct tcp_conn *c)
{
    const struct tcp_tx *tx = c->tx;
    uint32_t sums[4] = { 0 }, at = c->snd_una;

    for (uint32_t i = 0; i < tx->record_count; i++) {
        const struct tcp_record *r = record_at(tx, i);

        must(seq_after(r->end, at) && r->state <= RECORD_AGAIN);
        sums[r->state] += r->end - at;
        at = r->end;
    }
    must(at == c->snd_nxt);
    must(tx->pipe == sums[RECORD_OUT] + sums[RECORD_AGAIN]);
    must(tx->sacked == sums[RECORD_SACKED] && tx->lost == sums[RECORD_LOST]);
}

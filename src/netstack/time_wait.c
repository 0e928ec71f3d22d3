/* TIME_WAIT as 64-byte records in one queue: RFC 9293, 3.4.2, with the reuse of RFC 6191 and without
 * assassination by RST (RFC 1337). All wait equally long, so they leave in the order they came. */
#include "netstack/internal.h"

#include <stdlib.h>

/* A new connection on an old pair of ports starts this far behind everything the old one sent. */
#define ISN_GAP 128000u
#define REUSE_MS 1000u /* our own side may reuse after this: its timestamps have moved on */

static struct time_wait_record *record(const struct time_wait *tw, uint64_t number)
{
    struct time_wait_record *block = tw->blocks[number / TIME_WAIT_BLOCK & (tw->block_cap - 1)];

    return &block[number % TIME_WAIT_BLOCK];
}

struct time_wait_record *time_wait_at(const struct netstack *ns, uint32_t slot)
{
    const struct time_wait *tw = &ns->time_wait;
    uint64_t behind = (slot - (uint32_t)tw->first) & (FLOW_SLOTS_MAX - 1);

    return record(tw, tw->first + behind);
}

/* A block for record number `next`. False: no memory. */
static bool make_block(struct time_wait *tw)
{
    uint64_t block = tw->next / TIME_WAIT_BLOCK, first = tw->first / TIME_WAIT_BLOCK;

    if (block - first >= tw->block_cap) {
        uint32_t cap = tw->block_cap ? tw->block_cap * 2 : 4;
        struct time_wait_record **blocks = calloc(cap, sizeof(struct time_wait_record *));

        if (!blocks)
            return false;
        for (uint64_t b = first; b < block; b++)
            blocks[b & (cap - 1)] = tw->blocks[b & (tw->block_cap - 1)];
        free(tw->blocks);
        tw->blocks = blocks;
        tw->block_cap = cap;
    }
    tw->blocks[block & (tw->block_cap - 1)] = malloc(TIME_WAIT_BLOCK * sizeof(struct time_wait_record));
    return tw->blocks[block & (tw->block_cap - 1)] != NULL;
}

void time_wait_deinit(struct netstack *ns)
{
    struct time_wait *tw = &ns->time_wait;

    if (tw->blocks && tw->first < tw->next)
        for (uint64_t b = tw->first / TIME_WAIT_BLOCK; b <= (tw->next - 1) / TIME_WAIT_BLOCK; b++)
            free(tw->blocks[b & (tw->block_cap - 1)]);
    free(tw->blocks);
    *tw = (struct time_wait) { 0 };
}

/* Drops what is gone from the front, with its memory. */
static void trim(struct time_wait *tw)
{
    while (tw->first < tw->next && record(tw, tw->first)->gone) {
        tw->first++;
        if (tw->first % TIME_WAIT_BLOCK == 0 || tw->first == tw->next) {
            struct time_wait_record **block =
                &tw->blocks[(tw->first - 1) / TIME_WAIT_BLOCK & (tw->block_cap - 1)];

            free(*block);
            *block = NULL;
        }
    }
    if (tw->first < tw->next)
        return;
    /* Empty: the next record begins a block, and numbers go on so that old slots stay different. */
    tw->next = tw->first = (tw->next + TIME_WAIT_BLOCK - 1) / TIME_WAIT_BLOCK * TIME_WAIT_BLOCK;
    free(tw->blocks);
    tw->blocks = NULL;
    tw->block_cap = 0;
}

static uint32_t slot_of(const struct netstack *ns, const struct time_wait_record *r)
{
    const struct time_wait *tw = &ns->time_wait;

    for (uint64_t b = tw->first / TIME_WAIT_BLOCK;; b++) {
        const struct time_wait_record *block = tw->blocks[b & (tw->block_cap - 1)];

        if (r >= block && r < block + TIME_WAIT_BLOCK)
            return (uint32_t)(b * TIME_WAIT_BLOCK + (uint64_t)(r - block)) & (FLOW_SLOTS_MAX - 1);
    }
}

static void forget_slot(struct netstack *ns, struct time_wait_record *r, uint32_t slot)
{
    flow_remove(ns, flow_hash(ns, &r->key), flow_ref_make(FLOW_TIME_WAIT, slot));
    r->gone = 1;
    ns->time_wait.alive--;
}

void time_wait_forget(struct netstack *ns, struct time_wait_record *r)
{
    forget_slot(ns, r, slot_of(ns, r));
    trim(&ns->time_wait);
}

static void forget_first(struct netstack *ns)
{
    struct time_wait *tw = &ns->time_wait;

    forget_slot(ns, record(tw, tw->first), (uint32_t)tw->first & (FLOW_SLOTS_MAX - 1));
    trim(tw);
}

void time_wait_add(struct netstack *ns, const struct time_wait_record *from)
{
    struct time_wait *tw = &ns->time_wait;
    struct time_wait_record *r;

    while (tw->alive && tw->alive >= ns->config.limits.time_wait) {
        ns->counters.time_wait_shed++;
        forget_first(ns);
    }
    if (tw->next % TIME_WAIT_BLOCK == 0 && !make_block(tw))
        return; /* no memory: the pair of ports may be reused at once, which is rarely a problem */
    r = record(tw, tw->next);
    *r = *from;
    r->expires_ms = ns->now_ms + TIME_WAIT_MS;
    r->gone = 0;
    if (flow_insert(ns, flow_hash(ns, &r->key),
                    flow_ref_make(FLOW_TIME_WAIT, (uint32_t)tw->next & (FLOW_SLOTS_MAX - 1)))) {
        r->gone = 1;
        tw->next++;
        trim(tw);
        return;
    }
    tw->next++;
    tw->alive++;
}

uint32_t time_wait_deadline(const struct netstack *ns, bool *any)
{
    *any = ns->time_wait.alive != 0;
    return *any ? record(&ns->time_wait, ns->time_wait.first)->expires_ms : 0;
}

void time_wait_expire(struct netstack *ns)
{
    struct time_wait *tw = &ns->time_wait;

    while (tw->alive && (int32_t)(ns->now_ms - record(tw, tw->first)->expires_ms) >= 0)
        forget_first(ns);
}

void time_wait_purge(struct netstack *ns, uint32_t node, int local, const uint64_t *token)
{
    struct time_wait *tw = &ns->time_wait;

    for (uint64_t n = tw->first; n < tw->next; n++) {
        struct time_wait_record *r = record(tw, n);

        if (!r->gone && r->key.node == node && (local < 0 || r->key.local == (uint32_t)local) &&
            (!token || r->token == *token))
            forget_slot(ns, r, (uint32_t)n & (FLOW_SLOTS_MAX - 1));
    }
    trim(tw);
}

/* ---- a segment for a connection that is over -------------------------------------------------- */

static void answer(struct netstack *ns, const struct time_wait_record *r, const struct inner_packet *p)
{
    uint8_t options[TCP_TS_BYTES];

    if (!ns_reset_allowed(ns, p->peer)) {
        ns->counters.challenge_limited++;
        return;
    }
    store_be32(options, 0x0101080a);
    store_be32(options + 4, ns->now_ms + r->ts_offset);
    store_be32(options + 8, r->ts_recent);
    tcp_bare_send(ns, p->peer, &r->key,
                  (struct tcp_bare) { .seq = r->snd_nxt,
                                      .ack = r->rcv_nxt,
                                      .flags = TCP_ACK,
                                      .window = r->window,
                                      .options = span_make(options, r->has_ts ? sizeof(options) : 0) });
}

/* RFC 9293, 3.6.1 and RFC 6191: clearly a new connection, by number or by timestamp. */
static bool may_reuse(const struct time_wait_record *r, const struct tcp_segment *s)
{
    if (r->has_ts && s->has_ts && s->tsval != r->ts_recent)
        return seq_after(s->tsval, r->ts_recent);
    return seq_after(s->seq, r->rcv_nxt);
}

static uint32_t isn_behind(struct netstack *ns, const struct time_wait_record *r)
{
    uint32_t iss = tcp_isn(ns, &r->key);

    return seq_after(iss, r->snd_nxt + ISN_GAP) ? iss : r->snd_nxt + ISN_GAP;
}

bool time_wait_give_way(struct netstack *ns, struct time_wait_record *r, uint32_t *iss)
{
    if (!r->has_ts || r->expires_ms - ns->now_ms > TIME_WAIT_MS - REUSE_MS)
        return false;
    *iss = isn_behind(ns, r);
    ns->counters.time_wait_reused++;
    time_wait_forget(ns, r);
    return true;
}

void time_wait_segment(struct netstack *ns, struct time_wait_record *r, const struct inner_packet *p,
                       struct tcp_segment *s)
{
    if (p->peer->token != r->token) {
        ns->counters.tcp_wrong_peer++;
        return;
    }
    if (s->flags & TCP_RST)
        return;
    if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && may_reuse(r, s)) {
        uint32_t iss = isn_behind(ns, r);

        ns->counters.time_wait_reused++;
        time_wait_forget(ns, r);
        syn_received(ns, p, s, iss);
        return;
    }
    if (!segment_len(s) && s->seq == r->rcv_nxt)
        return; /* an ACK of what was acknowledged before */
    answer(ns, r, p);
    if ((s->flags & TCP_FIN) && s->seq + segment_len(s) == r->rcv_nxt) {
        struct time_wait_record again = *r; /* its FIN came again: our ACK was lost, wait anew */

        time_wait_forget(ns, r);
        time_wait_add(ns, &again);
    }
}

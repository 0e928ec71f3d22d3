/* Our side of starting a handshake. */
#include "wireguard/internal.h"

/* The low 24 bits of the nanoseconds are not told: they would be a clock for others to measure by. */
#define STAMP_QUANTUM ((int64_t)1 << 24)
#define TAI64_BASE (((uint64_t)1 << 62) + 10)

/* Initiations of all peers together: when a link comes back, a thousand peers want one at once, 0.1 ms
 * of Curve25519 each. Those over it wait a little and spread out. */
static const struct rate_terms initiation_terms = { 2500 * USEC, 100 };
#define INITIATION_DELAY (50 * MSEC)

/* As the wire shows it: whole quanta of the nanoseconds within a second. */
static int64_t quantised(int64_t wall)
{
    int64_t nanoseconds = wall % SEC;

    return wall - nanoseconds + (nanoseconds & ~(STAMP_QUANTUM - 1));
}

/* Strictly after the last one, even if the wall clock has been set back: equal timestamps are replays. */
static void stamp_next(struct wireguard_peer *p, uint8_t out[TIMESTAMP_BYTES])
{
    struct wireguard *w = wireguard_of(p);
    struct writer wr = writer_of(out, TIMESTAMP_BYTES);
    int64_t stamp = quantised(MAX(w->ops->wall_clock(w->ctx), (int64_t)0));

    if (stamp <= p->last_stamp)
        stamp = quantised(p->last_stamp + STAMP_QUANTUM);
    p->last_stamp = stamp;
    writer_be64(&wr, TAI64_BASE + (uint64_t)(stamp / SEC));
    writer_be32(&wr, (uint32_t)(stamp % SEC));
}

/* mac1 for the peer, and mac2 if it gave us a cookie lately. */
void macs_write(struct wireguard_peer *p, uint8_t *message, size_t macs_at, time_ns now)
{
    struct active *a = p->active;
    struct blake2s_key key;

    mac1_key(&key, &p->key);
    mac1_write(&key, message, macs_at);
    memcpy(a->last_mac1, message + macs_at, MAC_BYTES);
    a->has_last_mac1 = true;
    if (now - a->cookie_at < COOKIE_LIFE)
        mac2_write(a->cookie, message, macs_at);
}

/* 0, HOSTILE_KEY, FULL, -ENOMEM: then nothing has changed. */
static int initiation_make(struct wireguard_peer *p, uint8_t out[INITIATION_BYTES], time_ns now)
{
    struct wireguard *w = wireguard_of(p);
    struct active *a = p->active;
    struct handshake hs;
    struct secret_key ephemeral;
    uint8_t stamp[TIMESTAMP_BYTES];
    uint32_t index;
    int r;

    if (!static_shared_known(p)) {
        r = static_shared_get(p, a->static_shared);
        if (r)
            return r;
        static_shared_set(p, a->static_shared);
    }
    r = index_alloc(&w->indices, INDEX_HANDSHAKE, p, now, &index);
    if (r)
        return r;
    secret_key_draw(w, &ephemeral);
    stamp_next(p, stamp);
    r = initiation_create(&hs, out, &p->node->identity, &p->key, a->static_shared, &ephemeral, stamp, index);
    wipe(&ephemeral, sizeof(ephemeral));
    if (r) {
        index_release(&w->indices, index, now);
        return r;
    }
    pending_drop(p, now);
    a->pending = hs;
    a->pending_index = index;
    a->is_pending = true;
    wipe(&hs, sizeof(hs));
    return 0;
}

void initiation_send(struct wireguard_peer *p, time_ns now)
{
    struct wireguard *w = wireguard_of(p);
    uint8_t message[INITIATION_BYTES];
    int r;

    if (!rate_take(&w->initiations, &initiation_terms, 1, now)) {
        w->counters.handshakes_delayed++;
        timers_initiation_delayed(p, now + INITIATION_DELAY);
        return;
    }
    r = initiation_make(p, message, now);
    if (r == WIREGUARD_E_HOSTILE_KEY) {
        timers_give_up(p, now);
        return;
    }
    if (r) { /* no memory or no index: as if it had been lost on the way */
        timers_initiation_sent(p, now);
        return;
    }
    macs_write(p, message, INITIATION_AT_MACS, now);
    p->active->handshake_sent_at = now;
    timers_sent(p, false, now);
    timers_initiation_sent(p, now);
    w->counters.initiations_sent++;
    emit(p->node, p, NULL, SPAN_OF(message), WIREGUARD_INITIATION);
}

void wireguard_peer_renew(struct wireguard_peer *p, time_ns now)
{
    struct active *a = p->active;

    wireguard_of(p)->now = now;
    if (!a || (!a->current && !a->next && a->retransmit_at == TIME_NEVER))
        return;
    a->retries = 0;
    a->hurries = RENEW_HURRIES;
    initiation_send(p, now);
    settle(p, false);
}

void wireguard_initiate(struct wireguard_peer *p, time_ns now)
{
    struct wireguard *w = wireguard_of(p);
    struct active *a;
    bool begun;

    w->now = now;
    if (active_get(p)) {
        w->busy++;
        w->ops->handshake_given_up(w->ctx, p);
        w->busy--;
        return;
    }
    a = p->active;
    begun = a->retransmit_at != TIME_NEVER && (a->is_pending || !a->expected);
    if (!begun || a->expected)
        a->retries = 0;
    a->expected = false;
    if (begun)
        return; /* under way */
    if (now - a->handshake_sent_at >= REKEY_TIMEOUT)
        initiation_send(p, now);
    else if (!session_sending_key(p, 1, now)) /* else the next packet asks again */
        timers_initiation_delayed(p, a->handshake_sent_at + REKEY_TIMEOUT);
    settle(p, false);
}

void wireguard_expect(struct wireguard_peer *p, time_ns at, time_ns now)
{
    wireguard_of(p)->now = now;
    if ((p->active && p->active->retransmit_at != TIME_NEVER) || session_sending_key(p, 1, now) ||
        active_get(p))
        return;
    timers_expected(p, at);
    settle(p, false);
}

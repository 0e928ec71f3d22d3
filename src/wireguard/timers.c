/* The timers of a peer. They are armed in this file only, and all of them are one deadline outside.
 *
 *   retransmit  5..5.333 s after an initiation without answer: again, at most 20 in all; when our own
 *               key has changed, 16 times after 0.3..0.633 s before that; the first one itself, when a
 *               peer that wants to talk is given some time to begin
 *   keepalive   10 s after data came and nothing was sent: say that we are here
 *   silence     15..15.333 s after data was sent and nothing came: the peer has lost its key, start anew
 *   rekey       at once, when a packet was sent or received with a key that needs renewing; a deadline,
 *               so that sealing never sends by itself
 *   erase       540 s after the last keys were made: forget everything, be idle
 *
 * Jitter goes upwards only. A keepalive that comes in counts as life but arms nothing: otherwise two
 * idle peers would talk for ever. There is no persistent keepalive: the tailnet's paths have their own.
 */
#include "wireguard/internal.h"

/* Spread, not secret: asking the kernel here would cost a system call for most packets. */
static time_ns jitter(struct wireguard *w)
{
    w->jitter = w->jitter * 6364136223846793005 + 1442695040888963407;
    return (time_ns)((w->jitter >> 33) % (uint64_t)(REKEY_TIMEOUT_JITTER_MAX / MSEC + 1)) * MSEC;
}

void timers_stop(struct active *a)
{
    a->retransmit_at = a->keepalive_at = a->silence_at = a->rekey_at = a->erase_at = TIME_NEVER;
    a->need_another_keepalive = false;
}

void timers_init(struct active *a)
{
    timers_stop(a);
}

time_ns wireguard_peer_deadline(const struct wireguard_peer *p)
{
    const struct active *a = p->active;
    time_ns t = TIME_NEVER;

    if (!a)
        return t;
    t = MIN(t, a->retransmit_at);
    t = MIN(t, a->keepalive_at);
    t = MIN(t, a->silence_at);
    t = MIN(t, a->rekey_at);
    return MIN(t, a->erase_at);
}

/* ---- what happened ---------------------------------------------------------- */

/* Is this key worth renewing? As its initiator only, so that one side does it; as sender after 120 s,
 * as receiver in the last seconds in which there is time for it. */
static void renew(struct wireguard_peer *p, bool sent, time_ns now)
{
    struct active *a = p->active;
    struct keypair *kp = a->current;
    bool due = false;

    if (!kp || a->rekey_at != TIME_NEVER || a->retransmit_at != TIME_NEVER ||
        now - a->handshake_sent_at < REKEY_TIMEOUT)
        return;
    if (sent) {
        due = kp->send_counter > REKEY_AFTER_MESSAGES ||
              (kp->initiator && now - kp->created > REKEY_AFTER_TIME);
    } else if (kp->initiator && !a->asked_before_reject &&
               now - kp->created > REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT) {
        a->asked_before_reject = true;
        due = true;
    }
    if (due)
        a->rekey_at = now;
}

/* Anything authenticated went out. */
void timers_sent(struct wireguard_peer *p, bool data, time_ns now)
{
    struct active *a = p->active;

    a->keepalive_at = TIME_NEVER;
    a->need_another_keepalive = false;
    if (data && a->silence_at == TIME_NEVER)
        a->silence_at = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter(wireguard_of(p));
    renew(p, true, now);
}

/* Anything authenticated came in. */
void timers_received(struct wireguard_peer *p, bool data, time_ns now)
{
    struct active *a = p->active;

    p->received_at = now;
    a->silence_at = TIME_NEVER;
    if (data && a->keepalive_at == TIME_NEVER)
        a->keepalive_at = now + KEEPALIVE_TIMEOUT;
    else if (data)
        a->need_another_keepalive = true;
    renew(p, false, now);
}

void timers_initiation_sent(struct wireguard_peer *p, time_ns now)
{
    p->active->rekey_at = TIME_NEVER;
    p->active->retransmit_at =
        now + (p->active->hurries ? RENEW_TIMEOUT : REKEY_TIMEOUT) + jitter(wireguard_of(p));
}

void timers_initiation_delayed(struct wireguard_peer *p, time_ns until)
{
    p->active->rekey_at = TIME_NEVER;
    p->active->retransmit_at = until + jitter(wireguard_of(p));
}

void timers_expected(struct wireguard_peer *p, time_ns at)
{
    p->active->expected = true;
    p->active->retries = HANDSHAKE_RETRIES_MAX; /* one attempt */
    p->active->retransmit_at = at;
}

void timers_keys_derived(struct wireguard_peer *p, time_ns now)
{
    p->active->erase_at = now + ERASE_AFTER_TIME;
}

void timers_handshake_done(struct wireguard_peer *p, time_ns now)
{
    struct active *a = p->active;

    a->retransmit_at = a->rekey_at = TIME_NEVER;
    a->retries = a->hurries = 0;
    a->asked_before_reject = a->expected = false;
    p->handshake_at = now;
    wireguard_of(p)->counters.handshakes_done++;
}

void timers_unanswered(struct wireguard_peer *p)
{
    struct wireguard *w = wireguard_of(p);

    w->counters.unanswered++;
    if (!w->ops->unanswered)
        return;
    w->busy++;
    w->ops->unanswered(w->ctx, p);
    w->busy--;
}

/* ---- what is due -------------------------------------------------------------- */

void timers_give_up(struct wireguard_peer *p, time_ns now)
{
    struct wireguard *w = wireguard_of(p);
    struct active *a = p->active;

    a->retransmit_at = a->keepalive_at = a->rekey_at = a->silence_at = TIME_NEVER;
    a->need_another_keepalive = a->expected = false;
    a->retries = a->hurries = 0;
    pending_drop(p, now);
    w->counters.handshakes_given_up++;
    w->busy++;
    w->ops->handshake_given_up(w->ctx, p);
    w->busy--;
}

static void retransmit(struct wireguard_peer *p, time_ns now)
{
    struct active *a = p->active;

    if (a->hurries) { /* not counted towards giving up */
        a->hurries--;
        initiation_send(p, now);
        return;
    }
    if (a->retries > HANDSHAKE_RETRIES_MAX) {
        timers_give_up(p, now);
        return;
    }
    if (now - a->handshake_sent_at < REKEY_TIMEOUT && !a->expected) { /* we answered one meanwhile */
        timers_initiation_delayed(p, a->handshake_sent_at + REKEY_TIMEOUT);
        return;
    }
    a->retries++;
    initiation_send(p, now);
}

static void keepalive(struct wireguard_peer *p, time_ns now)
{
    bool again = p->active->need_another_keepalive;

    p->active->need_another_keepalive = false;
    keepalive_send(p, now);
    if (again)
        p->active->keepalive_at = now + KEEPALIVE_TIMEOUT;
}

static bool is_due(time_ns *at, time_ns now)
{
    if (*at > now)
        return false;
    *at = TIME_NEVER;
    return true;
}

void wireguard_peer_tick(struct wireguard_peer *p, time_ns now)
{
    struct active *a = p->active;
    bool silent, stale;

    must(!wireguard_of(p)->busy);
    wireguard_of(p)->now = now;
    if (!a)
        return;
    if (is_due(&a->erase_at, now)) {
        session_erase(p, now);
        a->keepalive_at = a->silence_at = a->rekey_at = TIME_NEVER;
        a->need_another_keepalive = false;
    }
    if (is_due(&a->retransmit_at, now))
        retransmit(p, now);
    if (is_due(&a->keepalive_at, now))
        keepalive(p, now);
    silent = is_due(&a->silence_at, now);
    stale = is_due(&a->rekey_at, now);
    if (silent)
        timers_unanswered(p);
    if (silent || stale)
        wireguard_initiate(p, now);
    settle(p, true);
}

/* Congestion control: a table of what differs, NewReno (RFC 5681) and CUBIC (RFC 9438).
 *
 * Windows are bytes. CUBIC computes in float: its cubes overflow integers where it matters most. */
#include "netstack/internal.h"

#define CUBIC_BETA 0.7f
#define CUBIC_C 0.4f
#define CUBIC_ALPHA (3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA))
#define CWND_MAX (1u << 30)

uint32_t tcp_initial_window(const struct tcp_conn *c)
{
    return INITIAL_WINDOW_SEGMENTS * c->snd_mss;
}

static void add(struct tcp_conn *c, uint32_t bytes)
{
    c->cwnd = MIN(c->cwnd + MIN(bytes, CWND_MAX), CWND_MAX);
}

/* ---- HyStart++ (RFC 9406) ------------------------------------------------------------------------
 *
 * Slow start that ends when round trips get longer, before the queue overflows: a quarter of the speed for a
 * few rounds, then congestion avoidance, unless the delay goes away again. Only until the first loss, so
 * its state may lie where the algorithm keeps its own afterwards.
 */
#define HYSTART_THRESHOLD_MIN_US 4000u
#define HYSTART_THRESHOLD_MAX_US 16000u
#define HYSTART_SAMPLES 8u
#define HYSTART_DIVISOR 4u
#define HYSTART_ROUNDS 5u

struct hystart {
    uint32_t round_end;           /* a round is over when this is acknowledged */
    uint32_t last_us, current_us; /* least RTT of the round before and of this one; 0: none */
    uint32_t baseline_us;         /* when it became careful; 0: it is not */
    uint32_t samples;
    uint32_t rounds; /* spent carefully */
};
static_assert(sizeof(struct hystart) <= sizeof(((struct tcp_conn *)0)->cc), "HyStart's state fits");

static bool first_slow_start(const struct tcp_conn *c)
{
    return c->ssthresh == UINT32_MAX;
}

static void hystart_round(struct tcp_conn *c, uint32_t rtt_us, uint32_t now_ms)
{
    struct hystart *h = (struct hystart *)c->cc;
    uint32_t threshold;

    (void)now_ms;
    if (!first_slow_start(c))
        return;
    if (!h->round_end || !seq_before(c->snd_una, h->round_end)) {
        h->round_end = c->snd_nxt;
        h->last_us = h->current_us;
        h->current_us = h->samples = 0;
        if (h->baseline_us && ++h->rounds >= HYSTART_ROUNDS) {
            memset(c->cc, 0, sizeof(c->cc));
            c->ssthresh = c->cwnd;
            return;
        }
    }
    h->current_us = h->current_us ? MIN(h->current_us, rtt_us) : rtt_us;
    if (++h->samples < HYSTART_SAMPLES || !h->last_us)
        return;
    threshold = MIN(MAX(h->last_us / 8, HYSTART_THRESHOLD_MIN_US), HYSTART_THRESHOLD_MAX_US);
    if (!h->baseline_us && h->current_us >= h->last_us + threshold) {
        h->baseline_us = h->current_us;
        h->rounds = 0;
    } else if (h->baseline_us && h->current_us < h->baseline_us) {
        h->baseline_us = 0;
    }
}

/* Slow start takes what it needs and returns what is left for congestion avoidance. */
static uint32_t slow_start(struct tcp_conn *c, uint32_t acked)
{
    uint32_t part = c->cwnd < c->ssthresh ? MIN(acked, c->ssthresh - c->cwnd) : 0;
    bool careful = c->ssthresh == UINT32_MAX && ((const struct hystart *)c->cc)->baseline_us;

    add(c, careful ? part / HYSTART_DIVISOR : part);
    return acked - part;
}

/* ---- NewReno ----------------------------------------------------------------------------------- */

/* cc[0]: bytes acknowledged since the window last grew. */
static void newreno_init(struct tcp_conn *c)
{
    memset(c->cc, 0, sizeof(c->cc));
}

static void newreno_acked(struct tcp_conn *c, uint32_t acked, uint32_t now_ms)
{
    (void)now_ms;
    c->cc[0] += slow_start(c, acked);
    while (c->cc[0] >= c->cwnd) {
        c->cc[0] -= c->cwnd;
        add(c, c->snd_mss);
    }
}

static uint32_t newreno_loss(struct tcp_conn *c, uint32_t now_ms)
{
    (void)now_ms;
    newreno_init(c);
    return MAX(c->cwnd / 2, 2u * c->snd_mss);
}

/* ---- CUBIC ------------------------------------------------------------------------------------- */

struct cubic {
    float w_max; /* bytes; the window before the last reduction */
    float k;     /* seconds from the epoch until w_max is reached again */
    float w_est; /* what Reno would have */
    float carry; /* part of a byte */
    uint32_t epoch_ms;
    uint32_t in_epoch;
};
static_assert(sizeof(struct cubic) <= sizeof(((struct tcp_conn *)0)->cc), "CUBIC's state fits");

static struct cubic *cubic_of(struct tcp_conn *c)
{
    return (struct cubic *)c->cc;
}

/* Newton's method; good to a thousandth after a few steps from a guess by halving the exponent. */
static float cube_root(float x)
{
    float r = 1;

    if (x <= 0)
        return 0;
    while (r * r * r < x)
        r *= 2;
    for (int i = 0; i < 6; i++)
        r = (2 * r + x / (r * r)) / 3;
    return r;
}

static void cubic_init(struct tcp_conn *c)
{
    *cubic_of(c) = (struct cubic) { 0 };
}

static void begin_epoch(struct tcp_conn *c, struct cubic *q, uint32_t now_ms)
{
    float mss = c->snd_mss, window = (float)c->cwnd;

    q->epoch_ms = now_ms;
    q->in_epoch = 1;
    q->w_est = window;
    q->w_max = MAX(q->w_max, window);
    q->k = cube_root((q->w_max - window) / mss / CUBIC_C);
}

static void cubic_acked(struct tcp_conn *c, uint32_t acked, uint32_t now_ms)
{
    struct cubic *q = cubic_of(c);
    float mss = c->snd_mss, window, target, t, alpha;

    acked = slow_start(c, acked);
    if (!acked)
        return;
    if (!q->in_epoch)
        begin_epoch(c, q, now_ms);
    window = (float)c->cwnd;
    t = (float)(now_ms - q->epoch_ms) / 1000 + (float)c->srtt_us / 1e6f - q->k;
    target = q->w_max + CUBIC_C * t * t * t * mss;
    target = MIN(MAX(target, window), window * 1.5f);
    alpha = q->w_est < q->w_max ? CUBIC_ALPHA : 1;
    q->w_est += alpha * mss * (float)acked / window;
    if (q->w_est > target)
        target = MIN(q->w_est, window * 1.5f);
    q->carry += (target - window) * (float)acked / window;
    if (q->carry >= 1) {
        add(c, (uint32_t)q->carry);
        q->carry -= (float)(uint32_t)q->carry;
    }
}

static uint32_t cubic_loss(struct tcp_conn *c, uint32_t now_ms)
{
    struct cubic *q = cubic_of(c);
    float window = (float)c->cwnd;

    (void)now_ms;
    if (first_slow_start(c))
        cubic_init(c);
    /* Fast convergence: still below the last maximum, so make room for others. */
    q->w_max = window < q->w_max ? window * (1 + CUBIC_BETA) / 2 : window;
    q->in_epoch = 0;
    q->carry = 0;
    return MAX((uint32_t)(window * CUBIC_BETA), 2u * c->snd_mss);
}

static void cubic_again(struct tcp_conn *c)
{
    if (first_slow_start(c))
        cubic_init(c);
    cubic_of(c)->in_epoch = 0;
}

static const struct congestion algorithms[] = {
    { .name = "cubic",
      .init = cubic_init,
      .acked = cubic_acked,
      .loss = cubic_loss,
      .again = cubic_again,
      .round = hystart_round },
    { .name = "newreno",
      .init = newreno_init,
      .acked = newreno_acked,
      .loss = newreno_loss,
      .round = hystart_round },
};

const struct congestion *congestion_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(algorithms); i++)
        if (!name || strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

/* Two machines on a link in simulated time; what the tests of sessions and of receiving share. */
#ifndef MANYTAILS_WIREGUARD_TEST_SIM_H
#define MANYTAILS_WIREGUARD_TEST_SIM_H

#include "check.h"

#include <errno.h>
#include <stdlib.h>

#include "wireguard/internal.h"

#define SIM_QUEUE_MAX 4096
#define SIM_PACKET_BYTES 200

struct sim_side {
    struct sim *sim;
    struct wireguard *w;
    struct secret_key secret;
    struct public_key key;
    struct wireguard_node *node;
    struct wireguard_peer *peer;
    struct wireguard_source source; /* where the other side sees it */
    time_ns timer;
    bool make_unknown; /* unknown_initiator makes the peer */
    int staged;        /* packets that wait for a session */
    int staged_sent;   /* kept for the test */
    int sent[4], ready, unanswered, given_up, ticks, unknown;
    int data, keepalives; /* received */
    time_ns sent_at[64];  /* of the first initiations */
    uint8_t last[4][160]; /* last message of each kind */
    size_t last_len[4];
};

struct sim_packet {
    struct sim_side *to;
    time_ns at;
    size_t len;
    uint8_t bytes[2048];
};

struct sim {
    struct sim_side a, b;
    time_ns now, delay;
    int64_t wall;
    uint64_t seed;
    /* true: this message is lost */
    bool (*lose)(struct sim *sim, struct sim_side *from, struct span message);
    int counter; /* for lose */
    struct sim_packet *queue[SIM_QUEUE_MAX];
    size_t queued;
};

static inline void sim_random(void *ctx, void *out, size_t len)
{
    struct sim *sim = ctx;

    for (size_t i = 0; i < len; i++) {
        sim->seed = sim->seed * 6364136223846793005 + 1442695040888963407;
        ((uint8_t *)out)[i] = (uint8_t)(sim->seed >> 56);
    }
}

static inline struct sim_side *sim_other(struct sim_side *s)
{
    return s == &s->sim->a ? &s->sim->b : &s->sim->a;
}

static inline void sim_transmit(struct sim_side *from, struct span message)
{
    struct sim *sim = from->sim;
    struct sim_packet *p;

    if (sim->lose && sim->lose(sim, from, message))
        return;
    assert_true(sim->queued < SIM_QUEUE_MAX);
    p = malloc(sizeof(*p));
    assert_non_null(p);
    *p = (struct sim_packet) { .to = sim_other(from), .at = sim->now + sim->delay, .len = message.len };
    memcpy(p->bytes, message.data, message.len);
    sim->queue[sim->queued++] = p;
}

static inline void sim_on_send(void *ctx, struct wireguard_node *n, struct wireguard_peer *p,
                               const struct wireguard_source *reply_to, struct span message,
                               enum wireguard_kind kind)
{
    struct sim_side *s = ctx;

    (void)reply_to;
    assert_ptr_equal(n, s->node);
    assert_true(p ? p == s->peer : kind == WIREGUARD_COOKIE_REPLY);
    if (kind == WIREGUARD_INITIATION && s->sent[kind] < (int)COUNT_OF(s->sent_at))
        s->sent_at[s->sent[kind]] = s->sim->now;
    s->sent[kind]++;
    memcpy(s->last[kind], message.data, message.len);
    s->last_len[kind] = message.len;
    sim_transmit(s, message);
}

/* An IPv4 packet of that length from nowhere. */
static inline void sim_inner(uint8_t *out, size_t len)
{
    memset(out, 0x55, len);
    out[0] = 0x45;
    store_be16(out + 2, (uint16_t)len);
}

static inline int sim_seal(struct sim_side *s)
{
    uint8_t room[512];
    size_t len;
    int r;

    sim_inner(room + WIREGUARD_HEADER_BYTES, SIM_PACKET_BYTES);
    r = wireguard_seal(s->peer, (struct mspan) { room, sizeof(room) }, SIM_PACKET_BYTES, s->sim->now, &len);
    if (!r)
        sim_transmit(s, span_make(room, len));
    return r;
}

static inline void sim_on_ready(void *ctx, struct wireguard_peer *p)
{
    struct sim_side *s = ctx;

    assert_ptr_equal(p, s->peer);
    s->ready++;
    for (; s->staged; s->staged--, s->staged_sent++)
        assert_int_equal(sim_seal(s), 0);
}

static inline void sim_on_unanswered(void *ctx, struct wireguard_peer *p)
{
    struct sim_side *s = ctx;

    (void)p;
    s->unanswered++;
}

static inline void sim_on_given_up(void *ctx, struct wireguard_peer *p)
{
    struct sim_side *s = ctx;

    assert_ptr_equal(p, s->peer);
    s->given_up++;
    s->staged = 0;
}

static inline void sim_on_deadline(void *ctx, struct wireguard_peer *p)
{
    struct sim_side *s = ctx;

    s->timer = wireguard_peer_deadline(p);
}

static inline int64_t sim_on_wall(void *ctx)
{
    struct sim_side *s = ctx;

    return s->sim->wall + s->sim->now;
}

static inline struct wireguard_peer *sim_on_unknown(void *ctx, struct wireguard_node *n,
                                                    const struct public_key *initiator,
                                                    const struct wireguard_source *source)
{
    struct sim_side *s = ctx;

    (void)source;
    s->unknown++;
    if (s->make_unknown)
        assert_int_equal(wireguard_peer_new(&s->peer, n, initiator, s), 0);
    return s->make_unknown ? s->peer : NULL;
}

static const struct wireguard_ops sim_ops = { sim_on_send,     sim_on_unknown,    sim_on_ready,
                                              sim_on_given_up, sim_on_unanswered, sim_on_deadline,
                                              sim_on_wall };

static inline void sim_side_init(struct sim *sim, struct sim_side *s, uint8_t seed, unsigned shard)
{
    struct wireguard_config config = {
        .ops = &sim_ops,
        .ctx = s,
        .random = sim_random,
        .random_ctx = sim,
        .shard = shard,
        .shard_bits = 2,
    };

    s->sim = sim;
    s->timer = TIME_NEVER;
    memset(s->secret.bytes, seed, 32);
    secret_key_clamp(&s->secret);
    secret_key_public(&s->secret, &s->key);
    config.process_secret[0] = seed;
    s->source.address = (struct ip_port) { ip_from_v4((uint8_t[]) { 192, 0, 2, seed }), 41641 };
    assert_int_equal(wireguard_new(&s->w, &config), 0);
    assert_int_equal(wireguard_node_new(&s->node, s->w, &s->secret, s), 0);
}

static inline struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = calloc(1, sizeof(*sim));

    assert_non_null(sim);
    sim->seed = seed;
    sim->delay = 20 * MSEC;
    sim->now = 1000 * SEC;
    sim->wall = 1700000000 * SEC;
    sim_side_init(sim, &sim->a, 1, 1);
    sim_side_init(sim, &sim->b, 2, 3);
    assert_int_equal(wireguard_peer_new(&sim->a.peer, sim->a.node, &sim->b.key, &sim->a), 0);
    assert_int_equal(wireguard_peer_new(&sim->b.peer, sim->b.node, &sim->a.key, &sim->b), 0);
    return sim;
}

static inline void sim_free(struct sim *sim)
{
    for (size_t i = 0; i < sim->queued; i++)
        free(sim->queue[i]);
    wireguard_peer_free(sim->a.peer);
    wireguard_peer_free(sim->b.peer);
    wireguard_node_free(sim->a.node);
    wireguard_node_free(sim->b.node);
    wireguard_free(sim->a.w);
    wireguard_free(sim->b.w);
    free(sim);
}

/* Hands a copy in: what the other side sent, or what somebody made up. */
static inline int sim_receive(struct sim_side *s, struct span message, struct wireguard_received *out)
{
    uint8_t *bytes = malloc(message.len ? message.len : 1);
    struct wireguard_received got;
    int r;

    assert_non_null(bytes);
    if (message.len)
        memcpy(bytes, message.data, message.len);
    r = wireguard_receive(s->w, NULL, (struct mspan) { bytes, message.len }, &sim_other(s)->source,
                          s->sim->now, &got);
    if (!r && got.kind == WIREGUARD_RECEIVED_DATA) {
        assert_int_equal(got.packet.len, load_be16(got.packet.data + 2));
        s->data++;
    }
    if (!r && got.kind == WIREGUARD_RECEIVED_KEEPALIVE)
        s->keepalives++;
    got.packet.data = NULL;
    free(bytes);
    if (out)
        *out = got;
    return r;
}

static inline void sim_deliver(struct sim *sim, size_t i)
{
    struct sim_packet *p = sim->queue[i];

    memmove(sim->queue + i, sim->queue + i + 1, (--sim->queued - i) * sizeof(sim->queue[0]));
    (void)!sim_receive(p->to, span_make(p->bytes, p->len), NULL);
    free(p);
}

static inline bool sim_tick(struct sim_side *s)
{
    if (s->timer > s->sim->now)
        return false;
    s->timer = TIME_NEVER; /* fired */
    s->ticks++;
    wireguard_peer_tick(s->peer, s->sim->now);
    return true;
}

/* The first of what is to happen by `until`, if anything. */
static inline bool sim_step(struct sim *sim, time_ns until)
{
    time_ns at = MIN(sim->a.timer, sim->b.timer);
    size_t next = SIM_QUEUE_MAX;

    for (size_t i = 0; i < sim->queued; i++)
        if (sim->queue[i]->at < at || (next == SIM_QUEUE_MAX && sim->queue[i]->at == at)) {
            at = sim->queue[i]->at;
            next = i;
        }
    if (at > until)
        return false;
    sim->now = MAX(sim->now, at);
    if (next != SIM_QUEUE_MAX)
        sim_deliver(sim, next);
    else if (!sim_tick(&sim->a))
        assert_true(sim_tick(&sim->b));
    return true;
}

static inline void sim_run(struct sim *sim, time_ns for_ns)
{
    time_ns until = sim->now + for_ns;

    while (sim_step(sim, until))
        ;
    sim->now = until;
}

/* As an owner does it. */
static inline void sim_send(struct sim_side *s)
{
    if (sim_seal(s)) {
        s->staged++;
        wireguard_initiate(s->peer, s->sim->now);
    }
}

#endif

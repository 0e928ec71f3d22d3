#include "test_sim.h"

static void the_first_packet_makes_a_session(void **state)
{
    (void)state;
    struct sim *sim = sim_new(1);
    struct wireguard_peer_facts facts;

    assert_int_equal(sim_seal(&sim->a), WIREGUARD_E_NO_SESSION);
    sim_send(&sim->a);
    sim_run(sim, 59 * MSEC);
    assert_int_equal(sim->a.ready, 1);
    assert_int_equal(sim->b.ready, 0); /* must not send before the initiator has */
    assert_int_equal(sim_seal(&sim->b), WIREGUARD_E_NO_SESSION);
    sim_run(sim, 1 * MSEC);
    assert_int_equal(sim->b.ready, 1);
    assert_int_equal(sim->b.data, 1);
    assert_int_equal(sim->a.sent[WIREGUARD_KEEPALIVE], 0); /* the data confirmed the key */
    sim_send(&sim->b);
    sim_run(sim, 20 * MSEC);
    assert_int_equal(sim->a.data, 1);
    wireguard_peer_facts(sim->a.peer, sim->now, &facts);
    assert_true(facts.session);
    assert_int_equal(facts.sent_bytes, 148 + 32 + 208);
    assert_int_equal(facts.received_bytes, 92 + 32 + 208);
    assert_int_equal(facts.handshake_at, 1000 * SEC + 40 * MSEC);
    sim_free(sim);
}

/* Without anything staged the initiator confirms with a keepalive. */
static void an_empty_handshake_is_confirmed(void **state)
{
    (void)state;
    struct sim *sim = sim_new(2);

    wireguard_initiate(sim->a.peer, sim->now);
    sim_run(sim, 1 * SEC);
    assert_int_equal(sim->b.keepalives, 1);
    assert_int_equal(sim->b.ready, 1);
    sim_run(sim, 60 * SEC);
    assert_int_equal(sim->a.keepalives + sim->b.keepalives, 1); /* and nobody answers it */
    sim_free(sim);
}

static void an_idle_peer_has_no_deadline(void **state)
{
    (void)state;
    struct sim *sim = sim_new(3);

    assert_true(wireguard_peer_deadline(sim->a.peer) == TIME_NEVER);
    sim_send(&sim->a);
    sim_run(sim, 539 * SEC);
    assert_non_null(sim->a.peer->active);
    sim_run(sim, 2 * SEC);
    for (struct sim_side *s = &sim->a; s; s = s == &sim->a ? &sim->b : NULL) {
        assert_true(wireguard_peer_deadline(s->peer) == TIME_NEVER);
        assert_true(s->timer == TIME_NEVER);
        assert_null(s->peer->active);
        assert_int_equal(wireguard_counters(s->w)->indices, 0);
        assert_int_equal(wireguard_counters(s->w)->peers_active, 0);
    }
    assert_true(sim->a.ticks + sim->b.ticks < 8);
    sim_free(sim);
}

/* Talk once a second: a new key every two minutes, from the side that made the first, nothing lost. */
static void keys_are_renewed_while_both_talk(void **state)
{
    (void)state;
    struct sim *sim = sim_new(4);

    for (int i = 0; i < 600; i++) {
        sim_send(&sim->a);
        sim_run(sim, SEC / 2);
        sim_send(&sim->b);
        sim_run(sim, SEC / 2);
    }
    assert_int_equal(sim->b.data, 600);
    assert_int_equal(sim->a.data, 600);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 5); /* 0, 121, 242, 363, 484 s */
    assert_true(sim->a.sent_at[1] - sim->a.sent_at[0] > 120 * SEC);
    assert_true(sim->a.sent_at[1] - sim->a.sent_at[0] <= 121 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    assert_int_equal(sim->a.sent[WIREGUARD_KEEPALIVE], 4); /* the confirmation of each new key */
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 0);
    sim_free(sim);
}

/* One wake-up each ten seconds or so, not one a packet. */
static void traffic_does_not_cost_wakeups(void **state)
{
    (void)state;
    struct sim *sim = sim_new(5);

    for (int i = 0; i < 10000; i++) {
        sim_send(&sim->a);
        sim_send(&sim->b);
        sim_run(sim, 10 * MSEC);
    }
    assert_true(sim->a.ticks <= 12);
    assert_true(sim->b.ticks <= 12);
    sim_free(sim);
}

/* The peer talks, we never do: it renews its keys, we only say every 10 s that we are here. */
static void a_session_that_the_peer_made_needs_nothing_of_us(void **state)
{
    (void)state;
    struct sim *sim = sim_new(6);

    for (int i = 0; i < 300; i++) {
        sim_send(&sim->a);
        sim_run(sim, SEC);
    }
    assert_int_equal(sim->b.data, 300);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 3);
    assert_in_range(sim->b.sent[WIREGUARD_KEEPALIVE], 25, 31);
    sim_free(sim);
}

/* We made the key and only listen: our keepalives renew it. */
static void a_listening_initiator_renews_its_key(void **state)
{
    (void)state;
    struct sim *sim = sim_new(7);

    wireguard_initiate(sim->a.peer, sim->now);
    sim_run(sim, SEC);
    for (int i = 0; i < 400; i++) {
        sim_send(&sim->b);
        sim_run(sim, SEC);
    }
    assert_int_equal(sim->a.data, 400);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    assert_in_range(sim->a.sent[WIREGUARD_INITIATION], 3, 4);
    sim_free(sim);
}

static bool lose_keepalives(struct sim *sim, struct sim_side *from, struct span message)
{
    (void)sim;
    (void)from;
    return message.len == 32;
}

/* Nothing was sent since the key got old, data comes at 170 s: there is just time to renew it. */
static void the_last_minute_is_used(void **state)
{
    (void)state;
    struct sim *sim = sim_new(8);

    sim_send(&sim->a);
    sim_run(sim, SEC);
    sim_send(&sim->b);
    sim_run(sim, 169 * SEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 1);
    sim_send(&sim->b);
    sim_run(sim, SEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 2);
    assert_int_equal(sim->a.ready, 2);
    sim_free(sim);
}

/* Both start at the same moment, the messages cross: two handshakes, no retry, no tie to break. */
static void both_may_start_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 10; seed < 20; seed++) {
        struct sim *sim = sim_new(seed);

        sim_send(&sim->a);
        sim_run(sim, (time_ns)(seed - 10) * 3 * MSEC);
        sim_send(&sim->b);
        sim_run(sim, SEC);
        assert_int_equal(sim->a.data, 1);
        assert_int_equal(sim->b.data, 1);
        for (int i = 0; i < 20; i++) {
            sim_send(&sim->a);
            sim_send(&sim->b);
            sim_run(sim, SEC);
        }
        assert_int_equal(sim->a.data, 21);
        assert_int_equal(sim->b.data, 21);
        assert_true(sim->a.sent[WIREGUARD_INITIATION] <= 1);
        assert_true(sim->b.sent[WIREGUARD_INITIATION] <= 1);
        sim_run(sim, 600 * SEC);
        assert_int_equal(wireguard_counters(sim->a.w)->indices, 0);
        assert_int_equal(wireguard_counters(sim->b.w)->indices, 0);
        sim_free(sim);
    }
}

static bool lose_a_third(struct sim *sim, struct sim_side *from, struct span message)
{
    uint8_t dice;

    (void)from;
    (void)message;
    sim_random(sim, &dice, 1);
    return dice < 85;
}

/* A third of everything is lost, for an hour: what is sent with a key mostly arrives, keys come back. */
static void a_bad_link_only_loses_what_it_loses(void **state)
{
    (void)state;
    struct sim *sim = sim_new(30);
    int up = 0;

    sim->lose = lose_a_third;
    for (int i = 0; i < 3600; i++) {
        sim_send(&sim->a);
        sim_send(&sim->b);
        sim_run(sim, SEC);
        up += session_sending_key(sim->a.peer, 1, sim->now) && session_sending_key(sim->b.peer, 1, sim->now);
    }
    assert_true(up > 3500);
    assert_true(sim->a.data > 2200 && sim->b.data > 2200);
    assert_int_equal(sim->a.given_up + sim->b.given_up, 0);
    sim->lose = NULL;
    sim_run(sim, 600 * SEC);
    assert_int_equal(wireguard_counters(sim->a.w)->indices, 0);
    assert_int_equal(wireguard_counters(sim->b.w)->indices, 0);
    sim_free(sim);
}

static bool lose_all(struct sim *sim, struct sim_side *from, struct span message)
{
    (void)sim;
    (void)from;
    (void)message;
    return true;
}

/* Twenty initiations, 5 to 5.334 s apart, never less; then silence without a timer. */
static void nobody_answers_and_we_give_up(void **state)
{
    (void)state;
    struct sim *sim = sim_new(31);

    sim->lose = lose_all;
    sim_send(&sim->a);
    sim_run(sim, 99 * SEC);
    assert_int_equal(sim->a.given_up, 0);
    sim_send(&sim->a); /* does not prolong it */
    sim_run(sim, 8 * SEC);
    assert_int_equal(sim->a.given_up, 1);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 20);
    for (int i = 1; i < 20; i++)
        assert_in_range(sim->a.sent_at[i] - sim->a.sent_at[i - 1], 5 * SEC, 5 * SEC + 334 * MSEC);
    assert_true(wireguard_peer_deadline(sim->a.peer) == TIME_NEVER);
    assert_true(sim->a.timer == TIME_NEVER);
    assert_null(sim->a.peer->active);
    assert_int_equal(wireguard_counters(sim->a.w)->indices, 0);
    sim->lose = NULL;
    sim_send(&sim->a); /* and may be asked again */
    sim_run(sim, SEC);
    assert_int_equal(sim->b.data, 1);
    sim_free(sim);
}

/* Data without an answer is answered after 10 s, once; a second packet meanwhile, once more. */
static void keepalives_are_sparse(void **state)
{
    (void)state;
    struct sim *sim = sim_new(32);

    sim_send(&sim->a);
    sim_run(sim, 9 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 0);
    sim_run(sim, 2 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 1);
    sim_run(sim, 60 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 1);
    assert_int_equal(sim->a.sent[WIREGUARD_KEEPALIVE], 0);
    sim_send(&sim->a);
    sim_run(sim, 5 * SEC);
    sim_send(&sim->a);
    sim_run(sim, 6 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 2);
    sim_run(sim, 10 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 3);
    sim_run(sim, 30 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_KEEPALIVE], 3);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 1); /* they were signs of life */
    sim_free(sim);
}

static bool lose_from_b(struct sim *sim, struct sim_side *from, struct span message)
{
    (void)message;
    return from == &sim->b;
}

/* Nothing comes back for 15 s: perhaps the peer has lost its key. */
static void silence_starts_a_new_handshake(void **state)
{
    (void)state;
    struct sim *sim = sim_new(33);

    sim_send(&sim->a);
    sim_run(sim, SEC);
    sim_run(sim, 30 * SEC);
    sim->lose = lose_from_b;
    sim_send(&sim->a);
    sim_run(sim, 14900 * MSEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 1);
    assert_int_equal(sim->a.unanswered, 0);
    sim_run(sim, 500 * MSEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 2);
    assert_int_equal(sim->a.unanswered, 1);
    sim_free(sim);
}

/* Whose responses are lost learns it from the peer's next initiation, and says so before the next response.
 */
static void a_lost_response_is_noticed(void **state)
{
    (void)state;
    struct sim *sim = sim_new(36);

    sim->lose = lose_from_b;
    sim_send(&sim->a);
    sim_run(sim, 4 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 1);
    assert_int_equal(sim->b.unanswered, 0);
    sim_run(sim, 2 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 2);
    assert_int_equal(sim->b.unanswered, 1);
    sim->lose = NULL;
    sim_run(sim, 10 * SEC);
    assert_int_equal(sim->b.unanswered, 2); /* the second was lost as well */
    sim_send(&sim->a);
    sim_run(sim, 130 * SEC);
    sim_send(&sim->a); /* a rekey is no second try */
    sim_run(sim, SEC);
    assert_int_equal(sim->b.unanswered, 2);
    sim_free(sim);
}

/* A restarted peer has no keys: data to it is silence, and 15 s later all is well again. */
static void a_restarted_peer_is_found_again(void **state)
{
    (void)state;
    struct sim *sim = sim_new(34);

    sim_send(&sim->a);
    sim_run(sim, 20 * SEC);
    wireguard_peer_free(sim->b.peer);
    assert_int_equal(wireguard_peer_new(&sim->b.peer, sim->b.node, &sim->a.key, &sim->b), 0);
    sim->b.timer = TIME_NEVER;
    sim_send(&sim->a);
    sim_run(sim, 14 * SEC);
    assert_int_equal(wireguard_counters(sim->b.w)->outcomes[WIREGUARD_E_NO_INDEX], 1);
    sim_run(sim, 2 * SEC);
    assert_int_equal(sim->a.ready, 2);
    sim_send(&sim->a);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.data, 2);
    sim_free(sim);
}

static bool lose_data_from_a(struct sim *sim, struct sim_side *from, struct span message)
{
    return from == &sim->a && message.data[0] == TYPE_DATA;
}

/* We answered, but the initiator's first packet is lost and we want to talk: not before 5 s after the
 * answer, and then with an initiation of our own. */
static void an_answer_holds_back_our_own_initiation(void **state)
{
    (void)state;
    struct sim *sim = sim_new(35);

    sim->lose = lose_data_from_a;
    wireguard_initiate(sim->a.peer, sim->now);
    sim_run(sim, SEC);
    sim_send(&sim->b);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    sim_run(sim, 3900 * MSEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 1);
    assert_int_equal(sim->a.data, 1);
    sim_free(sim);
}

static bool lose_first_from_a(struct sim *sim, struct sim_side *from, struct span message)
{
    (void)message;
    return from == &sim->a && sim->counter++ == 0;
}

/* a's initiation is lost on the way; b knows by other signs that a wants to talk. */
static void an_expected_peer_that_does_not_begin_is_begun_with(void **state)
{
    (void)state;
    struct sim *sim = sim_new(37);

    sim->lose = lose_first_from_a;
    sim_send(&sim->a);
    wireguard_expect(sim->b.peer, sim->now + 300 * MSEC, sim->now);
    sim_run(sim, 299 * MSEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    sim_run(sim, 700 * MSEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 1);
    assert_int_equal(sim->b.data, 1); /* four seconds before a would have repeated it */
    sim_free(sim);
}

static bool lose_first_from_b(struct sim *sim, struct sim_side *from, struct span message)
{
    (void)message;
    return from == &sim->b && sim->counter++ == 0;
}

static void an_expected_peer_that_does_not_get_our_answer_is_begun_with(void **state)
{
    (void)state;
    struct sim *sim = sim_new(41);

    sim->lose = lose_first_from_b;
    wireguard_expect(sim->b.peer, sim->now + 300 * MSEC, sim->now);
    sim_send(&sim->a);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], 1);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 1);
    assert_int_equal(sim->b.data, 1);
    sim_free(sim);
}

static void an_expected_peer_that_begins_is_left_alone(void **state)
{
    (void)state;
    struct sim *sim = sim_new(38);

    wireguard_expect(sim->b.peer, sim->now + 300 * MSEC, sim->now);
    sim_run(sim, 100 * MSEC);
    sim_send(&sim->a);
    sim_run(sim, 20 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    wireguard_expect(sim->b.peer, sim->now + 300 * MSEC, sim->now); /* there is a session */
    sim_run(sim, 20 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 0);
    sim_free(sim);
}

static void an_expected_peer_that_is_not_there_is_asked_once(void **state)
{
    (void)state;
    struct sim *sim = sim_new(39);

    sim->lose = lose_all;
    wireguard_expect(sim->b.peer, sim->now + 300 * MSEC, sim->now);
    sim_run(sim, 20 * SEC);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 1);
    assert_int_equal(sim->b.given_up, 1);
    assert_true(wireguard_peer_deadline(sim->b.peer) == TIME_NEVER);
    sim_free(sim);
}

/* The owner has something to send meanwhile: then it is a handshake like any other. */
static void what_is_to_be_sent_does_not_wait_for_an_expected_peer(void **state)
{
    (void)state;
    struct sim *sim = sim_new(40);

    sim->lose = lose_all;
    wireguard_expect(sim->b.peer, sim->now + 300 * MSEC, sim->now);
    sim_send(&sim->b);
    assert_int_equal(sim->b.sent[WIREGUARD_INITIATION], 1);
    sim_run(sim, 20 * SEC);
    assert_in_range(sim->b.sent[WIREGUARD_INITIATION], 3, 5);
    wireguard_expect(sim->a.peer, sim->now + 300 * MSEC, sim->now);
    sim_run(sim, SEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 1);
    sim_send(&sim->a);
    sim_run(sim, 20 * SEC);
    assert_in_range(sim->a.sent[WIREGUARD_INITIATION], 3, 5);
    sim_free(sim);
}

static bool lose_responses(struct sim *sim, struct sim_side *from, struct span message)
{
    (void)sim;
    (void)from;
    return message.data[0] == TYPE_RESPONSE;
}

/* The peer hears us, we do not hear it: every retry replaces its unconfirmed key, nothing piles up. */
static void unconfirmed_keys_replace_each_other(void **state)
{
    (void)state;
    struct sim *sim = sim_new(36);

    sim->lose = lose_responses;
    sim_send(&sim->a);
    sim_run(sim, 60 * SEC);
    assert_in_range(sim->b.sent[WIREGUARD_RESPONSE], 11, 13);
    assert_int_equal(wireguard_counters(sim->b.w)->indices, 1);
    assert_int_equal(wireguard_counters(sim->a.w)->indices, 1);
    sim_free(sim);
}

/* Traffic that began before a renewal may arrive after it. */
static void packets_of_the_previous_key_are_welcome(void **state)
{
    (void)state;
    struct sim *sim = sim_new(37);
    uint8_t late[512];
    size_t len;

    sim_send(&sim->a);
    sim_run(sim, SEC);
    sim_inner(late + 16, 100);
    assert_int_equal(wireguard_seal(sim->a.peer, (struct mspan) { late, sizeof(late) }, 100, sim->now, &len),
                     0);
    sim_run(sim, 10 * SEC);
    wireguard_initiate(sim->a.peer, sim->now);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.ready, 2);
    assert_int_equal(sim_receive(&sim->b, span_make(late, len), NULL), 0);
    assert_int_equal(sim_receive(&sim->b, span_make(late, len), NULL), WIREGUARD_E_REPLAY);
    sim_free(sim);
}

static void old_keys_are_refused_both_ways(void **state)
{
    (void)state;
    struct sim *sim = sim_new(38);
    uint8_t late[512];
    size_t len;

    sim_send(&sim->a);
    sim_run(sim, SEC);
    sim->lose = lose_all;
    sim_run(sim, 178500 * MSEC);
    sim_inner(late + 16, 100);
    assert_int_equal(wireguard_seal(sim->a.peer, (struct mspan) { late, sizeof(late) }, 100, sim->now, &len),
                     0);
    sim_run(sim, SEC);
    assert_int_equal(sim_receive(&sim->b, span_make(late, len), NULL), WIREGUARD_E_EXPIRED);
    assert_int_equal(sim_seal(&sim->a), WIREGUARD_E_NO_SESSION);
    sim_free(sim);
}

/* 2^64 - 2^13 - 1 packets, and not one more; renewed long before. */
static void counters_end_instead_of_wrapping(void **state)
{
    (void)state;
    struct sim *sim = sim_new(39);

    sim_send(&sim->a);
    sim_run(sim, 10 * SEC);
    sim->lose = lose_all;
    sim->a.peer->active->current->send_counter = REKEY_AFTER_MESSAGES;
    assert_int_equal(sim_seal(&sim->a), 0);
    sim_run(sim, MSEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 2);
    sim->a.peer->active->current->send_counter = REPLAY_COUNTER_END - 1;
    assert_int_equal(sim_seal(&sim->a), 0);
    assert_int_equal(sim_seal(&sim->a), WIREGUARD_E_NO_SESSION);
    sim_free(sim);
}

static uint64_t stamp_of(struct sim *sim, struct sim_side *from)
{
    struct initiation in;
    uint8_t shared[32];

    assert_int_equal(initiation_open(&in, from->last[WIREGUARD_INITIATION], &sim_other(from)->node->identity),
                     0);
    assert_true(x25519(shared, &sim_other(from)->secret, &from->key));
    assert_int_equal(initiation_verify(&in, from->last[WIREGUARD_INITIATION], shared), 0);
    (void)sim;
    assert_int_equal(in.timestamp[11], 0); /* quantised */
    assert_int_equal(in.timestamp[10], 0);
    assert_int_equal(in.timestamp[9], 0);
    return (uint64_t)load_be32(in.timestamp + 4) << 8 | in.timestamp[8];
}

/* The clock may be set back by a year, or stand: the timestamps still grow. */
static void timestamps_never_go_back(void **state)
{
    (void)state;
    struct sim *sim = sim_new(40);
    uint64_t last = 0;

    for (int i = 0; i < 80; i++) {
        wireguard_initiate(sim->a.peer, sim->now);
        sim_run(sim, 6 * SEC);
        assert_true(stamp_of(sim, &sim->a) > last);
        last = stamp_of(sim, &sim->a);
        sim->wall = i == 3 ? 1600000000 * SEC : sim->wall - 6 * SEC;
    }
    assert_int_equal(sim->b.sent[WIREGUARD_RESPONSE], sim->a.sent[WIREGUARD_INITIATION]);
    sim_free(sim);
}

/* Freed in the middle of everything: nothing is left. */
static void a_peer_can_be_freed_at_any_time(void **state)
{
    (void)state;
    for (time_ns stop = 0; stop < 70 * MSEC; stop += 10 * MSEC) {
        struct sim *sim = sim_new(41);

        sim_send(&sim->a);
        sim_send(&sim->b);
        sim_run(sim, stop);
        wireguard_peer_free(sim->a.peer);
        sim->a.peer = NULL;
        assert_int_equal(wireguard_counters(sim->a.w)->indices, 0);
        assert_int_equal(wireguard_counters(sim->a.w)->peers, 0);
        sim_free(sim);
    }
}

static void a_lost_confirmation_does_not_hang(void **state)
{
    (void)state;
    struct sim *sim = sim_new(42);

    sim->lose = lose_keepalives;
    wireguard_initiate(sim->a.peer, sim->now);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.ready, 0);
    sim_send(&sim->a);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.ready, 1);
    sim_free(sim);
}

/* What control does: tells b of a's key, and drops what b has with the old one. */
static void b_learns_the_key_of_a(struct sim *sim)
{
    wireguard_peer_free(sim->b.peer);
    sim->b.timer = TIME_NEVER;
    assert_int_equal(wireguard_peer_new(&sim->b.peer, sim->b.node, &sim->a.key, &sim->b), 0);
}

static void a_changes_its_key(struct sim *sim)
{
    memset(sim->a.secret.bytes, 0x33, sizeof(sim->a.secret.bytes));
    secret_key_clamp(&sim->a.secret);
    secret_key_public(&sim->a.secret, &sim->a.key);
    assert_int_equal(wireguard_node_set_secret(sim->a.node, &sim->a.secret), 0);
    wireguard_peer_renew(sim->a.peer, sim->now);
}

/* As long as the peer has not heard of the new key, both directions use the old session; then a handshake
 * with the new key follows within a second. */
static void a_changed_key_keeps_the_session_until_the_peer_knows_it(void **state)
{
    (void)state;
    struct sim *sim = sim_new(40);

    sim_send(&sim->a);
    sim_run(sim, SEC);
    a_changes_its_key(sim);
    for (int i = 0; i < 12; i++) {
        sim_send(&sim->a);
        sim_send(&sim->b);
        sim_run(sim, SEC / 4);
    }
    assert_int_equal(sim->b.data, 1 + 12);
    assert_int_equal(sim->a.data, 12);
    assert_int_equal(sim->a.ready, 1);
    b_learns_the_key_of_a(sim);
    sim_run(sim, SEC);
    assert_int_equal(sim->a.ready, 2);
    sim_send(&sim->a);
    sim_send(&sim->b);
    sim_run(sim, SEC);
    assert_int_equal(sim->b.data, 14);
    assert_int_equal(sim->a.data, 13);
    assert_int_equal(sim->a.staged + sim->b.staged, 0);
    sim_free(sim);
}

/* The peer may also be the one that starts. */
static void a_peer_that_knows_the_new_key_can_begin(void **state)
{
    (void)state;
    struct sim *sim = sim_new(41);

    sim_send(&sim->a);
    sim_run(sim, SEC);
    sim->lose = NULL;
    memset(sim->a.secret.bytes, 0x33, sizeof(sim->a.secret.bytes));
    secret_key_clamp(&sim->a.secret);
    secret_key_public(&sim->a.secret, &sim->a.key);
    assert_int_equal(wireguard_node_set_secret(sim->a.node, &sim->a.secret), 0);
    b_learns_the_key_of_a(sim);
    sim_send(&sim->b);
    sim_run(sim, SEC);
    assert_int_equal(sim->a.data, 1);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 1); /* the first session's */
    sim_free(sim);
}

/* An answer to the old key's initiation is not taken for one to the new key's. */
static void a_handshake_under_way_is_begun_anew_with_the_new_key(void **state)
{
    (void)state;
    struct sim *sim = sim_new(42);

    sim_send(&sim->a);
    a_changes_its_key(sim);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 2);
    sim_run(sim, SEC / 2);
    assert_int_equal(sim->a.ready, 0);
    b_learns_the_key_of_a(sim);
    sim_run(sim, 2 * SEC);
    assert_int_equal(sim->a.ready, 1);
    assert_int_equal(sim->b.data, 1);
    sim_free(sim);
}

static void the_hurry_ends_and_an_unknown_key_is_given_up_as_ever(void **state)
{
    (void)state;
    struct sim *sim = sim_new(43);

    sim_send(&sim->a);
    sim_run(sim, SEC);
    a_changes_its_key(sim);
    sim_run(sim, RENEW_HURRIES * (RENEW_TIMEOUT + REKEY_TIMEOUT_JITTER_MAX));
    assert_in_range(sim->a.sent[WIREGUARD_INITIATION], 2 + RENEW_HURRIES, 3 + RENEW_HURRIES);
    sim_run(sim, 15 * SEC);
    assert_in_range(sim->a.sent[WIREGUARD_INITIATION], 4 + RENEW_HURRIES, 6 + RENEW_HURRIES);
    sim_run(sim, 120 * SEC);
    assert_int_equal(sim->a.given_up, 1);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 1 + 20 + RENEW_HURRIES);
    sim_free(sim);
}

static void a_key_change_costs_an_idle_peer_nothing(void **state)
{
    (void)state;
    struct sim *sim = sim_new(44);

    a_changes_its_key(sim);
    sim_run(sim, 10 * SEC);
    assert_int_equal(sim->a.sent[WIREGUARD_INITIATION], 0);
    assert_null(sim->a.peer->active);
    assert_int_equal(wireguard_node_set_secret(sim->a.node, &sim->a.secret), 0); /* the same again */
    sim_free(sim);
}

/* Between `least` and that with what the allocator adds to each of so many blocks. */
#define assert_heap(bytes, least, blocks) assert_in_range(bytes, least, (least) + (blocks) * (size_t)32)

static void memory_grows_by_a_session_and_a_window_and_falls_with_them(void **state)
{
    (void)state;
    const size_t session = sizeof(struct active) + sizeof(struct keypair);
    struct sim *sim = sim_new(77);
    size_t idle = wireguard_peer_memory(sim->b.peer);

    assert_heap(idle, sizeof(struct wireguard_peer), 1);
    sim_send(&sim->a);
    sim_run(sim, 1 * SEC);
    assert_heap(wireguard_peer_memory(sim->a.peer) - idle, session, 2);
    assert_heap(wireguard_peer_memory(sim->b.peer) - idle, session, 2);
    for (int i = 0; i < 100; i++) /* more than fit without a window */
        sim_send(&sim->a);
    sim_run(sim, 1 * SEC);
    assert_heap(wireguard_peer_memory(sim->a.peer) - idle, session, 2); /* it has received nothing */
    assert_heap(wireguard_peer_memory(sim->b.peer) - idle, session + REPLAY_RING_WORDS * sizeof(uint64_t), 3);
    for (int i = 0; i < 130; i++) { /* a new key, and the old one beside it */
        sim_send(&sim->a);
        sim_run(sim, 1 * SEC);
    }
    assert_heap(wireguard_peer_memory(sim->a.peer) - idle, session + sizeof(struct keypair), 3);
    sim_run(sim, 541 * SEC);
    assert_int_equal(wireguard_peer_memory(sim->a.peer), idle);
    assert_int_equal(wireguard_peer_memory(sim->b.peer), idle);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_packet_makes_a_session),
        cmocka_unit_test(an_empty_handshake_is_confirmed),
        cmocka_unit_test(an_idle_peer_has_no_deadline),
        cmocka_unit_test(keys_are_renewed_while_both_talk),
        cmocka_unit_test(traffic_does_not_cost_wakeups),
        cmocka_unit_test(a_session_that_the_peer_made_needs_nothing_of_us),
        cmocka_unit_test(a_listening_initiator_renews_its_key),
        cmocka_unit_test(the_last_minute_is_used),
        cmocka_unit_test(both_may_start_at_once),
        cmocka_unit_test(a_bad_link_only_loses_what_it_loses),
        cmocka_unit_test(nobody_answers_and_we_give_up),
        cmocka_unit_test(keepalives_are_sparse),
        cmocka_unit_test(silence_starts_a_new_handshake),
        cmocka_unit_test(a_lost_response_is_noticed),
        cmocka_unit_test(a_restarted_peer_is_found_again),
        cmocka_unit_test(an_answer_holds_back_our_own_initiation),
        cmocka_unit_test(an_expected_peer_that_does_not_begin_is_begun_with),
        cmocka_unit_test(an_expected_peer_that_does_not_get_our_answer_is_begun_with),
        cmocka_unit_test(an_expected_peer_that_begins_is_left_alone),
        cmocka_unit_test(an_expected_peer_that_is_not_there_is_asked_once),
        cmocka_unit_test(what_is_to_be_sent_does_not_wait_for_an_expected_peer),
        cmocka_unit_test(unconfirmed_keys_replace_each_other),
        cmocka_unit_test(packets_of_the_previous_key_are_welcome),
        cmocka_unit_test(old_keys_are_refused_both_ways),
        cmocka_unit_test(counters_end_instead_of_wrapping),
        cmocka_unit_test(timestamps_never_go_back),
        cmocka_unit_test(a_peer_can_be_freed_at_any_time),
        cmocka_unit_test(a_lost_confirmation_does_not_hang),
        cmocka_unit_test(a_changed_key_keeps_the_session_until_the_peer_knows_it),
        cmocka_unit_test(a_peer_that_knows_the_new_key_can_begin),
        cmocka_unit_test(a_handshake_under_way_is_begun_anew_with_the_new_key),
        cmocka_unit_test(the_hurry_ends_and_an_unknown_key_is_given_up_as_ever),
        cmocka_unit_test(a_key_change_costs_an_idle_peer_nothing),
        cmocka_unit_test(memory_grows_by_a_session_and_a_window_and_falls_with_them),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

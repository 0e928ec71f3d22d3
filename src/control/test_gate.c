#include "check.h"

#include "control/gate.h"

/* Two shards on two loops of one thread: letters and tasks run when the test turns the loop. */
struct node {
    struct gate_waiter waiter;
    struct ev_task task;
    struct shard_server *server;
    unsigned turns;
};

static struct ev_loop *loops[2];
static struct control_gate *gate;
static struct control_shard *shards[2];

static void on_turn(struct ev_task *t, time_ns now)
{
    (void)now;
    CONTAINER_OF(t, struct node, task)->turns++;
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(control_gate_new(&gate, &(struct control_gate_config) { .handshakes_max = 2 }), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ev_loop_new(&loops[i]), 0);
        assert_int_equal(control_shard_new(&shards[i], gate, loops[i]), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        control_shard_free(shards[i]);
        ev_loop_free(loops[i]);
    }
    control_gate_free(gate);
    return 0;
}

static void join(struct node *n, int shard, const char *url)
{
    struct control_url parsed;

    *n = (struct node) { 0 };
    assert_null(control_url_parse(span_from_str(url), &parsed));
    assert_int_equal(shard_server_get(shards[shard], &parsed, &n->server), 0);
    ev_task_init(&n->task, loops[shard], on_turn);
    n->waiter.task = &n->task;
}

static void part(struct node *n, int shard)
{
    gate_leave(shards[shard], n->server, &n->waiter);
    gate_unwait(shards[shard], n->server, &n->waiter);
    ev_task_cancel(&n->task);
    shard_server_put(shards[shard], n->server);
}

static void turn(void)
{
    for (int i = 0; i < 6; i++)
        assert_true(ev_loop_turn(loops[i % 2], 0) >= 0);
}

#define A "https://a.example"

static void slots_are_limited_per_server_and_given_in_order(void **state)
{
    (void)state;
    struct node n[5], other;

    for (int i = 0; i < 5; i++)
        join(&n[i], 0, A);
    join(&other, 0, "https://b.example");
    for (int i = 0; i < 5; i++)
        assert_int_equal(gate_enter(shards[0], n[i].server, &n[i].waiter), i < 2);
    assert_true(gate_enter(shards[0], other.server, &other.waiter));
    assert_int_equal(gate_clients(shards[0], n[0].server), 5);
    gate_leave(shards[0], n[1].server, &n[1].waiter);
    turn();
    assert_int_equal(n[2].turns, 1);
    assert_true(gate_enter(shards[0], n[2].server, &n[2].waiter));
    assert_int_equal(n[3].turns, 0);
    /* One that waits goes away; the one behind it gets the slot. */
    part(&n[3], 0);
    gate_leave(shards[0], n[0].server, &n[0].waiter);
    turn();
    assert_int_equal(n[4].turns, 1);
    /* A slot that was given but not taken up comes back. */
    assert_false(gate_enter(shards[0], n[0].server, &n[0].waiter));
    part(&n[4], 0);
    turn();
    assert_int_equal(n[0].turns, 1);
    for (int i = 0; i < 3; i++)
        part(&n[i], 0);
    part(&other, 0);
}

static void slots_pass_from_thread_to_thread(void **state)
{
    (void)state;
    struct node a[2], b;

    join(&a[0], 0, A);
    join(&a[1], 0, A);
    join(&b, 1, A);
    assert_true(gate_enter(shards[0], a[0].server, &a[0].waiter));
    assert_true(gate_enter(shards[0], a[1].server, &a[1].waiter));
    assert_false(gate_enter(shards[1], b.server, &b.waiter));
    assert_int_equal(gate_clients(shards[1], b.server), 3);
    gate_leave(shards[0], a[0].server, &a[0].waiter);
    turn();
    assert_int_equal(b.turns, 1);
    assert_true(b.waiter.slot);
    part(&a[0], 0);
    part(&a[1], 0);
    part(&b, 1);
}

/* Each shard has every other service of a file; the later ones come first to the gate. */
static void slots_are_given_in_the_order_of_the_file_whatever_the_shard(void **state)
{
    (void)state;
    struct node n[8];

    for (int i = 7; i >= 0; i--) {
        join(&n[i], i % 2, A);
        n[i].waiter.place = (uint64_t)i;
        assert_int_equal(gate_enter(shards[i % 2], n[i].server, &n[i].waiter), i >= 6);
    }
    for (int i = 0; i < 6; i++) { /* one leaves, the next one comes */
        int leaves = i < 2 ? 7 - i : i - 2;

        gate_leave(shards[leaves % 2], n[leaves].server, &n[leaves].waiter);
        turn();
        for (int k = 0; k < 6; k++)
            assert_int_equal(n[k].turns, k <= i);
    }
    for (int i = 0; i < 8; i++)
        part(&n[i], i % 2);
}

/* Its place was used up: it waits behind those who have not had a turn. */
static void who_comes_again_waits_behind_the_others(void **state)
{
    (void)state;
    struct node n[5];

    for (int i = 0; i < 5; i++) {
        join(&n[i], i % 2, A);
        n[i].waiter.place = (uint64_t)i;
        assert_int_equal(gate_enter(shards[i % 2], n[i].server, &n[i].waiter), i < 2);
    }
    gate_leave(shards[0], n[0].server, &n[0].waiter);
    assert_false(gate_enter(shards[0], n[0].server, &n[0].waiter));
    turn();
    assert_int_equal(n[2].turns, 1);
    /* The first of all goes away: it is the next one's turn, in the other shard. */
    part(&n[3], 1);
    gate_leave(shards[1], n[1].server, &n[1].waiter);
    turn();
    assert_int_equal(n[4].turns, 1);
    assert_int_equal(n[0].turns, 0);
    gate_leave(shards[0], n[2].server, &n[2].waiter);
    turn();
    assert_int_equal(n[0].turns, 1);
    part(&n[0], 0);
    part(&n[1], 1);
    part(&n[2], 0);
    part(&n[4], 0);
}

static void key_is_fetched_once_for_all(void **state)
{
    (void)state;
    struct node n[3];
    struct public_key key = { { 7 } }, got = { { 0 } };
    unsigned seen;
    char why[GATE_REASON_BYTES];

    for (int i = 0; i < 3; i++)
        join(&n[i], i == 2, A);
    assert_int_equal(gate_key_get(shards[0], n[0].server, &n[0].waiter, &got, &seen), GATE_KEY_NONE);
    assert_int_equal(gate_key_get(shards[0], n[1].server, &n[1].waiter, &got, &seen), GATE_KEY_FETCHING);
    assert_int_equal(gate_key_get(shards[1], n[2].server, &n[2].waiter, &got, &seen), GATE_KEY_FETCHING);
    gate_key_done(shards[0], n[0].server, &key, NULL);
    turn();
    assert_int_equal(n[1].turns + n[2].turns, 2);
    assert_false(gate_key_failed(n[1].server, shards[0], seen, why));
    assert_int_equal(gate_key_get(shards[1], n[2].server, &n[2].waiter, &got, &seen), GATE_KEY_KNOWN);
    assert_true(public_key_equal(&got, &key));
    /* Somebody else's stale key does not spoil the new one. */
    gate_key_forget(shards[0], n[0].server, &(struct public_key) { { 8 } });
    assert_int_equal(gate_key_get(shards[1], n[2].server, &n[2].waiter, &got, &seen), GATE_KEY_KNOWN);
    gate_key_forget(shards[0], n[0].server, &key);
    assert_int_equal(gate_key_get(shards[1], n[2].server, &n[2].waiter, &got, &seen), GATE_KEY_NONE);
    gate_key_done(shards[1], n[2].server, NULL, NULL);
    for (int i = 0; i < 3; i++)
        part(&n[i], i == 2);
}

static void failed_fetch_is_told_to_those_who_waited_and_given_up_one_is_taken_over(void **state)
{
    (void)state;
    struct node n[2];
    struct public_key got;
    unsigned seen;
    char why[GATE_REASON_BYTES];

    join(&n[0], 0, A);
    join(&n[1], 1, A);
    assert_int_equal(gate_key_get(shards[0], n[0].server, &n[0].waiter, &got, &seen), GATE_KEY_NONE);
    assert_int_equal(gate_key_get(shards[1], n[1].server, &n[1].waiter, &got, &seen), GATE_KEY_FETCHING);
    gate_key_done(shards[0], n[0].server, NULL, "connection refused");
    turn();
    assert_int_equal(n[1].turns, 1);
    assert_true(gate_key_failed(n[1].server, shards[1], seen, why));
    assert_string_equal(why, "connection refused");
    assert_int_equal(gate_key_get(shards[0], n[0].server, &n[0].waiter, &got, &seen), GATE_KEY_NONE);
    assert_int_equal(gate_key_get(shards[1], n[1].server, &n[1].waiter, &got, &seen), GATE_KEY_FETCHING);
    gate_key_done(shards[0], n[0].server, NULL, NULL);
    turn();
    assert_false(gate_key_failed(n[1].server, shards[1], seen, why));
    assert_int_equal(gate_key_get(shards[1], n[1].server, &n[1].waiter, &got, &seen), GATE_KEY_NONE);
    gate_key_done(shards[1], n[1].server, NULL, NULL);
    part(&n[0], 0);
    part(&n[1], 1);
}

static enum gate_stream ask(struct node *n, int shard)
{
    return gate_stream_ask(shards[shard], n->server, &n->waiter);
}

/* All are on their way, two at a time; the first to be registered goes ahead. */
static void streams_wait_until_all_have_registered_but_for_one(void **state)
{
    (void)state;
    struct node n[4];
    unsigned before;

    for (int i = 0; i < 4; i++) {
        join(&n[i], i % 2, A);
        n[i].waiter.place = (uint64_t)i;
        n[i].waiter.newcomer = true;
        assert_int_equal(gate_enter(shards[i % 2], n[i].server, &n[i].waiter), i < 2);
    }
    gate_leave(shards[0], n[0].server, &n[0].waiter);
    assert_int_equal(ask(&n[0], 0), GATE_STREAM_FIRST);
    gate_leave(shards[1], n[1].server, &n[1].waiter);
    assert_int_equal(ask(&n[1], 1), GATE_STREAM_WAIT);
    turn();
    before = n[1].turns;
    gate_stream_over(shards[0], n[0].server, &n[0].waiter, true); /* what it brought may help others */
    turn();
    assert_int_equal(n[1].turns, before + 1);
    assert_int_equal(ask(&n[1], 1), GATE_STREAM_WAIT);
    gate_leave(shards[0], n[2].server, &n[2].waiter);
    turn();
    assert_int_equal(n[1].turns, before + 1);
    gate_leave(shards[1], n[3].server, &n[3].waiter);
    turn();
    assert_int_equal(n[1].turns, before + 2);
    for (int i = 1; i < 4; i++)
        assert_int_equal(ask(&n[i], i % 2), GATE_STREAM_OPEN);
    for (int i = 0; i < 4; i++)
        part(&n[i], i % 2);
}

static void another_goes_ahead_if_the_first_stream_brings_nothing(void **state)
{
    (void)state;
    struct node n[2];

    join(&n[0], 0, A);
    join(&n[1], 1, A);
    assert_int_equal(ask(&n[0], 0), GATE_STREAM_FIRST);
    assert_int_equal(ask(&n[1], 1), GATE_STREAM_WAIT);
    gate_stream_over(shards[0], n[0].server, &n[0].waiter, false);
    turn();
    assert_int_equal(n[1].turns, 1);
    assert_int_equal(ask(&n[1], 1), GATE_STREAM_FIRST);
    part(&n[0], 0);
    part(&n[1], 1);
}

/* Who waits for a person, or for its next attempt, has left; who is stopped in the queue as well. */
static void who_does_not_go_on_registering_holds_up_no_stream(void **state)
{
    (void)state;
    struct node n[4];

    for (int i = 0; i < 4; i++) {
        join(&n[i], 0, A);
        n[i].waiter.newcomer = i > 0;
        gate_stream_over(shards[0], n[i].server, &n[i].waiter, true);
    }
    for (int i = 1; i < 4; i++)
        assert_int_equal(gate_enter(shards[0], n[i].server, &n[i].waiter), i < 3);
    assert_int_equal(ask(&n[0], 0), GATE_STREAM_WAIT);
    part(&n[3], 0);
    gate_leave(shards[0], n[1].server, &n[1].waiter);
    gate_leave(shards[0], n[2].server, &n[2].waiter);
    turn();
    assert_int_equal(n[0].turns, 1);
    assert_int_equal(ask(&n[0], 0), GATE_STREAM_OPEN);
    for (int i = 0; i < 3; i++)
        part(&n[i], 0);
}

/* Handshakes that take `took`, one after the other. */
static void handshakes(struct node *n, int count, time_ns took)
{
    for (int i = 0; i < count; i++) {
        n->waiter.slot = false;
        assert_true(gate_enter(shards[0], n->server, &n->waiter));
        n->waiter.slot_since -= took;
        gate_done(shards[0], n->server, &n->waiter);
    }
}

static void slots_follow_how_busy_the_server_is(void **state)
{
    (void)state;
    struct node n;
    struct gate_server *g;

    gate->handshakes_max = 64;
    join(&n, 0, A);
    g = n.server->gate;
    assert_int_equal(g->slots, GATE_SLOTS_FIRST);
    handshakes(&n, 1, 100 * MSEC);
    handshakes(&n, 10, 300 * MSEC); /* a queue, but not a long one */
    assert_int_equal(g->slots, GATE_SLOTS_FIRST);
    handshakes(&n, 100, 150 * MSEC);
    assert_int_equal(g->slots, 64);
    handshakes(&n, 4, 500 * MSEC);
    assert_int_equal(g->slots, 60);
    handshakes(&n, 100, 500 * MSEC);
    assert_int_equal(g->slots, GATE_SLOTS_FIRST);
    g->clients += GATE_FEW_CLIENTS;
    for (unsigned i = 0; i < GATE_SLOTS_FIRST; i++) {
        n.waiter.slot = false;
        assert_true(gate_enter(shards[0], n.server, &n.waiter));
    }
    n.waiter.slot = false;
    assert_false(gate_enter(shards[0], n.server, &n.waiter));
    g->clients -= GATE_FEW_CLIENTS;
    n.waiter.slot = true;
    g->handshakes = 1;
    part(&n, 0);
}

static void retry_after_is_shared(void **state)
{
    (void)state;
    struct node n[2];

    join(&n[0], 0, A);
    join(&n[1], 1, A);
    gate_postpone_registrations(shards[0], n[0].server, 70 * SEC);
    gate_postpone_registrations(shards[0], n[0].server, 60 * SEC);
    assert_int_equal(gate_registrations_after(shards[1], n[1].server), 70 * SEC);
    part(&n[0], 0);
    part(&n[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slots_are_limited_per_server_and_given_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(slots_pass_from_thread_to_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(slots_are_given_in_the_order_of_the_file_whatever_the_shard, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_comes_again_waits_behind_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(key_is_fetched_once_for_all, setup, teardown),
        cmocka_unit_test_setup_teardown(
            failed_fetch_is_told_to_those_who_waited_and_given_up_one_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_wait_until_all_have_registered_but_for_one, setup, teardown),
        cmocka_unit_test_setup_teardown(another_goes_ahead_if_the_first_stream_brings_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_does_not_go_on_registering_holds_up_no_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(slots_follow_how_busy_the_server_is, setup, teardown),
        cmocka_unit_test_setup_teardown(retry_after_is_shared, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "underlay/senders.h"

#include "check.h"

#define NODES 200

struct fixture {
    struct senders senders;
    struct secret_key nodes[NODES];
    struct public_key node_disco[NODES];
    struct secret_key peer;
    struct public_key peer_disco;
    struct underlay_counters counters;
    time_ns now;
};

static const struct secret_key *secret_of(void *ctx, uint32_t node)
{
    return &((struct fixture *)ctx)->nodes[node];
}

static void setup(struct fixture *f)
{
    static const uint8_t hash_key[16] = { 1 };

    *f = (struct fixture) { .now = 10 * SEC };
    senders_init(&f->senders, hash_key);
    secret_key_generate(&f->peer);
    secret_key_public(&f->peer, &f->peer_disco);
    for (uint32_t i = 0; i < NODES; i++) {
        secret_key_generate(&f->nodes[i]);
        secret_key_public(&f->nodes[i], &f->node_disco[i]);
        assert_int_equal(senders_set_known(&f->senders, &f->peer_disco, i, true), 0);
    }
}

/* The peer pings (or answers) this node; which node does the search find? -1: none. */
static int search(struct fixture *f, uint32_t node, enum disco_type type)
{
    struct disco_message m = { .type = type };
    uint8_t bytes[DISCO_DATAGRAM_BYTES_MAX], key[KEY_BYTES], nonce[BOX_NONCE_BYTES], room[256];
    struct disco_envelope envelope;
    struct search s = { .envelope = &envelope,
                        .room = { room, sizeof(room) },
                        .secret_of = secret_of,
                        .ctx = f,
                        .counters = &f->counters,
                        .now = f->now };
    struct sender *sender = senders_find(&f->senders, &f->peer_disco);
    struct box *b;
    size_t len;

    assert_non_null(sender);
    assert_true(box_key_make(key, &f->peer, &f->node_disco[node]));
    random_bytes(nonce, sizeof(nonce));
    len = disco_write(bytes, &m, &f->peer_disco, nonce, key);
    assert_int_equal(disco_envelope_parse(span_make(bytes, len), &envelope), 0);
    b = senders_search(&f->senders, sender, &s);
    return b ? (int)b->node : -1;
}

static void every_node_is_found_and_paid_once(void **state)
{
    (void)state;
    struct fixture f;

    setup(&f);
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < NODES; i++)
            assert_int_equal(search(&f, i, DISCO_PING), i);
    assert_int_equal(f.counters.box_keys_made, NODES);
    senders_deinit(&f.senders);
}

/* Rounds of heartbeats: from the second on, one trial each. Pongs come in the order of our pings. */
static void the_expected_node_is_tried_first(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t trials;

    setup(&f);
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < NODES; i++)
            search(&f, (i * 7) % NODES, DISCO_PING);
    trials = f.counters.disco_trials;
    for (uint32_t i = 0; i < NODES; i++)
        search(&f, (i * 7) % NODES, DISCO_PING);
    assert_int_equal(f.counters.disco_trials - trials, NODES);

    for (uint32_t i = 0; i < NODES; i++)
        senders_asking(&f.senders, senders_box(&f.senders, senders_find(&f.senders, &f.peer_disco),
                                               (i * 3) % NODES, &f.nodes[(i * 3) % NODES], &f.counters));
    search(&f, 0, DISCO_PONG);
    trials = f.counters.disco_trials;
    for (uint32_t i = 1; i < NODES; i++)
        assert_int_equal(search(&f, (i * 3) % NODES, DISCO_PONG), (i * 3) % NODES);
    assert_int_equal(f.counters.disco_trials - trials, NODES - 1);
    senders_deinit(&f.senders);
}

static void nodes_that_do_not_know_the_sender_are_not_tried(void **state)
{
    (void)state;
    struct fixture f;

    setup(&f);
    for (uint32_t i = 1; i < NODES; i++)
        assert_int_equal(senders_set_known(&f.senders, &f.peer_disco, i, false), 0);
    assert_int_equal(search(&f, 5, DISCO_PING), -1);
    assert_int_equal(f.counters.disco_trials, 1);
    assert_int_equal(search(&f, 0, DISCO_PING), 0);
    senders_forget_node(&f.senders, 0);
    assert_null(senders_find(&f.senders, &f.peer_disco));
    assert_int_equal(f.senders.boxes.used, 0);
    senders_deinit(&f.senders);
}

static void references_keep_a_sender(void **state)
{
    (void)state;
    struct fixture f;
    struct sender *sender, *again;

    setup(&f);
    assert_int_equal(senders_ref(&f.senders, &f.peer_disco, &sender), 0);
    for (uint32_t i = 0; i < NODES; i++)
        senders_forget_node(&f.senders, i);
    assert_ptr_equal(senders_find(&f.senders, &f.peer_disco), sender);
    assert_int_equal(senders_ref(&f.senders, &f.peer_disco, &again), 0);
    senders_unref(&f.senders, again);
    senders_unref(&f.senders, sender);
    assert_null(senders_find(&f.senders, &f.peer_disco));
    senders_deinit(&f.senders);
}

static void the_oldest_key_makes_room(void **state)
{
    (void)state;
    struct fixture f;
    struct sender *sender;

    setup(&f);
    f.senders.boxes.max = UNDERLAY_BOX_KEYS_MAX;
    sender = senders_find(&f.senders, &f.peer_disco);
    for (uint32_t i = 0; i < UNDERLAY_BOX_KEYS_MAX + 10u; i++) /* the same secret will do */
        assert_non_null(senders_box(&f.senders, sender, 1000 + i, &f.nodes[0], &f.counters));
    assert_int_equal(f.senders.boxes.used, UNDERLAY_BOX_KEYS_MAX);
    assert_int_equal(sender->box_count, UNDERLAY_BOX_KEYS_MAX);
    senders_deinit(&f.senders);
}

static void a_hostile_key_makes_no_box(void **state)
{
    (void)state;
    struct fixture f;
    struct sender *sender;
    struct public_key low_order = { { 1 } };

    setup(&f);
    assert_int_equal(senders_ref(&f.senders, &low_order, &sender), 0);
    assert_null(senders_box(&f.senders, sender, 0, &f.nodes[0], &f.counters));
    senders_unref(&f.senders, sender);
    senders_deinit(&f.senders);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_is_found_and_paid_once),
        cmocka_unit_test(the_expected_node_is_tried_first),
        cmocka_unit_test(nodes_that_do_not_know_the_sender_are_not_tried),
        cmocka_unit_test(references_keep_a_sender),
        cmocka_unit_test(the_oldest_key_makes_room),
        cmocka_unit_test(a_hostile_key_makes_no_box),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

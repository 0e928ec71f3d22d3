#include "check.h"

#include <stdlib.h>

#include "wireguard/index.h"
#include "wireguard/limit.h"

static const uint64_t keys[4] = { 0x0123456789abcdef, 0xfedcba9876543210, 0x0f1e2d3c4b5a6978,
                                  0x1122334455667788 };

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* For every width: what was given out is found, and nothing else is. */
static void indices_find_their_owner(void **state)
{
    (void)state;
    struct index_table t;
    enum index_kind kind;
    char owners[300];
    uint32_t index[300];

    for (unsigned bits = 0; bits <= WIREGUARD_SHARD_BITS_MAX; bits++) {
        unsigned shard = BIT(bits) - 1;

        index_table_init(&t, shard, bits, keys);
        for (size_t i = 0; i < COUNT_OF(owners); i++) {
            assert_int_equal(index_alloc(&t, INDEX_KEYPAIR, &owners[i], 0, &index[i]), 0);
            assert_int_equal(index[i] & (BIT(bits) - 1), shard);
        }
        for (size_t i = 0; i < COUNT_OF(owners); i++) {
            assert_ptr_equal(index_get(&t, index[i], &kind), &owners[i]);
            assert_int_equal(kind, INDEX_KEYPAIR);
            if (bits)
                assert_null(index_get(&t, index[i] ^ 1, &kind));
        }
        index_set(&t, index[7], INDEX_HANDSHAKE, &owners[8]);
        assert_ptr_equal(index_get(&t, index[7], &kind), &owners[8]);
        assert_int_equal(kind, INDEX_HANDSHAKE);
        for (size_t i = 0; i < COUNT_OF(owners); i++) {
            index_release(&t, index[i], 0);
            assert_null(index_get(&t, index[i], &kind));
        }
        index_table_deinit(&t);
    }
}

/* Guessing is hopeless: of a million random values almost none is in use. */
static void random_values_hit_nobody(void **state)
{
    (void)state;
    struct index_table t;
    enum index_kind kind;
    char owner;
    uint32_t index, hits = 0;
    uint64_t seed = 1;

    index_table_init(&t, 0, 0, keys);
    for (int i = 0; i < 100; i++)
        assert_int_equal(index_alloc(&t, INDEX_KEYPAIR, &owner, 0, &index), 0);
    for (int i = 0; i < 1000000; i++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        hits += index_get(&t, (uint32_t)(seed >> 32), &kind) != NULL;
    }
    assert_true(hits < 10);
    free(t.entries);
}

/* One busy slot: 50 handshakes a second for ten minutes. */
static void no_value_comes_back_within_its_rest(void **state)
{
    (void)state;
    enum { COUNT = 30000 };
    static uint32_t given[COUNT];
    struct index_table t;
    char owner;

    index_table_init(&t, 1, 3, keys);
    for (uint32_t i = 0; i < COUNT; i++) {
        time_ns now = i * 20 * MSEC;

        assert_int_equal(index_alloc(&t, INDEX_HANDSHAKE, &owner, now, &given[i]), 0);
        index_release(&t, given[i], now);
    }
    assert_true(t.count < 40); /* a handful of slots did it */
    /* windows of 360 s = 18,000 handshakes */
    for (uint32_t from = 0; from + 18000 <= COUNT; from += 6000) {
        static uint32_t window[18000];

        memcpy(window, given + from, sizeof(window));
        qsort(window, COUNT_OF(window), sizeof(window[0]), by_value);
        for (size_t i = 1; i < COUNT_OF(window); i++)
            assert_int_not_equal(window[i], window[i - 1]);
    }
    index_table_deinit(&t);
}

static void a_full_table_says_so(void **state)
{
    (void)state;
    struct index_table t;
    char owner;
    uint32_t index, first;

    index_table_init(&t, 0, 8, keys);
    assert_int_equal(index_alloc(&t, INDEX_KEYPAIR, &owner, 0, &first), 0);
    for (uint32_t i = 1; i < BIT(14); i++)
        assert_int_equal(index_alloc(&t, INDEX_KEYPAIR, &owner, 0, &index), 0);
    assert_int_equal(index_alloc(&t, INDEX_KEYPAIR, &owner, 0, &index), WIREGUARD_E_FULL);
    index_release(&t, first, 0);
    assert_int_equal(index_alloc(&t, INDEX_KEYPAIR, &owner, 0, &index), 0);
    assert_int_not_equal(index, first);
    free(t.entries);
}

static void rates_refill_with_time(void **state)
{
    (void)state;
    static const struct rate_terms terms = { 20 * MSEC, 50 };
    struct rate r = { 0 };
    int taken = 0;

    for (int i = 0; i < 100; i++)
        taken += rate_take(&r, &terms, 1, SEC);
    assert_int_equal(taken, 50);
    assert_false(rate_take(&r, &terms, 1, SEC + 19 * MSEC));
    assert_true(rate_take(&r, &terms, 1, SEC + 20 * MSEC));
    assert_false(rate_take(&r, &terms, 26, SEC + 520 * MSEC));
    assert_true(rate_take(&r, &terms, 25, SEC + 520 * MSEC));
    assert_true(rate_take(&r, &terms, 50, 10 * SEC));
}

/* Each source has its own; a flood of others forgets the least used, not the one that is over. */
static void sources_do_not_share_their_rate(void **state)
{
    (void)state;
    static const struct rate_terms terms = { SEC, 2 };
    struct source_rates *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    assert_true(rate_take(source_rate(s, 5), &terms, 2, 0));
    assert_false(rate_take(source_rate(s, 5), &terms, 1, 0));
    for (uint64_t i = 1; i < 100; i++)
        assert_true(rate_take(source_rate(s, 5 + i * SOURCE_SETS), &terms, 1, 0));
    assert_false(rate_take(source_rate(s, 5), &terms, 1, 0));
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(indices_find_their_owner),
        cmocka_unit_test(random_values_hit_nobody),
        cmocka_unit_test(no_value_comes_back_within_its_rest),
        cmocka_unit_test(a_full_table_says_so),
        cmocka_unit_test(rates_refill_with_time),
        cmocka_unit_test(sources_do_not_share_their_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "check.h"

#include "control/backoff.h"

static void delay_grows_by_squares_up_to_the_limit(void **state)
{
    (void)state;
    static const struct {
        unsigned failures;
        time_ns middle;
    } rows[] = { { 1, SEC / 2 }, { 2, 2 * SEC }, { 4, 8 * SEC }, { 8, 30 * SEC }, { 4000000000u, 30 * SEC } };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        time_ns middle = rows[i].middle;

        assert_int_equal(backoff_delay(rows[i].failures, BACKOFF_STEP, BACKOFF_MAX, 0), middle / 2);
        assert_int_equal(backoff_delay(rows[i].failures, BACKOFF_STEP, BACKOFF_MAX, (uint64_t)middle - 1),
                         middle / 2 + middle - 1);
        assert_int_equal(backoff_delay(rows[i].failures, BACKOFF_STEP, BACKOFF_MAX, (uint64_t)middle),
                         middle / 2);
    }
    assert_int_equal(backoff_delay(0, BACKOFF_STEP, BACKOFF_MAX, 12345), 0);
}

static void nodes_spread_by_their_number(void **state)
{
    (void)state;
    assert_int_equal(backoff_spread(0, 99), 0);
    assert_int_equal(backoff_spread(1, 99), 0);
    for (uint64_t random = 0; random < UINT64_MAX / 2; random = random * 3 + 1) {
        assert_in_range(backoff_spread(57, random), 0, 57 * BACKOFF_SPREAD_PER_NODE - 1);
        assert_in_range(backoff_spread(100000, random), 0, BACKOFF_SPREAD_MAX - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_grows_by_squares_up_to_the_limit),
        cmocka_unit_test(nodes_spread_by_their_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

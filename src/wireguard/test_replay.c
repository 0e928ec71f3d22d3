#include "check.h"

#include "wireguard/replay.h"

static bool take(struct replay *r, uint64_t counter)
{
    if (replay_refuses(r, counter))
        return false;
    assert_int_equal(replay_mark(r, counter), 0);
    return true;
}

/* The table that Linux and wireguard-go test with, for our window. */
static void the_window_is_that_of_linux(void **state)
{
    (void)state;
    const uint64_t lim = REPLAY_WINDOW + 1, end = REPLAY_COUNTER_END;
    const struct {
        uint64_t counter;
        bool good;
    } rows[] = {
        { 0, true },
        { 1, true },
        { 1, false },
        { 9, true },
        { 8, true },
        { 7, true },
        { 7, false },
        { lim, true },
        { lim - 1, true },
        { lim - 1, false },
        { lim - 2, true },
        { 2, true },
        { 2, false },
        { lim + 16, true },
        { 3, false },
        { lim + 16, false },
        { lim * 4, true },
        { lim * 4 - (lim - 1), true },
        { 10, false },
        { lim * 4 - lim, false },
        { lim * 4 - (lim + 1), false },
        { lim * 4 - (lim - 2), true },
        { lim * 4 + 1 - lim, false },
        { 0, false },
        { end, false },
        { end - 1, true },
        { end, false },
        { end - 1, false },
        { end - 2, true },
        { end + 1, false },
        { end + 2, false },
        { end - 2, false },
        { end - 3, true },
        { 0, false },
    };
    struct replay r = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(take(&r, rows[i].counter), rows[i].good);
    replay_deinit(&r);
}

static void runs_in_both_directions_fit_the_window(void **state)
{
    (void)state;
    struct replay r = { 0 };

    for (uint64_t i = 1; i <= REPLAY_WINDOW; i++)
        assert_true(take(&r, i));
    assert_true(take(&r, 0));
    assert_false(take(&r, 0));
    replay_deinit(&r);

    for (uint64_t i = 2; i <= REPLAY_WINDOW + 1; i++)
        assert_true(take(&r, i));
    assert_true(take(&r, 1));
    assert_false(take(&r, 0));
    replay_deinit(&r);

    for (uint64_t i = REPLAY_WINDOW + 1; i > 0; i--)
        assert_true(take(&r, i));
    replay_deinit(&r);

    for (uint64_t i = REPLAY_WINDOW + 2; i > 1; i--)
        assert_true(take(&r, i));
    assert_false(take(&r, 0));
    replay_deinit(&r);
}

/* The first 64 counters need no memory; the ring takes over what they left. */
static void the_ring_comes_with_the_65th_counter(void **state)
{
    (void)state;
    struct replay r = { 0 };

    for (uint64_t i = 0; i < 64; i += 2)
        assert_true(take(&r, i));
    assert_null(r.ring);
    assert_true(take(&r, 64));
    assert_non_null(r.ring);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(take(&r, i), i % 2);
    replay_deinit(&r);
    assert_null(r.ring);
}

/* Against a plain list of everything seen, with jumps of all sizes. */
static void a_slow_window_agrees(void **state)
{
    (void)state;
    static bool seen[200000];
    struct replay r = { 0 };
    uint64_t highest = 0, seed = 7;

    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < 60000; i++) {
        uint64_t jump, counter;
        bool good;

        seed = seed * 6364136223846793005 + 1442695040888963407;
        jump = (seed >> 33) % ((seed >> 60) == 0 ? 9000 : (seed >> 60) < 4 ? 300 : 8);
        counter = (seed >> 59) & 1 ? highest + jump / 8 : highest - MIN(highest, jump);
        if (counter >= COUNT_OF(seen))
            break;
        good = counter + REPLAY_WINDOW >= highest && !seen[counter];
        assert_int_equal(take(&r, counter), good);
        if (good)
            seen[counter] = true;
        highest = good ? MAX(highest, counter) : highest;
    }
    assert_true(highest > 20000);
    replay_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_is_that_of_linux),
        cmocka_unit_test(runs_in_both_directions_fit_the_window),
        cmocka_unit_test(the_ring_comes_with_the_65th_counter),
        cmocka_unit_test(a_slow_window_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

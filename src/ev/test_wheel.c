#include <stdlib.h>

#include "check.h"
#include "ev/internal.h"

/* Nothing fires early, nothing is late by more than the resolution, in a wheel that is driven only by
 * wheel_next: so the loop may sleep as long as it says. */
static void fires_on_time(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static struct ev_timer timers[COUNT];
    static struct wheel w;
    struct list due;
    time_ns now = 12345 * MSEC + 678;
    int left = COUNT, looks = 0;

    srand(7);
    wheel_init(&w, now);
    list_init(&due);
    for (int i = 0; i < COUNT; i++) {
        static const time_ns spans[] = { 300 * MSEC, 70 * SEC, 5 * HOUR, 24 * 80 * HOUR };
        time_ns ahead = (time_ns)((double)rand() / RAND_MAX * (double)spans[i % 4]);

        timers[i].at = now + ahead;
        wheel_add(&w, &timers[i].link, timers[i].at);
    }
    while (left) {
        time_ns next = wheel_next(&w);

        assert_true(next != TIME_NEVER);
        assert_true(next > now - MSEC);
        now = next;
        looks++;
        wheel_advance(&w, now, &due);
        for (struct list *link; (link = list_pop_front(&due)); left--) {
            struct ev_timer *t = LIST_ENTRY(link, struct ev_timer, link);

            assert_true(t->at <= now);
            assert_true(now - t->at < 2 * MSEC);
        }
    }
    assert_true(wheel_next(&w) == TIME_NEVER);
    assert_true(looks <= COUNT + COUNT / 4); /* those beyond the span cost one more */
}

/* A jump of the clock over many slots loses nothing. */
static void survives_a_long_sleep(void **state)
{
    (void)state;
    static struct wheel w;
    struct ev_timer timers[100] = { 0 };
    struct list due;
    int fired = 0;

    wheel_init(&w, 0);
    list_init(&due);
    for (int i = 0; i < 100; i++) {
        timers[i].at = (time_ns)i * i * i * SEC;
        wheel_add(&w, &timers[i].link, timers[i].at);
    }
    wheel_advance(&w, 2000000 * SEC, &due);
    while (list_pop_front(&due))
        fired++;
    assert_int_equal(fired, 100);
}

/* A deadline far away costs one look, at the deadline, whatever level it waits on. */
static void sleeps_until_the_deadline(void **state)
{
    (void)state;
    static const time_ns ahead[] = { 100 * MSEC, 300 * MSEC,         40 * SEC,
                                     70 * SEC,   5 * HOUR + 3 * SEC, 20 * 24 * HOUR };
    static struct wheel w;
    struct list due;
    time_ns now = 12345 * MSEC;

    wheel_init(&w, now);
    list_init(&due);
    for (size_t i = 0; i < COUNT_OF(ahead); i++) {
        struct ev_timer t = { .at = now + ahead[i] };

        wheel_add(&w, &t.link, t.at);
        assert_int_equal(wheel_next(&w), t.at);
        now = t.at;
        wheel_advance(&w, now, &due);
        assert_ptr_equal(list_pop_front(&due), &t.link);
        assert_true(wheel_next(&w) == TIME_NEVER);
    }
}

/* Of a coarse slot's timers the first one counts, also when it was added last or the first was taken away. */
static void the_first_of_a_slot_counts(void **state)
{
    (void)state;
    static struct wheel w;
    struct ev_timer late = { .at = 40 * SEC }, early = { .at = 39 * SEC }, far = { .at = HOUR };

    wheel_init(&w, 0);
    wheel_add(&w, &far.link, far.at);
    wheel_add(&w, &late.link, late.at);
    wheel_add(&w, &early.link, early.at);
    assert_int_equal(wheel_next(&w), 39 * SEC);
    wheel_remove(&w, &early.link);
    assert_int_equal(wheel_next(&w), 40 * SEC);
    wheel_remove(&w, &late.link);
    assert_int_equal(wheel_next(&w), HOUR);
}

/* A removed timer leaves a slot bit behind at most; the wheel comes to rest. */
static void removed_timers_let_it_rest(void **state)
{
    (void)state;
    static struct wheel w;
    struct ev_timer t = { .at = 5 * SEC };
    struct list due;

    wheel_init(&w, 0);
    list_init(&due);
    wheel_add(&w, &t.link, t.at);
    wheel_remove(&w, &t.link);
    assert_true(wheel_next(&w) == TIME_NEVER);
    wheel_advance(&w, 6 * SEC, &due);
    assert_true(list_empty(&due));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_on_time),
        cmocka_unit_test(survives_a_long_sleep),
        cmocka_unit_test(sleeps_until_the_deadline),
        cmocka_unit_test(the_first_of_a_slot_counts),
        cmocka_unit_test(removed_timers_let_it_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

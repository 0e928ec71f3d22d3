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
    assert_true(looks < COUNT * 5);
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

/* A removed timer leaves a slot bit behind at most; the wheel comes to rest. */
static void removed_timers_let_it_rest(void **state)
{
    (void)state;
    static struct wheel w;
    struct ev_timer t = { .at = 5 * SEC };
    struct list due;
    int looks = 0;

    wheel_init(&w, 0);
    list_init(&due);
    wheel_add(&w, &t.link, t.at);
    wheel_remove(&w, &t.link);
    while (wheel_next(&w) != TIME_NEVER) {
        wheel_advance(&w, wheel_next(&w), &due);
        assert_true(list_empty(&due));
        assert_true(++looks < 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_on_time),
        cmocka_unit_test(survives_a_long_sleep),
        cmocka_unit_test(removed_timers_let_it_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

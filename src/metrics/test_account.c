#include <time.h>

#include "check.h"
#include "metrics/metrics.h"

static int set_up(void **state)
{
    (void)state;
    account_awake(true);
    return account_open(1) == 1 && account_open(2) == 2 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    account_thread_end();
    return 0;
}

/* Work that the compiler cannot take away, and of which n times as much takes n times as long. */
static volatile uint64_t sink;

static void work(unsigned amount)
{
    for (unsigned i = 0; i < amount * 20000; i++)
        sink += i * i;
}

static uint64_t cycles(uint32_t account, enum account_part part)
{
    return account_cell_of(account_charge_of(account, part))->cycles;
}

static uint64_t wakeups(uint32_t account, enum account_part part)
{
    return account_cell_of(account_charge_of(account, part))->wakeups;
}

/* Another thread that takes the core in the middle spoils a round, so there are several; a program that
 * charges wrongly spoils all of them. */
static void shares_are_as_the_work(void **state)
{
    bool good = false;

    (void)state;
    for (int round = 0; round < 200 && !good; round++) {
        uint64_t one = cycles(1, ACCOUNT_PROXY), three = cycles(2, ACCOUNT_PROXY);

        for (int i = 0; i < 10; i++) {
            account_switch(account_charge_of(1, ACCOUNT_PROXY));
            work(1);
            account_switch(account_charge_of(2, ACCOUNT_PROXY));
            work(3);
        }
        account_switch(0);
        one = cycles(1, ACCOUNT_PROXY) - one;
        three = cycles(2, ACCOUNT_PROXY) - three;
        good = three > one * 2 && three < one * 4;
    }
    assert_true(good);
}

static time_ns sum_of_all(const struct account_reading *r)
{
    struct account_cost cost;
    time_ns sum = 0;

    for (uint32_t account = 0; account < 16; account++)
        for (int part = 0; part < ACCOUNT_PART_COUNT; part++) {
            account_cost_get(r, account, part, &cost);
            sum += cost.cpu;
        }
    return sum;
}

static void all_cells_add_up_to_the_thread(void **state)
{
    struct account_reading r;
    time_ns sum;

    (void)state;
    account_switch(account_charge_of(1, ACCOUNT_TLS));
    work(200);
    account_switch(account_charge_of(2, ACCOUNT_RELAY));
    work(200);
    account_read(&r);
    sum = sum_of_all(&r);
    assert_true(r.thread_cpu > 0);
    assert_true(sum <= r.thread_cpu && sum > r.thread_cpu - 1000); /* each cell is rounded down */
    assert_true(r.missed <= r.thread_cpu / 2);                     /* the counter saw most of it itself */
}

static void another_part_is_the_same_account(void **state)
{
    account_charge was;

    (void)state;
    account_switch(account_charge_of(1, ACCOUNT_PROXY));
    was = account_switch_part(ACCOUNT_TLS);
    work(1);
    assert_int_equal(account_switch(was), account_charge_of(1, ACCOUNT_TLS));
    assert_true(cycles(1, ACCOUNT_TLS) > 0);
    assert_int_equal(accounts.charge, account_charge_of(1, ACCOUNT_PROXY));
}

static void a_claim_takes_what_has_passed(void **state)
{
    uint64_t before;

    (void)state;
    account_switch(account_charge_of(0, ACCOUNT_PATHS));
    before = cycles(0, ACCOUNT_PATHS);
    work(1);
    account_claim(account_charge_of(2, ACCOUNT_WIREGUARD));
    account_switch(0);
    assert_int_equal(cycles(0, ACCOUNT_PATHS), before);
    assert_true(cycles(2, ACCOUNT_WIREGUARD) > 0);
}

static void a_wake_up_is_paid_once_by_the_first_node(void **state)
{
    (void)state;
    account_asleep();
    account_awake(true);
    account_switch(account_charge_of(0, ACCOUNT_PATHS));
    account_switch(account_charge_of(2, ACCOUNT_WIREGUARD));
    account_switch(account_charge_of(1, ACCOUNT_PROXY));
    assert_int_equal(wakeups(2, ACCOUNT_WIREGUARD), 1);
    assert_int_equal(wakeups(1, ACCOUNT_PROXY), 0);
}

static void a_wake_up_for_no_node_is_nobodys(void **state)
{
    uint64_t before;

    (void)state;
    account_asleep();
    before = wakeups(0, ACCOUNT_OTHER);
    account_awake(true);
    account_asleep();
    account_awake(false); /* it only looked */
    account_asleep();
    assert_int_equal(wakeups(0, ACCOUNT_OTHER), before + 1);
    account_awake(true);
}

/* What a sleep was charged, and how long it was. */
static bool sleep_is_free(void)
{
    struct timespec pause = { .tv_nsec = 30 * 1000000 };
    uint64_t before, slept;

    account_asleep();
    before = cycles(0, ACCOUNT_OTHER);
    slept = account_clock();
    nanosleep(&pause, NULL);
    slept = account_clock() - slept;
    account_awake(true);
    account_asleep();
    before = cycles(0, ACCOUNT_OTHER) - before;
    account_awake(true);
    return before < slept / 2;
}

static void sleep_costs_nothing(void **state)
{
    bool free = false;

    (void)state;
    for (int round = 0; round < 20 && !free; round++) /* others may take the core in the middle of one */
        free = sleep_is_free();
    assert_true(free);
}

/* What runs between the two, if anything does, is in nobody's cell. */
static void nothing_is_charged_while_asleep(void **state)
{
    uint64_t before;

    (void)state;
    account_asleep();
    before = cycles(0, ACCOUNT_OTHER);
    work(10);
    account_asleep();
    assert_int_equal(cycles(0, ACCOUNT_OTHER), before);
    account_awake(true);
}

static void what_the_counter_missed_is_nobodys(void **state)
{
    struct account_reading r = { 0 };

    (void)state;
    for (int round = 0; round < 200 && r.missed <= 100000; round++) {
        account_asleep();
        work(200);
        account_awake(true);
        account_read(&r);
    }
    assert_true(r.missed > 100000);
    assert_true(sum_of_all(&r) <= r.thread_cpu && sum_of_all(&r) > r.thread_cpu - 1000);
}

static void wake_ups_of_a_closed_account_are_not_lost(void **state)
{
    uint64_t before, others;

    (void)state;
    account_awake(true);
    account_claim(account_charge_of(2, ACCOUNT_RELAY));
    account_switch(0);
    before = wakeups(2, ACCOUNT_RELAY);
    others = wakeups(0, ACCOUNT_RELAY);
    assert_true(before > 0);
    account_close(2);
    assert_int_equal(wakeups(2, ACCOUNT_RELAY), 0);
    assert_int_equal(wakeups(0, ACCOUNT_RELAY), others + before);
}

static void what_a_closed_account_cost_is_not_lost(void **state)
{
    uint64_t before;

    (void)state;
    account_switch(account_charge_of(2, ACCOUNT_CONTROL));
    work(1);
    account_switch(0);
    before = cycles(2, ACCOUNT_CONTROL);
    assert_true(before > 0);
    account_close(2);
    assert_int_equal(cycles(2, ACCOUNT_CONTROL), 0);
    assert_int_equal(cycles(0, ACCOUNT_CONTROL), before);
}

static void an_account_that_was_never_opened_is_nobodys(void **state)
{
    (void)state;
    assert_ptr_equal(account_cell_of(account_charge_of(999, ACCOUNT_TLS)),
                     account_cell_of(account_charge_of(0, ACCOUNT_TLS)));
    assert_int_equal(account_open(ACCOUNTS_MAX), 0);
    assert_int_equal(account_open(ACCOUNTS_MAX - 1), ACCOUNTS_MAX - 1);
    assert_int_equal(account_open(1000), 1000);
    assert_ptr_not_equal(account_cell_of(account_charge_of(1000, ACCOUNT_TLS)),
                         account_cell_of(account_charge_of(0, ACCOUNT_TLS)));
}

static const struct account_traffic *traffic(uint32_t account, enum account_part part,
                                             enum account_direction way)
{
    return &account_cell_of(account_charge_of(account, part))->traffic[way];
}

static void traffic_is_the_present_accounts_and_the_part_that_says_so(void **state)
{
    struct account_reading r;
    struct account_cost cost;

    (void)state;
    account_switch(account_charge_of(1, ACCOUNT_PROXY));
    account_count(ACCOUNT_TLS, ACCOUNT_OUT, 2, 300);
    account_count(ACCOUNT_TLS, ACCOUNT_OUT, 1, 30);
    account_switch(account_charge_of(2, ACCOUNT_OTHER));
    account_count(ACCOUNT_PROXY, ACCOUNT_IN, 4, 50);
    account_read(&r);
    account_cost_get(&r, 1, ACCOUNT_TLS, &cost);
    assert_int_equal(cost.traffic[ACCOUNT_OUT].packets, 3);
    assert_int_equal(cost.traffic[ACCOUNT_OUT].bytes, 330);
    assert_int_equal(cost.traffic[ACCOUNT_IN].bytes, 0);
    account_cost_get(&r, 2, ACCOUNT_PROXY, &cost);
    assert_int_equal(cost.traffic[ACCOUNT_IN].packets, 4);
    assert_int_equal(cost.traffic[ACCOUNT_IN].bytes, 50);
    assert_int_equal(traffic(1, ACCOUNT_PROXY, ACCOUNT_OUT)->bytes, 0);
}

/* Before the first turn, and between two turns, no cell is the present one. */
static void traffic_is_counted_while_no_time_is_charged(void **state)
{
    (void)state;
    account_switch(account_charge_of(2, ACCOUNT_RELAY));
    account_asleep();
    account_count(ACCOUNT_CONTROL, ACCOUNT_IN, 1, 20);
    assert_int_equal(traffic(2, ACCOUNT_CONTROL, ACCOUNT_IN)->bytes, 20);
}

static void what_a_closed_account_moved_is_nobodys(void **state)
{
    (void)state;
    account_switch(account_charge_of(1, ACCOUNT_RELAY));
    account_count(ACCOUNT_RELAY, ACCOUNT_IN, 1, 20);
    account_count(ACCOUNT_RELAY, ACCOUNT_OUT, 2, 40);
    account_close(1);
    assert_int_equal(traffic(1, ACCOUNT_RELAY, ACCOUNT_IN)->bytes, 0);
    assert_int_equal(traffic(0, ACCOUNT_RELAY, ACCOUNT_IN)->bytes, 20);
    assert_int_equal(traffic(0, ACCOUNT_RELAY, ACCOUNT_OUT)->packets, 2);
}

static void only_bytes_that_moved_are_counted(void **state)
{
    (void)state;
    account_switch(account_charge_of(1, ACCOUNT_TLS));
    assert_int_equal(account_moved(ACCOUNT_TLS, ACCOUNT_IN, -11), -11);
    assert_int_equal(account_moved(ACCOUNT_TLS, ACCOUNT_IN, 0), 0);
    assert_int_equal(account_moved(ACCOUNT_TLS, ACCOUNT_IN, 7), 7);
    assert_int_equal(traffic(1, ACCOUNT_TLS, ACCOUNT_IN)->bytes, 7);
    assert_int_equal(traffic(1, ACCOUNT_TLS, ACCOUNT_IN)->packets, 0);
}

static void a_block_takes_at_least_what_was_asked_for(void **state)
{
    (void)state;
    struct account_memory m = { 0 };
    void *block = malloc(1000);

    assert_non_null(block);
    assert_int_equal(account_block(NULL), 0);
    assert_in_range(account_block(block), 1000 + sizeof(size_t), 1200);
    account_hold_block(&m, ACCOUNT_TLS, block);
    account_hold(&m, ACCOUNT_PROXY, 5);
    assert_int_equal(m.bytes[ACCOUNT_TLS], account_block(block));
    assert_int_equal(account_memory_sum(&m), account_block(block) + 5);
    free(block);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(shares_are_as_the_work),
        T(all_cells_add_up_to_the_thread),
        T(another_part_is_the_same_account),
        T(a_claim_takes_what_has_passed),
        T(a_wake_up_is_paid_once_by_the_first_node),
        T(a_wake_up_for_no_node_is_nobodys),
        T(sleep_costs_nothing),
        T(nothing_is_charged_while_asleep),
        T(what_the_counter_missed_is_nobodys),
        T(wake_ups_of_a_closed_account_are_not_lost),
        T(what_a_closed_account_cost_is_not_lost),
        T(an_account_that_was_never_opened_is_nobodys),
        T(traffic_is_the_present_accounts_and_the_part_that_says_so),
        T(traffic_is_counted_while_no_time_is_charged),
        T(what_a_closed_account_moved_is_nobodys),
        T(only_bytes_that_moved_are_counted),
        T(a_block_takes_at_least_what_was_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "ev/internal.h"

static struct ev_loop *loop;

static int set_up(void **state)
{
    (void)state;
    return ev_loop_new(&loop);
}

static int tear_down(void **state)
{
    (void)state;
    ev_loop_free(loop);
    return 0;
}

struct counter {
    struct ev_timer timer;
    struct ev_task task;
    struct ev_io io;
    int count;
    unsigned events;
    struct ev_io *other;
};

static void stop_at_three(struct ev_timer *t, time_ns now)
{
    struct counter *c = CONTAINER_OF(t, struct counter, timer);

    if (++c->count == 3)
        ev_loop_stop(t->loop);
    else
        ev_timer_set(t, now + 2 * MSEC);
}

/* The system call, counted. */
static int waits;

int epoll_pwait(int fd, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
    waits++;
    return (int)syscall(SYS_epoll_pwait, fd, events, count, timeout, mask, _NSIG / 8);
}

static void timers_run_and_the_loop_sleeps_between(void **state)
{
    (void)state;
    struct counter c = { 0 };

    ev_timer_init(&c.timer, loop, stop_at_three);
    ev_timer_set(&c.timer, ev_now(loop) + MSEC);
    waits = 0;
    assert_int_equal(ev_loop_run(loop), 0);
    assert_int_equal(c.count, 3);
    assert_in_range(waits, 3, 8); /* however late each of them ends */
}

static void count_task(struct ev_task *t, time_ns now)
{
    struct counter *c = CONTAINER_OF(t, struct counter, task);

    (void)now;
    if (++c->count < 5)
        ev_task_post(t);
}

/* A task posted by a task still runs before the loop sleeps. */
static void tasks_run_until_none_is_left(void **state)
{
    (void)state;
    struct counter c = { 0 };

    ev_task_init(&c.task, loop, count_task);
    ev_task_post(&c.task);
    ev_task_post(&c.task);
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(c.count, 5);
}

static void note_events(struct ev_io *io, unsigned events, time_ns now)
{
    struct counter *c = CONTAINER_OF(io, struct counter, io);

    (void)now;
    c->count++;
    c->events |= events;
}

static void stop_other(struct ev_io *io, unsigned events, time_ns now)
{
    struct counter *c = CONTAINER_OF(io, struct counter, io);

    (void)events;
    (void)now;
    c->count++;
    ev_io_stop(c->other);
}

/* An io that another one stops in the same turn gets no event any more. */
static void a_stopped_io_is_silent(void **state)
{
    (void)state;
    struct counter pair[2] = { 0 };
    int a[2], b[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    ev_io_init(&pair[0].io, loop, stop_other);
    ev_io_init(&pair[1].io, loop, stop_other);
    pair[0].other = &pair[1].io;
    pair[1].other = &pair[0].io;
    assert_int_equal(ev_io_start(&pair[0].io, a[0]), 0);
    assert_int_equal(ev_io_start(&pair[1].io, b[0]), 0);
    assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_int_equal(pair[0].count + pair[1].count, 1);
    ev_io_stop(&pair[0].io);
    ev_io_stop(&pair[1].io);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static void reads_and_ends_are_told(void **state)
{
    (void)state;
    struct counter c = { 0 };
    uint8_t byte;
    int s[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
    ev_io_init(&c.io, loop, note_events);
    assert_int_equal(ev_io_start(&c.io, s[0]), 0);
    assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_int_equal(c.events, EV_WRITE);
    assert_int_equal(ev_read(s[0], &byte, 1), -EAGAIN);
    assert_int_equal(ev_write(s[1], span_from_str("x")), 1);
    assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_true(c.events & EV_READ);
    assert_int_equal(ev_read(s[0], &byte, 1), 1);
    close(s[1]);
    assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_int_equal(ev_read(s[0], &byte, 1), 0);
    ev_io_stop(&c.io);
    close(s[0]);
}

struct letter {
    struct ev_letter base;
    int number;
};

static void on_letter(void *owner, struct ev_letter *letter, time_ns now)
{
    struct letter *l = CONTAINER_OF(letter, struct letter, base);
    int *next = owner;

    (void)now;
    assert_int_equal(l->number, *next);
    if (++*next == 1000)
        ev_loop_stop(loop);
    free(l);
}

static void *post_letters(void *mailbox)
{
    for (int i = 0; i < 1000; i++) {
        struct letter *l = calloc(1, sizeof(*l));

        l->number = i;
        ev_mailbox_post(mailbox, &l->base);
    }
    return NULL;
}

static void letters_of_a_thread_arrive_in_order(void **state)
{
    (void)state;
    struct ev_mailbox *m;
    pthread_t thread;
    int next = 0;

    assert_int_equal(ev_mailbox_new(&m, loop, on_letter, &next), 0);
    assert_int_equal(pthread_create(&thread, NULL, post_letters, m), 0);
    assert_int_equal(ev_loop_run(loop), 0);
    pthread_join(thread, NULL);
    assert_int_equal(next, 1000);
    ev_mailbox_free(m);
}

/* ---- waking ------------------------------------------------------------------- */

/* The system call, counted. */
static atomic_int wake_signals;

int tgkill(pid_t process, pid_t thread, int signal)
{
    atomic_fetch_add(&wake_signals, 1);
    return (int)syscall(SYS_tgkill, process, thread, signal);
}

static void take_letter(void *owner, struct ev_letter *letter, time_ns now)
{
    (void)letter;
    (void)now;
    ++*(int *)owner;
}

struct caller {
    struct ev_loop *loop;
    struct ev_mailbox *mailbox;
    struct ev_letter letter;
};

static void *call_when_it_waits(void *arg)
{
    struct caller *c = arg;

    while (!atomic_load(&c->loop->wake.state)) /* it is awake */
        sched_yield();
    ev_mailbox_post(c->mailbox, &c->letter);
    return NULL;
}

static void a_letter_wakes_a_loop_that_waits(void **state)
{
    (void)state;
    struct caller c = { .loop = loop };
    pthread_t thread;
    int taken = 0;

    assert_int_equal(ev_mailbox_new(&c.mailbox, loop, take_letter, &taken), 0);
    atomic_store(&wake_signals, 0);
    assert_int_equal(pthread_create(&thread, NULL, call_when_it_waits, &c), 0);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    pthread_join(thread, NULL);
    assert_int_equal(taken, 1);
    assert_int_equal(atomic_load(&wake_signals), 1);
    ev_mailbox_free(c.mailbox);
}

/* Whoever is at work looks before it waits: no system call for what it finds then. */
static void a_loop_at_work_gets_letters_without_a_signal(void **state)
{
    (void)state;
    struct ev_letter letters[3] = { 0 };
    struct ev_mailbox *m;
    int taken = 0;

    assert_int_equal(ev_mailbox_new(&m, loop, take_letter, &taken), 0);
    atomic_store(&wake_signals, 0);
    for (size_t i = 0; i < COUNT_OF(letters); i++)
        ev_mailbox_post(m, &letters[i]);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    assert_int_equal(taken, 3);
    assert_int_equal(ev_loop_wakeups(loop), 0);
    assert_int_equal(atomic_load(&wake_signals), 0);
    ev_mailbox_free(m);
}

/* A signal that comes when the loop is up already, for another reason, ends the next wait and no other call.
 */
static void a_late_signal_interrupts_only_a_wait_of_the_loop(void **state)
{
    (void)state;
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(tgkill(getpid(), gettid(), SIGURG), 0);
    assert_int_equal(poll(NULL, 0, 10), 0);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    assert_int_equal(ev_loop_wakeups(loop), 1);
}

struct player {
    struct ev_loop *loop;
    struct ev_mailbox *mailbox;
    struct player *other;
    int left;
};

static void play(void *owner, struct ev_letter *letter, time_ns now)
{
    struct player *p = owner;

    (void)now;
    if (--p->left) {
        ev_mailbox_post(p->other->mailbox, letter);
        return;
    }
    ev_loop_stop(p->loop);
    ev_loop_stop(p->other->loop);
}

static void *run_player(void *arg)
{
    struct player *p = arg;

    must(ev_loop_run(p->loop) == 0);
    return NULL;
}

/* Each answers at once, so the letter comes while the other is about to wait, in every way there is. One call
 * missed and both wait for ever. */
static void letters_to_and_fro_are_never_missed(void **state)
{
    (void)state;
    struct player p[2] = { { .loop = loop, .left = 20000 }, { .left = 20000 } };
    struct ev_letter letter = { 0 };
    pthread_t thread;

    assert_int_equal(ev_loop_new(&p[1].loop), 0);
    for (int i = 0; i < 2; i++) {
        p[i].other = &p[!i];
        assert_int_equal(ev_mailbox_new(&p[i].mailbox, p[i].loop, play, &p[i]), 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, run_player, &p[1]), 0);
    ev_mailbox_post(p[0].mailbox, &letter);
    assert_int_equal(ev_loop_run(loop), 0);
    pthread_join(thread, NULL);
    ev_mailbox_free(p[1].mailbox);
    ev_mailbox_free(p[0].mailbox);
    ev_loop_free(p[1].loop);
}

/* A loop may be run by one thread, then by another; who calls finds the present one, and a thread that is
 * gone is not missed. */
static void calls_reach_whoever_runs_the_loop_now(void **state)
{
    (void)state;
    struct player first = { .loop = loop };
    pthread_t thread;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&thread, NULL, run_player, &first), 0);
        while (!atomic_load(&loop->wake.state))
            sched_yield();
        ev_loop_stop(loop);
        pthread_join(thread, NULL);
        assert_int_not_equal(loop->wake.thread, gettid());
    }
    atomic_store(&loop->wake.state, 1); /* as if it had been seen waiting a moment ago */
    ev_loop_stop(loop);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
}

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- signals -------------------------------------------------------------------- */

static int heard[NSIG];

static void hear(void *owner, int signal)
{
    (void)owner;
    heard[signal]++;
}

static const int signals[] = { SIGTERM, SIGHUP, SIGUSR1 };

static void signals_come_as_calls_and_interrupt_nothing_else(void **state)
{
    (void)state;
    memset(heard, 0, sizeof(heard));
    assert_int_equal(ev_signals_start(loop, signals, COUNT_OF(signals), hear, NULL), 0);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(poll(NULL, 0, 10), 0);
    assert_int_equal(heard[SIGHUP], 0);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    assert_int_equal(heard[SIGHUP], 1);
    assert_int_equal(heard[SIGTERM], 1);
    assert_int_equal(heard[SIGUSR1], 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    assert_int_equal(heard[SIGUSR1], 1);
    assert_int_equal(heard[SIGHUP], 1);
    ev_signals_stop(loop);
    assert_int_equal(kill(getpid(), SIGHUP), 0); /* to nobody, and harmless */
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(heard[SIGHUP], 1);
}

static void stop_signals(void *owner, int signal)
{
    hear(owner, signal);
    ev_signals_stop(loop);
}

static void signals_may_be_stopped_by_one(void **state)
{
    (void)state;
    memset(heard, 0, sizeof(heard));
    assert_int_equal(ev_signals_start(loop, signals, COUNT_OF(signals), stop_signals, NULL), 0);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    assert_int_equal(heard[SIGHUP] + heard[SIGTERM], 1);
}

static void read_and_write(struct ev_io *io, unsigned events, time_ns now)
{
    char byte;

    (void)events;
    (void)now;
    assert_int_equal(ev_read(io->fd, &byte, 1), 1);
    assert_int_equal(ev_write(CONTAINER_OF(io, struct counter, io)->count, span_from_str("x")), 1);
}

/* The kernel tells of descriptors first. */
static void a_loop_that_never_waits_hears_signals(void **state)
{
    (void)state;
    struct counter c = { 0 };
    int pair[2], turns = 0;

    memset(heard, 0, sizeof(heard));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    ev_io_init(&c.io, loop, read_and_write);
    c.count = pair[1];
    assert_int_equal(ev_io_start_reader(&c.io, pair[0]), 0);
    assert_int_equal(ev_write(pair[1], span_from_str("x")), 1);
    assert_int_equal(ev_signals_start(loop, signals, COUNT_OF(signals), hear, NULL), 0);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    while (!heard[SIGTERM] && turns++ < 100)
        assert_int_equal(ev_loop_turn(loop, TIME_NEVER), 0);
    assert_int_equal(heard[SIGTERM], 1);
    ev_signals_stop(loop);
    ev_io_stop(&c.io);
    close(pair[0]);
    close(pair[1]);
}

static void a_loop_with_letters_and_signals_holds_one_descriptor(void **state)
{
    (void)state;
    int before = descriptors(), taken = 0;
    struct ev_loop *other;
    struct ev_mailbox *m;

    assert_int_equal(ev_loop_new(&other), 0);
    assert_int_equal(ev_mailbox_new(&m, other, take_letter, &taken), 0);
    assert_int_equal(ev_signals_start(other, signals, COUNT_OF(signals), hear, NULL), 0);
    assert_int_equal(descriptors(), before + 1);
    ev_mailbox_free(m);
    ev_loop_free(other);
    assert_int_equal(descriptors(), before);
}

struct question {
    int calls, status;
    size_t count;
    struct ip first;
};

static void on_answer(void *owner, int status, const struct ip *addresses, size_t count)
{
    struct question *q = owner;

    q->calls++;
    q->status = status;
    q->count = count;
    if (count)
        q->first = addresses[0];
    ev_loop_stop(loop);
}

static void free_the_other(void *owner, struct ev_letter *letter, time_ns now)
{
    struct ev_mailbox **other = owner;

    (void)letter;
    (void)now;
    ev_mailbox_free(*other);
    *other = NULL;
}

static void never(void *owner, struct ev_letter *letter, time_ns now)
{
    (void)owner;
    (void)letter;
    (void)now;
    fail();
}

/* A letter may be the end of the object that owns the next mailbox. */
static void a_letter_may_free_another_mailbox(void **state)
{
    (void)state;
    struct ev_letter letter = { 0 };
    struct ev_mailbox *first, *next;

    assert_int_equal(ev_mailbox_new(&first, loop, free_the_other, &next), 0);
    assert_int_equal(ev_mailbox_new(&next, loop, never, NULL), 0);
    ev_mailbox_post(first, &letter);
    assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_null(next);
    ev_mailbox_free(first);
}

static void names_are_answered_from_the_loop(void **state)
{
    (void)state;
    struct question literal = { 0 }, local = { 0 }, cancelled = { 0 };
    struct ev_resolve *r;

    assert_int_equal(ev_resolve_start(&r, loop, "192.0.2.1", on_answer, &literal), 0);
    assert_int_equal(literal.calls, 0);
    assert_int_equal(ev_loop_run(loop), 0);
    assert_int_equal(literal.calls, 1);
    assert_int_equal(literal.count, 1);
    assert_int_equal(ev_resolve_start(&r, loop, "localhost", on_answer, &local), 0);
    assert_int_equal(ev_loop_run(loop), 0);
    assert_int_equal(local.status, 0);
    assert_true(ip_is_loopback(&local.first));
    assert_int_equal(ev_resolve_start(&r, loop, "192.0.2.2", on_answer, &cancelled), 0);
    ev_resolve_cancel(r);
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(cancelled.calls, 0);
}

/* The clocks of the program under test: real ones, plus what a test adds. */
static time_ns boot_gain, wall_gain;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long r = syscall(SYS_clock_gettime, clock, t);

    if (clock == CLOCK_BOOTTIME)
        t->tv_sec += boot_gain / SEC;
    if (clock == CLOCK_REALTIME)
        t->tv_sec += wall_gain / SEC;
    return (int)r;
}

static void on_slept(void *owner, time_ns slept, time_ns now)
{
    (void)now;
    *(time_ns *)owner += slept;
}

/* A turn that slept a moment and woke. */
static void doze(void)
{
    assert_int_equal(ev_loop_turn(loop, MSEC), 0);
}

static void a_sleep_of_the_machine_is_told_once_at_the_next_wake_up(void **state)
{
    (void)state;
    time_ns slept = 0;

    ev_loop_watch_sleep(loop, on_slept, &slept);
    doze();
    assert_int_equal(slept, 0);
    boot_gain += 60 * SEC;
    wall_gain += 60 * SEC;
    doze();
    assert_in_range(slept, 59 * SEC, 61 * SEC);
    doze();
    assert_in_range(slept, 59 * SEC, 61 * SEC);
    wall_gain += 600 * SEC; /* a virtual machine that stood still: only the wall clock was set */
    doze();
    assert_in_range(slept, 659 * SEC, 661 * SEC);
}

static void a_clock_set_right_is_no_sleep(void **state)
{
    (void)state;
    time_ns slept = 0;

    ev_loop_watch_sleep(loop, on_slept, &slept);
    wall_gain += 20 * SEC;
    doze();
    wall_gain -= 3600 * SEC;
    doze();
    boot_gain += SEC;
    doze();
    assert_int_equal(slept, 0);
}

static account_charge seen;

static void see_timer(struct ev_timer *t, time_ns now)
{
    (void)t;
    (void)now;
    seen = accounts.charge;
}

static void see_task(struct ev_task *t, time_ns now)
{
    (void)t;
    (void)now;
    seen = accounts.charge;
}

static void see_io(struct ev_io *io, unsigned events, time_ns now)
{
    (void)io;
    (void)events;
    (void)now;
    seen = accounts.charge;
}

/* A turn with the callback of whoever set it; the next one is nobody's again. */
static void turn_of(account_charge charge)
{
    seen = 0;
    account_switch(0);
    while (!seen)
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_int_equal(seen, charge);
}

static void callbacks_are_charged_to_whoever_asked_for_them(void **state)
{
    account_charge charge = account_charge_of(account_open(7), ACCOUNT_CONTROL);
    struct ev_timer timer;
    struct ev_task task;
    struct ev_io io;
    int pair[2];

    (void)state;
    ev_timer_init(&timer, loop, see_timer);
    ev_task_init(&task, loop, see_task);
    ev_io_init(&io, loop, see_io);
    account_switch(charge);
    ev_timer_set(&timer, ev_now(loop) + MSEC);
    turn_of(charge);
    account_switch(charge);
    ev_task_post(&task);
    turn_of(charge);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    account_switch(charge);
    assert_int_equal(ev_io_start_reader(&io, pair[0]), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    turn_of(charge);
    ev_io_stop(&io);
    close(pair[0]);
    close(pair[1]);
    account_thread_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_run_and_the_loop_sleeps_between, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tasks_run_until_none_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stopped_io_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_and_ends_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(letters_of_a_thread_arrive_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_letter_wakes_a_loop_that_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loop_at_work_gets_letters_without_a_signal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_late_signal_interrupts_only_a_wait_of_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(letters_to_and_fro_are_never_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_reach_whoever_runs_the_loop_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signals_come_as_calls_and_interrupt_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signals_may_be_stopped_by_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loop_that_never_waits_hears_signals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loop_with_letters_and_signals_holds_one_descriptor, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_letter_may_free_another_mailbox, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_answered_from_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sleep_of_the_machine_is_told_once_at_the_next_wake_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_clock_set_right_is_no_sleep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(callbacks_are_charged_to_whoever_asked_for_them, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "daemon/notify.h"

/* A service manager: a socket of our own, and the shards of a process. */
static struct world {
    struct ev_loop *loop;
    struct notify *notify;
    struct notify_counts counts;
    char folder[32], path[64];
    int fd, asked;
} w;

static void ask_shards(void *ctx)
{
    (void)ctx;
    w.asked++;
}

static void count(void *ctx, struct notify_counts *out)
{
    (void)ctx;
    *out = w.counts;
}

static const struct notify_ops ops = { ask_shards, count };

static int set_up(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)state;
    w = (struct world) { .folder = "/tmp/notify.XXXXXX", .counts = { .all = 3, .starting = 3 } };
    if (!mkdtemp(w.folder) || ev_loop_new(&w.loop))
        return -1;
    snprintf(w.path, sizeof(w.path), "%s/socket", w.folder);
    strcpy(address.sun_path, w.path);
    w.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (bind(w.fd, (struct sockaddr *)&address, sizeof(address)))
        return -1;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return setenv("NOTIFY_SOCKET", w.path, 1);
}

static int tear_down(void **state)
{
    (void)state;
    notify_free(w.notify);
    ev_loop_free(w.loop);
    close(w.fd);
    unlink(w.path);
    rmdir(w.folder);
    return 0;
}

static void start(size_t shards)
{
    assert_int_equal(notify_new(&w.notify, w.loop, shards, &ops, NULL), 0);
    notify_started(w.notify);
}

/* The next datagram; "" if none waits. */
static const char *heard(void)
{
    static char text[512];
    ssize_t n = recv(w.fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = 0;
    return text;
}

/* Turns the loop until a datagram is there. */
static const char *hear(void)
{
    const char *text;

    while (!*(text = heard()))
        assert_int_equal(ev_loop_turn(w.loop, SEC), 0);
    return text;
}

static void ready_is_said_when_no_service_is_starting_any_more(void **state)
{
    (void)state;
    start(1);
    w.counts = (struct notify_counts) { .all = 3, .up = 2, .starting = 1 };
    notify_services(w.notify);
    assert_string_equal(heard(), "");
    w.counts = (struct notify_counts) { .all = 3, .up = 1, .need_login = 1, .failed = 1 };
    notify_services(w.notify);
    assert_string_equal(heard(), "READY=1\nSTATUS=3 services: 1 up, 1 needs a login, 1 failed");
    assert_string_equal(heard(), "");
}

static void ready_is_said_once_and_changes_are_told_as_status(void **state)
{
    (void)state;
    start(1);
    w.counts = (struct notify_counts) { .all = 1, .up = 1 };
    notify_services(w.notify);
    assert_string_equal(heard(), "READY=1\nSTATUS=1 service: 1 up");
    w.counts = (struct notify_counts) { .all = 1, .starting = 1 };
    notify_services(w.notify);
    w.counts = (struct notify_counts) { .all = 1, .up = 1 };
    notify_services(w.notify);
    assert_string_equal(hear(), "STATUS=1 service: 1 up");
    assert_string_equal(heard(), "");
}

static void a_reload_is_announced_with_its_time_and_ended(void **state)
{
    (void)state;
    start(1);
    w.counts = (struct notify_counts) { .all = 1, .up = 1 };
    notify_services(w.notify);
    heard();
    notify_reloading(w.notify, 12345678 * USEC);
    assert_string_equal(heard(), "RELOADING=1\nMONOTONIC_USEC=12345678");
    notify_reloaded(w.notify);
    assert_string_equal(heard(), "READY=1\nSTATUS=1 service: 1 up");
}

static void a_reload_before_the_services_are_up_does_not_say_ready(void **state)
{
    (void)state;
    start(1);
    notify_reloading(w.notify, SEC);
    heard();
    notify_reloaded(w.notify);
    assert_string_equal(heard(), "");
}

static void stopping_is_said_and_nothing_after_it(void **state)
{
    (void)state;
    start(1);
    notify_stopping(w.notify);
    assert_int_equal(strncmp(heard(), "STOPPING=1\n", 11), 0);
    w.counts.starting = 0;
    notify_services(w.notify);
    assert_string_equal(heard(), "");
}

static void without_a_watchdog_nobody_is_asked(void **state)
{
    (void)state;
    start(2);
    assert_int_equal(w.asked, 0);
}

static void a_watchdog_meant_for_another_process_is_not_ours(void **state)
{
    (void)state;
    setenv("WATCHDOG_USEC", "20000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    start(2);
    assert_int_equal(w.asked, 0);
}

static void a_sign_of_life_needs_the_answer_of_every_shard(void **state)
{
    (void)state;
    setenv("WATCHDOG_USEC", "20000", 1);
    start(2);
    assert_int_equal(w.asked, 1);
    notify_shard_alive(w.notify, 1);
    notify_shard_alive(w.notify, 1);
    assert_string_equal(heard(), "");
    notify_shard_alive(w.notify, 0);
    assert_string_equal(heard(), "WATCHDOG=1");
    notify_shard_alive(w.notify, 0);
    assert_string_equal(heard(), "");
}

static void a_silent_shard_is_asked_again_and_no_sign_is_sent(void **state)
{
    (void)state;
    setenv("WATCHDOG_USEC", "20000", 1);
    start(2);
    notify_shard_alive(w.notify, 0);
    while (w.asked < 3)
        assert_int_equal(ev_loop_turn(w.loop, SEC), 0);
    assert_string_equal(heard(), "");
    notify_shard_alive(w.notify, 1);
    assert_string_equal(heard(), ""); /* the other one's answer was to an older question */
    notify_shard_alive(w.notify, 0);
    assert_string_equal(heard(), "WATCHDOG=1");
}

static void without_a_manager_nothing_is_said_and_no_timer_runs(void **state)
{
    (void)state;
    setenv("WATCHDOG_USEC", "20000", 1);
    unsetenv("NOTIFY_SOCKET");
    start(2);
    w.counts.starting = 0;
    notify_services(w.notify);
    notify_stopping(w.notify);
    assert_int_equal(w.asked, 0);
    assert_string_equal(heard(), "");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(ready_is_said_when_no_service_is_starting_any_more),
        T(ready_is_said_once_and_changes_are_told_as_status),
        T(a_reload_is_announced_with_its_time_and_ended),
        T(a_reload_before_the_services_are_up_does_not_say_ready),
        T(stopping_is_said_and_nothing_after_it),
        T(without_a_watchdog_nobody_is_asked),
        T(a_watchdog_meant_for_another_process_is_not_ours),
        T(a_sign_of_life_needs_the_answer_of_every_shard),
        T(a_silent_shard_is_asked_again_and_no_sign_is_sent),
        T(without_a_manager_nothing_is_said_and_no_timer_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

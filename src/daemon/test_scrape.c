#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "daemon/internal.h"

static const struct metrics_family family = { "t_letters", METRICS_GAUGE, "Letters." };

/* A process with two shards that the test answers for. */
static struct world {
    struct daemon d;
    struct daemon_shard shards[2];
    struct config config;
    struct ip_port at;
    uint64_t asked[2]; /* the id of the question; 0: none */
    int fd;
    char answer[65536];
    size_t len;
    bool ended;
} w;

static void on_question(void *owner, struct ev_letter *base, time_ns now)
{
    struct letter *l = CONTAINER_OF(base, struct letter, base);

    (void)now;
    assert_int_equal(l->kind, LETTER_METRICS);
    w.asked[(struct daemon_shard *)owner - w.shards] = l->id;
    letter_free(l);
}

/* At a port that is free: asked for, and given back. Somebody else may take it in between. */
static int open_scrape(void)
{
    int r = -EADDRINUSE;

    for (int i = 0; i < 100 && r == -EADDRINUSE; i++) {
        struct ip_port at = { .port = 0 };
        int fd;

        scrape_close(&w.d);
        free(w.config.prometheus_address);
        w.config.prometheus_address = NULL;
        if (!ip_parse(span_from_str("127.0.0.1"), &at.ip) || ev_tcp_listen(&at, &fd, &at.port))
            return -1;
        ev_close(&fd);
        w.at = at;
        if (asprintf(&w.config.prometheus_address, "127.0.0.1:%u", at.port) < 0)
            return -1;
        r = scrape_open(&w.d, &w.config);
    }
    return r;
}

static int set_up(void **state)
{
    (void)state;
    w = (struct world) { .fd = -1, .d = { .shards = w.shards, .shard_count = 2 } };
    services_init(&w.d);
    if (ev_loop_new(&w.d.loop))
        return -1;
    for (int i = 0; i < 2; i++)
        if (ev_mailbox_new(&w.shards[i].mailbox, w.d.loop, on_question, &w.shards[i]))
            return -1;
    return open_scrape();
}

static int tear_down(void **state)
{
    (void)state;
    ev_close(&w.fd);
    scrape_close(&w.d);
    for (int i = 0; i < 2; i++)
        ev_mailbox_free(w.shards[i].mailbox);
    services_deinit(&w.d);
    ev_loop_free(w.d.loop);
    free(w.config.prometheus_address);
    return 0;
}

static void turn(void)
{
    assert_int_equal(ev_loop_turn(w.d.loop, MSEC), 0);
}

static void send_text(const char *text)
{
    assert_int_equal(ev_write(w.fd, span_from_str(text)), (ssize_t)strlen(text));
}

static void ask(const char *request)
{
    assert_int_equal(ev_tcp_connect(&w.at, &w.fd), 0);
    turn();
    send_text(request);
}

/* Until the server ends the connection. */
static const char *hear(void)
{
    while (!w.ended) {
        ssize_t n = ev_read(w.fd, w.answer + w.len, sizeof(w.answer) - 1 - w.len);

        turn();
        if (n > 0)
            w.len += (size_t)n;
        w.ended = n != -EAGAIN && n <= 0;
    }
    return w.answer;
}

static void answer_for(int shard)
{
    struct metrics_page *page;

    while (!w.asked[shard])
        turn();
    assert_int_equal(metrics_page_new(&page), 0);
    metrics_put_u64(page, &family, METRICS_LABELS("shard", shard ? "1" : "0"), 7);
    scrape_answer(&w.d, w.asked[shard], page);
    metrics_page_free(page);
}

static void the_page_has_what_every_shard_said(void **state)
{
    (void)state;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n");
    answer_for(1);
    answer_for(0);
    hear();
    assert_non_null(strstr(w.answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(w.answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(
        strstr(w.answer, "# TYPE t_letters gauge\nt_letters{shard=\"1\"} 7\nt_letters{shard=\"0\"} 7\n"));
    assert_non_null(strstr(w.answer, "process_resident_memory_bytes "));
    assert_non_null(strstr(w.answer, "manytails_services{state=\"up\"} 0\n"));
}

static void the_length_is_that_of_the_page(void **state)
{
    const char *body, *length;

    (void)state;
    ask("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    answer_for(0);
    answer_for(1);
    hear();
    body = strstr(w.answer, "\r\n\r\n");
    length = strstr(w.answer, "Content-Length: ");
    assert_true(body && length);
    assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body + 4));
}

static void a_head_has_no_body(void **state)
{
    (void)state;
    ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    answer_for(0);
    answer_for(1);
    hear();
    assert_string_equal(strstr(w.answer, "\r\n\r\n"), "\r\n\r\n");
}

static void a_request_in_pieces_is_one_request(void **state)
{
    (void)state;
    ask("GET /met");
    turn();
    send_text("rics HTTP/1.1\r\nHo");
    turn();
    send_text("st: x\r\n\r\n");
    answer_for(0);
    answer_for(1);
    assert_non_null(strstr(hear(), " 200 OK"));
}

static void assert_refused(const char *request, const char *status)
{
    ask(request);
    assert_int_equal(strncmp(hear() + 9, status, 3), 0);
    assert_int_equal(w.asked[0], 0);
}

static void other_paths_are_not_found(void **state)
{
    (void)state;
    assert_refused("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404");
}

static void profiles_of_go_are_not_here(void **state)
{
    (void)state;
    assert_refused("GET /debug/pprof/heap HTTP/1.1\r\nHost: x\r\n\r\n", "404");
    assert_non_null(strstr(w.answer, "manytails top"));
}

static void other_methods_are_refused(void **state)
{
    (void)state;
    assert_refused("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405");
    assert_non_null(strstr(w.answer, "Allow: GET, HEAD\r\n"));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    assert_refused("\x16\x03\x01 what\r\n\r\n", "400");
}

static void a_client_that_left_does_not_disturb_its_answer(void **state)
{
    (void)state;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!w.asked[0] || !w.asked[1])
        turn();
    ev_close(&w.fd);
    turn();
    turn();
    answer_for(0);
    answer_for(1);
}

static void clients_beyond_the_limit_are_turned_away(void **state)
{
    int fds[DAEMON_SCRAPE_CLIENTS_MAX];
    uint8_t byte;

    (void)state;
    for (int i = 0; i < DAEMON_SCRAPE_CLIENTS_MAX; i++) {
        assert_int_equal(ev_tcp_connect(&w.at, &fds[i]), 0);
        turn();
    }
    assert_int_equal(ev_tcp_connect(&w.at, &w.fd), 0);
    hear();
    assert_int_equal(w.len, 0);
    assert_int_equal(ev_read(fds[0], &byte, 1), -EAGAIN);
    for (int i = 0; i < DAEMON_SCRAPE_CLIENTS_MAX; i++)
        ev_close(&fds[i]);
}

/* The loop's clock, and what a test adds to it. */
static time_ns gain;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long r = syscall(SYS_clock_gettime, clock, t);

    if (clock == CLOCK_MONOTONIC)
        t->tv_sec += gain / SEC;
    return (int)r;
}

static void a_client_that_asks_nothing_is_cut_and_counted(void **state)
{
    (void)state;
    assert_int_equal(ev_tcp_connect(&w.at, &w.fd), 0);
    turn();
    gain += 60 * SEC;
    hear();
    assert_int_equal(w.len, 0);
    ev_close(&w.fd);
    w.ended = false;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    answer_for(0);
    answer_for(1);
    assert_non_null(strstr(hear(), "\nmanytails_scrapes_cut_total 1\n"));
}

static void a_second_request_is_not_answered(void **state)
{
    uint64_t first;

    (void)state;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!w.asked[0] || !w.asked[1])
        turn();
    first = w.asked[0];
    send_text("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 5; i++)
        turn();
    assert_int_equal(w.asked[0], first);
    answer_for(0);
    answer_for(1);
    assert_non_null(strstr(hear(), " 200 OK"));
    assert_null(strstr(w.answer + 1, "HTTP/1.1"));
}

static uint64_t open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint64_t n = 0;

    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n - 3; /* ".", ".." and the folder itself */
}

static double value_of(const char *name)
{
    char line[80];
    const char *at;

    snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(w.answer, line);
    assert_non_null(at);
    return strtod(at + strlen(line), NULL);
}

static void what_the_process_says_of_itself_is_so(void **state)
{
    uint64_t descriptors;
    double began;

    (void)state;
    w.d.started_at = ev_clock() - 3600 * SEC;
    began = (double)ev_wall_clock() / (double)SEC - 3600;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    answer_for(0);
    while (!w.asked[1])
        turn();
    descriptors = open_descriptors();
    answer_for(1);
    hear();
    assert_true(value_of("process_open_fds") == (double)descriptors);
    assert_true(value_of("process_start_time_seconds") > began - 600);
    assert_true(value_of("process_start_time_seconds") < began + 600);
}

/* As `nc -N` does it. */
static void a_client_that_ends_its_side_gets_its_answer(void **state)
{
    (void)state;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(ev_shutdown_write(w.fd), 0);
    answer_for(0);
    turn();
    answer_for(1);
    assert_non_null(strstr(hear(), " 200 OK"));
}

static void a_client_that_talks_on_is_cut(void **state)
{
    static const uint8_t noise[4096];

    (void)state;
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for (size_t sent = 0; !w.ended;) {
        ssize_t n = ev_write(w.fd, SPAN_OF(noise));

        sent += n > 0 ? (size_t)n : 0;
        w.ended = n < 0 && n != -EAGAIN;
        assert_true(sent < 16u << 20); /* what sockets hold is less */
        turn();
    }
}

static void who_is_cut_at_the_admin_socket_is_on_the_page(void **state)
{
    char directory[] = "/tmp/test-scrape-XXXXXX", path[sizeof(directory) + 8];
    int fds[DAEMON_ADMIN_CLIENTS_MAX + 2];

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/admin", directory);
    w.d.socket_path = path;
    assert_int_equal(admin_open(&w.d), 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        assert_int_equal(ev_unix_connect(path, &fds[i]), 0);
        turn();
    }
    ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    answer_for(0);
    answer_for(1);
    assert_non_null(strstr(hear(), "\nmanytails_admin_clients_cut_total 2\n"));
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        ev_close(&fds[i]);
    admin_close(&w.d);
    assert_int_equal(rmdir(directory), 0);
}

static void a_port_that_is_taken_ends_the_start_if_it_was_asked_for(void **state)
{
    struct daemon other = { .loop = w.d.loop };

    (void)state;
    assert_int_equal(scrape_open(&other, &w.config), -EADDRINUSE);
    scrape_close(&other);
}

static void no_address_means_no_listener(void **state)
{
    struct daemon other = { .loop = w.d.loop };
    struct config none = { .prometheus_address = (char[]) { "" } };

    (void)state;
    assert_int_equal(scrape_open(&other, &none), 0);
    assert_null(other.scrape);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_page_has_what_every_shard_said),
        T(the_length_is_that_of_the_page),
        T(a_head_has_no_body),
        T(a_request_in_pieces_is_one_request),
        T(other_paths_are_not_found),
        T(profiles_of_go_are_not_here),
        T(other_methods_are_refused),
        T(nonsense_is_refused),
        T(a_client_that_left_does_not_disturb_its_answer),
        T(clients_beyond_the_limit_are_turned_away),
        T(a_client_that_asks_nothing_is_cut_and_counted),
        T(a_second_request_is_not_answered),
        T(what_the_process_says_of_itself_is_so),
        T(a_client_that_ends_its_side_gets_its_answer),
        T(a_client_that_talks_on_is_cut),
        T(who_is_cut_at_the_admin_socket_is_on_the_page),
        T(a_port_that_is_taken_ends_the_start_if_it_was_asked_for),
        T(no_address_means_no_listener),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

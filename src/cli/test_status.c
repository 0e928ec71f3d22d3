#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "cli/status.h"
#include "daemon/daemon.h"
#include "node/node.h"

#define NOW (1764338520 * SEC) /* 2025-11-28T14:02:00Z */

#define WEB                                                                                                \
    "{\"name\":\"web\",\"state\":\"running\",\"sentence\":\"connected to the tailnet\","                   \
    "\"since\":\"2025-11-28T13:40:00Z\",\"detail\":\"connected to https://hs\",\"fullName\":\"web.lab.\"," \
    "\"addresses\":[\"100.64.0.2\",\"fd7a::2\"],\"relay\":\"connected to fra\","                           \
    "\"control\":{\"url\":\"https://hs\",\"connects\":1},\"peersKnown\":12,"                               \
    "\"certificate\":{\"name\":\"web.lab\",\"notAfter\":\"2026-02-01T00:00:00Z\",\"trouble\":null},"       \
    "\"peers\":[{\"name\":\"laptop\",\"path\":\"direct\",\"address\":\"192.0.2.1:41641\",\"latencyMs\":1." \
    "25,"                                                                                                  \
    "\"bytesIn\":3000000,\"bytesOut\":12},{\"name\":\"phone\",\"path\":\"relay\",\"bytesIn\":1,"           \
    "\"bytesOut\":2},"                                                                                     \
    "{\"name\":\"git\",\"path\":\"this process\"}],"                                                       \
    "\"requests\":{\"total\":1234,\"active\":2,\"status2xx\":1200,\"status3xx\":30,\"status4xx\":3,"       \
    "\"status5xx\":1,\"proxyErrors\":1,\"bytesIn\":5,\"bytesOut\":1230000},\"blockedByPolicy\":7}"
#define GIT                                                                                                  \
    "{\"name\":\"git\",\"state\":\"waiting for approval\",\"sentence\":\"waiting for approval in the admin " \
    "console\",\"since\":\"2025-11-27T14:02:00Z\",\"detail\":\"an administrator must approve this node\","   \
    "\"addresses\":[],\"requests\":{\"total\":0}}"
#define WIKI                                                                                             \
    "{\"name\":\"wiki\",\"state\":\"needs login\",\"sentence\":\"waiting for somebody to log this node " \
    "in\","                                                                                              \
    "\"since\":\"2024-11-28T14:02:00Z\",\"detail\":\"to log this node in, open https://login/1\","       \
    "\"authURL\":\"https://login/1\"}"
#define ANSWER(services) \
    "{\"version\":\"1\",\"uptimeSeconds\":7300,\"services\":[" services "],\"shards\":[]}\n"

static char *text;

static int show(const char *answer, const char *name, size_t width)
{
    struct status_view view = { .name = name, .width = width, .now = NOW };
    size_t len;
    FILE *out;
    int r;

    free(text);
    out = open_memstream(&text, &len);
    assert_non_null(out);
    r = status_print(out, span_from_str(answer), &view);
    assert_int_equal(fclose(out), 0);
    return r;
}

static int setup(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(text);
    text = NULL;
    return 0;
}

static void a_wide_terminal_gets_a_row_per_service_sorted_by_name(void **state)
{
    (void)state;
    assert_int_equal(show(ANSWER(WEB "," WIKI "," GIT), NULL, 120), 0);
    assert_string_equal(
        text, "NAME  ADDRESS           REQUESTS       OUT  D/RELAY  STATE\n"
              "git                            0       0 B      0/0  waiting for approval in the admin "
              "console since 27 Nov "
              "14:02\n"
              "      an administrator must approve this node\n"
              "web   100.64.0.2            1234    1.2 MB      1/1  connected to the tailnet since 13:40\n"
              "wiki                           0       0 B      0/0  waiting for somebody to log this node in "
              "since 28 Nov "
              "2024 14:02\n"
              "      https://login/1\n"
              "3 services: 1 waiting for somebody to log this node in, 1 waiting for approval in the admin "
              "console, 1 "
              "connected to the tailnet; up for 2 hours\n");
}

static void a_narrow_terminal_gets_short_lines(void **state)
{
    (void)state;
    assert_int_equal(show(ANSWER(WEB "," GIT), NULL, 80), 0);
    assert_string_equal(text, "git: waiting for approval in the admin console since 27 Nov 14:02\n"
                              "  0 requests, 0 B out; peers: 0 direct, 0 by relay\n"
                              "  an administrator must approve this node\n"
                              "web: connected to the tailnet since 13:40\n"
                              "  100.64.0.2, 1234 requests, 1.2 MB out; peers: 1 direct, 1 by relay\n"
                              "2 services: 1 waiting for approval in the admin console, 1 connected to the "
                              "tailnet; up for 2 hours\n");
    assert_int_equal(
        show(ANSWER("{\"name\":\"a\",\"state\":\"running\",\"sentence\":\"connected to the tailnet\","
                    "\"since\":\"2025-11-28T13:40:00Z\",\"requests\":{\"total\":1}}"),
             NULL, 80),
        0);
    assert_non_null(strstr(text, "  1 request, 0 B out;"));
}

static void a_name_gets_everything_about_it(void **state)
{
    (void)state;
    assert_int_equal(show(ANSWER(WEB "," GIT), "web", 80), 0);
    assert_string_equal(text, "web: connected to the tailnet since 13:40\n"
                              "  reason       connected to https://hs\n"
                              "  full name    web.lab.\n"
                              "  addresses    100.64.0.2, fd7a::2\n"
                              "  relay        connected to fra\n"
                              "  control      https://hs, connected 1 time\n"
                              "  certificate  web.lab, valid until 1 Feb 2026 00:00\n"
                              "  requests     1234: 1200 ok, 30 redirected, 3 refused, 1 failed; 2 now\n"
                              "  bytes        5 B in, 1.2 MB out\n"
                              "  errors       1 by the upstream's fault since the start\n"
                              "  peers        12 known; in use: 1 direct, 1 by relay, 1 in this process\n"
                              "    laptop               direct 192.0.2.1:41641, 1.2 ms, 3.0 MB in, 12 B out\n"
                              "    phone                relay, 1 B in, 2 B out\n"
                              "    git                  this process, 0 B in, 0 B out\n"
                              "  refused      7 packets, by the tailnet's rules\n");
}

static void handshakes_that_failed_are_told_by_reason(void **state)
{
    (void)state;
    assert_int_equal(
        show(ANSWER("{\"name\":\"a\",\"state\":\"running\",\"sentence\":\"connected to the tailnet\","
                    "\"requests\":{\"total\":0},\"tlsFailed\":{\"version\":1,\"refused\":2,\"left\":0}}"),
             "a", 80),
        0);
    assert_non_null(strstr(text,
                           "  handshakes   failed: 2 ended by the client (most often it does not trust the "
                           "certificate), 1 without TLS 1.2 or 1.3\n"));
    assert_int_equal(show(ANSWER(WEB), "web", 80), 0);
    assert_null(strstr(text, "handshakes"));
}

static void trouble_comes_with_what_to_do(void **state)
{
    (void)state;
    assert_int_equal(show(ANSWER(WEB "," WIKI), "wiki", 80), 0);
    assert_non_null(strstr(text, "wiki: waiting for somebody to log this node in since 28 Nov 2024 14:02\n"));
    assert_non_null(strstr(text, "  log in at    https://login/1\n"));
    assert_non_null(strstr(text, node_sayings[NODE_SAYS_LOGIN].advice));
}

static void a_certificate_in_trouble_is_seen_in_the_list(void **state)
{
    (void)state;
    assert_int_equal(
        show(ANSWER("{\"name\":\"a\",\"state\":\"running\",\"sentence\":\"connected to the tailnet\","
                    "\"certificate\":{\"trouble\":\"reload failed: key does not match\"}}"),
             NULL, 120),
        0);
    assert_non_null(strstr(text, "certificate: reload failed: key does not match\n"));
}

#define FAILS(member, more)                                                                     \
    "{\"name\":\"a\",\"state\":\"running\",\"sentence\":\"connected to the tailnet\",\"" member \
    "\":{\"url\":\"http://127.0.0.1:8080\",\"trouble\":\"connection refused\",\"times\":3,"     \
    "\"since\":\"2025-11-28T13:00:00Z\",\"last\":\"2025-11-28T14:01:11Z\"" more "}}"

static void a_failing_upstream_is_seen_in_words_with_what_to_do(void **state)
{
    (void)state;
    const char *sentence = "upstream http://127.0.0.1:8080: connection refused (3 times, last at 14:01:11)\n";

    assert_int_equal(show(ANSWER(FAILS("upstream", "")), NULL, 120), 0);
    assert_non_null(strstr(text, sentence));
    assert_int_equal(show(ANSWER(FAILS("upstream", "")), NULL, 60), 0);
    assert_non_null(strstr(text, sentence));
    assert_int_equal(show(ANSWER(FAILS("upstream", "")), "a", 60), 0);
    assert_non_null(
        strstr(text, "  upstream     http://127.0.0.1:8080: connection refused (3 times, last at "));
    assert_non_null(strstr(text, node_remarks[NODE_REMARK_UPSTREAM].advice));
    assert_int_equal(show(ANSWER(FAILS("authServer", "")), NULL, 120), 0);
    assert_non_null(strstr(text, "      auth server http://127.0.0.1:8080: connection refused"));
    assert_int_equal(show(ANSWER(FAILS("authServer", "")), "a", 60), 0);
    assert_non_null(strstr(text, node_remarks[NODE_REMARK_AUTH].advice));
}

static void an_upstream_that_answers_again_is_told_of_only_when_asked(void **state)
{
    (void)state;
#define WELL FAILS("upstream", ",\"answersSince\":\"2025-11-28T14:01:30Z\"")
    assert_int_equal(show(ANSWER(WELL), NULL, 120), 0);
    assert_null(strstr(text, "refused"));
    assert_int_equal(show(ANSWER(WELL), "a", 120), 0);
    assert_non_null(strstr(text,
                           "http://127.0.0.1:8080: answers again since 14:01:30; before that: connection "
                           "refused (3 times, last at 14:01:11)\n"));
    assert_null(strstr(text, "what to do"));
}

static void an_unknown_name_and_a_senseless_answer_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(show(ANSWER(WEB), "nobody", 80), 1);
    assert_string_equal(text, "");
    assert_int_equal(show("{\"services\":3}", NULL, 80), 2);
    assert_int_equal(show("nonsense", NULL, 80), 2);
    assert_int_equal(show(ANSWER(""), NULL, 120), 0);
    assert_string_equal(text, "0 services; up for 2 hours\n");
}

/* A peer chooses its name. */
static void control_bytes_do_not_reach_the_terminal(void **state)
{
    (void)state;
    assert_int_equal(
        show(ANSWER("{\"name\":\"a\\u001b[2J\",\"sentence\":\"b\\u0007\",\"detail\":\"c\\nd\"}"), NULL, 80),
        0);
    assert_null(strpbrk(text, "\x1b\x07"));
    assert_non_null(strstr(text, "a?[2J: b?\n"));
    assert_non_null(strstr(text, "  c?d\n"));
}

/* What a service without a node and a shard's service say has the same form. */
static void every_state_has_a_sentence(void **state)
{
    (void)state;
    for (enum node_state s = NODE_STARTING; s <= NODE_FAILED; s++)
        assert_true(strlen(node_sayings[node_saying_of(s)].sentence) > 0);
}

static void expect_on(const char *page, const char *sentence, const char *meaning, const char *advice)
{
    char heading[256];

    snprintf(heading, sizeof(heading), "\n### %s\n", sentence);
    if (!strstr(page, heading) || !strstr(page, meaning) || !strstr(page, advice))
        fail_msg("docs/operations.md lacks, or has otherwise:\n%s\n%s\n\n%s\n", heading, meaning, advice);
}

static void the_page_on_operations_has_every_sentence_and_what_to_do(void **state)
{
    (void)state;
    FILE *f = fopen(SOURCE_ROOT "/docs/operations.md", "r");
    char *page = calloc(1, 1 << 18);
    size_t n;

    assert_non_null(f);
    assert_non_null(page);
    n = fread(page, 1, (1 << 18) - 1, f);
    assert_true(n > 0 && n < (1 << 18) - 1);
    fclose(f);
    for (size_t i = 0; i < NODE_SAYING_COUNT; i++)
        expect_on(page, node_sayings[i].sentence, node_sayings[i].meaning, node_sayings[i].advice);
    for (size_t i = 0; i < NODE_REMARK_COUNT; i++)
        expect_on(page, node_remarks[i].reads, node_remarks[i].meaning, node_remarks[i].advice);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_wide_terminal_gets_a_row_per_service_sorted_by_name),
        TEST(a_narrow_terminal_gets_short_lines),
        TEST(a_name_gets_everything_about_it),
        TEST(handshakes_that_failed_are_told_by_reason),
        TEST(trouble_comes_with_what_to_do),
        TEST(a_certificate_in_trouble_is_seen_in_the_list),
        TEST(a_failing_upstream_is_seen_in_words_with_what_to_do),
        TEST(an_upstream_that_answers_again_is_told_of_only_when_asked),
        TEST(an_unknown_name_and_a_senseless_answer_are_told_apart),
        TEST(control_bytes_do_not_reach_the_terminal),
        TEST(every_state_has_a_sentence),
        TEST(the_page_on_operations_has_every_sentence_and_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

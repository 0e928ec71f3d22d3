#include <stdlib.h>

#include "check.h"
#include "cli/cli.h"

static char *said, *complained;

static int show(const char *answer)
{
    size_t a, b;
    FILE *out, *err;
    int r;

    free(said);
    free(complained);
    out = open_memstream(&said, &a);
    err = open_memstream(&complained, &b);
    assert_non_null(out);
    assert_non_null(err);
    r = reload_print(span_from_str(answer), out, err);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(fclose(err), 0);
    return r;
}

static int teardown(void **state)
{
    (void)state;
    free(said);
    free(complained);
    said = complained = NULL;
    return 0;
}

#define DECIDED(dry)                                                                                       \
    "{\"reload\":{\"ok\":true,\"dryRun\":" dry ",\"unchanged\":56,\"services\":["                          \
    "{\"name\":\"a\",\"action\":\"add\",\"cutsConnections\":false},"                                       \
    "{\"name\":\"b\",\"action\":\"change\",\"options\":\"upstream, prefixes\",\"cutsConnections\":false}," \
    "{\"name\":\"c\",\"action\":\"restart\",\"options\":\"stateDir\",\"cutsConnections\":true},"           \
    "{\"name\":\"d\",\"action\":\"remove\",\"cutsConnections\":true}],"                                    \
    "\"needsRestart\":\"socket\",\"notices\":[\"x is ignored\"]},\"kept\":["

static void what_was_done_is_told_per_service(void **state)
{
    (void)state;
    assert_int_equal(show(DECIDED("false") "]}"), 0);
    assert_string_equal(said,
                        "a: added\n"
                        "b: changed (upstream, prefixes); requests under way finish with the old settings\n"
                        "c: restarts (stateDir); its connections have 10 s to finish, then they are cut\n"
                        "d: removed; its connections have 10 s to finish, then they are cut\n"
                        "56 services left alone\n"
                        "these need a restart of the program: socket\n");
    assert_string_equal(complained, "note: x is ignored\n");
}

static void a_dry_run_speaks_of_what_would_be(void **state)
{
    (void)state;
    assert_int_equal(show(DECIDED("true") "]}"), 0);
    assert_non_null(strstr(said, "a: would be added\n"));
    assert_non_null(strstr(said, "d: would be removed; "));
    assert_null(strstr(said, ": added"));
}

static void a_service_that_kept_its_settings_makes_the_command_fail(void **state)
{
    (void)state;
    assert_int_equal(show(DECIDED("false") "\"service b: the key does not match\"]}"), 1);
    assert_non_null(strstr(complained, "keeps its old settings: service b: the key does not match\n"));
}

static void every_problem_of_a_bad_file_is_told(void **state)
{
    (void)state;
    assert_int_equal(
        show("{\"reload\":{\"ok\":false,\"dryRun\":false,\"problems\":[\"one\",\"two\"]},\"kept\":[]}"), 1);
    assert_string_equal(said, "");
    assert_string_equal(complained, "one\ntwo\nNothing was changed.\n");
}

static void a_senseless_answer_fails(void **state)
{
    (void)state;
    assert_int_equal(show("{}"), 1);
    assert_int_equal(show("{\"error\":\"unknown command\"}"), 1);
    assert_int_equal(show(""), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
        TEST(what_was_done_is_told_per_service),
        TEST(a_dry_run_speaks_of_what_would_be),
        TEST(a_service_that_kept_its_settings_makes_the_command_fail),
        TEST(every_problem_of_a_bad_file_is_told),
        TEST(a_senseless_answer_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

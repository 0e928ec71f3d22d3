#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "config/internal.h"

static int clean_environment(void **state)
{
    (void)state;
    unsetenv("TS_AUTHKEY");
    unsetenv("TS_AUTH_KEY");
    unsetenv("TS_URL");
    setenv("TS_STATE_DIR", "/base", 1);
    return 0;
}

/* Services as -service values, NULL at the end. */
static void load(struct config *c, const char *const *services)
{
    char *argv[32] = { (char *)(uintptr_t) "manytails" };
    int argc = 1;

    for (; *services; services++) {
        argv[argc++] = (char *)(uintptr_t) "-service";
        argv[argc++] = (char *)(uintptr_t)*services;
    }
    assert_int_equal(config_load(c, argc, argv), 0);
}

#define LOAD(c, ...) load((c), (const char *const[]) { __VA_ARGS__, NULL })
#define WEB "name=web,upstream=http://a,plaintext=1"
#define GIT "name=git,upstream=http://b,plaintext=1"

struct pair {
    struct config before, after;
    struct config_diff diff;
    char *text; /* of config_diff_text */
};

static void compare(struct pair *p)
{
    struct buf out;

    assert_int_equal(config_diff(&p->diff, &p->before, &p->after), 0);
    buf_init(&out, 1 << 16);
    assert_int_equal(config_diff_text(&p->diff, &p->before, &p->after, &out), 0);
    p->text = text_dup(buf_span(&out));
    assert_non_null(p->text);
    buf_deinit(&out);
}

static void done(struct pair *p)
{
    config_diff_free(&p->diff);
    config_free(&p->before);
    config_free(&p->after);
    free(p->text);
}

static void the_same_configuration_twice_changes_nothing(void **state)
{
    (void)state;
    struct pair p;

    LOAD(&p.before, WEB ",tag=tag:a,upstreamHeader=X:1,timeout=2m", GIT);
    LOAD(&p.after, WEB ",tag=tag:a,upstreamHeader=X:1,timeout=2m", GIT);
    compare(&p);
    assert_int_equal(p.diff.unchanged, 2);
    assert_string_equal(p.text, "0 added, 0 changed, 0 removed, 2 unchanged\n");
    assert_null(p.diff.process);
    done(&p);
}

/* The order in the file is nobody's identity. */
static void services_are_told_apart_by_name(void **state)
{
    (void)state;
    struct pair p;

    LOAD(&p.before, WEB, GIT);
    LOAD(&p.after, GIT, "name=new,upstream=http://c,plaintext=1");
    compare(&p);
    assert_int_equal(p.diff.count, 3);
    assert_int_equal(p.diff.changes[0].before, 1);
    assert_int_equal(p.diff.changes[0].after, 0);
    assert_int_equal(p.diff.changes[0].cost, CONFIG_COST_NOTHING);
    assert_true(p.diff.changes[1].before == CONFIG_NO_SERVICE);
    assert_true(p.diff.changes[2].after == CONFIG_NO_SERVICE);
    assert_string_equal(p.text,
                        "added: new -> http://c\nremoved: web\n1 added, 0 changed, 1 removed, 1 unchanged\n");
    done(&p);
}

static void a_service_pays_what_its_dearest_option_costs(void **state)
{
    (void)state;
    static const struct {
        const char *after;
        enum config_cost cost;
        const char *options;
    } cases[] = {
        { WEB ",upstreamHeader=X:1", CONFIG_COST_IN_PLACE, "upstreamHeaders" },
        { WEB ",readHeaderTimeout=5s,prefix=/a", CONFIG_COST_IN_PLACE, "prefixes, readHeaderTimeout" },
        { WEB ",stripPrefix=no,listenAddr=:80", CONFIG_COST_LISTENER, "listenAddr, stripPrefix" },
        { WEB ",listenAddr=:80,stateDir=/x", CONFIG_COST_NODE, "listenAddr, stateDir" },
        { WEB ",controlURL=https://other.example", CONFIG_COST_NODE, "controlURL" },
        { WEB ",ephemeral=y", CONFIG_COST_NODE, "ephemeral" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pair p;

        LOAD(&p.before, WEB, GIT);
        LOAD(&p.after, cases[i].after, GIT);
        compare(&p);
        assert_int_equal(p.diff.changed, 1);
        assert_int_equal(p.diff.changes[0].cost, cases[i].cost);
        assert_string_equal(p.diff.changes[0].options, cases[i].options);
        assert_int_equal(p.diff.changes[1].cost, CONFIG_COST_NOTHING);
        done(&p);
    }
}

static void the_words_name_the_options_and_what_they_cost(void **state)
{
    (void)state;
    struct pair p;

    LOAD(&p.before, WEB);
    LOAD(&p.after, WEB ",listenAddr=:80");
    compare(&p);
    assert_string_equal(p.text, "changed: web: listenAddr; in place, connections that are there finish\n"
                                "0 added, 1 changed, 0 removed, 0 unchanged\n");
    done(&p);
}

/* A key that is replaced matters at the next registration only, and is never printed. */
static void another_auth_key_costs_no_connection(void **state)
{
    (void)state;
    struct pair p;

    setenv("TS_AUTHKEY", "first-secret", 1);
    LOAD(&p.before, WEB);
    setenv("TS_AUTHKEY", "second-secret", 1);
    LOAD(&p.after, WEB);
    compare(&p);
    assert_int_equal(p.diff.changes[0].cost, CONFIG_COST_IN_PLACE);
    assert_non_null(strstr(p.text, "changed: web: the auth key; in place"));
    assert_null(strstr(p.text, "secret"));
    done(&p);
}

static void options_of_the_process_are_named(void **state)
{
    (void)state;
    struct pair p;

    LOAD(&p.before, WEB);
    setenv("MANYTAILS_SOCKET", "/other.sock", 1);
    LOAD(&p.after, WEB);
    unsetenv("MANYTAILS_SOCKET");
    compare(&p);
    assert_string_equal(p.diff.process, "socket");
    assert_non_null(strstr(p.text, "needs a new start of the program: socket\n"));
    assert_int_equal(p.diff.unchanged, 1);
    done(&p);
}

/* Another value than the one it has. */
static void set_other(const struct option *o, struct config_service *s)
{
    const bool *flag = (const bool *)((char *)s + o->offset);
    const char *value = o->kind == OPTION_BOOL       ? *flag ? "false" : "true"
                        : o->kind == OPTION_HEADERS  ? "X-Other: 1"
                        : o->kind == OPTION_NUMBER   ? "77"
                        : o->kind == OPTION_DURATION ? "77s"
                        : o->kind == OPTION_TAGS     ? "tag:other"
                                                     : "other";
    struct option_fault why;

    assert_int_equal(option_set(o, s, span_from_str(value), FROM_FLAG, &why), 0);
}

static void no_option_is_overlooked(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &options[i];
        struct pair p;

        if (o->scope != OPTION_SERVICE || strcmp(o->yaml, "name") == 0)
            continue;
        LOAD(&p.before, WEB);
        LOAD(&p.after, WEB);
        set_other(o, &p.after.services[0]);
        compare(&p);
        assert_int_equal(p.diff.changed, 1);
        assert_string_equal(p.diff.changes[0].options, o->yaml);
        assert_int_equal(p.diff.changes[0].cost, o->change);
        done(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_same_configuration_twice_changes_nothing, clean_environment),
        cmocka_unit_test_setup(services_are_told_apart_by_name, clean_environment),
        cmocka_unit_test_setup(a_service_pays_what_its_dearest_option_costs, clean_environment),
        cmocka_unit_test_setup(the_words_name_the_options_and_what_they_cost, clean_environment),
        cmocka_unit_test_setup(another_auth_key_costs_no_connection, clean_environment),
        cmocka_unit_test_setup(options_of_the_process_are_named, clean_environment),
        cmocka_unit_test_setup(no_option_is_overlooked, clean_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

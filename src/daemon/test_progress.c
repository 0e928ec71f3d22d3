#include "daemon/test_world.h"

static int setup(void **state)
{
    struct world *w = malloc(sizeof(*w));

    assert_non_null(w);
    world_init(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_deinit(*state);
    free(*state);
    return 0;
}

static void says(struct world *w, const char *name, enum node_state state, const char *sentence)
{
    world_say(w, LETTER_STATE, slab_handle(&w->d.service_slab, service_named(&w->d, name)), state, sentence);
}

static void expect_line(struct world *w, size_t width, const char *want)
{
    char line[LOG_FOOTER_BYTES];

    assert_int_equal(progress_text(&w->d, width, line, sizeof(line)), want != NULL);
    assert_string_equal(line, want ? want : "");
}

static void who_waits_is_named_with_the_reason(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB, GIT, WIKI);
    expect_line(w, 200, "0 of 3 up; waiting: web, git, wiki (starting)");
    says(w, "web", NODE_RUNNING, "connected to https://x");
    says(w, "git", NODE_WAITING_APPROVAL, "an administrator must approve this node");
    says(w, "wiki", NODE_NEEDS_LOGIN, "to log this node in, open https://login/1");
    world_say(w, LETTER_AUTH_URL, slab_handle(&w->d.service_slab, service_named(&w->d, "wiki")),
              NODE_NEEDS_LOGIN, "https://login/1");
    expect_line(w, 200, "1 of 3 up; waiting: git (approval), wiki (login: https://login/1)");
    says(w, "git", NODE_SERVING_STORED, "control server https://x unreachable");
    says(w, "wiki", NODE_RUNNING, "connected to https://x");
    expect_line(w, 200, NULL);
}

static void many_with_one_reason_are_counted(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB, GIT, WIKI, "name=four,upstream=http://d,plaintext=1");
    LIST_EACH (s, &w->d.services, struct daemon_service, link)
        says(w, s->name, NODE_STARTING, "control server https://x unreachable: refused; trying again in 3 s");
    expect_line(w, 200, "0 of 4 up; waiting: 4 services (control server https://x unreachable: refused)");
    says(w, "web", NODE_STARTING, "registering with https://x");
    expect_line(w, 200,
                "0 of 4 up; waiting: web (starting), git, wiki, four (control server https://x unreachable: "
                "refused)");
}

static void a_service_without_an_auth_key_waits_with_the_reason_of_the_oauth_service(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB, GIT);
    says(w, "git", NODE_RUNNING, "connected");
    says(w, "web", NODE_STARTING,
         "no auth key from https://x: the OAuth client secret was refused; trying again");
    expect_line(w, 200,
                "1 of 2 up; waiting: web (no auth key from https://x: the OAuth client secret was refused)");
}

static void a_service_without_a_node_waits_with_its_reason(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB, GIT);
    says(w, "git", NODE_RUNNING, "connected");
    world_say(w, LETTER_REFUSED, slab_handle(&w->d.service_slab, service_named(&w->d, "web")), NODE_FAILED,
              "/key.pem: Permission denied");
    expect_line(w, 200, "1 of 2 up; waiting: web (/key.pem: Permission denied)");
}

/* A row that wraps cannot be erased. */
static void the_line_is_never_wider_than_the_terminal(void **state)
{
    struct world *w = *state;
    char line[LOG_FOOTER_BYTES];

    APPLY(w, WEB, GIT, WIKI);
    says(w, "web", NODE_FAILED, "caf\xc3\xa9 \xe2\x82\xac \xe2\x82\xac is a name of more bytes than columns");
    for (size_t width = 21; width < 120; width++) {
        size_t columns = 0;

        assert_true(progress_text(&w->d, width, line, sizeof(line)));
        for (const char *c = line; *c; c++)
            columns += ((unsigned char)*c & 0xc0) != 0x80;
        assert_true(columns <= width);
        assert_true(columns >= MIN(width, 60) - 3);
    }
}

static void it_is_over_when_all_are_up_and_begins_anew_with_a_reload(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB);
    world_turn(w);
    assert_true(w->d.bringing_up);
    says(w, "web", NODE_RUNNING, "connected");
    world_turn(w);
    assert_false(w->d.bringing_up);
    says(w, "web", NODE_SERVING_STORED, "control server away"); /* not a matter of coming up */
    world_turn(w);
    assert_false(w->d.bringing_up);
    APPLY(w, WEB, GIT);
    assert_true(w->d.bringing_up);
    world_turn(w);
    assert_true(w->d.bringing_up);
    says(w, "git", NODE_RUNNING, "connected");
    world_turn(w);
    assert_false(w->d.bringing_up);
    APPLY(w, WEB, GIT); /* nobody has to come up: nothing to tell */
    assert_false(w->d.bringing_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(who_waits_is_named_with_the_reason),
        TEST(many_with_one_reason_are_counted),
        TEST(a_service_without_an_auth_key_waits_with_the_reason_of_the_oauth_service),
        TEST(a_service_without_a_node_waits_with_its_reason),
        TEST(the_line_is_never_wider_than_the_terminal),
        TEST(it_is_over_when_all_are_up_and_begins_anew_with_a_reload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

static void services_start_in_the_order_of_the_file_and_spread_over_the_shards(void **state)
{
    struct world *w = *state;
    struct letter *l;

    APPLY(w, WIKI, WEB, GIT);
    assert_int_equal(w->shards[0].service_count, 2);
    assert_int_equal(w->shards[1].service_count, 1);
    const char *const first[] = { "wiki", "git" };

    for (size_t i = 0; i < 2; i++) { /* each shard has its own mailbox: of shard 0 first */
        l = world_next(w);
        assert_int_equal(l->kind, LETTER_START);
        assert_string_equal(l->config->name, first[i]);
        letter_free(l);
    }
    world_expect(w, LETTER_START, "web");
    world_expect_silence(w);
}

static void a_service_that_did_not_change_is_not_touched(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB, GIT);
    world_expect(w, LETTER_START, "web");
    world_expect(w, LETTER_START, "git");
    APPLY(w, GIT, WEB);
    world_expect_silence(w);
    assert_string_equal(LIST_FIRST(&w->d.services, struct daemon_service, link)->name, "git");
}

static void an_added_service_starts_and_a_removed_one_is_forgotten_when_it_has_stopped(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB);
    web = world_expect(w, LETTER_START, "web");
    APPLY(w, GIT);
    assert_int_equal(world_expect(w, LETTER_STOP, "web"), web);
    world_expect(w, LETTER_START, "git");
    world_expect_silence(w);
    assert_non_null(service_named(&w->d, "web"));
    world_say(w, LETTER_STOPPED, web, NODE_STOPPED, "");
    assert_null(service_named(&w->d, "web"));
    assert_int_equal(w->shards[0].service_count, 0);
    world_say(w, LETTER_STATE, web, NODE_RUNNING, "too late"); /* for nobody */
    assert_int_equal(w->d.service_count, 1);
}

static void a_change_in_place_reaches_the_shard_with_the_new_settings(void **state)
{
    struct world *w = *state;
    struct letter *l;
    handle web;

    APPLY(w, WEB);
    web = world_expect(w, LETTER_START, "web");
    APPLY(w, WEB ",prefix=/new");
    l = world_next(w);
    assert_non_null(l);
    assert_int_equal(l->kind, LETTER_CHANGE);
    assert_int_equal(l->service, web);
    assert_string_equal(l->config->prefixes.items[0], "/new");
    letter_free(l);
    assert_int_equal(w->d.changes_due, 1);
    world_say(w, LETTER_CHANGED, web, NODE_RUNNING, "");
    assert_int_equal(w->d.changes_due, 0);
    APPLY(w, WEB ",prefix=/new");
    world_expect_silence(w);
}

/* Two reloads, and the letter of the first is read after the second. */
static void an_old_configuration_lives_until_its_letter_was_read(void **state)
{
    struct world *w = *state;
    struct letter *l;

    APPLY(w, WEB);
    world_expect(w, LETTER_START, "web");
    APPLY(w, WEB ",prefix=/one");
    l = world_next(w);
    assert_non_null(l);
    APPLY(w, WEB ",prefix=/two");
    assert_int_equal(atomic_load(&l->loaded->references), 1); /* the letter's */
    assert_string_equal(l->config->prefixes.items[0], "/one");
    letter_free(l);
    world_expect(w, LETTER_CHANGE, "web");
}

static void a_service_that_could_not_change_is_told_again_by_the_next_reload(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB);
    web = world_expect(w, LETTER_START, "web");
    APPLY(w, WEB ",prefix=/new");
    world_expect(w, LETTER_CHANGE, "web");
    world_say(w, LETTER_CHANGED, web, NODE_RUNNING, "the key does not match");
    APPLY(w, WEB ",prefix=/new");
    world_expect(w, LETTER_CHANGE, "web");
    world_say(w, LETTER_CHANGED, web, NODE_RUNNING, "");
    APPLY(w, WEB ",prefix=/new");
    world_expect_silence(w);
}

static void another_identity_starts_only_when_the_old_one_is_gone(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB);
    web = world_expect(w, LETTER_START, "web");
    APPLY(w, WEB ",ephemeral=1");
    world_expect(w, LETTER_STOP, "web");
    world_expect_silence(w);
    APPLY(w, WEB ",ephemeral=1,prefix=/a"); /* while it leaves: only what it starts with changes */
    world_expect_silence(w);
    world_say(w, LETTER_STOPPED, web, NODE_STOPPED, "");
    assert_int_equal(world_expect(w, LETTER_START, "web"), web);
    assert_string_equal(service_named(&w->d, "web")->config->prefixes.items[0], "/a");
}

static void a_service_that_comes_back_while_it_leaves_starts_anew(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB, GIT);
    web = world_expect(w, LETTER_START, "web");
    world_expect(w, LETTER_START, "git");
    APPLY(w, GIT ",stateDir=/elsewhere/git");
    world_expect(w, LETTER_STOP, "web");
    world_expect(w, LETTER_STOP, "git");
    APPLY(w, GIT ",stateDir=/elsewhere/git", WEB);
    world_expect_silence(w);
    world_say(w, LETTER_STOPPED, web, NODE_STOPPED, "");
    assert_int_equal(world_expect(w, LETTER_START, "web"), web);
    assert_int_equal(w->d.service_count, 2);
}

/* A new name for the same folder: two nodes must not hold it at once. */
static void a_service_waits_for_the_folder_that_another_one_still_has(void **state)
{
    struct world *w = *state;
    handle old;

    APPLY(w, "name=old,upstream=http://a,plaintext=1,stateDir=/s", GIT);
    old = world_expect(w, LETTER_START, "old");
    world_expect(w, LETTER_START, "git");
    APPLY(w, "name=new,upstream=http://a,plaintext=1,stateDir=/s", GIT);
    world_expect(w, LETTER_STOP, "old");
    world_expect_silence(w);
    assert_non_null(strstr(service_named(&w->d, "new")->sentence, "old has stopped"));
    world_say(w, LETTER_STOPPED, old, NODE_STOPPED, "");
    world_expect(w, LETTER_START, "new");
}

static void a_service_without_a_node_is_tried_again_and_at_once_after_a_reload(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB);
    web = world_expect(w, LETTER_START, "web");
    world_say(w, LETTER_REFUSED, web, NODE_FAILED, "the folder is locked");
    world_expect_silence(w);
    assert_true(ev_timer_running(&service_named(&w->d, "web")->retry));
    assert_int_equal(service_named(&w->d, "web")->state, NODE_FAILED);
    APPLY(w, WEB);
    world_expect(w, LETTER_START, "web");
    assert_false(ev_timer_running(&service_named(&w->d, "web")->retry));
}

/* REFUSED and STOP cross: the STOP is answered, and that is the end. */
static void a_refused_service_that_was_told_to_stop_ends_once(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB, GIT);
    web = world_expect(w, LETTER_START, "web");
    world_expect(w, LETTER_START, "git");
    APPLY(w, GIT ",stateDir=/elsewhere");
    world_expect(w, LETTER_STOP, "web");
    world_say(w, LETTER_REFUSED, web, NODE_FAILED, "no");
    assert_non_null(service_named(&w->d, "web"));
    world_say(w, LETTER_STOPPED, web, NODE_STOPPED, "");
    assert_null(service_named(&w->d, "web"));
}

static void the_end_waits_for_every_service_and_starts_none(void **state)
{
    struct world *w = *state;
    handle web, git;

    APPLY(w, WEB, GIT, WIKI);
    web = world_expect(w, LETTER_START, "web");
    world_expect(w, LETTER_START, "wiki");
    git = world_expect(w, LETTER_START, "git");
    world_say(w, LETTER_REFUSED, git, NODE_FAILED, "no");
    APPLY(w, WEB ",ephemeral=1", GIT, WIKI); /* web is to start anew */
    world_expect(w, LETTER_STOP, "web");
    world_expect(w, LETTER_START, "git");
    w->d.stopping = true;
    services_stop(&w->d);
    world_expect(w, LETTER_STOP, "wiki");
    world_expect(w, LETTER_STOP, "git");
    world_say(w, LETTER_STOPPED, git, NODE_STOPPED, "");
    world_say(w, LETTER_STOPPED, web, NODE_STOPPED, "");
    assert_false(services_stopped(&w->d));
    world_say(w, LETTER_STOPPED, slab_handle(&w->d.service_slab, service_named(&w->d, "wiki")), NODE_STOPPED,
              "");
    assert_true(services_stopped(&w->d));
    world_expect_silence(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(services_start_in_the_order_of_the_file_and_spread_over_the_shards),
        TEST(a_service_that_did_not_change_is_not_touched),
        TEST(an_added_service_starts_and_a_removed_one_is_forgotten_when_it_has_stopped),
        TEST(a_change_in_place_reaches_the_shard_with_the_new_settings),
        TEST(an_old_configuration_lives_until_its_letter_was_read),
        TEST(a_service_that_could_not_change_is_told_again_by_the_next_reload),
        TEST(another_identity_starts_only_when_the_old_one_is_gone),
        TEST(a_service_that_comes_back_while_it_leaves_starts_anew),
        TEST(a_service_waits_for_the_folder_that_another_one_still_has),
        TEST(a_service_without_a_node_is_tried_again_and_at_once_after_a_reload),
        TEST(a_refused_service_that_was_told_to_stop_ends_once),
        TEST(the_end_waits_for_every_service_and_starts_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

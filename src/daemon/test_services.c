#include "daemon/test_world.h"
#include "test_certs.h"

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

static void a_secret_that_could_not_be_read_is_read_anew_at_the_next_attempt(void **state)
{
    struct world *w = *state;
    char spec[200], path[100];
    struct daemon_service *s;
    handle web;
    FILE *f;

    snprintf(path, sizeof(path), "%s/key", w->directory);
    snprintf(spec, sizeof(spec), WEB ",authkeyPath=%s", path);
    APPLY(w, spec, GIT);
    web = world_expect(w, LETTER_START, "web");
    world_expect(w, LETTER_START, "git");
    s = service_named(&w->d, "web");
    assert_non_null(s->config->fault);
    world_say(w, LETTER_REFUSED, web, NODE_FAILED, s->config->fault);
    world_expect_silence(w);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("tskey-late\n", f) >= 0);
    fclose(f);
    ev_timer_set(&s->retry, ev_now(w->d.loop));
    while (ev_timer_running(&s->retry))
        assert_int_equal(ev_loop_turn(w->d.loop, MSEC), 0);
    world_expect(w, LETTER_START, "web");
    assert_null(s->config->fault);
    assert_string_equal(s->config->auth_key, "tskey-late");
    assert_int_equal(unlink(path), 0);
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

static void a_second_word_ends_those_that_have_not_stopped(void **state)
{
    struct world *w = *state;
    handle web;

    APPLY(w, WEB, GIT);
    web = world_expect(w, LETTER_START, "web");
    world_expect(w, LETTER_START, "git");
    w->d.stopping = true;
    services_stop(&w->d);
    world_expect(w, LETTER_STOP, "web");
    world_expect(w, LETTER_STOP, "git");
    world_say(w, LETTER_STOPPED, web, NODE_STOPPED, "");
    services_end(&w->d);
    world_expect(w, LETTER_END, "git");
    world_expect_silence(w);
    assert_false(services_stopped(&w->d));
}

/* ---- reload: files that the configuration names ------------------------------------------------- */

static void put(struct world *w, const char *name, const char *text)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", w->directory, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* The file services.yaml: web, and git with `keys`; in them % is the test's folder. */
static void write_git(struct world *w, const char *keys)
{
    char text[1024], *out = text;

    out += sprintf(out, "services:\n- {name: web, upstream: 'http://a', plaintext: true}\n"
                        "- {name: git, upstream: 'http://b', ");
    for (; *keys; keys++)
        out += *keys == '%' ? sprintf(out, "%s", w->directory) : sprintf(out, "%c", *keys);
    strcpy(out, "}\n");
    world_write(w, text);
}

/* What a reload answers to that. */
static bool reload_says(struct world *w, const char *expected)
{
    struct buf out;
    bool found;

    buf_init(&out, DAEMON_STATUS_BYTES_MAX);
    assert_int_equal(reload(&w->d, false, &out), 0);
    assert_int_equal(buf_append(&out, span_make("", 1)), 0);
    found = strstr((const char *)buf_span(&out).data, expected) != NULL;
    if (!found)
        printf("%s\n", (const char *)buf_span(&out).data);
    buf_deinit(&out);
    return found;
}

static void a_reload_is_refused_whole_when_a_file_that_it_names_is_no_good(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *keys, *why;
    } cases[] = {
        { "certificateFile: %/web.crt, keyFile: %/none.key", "none.key" },
        { "certificateFile: %/none.crt, keyFile: %/web.key", "none.crt" },
        { "certificateFile: %/web.crt, keyFile: %/other.key", "does not belong" },
        { "plaintext: true, authkeyPath: %/none.authkey", "none.authkey" },
        { "plaintext: true, upstreamHeaderFiles: {X-Key: %/none.header}", "none.header" },
        { "plaintext: true, authkeyPath: 'credential:none'", "credential" },
    };
    const struct config *before;

    put(w, "web.crt", web_cert);
    put(w, "web.key", web_key);
    put(w, "other.key", other_key);
    APPLY(w, WEB);
    world_expect(w, LETTER_START, "web");
    before = &w->d.loaded->config;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        write_git(w, cases[i].keys);
        assert_true(reload_says(w, "\"ok\":false"));
        assert_true(reload_says(w, cases[i].why));
        assert_ptr_equal(&w->d.loaded->config, before);
        assert_null(service_named(&w->d, "git"));
        world_expect_silence(w);
    }
    write_git(w, "certificateFile: %/web.crt, keyFile: %/web.key");
    assert_true(reload_says(w, "\"ok\":true"));
    world_expect(w, LETTER_START, "git");
}

/* Its key was used when it registered; a file that is gone since must not keep the others from changing. */
static void a_registered_service_is_reloaded_without_its_auth_key(void **state)
{
    struct world *w = *state;

    APPLY(w, WEB);
    world_expect(w, LETTER_START, "web");
    put(w, "manytails.state", "{}");
    write_git(w, "plaintext: true, stateDir: %, authkeyPath: %/none.authkey");
    assert_true(reload_says(w, "its state is used"));
    world_expect(w, LETTER_START, "git");
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
        TEST(a_secret_that_could_not_be_read_is_read_anew_at_the_next_attempt),
        TEST(a_refused_service_that_was_told_to_stop_ends_once),
        TEST(the_end_waits_for_every_service_and_starts_none),
        TEST(a_second_word_ends_those_that_have_not_stopped),
        TEST(a_reload_is_refused_whole_when_a_file_that_it_names_is_no_good),
        TEST(a_registered_service_is_reloaded_without_its_auth_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

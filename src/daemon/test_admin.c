#include <pthread.h>

#include "daemon/test_world.h"

#define FILE_WEB "services:\n- {name: web, upstream: 'http://a', plaintext: true}\n"
#define FILE_WEB_AND_GIT FILE_WEB "- {name: git, upstream: 'http://b', plaintext: true}\n"

/* Somebody at the other end of the socket, in a thread of its own as in life. */
struct asker {
    pthread_t thread;
    const char *socket, *command;
    struct buf answer;
    int result;
    atomic_bool done;
};

static void *ask(void *arg)
{
    struct asker *a = arg;

    a->result = daemon_ask(a->socket, a->command, &a->answer);
    atomic_store(&a->done, true);
    return NULL;
}

static void ask_begin(struct asker *a, struct world *w, const char *command)
{
    *a = (struct asker) { .socket = w->d.socket_path, .command = command };
    buf_init(&a->answer, DAEMON_STATUS_BYTES_MAX);
    assert_int_equal(pthread_create(&a->thread, NULL, ask, a), 0);
}

static struct json *ask_end(struct asker *a, struct world *w)
{
    struct json *root = NULL;

    while (!atomic_load(&a->done))
        assert_int_equal(ev_loop_turn(w->d.loop, 10 * MSEC), 0);
    pthread_join(a->thread, NULL);
    assert_int_equal(a->result, 0);
    assert_int_equal(json_parse(buf_span(&a->answer), DAEMON_STATUS_BYTES_MAX, &root), 0);
    buf_deinit(&a->answer);
    return root;
}

/* A letter to a shard that comes while somebody asks. */
static struct letter *await(struct world *w, enum letter_kind kind)
{
    struct letter *l;

    for (;;) {
        while (!(l = world_next(w)))
            assert_int_equal(ev_loop_turn(w->d.loop, 10 * MSEC), 0);
        if (l->kind == kind)
            return l;
        letter_free(l);
    }
}

static int setup(void **state)
{
    struct world *w = malloc(sizeof(*w));
    char path[96];

    assert_non_null(w);
    world_init(w);
    snprintf(path, sizeof(path), "%s/sub/folder/admin.sock", w->directory);
    w->d.socket_path = text_dup(span_from_str(path));
    assert_int_equal(admin_open(&w->d), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    admin_close(&w->d);
    free(w->d.socket_path);
    world_deinit(w);
    free(w);
    return 0;
}

/* What w->path says now is in force, and its letters are read. */
static void load_file(struct world *w)
{
    struct config config;
    struct config_diff diff;
    struct loaded *l;

    assert_int_equal(config_load(&config, w->d.argc, w->d.argv), 0);
    l = loaded_new(&config);
    assert_non_null(l);
    assert_int_equal(config_diff(&diff, &(struct config) { 0 }, &l->config), 0);
    assert_int_equal(services_apply(&w->d, l, &diff), 0);
    config_diff_free(&diff);
    for (struct letter *letter; (letter = world_next(w));)
        letter_free(letter);
}

static void assert_text(const struct json *v, const char *key, const char *want)
{
    struct span got = SPAN_NONE;

    assert_int_equal(json_get_string(v, key, &got), JSON_GOT);
    assert_span_text(got, want);
}

static const struct json *member(const struct json *v, const char *key)
{
    const struct json *got = json_member(v, key);

    assert_non_null(got);
    return got;
}

static void an_unknown_command_is_refused(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;

    ask_begin(&a, w, "dance");
    root = ask_end(&a, w);
    assert_text(root, "error", "unknown command");
    json_free(root);
}

/* Two shards answer in any order; the services stand in the order of the file. */
static void a_status_has_the_services_in_order_and_what_each_shard_said(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;
    const struct json *list;
    uint64_t ids[WORLD_SHARDS];

    world_write(w, FILE_WEB_AND_GIT);
    load_file(w);
    ask_begin(&a, w, "status");
    for (size_t i = 0; i < WORLD_SHARDS; i++) {
        struct letter *l = await(w, LETTER_ASK);

        ids[i] = l->id;
        letter_free(l);
    }
    assert_int_equal(ids[0], ids[1]);
    for (size_t i = WORLD_SHARDS; i-- > 0;) {
        struct daemon_service *s = service_named(&w->d, i ? "git" : "web");
        char json[128];

        snprintf(json, sizeof(json),
                 "{\"services\":{\"%llu\":{\"name\":\"%s\",\"x\":%zu}},\"shard\":{\"shard\":%zu}}",
                 (unsigned long long)slab_handle(&w->d.service_slab, s), s->name, i, i);
        admin_answer(&w->d, i, ids[0], span_from_str(json));
    }
    root = ask_end(&a, w);
    list = member(root, "services");
    assert_int_equal(json_array_count(list), 2);
    assert_text(json_array_at(list, 0), "name", "web");
    assert_text(json_array_at(list, 1), "name", "git");
    assert_int_equal(json_array_count(member(root, "shards")), 2);
    json_free(root);
}

static void shards_know_nothing(struct world *w)
{
    for (size_t i = 0; i < WORLD_SHARDS; i++) {
        struct letter *l = await(w, LETTER_ASK);

        admin_answer(&w->d, i, l->id, span_from_str("{\"services\":{}}"));
        letter_free(l);
    }
}

static void a_service_without_a_node_is_in_the_status_with_its_reason(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;

    world_write(w, FILE_WEB);
    load_file(w);
    world_say(w, LETTER_REFUSED, slab_handle(&w->d.service_slab, service_named(&w->d, "web")), NODE_FAILED,
              "the folder is locked");
    ask_begin(&a, w, "status");
    shards_know_nothing(w);
    root = ask_end(&a, w);
    assert_text(json_array_at(member(root, "services"), 0), "state", "failed");
    assert_text(json_array_at(member(root, "services"), 0), "sentence", "cannot work as configured");
    assert_text(json_array_at(member(root, "services"), 0), "detail", "the folder is locked");
    json_free(root);
}

static void a_service_that_ended_does_not_say_so_twice(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;

    world_write(w, FILE_WEB);
    load_file(w);
    world_say(w, LETTER_STATE, slab_handle(&w->d.service_slab, service_named(&w->d, "web")), NODE_STOPPED,
              "stopped");
    ask_begin(&a, w, "status");
    shards_know_nothing(w);
    root = ask_end(&a, w);
    assert_text(json_array_at(member(root, "services"), 0), "sentence", "stopped");
    assert_text(json_array_at(member(root, "services"), 0), "detail", "");
    json_free(root);
}

static void a_reload_answers_when_the_shards_have_changed_what_they_can(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;
    struct letter *l;
    const struct json *decided;
    handle web;

    world_write(w, FILE_WEB);
    load_file(w);
    world_write(w, "services:\n- {name: web, upstream: 'http://other', plaintext: true}\n"
                   "- {name: new, upstream: 'http://b', plaintext: true}\n");
    web = slab_handle(&w->d.service_slab, service_named(&w->d, "web"));
    ask_begin(&a, w, "reload");
    l = await(w, LETTER_CHANGE);
    assert_string_equal(l->config->upstream, "http://other");
    letter_free(l);
    assert_false(atomic_load(&a.done));
    world_say(w, LETTER_CHANGED, web, NODE_RUNNING, "bad luck");
    root = ask_end(&a, w);
    decided = member(root, "reload");
    assert_int_equal(json_array_count(member(decided, "services")), 2);
    assert_text(json_array_at(member(decided, "services"), 0), "action", "change");
    assert_text(json_array_at(member(decided, "services"), 0), "options", "upstream");
    assert_text(json_array_at(member(decided, "services"), 1), "action", "add");
    assert_int_equal(json_array_count(member(root, "kept")), 1);
    json_free(root);
}

static void a_dry_run_tells_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;

    world_write(w, FILE_WEB);
    load_file(w);
    world_write(w, FILE_WEB_AND_GIT);
    ask_begin(&a, w, "reload --dry-run");
    root = ask_end(&a, w);
    assert_text(json_array_at(member(member(root, "reload"), "services"), 0), "name", "git");
    assert_int_equal(w->d.service_count, 1);
    world_expect_silence(w);
    json_free(root);
}

static void a_bad_file_changes_nothing_and_every_problem_is_told(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;
    bool ok = true;

    world_write(w, FILE_WEB);
    load_file(w);
    world_write(
        w, "services:\n- {name: web, upstream: '::', plaintext: true}\n- {name: git, plaintext: true}\n");
    ask_begin(&a, w, "reload");
    root = ask_end(&a, w);
    assert_int_equal(json_get_bool(member(root, "reload"), "ok", &ok), JSON_GOT);
    assert_false(ok);
    assert_true(json_array_count(member(member(root, "reload"), "problems")) >= 2);
    assert_int_equal(w->d.service_count, 1);
    assert_string_equal(service_named(&w->d, "web")->config->upstream, "http://a");
    world_expect_silence(w);
    json_free(root);
}

static void who_is_stopping_does_not_reload(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;
    bool ok = true;

    world_write(w, FILE_WEB);
    load_file(w);
    w->d.stopping = true;
    ask_begin(&a, w, "reload");
    root = ask_end(&a, w);
    w->d.stopping = false;
    assert_int_equal(json_get_bool(member(root, "reload"), "ok", &ok), JSON_GOT);
    assert_false(ok);
    world_expect_silence(w);
    json_free(root);
}

static void a_reload_that_needs_a_folder_outside_the_sandbox_is_refused(void **state)
{
    struct world *w = *state;
    struct asker a;
    struct json *root;
    bool ok = true;

    world_write(w, FILE_WEB);
    load_file(w);
    w->d.folders = sandbox_folders_of(&w->d.loaded->config, false);
    assert_non_null(w->d.folders);
    world_write(w, FILE_WEB
                "- {name: far, upstream: 'http://b', plaintext: true, stateDir: /nowhere/at/all/far}\n");
    ask_begin(&a, w, "reload");
    root = ask_end(&a, w);
    sandbox_folders_free(w->d.folders);
    w->d.folders = NULL;
    assert_int_equal(json_get_bool(member(root, "reload"), "ok", &ok), JSON_GOT);
    assert_false(ok);
    assert_int_equal(w->d.service_count, 1);
    world_expect_silence(w);
    json_free(root);
}

/* Another identity is another node, whose connections do not go over. */
static void a_trial_says_which_service_loses_its_connections(void **state)
{
    static const struct {
        const char *after;
        bool cuts;
    } rows[] = {
        { "services:\n- {name: web, upstream: 'http://b', plaintext: true}\n", false },
        { "services:\n- {name: web, upstream: 'http://a', plaintext: true, ephemeral: true}\n", true },
    };
    struct world *w = *state;

    world_write(w, FILE_WEB);
    load_file(w);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct asker a;
        struct json *root;
        bool cuts = !rows[i].cuts;

        world_write(w, rows[i].after);
        ask_begin(&a, w, "reload --dry-run");
        root = ask_end(&a, w);
        assert_int_equal(json_get_bool(json_array_at(member(member(root, "reload"), "services"), 0),
                                       "cutsConnections", &cuts),
                         JSON_GOT);
        assert_int_equal(cuts, rows[i].cuts);
        json_free(root);
    }
}

static void sixteen_askers_are_served_and_the_next_is_turned_away(void **state)
{
    struct world *w = *state;
    struct asker a[DAEMON_ADMIN_CLIENTS_MAX], extra;

    world_write(w, FILE_WEB);
    load_file(w);
    for (size_t i = 0; i < COUNT_OF(a); i++) {
        ask_begin(&a[i], w, "status");
        for (size_t k = 0; k < WORLD_SHARDS; k++)
            letter_free(await(w, LETTER_ASK));
    }
    ask_begin(&extra, w, "status");
    while (!atomic_load(&extra.done))
        assert_int_equal(ev_loop_turn(w->d.loop, 10 * MSEC), 0);
    pthread_join(extra.thread, NULL);
    assert_true(extra.result < 0);
    buf_deinit(&extra.answer);
    assert_int_equal(admin_clients_cut(&w->d), 1);
    for (uint64_t id = 1; id <= COUNT_OF(a); id++)
        for (size_t k = 0; k < WORLD_SHARDS; k++)
            admin_answer(&w->d, k, id, span_from_str("{}"));
    for (size_t i = 0; i < COUNT_OF(a); i++)
        json_free(ask_end(&a[i], w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(an_unknown_command_is_refused),
        TEST(a_status_has_the_services_in_order_and_what_each_shard_said),
        TEST(a_service_without_a_node_is_in_the_status_with_its_reason),
        TEST(a_service_that_ended_does_not_say_so_twice),
        TEST(who_is_stopping_does_not_reload),
        TEST(a_reload_that_needs_a_folder_outside_the_sandbox_is_refused),
        TEST(a_trial_says_which_service_loses_its_connections),
        TEST(a_reload_answers_when_the_shards_have_changed_what_they_can),
        TEST(a_dry_run_tells_and_changes_nothing),
        TEST(a_bad_file_changes_nothing_and_every_problem_is_told),
        TEST(sixteen_askers_are_served_and_the_next_is_turned_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

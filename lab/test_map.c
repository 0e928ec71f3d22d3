#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "lab/map.h"
#include "lab/save.h"

static struct registry r;
static struct lab_network net;
static struct buf text;

static int open_registry(void **state)
{
    (void)state;
    if (crypto_init())
        return -1;
    registry_init(&r);
    registry_user_add(&r, "you@lab", "You");
    registry_key_add(&r, 1, "")->reusable = true;
    buf_init(&text, LAB_MAP_BYTES_MAX);
    return 0;
}

static int close_registry(void **state)
{
    (void)state;
    registry_deinit(&r);
    buf_deinit(&text);
    return 0;
}

static struct registry_node *add(uint8_t number, const char *name)
{
    struct registration in = { .machine = { { number } },
                               .key = { { number, 1 } },
                               .auth_key = span_from_str(r.keys[0].text),
                               .hostname = span_from_str(name) };
    struct registration_result result;

    assert_int_equal(registry_register(&r, &in, 1, &result), 0);
    return result.node;
}

static bool says(const char *what)
{
    return memmem(buf_span(&text).data, text.len, what, strlen(what)) != NULL;
}

static int delta(const struct registry_node *self, uint64_t seen)
{
    buf_clear(&text);
    return lab_map_write_delta(&text, &r, &net, self, seen, 2);
}

static void a_delta_names_only_what_is_newer(void **state)
{
    (void)state;
    struct registry_node *a = add(1, "a"), *b = add(2, "b"), *c = add(3, "c");
    uint64_t seen = r.version;

    assert_int_equal(delta(a, seen), LAB_MAP_NOTHING);
    assert_int_equal(text.len, 0);
    registry_set_online(&r, b, true, 2);
    assert_int_equal(delta(a, seen), 0);
    assert_true(says("\"PeersChangedPatch\":[{\"NodeID\":2,"));
    assert_false(says("\"NodeID\":3") || says("\"PeersChanged\"") || says("\"Node\""));
    registry_set_online(&r, c, true, 2);
    registry_changed(&r, c, REGISTRY_FULL);
    assert_int_equal(delta(a, seen), 0);
    assert_true(says("\"PeersChanged\":[{\"ID\":3,"));
    assert_false(says("\"NodeID\":3"));  /* a patch would only say it again */
    assert_int_equal(delta(b, seen), 0); /* of itself it hears no patch */
    assert_false(says("\"NodeID\":2"));
}

static void who_is_removed_is_named_until_the_ring_has_forgotten_it(void **state)
{
    (void)state;
    struct registry_node *a = add(1, "a");
    uint64_t before = r.version;

    registry_remove(&r, add(2, "b"));
    assert_int_equal(delta(a, before), 0);
    assert_true(says("\"PeersRemoved\":[2]"));
    assert_int_equal(delta(a, r.version), LAB_MAP_NOTHING);
    for (unsigned i = 0; i < REGISTRY_REMOVED_MAX; i++)
        registry_remove(&r, add(2, "b"));
    assert_int_equal(delta(a, before), LAB_MAP_TOO_OLD);
    assert_int_equal(delta(a, r.version), LAB_MAP_NOTHING);
}

static void labels_are_cleaned_and_never_taken_twice(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "Web", "web" },       { "WEB", "web-1" },       { "--a__b--", "a-b" },
        { "", "node" },         { "\xff\xfe", "node-1" }, { "host.example.org", "host" },
        { "web-1", "web-1-1" },
    };
    char long_name[200];
    struct registry_node *n;

    for (uint8_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(add(10 + i, cases[i][0])->name, cases[i][1]);
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    n = add(30, long_name);
    assert_in_range(strlen(n->name), 1, 63);
    assert_string_not_equal(add(31, long_name)->name, n->name);
}

static void a_machine_keeps_its_node_and_nobody_takes_anothers_key(void **state)
{
    (void)state;
    struct registry_node *a = add(1, "a");
    struct registration in = { .machine = { { 2 } },
                               .key = a->key,
                               .auth_key = span_from_str(r.keys[0].text) };
    struct registration_result result;

    assert_int_equal(registry_register(&r, &in, 1, &result), REGISTRATION_REFUSED);
    in.machine = a->machine;
    in.key = (struct public_key) { { 99 } };
    assert_int_equal(registry_register(&r, &in, 1, &result), 0);
    assert_ptr_equal(result.node, a);
    assert_ptr_equal(registry_by_key(&r, &in.key), a);
    assert_int_equal(r.node_count, 1);
}

/* Only who began a login can end it, whoever learns its URL. */
static void a_login_belongs_to_the_node_that_began_it(void **state)
{
    (void)state;
    struct registration in = { .machine = { { 1 } }, .key = { { 1, 1 } } },
                        thief = { .machine = { { 2 } }, .key = { { 2 } } };
    struct registration_result result;
    char token[REGISTRY_TOKEN_BYTES];

    assert_int_equal(registry_register(&r, &in, 1, &result), REGISTRATION_LOGIN);
    snprintf(token, sizeof(token), "%s", result.token);
    in.followup = thief.followup = span_from_str(token);
    assert_int_equal(registry_register(&r, &in, 1, &result), REGISTRATION_WAIT);
    assert_true(registry_login_finish(&r, span_from_str(token), 1));
    assert_int_equal(registry_register(&r, &thief, 1, &result), REGISTRATION_LOGIN);
    thief.machine = in.machine; /* with another node key than the person saw */
    assert_int_equal(registry_register(&r, &thief, 1, &result), REGISTRATION_LOGIN);
    assert_int_equal(registry_register(&r, &in, 1, &result), 0);
    assert_false(registry_login_finish(&r, span_from_str(token), 1));
}

static void unfinished_logins_are_bounded(void **state)
{
    (void)state;
    struct registration_result result;

    for (unsigned i = 0; i < 2 * REGISTRY_LOGINS_MAX; i++) {
        struct registration in = { .machine = { { 1, (uint8_t)i, (uint8_t)(i >> 8) } }, .key = { { 1 } } };

        assert_int_equal(registry_register(&r, &in, 1, &result), REGISTRATION_LOGIN);
    }
    assert_int_equal(r.login_count, REGISTRY_LOGINS_MAX);
}

static void what_peers_hear_of_a_node_leaves_out_the_rest_of_its_hostinfo(void **state)
{
    (void)state;
    char *info = lab_public_info(span_from_str(
        "{\"OS\":\"linux\",\"BackendLogID\":\"secret\",\"Hostname\":\"a\\\"b\",\"NetInfo\":{}}"));

    assert_string_equal(info, "{\"OS\":\"linux\",\"Hostname\":\"a\\\"b\"}");
    free(info);
}

static struct secret_key server_key;

/* Into another registry; what it makes of the text is in *again. */
static bool read_back(struct registry *again, struct secret_key *key)
{
    registry_init(again);
    return lab_save_read(buf_span(&text), again, key);
}

static void what_is_saved_comes_back_as_it_was(void **state)
{
    (void)state;
    struct registry_node *a = add(1, "a"), *b = add(2, "b"), *back;
    struct registry again;
    struct secret_key key;

    registry_remove(&r, a);
    b->home_region = LAB_REGION;
    b->key_expiry = 77;
    b->info = lab_public_info(span_from_str("{\"OS\":\"linux\"}"));
    secret_key_generate(&server_key);
    assert_int_equal(lab_save_write(&text, &r, &server_key), 0);
    assert_true(read_back(&again, &key));
    assert_memory_equal(&key, &server_key, sizeof(key));
    assert_string_equal(again.keys[0].text, r.keys[0].text);
    assert_true(again.keys[0].reusable);
    assert_int_equal(again.node_count, 1);
    back = registry_by_key(&again, &b->key);
    assert_non_null(back);
    assert_ptr_equal(back, registry_by_machine(&again, &b->machine));
    assert_string_equal(back->name, "b");
    assert_true(ip_equal(&back->v4, &b->v4) && ip_equal(&back->v6, &b->v6));
    assert_int_equal(back->id, b->id);
    assert_int_equal(back->home_region, LAB_REGION);
    assert_int_equal(back->key_expiry, 77);
    assert_string_equal(back->info, "{\"OS\":\"linux\"}");
    assert_true(back->approved && !back->online);
    registry_deinit(&again);
}

/* Ids and addresses of nodes that were removed are not given out again after a restart. */
static void a_restored_registry_goes_on_counting(void **state)
{
    (void)state;
    struct registry again;
    struct secret_key key;
    struct ip before = add(2, "b")->v4;

    registry_remove(&r, registry_by_name(&r, "b"));
    assert_int_equal(lab_save_write(&text, &r, &server_key), 0);
    assert_true(read_back(&again, &key));
    registry_deinit(&r);
    r = again;
    list_init(&r.nodes);
    list_init(&r.changes);
    list_init(&r.logins);
    assert_false(ip_equal(&add(3, "c")->v4, &before));
    assert_int_equal(registry_by_name(&r, "c")->id, 2);
}

static void a_saved_text_that_was_cut_or_changed_is_refused(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        { "\"id\":2", "\"id\":1" },           { "\"name\":\"b\"", "\"name\":\"a\"" },
        { "\"address\":2", "\"address\":9" }, { "\"lastId\":2", "\"lastId\":1" },
        { "nodekey:0201", "nodekey:0101" },   { "privkey:", "publkey:" },
    };
    struct registry again;
    struct secret_key key;
    size_t whole;

    add(1, "a");
    add(2, "b");
    secret_key_generate(&server_key);
    assert_int_equal(lab_save_write(&text, &r, &server_key), 0);
    whole = text.len;
    for (text.len = 0; text.len < whole; text.len++) {
        assert_false(read_back(&again, &key));
        registry_deinit(&again);
    }
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        size_t len = strlen(changes[i][0]);
        uint8_t *at = memmem(text.data + text.start, text.len, changes[i][0], len);

        assert_non_null(at);
        assert_int_equal(strlen(changes[i][1]), len);
        memcpy(at, changes[i][1], len);
        assert_false(read_back(&again, &key));
        registry_deinit(&again);
        memcpy(at, changes[i][0], len);
    }
    assert_true(read_back(&again, &key));
    registry_deinit(&again);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_registry, close_registry)
    const struct CMUnitTest tests[] = {
        TEST(a_delta_names_only_what_is_newer),
        TEST(who_is_removed_is_named_until_the_ring_has_forgotten_it),
        TEST(labels_are_cleaned_and_never_taken_twice),
        TEST(a_machine_keeps_its_node_and_nobody_takes_anothers_key),
        TEST(a_login_belongs_to_the_node_that_began_it),
        TEST(unfinished_logins_are_bounded),
        TEST(what_is_saved_comes_back_as_it_was),
        TEST(a_restored_registry_goes_on_counting),
        TEST(a_saved_text_that_was_cut_or_changed_is_refused),
        TEST(what_peers_hear_of_a_node_leaves_out_the_rest_of_its_hostinfo),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

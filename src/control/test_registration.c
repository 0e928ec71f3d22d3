#include "check.h"

#include "control/registration.h"

/* Random bytes of the test: 1 1 1 ..., then 2 2 2 ... */
static void count_up(void *ctx, void *out, size_t len)
{
    memset(out, ++*(uint8_t *)ctx, len);
}

struct world {
    struct registration r;
    struct registration_call call;
    struct registration_verdict verdict;
    bool have_auth_key;
    uint8_t counter;
};

static struct public_key public_of(uint8_t fill)
{
    struct secret_key k;
    struct public_key p;

    memset(&k, fill, sizeof(k));
    secret_key_clamp(&k);
    secret_key_public(&k, &p);
    return p;
}

static struct world world_new(bool have_auth_key, uint8_t stored_fill)
{
    struct world w = { .have_auth_key = have_auth_key };
    struct control_keys keys = { 0 };

    if (stored_fill) {
        memset(&keys.node, stored_fill, sizeof(keys.node));
        secret_key_clamp(&keys.node);
    }
    registration_init(&w.r, &keys);
    registration_begin(&w.r, false);
    return w;
}

static void call(struct world *w)
{
    registration_call(&w->r, w->have_auth_key, count_up, &w->counter, &w->call);
}

static void assert_key(const struct public_key *got, uint8_t fill)
{
    struct public_key want = fill ? public_of(fill) : (struct public_key) { { 0 } };

    assert_memory_equal(got, &want, sizeof(want));
}

/* The answer to the last call; `random` middles the jitter. */
static enum registration_next answered(struct world *w, int status, const char *text,
                                       const struct tailcfg_register_response *response, time_ns retry_after)
{
    struct registration_answer a = { .http_status = status,
                                     .text = span_from_str(text),
                                     .response = response,
                                     .retry_after = retry_after,
                                     .with_auth_key = w->call.with_auth_key,
                                     .with_tags = w->call.with_tags };

    assert_int_equal(registration_answer(&w->r, &a, 0, &w->verdict), 0);
    return w->verdict.next;
}

static enum registration_next ok(struct world *w)
{
    struct tailcfg_register_response response = { .machine_authorized = true };

    return answered(w, 200, "", &response, 0);
}

static enum registration_next url(struct world *w, const char *text)
{
    struct tailcfg_register_response response = { .auth_url = span_from_str(text) };

    return answered(w, 200, "", &response, 0);
}

static enum registration_next error(struct world *w, const char *text)
{
    struct tailcfg_register_response response = { .error = span_from_str(text) };

    return answered(w, 200, "", &response, 0);
}

static enum registration_next expired(struct world *w)
{
    struct tailcfg_register_response response = { .node_key_expired = true };

    return answered(w, 200, "", &response, 0);
}

static void auth_key_registers_at_once(void **state)
{
    (void)state;
    struct world w = world_new(true, 0);
    struct control_keys keys;

    call(&w);
    assert_true(w.call.with_auth_key);
    assert_null(w.call.followup);
    assert_key(&w.call.node_key, 1);
    assert_key(&w.call.old_node_key, 0);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    assert_false(w.verdict.approval_needed);
    registration_pending_keys(&w.r, &keys);
    assert_int_equal(keys.node.bytes[5], 1);
    registration_commit(&w.r);
    assert_int_equal(w.r.keys.node.bytes[5], 1);
    registration_deinit(&w.r);
}

static void restart_repeats_the_stored_key(void **state)
{
    (void)state;
    struct world w = world_new(true, 9);

    call(&w);
    assert_key(&w.call.node_key, 9);
    assert_key(&w.call.old_node_key, 0);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    registration_commit(&w.r);
    assert_int_equal(w.r.keys.node.bytes[5], 9);
    assert_int_equal(w.counter, 0);
    registration_deinit(&w.r);
}

static void followup_keeps_url_and_pending_key_until_a_person_is_done(void **state)
{
    (void)state;
    struct world w = world_new(false, 0);

    call(&w);
    assert_false(w.call.with_auth_key);
    assert_int_equal(url(&w, "https://login.example/a/1"), REGISTRATION_AGAIN);
    assert_true(w.verdict.url_changed);
    call(&w);
    assert_string_equal(w.call.followup, "https://login.example/a/1");
    assert_key(&w.call.node_key, 1);
    /* The connection was lost: nothing is answered, the same call goes out again. */
    call(&w);
    assert_string_equal(w.call.followup, "https://login.example/a/1");
    assert_key(&w.call.node_key, 1);
    /* A server that does not wait is not asked in a hot loop. */
    assert_int_equal(url(&w, "https://login.example/a/1"), REGISTRATION_LATER);
    assert_false(w.verdict.url_changed);
    assert_true(w.verdict.delay >= REGISTRATION_STEP / 2);
    /* The link was replaced. */
    assert_int_equal(url(&w, "https://login.example/a/2"), REGISTRATION_LATER);
    assert_true(w.verdict.url_changed);
    call(&w);
    assert_string_equal(w.call.followup, "https://login.example/a/2");
    assert_key(&w.call.node_key, 1);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    assert_true(w.verdict.url_changed);
    registration_commit(&w.r);
    assert_null(w.r.followup);
    assert_int_equal(w.r.keys.node.bytes[5], 1);
    registration_deinit(&w.r);
}

static void used_up_login_starts_anew(void **state)
{
    (void)state;
    struct world w = world_new(false, 0);

    call(&w);
    assert_int_equal(url(&w, "https://login.example/a/1"), REGISTRATION_AGAIN);
    call(&w);
    assert_int_equal(answered(&w, 410, "gone", NULL, 0), REGISTRATION_LATER);
    assert_true(w.verdict.url_changed);
    call(&w);
    assert_null(w.call.followup);
    registration_deinit(&w.r);
}

static void approval_is_waited_for_as_registered(void **state)
{
    (void)state;
    struct world w = world_new(true, 0);
    struct tailcfg_register_response response = { .machine_authorized = false };

    call(&w);
    assert_int_equal(answered(&w, 200, "", &response, 0), REGISTRATION_DONE);
    assert_true(w.verdict.approval_needed);
    registration_deinit(&w.r);
}

static void retry_after_is_heeded_within_reason(void **state)
{
    (void)state;
    static const struct {
        time_ns said, least, most;
    } rows[] = { { 7 * SEC, 7 * SEC, 7 * SEC },
                 { HOUR, HOUR, HOUR },
                 { HOUR + SEC, 5 * SEC, 10 * SEC },
                 { 0, 5 * SEC, 10 * SEC },
                 { -SEC, 5 * SEC, 10 * SEC } };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct world w = world_new(true, 0);

        call(&w);
        assert_int_equal(answered(&w, 429, "slow down", NULL, rows[i].said), REGISTRATION_LATER);
        assert_true(w.verdict.rate_limited);
        assert_in_range(w.verdict.delay, rows[i].least, rows[i].most);
        assert_int_equal(w.r.failures, 0); /* no exponential growth on top */
        registration_deinit(&w.r);
    }
}

static void refused_auth_key_of_a_new_node_is_tried_slowly_and_said(void **state)
{
    (void)state;
    static const char *const texts[] = { "invalid pre auth key", "authkey expired", "authkey already used" };

    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct world w = world_new(true, 0);

        call(&w);
        assert_int_equal(error(&w, texts[i]), REGISTRATION_LATER);
        assert_true(w.verdict.delay >= REGISTRATION_SLOW / 2);
        assert_non_null(strstr(w.verdict.reason, texts[i]));
        call(&w);
        assert_true(w.call.with_auth_key);
        registration_deinit(&w.r);
    }
}

static void refused_auth_key_of_a_known_node_turns_into_a_login(void **state)
{
    (void)state;
    struct world w = world_new(true, 9);

    call(&w);
    assert_int_equal(error(&w, "authkey already used"), REGISTRATION_AGAIN);
    call(&w);
    assert_false(w.call.with_auth_key);
    assert_int_equal(url(&w, "https://login.example/a/1"), REGISTRATION_AGAIN);
    registration_auth_key_changed(&w.r);
    registration_begin(&w.r, false);
    call(&w);
    assert_true(w.call.with_auth_key);
    assert_null(w.call.followup);
    registration_deinit(&w.r);
}

static void refused_tags_are_left_to_the_auth_key_once(void **state)
{
    (void)state;
    struct world w = world_new(true, 0);
    const char *text = "requested tags [tag:svc] are invalid or not permitted";

    call(&w);
    assert_true(w.call.with_tags);
    assert_int_equal(error(&w, text), REGISTRATION_AGAIN);
    call(&w);
    assert_false(w.call.with_tags);
    assert_true(w.call.with_auth_key);
    assert_int_equal(error(&w, text), REGISTRATION_LATER);
    registration_deinit(&w.r);
}

static void expired_key_is_replaced_once_and_named_as_old(void **state)
{
    (void)state;
    struct world w = world_new(true, 9);
    struct control_keys keys;

    call(&w);
    assert_int_equal(expired(&w), REGISTRATION_AGAIN);
    call(&w);
    assert_key(&w.call.node_key, 1);
    assert_key(&w.call.old_node_key, 9);
    assert_int_equal(expired(&w), REGISTRATION_LATER);
    call(&w);
    assert_key(&w.call.node_key, 1);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    registration_pending_keys(&w.r, &keys);
    assert_int_equal(keys.node.bytes[5], 1);
    assert_key(&keys.old_node, 9);
    assert_int_equal(w.r.keys.node.bytes[5], 9); /* until it is stored */
    registration_commit(&w.r);
    assert_int_equal(w.r.keys.node.bytes[5], 1);
    registration_deinit(&w.r);
}

static void renewal_replaces_the_key_in_use(void **state)
{
    (void)state;
    struct world w = world_new(true, 9);

    registration_begin(&w.r, true);
    call(&w);
    assert_key(&w.call.node_key, 1);
    assert_key(&w.call.old_node_key, 9);
    call(&w); /* after a lost connection */
    assert_key(&w.call.node_key, 1);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    registration_commit(&w.r);
    assert_key(&w.r.keys.old_node, 9);
    registration_deinit(&w.r);
}

static void deleted_node_is_registered_anew_after_two_answers(void **state)
{
    (void)state;
    struct world w = world_new(true, 9);

    assert_false(registration_not_found(&w.r));
    assert_true(registration_not_found(&w.r));
    call(&w);
    assert_key(&w.call.node_key, 9);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    registration_commit(&w.r);
    /* Still gone: now with a new key. */
    assert_false(registration_not_found(&w.r));
    assert_true(registration_not_found(&w.r));
    call(&w);
    assert_key(&w.call.node_key, 1);
    assert_int_equal(ok(&w), REGISTRATION_DONE);
    registration_commit(&w.r);
    registration_found(&w.r);
    assert_false(registration_not_found(&w.r));
    registration_found(&w.r);
    assert_false(registration_not_found(&w.r)); /* a netmap in between ends the streak */
    registration_deinit(&w.r);
}

/* Simulated time: a server that only ever fails is asked ever more seldom. */
static void failing_server_is_asked_ever_more_seldom(void **state)
{
    (void)state;
    struct world w = world_new(true, 0);
    time_ns now = 0;
    unsigned calls = 0;

    for (; now < HOUR; calls++) {
        call(&w);
        assert_key(&w.call.node_key, 1);
        assert_int_equal(answered(&w, 500, "Internal\r\nerror\n", NULL, 0), REGISTRATION_LATER);
        assert_string_equal(w.verdict.reason, "registration answered with status 500: Internal  error");
        now += w.verdict.delay;
    }
    assert_in_range(calls, 20, 45);
    registration_deinit(&w.r);
}

static void client_version_that_is_too_old_is_tried_slowly(void **state)
{
    (void)state;
    struct world w = world_new(true, 0);

    call(&w);
    assert_int_equal(answered(&w, 400, "unsupported client version: v1.2", NULL, 0), REGISTRATION_LATER);
    assert_true(w.verdict.delay >= REGISTRATION_SLOW / 2);
    registration_deinit(&w.r);
}

static void long_words_of_the_server_are_cut(void **state)
{
    (void)state;
    struct world w = world_new(true, 0);
    char text[2000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    call(&w);
    assert_int_equal(error(&w, text), REGISTRATION_LATER);
    assert_int_equal(strlen(w.verdict.reason), REGISTRATION_TEXT_BYTES - 1);
    registration_deinit(&w.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auth_key_registers_at_once),
        cmocka_unit_test(restart_repeats_the_stored_key),
        cmocka_unit_test(followup_keeps_url_and_pending_key_until_a_person_is_done),
        cmocka_unit_test(used_up_login_starts_anew),
        cmocka_unit_test(approval_is_waited_for_as_registered),
        cmocka_unit_test(retry_after_is_heeded_within_reason),
        cmocka_unit_test(refused_auth_key_of_a_new_node_is_tried_slowly_and_said),
        cmocka_unit_test(refused_auth_key_of_a_known_node_turns_into_a_login),
        cmocka_unit_test(refused_tags_are_left_to_the_auth_key_once),
        cmocka_unit_test(expired_key_is_replaced_once_and_named_as_old),
        cmocka_unit_test(renewal_replaces_the_key_in_use),
        cmocka_unit_test(deleted_node_is_registered_anew_after_two_answers),
        cmocka_unit_test(failing_server_is_asked_ever_more_seldom),
        cmocka_unit_test(client_version_that_is_too_old_is_tried_slowly),
        cmocka_unit_test(long_words_of_the_server_are_cut),
    };

    must(!crypto_init());
    return cmocka_run_group_tests(tests, NULL, NULL);
}

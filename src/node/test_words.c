#include "check.h"

#include "node/internal.h"

static struct control_status status;
static struct node_words words;

static void tell(enum node_state state, bool stored)
{
    node_words(state, "what was entered", &status, stored, 10 * SEC, &words);
}

static int begin(void **state)
{
    (void)state;
    status = (struct control_status) { .state = CONTROL_RUNNING,
                                       .retry_at = TIME_NEVER,
                                       .sentence = "what control says" };
    return 0;
}

static void a_dead_server_is_named_with_reason_retry_and_what_still_works(void **state)
{
    (void)state;
    status.state = CONTROL_FAILED;
    status.failures = 2;
    status.reason = "connection refused";
    status.retry_at = 12 * SEC + MSEC;
    tell(NODE_SERVING_STORED, true);
    assert_string_equal(words.sentence, "control server unreachable");
    assert_string_equal(words.detail,
                        "serving from the stored netmap; connection refused; trying again in 3 s");
}

static void between_two_attempts_the_server_is_still_called_unreachable(void **state)
{
    (void)state;
    status.state = CONTROL_CONNECTING;
    status.failures = 1;
    status.reason = "connection refused";
    tell(NODE_STARTING, false);
    assert_string_equal(words.sentence, "control server unreachable");
    assert_string_equal(words.detail, "connection refused");
}

static void a_server_that_answers_no_is_not_called_unreachable(void **state)
{
    (void)state;
    status.state = CONTROL_FAILED;
    status.connected = true;
    status.reason = "the auth key was refused: expired";
    tell(NODE_STARTING, false);
    assert_string_equal(words.sentence, "turned away by the control server");
    assert_non_null(strstr(words.detail, "expired"));
}

static void a_missing_auth_key_is_not_the_control_servers_word(void **state)
{
    (void)state;
    status.state = CONTROL_FAILED;
    status.connected = status.no_auth_key = true;
    status.reason = "no auth key from https://api.example: the OAuth client secret was refused";
    tell(NODE_STARTING, false);
    assert_string_equal(words.sentence, "no auth key from the OAuth service");
    assert_non_null(strstr(words.detail, "secret was refused"));
}

static void a_start_says_whether_there_is_a_netmap_to_serve_from(void **state)
{
    (void)state;
    status.state = CONTROL_CONNECTING;
    tell(NODE_STARTING, false);
    assert_string_equal(words.sentence, "joining the tailnet");
    tell(NODE_SERVING_STORED, true);
    assert_string_equal(words.sentence, "connecting to the control server");
    assert_string_equal(words.detail, "what control says");
}

static void every_state_has_a_sentence_without_a_full_stop(void **state)
{
    static const enum node_state all[] = {
#define X(name, text) NODE_##name,
        NODE_STATES(X)
#undef X
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        tell(all[i], false);
        assert_true(strlen(words.sentence) > 5);
        assert_int_not_equal(words.sentence[strlen(words.sentence) - 1], '.');
    }
    tell(NODE_WAITING_APPROVAL, false);
    assert_string_equal(words.sentence, "waiting for approval in the admin console");
    tell(NODE_FAILED, false);
    assert_string_equal(words.detail, "what was entered");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_dead_server_is_named_with_reason_retry_and_what_still_works, begin),
        cmocka_unit_test_setup(between_two_attempts_the_server_is_still_called_unreachable, begin),
        cmocka_unit_test_setup(a_server_that_answers_no_is_not_called_unreachable, begin),
        cmocka_unit_test_setup(a_missing_auth_key_is_not_the_control_servers_word, begin),
        cmocka_unit_test_setup(a_start_says_whether_there_is_a_netmap_to_serve_from, begin),
        cmocka_unit_test_setup(every_state_has_a_sentence_without_a_full_stop, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

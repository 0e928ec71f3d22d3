#include "check.h"

#include "node/internal.h"

#include <stdio.h>
#include <stdlib.h>

static struct notices notices;

static void apply(const char *json, bool first)
{
    struct tailcfg_map_response r;

    assert_int_equal(tailcfg_map_response_parse(span_from_str(json), &r), 0);
    notices_apply(&notices, "web", &r, first);
    tailcfg_map_response_deinit(&r);
}

static bool says(const char *text)
{
    for (unsigned i = 0; i < notices.count; i++)
        if (notices.items[i].text && strcmp(notices.items[i].text, text) == 0)
            return true;
    return false;
}

static int end(void **state)
{
    (void)state;
    notices_deinit(&notices);
    return 0;
}

static void a_health_list_replaces_the_one_before_and_silence_keeps_it(void **state)
{
    (void)state;
    apply("{\"Health\":[\"bad\",\"worse\"]}", true);
    assert_int_equal(notices.count, 2);
    apply("{}", false);
    assert_int_equal(notices.count, 2);
    apply("{\"Health\":[\"worse\"]}", false);
    assert_false(says("bad"));
    assert_true(says("worse"));
    apply("{\"Health\":[]}", false);
    assert_null(notices.items);
}

static void display_messages_are_patched_by_id(void **state)
{
    (void)state;
    apply("{\"DisplayMessages\":{\"a\":{\"Title\":\"T\",\"Text\":\"one\",\"Severity\":\"high\","
          "\"ImpactsConnectivity\":true},\"b\":{\"Text\":\"two\"}}}",
          true);
    assert_int_equal(notices.count, 2);
    apply("{\"DisplayMessages\":{\"a\":{\"Text\":\"other\"}}}", false);
    assert_int_equal(notices.count, 2);
    assert_true(says("other") && says("two") && !says("one"));
    apply("{\"DisplayMessages\":{\"a\":null}}", false);
    assert_int_equal(notices.count, 1);
    apply("{\"DisplayMessages\":{\"*\":null,\"c\":{\"Text\":\"three\"}}}", false);
    assert_int_equal(notices.count, 1);
    assert_true(says("three"));
}

static void a_new_stream_ends_what_it_does_not_say(void **state)
{
    (void)state;
    apply("{\"Health\":[\"bad\"],\"DisplayMessages\":{\"a\":{\"Text\":\"one\"},\"b\":{\"Text\":\"two\"}}}",
          true);
    assert_int_equal(notices.count, 3);
    apply("{\"DisplayMessages\":{\"b\":{\"Text\":\"two\"}}}", true);
    assert_int_equal(notices.count, 1);
    assert_true(says("two"));
}

static void what_a_server_sends_is_bounded_and_printable(void **state)
{
    char json[64 * 1024] = "{\"Health\":[\"a\\u001b[31mred\\nline\"";
    size_t at = strlen(json);

    (void)state;
    for (int i = 0; i < 100; i++)
        at += (size_t)snprintf(json + at, sizeof(json) - at, ",\"%d%0600d\"", i, 0);
    snprintf(json + at, sizeof(json) - at, "]}");
    apply(json, true);
    assert_int_equal(notices.count, NOTICES_MAX);
    assert_true(says("a [31mred line"));
    for (unsigned i = 0; i < notices.count; i++)
        assert_true(strlen(notices.items[i].text) <= NOTICE_TEXT_BYTES);
}

static void the_status_shows_severity_title_and_text(void **state)
{
    struct json_writer w;
    struct buf text;

    (void)state;
    apply("{\"DisplayMessages\":{\"a\":{\"Title\":\"Update\",\"Text\":\"now\",\"Severity\":\"low\"}}}", true);
    buf_init(&text, 4096);
    w = json_writer_of(&text);
    json_object_begin(&w, NULL);
    notices_write(&notices, &w);
    json_object_end(&w);
    assert_int_equal(json_writer_done(&w), 0);
    assert_span_text(buf_span(&text),
                     "{\"notices\":[{\"severity\":\"low\",\"title\":\"Update\",\"text\":\"now\"}]}");
    buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_health_list_replaces_the_one_before_and_silence_keeps_it, end),
        cmocka_unit_test_teardown(display_messages_are_patched_by_id, end),
        cmocka_unit_test_teardown(a_new_stream_ends_what_it_does_not_say, end),
        cmocka_unit_test_teardown(what_a_server_sends_is_bounded_and_printable, end),
        cmocka_unit_test_teardown(the_status_shows_severity_title_and_text, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <errno.h>

#include "check.h"
#include "http/http.h"

static struct http_head head;
static struct buf out;

static int setup(void **state)
{
    (void)state;
    http_head_init(&head);
    buf_init(&out, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_head_deinit(&head);
    buf_deinit(&out);
    return 0;
}

static void set(const char *name, const char *value)
{
    assert_int_equal(http_head_set(&head, span_from_str(name), span_from_str(value)), 0);
}

static void add(const char *name, const char *value)
{
    assert_int_equal(http_head_add(&head, span_from_str(name), span_from_str(value)), 0);
}

static void check_written(const char *want)
{
    buf_clear(&out);
    assert_int_equal(http_head_write(&head, &out), 0);
    assert_span_text(buf_span(&out), want);
}

static void a_request_is_written_as_it_was_made(void **state)
{
    (void)state;

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/x?y")), 0);
    add("Host", "a");
    add("Accept", "b");
    check_written("GET /x?y HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n");
    assert_int_equal(head.method_id, HTTP_METHOD_GET);
    assert_int_equal(http_head_set_target(&head, span_from_str("/z")), 0);
    check_written("GET /z HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n");
}

static void a_response_is_written_as_it_was_made(void **state)
{
    (void)state;

    assert_int_equal(http_head_make_response(&head, 404, span_from_str(http_status_text(404))), 0);
    add("Content-Length", "0");
    check_written("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

static void setting_replaces_every_field_of_that_name(void **state)
{
    (void)state;

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/")), 0);
    add("x-a", "1");
    add("X-A", "2");
    add("X-B", "3");
    set("X-a", "4");
    check_written("GET / HTTP/1.1\r\nX-B: 3\r\nX-a: 4\r\n\r\n");
    set("X-A", "5");
    check_written("GET / HTTP/1.1\r\nX-B: 3\r\nX-A: 5\r\n\r\n");
}

static void removed_fields_are_invisible(void **state)
{
    (void)state;
    struct span value, name;
    int at = 0;

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/")), 0);
    add("Connection", "a");
    add("connection", "b");
    add("X", "c");
    assert_int_equal(http_head_find(&head, HTTP_FIELD_CONNECTION, 0), 0);
    assert_int_equal(http_head_find(&head, HTTP_FIELD_CONNECTION, 1), 1);
    http_head_remove(&head, HTTP_FIELD_CONNECTION);
    assert_int_equal(http_head_find(&head, HTTP_FIELD_CONNECTION, 0), -1);
    assert_false(http_head_get_name(&head, "CONNECTION", &value));
    assert_true(http_head_next(&head, &at, &name, &value));
    assert_span_text(name, "X");
    assert_false(http_head_next(&head, &at, &name, &value));
    http_head_remove_name(&head, span_from_str("x"));
    check_written("GET / HTTP/1.1\r\n\r\n");
}

/* The value may come from the head itself, whose text moves while it grows. */
static void a_value_of_the_head_itself_can_be_set_again(void **state)
{
    (void)state;
    struct span value;

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/")), 0);
    add("Host", "first.example");
    for (int i = 0; i < 100; i++) {
        assert_true(http_head_get(&head, HTTP_FIELD_HOST, &value));
        assert_int_equal(http_head_add(&head, span_from_str("X"), value), 0);
    }
    assert_true(http_head_get_name(&head, "X", &value));
    assert_span_text(value, "first.example");
}

static void limits_change_nothing(void **state)
{
    (void)state;
    static uint8_t long_value[HTTP_HEAD_TEXT_MAX];

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/")), 0);
    memset(long_value, 'x', sizeof(long_value));
    assert_int_equal(http_head_add(&head, span_from_str("X"), SPAN_OF(long_value)), -ENOBUFS);
    check_written("GET / HTTP/1.1\r\n\r\n");
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        add("X", "y");
    assert_int_equal(http_head_add(&head, span_from_str("X"), span_from_str("y")), -ENOBUFS);
    assert_int_equal(http_head_set(&head, span_from_str("X"), span_from_str("z")), -ENOBUFS);
    assert_int_equal(head.count, HTTP_FIELDS_MAX);
}

static void lists_are_read_member_by_member(void **state)
{
    (void)state;
    struct span list = span_from_str(" a ,,\t b;c=\"d\" , "), member;

    assert_true(http_list_next(&list, &member));
    assert_span_text(member, "a");
    assert_true(http_list_next(&list, &member));
    assert_span_text(member, "b;c=\"d\"");
    assert_false(http_list_next(&list, &member));

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/")), 0);
    add("Connection", "Keep-Alive, x");
    add("Connection", "UPGRADE");
    assert_true(http_head_lists(&head, HTTP_FIELD_CONNECTION, "upgrade"));
    assert_true(http_head_lists(&head, HTTP_FIELD_CONNECTION, "X"));
    assert_false(http_head_lists(&head, HTTP_FIELD_CONNECTION, "keep"));
}

static void known_names_are_known_in_any_case(void **state)
{
    (void)state;

    for (int i = HTTP_FIELD_OTHER + 1; i < HTTP_FIELD_COUNT; i++)
        assert_int_equal(http_field_id(span_from_str(http_field_name((enum http_field)i))), i);
    assert_int_equal(http_field_id(span_from_str("TRANSFER-encoding")), HTTP_FIELD_TRANSFER_ENCODING);
    assert_int_equal(http_field_id(span_from_str("Transfer_Encoding")), HTTP_FIELD_OTHER);
    assert_int_equal(http_field_id(span_from_str("")), HTTP_FIELD_OTHER);
}

static void an_idle_head_holds_no_memory(void **state)
{
    (void)state;

    assert_int_equal(http_head_make_request(&head, span_from_str("GET"), span_from_str("/")), 0);
    http_head_clear(&head, 0);
    assert_null(head.text.data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_request_is_written_as_it_was_made),
        T(a_response_is_written_as_it_was_made),
        T(setting_replaces_every_field_of_that_name),
        T(removed_fields_are_invisible),
        T(a_value_of_the_head_itself_can_be_set_again),
        T(limits_change_nothing),
        T(lists_are_read_member_by_member),
        T(known_names_are_known_in_any_case),
        T(an_idle_head_holds_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

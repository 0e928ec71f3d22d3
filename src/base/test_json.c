#include "check.h"

#include <errno.h>
#include <stdlib.h>

static enum json_outcome refusal(const char *text)
{
    struct json *root;

    return (enum json_outcome)json_parse(span_from_str(text), 1000, &root);
}

static struct json *parsed(const char *text)
{
    struct json *root;

    assert_int_equal(json_parse(span_from_str(text), SIZE_MAX, &root), 0);
    return root;
}

static void absent_null_and_other_types_are_told_apart(void **state)
{
    (void)state;
    OWNED(json_freep)
    struct json *v = parsed("{\"n\":null,\"s\":\"x\\u0000y\",\"i\":-9007199254740993,\"b\":true,"
                            "\"r\":1.5,\"a\":[],\"o\":{}}");
    const struct json *inner = NULL;
    struct span s = span_from_str("before");
    int64_t i = 7;
    double r;
    bool b;

    assert_int_equal(json_get_string(v, "x", &s), JSON_GOT_ABSENT);
    assert_int_equal(json_get_string(v, "n", &s), JSON_GOT_NULL);
    assert_int_equal(json_get_string(v, "i", &s), JSON_GOT_OTHER);
    assert_span_text(s, "before");
    assert_int_equal(json_get_string(v, "s", &s), JSON_GOT);
    assert_span_equal(s, "x\0y", 3);
    assert_int_equal(json_get_i64(v, "s", &i), JSON_GOT_OTHER);
    assert_int_equal(json_get_i64(v, "r", &i), JSON_GOT_OTHER);
    assert_int_equal(json_get_int(v, "i", 0, 10, &i), JSON_GOT_OTHER);
    assert_int_equal(i, 7);
    assert_int_equal(json_get_i64(v, "i", &i), JSON_GOT);
    assert_true(i == -9007199254740993); /* a double does not hold it */
    assert_int_equal(json_get_bool(v, "b", &b), JSON_GOT);
    assert_true(b);
    assert_int_equal(json_get_bool(v, "n", &b), JSON_GOT_NULL);
    assert_int_equal(json_get_real(v, "r", &r), JSON_GOT);
    assert_true(r == 1.5);
    assert_int_equal(json_get_array(v, "o", &inner), JSON_GOT_OTHER);
    assert_int_equal(json_get_object(v, "a", &inner), JSON_GOT_OTHER);
    assert_int_equal(json_get_array(v, "a", &inner), JSON_GOT);
    assert_int_equal(json_array_count(inner), 0);
    assert_null(json_array_at(inner, 0));
    assert_int_equal(json_get_i64(NULL, "i", &i), JSON_GOT_ABSENT);
    assert_int_equal(json_kind(json_member(v, "n")), JSON_KIND_NULL);
    assert_int_equal(json_kind(NULL), JSON_KIND_ABSENT);
}

static void what_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      " ",       "{",           "}",        "{]",    "[1,]",
        "[1 2]", "{\"a\"}", "{\"a\":}",    "nul",      "01",    "\"\t\"",
        "[1]]",  "{} x",    "\"\\ud800\"", "\"\xff\"", "1e999", "99999999999999999999",
        "[\"a]", "{a:1}",   "'a'",         ",",        "[,1]",  "\"\\x\""
    };
    struct json *root;

    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (refusal(bad[i]) != JSON_E_SYNTAX)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(json_parse(span_from_str("[1]"), 2, &root), JSON_E_TOO_BIG);
    assert_null(root);
}

static void depth_and_number_of_values_have_limits(void **state)
{
    (void)state;
    char deep[2 * (JSON_DEPTH_MAX + 1)];
    size_t many = JSON_VALUES_MAX * 2 + 3;
    char *text = malloc(many);
    struct json *root;

    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        assert_int_equal(json_parse(span_make(deep, 2 * depth), SIZE_MAX, &root),
                         depth > JSON_DEPTH_MAX ? JSON_E_TOO_DEEP : 0);
        json_free(root);
    }
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 1; i < many; i += 2) {
        text[i] = '0';
        text[i + 1] = ',';
    }
    text[many - 1] = ']';
    assert_int_equal(json_parse(span_make(text, many), SIZE_MAX, &root), JSON_E_TOO_BIG);
    free(text);
}

static void cursor_hands_out_each_member_whole(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } want[] = { { "a", "1" }, { "b", "{\"]\":[\"}\\\"\"]}" }, { "", "null" }, { "c\\n", "[ [ ] , {} ]" } };
    struct json_cursor c = json_cursor_of(
        span_from_str(" { \"a\" : 1 , \"b\":{\"]\":[\"}\\\"\"]},\"\":null,\"c\\n\":[ [ ] , {} ]} \n"));
    struct span key, value;

    for (size_t i = 0; i < COUNT_OF(want); i++) {
        assert_true(json_cursor_next(&c, &key, &value));
        assert_span_text(key, want[i].key);
        assert_span_text(value, want[i].value);
    }
    assert_false(json_cursor_next(&c, &key, &value));
    assert_false(json_cursor_next(&c, &key, &value));
    assert_false(c.failed);
    assert_int_equal(json_text_count(span_from_str("[]")), 0);
    assert_int_equal(json_text_count(span_from_str("[1,\"2\",[3]]")), 3);
}

static void member_is_found_by_name(void **state)
{
    (void)state;
    struct span text = span_from_str("{\"a\":{\"b\":1},\"b\":2,\"a\":[3]}");

    assert_span_text(json_text_member(text, "a"), "[3]");
    assert_span_text(json_text_member(text, "b"), "2");
    assert_int_equal(json_text_member(text, "c").len, 0);
    assert_int_equal(json_text_member(span_from_str("[\"a\"]"), "a").len, 0);
    assert_int_equal(json_text_member(SPAN_NONE, "a").len, 0);
}

/* Cut anywhere, a text is either broken or (never) complete. */
static void cursor_fails_on_every_prefix(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,{\"x\":\"\\\\\"}],\"b\":true}";

    for (size_t len = 0; len + 1 < sizeof(text); len++)
        assert_true(json_text_count(span_make(text, len)) == SIZE_MAX || len == sizeof(text) - 1);
    assert_int_equal(json_text_count(span_make(text, sizeof(text) - 1)), 2);
    static const char *const bad[] = { "[1,]", "[,]", "[1 2]", "{\"a\" 1}", "{1:2}",
                                       "[1}",  "[]]", "[{]}]", "7",         "[:]" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (json_text_count(span_from_str(bad[i])) != SIZE_MAX)
            fail_msg("accepted: %s", bad[i]);
}

static void keys_are_unescaped(void **state)
{
    (void)state;
    struct span out;
    struct arena a;

    arena_init(&a, 1000);
    assert_int_equal(json_unescape(span_from_str("plain"), &a, &out), 0);
    assert_span_text(out, "plain");
    assert_null(a.blocks);
    assert_int_equal(json_unescape(span_from_str("a\\u0026b\\\"\\ud83d\\ude00"), &a, &out), 0);
    assert_span_text(out, "a&b\"\xf0\x9f\x98\x80");
    assert_int_equal(json_unescape(span_from_str("\\u12"), &a, &out), JSON_E_SYNTAX);
    a.max = 0;
    a.at = a.size;
    assert_int_equal(json_unescape(span_from_str("\\n"), &a, &out), -ENOMEM);
    arena_deinit(&a);
}

/* Expected text as Python's json.dumps(ensure_ascii=False, separators=(',', ':')) gives it, 0x7f apart. */
static void writer_escapes_and_nests(void **state)
{
    (void)state;
    struct json_writer w;
    struct buf b;

    buf_init(&b, 10000);
    w = json_writer_of(&b);
    json_object_begin(&w, NULL);
    json_put_str(&w, "s", "a\"b\\c\n\x01\xc3\xa9\xf0\x9f\x98\x80");
    json_put_span(&w, "bad", span_from_str("x\xff\xc0\x80\xed\xa0\x80y\xc3"));
    json_array_begin(&w, "list");
    json_put_i64(&w, NULL, INT64_MIN);
    json_put_u64(&w, NULL, UINT64_MAX);
    json_put_real(&w, NULL, 0.1);
    json_put_real(&w, NULL, 0.012);
    json_put_real(&w, NULL, 1.0 / 3);
    json_object_begin(&w, NULL);
    json_object_end(&w);
    json_array_end(&w);
    json_put_null(&w, "n");
    json_put_key(&w, span_from_str("k/"));
    json_put_bool(&w, NULL, true);
    json_put_str(&w, "none", NULL);
    json_put_raw(&w, "raw", span_from_str("[1]"));
    json_object_end(&w);
    assert_int_equal(json_writer_done(&w), 0);
    assert_span_text(
        buf_span(&b),
        "{\"s\":\"a\\\"b\\\\c\\n\\u0001\xc3\xa9\xf0\x9f\x98\x80\","
        "\"bad\":\"x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd\","
        "\"list\":[-9223372036854775808,18446744073709551615,0.1,0.012,0.3333333333333333,{}],"
        "\"n\":null,\"k/\":true,\"none\":null,\"raw\":[1]}");
    buf_deinit(&b);
}

static void writer_remembers_that_room_ran_out(void **state)
{
    (void)state;
    struct json_writer w;
    struct buf b;

    buf_init(&b, 10);
    w = json_writer_of(&b);
    json_array_begin(&w, NULL);
    json_put_str(&w, NULL, "0123456789");
    json_array_end(&w);
    assert_int_equal(json_writer_done(&w), -ENOBUFS);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_null_and_other_types_are_told_apart),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(depth_and_number_of_values_have_limits),
        cmocka_unit_test(cursor_hands_out_each_member_whole),
        cmocka_unit_test(member_is_found_by_name),
        cmocka_unit_test(cursor_fails_on_every_prefix),
        cmocka_unit_test(keys_are_unescaped),
        cmocka_unit_test(writer_escapes_and_nests),
        cmocka_unit_test(writer_remembers_that_room_ran_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

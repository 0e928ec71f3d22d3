#include "check.h"

static void numbers(void **state)
{
    (void)state;
    uint64_t u;
    int64_t i;

    assert_true(text_parse_u64(span_from_str("18446744073709551615"), UINT64_MAX, &u));
    assert_true(u == UINT64_MAX);
    assert_false(text_parse_u64(span_from_str("18446744073709551616"), UINT64_MAX, &u));
    assert_false(text_parse_u64(span_from_str("65536"), UINT16_MAX, &u));
    assert_false(text_parse_u64(span_from_str(""), 10, &u));
    assert_false(text_parse_u64(span_from_str("+1"), 10, &u));
    assert_true(text_parse_i64(span_from_str("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_false(text_parse_i64(span_from_str("9223372036854775808"), &i));
}

static void base64_comes_back(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "", "" },
                                            { "f", "Zg==" },
                                            { "fo", "Zm8=" },
                                            { "foo", "Zm9v" },
                                            { "foob", "Zm9vYg==" },
                                            { "fooba", "Zm9vYmE=" },
                                            { "foobar", "Zm9vYmFy" } }; /* RFC 4648, 10 */
    char text[BASE64_BYTES(6)];
    uint8_t bytes[8];
    size_t len;

    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        base64_encode(text, span_from_str(pairs[i][0]));
        assert_string_equal(text, pairs[i][1]);
        assert_true(base64_decode(span_from_str(text), bytes, sizeof(bytes), &len));
        assert_span_text(span_make(bytes, len), pairs[i][0]);
    }
    assert_false(base64_decode(span_from_str("Zg="), bytes, sizeof(bytes), &len));
    assert_false(base64_decode(span_from_str("Zg=a"), bytes, sizeof(bytes), &len));
    assert_false(base64_decode(span_from_str("Zm9vYmFyZm9v"), bytes, 8, &len));
}

static void hex_is_exact(void **state)
{
    (void)state;
    uint8_t out[2];

    assert_true(hex_decode(span_from_str("0aFf"), out, 2));
    assert_int_equal(out[1], 0xff);
    assert_false(hex_decode(span_from_str("0aF"), out, 2));
    assert_false(hex_decode(span_from_str("0aFg"), out, 2));
}

static void times_of_control_servers(void **state)
{
    (void)state;
    char text[TIME_TEXT_BYTES];
    int64_t t;

    assert_true(time_parse_rfc3339(span_from_str("2026-08-22T10:00:00.123456789Z"), &t));
    assert_string_equal(time_text_rfc3339(t, text), "2026-08-22T10:00:00.123456789Z");
    assert_true(time_parse_rfc3339(span_from_str("2026-08-22T12:00:00+02:00"), &t));
    assert_string_equal(time_text_rfc3339(t, text), "2026-08-22T10:00:00Z");
    assert_true(time_parse_rfc3339(span_from_str("0001-01-01T00:00:00Z"), &t));
    assert_true(t == 0);
    assert_false(time_parse_rfc3339(span_from_str("2026-13-22T10:00:00Z"), &t));
    assert_false(time_parse_rfc3339(span_from_str("2026-08-22T10:00:00"), &t));
    assert_false(time_parse_rfc3339(span_from_str("9999-01-01T00:00:00Z"), &t));
}

static void durations_as_go_writes_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        time_ns want;
    } good[] = { { "0", 0 },
                 { "1m", MINUTE },
                 { "1h30m", HOUR + 30 * MINUTE },
                 { "1.5s", SEC * 3 / 2 },
                 { "300ms", 300 * MSEC },
                 { "-2us", -2 * USEC } };
    static const char *const bad[] = { "", "5", "1 s", "s", "1d", "1..5s", "--1s" };
    time_ns d;

    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(duration_parse(span_from_str(good[i].text), &d));
        assert_true(d == good[i].want);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(duration_parse(span_from_str(bad[i]), &d));
}

static void distances_count_edits(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        size_t edits;
    } cases[] = { { "", "", 0 },         { "name", "NAME", 0 },     { "nmae", "name", 2 },
                  { "", "abc", 3 },      { "abc", "", 3 },          { "listenAdr", "listenAddr", 1 },
                  { "stat", "stop", 2 }, { "kitten", "sitting", 3 } };
    char longest[TEXT_DISTANCE_MAX + 2];

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(text_distance(span_from_str(cases[i].a), span_from_str(cases[i].b)), cases[i].edits);
    memset(longest, 'x', sizeof(longest));
    assert_true(text_distance(SPAN_NONE, span_make(longest, TEXT_DISTANCE_MAX)) == TEXT_DISTANCE_MAX);
    assert_true(text_distance(SPAN_NONE, span_make(longest, TEXT_DISTANCE_MAX + 1)) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(base64_comes_back),
        cmocka_unit_test(hex_is_exact),
        cmocka_unit_test(times_of_control_servers),
        cmocka_unit_test(durations_as_go_writes_them),
        cmocka_unit_test(distances_count_edits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

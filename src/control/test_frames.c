#include "check.h"

#include "control/frames.h"

/* 12 00 00 00 then {"KeepAlive":true}; around it two of other sizes. */
static const uint8_t three[] = "\x02\0\0\0{}"
                               "\x12\0\0\0{\"KeepAlive\":true}"
                               "\x08\0\0\0{\"a\":12}";
#define THREE_BYTES (sizeof(three) - 1)
static const char *const texts[] = { "{}", "{\"KeepAlive\":true}", "{\"a\":12}" };

static void take_all(struct frames *f, struct span in, size_t *count)
{
    struct span message;
    int r;

    while ((r = frames_next(f, &in, &message)) == 0) {
        assert_true(*count < COUNT_OF(texts));
        assert_span_text(message, texts[*count]);
        ++*count;
    }
    assert_int_equal(r, FRAMES_E_MORE);
    assert_int_equal(in.len, 0);
}

static void every_split_position_gives_the_same_messages(void **state)
{
    (void)state;
    for (size_t a = 0; a <= THREE_BYTES; a++)
        for (size_t b = a; b <= THREE_BYTES; b++) {
            struct span all = span_make(three, THREE_BYTES);
            struct frames f;
            size_t count = 0;

            frames_init(&f);
            take_all(&f, span_slice(all, 0, a), &count);
            take_all(&f, span_slice(all, a, b - a), &count);
            take_all(&f, span_slice(all, b, all.len), &count);
            assert_int_equal(count, 3);
            assert_false(frames_partial(&f));
            frames_deinit(&f);
        }
}

static void one_byte_at_a_time_works(void **state)
{
    (void)state;
    struct frames f;
    size_t count = 0;

    frames_init(&f);
    for (size_t i = 0; i < THREE_BYTES; i++)
        take_all(&f, span_make(three + i, 1), &count);
    assert_int_equal(count, 3);
    frames_deinit(&f);
}

static void prefix_of_a_message_is_partial_and_idle_holds_nothing(void **state)
{
    (void)state;
    struct frames f;
    size_t count = 0;

    frames_init(&f);
    assert_false(frames_partial(&f));
    take_all(&f, span_make(three, 3), &count);
    assert_true(frames_partial(&f));
    take_all(&f, span_make(three + 3, THREE_BYTES - 3 - 4), &count);
    assert_true(frames_partial(&f));
    take_all(&f, span_make(three + THREE_BYTES - 4, 4), &count);
    assert_int_equal(count, 3);
    assert_null(f.body.data);
    frames_deinit(&f);
}

static int outcome_of_length(uint32_t len)
{
    uint8_t head[4];
    struct span in = SPAN_OF(head), message;
    struct frames f;
    int r;

    store_le32(head, len);
    frames_init(&f);
    r = frames_next(&f, &in, &message);
    frames_deinit(&f);
    return r;
}

static void length_is_refused_above_the_limit_and_at_zero(void **state)
{
    (void)state;
    assert_int_equal(outcome_of_length(0), FRAMES_E_SIZE);
    assert_int_equal(outcome_of_length(1), FRAMES_E_MORE);
    assert_int_equal(outcome_of_length(FRAMES_MESSAGE_BYTES_MAX), FRAMES_E_MORE);
    assert_int_equal(outcome_of_length(FRAMES_MESSAGE_BYTES_MAX + 1), FRAMES_E_SIZE);
    assert_int_equal(outcome_of_length(0x12000000), FRAMES_E_SIZE); /* 18, big-endian by mistake */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_position_gives_the_same_messages),
        cmocka_unit_test(one_byte_at_a_time_works),
        cmocka_unit_test(prefix_of_a_message_is_partial_and_idle_holds_nothing),
        cmocka_unit_test(length_is_refused_above_the_limit_and_at_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

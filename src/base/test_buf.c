#include <errno.h>

#include "check.h"

/* Bytes leave in the order they came, whatever the pattern of appends and consumes. */
static void keeps_order(void **state)
{
    (void)state;
    struct buf b;
    uint8_t next_in = 0, next_out = 0;

    buf_init(&b, 1000);
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < round % 7; i++) {
            if (buf_append(&b, span_make(&next_in, 1)) == 0)
                next_in++;
        }
        for (int i = 0; i < round % 5 && b.len; i++) {
            assert_int_equal(buf_span(&b).data[0], next_out++);
            buf_consume(&b, 1);
        }
    }
    buf_deinit(&b);
}

static void the_limit_is_the_limit(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 4);
    assert_int_equal(buf_append_str(&b, "abcd"), 0);
    assert_int_equal(buf_append_str(&b, "e"), -ENOBUFS);
    assert_span_text(buf_span(&b), "abcd");
    buf_consume(&b, 1);
    assert_int_equal(buf_append_str(&b, "e"), 0);
    assert_span_text(buf_span(&b), "bcde");
    buf_deinit(&b);
}

static void trim_gives_memory_back(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 100);
    assert_int_equal(buf_printf(&b, "%d-%s", 7, "x"), 0);
    buf_trim(&b);
    assert_span_text(buf_span(&b), "7-x");
    buf_consume(&b, 3);
    buf_trim(&b);
    assert_null(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order),
        cmocka_unit_test(the_limit_is_the_limit),
        cmocka_unit_test(trim_gives_memory_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

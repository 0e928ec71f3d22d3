#include "check.h"

static void memory_is_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    uint8_t *got[200];
    struct arena a;

    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < COUNT_OF(got); i++) {
        got[i] = arena_alloc(&a, i * 7);
        assert_non_null(got[i]);
        assert_int_equal((uintptr_t)got[i] % alignof(max_align_t), 0);
        for (size_t k = 0; k < i * 7; k++)
            assert_int_equal(got[i][k], 0);
        memset(got[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < COUNT_OF(got); i++)
        for (size_t k = 0; k < i * 7; k++)
            assert_int_equal(got[i][k], (uint8_t)i);
    assert_false(a.failed);
    arena_deinit(&a);
    assert_null(a.blocks);
}

static void limit_is_kept_and_failure_sticks(void **state)
{
    (void)state;
    struct arena a;
    size_t total = 0;

    arena_init(&a, 10000);
    while (arena_alloc(&a, 100))
        total += 100;
    assert_true(a.failed);
    assert_true(total >= 5000 && total <= 10000);
    assert_true(a.held <= 10000);
    assert_null(ARENA_ARRAY(&a, SIZE_MAX / 2, uint64_t));
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_deinit(&a);
    assert_false(a.failed);
}

static void copy_ends_with_nul(void **state)
{
    (void)state;
    struct arena a;
    struct span s;

    arena_init(&a, 1000);
    s = arena_copy(&a, span_from_str("hello"));
    assert_span_text(s, "hello");
    assert_int_equal(s.data[5], 0);
    assert_int_equal(arena_copy(&a, SPAN_NONE).len, 0);
    assert_false(a.failed);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(limit_is_kept_and_failure_sticks),
        cmocka_unit_test(copy_ends_with_nul),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

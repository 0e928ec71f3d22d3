#include "check.h"

struct thing {
    uint64_t a, b;
};

/* A handle does not find the next tenant of its slot. */
static void handles_die_with_their_object(void **state)
{
    (void)state;
    struct slab s;
    struct thing *first, *second;
    handle h;

    slab_init(&s, sizeof(struct thing), 100);
    first = slab_alloc(&s);
    assert_non_null(first);
    h = slab_handle(&s, first);
    assert_ptr_equal(slab_get(&s, h), first);
    slab_release(&s, first);
    assert_null(slab_get(&s, h));
    second = slab_alloc(&s);
    assert_ptr_equal(second, first);
    assert_null(slab_get(&s, h));
    assert_null(slab_get(&s, HANDLE_NONE));
    slab_deinit(&s);
}

static void never_more_than_max(void **state)
{
    (void)state;
    struct slab s;
    struct thing *t[130];
    uint32_t index = 0, seen = 0;

    slab_init(&s, sizeof(struct thing), 129);
    for (int i = 0; i < 129; i++) {
        t[i] = slab_alloc(&s);
        assert_non_null(t[i]);
        t[i]->a = (uint64_t)i;
    }
    assert_null(slab_alloc(&s));
    slab_release(&s, t[64]);
    while (slab_next(&s, &index))
        seen++;
    assert_int_equal(seen, 128);
    assert_ptr_equal(slab_at(&s, slab_index(&s, t[63])), t[63]);
    assert_null(slab_at(&s, 64));
    assert_null(slab_at(&s, 129));
    assert_null(slab_at(&s, UINT32_MAX));
    assert_non_null(slab_alloc(&s));
    slab_deinit(&s);
}

/* Many come, all go: one block stays, and no old handle finds the objects that come after. */
static void memory_comes_back_and_old_handles_stay_dead(void **state)
{
    (void)state;
    struct slab s;
    static struct thing *t[1000];
    static handle old[1000];
    size_t one_block;

    slab_init(&s, sizeof(struct thing), 1000);
    t[0] = slab_alloc(&s);
    one_block = slab_memory(&s);
    slab_release(&s, t[0]);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            t[i] = slab_alloc(&s);
            assert_non_null(t[i]);
            for (int k = 0; k < i && round; k += 97)
                assert_null(slab_get(&s, old[k]));
        }
        for (int i = 0; i < 1000; i++)
            old[i] = slab_handle(&s, t[i]);
        for (int i = 0; i < 1000; i++)
            slab_release(&s, t[(i * 7) % 1000]);
        assert_int_equal(s.used, 0);
        assert_true(slab_memory(&s) <= one_block + 16 * 40);
        for (int i = 0; i < 1000; i++)
            assert_null(slab_get(&s, old[i]));
    }
    slab_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_die_with_their_object),
        cmocka_unit_test(never_more_than_max),
        cmocka_unit_test(memory_comes_back_and_old_handles_stay_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

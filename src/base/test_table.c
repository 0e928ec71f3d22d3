#include "check.h"

struct entry {
    struct table_node node;
    int key;
};

/* Reference values computed with Python's built-in hash of bytes, which is SipHash-1-3
 * (PYTHONHASHSEED=0 gives an all-zero key), on CPython 3.11. */
static void siphash_matches_cpython(void **state)
{
    (void)state;
    uint8_t key[16] = { 0 };

    assert_true(siphash(key, "abc", 3) == 0xc03bc3a0042630f2);
    assert_true(siphash(key, "0123456789abcdef!", 17) == 0x9463628f6c8882ca);
}

static void what_went_in_is_found(void **state)
{
    (void)state;
    static struct entry entries[1000];
    struct table t;
    size_t bucket = 0, seen = 0;

    table_init(&t);
    for (int i = 0; i < 1000; i++) {
        entries[i].key = i;
        assert_int_equal(table_insert(&t, &entries[i].node, (uint64_t)(i % 100) * 0x9e3779b97f4a7c15), 0);
    }
    for (int i = 0; i < 1000; i += 2)
        table_remove(&t, &entries[i].node);
    for (int i = 0; i < 1000; i++) {
        bool found = false;

        for (struct table_node *n = table_first(&t, (uint64_t)(i % 100) * 0x9e3779b97f4a7c15); n;
             n = table_next_same(n))
            found |= TABLE_ENTRY(n, struct entry, node)->key == i;
        assert_int_equal(found, i % 2);
    }
    for (struct table_node *n = NULL; (n = table_walk(&t, n, &bucket));)
        seen++;
    assert_int_equal(seen, 500);
    table_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_matches_cpython),
        cmocka_unit_test(what_went_in_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/crc32.h"

#include "check.h"

/* The check value of the CRC catalogues, and two values of Python's zlib.crc32. */
static void agrees_with_other_implementations(void **state)
{
    (void)state;
    assert_int_equal(crc32_ieee(span_from_str("123456789")), 0xcbf43926);
    assert_int_equal(crc32_ieee(SPAN_NONE), 0);
    assert_int_equal(crc32_ieee(SPAN_OF("efg")), 0x4b5a92df); /* with its NUL */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_other_implementations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

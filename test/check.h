/* test/check.h - what every unit test includes: cmocka in the order it wants, and vectors in hex */
#ifndef MANYTAILS_TEST_CHECK_H
#define MANYTAILS_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"

/* Bytes of a hex literal; blanks are skipped. Returns how many went to out. */
static inline size_t from_hex(const char *text, uint8_t *out, size_t size)
{
    char digits[8192];
    size_t n = 0;

    for (; *text; text++)
        if (*text != ' ' && *text != '\n') {
            assert_true(n < sizeof(digits));
            digits[n++] = *text;
        }
    assert_true(n / 2 <= size);
    assert_true(hex_decode(span_make(digits, n), out, n / 2));
    return n / 2;
}

#define assert_span_equal(got, want_data, want_len)                        \
    do {                                                                   \
        struct span span_got = (got);                                      \
        assert_int_equal(span_got.len, (want_len));                        \
        if (span_got.len)                                                  \
            assert_memory_equal(span_got.data, (want_data), span_got.len); \
    } while (0)

#define assert_span_text(got, want) assert_span_equal(got, want, strlen(want))

#endif

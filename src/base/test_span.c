#include "check.h"

/* A read past the end fails, and everything after it. */
static void reader_never_overruns(void **state)
{
    (void)state;
    uint8_t bytes[] = { 1, 2, 3, 4, 5 };
    struct reader r = reader_of(SPAN_OF(bytes));

    assert_int_equal(reader_be16(&r), 0x0102);
    assert_int_equal(reader_be32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_bytes(&r, 1).len, 0);
}

static void numbers_come_back(void **state)
{
    (void)state;
    uint8_t room[42];
    struct writer w = writer_of(room, sizeof(room));
    struct reader r;

    writer_u8(&w, 0xfe);
    writer_be16(&w, 0x1234);
    writer_be32(&w, 0x12345678);
    writer_be64(&w, 0x123456789abcdef0);
    writer_le16(&w, 0x1234);
    writer_le32(&w, 0x12345678);
    writer_le64(&w, 0x123456789abcdef0);
    writer_zero(&w, 3);
    assert_false(w.failed);
    assert_int_equal(w.at, 32);
    r = reader_of(writer_done(&w));
    assert_int_equal(reader_u8(&r), 0xfe);
    assert_int_equal(reader_be16(&r), 0x1234);
    assert_int_equal(reader_be32(&r), 0x12345678);
    assert_true(reader_be64(&r) == 0x123456789abcdef0);
    assert_int_equal(reader_le16(&r), 0x1234);
    assert_int_equal(reader_le32(&r), 0x12345678);
    assert_true(reader_le64(&r) == 0x123456789abcdef0);
    assert_int_equal(reader_bytes(&r, 3).len, 3);
    assert_false(r.failed);
    assert_int_equal(r.rest.len, 0);
}

/* A write that does not fit changes nothing. */
static void writer_is_all_or_nothing(void **state)
{
    (void)state;
    uint8_t room[6] = { 0 };
    struct writer w = writer_of(room, 5);

    writer_be32(&w, 0x01020304);
    writer_be16(&w, 0xffff);
    assert_true(w.failed);
    assert_int_equal(w.at, 4);
    assert_int_equal(room[4], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_never_overruns),
        cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(writer_is_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

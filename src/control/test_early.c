#include "check.h"

#include "control/early.h"

/* What reaches HTTP/2 when `text` arrives cut at `cut`. */
static size_t passed(const uint8_t *bytes, size_t len, size_t cut, uint8_t *out)
{
    struct early e = { 0 };
    size_t n = 0;

    for (int part = 0; part < 2; part++) {
        struct span in = part ? span_make(bytes + cut, len - cut) : span_make(bytes, cut), held;

        if (early_feed(&e, &in, &held) != 0)
            continue;
        if (held.len)
            memcpy(out + n, held.data, held.len);
        n += held.len;
        if (in.len)
            memcpy(out + n, in.data, in.len);
        n += in.len;
    }
    return n;
}

static void payload_is_skipped_whatever_the_cut(void **state)
{
    (void)state;
    static const uint8_t stream[] = "\xff\xff\xffTS\0\0\0\x0e{\"nodeKey\":1}\n\0\0\0\x04\0\0\0\0\0";
    const size_t len = sizeof(stream) - 1;
    uint8_t out[64];

    for (size_t cut = 0; cut <= len; cut++) {
        assert_int_equal(passed(stream, len, cut, out), 9);
        assert_memory_equal(out, "\0\0\0\x04\0\0\0\0\0", 9);
    }
}

static void http2_without_payload_passes_unchanged(void **state)
{
    (void)state;
    static const uint8_t settings[] = "\0\0\x12\x04\0\0\0\0\0rest";
    /* A lookalike: the magic differs in its last byte. */
    static const uint8_t nearly[] = "\xff\xff\xffTXrest";
    uint8_t out[64];

    for (size_t cut = 0; cut < sizeof(settings); cut++) {
        assert_int_equal(passed(settings, sizeof(settings), cut, out), sizeof(settings));
        assert_memory_equal(out, settings, sizeof(settings));
    }
    for (size_t cut = 0; cut < sizeof(nearly); cut++) {
        assert_int_equal(passed(nearly, sizeof(nearly), cut, out), sizeof(nearly));
        assert_memory_equal(out, nearly, sizeof(nearly));
    }
}

static void length_above_the_limit_is_refused(void **state)
{
    (void)state;
    uint8_t head[9] = { 0xff, 0xff, 0xff, 'T', 'S' };
    struct early e = { 0 };
    struct span in = SPAN_OF(head), held;

    store_be32(head + 5, EARLY_BYTES_MAX);
    assert_int_equal(early_feed(&e, &in, &held), EARLY_E_MORE);
    e = (struct early) { 0 };
    in = SPAN_OF(head);
    store_be32(head + 5, EARLY_BYTES_MAX + 1);
    assert_int_equal(early_feed(&e, &in, &held), EARLY_E_TOO_BIG);
    e = (struct early) { 0 };
    in = SPAN_OF(head);
    store_be32(head + 5, 0);
    assert_int_equal(early_feed(&e, &in, &held), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payload_is_skipped_whatever_the_cut),
        cmocka_unit_test(http2_without_payload_passes_unchanged),
        cmocka_unit_test(length_above_the_limit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

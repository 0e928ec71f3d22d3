#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "state/pack.h"

/* A netmap-like text: `count` entries, of which entry `changed` differs from everybody else's. */
static void text_of(struct buf *out, int count, int changed)
{
    buf_init(out, 4 << 20);
    for (int i = 0; i < count; i++) {
        uint32_t x = (uint32_t)(i == changed ? i + 100000 : i) * 2654435761u;

        assert_int_equal(buf_printf(out, "{\"ID\":%d,\"Key\":\"nodekey:", i), 0);
        for (int k = 0; k < 8; k++, x = x * 1664525 + 1013904223)
            assert_int_equal(buf_printf(out, "%08x", x), 0);
        assert_int_equal(buf_append_str(out, "\",\"Addresses\":[\"100.64.0.1/32\"]},"), 0);
    }
}

static int unpack_all(const struct buf *packed, struct span base, struct buf *out)
{
    struct span frame;
    uint64_t id;
    size_t len;

    buf_init(out, 4 << 20);
    if (!pack_head(buf_span(packed), &id, &len, &frame))
        return PACK_E_DAMAGED;
    return unpack(frame, len, base, out);
}

static void a_text_comes_back_with_and_without_a_base(void **state)
{
    (void)state;
    struct buf base, text, packed, got;
    struct span none = SPAN_NONE;

    text_of(&base, 1000, -1);
    text_of(&text, 1000, 7);
    for (int with = 0; with < 2; with++) {
        struct span b = with ? buf_span(&base) : none;

        buf_init(&packed, 4 << 20);
        assert_int_equal(pack(buf_span(&text), with ? 0xabcdef : 0, b, &packed), 0);
        assert_int_equal(unpack_all(&packed, b, &got), 0);
        assert_true(span_equal(buf_span(&got), buf_span(&text)));
        if (with)
            assert_true(packed.len * 100 < text.len);
        buf_deinit(&got);
        buf_deinit(&packed);
    }
    buf_deinit(&base);
    buf_deinit(&text);
}

static void the_head_names_the_base(void **state)
{
    (void)state;
    struct buf packed;
    struct span frame;
    uint64_t id;
    size_t len;

    buf_init(&packed, 1000);
    assert_int_equal(pack(span_from_str("hello"), 0x0123456789abcdef, SPAN_NONE, &packed), 0);
    assert_true(text_starts_with(buf_span(&packed), "packed 0123456789abcdef 5\n"));
    assert_true(pack_head(buf_span(&packed), &id, &len, &frame));
    assert_true(id == 0x0123456789abcdef);
    assert_int_equal(len, 5);
    buf_deinit(&packed);
    assert_false(pack_head(span_from_str("{\"Saved\":1}"), &id, &len, &frame));
    assert_false(pack_head(span_from_str("packed 0123456789abcdef"), &id, &len, &frame));
    assert_false(pack_head(span_from_str("packed 0123456789abcdeg 5\n"), &id, &len, &frame));
    assert_false(pack_head(span_from_str("packed 0123456789abcdef -5\n"), &id, &len, &frame));
    assert_false(pack_head(span_from_str("packed 0123456789abcdef5\n"), &id, &len, &frame));
    assert_false(pack_head(SPAN_NONE, &id, &len, &frame));
}

/* Never half of it, and never something else. */
static void a_damaged_frame_or_another_base_is_noticed(void **state)
{
    (void)state;
    struct buf base, other, text, packed, got;

    text_of(&base, 200, -1);
    text_of(&other, 200, 100);
    text_of(&text, 200, 7);
    buf_init(&packed, 1 << 20);
    assert_int_equal(pack(buf_span(&text), 1, buf_span(&base), &packed), 0);
    assert_int_equal(unpack_all(&packed, buf_span(&other), &got), PACK_E_DAMAGED);
    assert_int_equal(got.len, 0);
    buf_deinit(&got);
    assert_int_equal(unpack_all(&packed, SPAN_NONE, &got), PACK_E_DAMAGED);
    buf_deinit(&got);
    for (size_t cut = 0; cut < packed.len; cut++) {
        struct buf part = packed;

        part.len = cut;
        assert_int_equal(unpack_all(&part, buf_span(&base), &got), PACK_E_DAMAGED);
        buf_deinit(&got);
    }
    for (size_t at = 30; at < packed.len; at++) {
        packed.data[packed.start + at] ^= 0x10;
        if (unpack_all(&packed, buf_span(&base), &got) ==
            0) /* a bit of no consequence, the window's size say */
            assert_true(span_equal(buf_span(&got), buf_span(&text)));
        buf_deinit(&got);
        packed.data[packed.start + at] ^= 0x10;
    }
    buf_deinit(&base);
    buf_deinit(&other);
    buf_deinit(&text);
    buf_deinit(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_comes_back_with_and_without_a_base),
        cmocka_unit_test(the_head_names_the_base),
        cmocka_unit_test(a_damaged_frame_or_another_base_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

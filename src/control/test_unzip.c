#include "check.h"

#include "control/unzip.h"

/* The frames were made with the Go encoder that servers use (klauspost/compress 1.18.6). */
static const char keep_alive[] = "28b52ffd24129100007b224b656570416c697665223a747275657d0e260c10";
static const char long_text[] =
    "28b52ffda4bf1e0400fc000054017b224865616c7468223a5b226d616e797461696c730154120334d1ff"
    "195c0000000154001034fdfff5ff016d000018225d7d0154001130b90eff3fa9bdc98b";
/* Without content size, flushed in the middle. */
static const char streamed[] =
    "28b52ffd0450fc000054017b224865616c7468223a5b226d616e797461696c730154120330b18e01540000"
    "000154000c34fdff64175c0000000154001134fdff5f17026d000018225d7d015400122e498f5d10a9bdc9"
    "8b";

static int opened(const char *hex, struct buf *room, struct span *out)
{
    uint8_t frame[256];
    size_t len = from_hex(hex, frame, sizeof(frame));
    struct unzip u = { 0 };
    int r = unzip_message(&u, span_make(frame, len), room, out);

    unzip_deinit(&u);
    return r;
}

static void frames_of_the_go_encoder_open(void **state)
{
    (void)state;
    static const char *const longer[] = { long_text, streamed };
    struct buf room;
    struct span out;

    assert_int_equal(opened(keep_alive, &room, &out), 0);
    assert_span_text(out, "{\"KeepAlive\":true}");
    buf_deinit(&room);
    for (size_t i = 0; i < COUNT_OF(longer); i++) {
        assert_int_equal(opened(longer[i], &room, &out), 0);
        assert_int_equal(out.len, 270015);
        assert_memory_equal(out.data, "{\"Health\":[\"manytailsmanytails", 30);
        assert_memory_equal(out.data + out.len - 12, "manytails\"]}", 12);
        buf_deinit(&room);
    }
}

static void plain_json_passes_without_a_context(void **state)
{
    (void)state;
    struct unzip u = { 0 };
    struct buf room;
    struct span out;

    assert_int_equal(unzip_message(&u, span_from_str("{}"), &room, &out), 0);
    assert_span_text(out, "{}");
    assert_null(u.context);
    assert_null(room.data);
}

static void each_frame_stands_alone(void **state)
{
    (void)state;
    struct unzip u = { 0 };
    uint8_t frame[64];
    size_t len = from_hex(keep_alive, frame, sizeof(frame));

    for (int i = 0; i < 3; i++) {
        struct buf room;
        struct span out;

        assert_int_equal(unzip_message(&u, span_make(frame, len / 2), &room, &out), UNZIP_E_BROKEN);
        assert_int_equal(unzip_message(&u, span_make(frame, len), &room, &out), 0);
        assert_int_equal(out.len, 18);
        buf_deinit(&room);
    }
    unzip_deinit(&u);
}

static void prefixes_changes_and_additions_are_broken(void **state)
{
    (void)state;
    uint8_t frame[128];
    size_t len = from_hex(long_text, frame, sizeof(frame) - 1);
    struct unzip u = { 0 };
    struct buf room;
    struct span out;

    for (size_t n = 0; n < len; n++)
        assert_int_equal(unzip_message(&u, span_make(frame, n), &room, &out), UNZIP_E_BROKEN);
    frame[len - 1] ^= 1; /* the checksum */
    assert_int_equal(unzip_message(&u, span_make(frame, len), &room, &out), UNZIP_E_BROKEN);
    frame[len - 1] ^= 1;
    frame[len] = 0;
    assert_int_equal(unzip_message(&u, span_make(frame, len + 1), &room, &out), UNZIP_E_BROKEN);
    assert_int_equal(unzip_message(&u, span_from_str("null"), &room, &out), UNZIP_E_BROKEN);
    unzip_deinit(&u);
}

/* RFC 8878: a frame without content size, window 128 KiB, of `blocks` RLE blocks of 128 KiB each. */
static int outcome_of_blocks(size_t blocks, size_t last_bytes)
{
    static uint8_t frame[8192];
    struct writer w = writer_of(frame, sizeof(frame));
    struct unzip u = { 0 };
    struct buf room;
    struct span out;
    int r;

    writer_be32(&w, 0x28b52ffd);
    writer_be16(&w, 0x0038);
    for (size_t i = 0; i <= blocks; i++) {
        uint32_t size = (uint32_t)(i == blocks ? last_bytes : 131072),
                 head = size << 3 | 1 << 1 | (i == blocks);

        writer_u8(&w, (uint8_t)head);
        writer_u8(&w, (uint8_t)(head >> 8));
        writer_u8(&w, (uint8_t)(head >> 16));
        writer_u8(&w, ' ');
    }
    assert_false(w.failed);
    r = unzip_message(&u, writer_done(&w), &room, &out);
    if (!r) {
        assert_int_equal(out.len, blocks * 131072 + last_bytes);
        buf_deinit(&room);
    }
    assert_null(room.data);
    unzip_deinit(&u);
    return r;
}

static void bombs_stop_at_the_limit(void **state)
{
    (void)state;
    const size_t full = UNZIP_BYTES_MAX / 131072;

    assert_int_equal(outcome_of_blocks(full - 1, 131071), 0);
    assert_int_equal(outcome_of_blocks(full - 1, 131072), 0);
    assert_int_equal(outcome_of_blocks(full, 1), UNZIP_E_TOO_BIG);
    assert_int_equal(outcome_of_blocks(1000, 1), UNZIP_E_TOO_BIG);
}

static void claims_of_size_and_window_are_checked_first(void **state)
{
    (void)state;
    struct buf room;
    struct span out;

    /* Content size 64 MiB + 1, single segment; and a window of 32 MiB. */
    assert_int_equal(opened("28b52ffda001000004 010000", &room, &out), UNZIP_E_TOO_BIG);
    assert_int_equal(opened("28b52ffd0478020010005c0000000154001134fdff0200025c", &room, &out),
                     UNZIP_E_BROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_the_go_encoder_open),
        cmocka_unit_test(plain_json_passes_without_a_context),
        cmocka_unit_test(each_frame_stands_alone),
        cmocka_unit_test(prefixes_changes_and_additions_are_broken),
        cmocka_unit_test(bombs_stop_at_the_limit),
        cmocka_unit_test(claims_of_size_and_window_are_checked_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "check.h"
#include "derp/derp.h"

static struct derp_out out;

static int begin(void **state)
{
    (void)state;
    derp_out_init(&out, 64);
    return 0;
}

static int end(void **state)
{
    (void)state;
    derp_out_deinit(&out);
    return 0;
}

/* A packet of one byte. */
static int queue(char text)
{
    static const struct public_key key = { { 7 } };

    return derp_out_packet(&out, DERP_FRAME_SEND_PACKET, &key, span_make(&text, 1), 3);
}

/* What would go, a character a piece: that of a packet, or of a small frame. */
static void pending(char text[8], bool packets)
{
    struct span parts[7];
    size_t count = derp_out_pending(&out, packets, parts, COUNT_OF(parts));

    for (size_t i = 0; i < count; i++)
        text[i] = (char)parts[i].data[parts[i].len - 1];
    text[count] = '\0';
}

#define assert_pending(packets, expected)      \
    do {                                       \
        char text[8];                          \
        pending(text, packets);                \
        assert_string_equal(text, (expected)); \
    } while (0)

#define FRAME_BYTES (DERP_HEADER_BYTES + KEY_BYTES + 1) /* of such a packet */

static void small_frames_go_before_packets_that_have_not_begun(void **state)
{
    struct derp_gone gone;

    (void)state;
    assert_int_equal(queue('a'), 0);
    assert_true(derp_out_put(&out, DERP_FRAME_PONG, span_from_str("1234567"), span_from_str("8")));
    assert_pending(true, "8a");
    assert_pending(false, "8");
    gone = derp_out_sent(&out, DERP_HEADER_BYTES + 8 + 1);
    assert_int_equal(gone.packets, 0);
    assert_true(derp_out_put(&out, DERP_FRAME_PONG, span_from_str("1234567"), span_from_str("9")));
    assert_pending(true, "a9"); /* one byte of it went */
    assert_pending(false, "a9");
    gone = derp_out_sent(&out, FRAME_BYTES - 1);
    assert_int_equal(gone.packets, 1);
    assert_int_equal(gone.bytes, 1);
    assert_pending(true, "9");
}

static void the_oldest_that_has_not_begun_makes_room(void **state)
{
    (void)state;
    for (const char *c = "abc"; *c; c++)
        assert_int_equal(queue(*c), 0);
    assert_int_equal(queue('d'), 1);
    assert_pending(true, "bcd");
    derp_out_sent(&out, 1);
    assert_int_equal(queue('e'), 1);
    assert_pending(true, "bde");
    derp_out_sent(&out, 3 * FRAME_BYTES - 1);
    assert_int_equal(out.count, 0);
    assert_int_equal(queue('f'), 0); /* the end of the list is where it was */
    assert_pending(true, "f");
}

static void a_small_frame_without_room_adds_nothing(void **state)
{
    (void)state;
    uint8_t bytes[64 - DERP_HEADER_BYTES + 1] = { 0 };

    assert_false(derp_out_put(&out, DERP_FRAME_HEALTH, SPAN_OF(bytes), SPAN_NONE));
    assert_pending(true, "");
    assert_true(derp_out_put(&out, DERP_FRAME_HEALTH, span_make(bytes, sizeof(bytes) - 1), SPAN_NONE));
    assert_false(derp_out_put(&out, DERP_FRAME_KEEP_ALIVE, SPAN_NONE, SPAN_NONE));
}

static void a_new_connection_gets_what_had_not_begun(void **state)
{
    struct derp_out old;

    (void)state;
    for (const char *c = "abc"; *c; c++)
        assert_int_equal(queue(*c), 0);
    derp_out_sent(&out, 1);
    old = out;
    if (old.last == &out.first)
        old.last = &old.first;
    derp_out_init(&out, 64);
    derp_out_take(&out, &old);
    assert_pending(true, "bc");
    assert_int_equal(out.count, 2);
    assert_int_equal(old.count, 0);
    assert_int_equal(queue('d'), 0);
    assert_pending(true, "bcd");
    derp_out_deinit(&old);
}

static void a_header_is_read_when_it_is_whole(void **state)
{
    (void)state;
    static const uint8_t bytes[] = { 0x04, 0x00, 0x01, 0x00, 0x02, 0xff };
    struct derp_header h;

    for (size_t n = 0; n < DERP_HEADER_BYTES; n++)
        assert_false(derp_header_read(span_make(bytes, n), &h));
    assert_true(derp_header_read(SPAN_OF(bytes), &h));
    assert_int_equal(h.type, DERP_FRAME_SEND_PACKET);
    assert_int_equal(h.len, 0x10002);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(small_frames_go_before_packets_that_have_not_begun),
        T(the_oldest_that_has_not_begun_makes_room),
        T(a_small_frame_without_room_adds_nothing),
        T(a_new_connection_gets_what_had_not_begun),
        T(a_header_is_read_when_it_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

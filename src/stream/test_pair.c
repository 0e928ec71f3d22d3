#include "check.h"

#include <errno.h>

#include "stream/stream.h"

struct seen {
    unsigned all, last;
    int count;
    bool close;
};

static void note(struct stream *s, unsigned events, time_ns now)
{
    struct seen *seen = s->owner;

    (void)now;
    seen->all |= events;
    seen->last = events;
    seen->count++;
    if (seen->close)
        stream_close(s);
}

struct both {
    struct stream_pair *pair;
    struct stream *a, *b;
    struct seen saw_a, saw_b;
};

static void both_open(struct both *t, const struct stream_pair_options *options)
{
    *t = (struct both) { 0 };
    assert_int_equal(stream_pair_new(&t->pair, options), 0);
    t->a = stream_pair_end(t->pair, 0);
    t->b = stream_pair_end(t->pair, 1);
    stream_set_owner(t->a, &t->saw_a, note);
    stream_set_owner(t->b, &t->saw_b, note);
}

static void both_close(struct both *t)
{
    stream_close(t->a);
    stream_close(t->b);
    stream_pair_free(t->pair);
}

/* Bytes arrive in turns, never inside the writer's call. */
static void bytes_wait_for_the_turn(void **state)
{
    (void)state;
    struct both t;
    char text[8];

    both_open(&t, NULL);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.saw_b.all, STREAM_CONNECTED | STREAM_WRITABLE);
    assert_int_equal(stream_write(t.a, span_from_str("hello")), 5);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), -EAGAIN);
    assert_true(stream_pair_turn(t.pair, 0));
    assert_int_equal(t.saw_b.last, STREAM_READABLE);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), -EAGAIN);
    assert_false(stream_pair_turn(t.pair, 0));
    both_close(&t);
}

static void a_split_stops_the_bytes_once(void **state)
{
    (void)state;
    struct both t;
    char text[8];

    both_open(&t, &(struct stream_pair_options) { .split_at = 2 });
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_write(t.a, span_from_str("hello")), 5);
    stream_pair_turn(t.pair, 0);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 2);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), -EAGAIN);
    stream_pair_turn(t.pair, 0);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 3);
    both_close(&t);
}

/* A full way says so, and announces its room when the reader has made some. */
static void room_comes_back_with_an_event(void **state)
{
    (void)state;
    struct both t;
    char text[8];

    both_open(&t, &(struct stream_pair_options) { .room = 4 });
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_write(t.a, span_from_str("hello")), 4);
    assert_int_equal(stream_write(t.a, span_from_str("o")), -EAGAIN);
    stream_pair_settle(t.pair, 0);
    t.saw_a.last = 0;
    assert_int_equal(stream_read(t.b, text, 1), 1);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.saw_a.last, STREAM_WRITABLE);
    assert_int_equal(stream_write(t.a, span_from_str("o")), 1);
    both_close(&t);
}

static void half_close_is_read_after_the_bytes(void **state)
{
    (void)state;
    struct both t;
    char text[8];

    both_open(&t, NULL);
    assert_int_equal(stream_write(t.a, span_from_str("bye")), 3);
    stream_shutdown(t.a);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 3);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 0);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 0);
    assert_int_equal(stream_write(t.b, span_from_str("and you")), 7);
    assert_int_equal(stream_write(t.a, span_from_str("no")), -EPIPE);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_read(t.a, text, sizeof(text)), 7);
    both_close(&t);
}

static void abort_is_no_end(void **state)
{
    (void)state;
    struct both t;
    char text[8];

    both_open(&t, NULL);
    stream_abort(t.a);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), -ECONNRESET);
    stream_close(t.b);
    stream_pair_free(t.pair);
}

static void a_break_reaches_both_ends(void **state)
{
    (void)state;
    struct both t;
    char text[8], why[STREAM_FAILURE_BYTES];

    both_open(&t, NULL);
    assert_int_equal(stream_write(t.a, span_from_str("lost")), 4);
    stream_pair_break(t.pair, -ECONNRESET);
    stream_pair_settle(t.pair, 0);
    assert_true(t.saw_a.last & STREAM_FAILED);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), -ECONNRESET);
    assert_string_equal(stream_failure(t.b, why), "Connection reset by peer");
    both_close(&t);
}

static void an_end_may_close_itself_in_its_event(void **state)
{
    (void)state;
    struct both t;

    both_open(&t, NULL);
    t.saw_a.close = t.saw_b.close = true;
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.saw_a.count, 1);
    assert_int_equal(t.saw_b.count, 1);
    stream_pair_free(t.pair);
}

static void several_parts_are_one_write(void **state)
{
    (void)state;
    struct both t;
    const struct span parts[] = { span_from_str("a"), SPAN_NONE, span_from_str("bc"), span_from_str("def") };
    char text[8];

    both_open(&t, &(struct stream_pair_options) { .room = 5 });
    assert_int_equal(stream_writev(t.a, parts, COUNT_OF(parts)), 5);
    assert_int_equal(stream_writev(t.a, parts, COUNT_OF(parts)), -EAGAIN);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_read(t.b, text, sizeof(text)), 5);
    assert_memory_equal(text, "abcde", 5);
    both_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_wait_for_the_turn),
        cmocka_unit_test(a_split_stops_the_bytes_once),
        cmocka_unit_test(room_comes_back_with_an_event),
        cmocka_unit_test(half_close_is_read_after_the_bytes),
        cmocka_unit_test(abort_is_no_end),
        cmocka_unit_test(a_break_reaches_both_ends),
        cmocka_unit_test(an_end_may_close_itself_in_its_event),
        cmocka_unit_test(several_parts_are_one_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

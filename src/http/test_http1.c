#include <stdio.h>
#include <stdlib.h>

#include "test_http1.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_STORY "<GET / 1.1 none keep [Host: a]>."

/* Requests of every kind, one behind the other: the story is the same wherever the bytes were cut. */
static void pipelined_requests_are_told_in_order_at_every_split(void **state)
{
    (void)state;

    check_story(REQUESTS,
                "GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
                "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello\r\nGET "
                "\r\n\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: u\r\n\r\n"
                "HEAD /4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                "POST /5 HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n!"
                "PUT /6 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                "<GET /1 1.1 none keep [Host: a] [X: y]>."
                "<POST /2 1.1 length keep [Host: a] [Content-Length: 11]>{hello\r\nGET }."
                "<POST /3 1.1 chunked keep [Host: a] [Transfer-Encoding: chunked]>{abc0123456789abcdef}"
                "<trailers [X-T: u]>."
                "<HEAD /4 1.0 none keep [Connection: keep-alive]>."
                "<POST /5 1.1 length keep expect [Host: a] [Expect: 100-Continue] [Content-Length: 1]>{!}."
                "<PUT /6 1.1 none [Host: a] [Content-Length: 0] [Connection: close]>.");
}

static void responses_are_told_in_order_at_every_split(void **state)
{
    (void)state;

    check_story(RESPONSES,
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
                "HTTP/1.1 500 \xc3\x96ops\r\n\r\nto the end",
                "<100 1.1 none keep><200 1.1 length keep [Content-Length: 3]>{abc}."
                "<304 1.1 none keep [Content-Length: 3]>."
                "<200 1.1 chunked keep [Transfer-Encoding: chunked]>{x}."
                "<500 1.1 close>{to the end}.");
}

static void the_answer_to_head_has_no_body(void **state)
{
    (void)state;
    struct script s = RESPONSES;

    s.answers_head = true;
    check_story(
        s,
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "<200 1.1 none keep [Content-Length: 3]>.<200 1.1 none keep [Transfer-Encoding: chunked]>.");
}

static void a_101_that_was_asked_for_opens_a_tunnel(void **state)
{
    (void)state;
    struct script s = RESPONSES;

    s.asked_upgrade = true;
    check_story(s, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw\r\n\r\nHTTP",
                "<101 1.1 none keep upgrade [Connection: Upgrade] [Upgrade: websocket]>{raw\r\n\r\nHTTP}.");
    check_story(s, "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "!UPGRADE");
    check_story(s, "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n", "<200 1.1 none keep [Content-Length: 0]>.");
}

static void a_request_can_turn_into_a_tunnel(void **state)
{
    (void)state;
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw";
    struct span in = span_make(head, sizeof(head) - 1);
    struct http_head h;
    struct http1_event ev;
    struct http1 m;

    http_head_init(&h);
    http1_init(&m, HTTP1_READS_REQUESTS, &h, NULL);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_int_equal(ev.kind, HTTP1_HEAD);
    assert_true(h.upgrade);
    http1_tunnel(&m);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_int_equal(ev.kind, HTTP1_BODY);
    assert_span_text(ev.bytes, "raw");
    assert_int_equal(http1_finish(&m, &ev), 0);
    assert_int_equal(ev.kind, HTTP1_END);
    http1_deinit(&m);
    http_head_deinit(&h);
}

/* ---- limits ---------------------------------------------------------------------- */

static void check_head_of(size_t bytes, size_t limit, const char *want_end)
{
    struct script s = REQUESTS;
    struct buf in, out;

    s.limits.head_bytes = (uint32_t)limit;
    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(buf_append_str(&in, "GET / HTTP/1.1\r\nHost: a\r\nX: "), 0);
    while (in.len < bytes - 4)
        assert_int_equal(buf_append_str(&in, "x"), 0);
    assert_int_equal(buf_append_str(&in, "\r\n\r\n" GET), 0);
    for (size_t piece = 1; piece < 100000; piece = piece * 7 + 1) {
        buf_clear(&out);
        tell(&out, s, buf_span(&in), 0, piece);
        assert_true(out.len >= strlen(want_end));
        assert_memory_equal(buf_span(&out).data + out.len - strlen(want_end), want_end, strlen(want_end));
    }
    buf_deinit(&in);
    buf_deinit(&out);
}

static void a_head_of_the_limit_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;

    check_head_of(99, 100, GET_STORY);
    check_head_of(100, 100, GET_STORY);
    check_head_of(101, 100, "!TOO_BIG");
    check_head_of(HTTP_HEAD_BYTES_MAX, 0, GET_STORY);
    check_head_of(HTTP_HEAD_BYTES_MAX + 1, 0, "!TOO_BIG");
    check_head_of(HTTP_HEAD_BYTES_MAX + 1, 1 << 20, "!TOO_BIG");
}

static void an_endless_request_line_has_its_own_answer(void **state)
{
    (void)state;
    struct script s = REQUESTS;

    s.limits.head_bytes = 20;
    check_story(s, "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "!LINE_TOO_LONG");
    assert_int_equal(http1_fault_status(HTTP1_E_LINE_TOO_LONG), 414);
    assert_int_equal(http1_fault_status(HTTP1_E_TOO_BIG), 431);
}

static void check_fields(unsigned count, uint16_t limit, const char *want_end)
{
    struct script s = REQUESTS;
    struct buf in, out;

    s.limits.fields = limit;
    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(buf_append_str(&in, "GET / HTTP/1.1\r\nHost: a\r\n"), 0);
    for (unsigned i = 1; i < count; i++)
        assert_int_equal(buf_printf(&in, "X%u: y\r\n", i), 0);
    assert_int_equal(buf_append_str(&in, "\r\n" GET), 0);
    tell(&out, s, buf_span(&in), 0, in.len);
    assert_memory_equal(buf_span(&out).data + out.len - strlen(want_end), want_end, strlen(want_end));
    buf_deinit(&in);
    buf_deinit(&out);
}

static void fields_up_to_the_limit_pass_and_one_more_does_not(void **state)
{
    (void)state;

    check_fields(9, 10, GET_STORY);
    check_fields(10, 10, GET_STORY);
    check_fields(11, 10, "!TOO_MANY");
    check_fields(HTTP_FIELDS_RECEIVED_MAX, 0, GET_STORY);
    check_fields(HTTP_FIELDS_RECEIVED_MAX + 1, 0, "!TOO_MANY");
    check_fields(HTTP_FIELDS_RECEIVED_MAX + 1, 1000, "!TOO_MANY");
}

static void chunk_lines_and_trailers_have_limits(void **state)
{
    (void)state;
    struct buf in;

    for (int over = 0; over < 2; over++) {
        buf_init(&in, 1 << 20);
        assert_int_equal(
            buf_append_str(&in, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"), 0);
        for (int i = 0; i < HTTP1_CHUNK_LINE_MAX - 4 + over; i++)
            assert_int_equal(buf_append_str(&in, "e"), 0);
        assert_int_equal(buf_append_str(&in, "\r\nx\r\n0\r\n\r\n"), 0);
        check_story_bytes(REQUESTS, buf_span(&in),
                          over ? "<POST / 1.1 chunked keep [Host: a] [Transfer-Encoding: chunked]>!CHUNK"
                               : "<POST / 1.1 chunked keep [Host: a] [Transfer-Encoding: chunked]>{x}.");
        buf_clear(&in);
        assert_int_equal(
            buf_append_str(&in, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "),
            0);
        for (int i = 0; i < (int)HTTP1_TRAILER_BYTES_MAX; i++)
            assert_int_equal(buf_append_str(&in, "e"), 0);
        check_story_bytes(REQUESTS, buf_span(&in),
                          "<POST / 1.1 chunked keep [Host: a] [Transfer-Encoding: chunked]>!TOO_BIG");
        buf_deinit(&in);
    }
}

/* A body longer than any buffer: nothing of it is kept. */
static void bodies_are_spans_of_the_input(void **state)
{
    (void)state;
    static uint8_t block[65536];
    struct span in = span_from_str("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 655360000\r\n\r\n");
    struct http_head h;
    struct http1_event ev;
    struct http1 m;
    uint64_t sum = 0;

    http_head_init(&h);
    http1_init(&m, HTTP1_READS_REQUESTS, &h, NULL);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    http1_lend(&m, NULL); /* not needed for the body */
    while (sum < h.content_length) {
        in = SPAN_OF(block);
        assert_int_equal(http1_next(&m, &in, &ev), 0);
        assert_int_equal(ev.kind, HTTP1_BODY);
        assert_ptr_equal(ev.bytes.data, block);
        sum += ev.bytes.len;
    }
    assert_int_equal(in.len, 0);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_int_equal(ev.kind, HTTP1_END);
    assert_true(http1_between_messages(&m));
    http1_deinit(&m);
    http_head_deinit(&h);
}

static void an_owner_that_stops_asking_loses_nothing(void **state)
{
    (void)state;
    struct span in = span_from_str("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET);
    struct http_head h;
    struct http1_event ev;
    struct http1 m;

    http_head_init(&h);
    http1_init(&m, HTTP1_READS_REQUESTS, &h, NULL);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_int_equal(ev.kind, HTTP1_HEAD);
    assert_span_text(in, "abc" GET);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_span_text(ev.bytes, "abc");
    assert_span_text(in, GET);
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_int_equal(ev.kind, HTTP1_END);
    assert_span_text(in, GET);
    http1_deinit(&m);
    http_head_deinit(&h);
}

static void in_head_and_between_messages_are_told_apart(void **state)
{
    (void)state;
    struct span in = span_from_str("\r\n");
    struct http_head h;
    struct http1_event ev;
    struct http1 m;

    http_head_init(&h);
    http1_init(&m, HTTP1_READS_REQUESTS, &h, NULL);
    assert_true(http1_between_messages(&m));
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_true(http1_between_messages(&m));
    assert_int_equal(http1_finish(&m, &ev), 0);
    in = span_from_str("G");
    assert_int_equal(http1_next(&m, &in, &ev), 0);
    assert_true(http1_in_head(&m));
    assert_int_equal(http1_finish(&m, &ev), HTTP1_E_TRUNCATED);
    http1_deinit(&m);
    http_head_deinit(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_requests_are_told_in_order_at_every_split),
        cmocka_unit_test(responses_are_told_in_order_at_every_split),
        cmocka_unit_test(the_answer_to_head_has_no_body),
        cmocka_unit_test(a_101_that_was_asked_for_opens_a_tunnel),
        cmocka_unit_test(a_request_can_turn_into_a_tunnel),
        cmocka_unit_test(a_head_of_the_limit_passes_and_one_byte_more_does_not),
        cmocka_unit_test(an_endless_request_line_has_its_own_answer),
        cmocka_unit_test(fields_up_to_the_limit_pass_and_one_more_does_not),
        cmocka_unit_test(chunk_lines_and_trailers_have_limits),
        cmocka_unit_test(bodies_are_spans_of_the_input),
        cmocka_unit_test(an_owner_that_stops_asking_loses_nothing),
        cmocka_unit_test(in_head_and_between_messages_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "check.h"

#include "control/exchange.h"

/* The answer cut at `cut`; bytes not taken are counted in *left. */
static int outcome(struct exchange *e, const char *text, size_t cut, bool head, size_t *left)
{
    struct span all = span_from_str(text);
    size_t used;
    int r;

    exchange_init(e, head);
    r = exchange_feed(e, span_slice(all, 0, cut), &used);
    if (r == EXCHANGE_E_MORE) {
        assert_int_equal(used, cut);
        r = exchange_feed(e, span_slice(all, cut, all.len), &used);
        used += cut;
    }
    *left = all.len - used;
    return r;
}

static void bytes_after_101_are_not_taken_whatever_the_cut(void **state)
{
    (void)state;
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
                                 "Connection: upgrade\r\n\r\n\x02\x01NOISE";

    for (size_t cut = 0; cut < sizeof(answer); cut++) {
        struct exchange e;
        size_t left;

        assert_int_equal(outcome(&e, answer, cut, false, &left), 0);
        assert_int_equal(e.status, 101);
        assert_string_equal(e.upgrade, "tailscale-control-protocol");
        if (cut < sizeof(answer) - 8)
            assert_int_equal(left, 7);
        exchange_deinit(&e);
    }
}

#define CHUNKED                                                                                       \
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nT: " \
    "x\r\n\r\n"

static void body_ends_by_length_by_chunks_or_with_the_connection(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\nhello, world",
        CHUNKED,
        "HTTP/1.0 200\nServer: x\n\nhello, world",
        "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world",
    };

    for (size_t i = 0; i < COUNT_OF(answers); i++)
        for (size_t cut = 0; cut < strlen(answers[i]); cut++) {
            struct exchange e;
            size_t left;
            int r = outcome(&e, answers[i], cut, false, &left);

            assert_int_equal(r, i == 2 ? EXCHANGE_E_MORE : 0);
            assert_int_equal(exchange_finish(&e), 0);
            assert_int_equal(e.status, 200);
            assert_span_text(buf_span(&e.body), "hello, world");
            assert_int_equal(left, 0);
            exchange_deinit(&e);
        }
}

static void head_request_and_204_have_no_body(void **state)
{
    (void)state;
    struct exchange e;
    size_t left;

    assert_int_equal(outcome(&e, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 0, true, &left), 0);
    exchange_deinit(&e);
    assert_int_equal(outcome(&e, "HTTP/1.1 204 No Content\r\n\r\n", 0, false, &left), 0);
    exchange_deinit(&e);
}

static void cut_short_answer_is_broken(void **state)
{
    (void)state;
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell";

    for (size_t len = 0; len < sizeof(answer); len++) {
        struct exchange e;
        size_t used;

        exchange_init(&e, false);
        assert_int_equal(exchange_feed(&e, span_make(answer, len), &used), EXCHANGE_E_MORE);
        assert_int_equal(exchange_finish(&e), EXCHANGE_E_BROKEN);
        exchange_deinit(&e);
    }
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/2 200\r\n",
        "HTTP/1.1 abc\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    };

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct exchange e;
        size_t left;

        assert_int_equal(outcome(&e, bad[i], 0, false, &left), EXCHANGE_E_BROKEN);
        exchange_deinit(&e);
    }
}

static int body_of(size_t len)
{
    static uint8_t zeros[EXCHANGE_BODY_BYTES_MAX + 1];
    struct exchange e;
    size_t used;
    int r;

    exchange_init(&e, false);
    assert_int_equal(exchange_feed(&e, span_from_str("HTTP/1.1 200 OK\r\n\r\n"), &used), EXCHANGE_E_MORE);
    r = exchange_feed(&e, span_make(zeros, len), &used);
    exchange_deinit(&e);
    return r;
}

static void limits_hold_while_reading(void **state)
{
    (void)state;
    struct exchange e;
    size_t used, lines = 0;
    int r;

    assert_int_equal(body_of(EXCHANGE_BODY_BYTES_MAX), EXCHANGE_E_MORE);
    assert_int_equal(body_of(EXCHANGE_BODY_BYTES_MAX + 1), EXCHANGE_E_TOO_BIG);

    exchange_init(&e, false);
    assert_int_equal(exchange_feed(&e, span_from_str("HTTP/1.1 200 OK\r\n"), &used), EXCHANGE_E_MORE);
    while ((r = exchange_feed(&e, span_from_str("X-Padding: 0123456789\r\n"), &used)) == EXCHANGE_E_MORE)
        assert_true(++lines < EXCHANGE_HEAD_BYTES_MAX);
    assert_int_equal(r, EXCHANGE_E_TOO_BIG);
    exchange_deinit(&e);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    const int64_t now = 784111777 * SEC; /* Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110, 5.6.7) */

    assert_int_equal(retry_after_parse(span_from_str(" 120 "), now), 120 * SEC);
    assert_int_equal(retry_after_parse(span_from_str("Sun, 06 Nov 1994 08:50:00 GMT"), now), 23 * SEC);
    assert_int_equal(retry_after_parse(span_from_str("Sun, 06 Nov 1994 08:00:00 GMT"), now), 0);
    assert_int_equal(retry_after_parse(span_from_str("soon"), now), 0);
    assert_int_equal(retry_after_parse(span_from_str("-5"), now), 0);
    assert_int_equal(retry_after_parse(span_from_str(""), now), 0);
    assert_int_equal(retry_after_parse(span_from_str("99999999999999999999"), now), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_after_101_are_not_taken_whatever_the_cut),
        cmocka_unit_test(body_ends_by_length_by_chunks_or_with_the_connection),
        cmocka_unit_test(head_request_and_204_have_no_body),
        cmocka_unit_test(cut_short_answer_is_broken),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(limits_hold_while_reading),
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

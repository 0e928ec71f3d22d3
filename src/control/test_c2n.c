#include "check.h"

#include <stdio.h>

#include "control/c2n.h"

static int answer(const char *request, struct buf *out)
{
    buf_init(out, 2 * C2N_REQUEST_BYTES_MAX);
    return c2n_answer(span_from_str(request), out);
}

static void assert_answer(const char *request, const char *want)
{
    struct buf out;

    assert_int_equal(answer(request, &out), 0);
    assert_span_text(buf_span(&out), want);
    buf_deinit(&out);
}

#define HELLO "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

/* Requests as Go's http.Request.Write makes them. */
static void echo_returns_the_body_of_any_method(void **state)
{
    (void)state;
    assert_answer(
        "POST /echo HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 5\r\n\r\nhello",
        HELLO);
    assert_answer("PUT /echo?x=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                  "chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                  HELLO);
    assert_answer("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
}

static void other_paths_are_answered_400(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/debug/goroutines", "/debug/prefs", "/update", "/echo/", "/", "//echo"
    };

    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        char request[100];

        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        assert_answer(request, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: "
                               "17\r\n\r\nunknown c2n path\n");
    }
}

static void broken_requests_have_no_answer(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\r\n",
        "GET\r\n\r\n",
        "GET /echo\r\n\r\n",
        "GET /echo HTTP/2\r\n\r\n",
        "GET echo HTTP/1.1\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: x\r\n",
        "GET /echo HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 6\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nhello\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    };

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct buf out;

        assert_int_equal(answer(bad[i], &out), C2N_E_BROKEN);
        assert_int_equal(out.len, 0);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_returns_the_body_of_any_method),
        cmocka_unit_test(other_paths_are_answered_400),
        cmocka_unit_test(broken_requests_have_no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "lab/test_world.h"
#include "lab/web.h"

static struct web *web;
static struct stream *taken;
static struct buf rest;

static void on_request(void *ctx, struct web_conn *c, const struct http_head *head)
{
    struct span path = web_path(http_head_target(head)), value;

    (void)ctx;
    if (span_equal_str(path, "/hello"))
        web_answer(c, 200, "text/plain", "X-Lab: yes\r\n",
                   web_query(http_head_target(head), "name", &value) ? value : span_from_str("nobody"));
    else if (span_equal_str(path, "/take"))
        taken = web_take(c, &rest);
}

static void open_web(void)
{
    struct web_config config = { .at = on_loopback(0), .request = on_request };

    buf_init(&rest, 4096);
    taken = NULL;
    assert_int_equal(web_new(&web, loop, &config), 0);
}

static void requests_on_one_connection_are_answered_in_order(void **state)
{
    (void)state;
    struct caller c;

    open_web();
    call(&c, web_port(web));
    say(&c, "GET /hello?x=1&name=web HTTP/1.1\r\nHost: lab\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: lab\r\n\r\n"
            "GET /hello HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    wait_until(c.ended);
    assert_true(heard(&c, "X-Lab: yes\r\nContent-Length: 3\r\n\r\nwebHTTP/1.1 404 Not Found"));
    assert_true(heard(&c, "\r\n\r\nnobody"));
    hang_up(&c);
    wait_until(!web_connections(web));
    web_free(web);
}

static void a_head_request_gets_the_length_and_no_body(void **state)
{
    (void)state;
    struct caller c;

    open_web();
    call(&c, web_port(web));
    say(&c, "HEAD /hello HTTP/1.0\r\n\r\n");
    wait_until(c.ended);
    assert_true(heard(&c, "Content-Length: 6\r\n"));
    assert_false(heard(&c, "nobody"));
    hang_up(&c);
    web_free(web);
}

static void nonsense_and_bodies_are_refused_and_the_connection_ends(void **state)
{
    (void)state;
    static const struct {
        const char *says, *answer;
    } cases[] = {
        { "GET / HTTP/1.1\nHost: lab\n\n", "HTTP/1.1 400 " },
        { "POST /hello HTTP/1.1\r\nHost: lab\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 413 " },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct caller c;

        open_web();
        call(&c, web_port(web));
        say(&c, cases[i].says);
        wait_until(c.ended || c.failed);
        assert_true(heard(&c, cases[i].answer));
        hang_up(&c);
        web_free(web);
    }
}

static void a_connection_that_is_taken_over_keeps_the_bytes_behind_the_head(void **state)
{
    (void)state;
    struct caller c;

    open_web();
    call(&c, web_port(web));
    say(&c, "GET /take HTTP/1.1\r\nHost: lab\r\n\r\nraw bytes");
    wait_until(taken);
    assert_span_text(buf_span(&rest), "raw bytes");
    web_free(web); /* the connection is not its any more */
    stream_set_owner(taken, NULL, NULL);
    assert_int_equal(stream_write(taken, span_from_str("answer")), 6);
    wait_until(heard(&c, "answer"));
    stream_close(taken);
    buf_deinit(&rest);
    hang_up(&c);
}

static void a_silent_connection_ends(void **state)
{
    (void)state;
    struct web_config config = { .at = on_loopback(0), .request = on_request, .idle = MSEC };
    struct caller half, silent;

    assert_int_equal(web_new(&web, loop, &config), 0);
    call(&half, web_port(web));
    say(&half, "GET /hello HTTP/1.1\r\n");
    call(&silent, web_port(web));
    wait_until(half.ended && silent.ended);
    assert_int_equal(web_connections(web), 0);
    hang_up(&half);
    hang_up(&silent);
    web_free(web);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_on_one_connection_are_answered_in_order),
        cmocka_unit_test(a_head_request_gets_the_length_and_no_body),
        cmocka_unit_test(nonsense_and_bodies_are_refused_and_the_connection_ends),
        cmocka_unit_test(a_silent_connection_ends),
        cmocka_unit_test(a_connection_that_is_taken_over_keeps_the_bytes_behind_the_head),
    };

    return cmocka_run_group_tests(tests, world_open, world_close);
}

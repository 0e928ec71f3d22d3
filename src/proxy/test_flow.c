/* Requests through the proxy, with the test as client and as upstream. Every test runs several times: with
 * bytes that arrive as they were written, with first arrivals cut at some place, and byte by byte over
 * streams that take seven bytes at a time. */
#include "test_world.h"

static bool slow;

#define GET "GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n"
/* What the upstream sees of it, behind the fields of the client. */
#define ADDED                                                                                        \
    "X-Forwarded-For: 100.64.0.7\r\nX-Forwarded-Host: web.test\r\nX-Forwarded-Proto: https\r\n"      \
    "X-Scheme: https\r\nX-Real-Ip: 100.64.0.7\r\nX-Forwarded-Server: web.test\r\nX-Forwarded-Port: " \
    "443\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* ---- plain ---------------------------------------------------------------------- */

static void a_request_and_its_response_pass(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    assert_int_equal(dialled, 1);
    assert_string_equal(heard(UP(0)), "GET /x HTTP/1.1\r\nHost: web.test\r\n" ADDED);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_false(CLIENT->ended);
}

static void both_connections_serve_the_next_request(void **state)
{
    (void)state;

    start();
    for (int i = 0; i < 3; i++) {
        says(CLIENT, GET);
        assert_string_equal(heard(UP(0)), "GET /x HTTP/1.1\r\nHost: web.test\r\n" ADDED);
        assert_int_equal(proxy_shard_idle_upstreams(shard), 0);
        says(UP(0), OK);
        assert_string_equal(heard(CLIENT), OK);
        assert_int_equal(proxy_shard_idle_upstreams(shard), 1);
    }
    assert_int_equal(dialled, 1);
    assert_int_equal(proxy_service_counters(service)->requests[2], 3);
    assert_int_equal(proxy_service_counters(service)->bytes_out, 6);
    assert_int_equal(proxy_service_counters(service)->active, 0);
}

static void a_missing_date_is_added_and_a_given_one_kept(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), OK);
    run();
    assert_non_null(strstr((char *)buf_span(&CLIENT->got).data, "\r\nDate: "));
    buf_clear(&CLIENT->got);
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n");
    assert_span_text(buf_span(&CLIENT->got),
                     "HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;

    start();
    says(CLIENT, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                 "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
                 "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(heard(UP(0)), "GET /1 "));
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_non_null(strstr(heard(UP(0)), "POST /2 "));
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    assert_non_null(strstr(heard(UP(0)), "GET /3 "));
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthree");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
                                       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthree");
    assert_int_equal(dialled, 1);
}

static void connection_close_is_obeyed_on_either_side(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    assert_string_equal(heard(CLIENT), OK); /* their connection, not ours */
    assert_int_equal(proxy_shard_idle_upstreams(shard), 0);
    says(CLIENT, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_int_equal(dialled, 2);
    assert_null(strstr(heard(UP(1)), "Connection"));
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_true(CLIENT->ended);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 1);
}

static void http_1_0_clients_get_what_they_understand(void **state)
{
    (void)state;

    start();
    says(CLIENT, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(heard(UP(0)), "GET / HTTP/1.1\r\n")); /* Host is invented: it has to be there */
    says(UP(0), "HTTP/1.1 100 Continue\r\n\r\n" OK);
    assert_string_equal(heard(CLIENT),
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi");
    says(CLIENT, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(heard(UP(0)), "Host: up.test:8080\r\n"));
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi");
    assert_true(CLIENT->ended);
}

/* ---- bodies ----------------------------------------------------------------------- */

static void bodies_with_a_length_pass(void **state)
{
    (void)state;

    start();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhel");
    assert_string_equal(heard(UP(0)),
                        "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n" ADDED "hel");
    says(CLIENT, "lo");
    assert_string_equal(heard(UP(0)), "lo");
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_int_equal(proxy_service_counters(service)->bytes_in, 5);
}

static void chunks_and_trailers_pass_both_ways(void **state)
{
    (void)state;
    struct http_head head;
    struct http1_event ev;
    struct http1 m;
    struct span in;
    struct buf body;

    start();
    buf_init(&body, 1000);
    says(CLIENT,
         "POST / HTTP/1.1\r\nHost: web.test\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: "
         "chunked\r\n\r\n"
         "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nX-Tailscale-User: evil\r\nContent-Length: 3\r\n\r\n");
    run();
    http_head_init(&head);
    http1_init(&m, HTTP1_READS_REQUESTS, &head, NULL);
    in = buf_span(&UP(0)->got);
    do {
        assert_int_equal(http1_next(&m, &in, &ev), 0);
        if (ev.kind == HTTP1_BODY)
            assert_int_equal(buf_append(&body, ev.bytes), 0);
        if (ev.kind == HTTP1_TRAILERS) {
            struct span name, value;
            int at = 0;

            assert_true(http_head_next(ev.trailers, &at, &name, &value));
            assert_span_text(name, "X-Sum");
            assert_false(http_head_next(ev.trailers, &at, &name, &value)); /* identity and framing are gone */
        }
        if (ev.kind == HTTP1_HEAD) {
            assert_true(http_head_find(&head, HTTP_FIELD_TRAILER, 0) >= 0);
            assert_true(http_head_lists(&head, HTTP_FIELD_TE, "trailers"));
        }
    } while (ev.kind != HTTP1_END);
    assert_span_text(buf_span(&body), "abcde");
    assert_int_equal(in.len, 0);
    http1_deinit(&m);
    http_head_deinit(&head);
    buf_deinit(&body);

    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    says(UP(0), "0\r\nX-T: u\r\n\r\n");
    assert_string_equal(heard(CLIENT), "0\r\nX-T: u\r\n\r\n");
    assert_int_equal(proxy_shard_idle_upstreams(shard), 1);
}

static void responses_without_a_body_have_none(void **state)
{
    (void)state;

    start();
    says(CLIENT, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    says(CLIENT, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\n\r\n");
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n");
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(dialled, 1);
}

static void a_body_until_close_becomes_chunks(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.0 200 OK\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    says(UP(0), "x");
    assert_string_equal(heard(CLIENT), "1\r\nx\r\n");
    stream_shutdown(UP(0)->end);
    assert_string_equal(heard(CLIENT), "0\r\n\r\n");
    says(CLIENT, GET); /* the client's connection lives on */
    assert_int_equal(dialled, 2);
}

static void events_of_a_stream_pass_at_once(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_string_equal(
        heard(CLIENT),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        says(UP(0), "1\r\n!\r\n");
        assert_string_equal(heard(CLIENT), "1\r\n!\r\n");
    }
    assert_int_equal(shard->spare_head_count, 2); /* a stream that waits holds no heads */
}

static void an_upload_is_answered_while_it_runs(void **state)
{
    (void)state;

    start();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n");
    heard(UP(0));
    says(CLIENT, "1\r\nb\r\n");
    assert_string_equal(heard(UP(0)), "1\r\nb\r\n");
    says(CLIENT, "0\r\n\r\n");
    assert_string_equal(heard(UP(0)), "0\r\n\r\n");
    says(UP(0), "0\r\n\r\n");
    assert_string_equal(heard(CLIENT), "0\r\n\r\n");
    says(CLIENT, GET);
    assert_int_equal(dialled, 1);
}

/* ---- interim responses, Expect ------------------------------------------------------ */

static void interim_responses_pass(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nConnection: x\r\nX: y\r\n\r\n" OK);
    assert_string_equal(heard(CLIENT), "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" OK);
}

static void expect_is_settled_between_client_and_upstream(void **state)
{
    (void)state;

    start();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_non_null(strstr(heard(UP(0)), "Expect: 100-continue\r\n"));
    says(UP(0), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 100 Continue\r\n\r\n");
    says(CLIENT, "body");
    assert_string_equal(heard(UP(0)), "body");
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    says(CLIENT, GET);
    assert_int_equal(dialled, 1);
}

static void a_refusal_instead_of_100_ends_the_connection(void **state)
{
    (void)state;

    start();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    says(UP(0), "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    assert_string_equal(heard(CLIENT),
                        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_true(CLIENT->ended);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 0); /* it still waits for four bytes */
}

/* ---- upgrades ------------------------------------------------------------------------- */

#define UPGRADE \
    "GET /ws HTTP/1.1\r\nHost: web.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n"

static void an_upgrade_becomes_a_raw_stream(void **state)
{
    (void)state;

    start();
    says(CLIENT, UPGRADE "early");
    assert_string_equal(
        heard(UP(0)),
        "GET /ws HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" ADDED);
    says(UP(0), SWITCH "hello");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                                       "Upgrade: WebSocket\r\n\r\nhello");
    assert_string_equal(heard(UP(0)), "early");
    says(CLIENT, "GET / HTTP/1.1\n\n\x01");
    assert_string_equal(heard(UP(0)), "GET / HTTP/1.1\n\n\x01");
    stream_shutdown(CLIENT->end); /* half-close travels */
    run();
    assert_true(UP(0)->ended);
    says(UP(0), "bye");
    assert_string_equal(heard(CLIENT), "bye");
    stream_shutdown(UP(0)->end);
    run();
    assert_true(CLIENT->ended);
    assert_int_equal(proxy_shard_connections(shard), 0);
    assert_int_equal(proxy_service_counters(service)->upgrades, 1);
    assert_int_equal(proxy_service_counters(service)->requests[1], 1);
}

static void an_upgrade_that_is_declined_is_a_request(void **state)
{
    (void)state;

    start();
    says(CLIENT, UPGRADE GET);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_non_null(strstr(heard(UP(0)), "GET /x"));
}

static void another_protocol_than_asked_for_is_refused(void **state)
{
    (void)state;

    start();
    says(CLIENT, UPGRADE);
    says(UP(0), "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 502 Bad Gateway\r\n"));
    assert_int_equal(proxy_service_counters(service)->proxy_errors, 1);
}

/* An upgrade to HTTP/2 would let the client speak past us: with headers of its choice, to any path. */
static void an_upgrade_to_http_is_not_passed_on(void **state)
{
    (void)state;
    static const char *const protocols[] = { "h2c", "H2C", "websocket, h2c", "TLS/1.0", "HTTP/2.0" };

    start();
    for (size_t i = 0; i < COUNT_OF(protocols); i++) {
        char request[300];

        snprintf(request, sizeof(request),
                 "GET /x HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\n"
                 "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
                 protocols[i]);
        says(CLIENT, request);
        assert_string_equal(heard(UP(0)), "GET /x HTTP/1.1\r\nHost: web.test\r\n" ADDED);
        says(UP(0), OK);
        assert_string_equal(heard(CLIENT), OK);
    }
}

static void a_101_that_was_not_asked_for_is_refused(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), SWITCH);
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 502 "));
}

/* ---- trouble on the upstream's side ------------------------------------------------------ */

static void expect_502(void)
{
    const char *text = heard(CLIENT);

    if (!strstr(text, "HTTP/1.1 502 Bad Gateway\r\n") || !strstr(text, "does not answer.\n"))
        fail_msg("no 502 but: %s", text);
}

static void an_upstream_that_cannot_be_reached_is_502(void **state)
{
    (void)state;

    start();
    refuse_connections = true;
    says(CLIENT, GET);
    expect_502();
    assert_int_equal(proxy_service_counters(service)->proxy_errors, 1);
    assert_int_equal(proxy_service_counters(service)->requests[5], 1);
    refuse_connections = false;
    says(CLIENT, GET); /* and the connection lives on */
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
    dial_error = -EACCES;
    says(UP(1), "unasked"); /* nobody waits for that: the idle connection is closed */
    says(CLIENT, GET);
    expect_502();
}

static void an_upstream_that_says_nothing_is_502(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    peer_close(UP(0));
    expect_502();
    assert_int_equal(dialled, 1);
}

static void nonsense_from_the_upstream_is_502(void **state)
{
    (void)state;
    static const char *const nonsense[] = {
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };

    start();
    for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
        says(CLIENT, GET);
        says(UP(i), nonsense[i]);
        expect_502();
        assert_true(UP(i)->ended || UP(i)->broke);
    }
}

static void a_response_that_breaks_off_cuts_the_client(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    assert_non_null(strstr(heard(CLIENT), "\r\n\r\nhel"));
    peer_close(UP(0));
    assert_string_equal(heard(CLIENT), "");
    assert_true(CLIENT->ended || CLIENT->broke);
    assert_int_equal(proxy_service_counters(service)->proxy_errors, 1);
}

static void chunks_that_break_off_have_no_last_chunk(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    heard(CLIENT);
    peer_close(UP(0));
    assert_string_equal(heard(CLIENT), "");
    assert_true(CLIENT->ended || CLIENT->broke);
}

/* Without length and chunks only a broken connection tells the part from the whole. */
static void a_broken_body_until_close_is_a_broken_connection(void **state)
{
    (void)state;

    start();
    says(CLIENT, "GET / HTTP/1.0\r\n\r\n");
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    peer_close(UP(0));
    run();
    assert_true(CLIENT->broke);
}

static void bytes_behind_a_response_are_never_the_next_response(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), OK "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_string_equal(heard(CLIENT), OK);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 0);
    says(CLIENT, GET);
    assert_int_equal(dialled, 2);
}

/* ---- dead pooled connections ------------------------------------------------------------- */

static void first_request(void)
{
    start();
    says(CLIENT, GET);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    UP(0)->got.len = 0;
    UP(0)->close_on_read = true; /* its next request finds it dead */
}

static void a_get_on_a_dead_connection_goes_out_again(void **state)
{
    (void)state;

    first_request();
    says(CLIENT, GET);
    assert_int_equal(dialled, 2);
    assert_string_equal(heard(UP(1)), "GET /x HTTP/1.1\r\nHost: web.test\r\n" ADDED);
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_int_equal(proxy_service_counters(service)->upstream_retries, 1);
    assert_int_equal(proxy_service_counters(service)->proxy_errors, 0);
}

static void it_goes_out_again_only_once(void **state)
{
    (void)state;

    first_request();
    UP(1)->close_on_read = true;
    says(CLIENT, GET);
    expect_502();
    assert_int_equal(dialled, 2);
}

static void a_post_on_a_dead_connection_does_not_go_out_again(void **state)
{
    (void)state;

    first_request();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_502();
    assert_int_equal(dialled, 1);
}

static void a_body_is_never_sent_twice(void **state)
{
    (void)state;

    first_request();
    says(CLIENT, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    expect_502();
    assert_int_equal(dialled, 1);
}

static void an_idle_connection_that_closes_leaves_the_pool(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), OK);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 1);
    peer_close(UP(0));
    run();
    assert_int_equal(proxy_shard_idle_upstreams(shard), 0);
}

/* ---- trouble on the client's side ----------------------------------------------------------- */

static void a_client_that_leaves_cancels_its_upstream(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhel");
    stream_abort(CLIENT->end);
    CLIENT->end = NULL;
    run();
    assert_true(UP(0)->broke);
    assert_int_equal(proxy_shard_connections(shard), 0);
    assert_int_equal(proxy_service_counters(service)->client_aborts, 1);
    assert_int_equal(proxy_service_counters(service)->proxy_errors, 0);
}

static void a_client_that_leaves_in_its_body_cancels_its_upstream(void **state)
{
    (void)state;

    start();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhel");
    peer_close(CLIENT);
    run();
    assert_true(UP(0)->broke);
    assert_int_equal(proxy_service_counters(service)->client_aborts, 1);
}

static void a_client_may_close_its_side_and_wait(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    stream_shutdown(CLIENT->end);
    run();
    assert_false(UP(0)->broke);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_true(CLIENT->ended);
    assert_int_equal(proxy_shard_connections(shard), 0);
}

static void a_malformed_body_cancels_the_upstream(void **state)
{
    (void)state;

    start();
    says(CLIENT, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 400 Bad Request\r\n"));
    assert_true(UP(0)->broke);
    assert_true(CLIENT->ended);
}

static const struct {
    const char *request, *status;
} refusals[] = {
    { "GET / HTTP/1.1\r\n\r\n", "400 Bad Request" },
    { "GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request" },
    { "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request" },
    { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported" },
    { "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "405 Method Not Allowed" },
    { "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "417 Expectation Failed" },
    { "\x16\x03\x01", "400 Bad Request" },
};

static void malformed_requests_are_answered_and_closed(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        const char *text;

        if (i) {
            world_teardown(NULL);
            world_setup(NULL);
        }
        start();
        says(CLIENT, refusals[i].request);
        text = heard(CLIENT);
        if (strncmp(text, "HTTP/1.1 ", 9) != 0 ||
            strncmp(text + 9, refusals[i].status, strlen(refusals[i].status)) != 0)
            fail_msg("%s: %s", refusals[i].request, text);
        assert_int_equal(dialled, 0);
        if (i != 2) { /* that one was well framed */
            assert_non_null(strstr(text, "Connection: close\r\n"));
            assert_true(CLIENT->ended);
        }
        assert_int_equal(proxy_service_counters(service)->refused, 1);
    }
}

static void heads_above_the_limit_are_431(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.head_bytes_max = 200;
    start_with(&c);
    client_connects();
    for (int i = 0; i < 10; i++)
        says(CLIENT, i ? "X-Filler: aaaaaaaaaaaaaaaaaaaaa\r\n" : "GET / HTTP/1.1\r\nHost: a\r\n");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 431 "));
}

static void options_of_the_server_is_answered_here(void **state)
{
    (void)state;

    start();
    says(CLIENT, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(dialled, 0);
}

static void unclean_paths_are_redirected(void **state)
{
    (void)state;

    start();
    says(CLIENT, "GET /a//b?q=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 301 Moved Permanently\r\nLocation: /a/b?q=1\r\n"));
    says(CLIENT, "POST /%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 308 Permanent Redirect\r\nLocation: /b\r\n"));
    assert_int_equal(dialled, 0);
}

/* Escaping makes three bytes of one: what it would ask for is longer than a head may be. */
static void a_redirect_that_no_client_could_follow_is_not_sent(void **state)
{
    static char text[32 << 10];
    int n = snprintf(text, sizeof(text), "GET //");

    (void)state;
    memset(text + n, '{', 20000);
    snprintf(text + n + 20000, sizeof(text) - (size_t)n - 20000, " HTTP/1.1\r\nHost: x\r\n\r\n");
    start();
    says(CLIENT, text);
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 414 "));
    says(CLIENT, "GET //b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 301 "));
}

/* ---- back-pressure ------------------------------------------------------------------------------ */

static void a_client_that_does_not_read_stops_the_upstream(void **state)
{
    (void)state;
    size_t total = slow ? 4 << 10 : 4 << 20;
    char *body = malloc(total + 1);
    struct span got;

    for (size_t i = 0; i < total; i++)
        body[i] = (char)('a' + i % 23);
    body[total] = '\0';
    start();
    CLIENT->deaf = true;
    says(CLIENT, GET);
    says(UP(0), slow ? "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"
                     : "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
    says(UP(0), body);
    assert_true(UP(0)->says.len + (slow ? 1000 : 400000) > total); /* what the two pairs and one read hold */
    CLIENT->deaf = false;
    peer_step(CLIENT);
    run();
    assert_int_equal(UP(0)->says.len, 0);
    got = buf_span(&CLIENT->got);
    assert_memory_equal(got.data + got.len - total, body, total);
    if (!way.place)                           /* else nothing was read that had no room */
        assert_non_null(shard->pending.data); /* what it was blocked with serves the next one */
    assert_int_equal(shard->pending.len, 0);
    free(body);
}

static void an_upstream_that_does_not_read_stops_the_client(void **state)
{
    (void)state;
    size_t total = slow ? 4 << 10 : 4 << 20;
    char *body = malloc(total + 1);
    struct span got;

    memset(body, 'x', total);
    body[total] = '\0';
    start();
    says(CLIENT, slow ? "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n"
                      : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n");
    UP(0)->deaf = true;
    says(CLIENT, body);
    assert_true(CLIENT->says.len + (slow ? 1000 : 400000) > total);
    UP(0)->deaf = false;
    peer_step(UP(0));
    run();
    assert_int_equal(CLIENT->says.len, 0);
    got = buf_span(&UP(0)->got);
    assert_memory_equal(got.data + got.len - total, body, total);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    free(body);
}

/* ---- time ------------------------------------------------------------------------------------------ */

/* Deadlines of a millisecond: the loop has its own clock. */
static void wait_for(const bool *what)
{
    for (int i = 0; i < 2000 && !*what; i++) {
        assert_int_equal(ev_loop_turn(loop, MSEC), 0);
        run();
    }
    assert_true(*what);
}

static void a_head_that_takes_too_long_is_408(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.read_header_timeout = MSEC;
    start_with(&c);
    client_connects();
    says(CLIENT, "GET / HT");
    wait_for(&CLIENT->ended);
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 408 "));
}

static void idle_connections_are_closed_in_time(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.idle_timeout = MSEC;
    start_with(&c);
    client_connects();
    wait_for(&CLIENT->ended);
    assert_string_equal(heard(CLIENT), "");
}

static void a_silent_upstream_is_504_where_a_limit_is_set(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.response_timeout = MSEC;
    start_with(&c);
    client_connects();
    says(CLIENT, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wait_for(&CLIENT->ended);
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 504 Gateway Timeout\r\n"));
    assert_true(UP(0)->broke);
}

/* ---- redirects to HTTPS
 * ------------------------------------------------------------------------------------ */

static const char *redirected(const char *request)
{
    struct proxy_arrival a = { .listen_port = 80, .redirect = true };
    struct proxy_service_config c = default_config();

    if (!service)
        start_with(&c);
    says(client_connects_from(a), request);
    return heard(&clients[client_count - 1]);
}

static void a_redirect_listener_names_the_same_target_over_https(void **state)
{
    (void)state;
    assert_non_null(
        strstr(redirected("GET /a//b?c=d HTTP/1.1\r\nHost: web\r\n\r\n"),
               "HTTP/1.1 301 Moved Permanently\r\nLocation: https://web.tail.test:8443/a//b?c=d\r\n"));
    assert_non_null(strstr(redirected("POST / HTTP/1.1\r\nHost: alias.test:80\r\nContent-Length: 0\r\n\r\n"),
                           "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://alias.test/\r\n"));
    assert_null(strstr(redirected("GET / HTTP/1.1\r\nHost: web\r\n\r\n"), "Strict-Transport-Security"));
    assert_int_equal(dialled, 0);
}

static void a_redirect_waits_for_the_name(void **state)
{
    (void)state;
    known_to_control = false;
    assert_non_null(strstr(redirected("GET / HTTP/1.1\r\nHost: web\r\n\r\n"), "HTTP/1.1 503 "));
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void a_drained_service_finishes_what_runs(void **state)
{
    (void)state;
    struct peer *idle;

    start();
    idle = client_connects();
    says(CLIENT, GET);
    proxy_service_drain(service);
    run();
    assert_true(idle->ended);
    assert_false(drained);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_true(CLIENT->ended);
    assert_true(UP(0)->ended); /* nobody would use it again */
    assert_true(drained);
    client_connects();
    run();
    assert_true(clients[2].broke || clients[2].ended);
}

static void freeing_a_service_ends_everything(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhel");
    proxy_service_free(service);
    service = NULL;
    run();
    assert_true(CLIENT->broke);
    assert_true(UP(0)->broke);
}

static void an_idle_connection_is_small(void **state)
{
    (void)state;

    assert_true(sizeof(struct conn) <= 256);
    assert_true(sizeof(struct upstream) <= 128);
    start();
    says(CLIENT, GET);
    says(UP(0), OK);
    heard(CLIENT);
    assert_int_equal(shard->spare_exchange_count, 1); /* nothing hangs on the connection */
    assert_int_equal(shard->spare_head_count, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_request_and_its_response_pass),
        T(both_connections_serve_the_next_request),
        T(a_missing_date_is_added_and_a_given_one_kept),
        T(pipelined_requests_are_answered_in_order),
        T(connection_close_is_obeyed_on_either_side),
        T(http_1_0_clients_get_what_they_understand),
        T(bodies_with_a_length_pass),
        T(chunks_and_trailers_pass_both_ways),
        T(responses_without_a_body_have_none),
        T(a_body_until_close_becomes_chunks),
        T(events_of_a_stream_pass_at_once),
        T(an_upload_is_answered_while_it_runs),
        T(interim_responses_pass),
        T(expect_is_settled_between_client_and_upstream),
        T(a_refusal_instead_of_100_ends_the_connection),
        T(an_upgrade_becomes_a_raw_stream),
        T(an_upgrade_that_is_declined_is_a_request),
        T(another_protocol_than_asked_for_is_refused),
        T(an_upgrade_to_http_is_not_passed_on),
        T(a_101_that_was_not_asked_for_is_refused),
        T(an_upstream_that_cannot_be_reached_is_502),
        T(an_upstream_that_says_nothing_is_502),
        T(nonsense_from_the_upstream_is_502),
        T(a_response_that_breaks_off_cuts_the_client),
        T(chunks_that_break_off_have_no_last_chunk),
        T(a_broken_body_until_close_is_a_broken_connection),
        T(bytes_behind_a_response_are_never_the_next_response),
        T(a_get_on_a_dead_connection_goes_out_again),
        T(it_goes_out_again_only_once),
        T(a_post_on_a_dead_connection_does_not_go_out_again),
        T(a_body_is_never_sent_twice),
        T(an_idle_connection_that_closes_leaves_the_pool),
        T(a_client_that_leaves_cancels_its_upstream),
        T(a_client_that_leaves_in_its_body_cancels_its_upstream),
        T(a_client_may_close_its_side_and_wait),
        T(a_malformed_body_cancels_the_upstream),
        T(malformed_requests_are_answered_and_closed),
        T(heads_above_the_limit_are_431),
        T(options_of_the_server_is_answered_here),
        T(unclean_paths_are_redirected),
        T(a_redirect_that_no_client_could_follow_is_not_sent),
        T(a_client_that_does_not_read_stops_the_upstream),
        T(an_upstream_that_does_not_read_stops_the_client),
        T(a_head_that_takes_too_long_is_408),
        T(idle_connections_are_closed_in_time),
        T(a_silent_upstream_is_504_where_a_limit_is_set),
        T(a_redirect_listener_names_the_same_target_over_https),
        T(a_redirect_waits_for_the_name),
        T(a_drained_service_finishes_what_runs),
        T(freeing_a_service_ends_everything),
        T(an_idle_connection_is_small),
    };
    static const size_t splits[] = { 1, 7, 13, 40, 100, 200 };
    int failed = cmocka_run_group_tests_name("whole", tests, NULL, NULL);

    for (size_t i = 0; i < COUNT_OF(splits); i++) {
        way = (struct stream_pair_options) { .split_at = splits[i] };
        failed += cmocka_run_group_tests_name("cut in two", tests, NULL, NULL);
    }
    way = (struct stream_pair_options) { .place = 50000 };
    failed += cmocka_run_group_tests_name("bodies in place", tests, NULL, NULL);
    way = (struct stream_pair_options) { .chunk = 1, .room = 7 };
    slow = true;
    failed += cmocka_run_group_tests_name("byte by byte", tests, NULL, NULL);
    way.place = 5;
    failed += cmocka_run_group_tests_name("byte by byte, bodies in place", tests, NULL, NULL);
    return failed;
}

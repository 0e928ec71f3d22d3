/* Requests over HTTP/2 through the proxy: the client is our own machine (http/h2_client.h), or frames written
 * by hand where it has no words for them. The machine below is tested by itself in http/test_h2_server.c. */
#include "test_world.h"

#define ADDED                                                                                        \
    "X-Forwarded-For: 100.64.0.7\r\nX-Forwarded-Host: web.test\r\nX-Forwarded-Proto: https\r\n"      \
    "X-Scheme: https\r\nX-Real-Ip: 100.64.0.7\r\nX-Forwarded-Server: web.test\r\nX-Forwarded-Port: " \
    "443\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

struct reply {
    uint32_t id;
    int status, ends;
    size_t taken;
    struct buf body;
    char headers[2000]; /* "name: value\n" each, without date */
    enum h2_end why;
    uint32_t code;
    bool keep; /* take no body */
};

static struct h2_client *h2;
static struct reply replies[8];
static uint8_t scratch[H2_SCRATCH_BYTES];

static void on_head(void *ctx, uint32_t id, int status, const struct h2_header *headers, size_t count)
{
    struct reply *r = ctx;
    size_t at = 0;

    (void)id;
    r->status = status;
    r->headers[0] = '\0';
    for (size_t i = 0; i < count; i++)
        if (!span_equal_str(headers[i].name, "date"))
            at += (size_t)snprintf(r->headers + at, sizeof(r->headers) - at, "%.*s: %.*s\n",
                                   (int)headers[i].name.len, (const char *)headers[i].name.data,
                                   (int)headers[i].value.len, (const char *)headers[i].value.data);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct reply *r = ctx;

    assert_int_equal(buf_append(&r->body, bytes), 0);
    if (!r->keep)
        h2_client_consumed(h2, id, bytes.len);
}

static void on_ended(void *ctx, uint32_t id, enum h2_end why, uint32_t code)
{
    struct reply *r = ctx;

    (void)id;
    r->ends++;
    r->why = why;
    r->code = code;
}

static const struct h2_request_ops reply_ops = { on_head, on_body, on_ended };

/* Until nothing moves any more, on either side. */
static void talk(void)
{
    for (bool moved = true; moved;) {
        struct span p = h2_client_pending(h2);

        moved = p.len > 0;
        assert_int_equal(buf_append(&CLIENT->says, p), 0);
        h2_client_sent(h2, p.len);
        peer_step(CLIENT);
        run();
        moved |= CLIENT->got.len > 0;
        assert_int_equal(h2_client_feed(h2, buf_span(&CLIENT->got)), 0);
        buf_clear(&CLIENT->got);
    }
}

static void connect_with(const struct proxy_service_config *config)
{
    struct proxy_arrival a = { .listen_port = 443, .tls = true, .protocol = PROXY_HTTP2 };

    assert_true(ip_port_parse(span_from_str("100.64.0.7:5555"), &a.peer));
    start_with(config);
    client_connects_from(a);
    assert_int_equal(h2_client_new(&h2, scratch), 0);
    for (size_t i = 0; i < COUNT_OF(replies); i++) {
        memset(&replies[i], 0, sizeof(replies[i]));
        buf_init(&replies[i].body, 64 << 20);
    }
    talk();
}

static void connect_h2(void)
{
    struct proxy_service_config c = default_config();

    connect_with(&c);
}

static struct reply *ask_with(const char *method, const char *path, const struct h2_header *headers,
                              size_t count, struct span body)
{
    struct h2_request q = { .method = span_from_str(method),
                            .authority = span_from_str("web.test"),
                            .path = span_from_str(path),
                            .headers = headers,
                            .header_count = count,
                            .body = body };
    struct reply *r = replies;

    while (r->id)
        r++;
    assert_true(r < replies + COUNT_OF(replies));
    assert_int_equal(h2_client_request(h2, &q, &reply_ops, r, &r->id), 0);
    talk();
    return r;
}

static struct reply *ask(const char *method, const char *path)
{
    return ask_with(method, path, NULL, 0, SPAN_NONE);
}

static void up_says(int i, const char *text)
{
    says(UP(i), text);
    talk();
}

static int setup(void **state)
{
    h2 = NULL;
    way = (struct stream_pair_options) { 0 };
    return world_setup(state);
}

static int teardown(void **state)
{
    h2_client_free(h2);
    for (size_t i = 0; i < COUNT_OF(replies); i++)
        buf_deinit(&replies[i].body);
    return world_teardown(state);
}

/* ---- requests and responses --------------------------------------------------------- */

static void a_request_reaches_the_upstream_as_http1(void **state)
{
    struct reply *r;

    (void)state;
    connect_h2();
    r = ask("GET", "/x?y=z");
    assert_string_equal(heard(UP(0)), "GET /x?y=z HTTP/1.1\r\nhost: web.test\r\n" ADDED);
    up_says(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nConnection: X-Hop\r\n"
               "X-Hop: 1\r\nKeep-Alive: 5\r\n\r\nhi");
    assert_int_equal(r->status, 200);
    assert_string_equal(r->headers, "content-length: 2\ncontent-type: text/plain\n");
    assert_span_text(buf_span(&r->body), "hi");
    assert_int_equal(r->ends, 1);
    assert_int_equal(r->why, H2_END_DONE);
    assert_int_equal(proxy_service_counters(service)->requests[2], 1);
    assert_int_equal(proxy_service_counters(service)->bytes_out, 2);
    assert_int_equal(proxy_service_counters(service)->active, 0);
    assert_int_equal(proxy_service_counters(service)->open, 1);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 1);
}

static void requests_run_side_by_side_and_share_the_pool(void **state)
{
    struct reply *a, *b, *c;

    (void)state;
    connect_h2();
    a = ask("GET", "/a");
    b = ask("GET", "/b");
    assert_int_equal(dialled, 2);
    up_says(1, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb");
    assert_span_text(buf_span(&b->body), "b");
    assert_int_equal(a->ends, 0);
    c = ask("GET", "/c");
    assert_int_equal(dialled, 2);
    up_says(1, "HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nc");
    assert_int_equal(c->status, 404);
    up_says(0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    assert_span_text(buf_span(&a->body), "a");
    assert_int_equal(proxy_service_counters(service)->requests[2], 2);
    assert_int_equal(proxy_service_counters(service)->requests[4], 1);
}

static void pieces_of_a_cookie_become_one(void **state)
{
    const struct h2_header headers[] = {
        { span_from_str("cookie"), span_from_str("a=b") },
        { span_from_str("accept"), span_from_str("*/*") },
        { span_from_str("cookie"), span_from_str("c=d") },
    };

    (void)state;
    connect_h2();
    ask_with("GET", "/", headers, COUNT_OF(headers), SPAN_NONE);
    assert_non_null(strstr(heard(UP(0)), "host: web.test\r\naccept: */*\r\ncookie: a=b; c=d\r\n"));
}

static void forged_identity_does_not_pass(void **state)
{
    const struct h2_header headers[] = {
        { span_from_str("x-tailscale-user"), span_from_str("root") },
        { span_from_str("x_real_ip"), span_from_str("1.2.3.4") },
        { span_from_str("x-other"), span_from_str("1") },
    };

    (void)state;
    known = true;
    identity.login = span_from_str("alice@example.com");
    connect_h2();
    ask_with("GET", "/", headers, COUNT_OF(headers), SPAN_NONE);
    const char *got = heard(UP(0));
    assert_null(strstr(got, "root"));
    assert_null(strstr(got, "1.2.3.4"));
    assert_non_null(strstr(got, "x-other: 1\r\n"));
    assert_non_null(strstr(got, "X-Tailscale-User-LoginName: alice@example.com\r\n"));
}

static void a_body_with_a_length_keeps_it(void **state)
{
    struct reply *r;

    (void)state;
    connect_h2();
    r = ask_with("POST", "/", NULL, 0, span_from_str("hello"));
    const char *got = heard(UP(0));
    assert_non_null(strstr(got, "content-length: 5\r\n"));
    assert_string_equal(strstr(got, "\r\n\r\n"), "\r\n\r\nhello");
    up_says(0, OK);
    assert_int_equal(r->status, 200);
    assert_int_equal(proxy_service_counters(service)->bytes_in, 5);
}

static void chunked_responses_lose_their_chunks(void **state)
{
    struct reply *r;

    (void)state;
    connect_h2();
    r = ask("GET", "/");
    up_says(0, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    up_says(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_string_equal(r->headers, "");
    assert_span_text(buf_span(&r->body), "abc");
    assert_int_equal(r->ends, 0);
    up_says(0, "2\r\nde\r\n0\r\n\r\n");
    assert_span_text(buf_span(&r->body), "abcde");
    assert_int_equal(r->why, H2_END_DONE);
    assert_int_equal(r->ends, 1);
}

static void a_body_until_close_ends_with_the_upstreams_connection(void **state)
{
    struct reply *r;

    (void)state;
    connect_h2();
    r = ask("GET", "/");
    up_says(0, "HTTP/1.1 200 OK\r\n\r\nabc");
    assert_int_equal(r->ends, 0);
    peer_close(UP(0));
    talk();
    assert_span_text(buf_span(&r->body), "abc");
    assert_int_equal(r->why, H2_END_DONE);
    assert_false(CLIENT->ended);
}

static void responses_without_a_body_end_at_once(void **state)
{
    static const char *const answers[] = { "HTTP/1.1 204 No Content\r\n\r\n",
                                           "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
                                           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" };
    struct reply *r;

    (void)state;
    connect_h2();
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        r = ask("GET", "/");
        up_says(0, answers[i]);
        assert_int_equal(r->ends, 1);
        assert_int_equal(r->why, H2_END_DONE);
    }
    r = ask("HEAD", "/");
    up_says(0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    assert_int_equal(r->ends, 1);
    assert_string_equal(r->headers, "content-length: 10\n");
    assert_int_equal(dialled, 1);
}

static void answers_of_our_own_come_whole(void **state)
{
    static const char *const prefixes[] = { "/in" };
    struct proxy_service_config c = default_config();
    struct reply *r;

    (void)state;
    c.prefixes = prefixes;
    c.prefix_count = 1;
    connect_with(&c);
    r = ask("GET", "/out");
    assert_int_equal(r->status, 404);
    assert_span_text(buf_span(&r->body), "404 page not found\n");
    assert_string_equal(r->headers,
                        "content-type: text/plain; charset=utf-8\nx-content-type-options: nosniff\n"
                        "content-length: 19\n");
    r = ask("GET", "/in/../out");
    assert_int_equal(r->status, 301);
    assert_non_null(strstr(r->headers, "location: /out\n"));
    r = ask_with("POST", "/out", NULL, 0, span_from_str("body"));
    assert_int_equal(r->status, 404);
    assert_int_equal(r->why, H2_END_DONE);
    assert_int_equal(dialled, 0);
    assert_int_equal(proxy_service_counters(service)->refused, 2);
}

static void a_host_that_differs_from_the_authority_is_refused(void **state)
{
    const struct h2_header other = { span_from_str("host"), span_from_str("other.test") };
    const struct h2_header same = { span_from_str("host"), span_from_str("WEB.test") };

    (void)state;
    connect_h2();
    assert_int_equal(ask_with("GET", "/", &other, 1, SPAN_NONE)->status, 400);
    ask_with("GET", "/", &same, 1, SPAN_NONE);
    assert_int_equal(dialled, 1);
}

static void a_head_above_the_limit_is_431(void **state)
{
    struct proxy_service_config c = default_config();
    static char value[3000];
    struct h2_header h = { span_from_str("x-big"), { (uint8_t *)value, sizeof(value) } };

    (void)state;
    memset(value, 'v', sizeof(value));
    c.head_bytes_max = 2048;
    connect_with(&c);
    assert_int_equal(ask_with("GET", "/", &h, 1, SPAN_NONE)->status, 431);
    ask("GET", "/");
    assert_int_equal(dialled, 1);
}

/* ---- trouble ---------------------------------------------------------------------------- */

static void an_upstream_that_breaks_off_resets_its_stream_only(void **state)
{
    struct reply *a, *b;

    (void)state;
    connect_h2();
    a = ask("GET", "/a");
    b = ask("GET", "/b");
    up_says(0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    peer_close(UP(0));
    talk();
    assert_int_equal(a->ends, 1);
    assert_int_equal(a->why, H2_END_RESET);
    assert_span_text(buf_span(&a->body), "half");
    up_says(1, OK);
    assert_int_equal(b->why, H2_END_DONE);
}

static void an_upstream_that_is_not_there_is_502(void **state)
{
    (void)state;
    connect_h2();
    dial_error = -ECONNREFUSED;
    assert_int_equal(ask("GET", "/")->status, 502);
    assert_int_equal(proxy_service_counters(service)->proxy_errors, 1);
}

static void a_request_that_is_taken_back_cancels_its_upstream(void **state)
{
    struct reply *a, *b;

    (void)state;
    connect_h2();
    a = ask("GET", "/a");
    b = ask("GET", "/b");
    h2_client_cancel(h2, a->id);
    talk();
    assert_true(UP(0)->ended || UP(0)->broke);
    assert_int_equal(proxy_service_counters(service)->client_aborts, 1);
    assert_int_equal(proxy_service_counters(service)->active, 1);
    up_says(1, OK);
    assert_int_equal(b->why, H2_END_DONE);
}

static void a_client_that_leaves_takes_all_its_requests_along(void **state)
{
    (void)state;
    connect_h2();
    ask("GET", "/a");
    ask("GET", "/b");
    peer_close(CLIENT);
    run();
    assert_true(UP(0)->ended || UP(0)->broke);
    assert_true(UP(1)->ended || UP(1)->broke);
    assert_int_equal(proxy_service_counters(service)->client_aborts, 2);
    assert_int_equal(proxy_service_counters(service)->active, 0);
    assert_int_equal(proxy_shard_connections(shard), 0);
}

static void nonsense_ends_the_connection(void **state)
{
    (void)state;
    connect_h2();
    ask("GET", "/a");
    says(CLIENT, "this is no frame, but it is long enough to be read as one");
    assert_true(CLIENT->ended || CLIENT->broke);
    assert_int_equal(proxy_shard_connections(shard), 0);
    assert_int_equal(proxy_service_counters(service)->active, 0);
}

static void http2_is_counted_by_connections_requests_resets_and_reasons(void **state)
{
    (void)state;
    const struct proxy_h2_counters *n;
    struct reply *a;

    connect_h2();
    n = &proxy_service_counters(service)->h2;
    assert_int_equal(n->connections, 1);
    assert_int_equal(n->open, 1);
    ask("GET", "/a");
    up_says(0, OK);
    assert_int_equal(n->requests, 1);
    assert_int_equal(n->resets, 0);
    a = ask("GET", "/b");
    h2_client_cancel(h2, a->id);
    talk();
    assert_int_equal(n->requests, 2);
    assert_int_equal(n->resets, 1);
    says(CLIENT, "this is no frame, but it is long enough to be read as one");
    assert_int_equal(n->given_up[PROXY_H2_PROTOCOL], 1);
    assert_int_equal(n->given_up[PROXY_H2_RESETS], 0);
    assert_int_equal(n->open, 0);
    assert_int_equal(n->connections, 1);
}

static void bytes_are_frames_and_count_once(void **state)
{
    (void)state;
    uint64_t in = moved(ACCOUNT_IN), out = moved(ACCOUNT_OUT);

    connect_h2();
    ask_with("POST", "/x", NULL, 0, span_from_str("a body"));
    ask("GET", "/y");
    up_says(0, OK);
    up_says(1, OK);
    assert_int_equal(moved(ACCOUNT_IN) - in, stream_pair_written(CLIENT->pair, 0));
    assert_int_equal(moved(ACCOUNT_OUT) - out, stream_pair_written(CLIENT->pair, 1));
}

static void a_request_over_http1_is_none_of_http2(void **state)
{
    (void)state;
    const struct proxy_counters *n;

    start();
    says(CLIENT, "GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n");
    says(UP(0), OK);
    n = proxy_service_counters(service);
    assert_int_equal(n->requests[2], 1);
    assert_int_equal(n->h2.requests + n->h2.connections, 0);
}

/* ---- flow --------------------------------------------------------------------------------- */

#define LARGE ((size_t)16 << 20)

static void append_zeros(struct buf *b, size_t n)
{
    struct mspan room;

    assert_int_equal(buf_reserve(b, n, &room), 0);
    memset(room.data, 'z', n);
    buf_commit(b, n);
}

/* The client reads nothing of one response: its upstream is stopped, the other stream goes on, and when the
 * client reads again everything arrives. */
static void a_slow_reader_stops_its_own_upstream_and_nothing_else(void **state)
{
    struct reply *slow, *fast;

    (void)state;
    connect_h2();
    slow = ask("GET", "/slow");
    slow->keep = true;
    assert_int_equal(buf_append_str(&UP(0)->says, "HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\n"), 0);
    append_zeros(&UP(0)->says, LARGE);
    peer_step(UP(0));
    talk();
    assert_int_equal(slow->body.len, H2_WINDOW_BYTES);
    assert_true(UP(0)->says.len >
                LARGE - H2_WINDOW_BYTES - (1 << 20)); /* the rest is still with the upstream */
    for (int i = 0; i < 3; i++) {
        fast = ask("GET", "/fast");
        assert_int_equal(buf_append_str(&UP(1)->says, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"),
                         0);
        append_zeros(&UP(1)->says, 1 << 20);
        peer_step(UP(1));
        talk();
        assert_int_equal(fast->why, H2_END_DONE);
        assert_int_equal(fast->ends, 1);
        assert_int_equal(fast->body.len, 1 << 20);
    }
    slow->keep = false;
    h2_client_consumed(h2, slow->id, slow->body.len);
    talk();
    assert_int_equal(slow->body.len, LARGE);
    assert_int_equal(slow->why, H2_END_DONE);
}

/* The upstream takes nothing of one body: the client's window stops it, others go on, and then it goes on. */
static void a_slow_upstream_stops_its_own_client_stream_and_nothing_else(void **state)
{
    struct buf body;
    struct reply *slow, *fast;

    (void)state;
    connect_h2();
    refuse_connections = false;
    buf_init(&body, 8 << 20);
    append_zeros(&body, 3 << 20);
    slow = ask("GET", "/first"); /* so that the upstream's end exists */
    up_says(0, OK);
    buf_clear(&UP(0)->got);
    UP(0)->deaf = true;
    slow = ask_with("POST", "/slow", NULL, 0, buf_span(&body));
    fast = ask_with("POST", "/fast", NULL, 0, buf_span(&body));
    assert_int_equal(dialled, 2);
    assert_int_equal(UP(0)->got.len, 0);
    assert_true(UP(1)->got.len > 3u << 20);
    up_says(1, OK);
    assert_int_equal(fast->why, H2_END_DONE);
    UP(0)->deaf = false;
    peer_step(UP(0));
    talk();
    assert_true(UP(0)->got.len > 3u << 20);
    up_says(0, OK);
    assert_int_equal(slow->why, H2_END_DONE);
    buf_deinit(&body);
}

/* ---- frames by hand -------------------------------------------------------------------------- */

static void put_frame(uint8_t type, uint8_t flags, uint32_t stream, struct span payload)
{
    uint8_t head[9] = { (uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8), (uint8_t)payload.len, type,
                        flags };

    store_be32(head + 5, stream);
    assert_int_equal(buf_append(&CLIENT->says, SPAN_OF(head)), 0);
    assert_int_equal(buf_append(&CLIENT->says, payload), 0);
    peer_step(CLIENT);
    run();
}

/* Header block of literals; pairs until NULL. */
static void put_head(uint8_t flags, uint32_t stream, const char *const *pairs)
{
    struct buf b;

    buf_init(&b, 4096);
    assert_int_equal(buf_append_str(&b, "\x20"), 0);
    for (; *pairs; pairs += 2)
        assert_int_equal(buf_printf(&b, "%c%c%s%c%s", 0x10, (int)strlen(pairs[0]), pairs[0],
                                    (int)strlen(pairs[1]), pairs[1]),
                         0);
    put_frame(1, flags | 4, stream, buf_span(&b));
    buf_deinit(&b);
}

static void connect_by_hand(void)
{
    connect_h2();
    h2_client_free(h2);
    h2 = NULL;
}

/* Payload of the next frame of that type and stream; flags too. */
static struct span next_frame(uint8_t type, uint32_t stream, uint8_t *flags)
{
    static uint8_t copy[70000];

    run();
    while (CLIENT->got.len >= 9) {
        const uint8_t *at = buf_span(&CLIENT->got).data;
        size_t len = load_be32(at) >> 8;
        bool found = at[3] == type && load_be32(at + 5) == stream;

        assert_true(CLIENT->got.len >= 9 + len && len <= sizeof(copy));
        *flags = at[4];
        memcpy(copy, at + 9, len);
        buf_consume(&CLIENT->got, 9 + len);
        if (found)
            return span_make(copy, len);
    }
    fail_msg("no frame of type %u", type);
    return SPAN_NONE;
}

#define REQUEST(method, path) ":method", method, ":scheme", "https", ":authority", "web.test", ":path", path

/* A redirect of an upload that has only begun. */
static void answer_early(void)
{
    static const char *const head[] = { REQUEST("POST", "//x"), NULL };
    uint8_t flags;

    connect_by_hand();
    put_head(0, 1, head);
    next_frame(1, 1, &flags);
    next_frame(0, 1, &flags);
    assert_int_equal(flags, 1); /* END_STREAM */
}

/* curl 7.88 takes a reset for a failure, whatever its code, while it has not read the answer. */
static void an_upload_that_is_answered_early_may_come_to_its_end(void **state)
{
    static const char *const head[] = { REQUEST("GET", "//x"), NULL };
    uint8_t flags;

    (void)state;
    answer_early();
    put_frame(0, 0, 1, span_from_str("some"));
    put_frame(0, 1, 1, span_from_str("rest"));
    run();
    assert_true(CLIENT->got.len == 0 || buf_span(&CLIENT->got).data[3] == 8); /* at the most WINDOW_UPDATE */
    assert_int_equal(proxy_service_counters(service)->active, 0);
    put_head(1, 3, head);
    next_frame(1, 3, &flags);
}

static void an_upload_that_goes_on_after_its_answer_is_told_to_stop(void **state)
{
    static uint8_t chunk[16384];
    uint8_t flags;

    (void)state;
    answer_early();
    for (size_t sent = 0; sent <= LINGER_BYTES_MAX; sent += sizeof(chunk))
        put_frame(0, 0, 1, SPAN_OF(chunk));
    assert_int_equal(load_be32(next_frame(3, 1, &flags).data), 0); /* RST_STREAM, NO_ERROR */
}

/* Its connection ends while the rest of an upload is being thrown away. */
static void a_client_may_leave_after_an_early_answer(void **state)
{
    (void)state;
    answer_early();
    put_frame(0, 0, 1, span_from_str("some"));
    peer_close(CLIENT);
    run();
    assert_int_equal(proxy_service_counters(service)->open, 0);
    assert_int_equal(proxy_service_counters(service)->client_aborts, 0);
}

static void a_body_without_a_length_is_chunked_and_keeps_its_trailers(void **state)
{
    static const char *const head[] = { REQUEST("POST", "/"), "te", "trailers", NULL };
    static const char *const trailers[] = { "x-sum", "1", "x-real-ip", "6.6.6.6", NULL };

    (void)state;
    connect_by_hand();
    put_head(0, 1, head);
    put_frame(0, 0, 1, span_from_str("hello"));
    const char *got = heard(UP(0));
    assert_non_null(strstr(got, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(got, "TE: trailers\r\n"));
    assert_string_equal(strstr(got, "\r\n\r\n"), "\r\n\r\n5\r\nhello\r\n");
    put_head(1, 1, trailers);
    assert_string_equal(heard(UP(0)), "0\r\nx-sum: 1\r\n\r\n");
}

static void trailers_of_the_response_follow_its_body(void **state)
{
    static const char *const head[] = { REQUEST("GET", "/"), NULL };
    struct span f;
    uint8_t flags;

    (void)state;
    connect_by_hand();
    put_head(1, 1, head);
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n");
    next_frame(1, 1, &flags);
    assert_int_equal(flags, 4);
    f = next_frame(0, 1, &flags);
    assert_span_text(f, "hi");
    assert_int_equal(flags, 0);
    f = next_frame(1, 1, &flags);
    assert_int_equal(flags, 5); /* END_HEADERS, END_STREAM */
    assert_true(f.len > 0);
}

static void a_websocket_is_a_tunnel_both_ways(void **state)
{
    static const char *const head[] = { REQUEST("CONNECT", "/chat"), ":protocol", "websocket",
                                        "sec-websocket-version",     "13",        NULL };
    struct span f;
    uint8_t flags;

    (void)state;
    connect_by_hand();
    put_head(0, 1, head);
    const char *got = heard(UP(0));
    assert_non_null(strstr(got, "GET /chat HTTP/1.1\r\n"));
    assert_non_null(strstr(got, "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    assert_non_null(strstr(got, "Sec-WebSocket-Key: "));
    assert_non_null(strstr(got, "sec-websocket-version: 13\r\n"));
    says(UP(0),
         "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom up");
    f = next_frame(1, 1, &flags);
    assert_int_equal(f.data[f.len > 1 && f.data[0] == 0x20 ? 1 : 0], 0x88); /* :status 200 (RFC 7541 A) */
    assert_int_equal(flags, 4);
    assert_span_text(next_frame(0, 1, &flags), "from up");
    put_frame(0, 0, 1, span_from_str("from client"));
    assert_string_equal(heard(UP(0)), "from client");
    put_frame(0, 1, 1, span_from_str("bye")); /* END_STREAM */
    assert_string_equal(heard(UP(0)), "bye");
    assert_true(UP(0)->ended);
    says(UP(0), "last words");
    assert_span_text(next_frame(0, 1, &flags), "last words");
    peer_close(UP(0));
    next_frame(0, 1, &flags);
    assert_int_equal(flags, 1);
    assert_int_equal(proxy_service_counters(service)->active, 0);
    assert_int_equal(proxy_service_counters(service)->upgrades, 1);
}

/* A 200 would tell the browser that its socket is open (RFC 8441 5). */
static void a_websocket_that_the_upstream_does_not_open_is_no_200(void **state)
{
    static const char *const head[] = { REQUEST("CONNECT", "/chat"), ":protocol", "websocket",
                                        "sec-websocket-version",     "13",        NULL };
    struct span f;
    uint8_t flags;

    (void)state;
    connect_by_hand();
    put_head(0, 1, head);
    heard(UP(0));
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    f = next_frame(1, 1, &flags);
    assert_non_null(memmem(f.data, f.len, "\x6c\x02", 2)); /* "502" in Huffman's code (RFC 7541 B) */
    assert_int_equal(proxy_service_counters(service)->requests[5], 1);
}

static void connect_without_a_protocol_is_405(void **state)
{
    static const char *const head[] = { ":method", "CONNECT", ":authority", "web.test:22", NULL };
    uint8_t flags;
    struct span f;

    (void)state;
    connect_by_hand();
    put_head(0, 1, head);
    f = next_frame(1, 1, &flags);
    assert_non_null(memmem(f.data, f.len, "405", 3));
    assert_int_equal(dialled, 0);
}

/* Whoever did not agree on it is not served it. */
static void http2_is_not_guessed(void **state)
{
    (void)state;
    start();
    says(CLIENT, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 505 "));
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void a_drain_lets_requests_finish_and_takes_no_new_ones(void **state)
{
    struct reply *r;

    (void)state;
    connect_h2();
    r = ask("GET", "/");
    proxy_service_drain(service);
    talk();
    assert_true(h2_client_closing(h2));
    assert_false(drained);
    up_says(0, OK);
    assert_int_equal(r->why, H2_END_DONE);
    assert_span_text(buf_span(&r->body), "hi");
    run();
    assert_true(CLIENT->ended);
    assert_true(drained);
}

static void an_idle_connection_is_drained_at_once(void **state)
{
    (void)state;
    connect_h2();
    proxy_service_drain(service);
    talk();
    assert_true(CLIENT->ended);
    assert_true(drained);
}

static void an_idle_connection_is_closed_after_its_time(void **state)
{
    struct proxy_service_config c = default_config();

    (void)state;
    c.idle_timeout = MSEC;
    connect_with(&c);
    while (!CLIENT->ended) {
        assert_int_equal(ev_loop_turn(loop, 10 * MSEC), 0);
        talk();
    }
    assert_true(h2_client_closing(h2));
    assert_int_equal(proxy_shard_connections(shard), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_request_reaches_the_upstream_as_http1),
        T(requests_run_side_by_side_and_share_the_pool),
        T(pieces_of_a_cookie_become_one),
        T(forged_identity_does_not_pass),
        T(a_body_with_a_length_keeps_it),
        T(chunked_responses_lose_their_chunks),
        T(a_body_until_close_ends_with_the_upstreams_connection),
        T(responses_without_a_body_end_at_once),
        T(answers_of_our_own_come_whole),
        T(a_host_that_differs_from_the_authority_is_refused),
        T(a_head_above_the_limit_is_431),
        T(an_upstream_that_breaks_off_resets_its_stream_only),
        T(an_upstream_that_is_not_there_is_502),
        T(a_request_that_is_taken_back_cancels_its_upstream),
        T(a_client_that_leaves_takes_all_its_requests_along),
        T(nonsense_ends_the_connection),
        T(http2_is_counted_by_connections_requests_resets_and_reasons),
        T(bytes_are_frames_and_count_once),
        T(a_request_over_http1_is_none_of_http2),
        T(a_slow_reader_stops_its_own_upstream_and_nothing_else),
        T(a_slow_upstream_stops_its_own_client_stream_and_nothing_else),
        T(an_upload_that_is_answered_early_may_come_to_its_end),
        T(an_upload_that_goes_on_after_its_answer_is_told_to_stop),
        T(a_client_may_leave_after_an_early_answer),
        T(a_body_without_a_length_is_chunked_and_keeps_its_trailers),
        T(trailers_of_the_response_follow_its_body),
        T(a_websocket_is_a_tunnel_both_ways),
        T(a_websocket_that_the_upstream_does_not_open_is_no_200),
        T(connect_without_a_protocol_is_405),
        T(http2_is_not_guessed),
        T(a_drain_lets_requests_finish_and_takes_no_new_ones),
        T(an_idle_connection_is_drained_at_once),
        T(an_idle_connection_is_closed_after_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The access log: its two forms, what cannot break out of a line, what a line costs, and a reader that is
 * slow. */
#include "test_world.h"

#define GET "GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static char written[1 << 18];
static size_t written_len;
static int writer_says;

static int take_lines(struct span lines)
{
    if (writer_says)
        return writer_says;
    assert_true(lines.len <= LOG_TOGETHER_BYTES);
    assert_true(lines.data[lines.len - 1] == '\n');
    assert_true(written_len + lines.len < sizeof(written));
    memcpy(written + written_len, lines.data, lines.len);
    written_len += lines.len;
    written[written_len] = '\0';
    return 0;
}

static void start_logging(enum proxy_access_log form)
{
    struct proxy_service_config c = default_config();

    written_len = 0;
    written[0] = '\0';
    writer_says = 0;
    shard->access_log.write = take_lines;
    c.access_log = form;
    start_with(&c);
    client_connects();
}

static void one_request(const char *request)
{
    says(CLIENT, request);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
}

static size_t lines_written(void)
{
    size_t n = 0;

    for (size_t i = 0; i < written_len; i++)
        n += written[i] == '\n';
    return n;
}

/* Takes what must vary out of a line: the digits behind `key`, up to `end`. */
static void blank(const char *key, const char *end)
{
    char *at = strstr(written, key), *stop;

    assert_non_null(at);
    at += strlen(key);
    stop = at + strcspn(at, end);
    memmove(at + 1, stop, strlen(stop) + 1);
    *at = '*';
}

static void meet_alice(void)
{
    identity = (struct proxy_identity) { .user_id = 1,
                                         .login = span_from_str("alice@example.com"),
                                         .node_fqdn = span_from_str("laptop.tail.test.") };
    known = true;
}

static void text_has_the_fields_of_tsnsrv_and_ours_behind_them(void **state)
{
    (void)state;

    meet_alice();
    start_logging(PROXY_LOG_TEXT);
    one_request("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    blank("duration=", " ");
    blank("upstream_time=", "\n");
    assert_non_null(strstr(written,
                           " info web: served service=web original=/x rewritten=http://up.test:8080/x "
                           "origin_login=alice@example.com origin_node=laptop.tail.test. duration=* "
                           "http_status=200 method=GET bytes_in=0 bytes_out=2 client=100.64.0.7:5555 "
                           "upstream_time=*\n"));
}

static void json_is_one_object_a_line(void **state)
{
    (void)state;
    struct json *root;
    struct span s;
    int64_t n;

    meet_alice();
    start_logging(PROXY_LOG_JSON);
    one_request("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_int_equal(lines_written(), 1);
    assert_int_equal(json_parse(span_make(written, written_len - 1), 4096, &root), 0);
    assert_int_equal(json_get_string(root, "service", &s), JSON_GOT);
    assert_span_text(s, "web");
    assert_int_equal(json_get_string(root, "original", &s), JSON_GOT);
    assert_span_text(s, "/x");
    assert_int_equal(json_get_string(root, "origin_login", &s), JSON_GOT);
    assert_span_text(s, "alice@example.com");
    assert_int_equal(json_get_string(root, "method", &s), JSON_GOT);
    assert_span_text(s, "POST");
    assert_int_equal(json_get_i64(root, "http_status", &n), JSON_GOT);
    assert_int_equal(n, 200);
    assert_int_equal(json_get_i64(root, "bytes_in", &n), JSON_GOT);
    assert_int_equal(n, 3);
    assert_int_equal(json_get_i64(root, "bytes_out", &n), JSON_GOT);
    assert_int_equal(n, 2);
    assert_int_equal(json_get_string(root, "time", &s), JSON_GOT);
    assert_true(time_parse_rfc3339(s, &n));
    double ms;
    assert_int_equal(json_get_real(root, "duration_ms", &ms), JSON_GOT);
    assert_int_equal(json_get_real(root, "upstream_ms", &ms), JSON_GOT);
    json_free(root);
}

/* Names and paths of every kind of byte, in both forms: one line stays one line, one field one field. */
static void nothing_breaks_out_of_its_line(void **state)
{
    (void)state;

    for (int form = PROXY_LOG_TEXT; form <= PROXY_LOG_JSON; form++) {
        uint8_t every[255];

        for (size_t i = 0; i < sizeof(every); i++)
            every[i] = (uint8_t)(i + 1);
        meet_alice();
        identity.login = span_make(every, sizeof(every));
        identity.node_fqdn = span_from_str("a\" http_status=999 \\\xc3\xa4\xff\n{\"}");
        start_logging((enum proxy_access_log)form);
        one_request("GET /\"x\\=\xff\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_int_equal(lines_written(), 1);
        if (form == PROXY_LOG_TEXT) {
            assert_non_null(strstr(written, "original=\"/\\\"x\\\\=\\xff\\xc3\\xa4\""));
            assert_non_null(
                strstr(written, "origin_node=\"a\\\" http_status=999 \\\\\\xc3\\xa4\\xff\\x0a{\\\"}\""));
            for (size_t i = 0; i + 1 < written_len; i++)
                assert_true(written[i] >= ' ' && written[i] < 0x7f);
        } else {
            struct json *root;
            struct span s;

            assert_int_equal(json_parse(span_make(written, written_len - 1), 4096, &root), 0);
            assert_int_equal(json_get_string(root, "origin_node", &s), JSON_GOT);
            assert_span_text(s, "a\" http_status=999 \\\xc3\xa4\xc3\xbf\n{\"}");
            json_free(root);
        }
        world_teardown(state);
        world_setup(state);
    }
}

/* Halves of UTF-16's pairs, forms that are too long, what is beyond the last character; and a good one. */
static void json_is_always_utf8(void **state)
{
    static const char *const rows[][2] = {
        { "\xed\xa0\x80", "\"\\u00ed\\u00a0\\u0080\"" },
        { "\xc0\xaf", "\"\\u00c0\\u00af\"" },
        { "\xe0\x80\xaf", "\"\\u00e0\\u0080\\u00af\"" },
        { "\xf0\x80\x80\xaf", "\"\\u00f0\\u0080\\u0080\\u00af\"" },
        { "\xf4\x90\x80\x80", "\"\\u00f4\\u0090\\u0080\\u0080\"" },
        { "\xed\x9f\xbf", "\"\xed\x9f\xbf\"" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        meet_alice();
        identity.login = span_from_str(rows[i][0]);
        start_logging(PROXY_LOG_JSON);
        one_request(GET);
        assert_non_null(strstr(written, rows[i][1]));
        world_teardown(state);
        world_setup(state);
    }
}

static void a_long_line_is_cut_and_stays_whole(void **state)
{
    (void)state;
    static char request[20000];

    for (int form = PROXY_LOG_TEXT; form <= PROXY_LOG_JSON; form++) {
        int n = snprintf(request, sizeof(request), "GET /");

        memset(request + n, form == PROXY_LOG_TEXT ? '"' : '\\', 10000);
        snprintf(request + n + 10000, 100, " HTTP/1.1\r\nHost: a\r\n\r\n");
        start_logging((enum proxy_access_log)form);
        one_request(request);
        assert_int_equal(lines_written(), 1);
        assert_true(written_len > 1000 && written_len < LOG_TOGETHER_BYTES);
        assert_non_null(
            strstr(written, form == PROXY_LOG_TEXT ? " http_status=200 " : "\"http_status\":200,"));
        world_teardown(state);
        world_setup(state);
    }
}

static void refused_and_malformed_requests_have_their_line(void **state)
{
    (void)state;

    start_logging(PROXY_LOG_TEXT);
    says(CLIENT, "BAD\r\n\r\n");
    assert_int_equal(lines_written(), 1);
    assert_non_null(strstr(written, " http_status=400 method=OTHER "));
    assert_non_null(strstr(written, " error=\"malformed start line\"\n"));
}

static void off_is_off(void **state)
{
    (void)state;

    written_len = 0;
    shard->access_log.write = take_lines;
    start();
    one_request(GET);
    assert_int_equal(written_len, 0);
    assert_int_equal(proxy_service_counters(service)->requests[2], 1);
}

/* ---- cost ------------------------------------------------------------------------------------- */

static size_t allocations;

#if defined(__SANITIZE_ADDRESS__)
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void count(const volatile void *p, size_t n)
{
    (void)p;
    (void)n;
    allocations++;
}

static void ignore(const volatile void *p)
{
    (void)p;
}

static void count_allocations(void)
{
    assert_true(__sanitizer_install_malloc_and_free_hooks(count, ignore) > 0);
}
#else
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}

static void count_allocations(void)
{
}
#endif

static size_t cost_of(enum proxy_access_log form, int requests)
{
    void *state = NULL;
    size_t before;

    meet_alice();
    start_logging(form);
    for (int i = 0; i < 3; i++) /* what is kept for the next request is there now */
        one_request(GET);
    before = allocations;
    for (int i = 0; i < requests; i++)
        one_request(GET);
    before = allocations - before;
    assert_int_equal(lines_written(), form == PROXY_LOG_OFF ? 0 : 3 + requests);
    world_teardown(&state);
    world_setup(&state);
    return before;
}

static void a_line_allocates_nothing(void **state)
{
    (void)state;
    size_t off;

    count_allocations();
    off = cost_of(PROXY_LOG_OFF, 20);
    assert_true(allocations > 0); /* they are counted at all */
    assert_int_equal(cost_of(PROXY_LOG_TEXT, 20), off);
    assert_int_equal(cost_of(PROXY_LOG_JSON, 20), off);
}

/* ---- a reader that is slow --------------------------------------------------------------------- */

static void a_slow_reader_costs_lines_and_never_a_request(void **state)
{
    (void)state;
    const struct proxy_counters *n;
    size_t kept;

    start_logging(PROXY_LOG_JSON);
    n = proxy_service_counters(service);
    writer_says = -EAGAIN;
    for (int i = 0; i < 600; i++)
        one_request(GET);
    assert_int_equal(n->requests[2], 600);
    assert_true(n->log_lines_dropped > 0);
    assert_true(shard->access_log.lines.len <= ACCESS_LOG_BYTES_MAX);
    kept = 600 - n->log_lines_dropped;
    writer_says = 0;
    for (int i = 0; i < 2000 && shard->access_log.lines.len; i++) {
        assert_int_equal(ev_loop_turn(loop, MSEC), 0); /* until its next try */
        run();
    }
    assert_int_equal(lines_written(), kept);
    assert_int_equal(shard->access_log.dropped, 0); /* it was said */
    one_request(GET);
    assert_int_equal(lines_written(), kept + 1);
}

/* Lines that wait for their turn when the shard ends are written then. */
static void the_last_lines_are_written_at_the_end(void **state)
{
    start_logging(PROXY_LOG_TEXT);
    writer_says = -EAGAIN;
    one_request(GET);
    assert_int_equal(lines_written(), 0);
    writer_says = 0;
    world_teardown(state);
    assert_int_equal(lines_written(), 1);
    world_setup(state);
}

static void nobody_to_write_to_is_no_reason_to_keep_lines(void **state)
{
    (void)state;

    start_logging(PROXY_LOG_TEXT);
    writer_says = -EPIPE;
    one_request(GET);
    assert_int_equal(shard->access_log.lines.len, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(text_has_the_fields_of_tsnsrv_and_ours_behind_them),
        T(json_is_one_object_a_line),
        T(nothing_breaks_out_of_its_line),
        T(json_is_always_utf8),
        T(a_long_line_is_cut_and_stays_whole),
        T(refused_and_malformed_requests_have_their_line),
        T(off_is_off),
        T(a_line_allocates_nothing),
        T(a_slow_reader_costs_lines_and_never_a_request),
        T(the_last_lines_are_written_at_the_end),
        T(nobody_to_write_to_is_no_reason_to_keep_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

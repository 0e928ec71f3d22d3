#include "check.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/test_h2_frames.h"

/* The server's side is written by hand, frame by frame (RFC 9113, 4.1), so that nghttp2 never talks to
 * itself; only the request's HPACK block is read with its decoder. */

/* RFC 7541: a table size update to 0, as our SETTINGS ask (6.3), then static entry 8 or 13 (appendix A). */
#define STATUS_200 "\x20\x88"
#define STATUS_404 "\x20\x8d"

struct seen {
    struct buf body;
    int status, heads, ends;
    size_t headers;
    char first_name[64], first_value[64];
    enum h2_end why;
    uint32_t code;
    bool keep_bytes; /* do not report bytes as consumed */
    bool cancel_in_head, cancel_in_body;
    struct h2_client *client;
};

static void on_head(void *ctx, uint32_t id, int status, const struct h2_header *headers, size_t count)
{
    struct seen *s = ctx;

    assert_int_equal(s->ends, 0);
    s->status = status;
    s->heads++;
    s->headers = count;
    if (count) {
        assert_true(text_copy(s->first_name, sizeof(s->first_name), headers[0].name));
        assert_true(text_copy(s->first_value, sizeof(s->first_value), headers[0].value));
    }
    if (s->cancel_in_head)
        h2_client_cancel(s->client, id);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct seen *s = ctx;

    assert_int_equal(s->ends, 0);
    assert_int_equal(s->heads, 1);
    assert_int_equal(buf_append(&s->body, bytes), 0);
    if (!s->keep_bytes)
        h2_client_consumed(s->client, id, bytes.len);
    if (s->cancel_in_body)
        h2_client_cancel(s->client, id);
}

static void on_ended(void *ctx, uint32_t id, enum h2_end why, uint32_t code)
{
    struct seen *s = ctx;

    (void)id;
    s->ends++;
    s->why = why;
    s->code = code;
}

static const struct h2_request_ops ops = { on_head, on_body, on_ended };

static struct h2_client *client;
static uint8_t scratch[H2_SCRATCH_BYTES];
static struct buf wire; /* what the client sent */
static struct seen seen[3];

static int setup(void **state)
{
    (void)state;
    memset(seen, 0, sizeof(seen));
    assert_int_equal(h2_client_new(&client, scratch), 0);
    buf_init(&wire, 32 << 20);
    for (size_t i = 0; i < COUNT_OF(seen); i++) {
        buf_init(&seen[i].body, 32 << 20);
        seen[i].client = client;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2_client_free(client);
    buf_deinit(&wire);
    for (size_t i = 0; i < COUNT_OF(seen); i++)
        buf_deinit(&seen[i].body);
    return 0;
}

/* Everything the client has to say, until it falls silent. */
static void take(void)
{
    struct span p;

    memset(scratch, 0xaa, sizeof(scratch)); /* another client of the thread used it meanwhile */
    while ((p = h2_client_pending(client)).len) {
        size_t n = MIN(p.len, (size_t)1000); /* a slow stream */

        assert_int_equal(buf_append(&wire, span_make(p.data, n)), 0);
        h2_client_sent(client, n);
        memset(scratch, 0xaa, sizeof(scratch));
    }
}

/* Next frame of the client's bytes. Its payload lives until the next one. */
static bool next_frame(struct frame *f)
{
    take();
    return pop_frame(&wire, f);
}

static bool next_frame_of(uint8_t type, struct frame *f)
{
    while (next_frame(f))
        if (f->type == type)
            return true;
    return false;
}

static int feed_frame(uint8_t type, uint8_t flags, uint32_t stream, struct span payload)
{
    struct buf b;
    int r;

    buf_init(&b, 1 << 20);
    put_frame(&b, type, flags, stream, payload);
    r = h2_client_feed(client, buf_span(&b));
    memset(scratch, 0xaa, sizeof(scratch));
    buf_deinit(&b);
    return r;
}

static int feed_text(uint8_t type, uint8_t flags, uint32_t stream, const char *payload)
{
    return feed_frame(type, flags, stream, span_from_str(payload));
}

static void greet(void)
{
    assert_int_equal(feed_text(SETTINGS, 0, 0, ""), 0);
    assert_int_equal(feed_text(SETTINGS, ACK, 0, ""), 0);
    take();
    buf_clear(&wire);
}

static uint32_t start(struct seen *s, const char *body)
{
    struct h2_request q = { .method = span_from_str(*body ? "POST" : "GET"),
                            .authority = span_from_str("control.test"),
                            .path = span_from_str("/machine/map"),
                            .body = span_from_str(body) };
    uint32_t id = 0;

    assert_int_equal(h2_client_request(client, &q, &ops, s, &id), 0);
    memset(scratch, 0xaa, sizeof(scratch));
    assert_int_not_equal(id, 0);
    return id;
}

/* ---- tests --------------------------------------------------------------------- */

static void opens_with_preface_settings_and_a_big_window(void **state)
{
    (void)state;
    struct frame f;
    uint32_t window = 0, table = 1, push = 1;

    take();
    assert_memory_equal(buf_span(&wire).data, PREFACE, 24);
    assert_true(next_frame(&f));
    assert_int_equal(f.type, SETTINGS);
    for (size_t i = 0; i + 6 <= f.payload.len; i += 6) {
        uint16_t key = load_be16(f.payload.data + i);
        uint32_t value = load_be32(f.payload.data + i + 2);

        table = key == 1 ? value : table;
        push = key == 2 ? value : push;
        window = key == 4 ? value : window;
    }
    assert_int_equal(table, 0);
    assert_int_equal(push, 0);
    assert_int_equal(window, H2_WINDOW_BYTES);
    assert_true(next_frame(&f));
    assert_int_equal(f.type, WINDOW_UPDATE);
    assert_int_equal(f.stream, 0);
    assert_int_equal(load_be32(f.payload.data), H2_WINDOW_TOTAL_BYTES - 65535); /* RFC 9113, 6.9.2 */
    assert_false(next_frame(&f));
}

static void check_header(nghttp2_hd_inflater *in, struct span *block, const char *name, const char *value)
{
    nghttp2_nv nv;
    int flags = 0;
    ssize_t n;

    do {
        n = nghttp2_hd_inflate_hd2(in, &nv, &flags, block->data, block->len, 1);
        assert_true(n >= 0);
        *block = span_slice(*block, (size_t)n, block->len);
    } while (!(flags & NGHTTP2_HD_INFLATE_EMIT) && block->len);
    assert_true(flags & NGHTTP2_HD_INFLATE_EMIT);
    assert_span_text(span_make(nv.name, nv.namelen), name);
    assert_span_text(span_make(nv.value, nv.valuelen), value);
}

static void repeated_headers_keep_their_order(void **state)
{
    (void)state;
    const struct h2_header headers[] = {
        { span_from_str("ts-lb"), span_from_str("nodekey:old") },
        { span_from_str("ts-lb"), span_from_str("nodekey:new") },
    };
    struct h2_request q = {
        span_from_str("POST"), span_from_str("c.test"), span_from_str("/machine/register"), headers, 2,
        span_from_str("{}")
    };
    nghttp2_hd_inflater *in;
    struct frame f;
    uint32_t id;

    greet();
    assert_int_equal(h2_client_request(client, &q, &ops, &seen[0], &id), 0);
    assert_true(next_frame(&f));
    assert_int_equal(f.type, HEADERS);
    assert_int_equal(f.stream, id);
    assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
    check_header(in, &f.payload, ":method", "POST");
    check_header(in, &f.payload, ":scheme", "https");
    check_header(in, &f.payload, ":authority", "c.test");
    check_header(in, &f.payload, ":path", "/machine/register");
    check_header(in, &f.payload, "ts-lb", "nodekey:old");
    check_header(in, &f.payload, "ts-lb", "nodekey:new");
    check_header(in, &f.payload, "content-length", "2");
    assert_int_equal(f.payload.len, 0);
    nghttp2_hd_inflate_del(in);
    assert_true(next_frame(&f));
    assert_int_equal(f.type, DATA);
    assert_int_equal(f.flags, END_STREAM);
    assert_span_text(f.payload, "{}");
}

static void a_response_arrives_whole_at_every_split(void **state)
{
    struct buf b;

    buf_init(&b, 4096);
    put_frame(&b, HEADERS, END_HEADERS, 1,
              span_from_str("\x20\x08\x03"
                            "103"));
    put_frame(&b, HEADERS, 0, 1,
              span_from_str(STATUS_200 "\x10\x0b"
                                       "retry-"));
    put_frame(&b, CONTINUATION, END_HEADERS, 1,
              span_from_str("after\x01"
                            "7"));
    put_frame(&b, DATA, 0, 1, span_from_str("hello"));
    put_frame(&b, DATA, 0, 1, span_from_str("!"));
    put_frame(&b, HEADERS, END_STREAM | END_HEADERS, 1, span_from_str("\x10\x03x-t\x01y"));
    for (size_t split = 0; split <= b.len; split++) {
        teardown(state);
        setup(state);
        greet();
        assert_int_equal(start(&seen[0], ""), 1);
        assert_int_equal(h2_client_feed(client, span_slice(buf_span(&b), 0, split)), 0);
        assert_int_equal(h2_client_feed(client, span_slice(buf_span(&b), split, b.len)), 0);
        assert_int_equal(seen[0].status, 200);
        assert_int_equal(seen[0].heads, 1);
        assert_int_equal(seen[0].headers, 1);
        assert_string_equal(seen[0].first_name, "retry-after");
        assert_string_equal(seen[0].first_value, "7");
        assert_span_text(buf_span(&seen[0].body), "hello!");
        assert_int_equal(seen[0].ends, 1);
        assert_int_equal(seen[0].why, H2_END_DONE);
        assert_int_equal(h2_client_running(client), 0);
    }
    buf_deinit(&b);
}

static void answer(uint32_t id, const char *status, const char *body)
{
    assert_int_equal(feed_text(HEADERS, END_HEADERS, id, status), 0);
    assert_int_equal(feed_text(DATA, END_STREAM, id, body), 0);
}

static void requests_run_side_by_side(void **state)
{
    (void)state;
    uint32_t a, b, c;

    greet();
    a = start(&seen[0], "");
    b = start(&seen[1], "body");
    c = start(&seen[2], "");
    assert_int_equal(h2_client_running(client), 3);
    answer(c, STATUS_404, "no");
    answer(b, STATUS_200, "b");
    answer(a, STATUS_200, "a");
    assert_int_equal(seen[2].status, 404);
    assert_int_equal(seen[0].ends + seen[1].ends + seen[2].ends, 3);
    assert_span_text(buf_span(&seen[1].body), "b");
}

static void body_obeys_the_servers_window(void **state)
{
    (void)state;
    size_t len = 200000, got = 0;
    char *body = malloc(len + 1);
    uint8_t more[4];
    struct frame f;
    uint32_t id;

    memset(body, 'x', len);
    body[len] = '\0';
    greet();
    id = start(&seen[0], body);
    free(body);
    while (next_frame_of(DATA, &f))
        got += f.payload.len;
    assert_int_equal(got, 65535);
    store_be32(more, 1 << 20);
    assert_int_equal(feed_frame(WINDOW_UPDATE, 0, 0, SPAN_OF(more)), 0);
    assert_int_equal(feed_frame(WINDOW_UPDATE, 0, id, SPAN_OF(more)), 0);
    while (next_frame_of(DATA, &f))
        got += f.payload.len;
    assert_int_equal(got, len);
    assert_int_equal(f.flags & END_STREAM, END_STREAM);
}

/* The client must not hold a whole body in its output while the stream is slow. */
static void pending_stays_small_while_the_stream_is_slow(void **state)
{
    (void)state;
    char *body = calloc(1, (1 << 20) + 1);
    uint8_t more[4];

    memset(body, 'x', 1 << 20);
    greet();
    store_be32(more, 16 << 20);
    assert_int_equal(feed_frame(WINDOW_UPDATE, 0, 0, SPAN_OF(more)), 0);
    assert_int_equal(feed_frame(SETTINGS, 0, 0, span_make("\0\4\x10\0\0\0", 6)), 0);
    start(&seen[0], body);
    assert_true(h2_client_pending(client).len < 100000);
    take();
    assert_true(wire.len > 1 << 20);
    free(body);
}

static uint32_t given_back(uint32_t stream)
{
    struct frame f;
    uint32_t sum = 0;

    while (next_frame_of(WINDOW_UPDATE, &f))
        if (f.stream == stream)
            sum += load_be32(f.payload.data);
    return sum;
}

static void feed_body(uint32_t id, size_t total)
{
    static uint8_t zeros[16384];

    for (size_t at = 0; at < total; at += sizeof(zeros))
        assert_int_equal(feed_frame(DATA, 0, id, span_make(zeros, MIN(sizeof(zeros), total - at))), 0);
}

static void windows_are_given_back_only_as_bytes_are_taken(void **state)
{
    (void)state;
    size_t total = 3 << 20;
    uint32_t id;

    greet();
    seen[0].keep_bytes = true;
    id = start(&seen[0], "");
    take();
    buf_clear(&wire);
    assert_int_equal(feed_text(HEADERS, END_HEADERS, id, STATUS_200), 0);
    feed_body(id, total);
    assert_int_equal(given_back(id), 0);
    h2_client_consumed(client, id, total);
    assert_int_equal(given_back(id), total);
    feed_body(id, total); /* would break the window otherwise */
    assert_int_equal(seen[0].ends, 0);
}

static void endless_stream_never_stalls(void **state)
{
    (void)state;
    uint32_t id;

    greet();
    id = start(&seen[0], "");
    assert_int_equal(feed_text(HEADERS, END_HEADERS, id, STATUS_200), 0);
    for (int i = 0; i < 30; i++) {
        feed_body(id, 1 << 20);
        buf_clear(&seen[0].body);
        take();
        buf_clear(&wire);
    }
    assert_int_equal(seen[0].ends, 0);
}

static void bytes_of_a_cancelled_request_do_not_eat_the_connection_window(void **state)
{
    (void)state;
    size_t total = 5 << 20;
    struct frame f;
    uint32_t id;

    greet();
    seen[0].keep_bytes = true;
    id = start(&seen[0], "");
    take();
    buf_clear(&wire);
    assert_int_equal(feed_text(HEADERS, END_HEADERS, id, STATUS_200), 0);
    feed_body(id, 3 << 20);
    h2_client_cancel(client, id);
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_END_CANCELLED);
    assert_true(next_frame_of(RST_STREAM, &f));
    assert_int_equal(load_be32(f.payload.data), 8); /* CANCEL */
    h2_client_consumed(client, id, 3 << 20);        /* too late is harmless */
    for (int i = 0; i < 2; i++) {                   /* on the wire before our RST_STREAM came there */
        id = start(&seen[1 + i], "");
        assert_int_equal(feed_text(HEADERS, END_HEADERS, id, STATUS_200), 0);
        feed_body(id, total - (2 << 20));
        h2_client_cancel(client, id);
        take();
    }
    assert_false(h2_client_closing(client));
}

static void cancelling_inside_a_callback_is_safe(void **state)
{
    (void)state;
    uint32_t id;

    greet();
    seen[0].cancel_in_head = seen[1].cancel_in_body = true;
    id = start(&seen[0], "");
    answer(id, STATUS_200, "late");
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].body.len, 0);
    id = start(&seen[1], "");
    answer(id, STATUS_200, "late");
    assert_int_equal(seen[1].ends, 1);
    assert_int_equal(seen[1].why, H2_END_CANCELLED);
}

static void a_reset_before_the_end_is_no_success(void **state)
{
    (void)state;
    uint32_t id;

    greet();
    id = start(&seen[0], "");
    assert_int_equal(feed_text(HEADERS, END_HEADERS, id, STATUS_200), 0);
    assert_int_equal(feed_frame(RST_STREAM, 0, id, span_make("\0\0\0\0", 4)), 0);
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_END_RESET);
    id = start(&seen[1], "");
    assert_int_equal(feed_frame(RST_STREAM, 0, id, span_make("\0\0\0\7", 4)), 0);
    assert_int_equal(seen[1].why, H2_END_REFUSED);
}

static void goaway_refuses_the_unprocessed_and_lets_the_rest_finish(void **state)
{
    (void)state;
    struct h2_request q = { .method = span_from_str("GET"),
                            .authority = span_from_str("c"),
                            .path = span_from_str("/") };
    uint32_t a, b, id;

    greet();
    a = start(&seen[0], "");
    b = start(&seen[1], "");
    assert_int_equal(b, 3);
    assert_int_equal(feed_frame(GOAWAY, 0, 0, span_make("\0\0\0\1\0\0\0\0", 8)), 0);
    assert_int_equal(seen[1].why, H2_END_REFUSED);
    assert_true(h2_client_closing(client));
    assert_int_equal(h2_client_request(client, &q, &ops, &seen[2], &id), H2_E_CLOSED);
    answer(a, STATUS_200, "fine");
    assert_int_equal(seen[0].why, H2_END_DONE);
    assert_int_equal(h2_client_running(client), 0);
}

static void requests_beyond_the_servers_limit_wait(void **state)
{
    (void)state;
    struct frame f;
    uint32_t a, b;

    greet();
    assert_int_equal(feed_frame(SETTINGS, 0, 0, span_make("\0\3\0\0\0\1", 6)),
                     0); /* MAX_CONCURRENT_STREAMS 1 */
    a = start(&seen[0], "");
    b = start(&seen[1], "");
    assert_true(next_frame_of(HEADERS, &f));
    assert_int_equal(f.stream, a);
    assert_false(next_frame_of(HEADERS, &f));
    answer(a, STATUS_200, "");
    assert_true(next_frame_of(HEADERS, &f));
    assert_int_equal(f.stream, b);
    answer(b, STATUS_200, "");
    assert_int_equal(seen[1].why, H2_END_DONE);
}

static void a_waiting_request_can_be_cancelled_or_refused(void **state)
{
    (void)state;
    struct frame f;
    uint32_t a, b;

    greet();
    assert_int_equal(feed_frame(SETTINGS, 0, 0, span_make("\0\3\0\0\0\1", 6)), 0);
    a = start(&seen[0], "");
    b = start(&seen[1], "");
    start(&seen[2], "");
    h2_client_cancel(client, b);
    assert_int_equal(seen[1].ends, 1);
    assert_int_equal(feed_frame(GOAWAY, 0, 0, span_make("\0\0\0\1\0\0\0\0", 8)), 0);
    answer(a, STATUS_200, "");
    take();
    assert_int_equal(seen[2].ends, 1);
    assert_int_equal(seen[2].why, H2_END_REFUSED);
    assert_true(next_frame_of(HEADERS, &f));
    assert_false(next_frame_of(HEADERS, &f));
}

static void pings_are_answered(void **state)
{
    (void)state;
    struct frame f;

    greet();
    assert_int_equal(feed_text(PING, 0, 0, "12345678"), 0);
    assert_true(next_frame(&f));
    assert_int_equal(f.type, PING);
    assert_int_equal(f.flags, ACK);
    assert_span_text(f.payload, "12345678");
}

/* It asks and asks, and never reads what we answer. */
static void a_flood_of_pings_ends_the_connection(void **state)
{
    (void)state;
    int r = 0, i;

    greet();
    for (i = 0; i < 100000 && !r; i++)
        r = feed_text(PING, 0, 0, "12345678");
    assert_int_equal(r, H2_E_PROTOCOL);
    assert_true(h2_client_pending(client).len <= H2_PENDING_BYTES_MAX);
}

static void nonsense_ends_the_connection_with_a_goaway(void **state)
{
    (void)state;
    struct frame f;

    greet();
    start(&seen[0], "");
    assert_int_equal(feed_frame(WINDOW_UPDATE, 0, 0, span_make("\0\0\0\0", 4)), H2_E_PROTOCOL);
    assert_int_equal(seen[0].why, H2_END_LOST);
    assert_true(next_frame_of(GOAWAY, &f));
    assert_int_equal(h2_client_feed(client, span_from_str("x")), H2_E_PROTOCOL);
    assert_true(h2_client_closing(client));
}

static void an_http1_answer_ends_the_connection(void **state)
{
    (void)state;

    start(&seen[0], "");
    assert_int_equal(h2_client_feed(client, span_from_str("HTTP/1.1 400 Bad Request\r\n\r\n")),
                     H2_E_PROTOCOL);
    assert_int_equal(seen[0].why, H2_END_LOST);
}

static void an_oversize_head_costs_only_its_request(void **state)
{
    (void)state;
    uint8_t block[2 + 5 * (H2_HEADERS_MAX + 1)] = { 0x20, 0x88 };
    uint32_t a, b;
    size_t at = 2;

    greet();
    a = start(&seen[0], "");
    b = start(&seen[1], "");
    for (int i = 0; i <= H2_HEADERS_MAX; i++) { /* "a: b", literal never indexed */
        memcpy(block + at,
               "\x10\x01"
               "a\x01"
               "b",
               5);
        at += 5;
    }
    assert_int_equal(feed_frame(HEADERS, END_HEADERS, a, span_make(block, at)), 0);
    assert_int_equal(seen[0].why, H2_END_TOO_BIG);
    assert_int_equal(seen[0].heads, 0);
    answer(b, STATUS_200, "ok");
    assert_int_equal(seen[1].why, H2_END_DONE);
}

static void limits_of_the_owner_are_outcomes(void **state)
{
    (void)state;
    struct h2_request q = { .method = span_from_str("GET"),
                            .authority = span_from_str("c"),
                            .path = span_from_str("/") };
    uint32_t id;

    greet();
    q.header_count = H2_HEADERS_MAX + 1;
    assert_int_equal(h2_client_request(client, &q, &ops, &seen[0], &id), H2_E_TOO_BIG);
    q.header_count = 0;
    q.body = span_make("x", H2_REQUEST_BODY_BYTES_MAX + 1);
    assert_int_equal(h2_client_request(client, &q, &ops, &seen[0], &id), H2_E_TOO_BIG);
    for (int i = 0; i < H2_REQUESTS_MAX; i++)
        start(&seen[0], "");
    q.body = SPAN_NONE;
    assert_int_equal(h2_client_request(client, &q, &ops, &seen[0], &id), H2_E_FULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(opens_with_preface_settings_and_a_big_window),
        T(repeated_headers_keep_their_order),
        T(a_response_arrives_whole_at_every_split),
        T(requests_run_side_by_side),
        T(body_obeys_the_servers_window),
        T(pending_stays_small_while_the_stream_is_slow),
        T(windows_are_given_back_only_as_bytes_are_taken),
        T(endless_stream_never_stalls),
        T(bytes_of_a_cancelled_request_do_not_eat_the_connection_window),
        T(cancelling_inside_a_callback_is_safe),
        T(a_reset_before_the_end_is_no_success),
        T(goaway_refuses_the_unprocessed_and_lets_the_rest_finish),
        T(requests_beyond_the_servers_limit_wait),
        T(a_waiting_request_can_be_cancelled_or_refused),
        T(pings_are_answered),
        T(a_flood_of_pings_ends_the_connection),
        T(nonsense_ends_the_connection_with_a_goaway),
        T(an_http1_answer_ends_the_connection),
        T(an_oversize_head_costs_only_its_request),
        T(limits_of_the_owner_are_outcomes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

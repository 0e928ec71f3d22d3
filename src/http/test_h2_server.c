#include "check.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/test_h2_frames.h"

/* The client's side is written by hand, frame by frame (RFC 9113, 4.1), with header blocks of plain literals
 * (RFC 7541, 6.2.2), so that nghttp2 never talks to itself; only responses are read with its decoder. */

#define STREAMS 512

struct seen {
    char method[16], path[64], authority[64], protocol[32], first_name[64], first_value[128];
    size_t headers, body, trailers, requests, body_ends, writables, ends;
    bool bodiless, too_big;
    enum h2_server_end why;
    uint32_t code;
};

static struct h2_server *server;
static uint8_t scratch[H2_SCRATCH_BYTES];
static struct buf wire; /* what the server sent */
static struct seen seen[STREAMS];
static uint32_t order[STREAMS]; /* of `writable` */
static size_t writables;
static bool keep_bytes, answer_at_once;
static time_ns now;
static nghttp2_hd_inflater *inflater;

static struct seen *of(uint32_t id)
{
    assert_true(id / 2 < STREAMS);
    return &seen[id / 2];
}

static void on_request(void *ctx, const struct h2_server_request *q)
{
    struct seen *s = of(q->id);
    const struct h2_header type = { span_from_str("content-type"), span_from_str("text/plain") };

    (void)ctx;
    s->requests++;
    assert_true(text_copy(s->method, sizeof(s->method), q->method));
    assert_true(text_copy(s->path, sizeof(s->path), q->path));
    assert_true(text_copy(s->authority, sizeof(s->authority), q->authority));
    assert_true(text_copy(s->protocol, sizeof(s->protocol), q->protocol));
    s->headers = q->header_count;
    s->bodiless = q->bodiless;
    s->too_big = q->too_big;
    if (q->header_count) {
        assert_true(text_copy(s->first_name, sizeof(s->first_name), q->headers[0].name));
        assert_true(text_copy(s->first_value, sizeof(s->first_value), q->headers[0].value));
    }
    if (answer_at_once)
        assert_int_equal(h2_server_answer(server, q->id, 200, &type, 1, span_from_str("hello")), 0);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    (void)ctx;
    assert_int_equal(of(id)->ends, 0);
    of(id)->body += bytes.len;
    if (!keep_bytes)
        h2_server_consumed(server, id, bytes.len);
}

static void on_body_end(void *ctx, uint32_t id, const struct h2_header *trailers, size_t count)
{
    (void)ctx;
    (void)trailers;
    of(id)->body_ends++;
    of(id)->trailers = count;
}

static void on_writable(void *ctx, uint32_t id)
{
    (void)ctx;
    assert_int_equal(of(id)->ends, 0);
    of(id)->writables++;
    order[writables++ % STREAMS] = id;
}

static void on_ended(void *ctx, uint32_t id, enum h2_server_end why, uint32_t code)
{
    struct seen *s = of(id);

    (void)ctx;
    s->ends++;
    s->why = why;
    s->code = code;
}

static const struct h2_server_ops ops = { on_request, on_body, on_body_end, on_writable, on_ended };

static void open_server(const struct h2_server_config *config)
{
    memset(seen, 0, sizeof(seen));
    writables = 0;
    keep_bytes = answer_at_once = false;
    now = 1000 * SEC;
    assert_int_equal(h2_server_new(&server, config, &ops, NULL, scratch), 0);
    buf_init(&wire, 32 << 20);
    assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
}

static int setup(void **state)
{
    const struct h2_server_config config = { .extended_connect = true };

    (void)state;
    open_server(&config);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2_server_free(server);
    buf_deinit(&wire);
    nghttp2_hd_inflate_del(inflater);
    return 0;
}

/* Everything the server has to say, until it falls silent. */
static void take(void)
{
    struct span p;

    memset(scratch, 0xaa, sizeof(scratch)); /* another machine of the thread used it meanwhile */
    while ((p = h2_server_pending(server)).len) {
        size_t n = MIN(p.len, (size_t)1000); /* a slow stream */

        assert_int_equal(buf_append(&wire, span_make(p.data, n)), 0);
        h2_server_sent(server, n);
        memset(scratch, 0xaa, sizeof(scratch));
    }
}

/* Next frame of the server's bytes. Its payload lives until the next one. */
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

static int feed(struct span bytes)
{
    int r = h2_server_feed(server, bytes, now);

    memset(scratch, 0xaa, sizeof(scratch));
    return r;
}

static int feed_frame(uint8_t type, uint8_t flags, uint32_t stream, struct span payload)
{
    struct buf b;
    int r;

    buf_init(&b, 1 << 20);
    put_frame(&b, type, flags, stream, payload);
    r = feed(buf_span(&b));
    buf_deinit(&b);
    return r;
}

static int feed_number(uint8_t type, uint32_t stream, uint32_t value)
{
    uint8_t payload[4];

    store_be32(payload, value);
    return feed_frame(type, 0, stream, SPAN_OF(payload));
}

/* One literal header, never indexed. Lengths below 127. */
static void put_header(struct buf *out, const char *name, const char *value)
{
    assert_int_equal(buf_printf(out, "%c%c%s%c%s", 0x10, (int)strlen(name), name, (int)strlen(value), value),
                     0);
}

static void put_request(struct buf *block, const char *method, const char *path)
{
    assert_int_equal(buf_append_str(block, "\x20"),
                     0); /* table size 0, as our SETTINGS ask (RFC 7541, 6.3) */
    put_header(block, ":method", method);
    put_header(block, ":scheme", "https");
    put_header(block, ":authority", "web.test");
    put_header(block, ":path", path);
}

static int request(uint32_t id, const char *method, bool bodiless)
{
    struct buf block;
    int r;

    buf_init(&block, 4096);
    put_request(&block, method, "/x?y");
    r = feed_frame(HEADERS, END_HEADERS | (bodiless ? END_STREAM : 0), id, buf_span(&block));
    buf_deinit(&block);
    return r;
}

static void greet(void)
{
    assert_int_equal(feed(span_from_str(PREFACE)), 0);
    assert_int_equal(feed_frame(SETTINGS, 0, 0, SPAN_NONE), 0);
    assert_int_equal(feed_frame(SETTINGS, ACK, 0, SPAN_NONE), 0);
    take();
    buf_clear(&wire);
}

static void check_header(struct span *block, const char *name, const char *value)
{
    nghttp2_nv nv;
    int flags = 0;
    ssize_t n;

    do {
        n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, block->data, block->len, 1);
        assert_true(n >= 0);
        *block = span_slice(*block, (size_t)n, block->len);
    } while (!(flags & NGHTTP2_HD_INFLATE_EMIT) && block->len);
    assert_true(flags & NGHTTP2_HD_INFLATE_EMIT);
    assert_span_text(span_make(nv.name, nv.namelen), name);
    assert_span_text(span_make(nv.value, nv.valuelen), value);
    if (!block->len)
        nghttp2_hd_inflate_end_headers(inflater);
}

/* Body bytes of one stream among everything the server sends; *end: END_STREAM came. */
static size_t body_bytes(uint32_t id, bool *end)
{
    struct frame f;
    size_t sum = 0;

    while (next_frame(&f))
        if (f.stream == id && (f.type == DATA || f.type == HEADERS)) {
            sum += f.type == DATA ? f.payload.len : 0;
            *end |= (f.flags & END_STREAM) != 0;
        }
    return sum;
}

static void assert_goaway(uint32_t code)
{
    struct frame f;

    assert_true(next_frame_of(GOAWAY, &f));
    assert_int_equal(load_be32(f.payload.data + 4), code);
    assert_true(h2_server_finished(server));
}

/* ---- requests and responses ------------------------------------------------------- */

static void opens_with_settings_and_a_window_for_all_streams(void **state)
{
    (void)state;
    struct frame f;
    uint32_t got[10] = { 0 };

    assert_true(next_frame(&f));
    assert_int_equal(f.type, SETTINGS);
    for (size_t i = 0; i + 6 <= f.payload.len; i += 6)
        if (load_be16(f.payload.data + i) < COUNT_OF(got))
            got[load_be16(f.payload.data + i)] = 1 + load_be32(f.payload.data + i + 2);
    assert_int_equal(got[1], 1 + 0); /* HEADER_TABLE_SIZE */
    assert_int_equal(got[3], 1 + H2_SERVER_STREAMS_MAX);
    assert_int_equal(got[8], 1 + 1); /* ENABLE_CONNECT_PROTOCOL */
    assert_true(next_frame(&f));
    assert_int_equal(f.type, WINDOW_UPDATE);
    assert_true(65535 + load_be32(f.payload.data) >=
                H2_SERVER_STREAMS_MAX * H2_SERVER_WINDOW_BYTES + H2_SERVER_WINDOW_EXTRA_BYTES);
    assert_false(next_frame(&f));
}

static void a_request_arrives_whole_at_every_split(void **state)
{
    struct buf b, block;

    buf_init(&b, 4096);
    buf_init(&block, 4096);
    put_request(&block, "POST", "/x?y");
    put_header(&block, "cookie", "a=b");
    put_frame(&b, HEADERS, 0, 1, span_slice(buf_span(&block), 0, 20));
    put_frame(&b, CONTINUATION, END_HEADERS, 1, span_slice(buf_span(&block), 20, block.len));
    put_frame(&b, DATA, 0, 1, span_from_str("hello"));
    buf_clear(&block);
    put_header(&block, "x-t", "y");
    put_frame(&b, HEADERS, END_STREAM | END_HEADERS, 1, buf_span(&block));
    for (size_t split = 0; split <= b.len; split++) {
        teardown(state);
        setup(state);
        greet();
        assert_int_equal(feed(span_slice(buf_span(&b), 0, split)), 0);
        assert_int_equal(feed(span_slice(buf_span(&b), split, b.len)), 0);
        assert_int_equal(seen[0].requests, 1);
        assert_string_equal(seen[0].method, "POST");
        assert_string_equal(seen[0].authority, "web.test");
        assert_string_equal(seen[0].path, "/x?y");
        assert_int_equal(seen[0].headers, 1);
        assert_string_equal(seen[0].first_name, "cookie");
        assert_string_equal(seen[0].first_value, "a=b");
        assert_false(seen[0].bodiless);
        assert_int_equal(seen[0].body, 5);
        assert_int_equal(seen[0].body_ends, 1);
        assert_int_equal(seen[0].trailers, 1);
        assert_int_equal(seen[0].ends, 0);
    }
    buf_deinit(&b);
    buf_deinit(&block);
}

static void a_response_has_interim_heads_a_body_and_trailers(void **state)
{
    (void)state;
    const struct h2_header link = { span_from_str("link"), span_from_str("</a>") };
    const struct h2_header sum = { span_from_str("x-sum"), span_from_str("1") };
    struct frame f;

    greet();
    assert_int_equal(request(1, "GET", true), 0);
    assert_true(seen[0].bodiless);
    assert_int_equal(h2_server_head(server, 1, 103, &link, 1, false), 0);
    assert_int_equal(h2_server_head(server, 1, 200, &link, 1, false), 0);
    assert_int_equal(h2_server_write(server, 1, span_from_str("abc")), 3);
    assert_int_equal(h2_server_end(server, 1, &sum, 1), 0);
    assert_true(next_frame(&f));
    check_header(&f.payload, ":status", "103");
    check_header(&f.payload, "link", "</a>");
    assert_true(next_frame(&f));
    assert_int_equal(f.type, HEADERS);
    assert_int_equal(f.flags, END_HEADERS);
    check_header(&f.payload, ":status", "200");
    check_header(&f.payload, "link", "</a>");
    assert_true(next_frame(&f));
    assert_int_equal(f.type, DATA);
    assert_int_equal(f.flags, 0);
    assert_span_text(f.payload, "abc");
    assert_true(next_frame(&f));
    assert_int_equal(f.type, HEADERS);
    assert_int_equal(f.flags, END_HEADERS | END_STREAM);
    check_header(&f.payload, "x-sum", "1");
    assert_false(next_frame(&f));
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_SERVER_END_DONE);
    assert_int_equal(h2_server_running(server), 0);
}

static void an_answer_from_inside_the_request_goes_out_whole(void **state)
{
    (void)state;
    struct frame f;

    greet();
    answer_at_once = true;
    assert_int_equal(request(1, "GET", true), 0);
    assert_true(next_frame(&f));
    check_header(&f.payload, ":status", "200");
    check_header(&f.payload, "content-type", "text/plain");
    assert_true(next_frame(&f));
    assert_span_text(f.payload, "hello");
    assert_int_equal(f.flags, END_STREAM);
    assert_int_equal(seen[0].why, H2_SERVER_END_DONE);
    assert_int_equal(seen[0].ends, 1);
}

static void a_large_answer_waits_for_the_clients_window(void **state)
{
    (void)state;
    static uint8_t body[H2_SERVER_ANSWER_BYTES_MAX];
    bool end = false;

    greet();
    assert_int_equal(request(1, "GET", true), 0);
    assert_int_equal(h2_server_answer(server, 1, 200, NULL, 0, span_make(body, sizeof(body) + 1)), -ENOBUFS);
    assert_int_equal(h2_server_answer(server, 1, 200, NULL, 0, SPAN_OF(body)), 0);
    assert_int_equal(body_bytes(1, &end), 65535);
    assert_false(end);
    assert_int_equal(feed_number(WINDOW_UPDATE, 1, 10), 0);
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 10), 0);
    assert_int_equal(body_bytes(1, &end), 1);
    assert_true(end);
}

static void a_body_may_come_to_its_end_after_the_answer(void **state)
{
    (void)state;
    struct frame f;

    greet();
    assert_int_equal(request(1, "POST", false), 0);
    assert_int_equal(h2_server_answer(server, 1, 413, NULL, 0, SPAN_NONE), 0);
    assert_int_equal(feed_frame(DATA, END_STREAM, 1, span_from_str("late")), 0);
    assert_false(next_frame_of(RST_STREAM, &f));
    assert_int_equal(seen[0].body, 4);
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_SERVER_END_DONE);
}

static void a_client_whose_body_nobody_takes_is_told_after_the_answer(void **state)
{
    (void)state;
    struct frame f;

    greet();
    assert_int_equal(request(1, "POST", false), 0);
    h2_server_stop(server, 1);
    assert_int_equal(feed_frame(DATA, 0, 1, span_from_str("some")), 0);
    assert_false(next_frame_of(RST_STREAM, &f));
    assert_int_equal(h2_server_answer(server, 1, 413, NULL, 0, SPAN_NONE), 0);
    assert_true(next_frame_of(RST_STREAM, &f));
    assert_int_equal(load_be32(f.payload.data), H2_CODE_NO_ERROR);
    assert_int_equal(seen[0].why, H2_SERVER_END_DONE);
    assert_int_equal(feed_frame(DATA, END_STREAM, 1, span_from_str("late")), 0);
    assert_int_equal(seen[0].body, 0);
    assert_int_equal(request(3, "POST", false), 0);
    assert_int_equal(h2_server_answer(server, 3, 413, NULL, 0, SPAN_NONE), 0);
    h2_server_stop(server, 3);
    assert_true(next_frame_of(RST_STREAM, &f));
}

static void an_extended_connect_ends_in_both_directions_by_itself(void **state)
{
    (void)state;
    struct buf block;
    struct frame f;

    greet();
    buf_init(&block, 4096);
    put_request(&block, "CONNECT", "/chat");
    put_header(&block, ":protocol", "websocket");
    assert_int_equal(feed_frame(HEADERS, END_HEADERS, 1, buf_span(&block)), 0);
    buf_deinit(&block);
    assert_string_equal(seen[0].protocol, "websocket");
    assert_int_equal(h2_server_head(server, 1, 200, NULL, 0, false), 0);
    assert_int_equal(h2_server_write(server, 1, span_from_str("ping")), 4);
    assert_int_equal(h2_server_end(server, 1, NULL, 0), 0);
    assert_false(next_frame_of(RST_STREAM, &f));
    assert_int_equal(seen[0].ends, 0);
    assert_int_equal(feed_frame(DATA, END_STREAM, 1, span_from_str("pong")), 0);
    assert_int_equal(seen[0].body, 4);
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_SERVER_END_DONE);
}

static void connection_headers_and_capitals_cost_the_request(void **state)
{
    static const char *const bad[][2] = {
        { "connection", "close" }, { "transfer-encoding", "chunked" },
        { "Upper", "x" },          { "te", "gzip" },
        { "x-nl", "a\nb" },        { "keep-alive", "5" },
    };
    struct frame f;

    (void)state;
    greet();
    for (uint32_t i = 0; i < COUNT_OF(bad); i++) {
        struct buf block;

        buf_init(&block, 4096);
        put_request(&block, "GET", "/");
        put_header(&block, bad[i][0], bad[i][1]);
        assert_int_equal(feed_frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i, buf_span(&block)), 0);
        buf_deinit(&block);
        assert_true(next_frame_of(RST_STREAM, &f));
        assert_int_equal(f.stream, 1 + 2 * i);
        assert_int_equal(load_be32(f.payload.data), H2_CODE_PROTOCOL_ERROR);
        assert_int_equal(seen[i].requests, 0);
    }
    assert_int_equal(request(101, "GET", true), 0);
    assert_int_equal(seen[50].requests, 1);
}

static void too_many_headers_are_told_and_cost_only_their_request(void **state)
{
    (void)state;
    struct buf block;

    greet();
    buf_init(&block, 16384);
    put_request(&block, "GET", "/");
    for (int i = 0; i <= H2_SERVER_HEADERS_MAX; i++)
        put_header(&block, "x-n", "v");
    assert_int_equal(feed_frame(HEADERS, END_HEADERS | END_STREAM, 1, buf_span(&block)), 0);
    buf_deinit(&block);
    assert_true(seen[0].too_big);
    assert_int_equal(seen[0].headers, H2_SERVER_HEADERS_MAX);
    assert_int_equal(h2_server_answer(server, 1, 431, NULL, 0, SPAN_NONE), 0);
    assert_int_equal(request(3, "GET", true), 0);
    assert_false(seen[1].too_big);
}

static void a_head_one_byte_above_its_limit_is_too_big(void **state)
{
    const struct h2_server_config config = { .head_bytes_max = 200 };
    struct buf block;
    char value[127];
    const size_t others = 7 + 3 + 7 + 5 + 10 + 8 + 5 + 1 + 3;

    buf_init(&block, 4096);
    for (int over = -1; over <= 1; over++) {
        teardown(state);
        open_server(&config);
        greet();
        buf_clear(&block);
        put_request(&block, "GET", "/");
        memset(value, 'v', sizeof(value));
        value[100] = '\0';
        put_header(&block, "x-a", value);
        value[200 - others - 100 - 3 + (size_t)over] = '\0';
        put_header(&block, "x-b", value);
        assert_int_equal(feed_frame(HEADERS, END_HEADERS | END_STREAM, 1, buf_span(&block)), 0);
        assert_int_equal(seen[0].requests, 1);
        assert_int_equal(seen[0].too_big, over > 0);
    }
    buf_deinit(&block);
}

/* ---- flow of bodies ---------------------------------------------------------------- */

static void bytes_beyond_the_clients_window_are_not_taken(void **state)
{
    (void)state;
    static uint8_t body[100000];
    bool end = false;
    size_t n;

    greet();
    assert_int_equal(request(1, "GET", true), 0);
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1 << 20), 0);
    assert_int_equal(h2_server_head(server, 1, 200, NULL, 0, false), 0);
    n = h2_server_write(server, 1, SPAN_OF(body));
    assert_in_range(n, 60000, 65535);
    assert_int_equal(body_bytes(1, &end), n); /* the queue is empty again */
    n += h2_server_write(server, 1, span_slice(SPAN_OF(body), n, sizeof(body)));
    assert_int_equal(n, 65535);
    assert_int_equal(seen[0].writables, 1);
    assert_int_equal(h2_server_write(server, 1, span_from_str("x")), 0);
    take();
    assert_int_equal(seen[0].writables, 1);
    assert_int_equal(feed_number(WINDOW_UPDATE, 1, 10), 0);
    assert_int_equal(seen[0].writables, 2);
    assert_int_equal(h2_server_write(server, 1, SPAN_OF(body)), 10);
}

static void a_stopped_stream_does_not_stop_the_others(void **state)
{
    (void)state;
    static uint8_t body[4096];
    uint32_t sent = 0;

    greet();
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1 << 30), 0);
    assert_int_equal(request(1, "GET", true), 0);
    assert_int_equal(request(3, "GET", true), 0);
    assert_int_equal(h2_server_head(server, 1, 200, NULL, 0, false), 0);
    assert_int_equal(h2_server_head(server, 3, 200, NULL, 0, false), 0);
    while (h2_server_write(server, 1, SPAN_OF(body)))
        take(); /* its window is used up: the client does not read it */
    for (; sent < 10 * 65536; sent += sizeof(body)) {
        assert_int_equal(h2_server_write(server, 3, SPAN_OF(body)), sizeof(body));
        assert_int_equal(feed_number(WINDOW_UPDATE, 3, sizeof(body)), 0);
        take();
    }
}

/* Ten streams that all want more than there is room for: who was served last waits longest. */
static void streams_are_served_in_turns(void **state)
{
    (void)state;
    static uint8_t body[2 * H2_SERVER_QUEUE_BYTES];
    size_t per_stream[10] = { 0 }, total = 0;

    greet();
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1 << 30), 0);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(request(1 + 2 * i, "GET", true), 0);
        assert_int_equal(feed_number(WINDOW_UPDATE, 1 + 2 * i, 1 << 30), 0);
        assert_int_equal(h2_server_head(server, 1 + 2 * i, 200, NULL, 0, false), 0);
    }
    for (uint32_t i = 0; i < 10; i++)
        per_stream[i] += h2_server_write(server, 1 + 2 * i, SPAN_OF(body));
    for (int round = 0; round < 40; round++) {
        size_t from = writables;

        h2_server_sent(server, h2_server_pending(server).len);
        for (size_t i = from; i < writables; i++)
            per_stream[order[i % STREAMS] / 2] += h2_server_write(server, order[i % STREAMS], SPAN_OF(body));
    }
    for (size_t i = 0; i < 10; i++)
        total += per_stream[i];
    for (size_t i = 0; i < 10; i++)
        assert_in_range(per_stream[i], total / 10 * 6 / 10, total / 10 * 14 / 10);
}

/* A stream whose owner takes nothing may hold its own window and nothing else. */
static void bodies_that_nobody_takes_do_not_stop_the_others(void **state)
{
    (void)state;
    static uint8_t chunk[16384];
    struct frame f;
    size_t window = 65535, sent = 0;

    greet();
    keep_bytes = true;
    for (uint32_t i = 0; i < H2_SERVER_STREAMS_MAX - 1; i++) {
        assert_int_equal(request(1 + 2 * i, "POST", false), 0);
        for (int k = 0; k < 3; k++)
            assert_int_equal(feed_frame(DATA, 0, 1 + 2 * i, SPAN_OF(chunk)), 0);
    }
    assert_false(next_frame_of(WINDOW_UPDATE, &f));
    keep_bytes = false;
    assert_int_equal(request(199, "POST", false), 0);
    while (sent < 4u << 20) {
        assert_true(window >= sizeof(chunk));
        assert_int_equal(feed_frame(DATA, 0, 199, SPAN_OF(chunk)), 0);
        window -= sizeof(chunk);
        sent += sizeof(chunk);
        while (next_frame_of(WINDOW_UPDATE, &f))
            window += f.stream == 199 ? load_be32(f.payload.data) : 0;
    }
    assert_int_equal(seen[99].body, sent);
    assert_true(window >= H2_SERVER_WINDOW_BYTES_MAX / 2); /* it kept up, so it was given more */
}

/* Whoever holds bodies needs room for this and no more. */
static void no_window_grows_above_its_limit(void **state)
{
    (void)state;
    static uint8_t chunk[16384];
    struct frame f;
    size_t window = 65535;

    greet();
    assert_int_equal(request(1, "POST", false), 0);
    for (size_t sent = 0; sent < 8u << 20; sent += sizeof(chunk)) {
        assert_int_equal(feed_frame(DATA, 0, 1, SPAN_OF(chunk)), 0);
        window -= sizeof(chunk);
        while (next_frame_of(WINDOW_UPDATE, &f))
            window += f.stream == 1 ? load_be32(f.payload.data) : 0;
        assert_true(window <= H2_SERVER_WINDOW_BYTES_MAX);
    }
    assert_true(window >= H2_SERVER_WINDOW_BYTES_MAX / 2);
}

static void a_client_that_ignores_the_window_is_refused(void **state)
{
    (void)state;
    static uint8_t chunk[16384];
    struct frame f;

    greet();
    keep_bytes = true;
    assert_int_equal(request(1, "POST", false), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(feed_frame(DATA, 0, 1, SPAN_OF(chunk)), 0);
    assert_true(next_frame_of(RST_STREAM, &f) || h2_server_finished(server));
    assert_int_equal(seen[0].ends, 1);
    assert_true(seen[0].body <= H2_SERVER_WINDOW_BYTES + sizeof(chunk));
}

static void bytes_of_a_request_given_up_do_not_eat_the_connections_window(void **state)
{
    (void)state;
    static uint8_t chunk[16384];
    const size_t total = 2 * (H2_SERVER_STREAMS_MAX * H2_SERVER_WINDOW_BYTES + H2_SERVER_WINDOW_EXTRA_BYTES);
    size_t window = total;
    struct frame f;

    greet();
    keep_bytes = true;
    for (uint32_t i = 0; i < 400 && window > total / 4; i++) {
        assert_int_equal(request(1 + 2 * i, "POST", false), 0);
        for (int k = 0; k < 3; k++, window -= sizeof(chunk))
            assert_int_equal(feed_frame(DATA, 0, 1 + 2 * i, SPAN_OF(chunk)), 0);
        h2_server_reset(server, 1 + 2 * i, H2_CODE_CANCEL);
        while (next_frame(&f))
            window += f.type == WINDOW_UPDATE && !f.stream ? load_be32(f.payload.data) : 0;
    }
    assert_true(window > total / 4);
}

/* ---- the end of requests and connections ---------------------------------------------- */

static void the_client_may_take_a_request_back(void **state)
{
    (void)state;
    greet();
    assert_int_equal(request(1, "GET", true), 0);
    assert_int_equal(feed_number(RST_STREAM, 1, H2_CODE_CANCEL), 0);
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_SERVER_END_RESET);
    assert_int_equal(seen[0].code, H2_CODE_CANCEL);
    assert_int_equal(h2_server_write(server, 1, span_from_str("late")), 4);
    assert_int_equal(h2_server_end(server, 1, NULL, 0), 0);
    assert_int_equal(request(3, "GET", true), 0);
    assert_int_equal(seen[1].requests, 1);
}

static void a_drain_finishes_what_runs_and_refuses_the_rest(void **state)
{
    uint8_t opaque[8];

    (void)state;
    struct frame f;

    greet();
    assert_int_equal(request(1, "GET", true), 0);
    h2_server_shutdown(server);
    assert_true(next_frame_of(PING, &f));
    memcpy(opaque, f.payload.data, 8);
    assert_true(next_frame_of(GOAWAY, &f));
    assert_int_equal(load_be32(f.payload.data), INT32_MAX); /* a notice: what is under way still counts */
    assert_int_equal(request(3, "GET", true), 0);
    assert_int_equal(seen[1].requests, 1);
    assert_int_equal(feed_frame(PING, ACK, 0, SPAN_OF(opaque)), 0);
    assert_true(next_frame_of(GOAWAY, &f));
    assert_int_equal(load_be32(f.payload.data), 3);
    assert_int_equal(request(5, "GET", true), 0);
    assert_int_equal(seen[2].requests, 0);
    assert_false(h2_server_finished(server));
    assert_int_equal(h2_server_answer(server, 1, 200, NULL, 0, span_from_str("a")), 0);
    assert_int_equal(h2_server_answer(server, 3, 200, NULL, 0, span_from_str("b")), 0);
    assert_false(h2_server_finished(server));
    take();
    assert_true(h2_server_finished(server));
    assert_int_equal(seen[0].why, H2_SERVER_END_DONE);
}

static void nonsense_ends_the_connection_and_its_requests(void **state)
{
    (void)state;
    greet();
    assert_int_equal(request(1, "GET", true), 0);
    assert_int_equal(feed_frame(DATA, 0, 2, span_from_str("x")), H2_SERVER_E_PROTOCOL);
    assert_int_equal(seen[0].ends, 1);
    assert_int_equal(seen[0].why, H2_SERVER_END_LOST);
    assert_goaway(H2_CODE_PROTOCOL_ERROR);
    assert_int_equal(request(3, "GET", true), H2_SERVER_E_PROTOCOL);
}

static void http1_is_no_preface(void **state)
{
    (void)state;
    assert_int_equal(feed(span_from_str("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), H2_SERVER_E_PROTOCOL);
}

/* ---- rest ------------------------------------------------------------------------------ */

static void ask_and_answer(uint32_t id)
{
    assert_int_equal(request(id, "GET", true), 0);
    assert_int_equal(seen[id / 2].requests, 1);
    assert_int_equal(h2_server_answer(server, id, 200, NULL, 0, span_from_str("hello")), 0);
    take();
    assert_int_equal(seen[id / 2].why, H2_SERVER_END_DONE);
}

static void a_connection_goes_on_after_a_rest_as_if_there_had_been_none(void **state)
{
    static const uint8_t opaque[8] = "01234567";
    struct frame f;
    size_t held;

    (void)state;
    greet();
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1 << 20), 0);
    for (uint32_t id = 1; id < 20; id += 2) {
        ask_and_answer(id);
        buf_clear(&wire);
        held = h2_server_memory(server);
        assert_true(h2_server_rest(server));
        assert_true(h2_server_memory(server) + 4096 < held); /* nghttp2's part went */
        assert_false(h2_server_rest(server));                /* it does already */
        assert_int_equal(h2_server_pending(server).len, 0);
        if (id == 5) /* what belongs to a request of before is no fault */
            assert_int_equal(feed_number(WINDOW_UPDATE, 3, 100), 0);
        if (id == 7)
            assert_int_equal(feed_number(RST_STREAM, 7, H2_CODE_CANCEL), 0);
        if (id == 9) {
            assert_int_equal(feed_frame(PING, 0, 0, SPAN_OF(opaque)), 0);
            assert_true(next_frame(&f)); /* the first that is heard of it */
            assert_int_equal(f.type, PING);
            assert_span_equal(f.payload, opaque, 8);
        }
        assert_false(next_frame(&f));
    }
    for (int i = 0; i < H2_SERVER_CONTROL_BURST; i++) { /* and none of it counts as the client's frames */
        assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1), 0);
        assert_true(h2_server_rest(server));
        now += SEC / H2_SERVER_CONTROL_PER_SECOND;
    }
    assert_int_equal(request(3, "GET", true), 0); /* an old number is one still: nghttp2 reads over it */
    assert_int_equal(seen[1].requests, 1);
    assert_false(next_frame(&f));
}

/* What the client allows is remembered: its window for each stream, and what is left of the connection's. */
/* A client that keeps no table has no size to tell (.NET's HttpClient). */
static void a_client_that_tells_no_table_size_is_served_also_after_a_rest(void **state)
{
    struct buf block;

    (void)state;
    greet();
    buf_init(&block, 4096);
    put_request(&block, "GET", "/x?y");
    for (uint32_t id = 1; id <= 5; id += 2) {
        assert_int_equal(
            feed_frame(HEADERS, END_HEADERS | END_STREAM, id, span_slice(buf_span(&block), 1, block.len)), 0);
        assert_int_equal(of(id)->requests, 1);
        assert_int_equal(h2_server_answer(server, id, 200, NULL, 0, SPAN_NONE), 0);
        take();
        assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1000), 0);
        assert_true(h2_server_rest(server));
    }
    buf_deinit(&block);
}

/* It was asked not to. What it names by a number later is still known. */
static void a_client_that_keeps_a_table_is_served_and_does_not_rest(void **state)
{
    static const uint8_t named[] = { 0x82, 0x87, 0x84, 0x41, 1, 'x', 0x40, 1, 'a', 1, 'b' };
    static const uint8_t again[] = { 0x82, 0x87, 0x84, 0xbf, 0xbe }; /* entries 63, 62 */

    (void)state;
    greet();
    assert_int_equal(feed_frame(HEADERS, END_HEADERS | END_STREAM, 1, SPAN_OF(named)), 0);
    assert_int_equal(h2_server_answer(server, 1, 200, NULL, 0, SPAN_NONE), 0);
    take();
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 1000), 0);
    assert_false(h2_server_rest(server));
    assert_int_equal(feed_frame(HEADERS, END_HEADERS | END_STREAM, 3, SPAN_OF(again)), 0);
    assert_string_equal(of(3)->authority, "x");
    assert_string_equal(of(3)->first_name, "a");
}

static void windows_outlast_a_rest(void **state)
{
    static uint8_t body[50000];
    uint8_t small[6] = { 0, 4 }; /* INITIAL_WINDOW_SIZE */

    (void)state;
    greet();
    store_be32(small + 2, 40000);
    assert_int_equal(feed_frame(SETTINGS, 0, 0, SPAN_OF(small)), 0);
    assert_int_equal(feed_number(WINDOW_UPDATE, 0, 30005), 0);
    ask_and_answer(1); /* 5 bytes */
    assert_true(h2_server_rest(server));
    for (uint32_t id = 3; id <= 7; id += 2) {
        assert_int_equal(request(id, "GET", true), 0);
        assert_int_equal(h2_server_head(server, id, 200, NULL, 0, false), 0);
        assert_int_equal(h2_server_write(server, id, SPAN_OF(body)), id == 3   ? 40000
                                                                     : id == 5 ? 40000
                                                                               : 95535 - 80000);
        take();
    }
}

static void a_connection_with_something_under_way_does_not_rest(void **state)
{
    static const uint8_t zeros[8];
    struct buf b;

    (void)state;
    assert_false(h2_server_rest(server)); /* nothing said yet */
    greet();
    assert_false(h2_server_rest(server)); /* no request yet: nothing that could stand for them */
    assert_int_equal(request(1, "GET", true), 0);
    assert_false(h2_server_rest(server));
    assert_int_equal(h2_server_answer(server, 1, 200, NULL, 0, SPAN_NONE), 0);
    take();
    buf_init(&b, 100);
    put_frame(&b, PING, 0, 0, SPAN_OF(zeros));
    for (size_t cut = 1; cut < b.len; cut++) {
        assert_int_equal(feed(span_slice(buf_span(&b), 0, cut)), 0);
        assert_false(h2_server_rest(server));
        assert_int_equal(feed(span_slice(buf_span(&b), cut, b.len)), 0);
        take();
    }
    buf_deinit(&b);
    assert_true(h2_server_rest(server));
}

/* Bytes that were taken and not yet given back to the client are, before the session goes. */
static void a_rest_gives_the_connections_window_back(void **state)
{
    static uint8_t chunk[16384];
    const size_t total = 2 * (H2_SERVER_STREAMS_MAX * H2_SERVER_WINDOW_BYTES + H2_SERVER_WINDOW_EXTRA_BYTES);
    struct frame f;
    size_t window = total;

    (void)state;
    greet();
    assert_int_equal(request(1, "POST", false), 0);
    assert_int_equal(feed_frame(DATA, END_STREAM, 1, SPAN_OF(chunk)), 0);
    assert_int_equal(h2_server_answer(server, 1, 200, NULL, 0, SPAN_NONE), 0);
    window -= sizeof(chunk);
    assert_true(h2_server_rest(server));
    while (next_frame(&f))
        window += f.type == WINDOW_UPDATE && !f.stream ? load_be32(f.payload.data) : 0;
    assert_int_equal(window, total);
}

static void a_resting_connection_can_be_drained(void **state)
{
    struct frame f;

    (void)state;
    greet();
    ask_and_answer(1);
    buf_clear(&wire);
    assert_true(feed_number(WINDOW_UPDATE, 0, 1000) == 0 && h2_server_rest(server));
    h2_server_shutdown(server);
    assert_true(next_frame_of(GOAWAY, &f));
    assert_false(h2_server_finished(server));
}

/* ---- floods ----------------------------------------------------------------------------- */

/* Opens requests and takes each back; how many until the connection ends, `most` if it does not. */
static uint32_t reset_requests(uint32_t *id, uint32_t most)
{
    for (uint32_t i = 0; i < most; i++, *id += 2)
        if (request(*id, "GET", true) || feed_number(RST_STREAM, *id, H2_CODE_CANCEL))
            return i;
    return most;
}

static void requests_taken_back_have_their_measure(void **state)
{
    uint32_t id = 1;

    (void)state;
    greet();
    assert_int_equal(reset_requests(&id, H2_SERVER_RESETS_BURST), H2_SERVER_RESETS_BURST);
    now += 2 * SEC; /* time heals */
    assert_int_equal(reset_requests(&id, 1000), 2 * H2_SERVER_RESETS_PER_SECOND);
    assert_goaway(H2_CODE_ENHANCE_YOUR_CALM);
    assert_int_equal(h2_server_running(server), 0);
}

static void a_header_block_in_too_many_pieces_ends_the_connection(void **state)
{
    struct buf b, block;
    int r;

    (void)state;
    greet();
    buf_init(&b, 8192);
    buf_init(&block, 4096);
    put_request(&block, "GET", "/");
    put_frame(&b, HEADERS, END_STREAM, 1, buf_span(&block));
    for (int i = 0; i < H2_SERVER_CONTINUATIONS_MAX; i++)
        put_frame(&b, CONTINUATION, 0, 1, SPAN_NONE);
    assert_int_equal(feed(buf_span(&b)), 0);
    r = feed_frame(CONTINUATION, 0, 1, SPAN_NONE);
    assert_int_not_equal(r, 0);
    assert_goaway(H2_CODE_ENHANCE_YOUR_CALM);
    assert_int_equal(seen[0].requests, 0);
    buf_deinit(&b);
    buf_deinit(&block);
}

static int flood(uint8_t type, uint32_t stream, struct span payload, int count)
{
    int r = 0;

    for (int i = 0; i < count && !r; i++) {
        r = feed_frame(type, 0, stream, payload);
        take();
        buf_clear(&wire);
    }
    return r;
}

static void frames_without_content_have_their_measure(void **state)
{
    static const uint8_t zeros[8], priority[5] = { 0, 0, 0, 0, 16 };
    const struct {
        uint8_t type;
        struct span payload;
        uint32_t stream;
    } kinds[] = {
        { PING, span_make(zeros, 8), 0 },
        { SETTINGS, SPAN_NONE, 0 },
        { PRIORITY, span_make(priority, 5), 1 },
        { DATA, SPAN_NONE, 1 },
    };

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        teardown(state);
        setup(state);
        greet();
        assert_int_equal(request(1, "POST", false), 0);
        assert_int_equal(flood(kinds[i].type, kinds[i].stream, kinds[i].payload, H2_SERVER_CONTROL_BURST / 2),
                         0);
        now += 10 * SEC; /* time heals */
        assert_int_equal(
            flood(kinds[i].type, kinds[i].stream, kinds[i].payload, H2_SERVER_CONTROL_BURST - 10), 0);
        assert_int_equal(flood(kinds[i].type, kinds[i].stream, kinds[i].payload, 20), H2_SERVER_E_CONTROL);
        assert_int_equal(seen[0].why, H2_SERVER_END_LOST);
    }
}

static void a_client_that_asks_and_does_not_read_is_cut(void **state)
{
    static const uint8_t zeros[8];
    int r = 0;

    (void)state;
    greet();
    for (int i = 0; i < 100000 && !r; i++, now += SEC / H2_SERVER_CONTROL_PER_SECOND)
        r = feed_frame(PING, 0, 0, SPAN_OF(zeros));
    assert_int_equal(r, H2_SERVER_E_NOT_READING);
    assert_true(h2_server_pending(server).len <= H2_SERVER_PENDING_BYTES_MAX);
}

static void streams_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    struct frame f;

    greet();
    for (uint32_t i = 0; i < H2_SERVER_STREAMS_MAX; i++)
        assert_int_equal(request(1 + 2 * i, "GET", true), 0);
    assert_int_equal(h2_server_running(server), H2_SERVER_STREAMS_MAX);
    (void)request(1 + 2 * H2_SERVER_STREAMS_MAX, "GET", true);
    assert_int_equal(seen[H2_SERVER_STREAMS_MAX].requests, 0);
    assert_true(next_frame_of(RST_STREAM, &f) || h2_server_finished(server));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(opens_with_settings_and_a_window_for_all_streams),
        T(a_request_arrives_whole_at_every_split),
        T(a_response_has_interim_heads_a_body_and_trailers),
        T(an_answer_from_inside_the_request_goes_out_whole),
        T(a_large_answer_waits_for_the_clients_window),
        T(a_body_may_come_to_its_end_after_the_answer),
        T(a_client_whose_body_nobody_takes_is_told_after_the_answer),
        T(an_extended_connect_ends_in_both_directions_by_itself),
        T(connection_headers_and_capitals_cost_the_request),
        T(too_many_headers_are_told_and_cost_only_their_request),
        T(a_head_one_byte_above_its_limit_is_too_big),
        T(bytes_beyond_the_clients_window_are_not_taken),
        T(a_stopped_stream_does_not_stop_the_others),
        T(streams_are_served_in_turns),
        T(bodies_that_nobody_takes_do_not_stop_the_others),
        T(no_window_grows_above_its_limit),
        T(a_client_that_ignores_the_window_is_refused),
        T(bytes_of_a_request_given_up_do_not_eat_the_connections_window),
        T(the_client_may_take_a_request_back),
        T(a_drain_finishes_what_runs_and_refuses_the_rest),
        T(nonsense_ends_the_connection_and_its_requests),
        T(http1_is_no_preface),
        T(a_connection_goes_on_after_a_rest_as_if_there_had_been_none),
        T(a_client_that_tells_no_table_size_is_served_also_after_a_rest),
        T(a_client_that_keeps_a_table_is_served_and_does_not_rest),
        T(windows_outlast_a_rest),
        T(a_connection_with_something_under_way_does_not_rest),
        T(a_rest_gives_the_connections_window_back),
        T(a_resting_connection_can_be_drained),
        T(requests_taken_back_have_their_measure),
        T(a_header_block_in_too_many_pieces_ends_the_connection),
        T(frames_without_content_have_their_measure),
        T(a_client_that_asks_and_does_not_read_is_cut),
        T(streams_beyond_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* http/test_http1.h - a message stream told as one line of text, for the tests of the reading machine */
#ifndef MANYTAILS_HTTP_TEST_HTTP1_H
#define MANYTAILS_HTTP_TEST_HTTP1_H

#include "check.h"
#include "http/http.h"

struct script {
    enum http1_role role;
    bool answers_head, asked_upgrade, eof;
    struct http1_limits limits;
};

#define REQUESTS ((struct script) { .role = HTTP1_READS_REQUESTS, .eof = true })
#define RESPONSES ((struct script) { .role = HTTP1_READS_RESPONSES, .eof = true })

static void tell_fields(struct buf *out, const struct http_head *h)
{
    struct span name, value;
    int at = 0;

    while (http_head_next(h, &at, &name, &value))
        assert_int_equal(
            buf_printf(out, " [%.*s: %.*s]", (int)name.len, name.data, (int)value.len, value.data), 0);
    assert_int_equal(buf_append_str(out, ">"), 0);
}

static void tell_head(struct buf *out, const struct http_head *h)
{
    static const char *const bodies[] = { "none", "length", "chunked", "close" };

    if (h->status)
        assert_int_equal(buf_printf(out, "<%u", h->status), 0);
    else
        assert_int_equal(buf_printf(out, "<%.*s %.*s", (int)h->method.len, http_head_method(h).data,
                                    (int)h->target.len, http_head_target(h).data),
                         0);
    assert_int_equal(buf_printf(out, " 1.%u %s%s%s%s", h->minor, bodies[h->body],
                                h->keep_alive ? " keep" : "", h->upgrade ? " upgrade" : "",
                                h->expect_continue ? " expect" : ""),
                     0);
    tell_fields(out, h);
}

static void tell_event(struct buf *out, const struct http_head *head, const struct http1_event *ev,
                       bool *in_body)
{
    if (ev->kind == HTTP1_BODY) {
        if (!*in_body)
            assert_int_equal(buf_append_str(out, "{"), 0);
        assert_int_equal(buf_append(out, ev->bytes), 0);
        *in_body = true;
        return;
    }
    if (*in_body)
        assert_int_equal(buf_append_str(out, "}"), 0);
    *in_body = false;
    if (ev->kind == HTTP1_HEAD)
        tell_head(out, head);
    if (ev->kind == HTTP1_TRAILERS) {
        assert_int_equal(buf_append_str(out, "<trailers"), 0);
        tell_fields(out, ev->trailers);
    }
    if (ev->kind == HTTP1_END)
        assert_int_equal(buf_append_str(out, "."), 0);
}

/* The story of `bytes`, fed in pieces of `piece` after a first piece of `first`. Fault: "!name". */
static void tell(struct buf *out, struct script s, struct span bytes, size_t first, size_t piece)
{
    static const char *const faults[] = { "ok",
#define X(name, status, words) #name,
                                          HTTP1_FAULTS(X)
#undef X
    };
    struct http_head head;
    struct http1_event ev = { 0 };
    struct http1 m;
    bool in_body = false;
    int r = 0;

    http_head_init(&head);
    http1_init(&m, s.role, &head, &s.limits);
    http1_expect(&m, s.answers_head, s.asked_upgrade);
    for (size_t at = 0; at < bytes.len && !r;) {
        size_t n = MIN(at || !first ? piece : first, bytes.len - at);
        /* A block of its own, so that the sanitizer sees whoever reads past it. */
        uint8_t *copy = malloc(n);
        struct span in = span_make(copy, n);

        memcpy(copy, bytes.data + at, n);
        do {
            size_t before = in.len;

            r = http1_next(&m, &in, &ev);
            assert_true(r >= 0 && in.len <= before);
            if (!r && ev.kind != HTTP1_MORE)
                tell_event(out, &head, &ev, &in_body);
        } while (!r && (in.len || ev.kind != HTTP1_MORE));
        free(copy);
        at += n;
    }
    if (!r && s.eof) {
        r = http1_finish(&m, &ev);
        if (ev.kind != HTTP1_MORE)
            tell_event(out, &head, &ev, &in_body);
    }
    if (in_body)
        assert_int_equal(buf_append_str(out, "}"), 0);
    if (r) {
        struct span in = span_from_str("GET / HTTP/1.1\r\nHost: a\r\n\r\n");

        assert_int_equal(buf_printf(out, "!%s", faults[r]), 0);
        assert_int_equal(http1_next(&m, &in, &ev), r); /* for good */
    }
    http1_deinit(&m);
    http_head_deinit(&head);
}

/* Whole, byte by byte, and cut in two at every place: always the same story. */
static void check_story_bytes(struct script s, struct span in, const char *want)
{
    struct buf whole, cut;

    buf_init(&whole, 1 << 20);
    buf_init(&cut, 1 << 20);
    tell(&whole, s, in, 0, MAX(in.len, (size_t)1));
    assert_int_equal(buf_append(&whole, span_make("", 1)), 0);
    if (want)
        assert_string_equal((const char *)buf_span(&whole).data, want);
    for (size_t first = 0; first < MIN(in.len, (size_t)3000); first++) {
        buf_clear(&cut);
        tell(&cut, s, in, first, first ? in.len : 1);
        assert_int_equal(buf_append(&cut, span_make("", 1)), 0);
        assert_string_equal((const char *)buf_span(&cut).data, (const char *)buf_span(&whole).data);
    }
    buf_deinit(&whole);
    buf_deinit(&cut);
}

static inline void check_story(struct script s, const char *in, const char *want)
{
    check_story_bytes(s, span_from_str(in), want);
}

#endif

/* http/test_h2_frames.h - frames of HTTP/2 by hand (RFC 9113, 4.1), for tests of either side */
#ifndef MANYTAILS_HTTP_TEST_H2_FRAMES_H
#define MANYTAILS_HTTP_TEST_H2_FRAMES_H

#include "check.h"

#include "http/http.h"

enum {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct frame {
    uint8_t type, flags;
    uint32_t stream;
    struct span payload;
};

/* The first frame of `wire`, a preface in front of it skipped. Its payload lives until the next one. */
static bool pop_frame(struct buf *wire, struct frame *f)
{
    static uint8_t copy[70000];
    struct span s = buf_span(wire);
    size_t len;

    if (s.len >= 24 && memcmp(s.data, PREFACE, 24) == 0) {
        buf_consume(wire, 24);
        s = buf_span(wire);
    }
    if (s.len < 9)
        return false;
    len = load_be32(s.data) >> 8;
    assert_true(s.len >= 9 + len && len <= sizeof(copy));
    *f = (struct frame) { s.data[3], s.data[4], load_be32(s.data + 5), { copy, len } };
    memcpy(copy, s.data + 9, len);
    buf_consume(wire, 9 + len);
    return true;
}

static void put_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, struct span payload)
{
    uint8_t head[9] = { (uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8), (uint8_t)payload.len, type,
                        flags };

    store_be32(head + 5, stream);
    assert_int_equal(buf_append(out, SPAN_OF(head)), 0);
    assert_int_equal(buf_append(out, payload), 0);
}

#endif

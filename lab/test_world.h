/* lab/test_world.h - what the lab's tests that use sockets share: a loop, loopback, and waiting for a
 * condition */
#ifndef MANYTAILS_LAB_TEST_WORLD_H
#define MANYTAILS_LAB_TEST_WORLD_H

#include <errno.h>

#include "check.h"
#include "crypto/crypto.h"
#include "stream/stream.h"

static struct ev_loop *loop;

static inline int world_open(void **state)
{
    (void)state;
    return crypto_init() || ev_loop_new(&loop);
}

static inline int world_close(void **state)
{
    (void)state;
    ev_loop_free(loop);
    crypto_thread_end();
    return 0;
}

static inline struct ip_port on_loopback(uint16_t port)
{
    static const uint8_t v4[4] = { 127, 0, 0, 1 };

    return (struct ip_port) { ip_from_v4(v4), port };
}

/* Turns the loop until the condition holds; a test that hangs is killed by its runner. */
#define wait_until(condition)                             \
    do {                                                  \
        while (!(condition))                              \
            assert_int_equal(ev_loop_turn(loop, SEC), 0); \
    } while (0)

/* A TCP client that keeps what it reads. */
struct caller {
    struct stream *stream;
    struct buf got;
    bool connected, ended, failed;
};

static inline void caller_event(struct stream *s, unsigned events, time_ns now)
{
    struct caller *c = s->owner;
    uint8_t bytes[4096];
    ssize_t n;

    (void)now;
    c->connected |= (events & STREAM_CONNECTED) != 0;
    c->failed |= (events & STREAM_FAILED) != 0;
    if (c->failed)
        return;
    while ((n = stream_read(s, bytes, sizeof(bytes))) > 0)
        assert_int_equal(buf_append(&c->got, span_make(bytes, (size_t)n)), 0);
    c->ended |= n == 0;
    c->failed |= n < 0 && n != -EAGAIN;
}

/* Until it is connected, or was refused. */
static inline void try_to_call(struct caller *c, uint16_t port)
{
    struct ip_port to = on_loopback(port);

    *c = (struct caller) { 0 };
    buf_init(&c->got, 4 << 20);
    assert_int_equal(stream_tcp_connect(&c->stream, loop, &to), 0);
    stream_set_owner(c->stream, c, caller_event);
    wait_until(c->connected || c->failed);
}

static inline void call(struct caller *c, uint16_t port)
{
    try_to_call(c, port);
    assert_true(c->connected);
}

static inline void say(struct caller *c, const char *text)
{
    assert_int_equal(stream_write(c->stream, span_from_str(text)), strlen(text));
}

static inline bool heard(const struct caller *c, const char *text)
{
    return c->got.len && memmem(buf_span(&c->got).data, c->got.len, text, strlen(text));
}

static inline void hang_up(struct caller *c)
{
    stream_close(c->stream);
    buf_deinit(&c->got);
}

#endif

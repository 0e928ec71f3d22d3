#include "daemon/internal.h"

#include <errno.h>

#define ANSWER_TIMEOUT (15 * SEC)

struct question {
    struct ev_loop *loop;
    struct ev_timer timer;
    struct buf out;
    struct buf *answer;
    int result;
};

static void finish(struct question *q, int result)
{
    q->result = result;
    ev_loop_stop(q->loop);
}

static void question_read(struct question *q, struct stream *s)
{
    for (;;) {
        struct mspan room;
        ssize_t n;

        if (buf_reserve(q->answer, 4096, &room)) {
            finish(q, -ENOMEM);
            return;
        }
        n = stream_read(s, room.data, room.len);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            finish(q, n == 0 && q->answer->len ? 0 : n == 0 ? -EPIPE : (int)n);
            return;
        }
        buf_commit(q->answer, (size_t)n);
    }
}

static void on_stream(struct stream *s, unsigned events, time_ns now)
{
    struct question *q = s->owner;

    (void)now;
    if (events & STREAM_FAILED) {
        finish(q, -ECONNREFUSED);
        return;
    }
    while (q->out.len) {
        ssize_t n = stream_write(s, buf_span(&q->out));

        if (n == -EAGAIN)
            break;
        if (n < 0) { /* turned away: no event tells it again */
            finish(q, (int)n);
            return;
        }
        buf_consume(&q->out, (size_t)n);
    }
    if (events & STREAM_READABLE)
        question_read(q, s);
}

static void on_timeout(struct ev_timer *t, time_ns now)
{
    (void)now;
    finish(CONTAINER_OF(t, struct question, timer), -ETIMEDOUT);
}

int daemon_ask(const char *socket_path, const char *command, struct buf *answer)
{
    struct question q = { .answer = answer, .result = -EIO };
    struct stream *s = NULL;
    int r = ev_loop_new(&q.loop);

    if (r)
        return r;
    buf_init(&q.out, 4096);
    r = buf_printf(&q.out, "%s\n", command);
    if (!r)
        r = stream_unix_connect(&s, q.loop, socket_path);
    if (!r) {
        stream_set_owner(s, &q, on_stream);
        ev_timer_init(&q.timer, q.loop, on_timeout);
        ev_timer_set(&q.timer, ev_now(q.loop) + ANSWER_TIMEOUT);
        r = ev_loop_run(q.loop);
        ev_timer_stop(&q.timer);
    }
    stream_close(s);
    buf_deinit(&q.out);
    ev_loop_free(q.loop);
    return r ? r : q.result;
}

#include "control/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_BYTES 4096

struct fetch {
    struct stream *stream;
    struct ev_timer timer;
    struct ev_task task; /* for an end that is known inside the owner's call */
    struct exchange answer;
    struct buf request;  /* what is not written yet */
    struct buf leftover; /* behind the answer */
    fetch_fn *done;
    void *ctx;
    char failure[FETCH_FAILURE_BYTES];
    bool connected, secret;
};

static void finish(struct fetch *f, const char *failure, time_ns now)
{
    ev_timer_stop(&f->timer);
    f->done(f->ctx, failure, now); /* f may be gone */
}

static void fail(struct fetch *f, time_ns now, const char *why)
{
    stream_abort(f->stream);
    f->stream = NULL;
    snprintf(f->failure, sizeof(f->failure), "unreachable: %s", why);
    finish(f, f->failure, now);
}

static void fail_stream(struct fetch *f, time_ns now)
{
    char why[STREAM_FAILURE_BYTES];

    fail(f, now, stream_failure(f->stream, why));
}

/* false: it failed and f may be gone. */
static bool write_request(struct fetch *f, time_ns now)
{
    while (f->request.len) {
        ssize_t n =
            account_moved(ACCOUNT_CONTROL, ACCOUNT_OUT, stream_write(f->stream, buf_span(&f->request)));

        if (n == -EAGAIN)
            return true;
        if (n < 0) {
            fail_stream(f, now);
            return false;
        }
        buf_consume(&f->request, (size_t)n);
    }
    return true;
}

/* What exchange says about some bytes. false: done or failed, f may be gone. */
static bool take(struct fetch *f, struct span bytes, time_ns now)
{
    size_t used;
    int r = exchange_feed(&f->answer, bytes, &used);

    if (r == EXCHANGE_E_MORE)
        return true;
    if (r == 0)
        r = buf_append(&f->leftover, span_slice(bytes, used, bytes.len));
    if (r == 0)
        finish(f, NULL, now);
    else if (r == EXCHANGE_E_TOO_BIG)
        fail(f, now, "the answer is too long");
    else
        fail(f, now, r < 0 ? err_text(r) : "the answer is not HTTP/1.1");
    return false;
}

static void read_answer(struct fetch *f, time_ns now)
{
    uint8_t bytes[READ_BYTES];

    for (;;) {
        ssize_t n = account_moved(ACCOUNT_CONTROL, ACCOUNT_IN, stream_read(f->stream, bytes, sizeof(bytes)));

        if (n == -EAGAIN)
            return;
        if (n > 0) {
            bool secret = f->secret, more = take(f, span_make(bytes, (size_t)n), now);

            if (secret)
                wipe(bytes, sizeof(bytes));
            if (!more)
                return;
            continue;
        }
        if (n == 0 && exchange_finish(&f->answer) == 0)
            finish(f, NULL, now);
        else if (n == 0)
            fail(f, now, "the connection was closed before the answer was complete");
        else
            fail_stream(f, now);
        return;
    }
}

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    struct fetch *f = s->owner;

    if (events & STREAM_FAILED) {
        fail_stream(f, now);
        return;
    }
    if (events & STREAM_CONNECTED)
        f->connected = true;
    if (events & (STREAM_CONNECTED | STREAM_WRITABLE))
        if (!write_request(f, now))
            return;
    if (events & (STREAM_CONNECTED | STREAM_READABLE))
        read_answer(f, now);
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct fetch *f = CONTAINER_OF(t, struct fetch, timer);

    fail(f, now,
         f->connected ? "connected, but no answer came in time" : "no connection within the time limit");
}

static void on_task(struct ev_task *t, time_ns now)
{
    struct fetch *f = CONTAINER_OF(t, struct fetch, task);

    finish(f, f->failure, now);
}

/* The stream, or a failure that is told from the task. -ENOMEM. */
static int open_stream(struct fetch *f, struct ev_loop *loop, const struct fetch_config *config)
{
    const struct control_url *url = config->url;
    struct stream_dial to = { .host = url->host,
                              .port = url->port,
                              .timeout = config->timeout,
                              .proxies = config->proxies,
                              .tls = url->tls };
    struct tls_client_config tls = { .server_name = url->host, .alpn = "http/1.1" };
    struct stream *below;
    int r = stream_dial(&below, loop, &to);

    if (r)
        return err_trace(r);
    f->stream = below;
    if (url->tls) {
        r = config->tls ? tls_client_stream(&f->stream, config->tls, below, &tls) : -EPROTONOSUPPORT;
        if (r) {
            stream_close(below);
            f->stream = NULL;
            snprintf(f->failure, sizeof(f->failure), "TLS cannot start: %s",
                     r == -EPROTONOSUPPORT ? "no root certificates are configured" : err_text(r));
            ev_task_post(&f->task);
            return r == -ENOMEM ? r : 0;
        }
    }
    stream_set_owner(f->stream, f, on_event);
    return 0;
}

static int write_head(struct fetch *f, const struct fetch_config *config)
{
    struct mspan all;
    int r = 0;

    f->secret = config->secret;
    if (config->secret) {
        r = buf_reserve(&f->request, FETCH_REQUEST_BYTES_MAX, &all);
        if (!r)
            r = buf_reserve(&f->answer.body, EXCHANGE_BODY_BYTES_MAX, &all);
    }
    if (!r)
        r = buf_printf(&f->request, "%s %.*s HTTP/1.1\r\nHost: %s\r\n%s\r\n", config->method,
                       (int)config->target.len, (const char *)config->target.data, config->url->authority,
                       config->headers);
    return r ? r : buf_append(&f->request, config->body);
}

int fetch_start(struct fetch **out, struct ev_loop *loop, const struct fetch_config *config, fetch_fn *done,
                void *ctx)
{
    struct fetch *f = calloc(1, sizeof(*f));
    int r;

    if (!f)
        return err_trace(-ENOMEM);
    f->done = done;
    f->ctx = ctx;
    ev_timer_init(&f->timer, loop, on_timer);
    ev_task_init(&f->task, loop, on_task);
    exchange_init(&f->answer, strcmp(config->method, "HEAD") == 0);
    buf_init(&f->request, FETCH_REQUEST_BYTES_MAX);
    buf_init(&f->leftover, READ_BYTES);
    r = write_head(f, config);
    if (!r)
        r = open_stream(f, loop, config);
    if (r) {
        fetch_free(f);
        return err_trace(r);
    }
    ev_timer_set(&f->timer, ev_now(loop) + (config->timeout ? config->timeout : FETCH_TIMEOUT));
    *out = f;
    return 0;
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    stream_close(f->stream);
    ev_timer_stop(&f->timer);
    ev_task_cancel(&f->task);
    if (f->secret) {
        wipe(f->request.data, f->request.cap);
        wipe(f->answer.body.data, f->answer.body.cap);
    }
    exchange_deinit(&f->answer);
    buf_deinit(&f->request);
    buf_deinit(&f->leftover);
    free(f);
}

const struct exchange *fetch_answer(const struct fetch *f)
{
    return &f->answer;
}

struct stream *fetch_take_stream(struct fetch *f, struct span *leftover)
{
    struct stream *s = f->stream;

    f->stream = NULL;
    *leftover = buf_span(&f->leftover);
    return s;
}

void fetch_memory(const struct fetch *f, struct account_memory *m)
{
    if (!f)
        return;
    account_hold_block(m, ACCOUNT_CONTROL, f);
    account_hold_block(m, ACCOUNT_CONTROL, f->answer.line.data);
    account_hold_block(m, ACCOUNT_CONTROL, f->answer.body.data);
    account_hold_block(m, ACCOUNT_CONTROL, f->request.data);
    account_hold_block(m, ACCOUNT_CONTROL, f->leftover.data);
    stream_memory(f->stream, ACCOUNT_CONTROL, m);
}

#include "daemon/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_BYTES_MAX 1024

struct notify {
    struct ev_loop *loop;
    const struct notify_ops *ops;
    void *ctx;
    char *socket; /* NULL: nobody listens */
    bool ready, stopping, complained;
    struct ev_timer ready_timer, status_timer, watchdog_timer;
    time_ns watchdog; /* half of what the manager grants; 0: no watchdog */
    size_t shards, waiting;
    bool *alive; /* per shard, since the last question */
};

static void say(struct notify *n, struct span text)
{
    int r;

    if (!n->socket)
        return;
    r = ev_unix_tell(n->socket, text);
    if (r && !n->complained)
        log_warn(NULL, "the service manager at $NOTIFY_SOCKET cannot be told: %s", err_text(r));
    n->complained = r != 0;
}

/* "57 services: 55 up, 1 needs a login, 1 failed" */
static int status_text(const struct notify *n, struct buf *out)
{
    struct notify_counts c = { 0 };
    int r;

    n->ops->count(n->ctx, &c);
    r = buf_printf(out, "STATUS=%zu service%s: %zu up", c.all, c.all == 1 ? "" : "s", c.up);
    if (!r && c.starting)
        r = buf_printf(out, ", %zu starting", c.starting);
    if (!r && c.need_login)
        r = buf_printf(out, ", %zu need%s a login", c.need_login, c.need_login == 1 ? "s" : "");
    if (!r && c.failed)
        r = buf_printf(out, ", %zu failed", c.failed);
    return r;
}

/* `first`: a line before the status. */
static void say_status(struct notify *n, const char *first)
{
    struct buf out;

    if (!n->socket)
        return;
    buf_init(&out, TEXT_BYTES_MAX);
    if (buf_append_str(&out, first) == 0 && status_text(n, &out) == 0)
        say(n, buf_span(&out));
    buf_deinit(&out);
}

static void say_ready(struct notify *n)
{
    n->ready = true;
    ev_timer_stop(&n->ready_timer);
    say_status(n, "READY=1\n");
}

static void on_ready_timer(struct ev_timer *t, time_ns now)
{
    (void)now;
    say_ready(CONTAINER_OF(t, struct notify, ready_timer));
}

static void on_status_timer(struct ev_timer *t, time_ns now)
{
    (void)now;
    say_status(CONTAINER_OF(t, struct notify, status_timer), "");
}

/* ---- watchdog ------------------------------------------------------------------------------- */

static void ask(struct notify *n)
{
    memset(n->alive, 0, n->shards * sizeof(*n->alive));
    n->waiting = n->shards;
    n->ops->ask_shards(n->ctx);
}

static void on_watchdog(struct ev_timer *t, time_ns now)
{
    struct notify *n = CONTAINER_OF(t, struct notify, watchdog_timer);

    ev_timer_set(t, now + n->watchdog);
    if (n->waiting)
        log_error(NULL, "watchdog: %zu of %zu shards did not answer in time", n->waiting, n->shards);
    ask(n); /* a late answer to the last question is one to this */
}

void notify_shard_alive(struct notify *n, size_t shard)
{
    must(shard < n->shards);
    if (!n->waiting || n->alive[shard])
        return;
    n->alive[shard] = true;
    if (--n->waiting == 0)
        say(n, span_from_str("WATCHDOG=1"));
}

/* The manager sets both variables; they are meant for the process they name. */
static time_ns watchdog_of_environment(void)
{
    const char *pid = getenv("WATCHDOG_PID"), *usec = getenv("WATCHDOG_USEC");
    uint64_t value;

    if (pid && (!text_parse_u64(span_from_str(pid), INT32_MAX, &value) || (pid_t)value != getpid()))
        return 0;
    if (!usec || !text_parse_u64(span_from_str(usec), INT64_MAX / 1000, &value))
        return 0;
    return (time_ns)value * USEC / 2;
}

/* ---- life ------------------------------------------------------------------------------------ */

int notify_new(struct notify **out, struct ev_loop *loop, size_t shards, const struct notify_ops *ops,
               void *ctx)
{
    const char *socket = getenv("NOTIFY_SOCKET");
    struct notify *n = calloc(1, sizeof(*n));

    if (!n)
        return -ENOMEM;
    *n = (struct notify) { .loop = loop, .ops = ops, .ctx = ctx, .shards = shards };
    ev_timer_init(&n->ready_timer, loop, on_ready_timer);
    ev_timer_init(&n->watchdog_timer, loop, on_watchdog);
    ev_timer_init(&n->status_timer, loop, on_status_timer);
    n->alive = calloc(shards, sizeof(*n->alive));
    if (socket && *socket)
        n->socket = text_dup(span_from_str(socket));
    if (!n->alive || (socket && *socket && !n->socket)) {
        notify_free(n);
        return -ENOMEM;
    }
    *out = n;
    return 0;
}

void notify_free(struct notify *n)
{
    if (!n)
        return;
    ev_timer_stop(&n->ready_timer);
    ev_timer_stop(&n->status_timer);
    ev_timer_stop(&n->watchdog_timer);
    free(n->alive);
    free(n->socket);
    free(n);
}

void notify_started(struct notify *n)
{
    time_ns now = ev_now(n->loop);

    if (!n->socket)
        return;
    ev_timer_set(&n->ready_timer, now + NOTIFY_READY_MAX);
    n->watchdog = watchdog_of_environment();
    if (n->watchdog) {
        ask(n);
        ev_timer_set(&n->watchdog_timer, now + n->watchdog);
    }
}

void notify_services(struct notify *n)
{
    struct notify_counts c = { 0 };

    if (!n->socket || n->stopping)
        return;
    n->ops->count(n->ctx, &c);
    if (!n->ready && !c.starting)
        say_ready(n);
    else if (!ev_timer_running(&n->status_timer))
        ev_timer_set(&n->status_timer, ev_now(n->loop) + NOTIFY_STATUS_PAUSE);
}

void notify_reloading(struct notify *n, time_ns now)
{
    char text[64];

    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(now / USEC));
    say(n, span_from_str(text));
}

void notify_reloaded(struct notify *n)
{
    if (n->ready)
        say_ready(n); /* the first READY follows by itself */
}

void notify_stopping(struct notify *n)
{
    n->stopping = true;
    ev_timer_stop(&n->ready_timer);
    ev_timer_stop(&n->status_timer);
    say(n, span_from_str("STOPPING=1\nSTATUS=requests under way may finish"));
}

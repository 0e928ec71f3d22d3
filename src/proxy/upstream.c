/* Connections to a backend. Those that are idle have one deadline together: the moment the longest idle one
 * has to go. Those who find all of them busy stand in a queue; who is let off it has a connection promised,
 * so that nobody who comes later takes it. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/internal.h"

static struct proxy_shard *shard_of(const struct backend *b)
{
    return b->service->shard;
}

static bool has_room(const struct backend *b)
{
    return !b->open_max || b->open_count - b->idle_count + b->promised < b->open_max;
}

/* ---- the queue --------------------------------------------------------------------- */

static void leave_queue(struct exchange *x)
{
    struct backend *b = x->queued_at;

    if (!b)
        return;
    list_remove(&x->queue_link);
    x->queued_at = NULL;
    b->queued--;
    b->service->counters.waiting--;
}

/* There may be a connection for those who wait. */
static void let_next_in(struct backend *b)
{
    while (!list_empty(&b->queue) && has_room(b)) {
        struct exchange *x = LIST_FIRST(&b->queue, struct exchange, queue_link);

        leave_queue(x);
        x->promised_by = b;
        b->promised++;
        conn_ready(x->conn);
    }
}

static int enter_queue(struct exchange *x, struct backend *b)
{
    if (b->queued >= b->queue_max) {
        b->service->counters.upstream_refusals++;
        return UPSTREAM_E_FULL;
    }
    list_push_back(&b->queue, &x->queue_link);
    x->queued_at = b;
    b->queued++;
    b->service->counters.waiting++;
    b->service->counters.upstream_waits++;
    return UPSTREAM_E_WAIT;
}

static void take_promise(struct exchange *x)
{
    if (x->promised_by)
        x->promised_by->promised--;
    x->promised_by = NULL;
}

/* ---- one connection ------------------------------------------------------------------ */

static void unpool(struct upstream *u)
{
    if (!list_linked(&u->link))
        return;
    list_remove(&u->link);
    list_remove(&u->age_link);
    u->backend->idle_count--;
    shard_of(u->backend)->idle_count--;
}

static void upstream_free(struct upstream *u, bool abort)
{
    unpool(u);
    u->backend->open_count--;
    if (u->x)
        u->x->up = NULL;
    if (abort)
        stream_abort(u->stream);
    else
        stream_close(u->stream);
    free(u);
}

static void on_event(struct stream *stream, unsigned events, time_ns now)
{
    struct upstream *u = stream->owner;

    (void)now;
    u->readable |= (events & (STREAM_READABLE | STREAM_FAILED)) != 0; /* reading tells the error */
    u->writable |= (events & STREAM_WRITABLE) != 0;
    u->connected |= (events & (STREAM_CONNECTED | STREAM_WRITABLE)) != 0;
    u->failed |= (events & STREAM_FAILED) != 0;
    if (u->x)
        conn_ready(u->x->conn);
    else if (events & (STREAM_READABLE | STREAM_FAILED))
        upstream_free(u, false); /* idle: it closed, or says something nobody asked for */
}

/* ---- dialling ---------------------------------------------------------------------- */

static int dial_plain(struct backend *b, struct stream **out)
{
    struct proxy_service *s = b->service;
    struct stream_dial to = { .host = b->to.dial_host,
                              .port = b->to.dial_port,
                              .timeout = b->connect_timeout,
                              .keep_alive = b->keep_alive };
    int r;

    if (b->to.unix_path)
        return stream_unix_connect(out, s->shard->loop, b->to.unix_path);
    r = s->ops->dial ? s->ops->dial(s->ctx, b->to.dial_host, b->to.dial_port, out) : 1;
    return r == 1 ? stream_dial(out, s->shard->loop, &to) : r;
}

static int dial(struct backend *b, struct stream **out)
{
    struct tls_client_config config = { .server_name = b->to.host,
                                        .insecure = b->insecure_https,
                                        .weak_ciphers = b->weak_ciphers };
    struct stream *below;
    int r = dial_plain(b, &below);

    if (r || !b->to.tls) {
        *out = r ? NULL : below;
        return r;
    }
    r = tls_client_stream(out, b->tls, below, &config);
    if (r)
        stream_close(below);
    return r;
}

static int open_fresh(struct exchange *x, struct backend *b)
{
    struct upstream *u = calloc(1, sizeof(*u));
    int r = u ? dial(b, &u->stream) : -ENOMEM;

    if (r) {
        free(u);
        return r;
    }
    u->backend = b;
    u->x = x;
    u->writable = true; /* the first edge comes with the connection */
    stream_set_owner(u->stream, u, on_event);
    x->up = u;
    b->open_count++;
    b->service->counters.upstream_connects++;
    return 0;
}

/* ---- the pool ------------------------------------------------------------------------ */

/* When the longest idle one has to go. A burst finds again what it has opened a moment ago; what nobody
 * needed since then, and is more than the service may keep, is of no use. */
static time_ns oldest_goes(const struct backend *b, const struct upstream *oldest)
{
    return oldest->idle_since +
           (b->idle_count > b->idle_max ? MIN(b->idle_timeout, b->burst_timeout) : b->idle_timeout);
}

static void arm(struct backend *b)
{
    struct upstream *oldest = LIST_FIRST(&b->idle, struct upstream, link);
    time_ns at = oldest ? oldest_goes(b, oldest) : TIME_NEVER;

    if (!oldest)
        ev_timer_stop(&b->idle_timer);
    else if (!ev_timer_running(&b->idle_timer) || b->idle_timer.at > at)
        ev_timer_set(&b->idle_timer, at); /* else it may be early: then it is set again when it runs out */
}

static void on_idle_timer(struct ev_timer *t, time_ns now)
{
    struct backend *b = CONTAINER_OF(t, struct backend, idle_timer);
    struct upstream *u;

    while ((u = LIST_FIRST(&b->idle, struct upstream, link)) && oldest_goes(b, u) <= now)
        upstream_free(u, false);
    arm(b);
}

void backend_init(struct backend *b, struct proxy_service *service)
{
    b->service = service;
    b->burst_timeout = PROXY_IDLE_BURST_TIMEOUT;
    list_init(&b->idle);
    list_init(&b->queue);
    ev_timer_init(&b->idle_timer, service->shard->loop, on_idle_timer);
}

void backend_close_idle(struct backend *b)
{
    struct upstream *u;

    while ((u = LIST_FIRST(&b->idle, struct upstream, link)))
        upstream_free(u, false);
    ev_timer_stop(&b->idle_timer);
}

void backend_deinit(struct backend *b)
{
    backend_close_idle(b);
    must(!b->open_count && !b->queued && !b->promised);
    tls_client_unref(b->tls);
    free(b->trouble);
    destination_free(&b->to);
}

/* Has an idle connection died without an event so far? Asked only where a request could not be sent again. */
static bool is_alive(struct upstream *u)
{
    uint8_t byte;

    return stream_read(u->stream, &byte, 1) == -EAGAIN;
}

static bool open_pooled(struct exchange *x, struct backend *b)
{
    while (!list_empty(&b->idle)) {
        struct upstream *u = LIST_ENTRY(b->idle.prev, struct upstream, link); /* the latest used */

        if (!x->repeatable && !x->asking && !is_alive(u)) {
            upstream_free(u, false);
            continue;
        }
        unpool(u);
        u->x = x;
        u->reused = u->writable = true;
        u->readable = false; /* whatever waits there, the answer to this request brings an edge */
        x->up = u;
        return true;
    }
    return false;
}

int upstream_open(struct exchange *x, struct backend *b, bool fresh)
{
    int r = 0;

    if (!x->promised_by && (!has_room(b) || !list_empty(&b->queue)))
        return x->queued_at ? UPSTREAM_E_WAIT : enter_queue(x, b);
    take_promise(x);
    if (fresh || !open_pooled(x, b)) {
        if (b->open_max && b->open_count >= b->open_max) /* those that are idle count too */
            upstream_free(LIST_FIRST(&b->idle, struct upstream, link), false);
        r = open_fresh(x, b);
    }
    if (r)
        let_next_in(b);
    return r;
}

static void keep(struct upstream *u, time_ns now)
{
    struct backend *b = u->backend;
    struct proxy_shard *shard = shard_of(b);

    u->x->up = NULL;
    u->x = NULL;
    u->idle_since = now;
    list_push_back(&b->idle, &u->link);
    list_push_back(&shard->idle, &u->age_link);
    b->idle_count++;
    shard->idle_count++;
    if (shard->idle_count > PROXY_IDLE_UPSTREAMS_MAX)
        upstream_free(b->idle_count > b->idle_max /* its burst is not for others to pay */
                          ? LIST_FIRST(&b->idle, struct upstream, link)
                          : LIST_FIRST(&shard->idle, struct upstream, age_link),
                      false);
    arm(b);
}

void upstream_release(struct exchange *x, bool reusable, time_ns now)
{
    struct upstream *u = x->up;
    struct backend *b = u ? u->backend : x->promised_by;

    leave_queue(x);
    take_promise(x);
    if (u && reusable && !u->failed && !b->service->draining && b->idle_max)
        keep(u, now);
    else if (u)
        upstream_free(u, !x->response_done);
    if (b)
        let_next_in(b);
}

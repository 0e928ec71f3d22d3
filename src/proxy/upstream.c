/* Connections to the upstream. One deadline for the whole pool: it stands at the moment the longest idle
 * connection has to go, whichever service it belongs to. */
#include <errno.h>
#include <stdlib.h>

#include "proxy/internal.h"

static void unpool(struct upstream *u)
{
    struct proxy_service *s = u->service;

    if (!list_linked(&u->link))
        return;
    list_remove(&u->link);
    list_remove(&u->age_link);
    s->idle_count--;
    s->shard->idle_count--;
}

static void upstream_free(struct upstream *u, bool abort)
{
    unpool(u);
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

static int dial_plain(struct proxy_service *s, struct stream **out)
{
    struct stream_dial to = { .host = s->to.dial_host,
                              .port = s->to.dial_port,
                              .timeout = s->connect_timeout };
    int r;

    if (s->to.unix_path)
        return stream_unix_connect(out, s->shard->loop, s->to.unix_path);
    r = s->ops->dial ? s->ops->dial(s->ctx, s->to.dial_host, s->to.dial_port, out) : 1;
    return r == 1 ? stream_dial(out, s->shard->loop, &to) : r;
}

static int dial(struct proxy_service *s, struct stream **out)
{
    struct tls_client_config config = { .server_name = s->to.host, .insecure = s->insecure_https };
    struct stream *below;
    int r = dial_plain(s, &below);

    if (r || !s->to.tls) {
        *out = r ? NULL : below;
        return r;
    }
    r = tls_client_stream(out, s->tls, below, &config);
    if (r)
        stream_close(below);
    return r;
}

static int open_fresh(struct exchange *x)
{
    struct proxy_service *s = x->conn->service;
    struct upstream *u = calloc(1, sizeof(*u));
    int r = u ? dial(s, &u->stream) : -ENOMEM;

    if (r) {
        free(u);
        return r;
    }
    u->service = s;
    u->x = x;
    u->writable = true; /* the first edge comes with the connection */
    stream_set_owner(u->stream, u, on_event);
    x->up = u;
    s->counters.upstream_connects++;
    return 0;
}

/* ---- the pool ------------------------------------------------------------------------ */

static void arm(struct proxy_shard *shard)
{
    struct upstream *oldest = LIST_FIRST(&shard->idle, struct upstream, age_link);

    if (!oldest)
        ev_timer_stop(&shard->idle_timer);
    else if (!ev_timer_running(
                 &shard->idle_timer)) /* it may be early: then it is set again when it runs out */
        ev_timer_set(&shard->idle_timer, oldest->idle_since + PROXY_IDLE_UPSTREAM_TIMEOUT);
}

void upstream_pool_timer(struct ev_timer *t, time_ns now)
{
    struct proxy_shard *shard = CONTAINER_OF(t, struct proxy_shard, idle_timer);
    struct upstream *u;

    while ((u = LIST_FIRST(&shard->idle, struct upstream, age_link)) &&
           u->idle_since + PROXY_IDLE_UPSTREAM_TIMEOUT <= now)
        upstream_free(u, false);
    arm(shard);
}

void upstream_close_idle(struct proxy_service *service)
{
    struct upstream *u;

    while ((u = LIST_FIRST(&service->idle, struct upstream, link)))
        upstream_free(u, false);
}

/* Has an idle connection died without an event so far? Asked only where a request could not be sent again. */
static bool is_alive(struct upstream *u)
{
    uint8_t byte;

    return stream_read(u->stream, &byte, 1) == -EAGAIN;
}

static bool open_pooled(struct exchange *x)
{
    struct proxy_service *s = x->conn->service;

    while (!list_empty(&s->idle)) {
        struct upstream *u = LIST_ENTRY(s->idle.prev, struct upstream, link); /* the latest used */

        if (!x->repeatable && !is_alive(u)) {
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

int upstream_open(struct exchange *x, bool fresh, time_ns now)
{
    (void)now;
    if (!fresh && open_pooled(x))
        return 0;
    return open_fresh(x);
}

void upstream_release(struct exchange *x, bool reusable, time_ns now)
{
    struct upstream *u = x->up;
    struct proxy_service *s = x->conn->service;
    struct proxy_shard *shard = s->shard;

    if (!u)
        return;
    if (!reusable || u->failed || s->draining || !s->idle_upstreams_max) {
        upstream_free(u, !x->response_done);
        return;
    }
    x->up = NULL;
    u->x = NULL;
    u->idle_since = now;
    list_push_back(&s->idle, &u->link);
    list_push_back(&shard->idle, &u->age_link);
    s->idle_count++;
    shard->idle_count++;
    if (s->idle_count > s->idle_upstreams_max)
        upstream_free(LIST_FIRST(&s->idle, struct upstream, link), false);
    if (shard->idle_count > PROXY_IDLE_UPSTREAMS_MAX)
        upstream_free(LIST_FIRST(&shard->idle, struct upstream, age_link), false);
    arm(shard);
}

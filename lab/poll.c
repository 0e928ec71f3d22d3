/* lab/poll.c - POST /machine/map: lite updates, and map streams with what is new since the last message */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lab/internal.h"

#define BACKLOG_BYTES_MAX (LAB_MAP_BYTES_MAX + (64u << 10)) /* a whole map, and small things behind it */

bool lab_fault_inject(struct request *q, enum lab_fault fault, unsigned *left,
                      void (*refuse)(struct request *q), struct span nonsense)
{
    if (!*left)
        return false;
    --*left;
    switch (fault) {
    case LAB_FAULT_NONE:
    case LAB_FAULT_COUNT:
        return false;
    case LAB_FAULT_RATE_LIMIT:
        lab_request_limit(q);
        break;
    case LAB_FAULT_BROKEN:
        lab_request_answer(q, 500, NULL, span_from_str("broken on purpose"));
        break;
    case LAB_FAULT_REFUSE:
        refuse(q);
        break;
    case LAB_FAULT_SILENT:
        break;
    case LAB_FAULT_NONSENSE:
        lab_request_answer(q, 200, NULL, nonsense);
        break;
    }
    return true;
}

/* ---- out ------------------------------------------------------------------------------------------- */

static struct session *session_of(const struct poll *p)
{
    return p->request->session;
}

static struct registry_node *node_of(const struct poll *p)
{
    return registry_by_key(&session_of(p)->control->registry, &p->key);
}

/* Length and message. */
static int queue(struct poll *p, struct span message, bool zstd)
{
    struct lab_control *c = session_of(p)->control;
    size_t before = p->out.len, len;
    uint8_t head[4] = { 0 };
    int r = buf_append(&p->out, SPAN_OF(head));

    if (!r)
        r = zstd ? zip_message(&c->zip, message, &p->out) : buf_append(&p->out, message);
    if (r)
        return r;
    len = p->out.len - before - sizeof(head);
    store_le32(p->out.data + p->out.start + before, (uint32_t)len);
    c->counters.messages++;
    c->counters.message_bytes += len;
    return 0;
}

/* The stream cannot go on: the node begins a new one. */
static void fail(struct poll *p)
{
    lab_request_reset(p->request);
}

/* Moves what is framed to HTTP/2. False: the stream is over, and p is gone. */
static bool flush(struct poll *p)
{
    struct session *s = session_of(p);

    ev_task_post(&s->pump);
    if (p->out.len)
        buf_consume(&p->out, h2_server_write(s->h2, p->request->id, buf_span(&p->out)));
    if (p->out.len)
        return true;
    buf_trim(&p->out);
    if (!p->ending || p->ended)
        return true;
    p->ended = true;
    if (h2_server_end(s->h2, p->request->id, NULL, 0))
        fail(p);
    return false;
}

/* Queues one message as it stands, and moves it on. */
static void send(struct poll *p, struct span message, bool zstd)
{
    if (queue(p, message, zstd))
        fail(p);
    else
        flush(p);
}

/* Writes what is new into the server's text. 0, LAB_MAP_NOTHING, -errno. */
static int compose(struct poll *p, const struct registry_node *self)
{
    struct lab_control *c = session_of(p)->control;
    int64_t wall = ev_wall_clock();
    int r = LAB_MAP_TOO_OLD;

    buf_clear(&c->text);
    if (!p->whole)
        r = lab_map_write_delta(&c->text, &c->registry, &c->net, self, p->seen, wall);
    if (r == LAB_MAP_TOO_OLD) {
        buf_clear(&c->text);
        r = lab_map_write_whole(&c->text, &c->registry, &c->net, self, wall);
    }
    return r;
}

/* One message at a time: while a node does not read, what changes gathers in the registry. */
static void tell(struct poll *p)
{
    struct lab_control *c = session_of(p)->control;
    const struct registry_node *self = node_of(p);
    int r;

    if (p->out.len || p->ending)
        return;
    if (!self) { /* removed, or it has another key now */
        lab_poll_end(p);
        return;
    }
    if (!p->whole && p->seen == c->registry.version)
        return;
    r = compose(p, self);
    p->whole = false;
    p->seen = c->registry.version;
    if (r == LAB_MAP_NOTHING)
        return;
    if (r)
        fail(p);
    else
        send(p, buf_span(&c->text), p->zstd);
}

void lab_poll_writable(struct poll *p)
{
    if (flush(p))
        tell(p);
}

void lab_poll_deliver(struct lab_control *c)
{
    LIST_EACH (p, &c->polls, struct poll, link)
        tell(p);
}

void lab_poll_send_raw(struct poll *p, struct span message)
{
    send(p, message, false);
}

void lab_poll_end(struct poll *p)
{
    p->ending = true;
    ev_timer_stop(&p->keep_alive);
    flush(p);
}

static void on_keep_alive(struct ev_timer *t, time_ns now)
{
    struct poll *p = CONTAINER_OF(t, struct poll, keep_alive);

    ev_timer_set(t, now + LAB_MAP_KEEP_ALIVE);
    if (p->out.len || p->ending)
        return; /* it has enough to read */
    send(p, span_from_str("{\"KeepAlive\":true}"), p->zstd);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void set_online(struct lab_control *c, struct registry_node *n, bool online)
{
    if (n->online == online)
        return;
    registry_set_online(&c->registry, n, online, ev_wall_clock());
    lab_control_changed(c);
    if (c->ops && c->ops->online)
        c->ops->online(c->ctx, n);
}

static struct poll *find(const struct lab_control *c, const struct public_key *key)
{
    LIST_EACH (p, &c->polls, struct poll, link)
        if (public_key_equal(&p->key, key) && !p->ending)
            return p;
    return NULL;
}

void lab_poll_free(struct poll *p)
{
    struct lab_control *c = session_of(p)->control;
    struct registry_node *n = node_of(p);

    list_remove(&p->link);
    ev_timer_stop(&p->keep_alive);
    p->request->poll = NULL;
    if (n && !find(c, &p->key))
        set_online(c, n, false);
    buf_deinit(&p->out);
    free(p);
}

/* A newer stream of the same node takes the place of the older one. */
static void open_stream(struct request *q, struct registry_node *n, const struct lab_map_request *asked)
{
    struct lab_control *c = q->session->control;
    struct poll *old = find(c, &n->key), *p = calloc(1, sizeof(*p));

    if (!p || h2_server_head(q->session->h2, q->id, 200, NULL, 0, false)) {
        free(p);
        lab_request_reset(q);
        return;
    }
    p->request = q;
    p->key = n->key;
    p->zstd = asked->zstd;
    p->whole = true;
    buf_init(&p->out, BACKLOG_BYTES_MAX);
    ev_timer_init(&p->keep_alive, c->loop, on_keep_alive);
    if (asked->keep_alive)
        ev_timer_set(&p->keep_alive, ev_now(c->loop) + LAB_MAP_KEEP_ALIVE);
    q->poll = p;
    list_push_back(&c->polls, &p->link);
    c->counters.map_streams++;
    if (old)
        lab_poll_end(old);
    set_online(c, n, true);
    tell(p);
}

static void refuse(struct request *q)
{
    lab_request_answer(q, 404, NULL, span_from_str("node not found"));
}

static void apply(struct lab_control *c, struct registry_node *n, struct lab_map_request *asked)
{
    bool before = n->home_region;

    lab_map_request_apply(&c->registry, n, asked);
    if (!before && n->home_region && c->ops && c->ops->reachable)
        c->ops->reachable(c->ctx, n);
}

void lab_map_handle(struct request *q)
{
    static const uint8_t nonsense[] = "\x0b\0\0\0{\"Node\":[\"}"; /* of a stream: length, text */
    struct lab_control *c = q->session->control;
    struct lab_map_request asked;
    struct registry_node *n;

    if (lab_fault_inject(q, c->map_fault, &c->map_faults, refuse, span_make(nonsense, sizeof(nonsense) - 1)))
        return;
    if (!lab_map_request_parse(buf_span(&q->body), &asked)) {
        lab_request_answer(q, 400, NULL, span_from_str("not a map request"));
        return;
    }
    buf_deinit(&q->body);
    n = registry_by_key(&c->registry, &asked.key);
    if (!n || !public_key_equal(&n->machine, &q->session->machine)) {
        free(asked.info);
        refuse(q);
        return;
    }
    if (asked.stream) { /* what else it says counts in lite updates only, as with the hosted service */
        free(asked.info);
        open_stream(q, n, &asked);
        return;
    }
    if (asked.read_only)
        free(asked.info);
    else
        apply(c, n, &asked);
    c->counters.lite_updates++;
    lab_control_changed(c);
    lab_request_answer(q, 200, NULL, SPAN_NONE);
}

#include "lab/relay.h"

#include <errno.h>
#include <stdlib.h>

#include "disco/disco.h"
#include "lab/guest.h"
#include "lab/web.h"

#define READ_BYTES 16384
#define PARTS 16
#define NOT_HERE_BURST 3 /* "peer is not here", and one more a second */

struct lab_relay {
    struct ev_loop *loop;
    struct web *web;
    struct secret_key key;
    uint8_t hash_key[16];
    struct list members; /* struct member, oldest first */
    struct table by_key; /* the newest of each key */
    size_t count;
    bool refuse;
    struct lab_relay_counters counters;
};

/* One connection. */
struct member {
    struct list link;
    struct table_node by_key;
    struct lab_relay *relay;
    struct stream *stream;
    struct guest *guest;
    struct ev_task pump;
    struct ev_timer keep_alive;
    struct buf hello;                             /* our HTTP answer, before any frame */
    bool known;                                   /* its key is proven */
    bool active;                                  /* it is in the table */
    struct public_key heard[LAB_RELAY_HEARD_MAX]; /* who got packets from it */
    uint32_t heard_count;
    uint32_t not_here;     /* told in this second */
    time_ns not_here_from; /* when that second began */
};

/* ---- who is here ------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct lab_relay *r, const struct public_key *key)
{
    return siphash(r->hash_key, key->bytes, KEY_BYTES);
}

static struct member *find(const struct lab_relay *r, const struct public_key *key)
{
    for (struct table_node *n = table_first(&r->by_key, hash_of(r, key)); n; n = table_next_same(n)) {
        struct member *m = TABLE_ENTRY(n, struct member, by_key);

        if (public_key_equal(guest_key(m->guest), key))
            return m;
    }
    return NULL;
}

static void activate(struct member *m)
{
    struct lab_relay *r = m->relay;
    struct member *old = find(r, guest_key(m->guest));

    if (old) {
        table_remove(&r->by_key, &old->by_key);
        old->active = false;
    }
    m->active = table_insert(&r->by_key, &m->by_key, hash_of(r, guest_key(m->guest))) == 0;
}

/* Those who had packets from it hear that it left; an older connection of the key serves again. */
static void deactivate(struct member *m)
{
    struct lab_relay *r = m->relay;

    if (!m->active)
        return;
    table_remove(&r->by_key, &m->by_key);
    m->active = false;
    LIST_EACH (other, &r->members, struct member, link)
        if (other != m && other->known && public_key_equal(guest_key(other->guest), guest_key(m->guest))) {
            activate(other);
            return;
        }
    for (uint32_t i = 0; i < m->heard_count; i++) {
        struct member *peer = find(r, &m->heard[i]);

        if (peer) {
            guest_tell_gone(peer->guest, guest_key(m->guest), false);
            ev_task_post(&peer->pump);
        }
    }
}

static void member_free(struct member *m)
{
    struct lab_relay *r = m->relay;

    deactivate(m);
    list_remove(&m->link);
    r->count -= m->known;
    r->counters.dropped += guest_dropped(m->guest);
    ev_task_cancel(&m->pump);
    ev_timer_stop(&m->keep_alive);
    stream_close(m->stream);
    guest_free(m->guest);
    buf_deinit(&m->hello);
    free(m);
}

/* ---- packets -------------------------------------------------------------------------------------- */

static void remember_heard(struct member *m, const struct public_key *peer)
{
    for (uint32_t i = 0; i < m->heard_count; i++)
        if (public_key_equal(&m->heard[i], peer))
            return;
    if (m->heard_count < LAB_RELAY_HEARD_MAX)
        m->heard[m->heard_count++] = *peer;
}

/* As the reference: only disco packets get an answer, and few of them. */
static void tell_not_here(struct member *m, const struct guest_event *ev, time_ns now)
{
    if (!disco_is(ev->packet))
        return;
    if (now - m->not_here_from >= SEC) {
        m->not_here_from = now;
        m->not_here = 0;
    }
    if (m->not_here++ < NOT_HERE_BURST)
        guest_tell_gone(m->guest, &ev->to, true);
}

static void forward(struct member *m, const struct guest_event *ev, time_ns now)
{
    struct lab_relay *r = m->relay;
    struct member *to = find(r, &ev->to);

    if (!to) {
        r->counters.packets_nowhere++;
        tell_not_here(m, ev, now);
        return;
    }
    if (guest_deliver(to->guest, guest_key(m->guest), ev->packet))
        return; /* out of memory: a relay may lose packets */
    r->counters.packets++;
    r->counters.bytes += ev->packet.len;
    remember_heard(m, &ev->to);
    ev_task_post(&to->pump);
}

/* False: the connection has to end. */
static bool take_events(struct member *m, time_ns now)
{
    struct guest_event ev;

    while (guest_next(m->guest, &ev))
        switch (ev.kind) {
        case GUEST_HELLO:
            m->known = true;
            m->relay->count++;
            activate(m);
            break;
        case GUEST_PACKET:
            forward(m, &ev, now);
            break;
        case GUEST_HOME:
            break;
        }
    if (guest_error(m->guest))
        m->relay->counters.faults++;
    return guest_error(m->guest) == 0;
}

static bool receive(struct member *m, struct span bytes, time_ns now)
{
    return guest_feed(m->guest, bytes) == 0 && take_events(m, now);
}

/* ---- the stream -------------------------------------------------------------------------------------- */

/* False: it broke. */
static bool flush(struct member *m)
{
    struct span parts[PARTS];
    ssize_t n = 0;
    size_t count;

    while (m->hello.len && (n = stream_write(m->stream, buf_span(&m->hello))) > 0)
        buf_consume(&m->hello, (size_t)n);
    if (!m->hello.len)
        buf_trim(&m->hello);
    while (n >= 0 && !m->hello.len && (count = guest_pending(m->guest, parts, PARTS)) > 0) {
        n = stream_writev(m->stream, parts, count);
        if (n > 0)
            guest_sent(m->guest, (size_t)n);
    }
    return n >= 0 || n == -EAGAIN;
}

static void on_pump(struct ev_task *t, time_ns now)
{
    struct member *m = CONTAINER_OF(t, struct member, pump);

    (void)now;
    if (!flush(m))
        member_free(m);
}

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    struct member *m = s->owner;
    uint8_t bytes[READ_BYTES];
    ssize_t n = -EAGAIN;

    if (events & STREAM_FAILED) {
        member_free(m);
        return;
    }
    while ((n = stream_read(s, bytes, sizeof(bytes))) > 0)
        if (!receive(m, span_make(bytes, (size_t)n), now)) {
            member_free(m);
            return;
        }
    if (n != -EAGAIN || !flush(m))
        member_free(m);
}

static void on_keep_alive(struct ev_timer *t, time_ns now)
{
    struct member *m = CONTAINER_OF(t, struct member, keep_alive);

    guest_keep_alive(m->guest);
    ev_timer_set(t, now + LAB_RELAY_KEEP_ALIVE);
    ev_task_post(&m->pump);
}

/* The answer to the upgrade; none after a fast start. */
static int greet(struct member *m, bool fast_start)
{
    struct public_key public;
    char hex[2 * KEY_BYTES + 1];

    if (fast_start)
        return 0;
    secret_key_public(&m->relay->key, &public);
    hex_encode(hex, SPAN_OF(public.bytes));
    return buf_printf(&m->hello,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
                      "Derp-Version: 2\r\nDerp-Public-Key: %s\r\n\r\n",
                      hex);
}

static void take_over(struct lab_relay *r, struct web_conn *c, bool fast_start)
{
    struct member *m = calloc(1, sizeof(*m));
    struct buf rest;
    time_ns now = ev_now(r->loop);

    if (!m)
        return;
    m->relay = r;
    buf_init(&m->hello, 1024);
    buf_init(&rest, GUEST_FEED_BYTES_MAX);
    ev_task_init(&m->pump, r->loop, on_pump);
    ev_timer_init(&m->keep_alive, r->loop, on_keep_alive);
    if (guest_new(&m->guest, &r->key) || greet(m, fast_start) || !(m->stream = web_take(c, &rest))) {
        guest_free(m->guest);
        buf_deinit(&m->hello);
        buf_deinit(&rest);
        free(m);
        return;
    }
    r->counters.upgrades++;
    list_push_back(&r->members, &m->link);
    stream_set_owner(m->stream, m, on_event);
    ev_timer_set(&m->keep_alive, now + LAB_RELAY_KEEP_ALIVE);
    if (!receive(m, buf_span(&rest), now))
        member_free(m);
    else
        on_event(m->stream, 0, now); /* what it has to read and to write may have no event any more */
    buf_deinit(&rest);
}

/* ---- requests --------------------------------------------------------------------------------------------
 */

static void on_request(void *ctx, struct web_conn *c, const struct http_head *head)
{
    struct lab_relay *r = ctx;
    struct span path = web_path(http_head_target(head)), fast;

    if (span_equal_str(path, "/derp/probe") || span_equal_str(path, "/derp/latency-check"))
        web_answer(c, 200, "text/plain", "Access-Control-Allow-Origin: *\r\n", SPAN_NONE);
    else if (span_equal_str(path, "/generate_204"))
        web_answer(c, 204, NULL, NULL, SPAN_NONE);
    else if (!span_equal_str(path, "/derp"))
        return;
    else if (r->refuse || r->count >= LAB_RELAY_GUESTS_MAX)
        web_answer(c, 503, "text/plain", NULL, span_from_str("no room\n"));
    else if (!head->upgrade || !http_head_lists(head, HTTP_FIELD_UPGRADE, "derp"))
        web_answer(c, 426, "text/plain", "Upgrade: DERP\r\n", span_from_str("DERP requires an upgrade\n"));
    else
        take_over(r, c, http_head_get_name(head, "Derp-Fast-Start", &fast) && span_equal_str(fast, "1"));
}

/* ---- life
 * -------------------------------------------------------------------------------------------------- */

int lab_relay_new(struct lab_relay **out, struct ev_loop *loop, const struct lab_relay_config *config)
{
    struct lab_relay *r = calloc(1, sizeof(*r));
    struct web_config web = {
        .at = config->at,
        .tls = config->tls,
        .identity = config->identity,
        .request = on_request,
        .ctx = r,
    };
    int error;

    if (!r)
        return -ENOMEM;
    r->loop = loop;
    list_init(&r->members);
    table_init(&r->by_key);
    secret_key_generate(&r->key);
    random_bytes(r->hash_key, sizeof(r->hash_key));
    error = web_new(&r->web, loop, &web);
    if (error) {
        lab_relay_free(r);
        return error;
    }
    *out = r;
    return 0;
}

void lab_relay_cut(struct lab_relay *r)
{
    while (!list_empty(&r->members))
        member_free(LIST_FIRST(&r->members, struct member, link));
}

void lab_relay_refuse(struct lab_relay *r, bool yes)
{
    r->refuse = yes;
}

void lab_relay_free(struct lab_relay *r)
{
    if (!r)
        return;
    web_free(r->web);
    lab_relay_cut(r);
    table_deinit(&r->by_key);
    wipe(&r->key, sizeof(r->key));
    free(r);
}

uint16_t lab_relay_port(const struct lab_relay *r)
{
    return web_port(r->web);
}

size_t lab_relay_guests(const struct lab_relay *r)
{
    return r->count;
}

const struct lab_relay_counters *lab_relay_counters(const struct lab_relay *r)
{
    return &r->counters;
}

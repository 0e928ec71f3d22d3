/* proxy/test_world.h - a proxy between a client and upstreams in memory; the test is both of them */
#ifndef MANYTAILS_PROXY_TEST_WORLD_H
#define MANYTAILS_PROXY_TEST_WORLD_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "proxy/internal.h"

#ifndef PEERS_MAX
#define PEERS_MAX 8
#endif

struct peer {
    struct stream_pair *pair;
    struct stream *end; /* ours; NULL once closed */
    struct buf got, says;
    bool deaf;         /* does not read */
    bool ended, broke; /* what the proxy did to us */
    bool close_on_read;
};

static struct ev_loop *loop;
static struct proxy_shard *shard;
static struct proxy_service *service;
static struct peer clients[PEERS_MAX], upstreams[PEERS_MAX];
static int client_count, dialled, dial_error;
static bool refuse_connections, drained;
static struct stream_pair_options way = { 0 };
static struct proxy_identity identity;
static bool known = true, known_to_control = true;

static void peer_step(struct peer *p)
{
    static uint8_t room[70000];
    ssize_t n = -EAGAIN;

    if (!p->end)
        return;
    while (p->says.len && (n = stream_write(p->end, buf_span(&p->says))) > 0)
        buf_consume(&p->says, (size_t)n);
    if (p->deaf)
        return;
    while ((n = stream_read(p->end, room, sizeof(room))) > 0) {
        assert_int_equal(buf_append(&p->got, span_make(room, (size_t)n)), 0);
        if (p->close_on_read) {
            stream_close(p->end);
            p->end = NULL;
            return;
        }
    }
    p->ended |= n == 0;
    p->broke |= n < 0 && n != -EAGAIN;
}

static void on_peer_event(struct stream *s, unsigned events, time_ns now)
{
    (void)events;
    (void)now;
    peer_step(s->owner);
}

/* A new connection; the other end goes to the proxy. */
static struct stream *peer_open(struct peer *p)
{
    assert_int_equal(stream_pair_new(&p->pair, &way), 0);
    p->end = stream_pair_end(p->pair, 0);
    stream_set_owner(p->end, p, on_peer_event);
    buf_init(&p->got, 64 << 20);
    buf_init(&p->says, 64 << 20);
    return stream_pair_end(p->pair, 1);
}

static void peer_close(struct peer *p)
{
    if (p->end)
        stream_close(p->end);
    p->end = NULL;
}

static int dial(void *ctx, const char *host, uint16_t port, struct stream **out)
{
    (void)ctx;
    (void)host;
    (void)port;
    if (dial_error)
        return dial_error;
    assert_true(dialled < PEERS_MAX);
    *out = peer_open(&upstreams[dialled]);
    if (refuse_connections)
        stream_pair_break(upstreams[dialled].pair, -ECONNREFUSED);
    dialled++;
    return 0;
}

static bool whois(void *ctx, const struct ip_port *peer, struct proxy_identity *out)
{
    (void)ctx;
    (void)peer;
    *out = identity;
    return known;
}

static void on_drained(void *ctx)
{
    (void)ctx;
    drained = true;
}

static bool https_host(void *ctx, struct span asked, char out[PROXY_HOST_BYTES])
{
    (void)ctx;
    snprintf(out, PROXY_HOST_BYTES, "%s",
             span_equal_str(asked, "alias.test") ? "alias.test" : "web.tail.test:8443");
    return known_to_control;
}

static const struct proxy_ops ops = { whois, dial, on_drained, https_host };

/* Until nothing moves any more. */
static void run(void)
{
    for (int quiet = 0; quiet < 3;) {
        bool moved = false;

        for (int i = 0; i < client_count; i++)
            moved |= clients[i].pair && stream_pair_turn(clients[i].pair, ev_now(loop));
        for (int i = 0; i < dialled; i++)
            moved |= stream_pair_turn(upstreams[i].pair, ev_now(loop));
        assert_int_equal(ev_loop_turn(loop, 0), 0);
        quiet = moved ? 0 : quiet + 1;
    }
}

static struct proxy_service_config default_config(void)
{
    return (struct proxy_service_config) { .name = "web",
                                           .upstream = "http://up.test:8080",
                                           .access_log = PROXY_LOG_OFF };
}

static void start_with(const struct proxy_service_config *config)
{
    char why[PROXY_WHY_BYTES];

    if (proxy_service_new(&service, shard, config, &ops, NULL, why))
        fail_msg("%s", why);
}

static struct peer *client_connects_from(struct proxy_arrival arrival)
{
    struct peer *p = &clients[client_count++];

    assert_true(client_count < PEERS_MAX);
    proxy_accept(service, peer_open(p), &arrival);
    return p;
}

static struct peer *client_connects(void)
{
    struct proxy_arrival a = { .listen_port = 443, .tls = true };

    assert_true(ip_port_parse(span_from_str("100.64.0.7:5555"), &a.peer));
    return client_connects_from(a);
}

static void start(void)
{
    struct proxy_service_config c = default_config();

    start_with(&c);
    client_connects();
}

static void says(struct peer *p, const char *text)
{
    assert_int_equal(buf_append_str(&p->says, text), 0);
    peer_step(p);
    run();
}

/* What arrived since the last call; the Date is taken out. */
static const char *heard(struct peer *p)
{
    static char text[1 << 20];
    char *date, *end;

    run();
    assert_true(p->got.len < sizeof(text));
    if (p->got.len)
        memcpy(text, buf_span(&p->got).data, p->got.len);
    text[p->got.len] = '\0';
    buf_clear(&p->got);
    while ((date = strstr(text, "Date: "))) {
        end = strstr(date, "\r\n") + 2;
        memmove(date, end, strlen(end) + 1);
    }
    return text;
}

/* What the proxy has moved to and from clients; all services of a test are of account 0. */
static inline uint64_t moved(enum account_direction direction)
{
    return account_cell_of(account_charge_of(0, ACCOUNT_PROXY))->traffic[direction].bytes;
}

#define CLIENT (&clients[0])
#define UP(i) (&upstreams[i])

static int world_setup(void **state)
{
    (void)state;
    memset(clients, 0, sizeof(clients));
    memset(upstreams, 0, sizeof(upstreams));
    client_count = dialled = dial_error = 0;
    refuse_connections = drained = false;
    known = false;
    known_to_control = true;
    memset(&identity, 0, sizeof(identity));
    service = NULL;
    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(proxy_shard_new(&shard, loop), 0);
    return 0;
}

static int world_teardown(void **state)
{
    (void)state;
    proxy_service_free(service);
    assert_int_equal(proxy_shard_connections(shard), 0);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 0);
    proxy_shard_free(shard);
    for (int i = 0; i < PEERS_MAX; i++) {
        peer_close(&clients[i]);
        peer_close(&upstreams[i]);
        stream_pair_free(clients[i].pair);
        stream_pair_free(upstreams[i].pair);
        buf_deinit(&clients[i].got);
        buf_deinit(&clients[i].says);
        buf_deinit(&upstreams[i].got);
        buf_deinit(&upstreams[i].says);
    }
    ev_loop_free(loop);
    return 0;
}

#endif

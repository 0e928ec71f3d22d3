/* Nodes against a small relay of our own on loopback, without TLS. The real one is in test/relay-derper. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/internal.h"

/* ---- the relay ------------------------------------------------------------------------- */

#define GUESTS_MAX 8

struct guest {
    struct fake_relay *relay;
    struct stream *stream;
    struct buf in, out;
    struct public_key key;
    int stage; /* 0 HTTP, 1 client info, 2 packets */
    bool home;
};

struct fake_relay {
    struct ev_loop *loop;
    struct ev_io listener;
    uint16_t port;
    struct secret_key secret;
    struct public_key key;
    struct guest guests[GUESTS_MAX];
    int guest_count; /* ever */
    bool silent;     /* says nothing after accepting */
    bool deaf;       /* stops reading packets */
    bool shy;        /* says who it is, and not that it knows somebody */
    int pings;
};

static void guest_flush(struct guest *g)
{
    ssize_t n;

    while (g->out.len && (n = stream_write(g->stream, buf_span(&g->out))) > 0)
        buf_consume(&g->out, (size_t)n);
}

static void put_frame(struct guest *g, uint8_t type, struct span a, struct span b)
{
    uint8_t header[5] = { type };

    store_be32(header + 1, (uint32_t)(a.len + b.len));
    assert_int_equal(buf_append(&g->out, SPAN_OF(header)) | buf_append(&g->out, a) | buf_append(&g->out, b),
                     0);
    guest_flush(g);
}

static void greet(struct guest *g)
{
    static const uint8_t magic[8] = { 'D', 'E', 'R', 'P', 0xf0, 0x9f, 0x94, 0x91 };

    assert_int_equal(buf_append_str(&g->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n"), 0);
    put_frame(g, 0x01, SPAN_OF(magic), SPAN_OF(g->relay->key.bytes));
}

static void accept_guest(struct guest *g)
{
    uint8_t shared[KEY_BYTES], nonce[BOX_NONCE_BYTES] = { 1 }, sealed[64];
    static const char info[] = "{\"version\":2}";

    assert_true(box_key_make(shared, &g->relay->secret, &g->key));
    box_seal(sealed, span_from_str(info), nonce, shared);
    put_frame(g, 0x03, SPAN_OF(nonce), span_make(sealed, sizeof(info) - 1 + BOX_TAG_BYTES));
    g->stage = 2;
}

static void on_frame(struct guest *g, uint8_t type, struct span body)
{
    if (type == 0x02) {
        memcpy(g->key.bytes, body.data, KEY_BYTES);
        if (!g->relay->shy)
            accept_guest(g);
    } else if (type == 0x04) {
        for (int i = 0; i < GUESTS_MAX; i++) {
            struct guest *to = &g->relay->guests[i];

            if (to->stream && to->stage == 2 && memcmp(to->key.bytes, body.data, KEY_BYTES) == 0)
                put_frame(to, 0x05, SPAN_OF(g->key.bytes), span_slice(body, KEY_BYTES, body.len));
        }
    } else if (type == 0x07) {
        g->home = body.data[0];
    } else if (type == 0x12) {
        g->relay->pings++;
        put_frame(g, 0x13, body, SPAN_NONE);
    }
}

static void guest_leave(struct guest *g)
{
    stream_close(g->stream);
    buf_deinit(&g->in);
    buf_deinit(&g->out);
    *g = (struct guest) { .relay = g->relay };
}

static void on_guest(struct stream *s, unsigned events, time_ns now)
{
    struct guest *g = s->owner;
    uint8_t bytes[4096];
    ssize_t n = -EAGAIN;

    (void)events;
    (void)now;
    if (g->relay->silent || g->relay->deaf)
        return;
    guest_flush(g);
    while ((n = stream_read(s, bytes, sizeof(bytes))) > 0)
        assert_int_equal(buf_append(&g->in, span_make(bytes, (size_t)n)), 0);
    if (g->stage == 0) {
        const uint8_t *end = memmem(buf_span(&g->in).data, g->in.len, "\r\n\r\n", 4);

        if (end) {
            buf_consume(&g->in, (size_t)(end - buf_span(&g->in).data) + 4);
            g->stage = 1;
            greet(g);
        }
    }
    while (g->stage && g->in.len >= 5 && g->in.len - 5 >= load_be32(buf_span(&g->in).data + 1)) {
        struct span frame = buf_span(&g->in);
        size_t len = load_be32(frame.data + 1);

        on_frame(g, frame.data[0], span_slice(frame, 5, len));
        buf_consume(&g->in, 5 + len);
    }
    if (n != -EAGAIN)
        guest_leave(g);
}

static void on_listener(struct ev_io *io, unsigned events, time_ns now)
{
    struct fake_relay *r = CONTAINER_OF(io, struct fake_relay, listener);
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(io->fd, &fd) == 0) {
        struct guest *g = r->guests;

        while (g->stream)
            assert_true(++g < r->guests + GUESTS_MAX);
        r->guest_count++;
        g->relay = r;
        buf_init(&g->in, 1 << 20);
        buf_init(&g->out, 1 << 20);
        assert_int_equal(stream_tcp_accept(&g->stream, r->loop, fd), 0);
        stream_set_owner(g->stream, g, on_guest);
    }
}

/* port 0: any */
static void relay_open(struct fake_relay *r, struct ev_loop *loop, uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *r = (struct fake_relay) { .loop = loop };
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    r->port = ntohs(a.sin_port);
    secret_key_generate(&r->secret);
    secret_key_public(&r->secret, &r->key);
    ev_io_init(&r->listener, loop, on_listener);
    assert_int_equal(ev_io_start(&r->listener, fd), 0);
}

static void relay_close(struct fake_relay *r)
{
    int fd = r->listener.fd;

    ev_io_stop(&r->listener);
    ev_close(&fd);
    for (int i = 0; i < GUESTS_MAX; i++)
        if (r->guests[i].stream)
            guest_leave(&r->guests[i]);
}

/* Who has said its key. */
static struct guest *guest_at_the_door(struct fake_relay *r, const struct public_key *key)
{
    for (int i = 0; i < GUESTS_MAX; i++)
        if (r->guests[i].stream && public_key_equal(&r->guests[i].key, key))
            return &r->guests[i];
    return NULL;
}

static struct guest *guest_of(struct fake_relay *r, const struct public_key *key)
{
    struct guest *g = guest_at_the_door(r, key);

    return g && g->stage == 2 ? g : NULL;
}

/* ---- the nodes ------------------------------------------------------------------------------ */

struct person {
    struct relay_node *node;
    struct public_key key;
    int received, troubles, rooms, heard, probed;
    time_ns latency; /* of the last probe */
    uint16_t last_region;
    char last[64];
};

static void on_received(void *ctx, uint16_t region, const struct public_key *from, struct mspan packet,
                        time_ns now)
{
    struct person *p = ctx;

    (void)from;
    (void)now;
    p->received++;
    p->last_region = region;
    assert_true(text_copy(p->last, sizeof(p->last), span_make(packet.data, MIN(packet.len, (size_t)60))));
}

static void on_heard(void *ctx, uint16_t region, time_ns now)
{
    (void)region;
    (void)now;
    ((struct person *)ctx)->heard++;
}

static void on_trouble(void *ctx, uint16_t region, time_ns now)
{
    (void)region;
    (void)now;
    ((struct person *)ctx)->troubles++;
}

static void on_room(void *ctx, uint16_t region, time_ns now)
{
    (void)region;
    (void)now;
    ((struct person *)ctx)->rooms++;
}

static void on_probed(void *ctx, uint16_t region, time_ns latency, time_ns now)
{
    struct person *p = ctx;

    (void)now;
    p->probed++;
    p->last_region = region;
    p->latency = latency;
}

static const struct relay_ops ops = {
    .received = on_received,
    .heard = on_heard,
    .trouble = on_trouble,
    .room = on_room,
    .probed = on_probed,
};

/* Two regions: 901 with two servers of which the first may be closed, 902. */
struct world {
    struct ev_loop *loop;
    struct relay_pacer *pacer;
    struct relay_shard *shard;
    struct fake_relay one, two;
    struct tailcfg_derp_node servers[3];
    struct tailcfg_derp_region regions[2];
    struct tailcfg_derp_map map;
    struct person alice, bob;
};

static void person_open(struct world *w, struct person *p, const char *name)
{
    struct secret_key secret;
    struct relay_config config = {
        .name = name, .node_key = &secret, .plain_http = true, .ops = &ops, .ctx = p
    };

    secret_key_generate(&secret);
    secret_key_public(&secret, &p->key);
    assert_int_equal(relay_node_new(&p->node, w->shard, &config), 0);
    assert_int_equal(relay_node_set_map(p->node, &w->map, ev_now(w->loop)), 0);
}

static struct tailcfg_derp_node server(const char *name, uint16_t port)
{
    return (struct tailcfg_derp_node) {
        .name = span_from_str(name),
        .host_name = span_from_str("relay.example"),
        .ipv4 = span_from_str("127.0.0.1"),
        .ipv6 = span_from_str("none"),
        .derp_port = port,
    };
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    log_set_level(LOG_ERROR);
    assert_int_equal(crypto_init(), 0);
    assert_int_equal(ev_loop_new(&w->loop), 0);
    assert_int_equal(relay_pacer_new(&w->pacer), 0);
    assert_int_equal(relay_shard_new(&w->shard, w->loop, w->pacer, NULL, NULL), 0);
    relay_open(&w->one, w->loop, 0);
    relay_open(&w->two, w->loop, 0);
    w->servers[0] = server("901a", w->one.port);
    w->servers[1] = server("901b", w->one.port);
    w->servers[2] = server("902a", w->two.port);
    w->regions[0] = (struct tailcfg_derp_region) {
        .id = 901, .code = span_from_str("lab1"), .nodes = &w->servers[0], .node_count = 2
    };
    w->regions[1] = (struct tailcfg_derp_region) {
        .id = 902, .code = span_from_str("lab2"), .nodes = &w->servers[2], .node_count = 1
    };
    w->map = (struct tailcfg_derp_map) { .has_regions = true, .regions = w->regions, .region_count = 2 };
    person_open(w, &w->alice, "alice");
    person_open(w, &w->bob, "bob");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    relay_node_free(w->alice.node);
    relay_node_free(w->bob.node);
    relay_close(&w->one);
    relay_close(&w->two);
    relay_shard_free(w->shard);
    relay_pacer_free(w->pacer);
    ev_loop_free(w->loop);
    free(w);
    return 0;
}

#define TURN_UNTIL(w, condition)                                     \
    do {                                                             \
        time_ns limit_ = ev_clock() + 60 * SEC; /* bounds a hang */  \
        while (!(condition) && ev_clock() < limit_)                  \
            assert_int_equal(ev_loop_turn((w)->loop, 20 * MSEC), 0); \
        assert_true(condition);                                      \
    } while (0)

static time_ns now_of(const struct world *w)
{
    return ev_now(w->loop);
}

static struct relay_status status_of(const struct world *w, const struct person *p)
{
    struct relay_status s;

    relay_node_status(p->node, now_of(w), &s);
    return s;
}

static bool home_up(const struct world *w, const struct person *p)
{
    return status_of(w, p).home_connected;
}

static void both_at_home(struct world *w, uint16_t alice, uint16_t bob)
{
    relay_node_set_home(w->alice.node, alice, now_of(w));
    relay_node_set_home(w->bob.node, bob, now_of(w));
    TURN_UNTIL(w, home_up(w, &w->alice) && home_up(w, &w->bob));
}

static struct relay_connection *connection_of(const struct person *p, uint16_t region)
{
    LIST_EACH (c, &p->node->connections, struct relay_connection, link) {
        if (c->region == region)
            return c;
    }
    return NULL;
}

static void say(const struct world *w, const struct person *from, const struct person *to, uint16_t region,
                const char *text)
{
    relay_node_send(from->node, region, &to->key, span_from_str(text), now_of(w));
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void packets_go_through_a_shared_home(void **state)
{
    struct world *w = *state;

    assert_string_equal(status_of(w, &w->alice).sentence, "no home relay yet");
    both_at_home(w, 901, 901);
    assert_string_equal(status_of(w, &w->alice).sentence, "connected to relay region 901 (lab1)");
    say(w, &w->alice, &w->bob, 901, "hello bob");
    TURN_UNTIL(w, w->bob.received == 1);
    assert_string_equal(w->bob.last, "hello bob");
    assert_int_equal(w->bob.last_region, 901);
    say(w, &w->bob, &w->alice, 901, "hello alice");
    TURN_UNTIL(w, w->alice.received == 1);
    assert_true(guest_of(&w->one, &w->alice.key)->home);
    assert_int_equal(w->one.guest_count, 2);
    assert_int_equal(relay_node_counters(w->alice.node)->packets_out, 1);
    assert_int_equal(relay_node_counters(w->alice.node)->packets_in, 1);
    assert_true(w->alice.heard == 1); /* not with every packet */
}

/* A home that is told before the relay knows us would cost our peers their first packets. */
static void a_relay_is_heard_when_it_knows_us_and_not_before(void **state)
{
    struct world *w = *state;

    w->one.shy = true;
    relay_node_set_home(w->alice.node, 901, now_of(w));
    TURN_UNTIL(w, guest_at_the_door(&w->one, &w->alice.key));
    assert_int_equal(w->alice.heard, 0);
    accept_guest(guest_at_the_door(&w->one, &w->alice.key));
    TURN_UNTIL(w, w->alice.heard == 1);
    assert_true(home_up(w, &w->alice));
}

/* The first packet for a region opens its connection and waits for it; the answer takes the way back. */
static void another_region_is_opened_when_needed(void **state)
{
    struct world *w = *state;

    both_at_home(w, 901, 902);
    assert_int_equal(w->two.guest_count, 1);
    say(w, &w->alice, &w->bob, 902, "first");
    TURN_UNTIL(w, w->bob.received == 1);
    assert_int_equal(w->two.guest_count, 2);
    assert_false(guest_of(&w->two, &w->alice.key)->home);

    say(w, &w->bob, &w->alice, 901, "answer"); /* bob has no connection to 901, alice was heard on 902 */
    TURN_UNTIL(w, w->alice.received == 1);
    assert_int_equal(w->alice.last_region, 902);
    assert_int_equal(w->one.guest_count, 1);
    say(w, &w->bob, &w->alice, 0, "home unknown");
    TURN_UNTIL(w, w->alice.received == 2);
    say(w, &w->bob, &w->alice, 999, "home not on the map");
    TURN_UNTIL(w, w->alice.received == 3);
}

/* Sixty seconds after the last packet a region that is not home is left; routes over it end. */
static void a_region_that_is_not_home_closes(void **state)
{
    struct world *w = *state;
    struct relay_connection *c;

    both_at_home(w, 901, 902);
    say(w, &w->alice, &w->bob, 902, "first");
    TURN_UNTIL(w, w->bob.received == 1);
    c = connection_of(&w->alice, 902);
    c->wrote_at -= RELAY_IDLE_CLOSE - SEC; /* as if so long ago */
    connection_arm(c, now_of(w));
    assert_int_equal(ev_loop_turn(w->loop, 10 * MSEC), 0);
    assert_ptr_equal(connection_of(&w->alice, 902), c);
    c->wrote_at -= SEC;
    connection_arm(c, now_of(w));
    TURN_UNTIL(w, !connection_of(&w->alice, 902));
    TURN_UNTIL(w, !guest_of(&w->two, &w->alice.key));
    assert_true(home_up(w, &w->alice));

    c = connection_of(&w->alice, 901); /* home stays */
    c->wrote_at -= 10 * RELAY_IDLE_CLOSE;
    connection_arm(c, now_of(w));
    assert_int_equal(ev_loop_turn(w->loop, 10 * MSEC), 0);
    assert_ptr_equal(connection_of(&w->alice, 901), c);
}

static void moving_tells_both_relays(void **state)
{
    struct world *w = *state;

    both_at_home(w, 901, 901);
    relay_node_set_home(w->alice.node, 902, now_of(w));
    TURN_UNTIL(w, home_up(w, &w->alice) && guest_of(&w->two, &w->alice.key) &&
                      guest_of(&w->two, &w->alice.key)->home);
    TURN_UNTIL(w, !guest_of(&w->one, &w->alice.key)->home);
    say(w, &w->bob, &w->alice, 901, "still here"); /* the old home is kept for a while */
    TURN_UNTIL(w, w->alice.received == 1);
    relay_node_set_home(w->alice.node, 901, now_of(w));
    TURN_UNTIL(w, guest_of(&w->one, &w->alice.key)->home);
}

/* The region's first server does not answer: the second is taken. */
static void the_next_server_of_the_region_is_tried(void **state)
{
    struct world *w = *state;
    uint16_t port = w->one.port;

    relay_close(&w->two);
    w->servers[0].derp_port = w->two.port; /* closed */
    assert_int_equal(relay_node_set_map(w->alice.node, &w->map, now_of(w)), 0);
    relay_node_set_home(w->alice.node, 901, now_of(w));
    TURN_UNTIL(w, home_up(w, &w->alice));
    assert_int_equal(w->alice.troubles, 0);
    assert_int_equal(relay_node_counters(w->alice.node)->failures, 1);
    relay_open(&w->two, w->loop, 0);
    w->servers[0].derp_port = port;
}

/* The fake relay answers any request with a head, as the real one does the check. */
static void a_region_is_measured_without_a_connection_to_it(void **state)
{
    struct world *w = *state;

    assert_int_equal(relay_node_probe(w->alice.node, 902, now_of(w)), 0);
    assert_int_equal(w->alice.probed, 0);
    TURN_UNTIL(w, w->alice.probed == 1);
    assert_int_equal(w->alice.last_region, 902);
    assert_in_range(w->alice.latency, USEC, 5 * SEC);
    assert_int_equal(status_of(w, &w->alice).connections, 0);
    assert_int_equal(w->alice.troubles, 0);
}

/* Servers that refuse, a region that is not on the map: an answer all the same, never inside the call. */
static void a_region_that_cannot_be_measured_says_so(void **state)
{
    struct world *w = *state;

    relay_close(&w->two);
    w->alice.latency = -1;
    assert_int_equal(relay_node_probe(w->alice.node, 902, now_of(w)), 0);
    assert_int_equal(relay_node_probe(w->alice.node, 77, now_of(w)), 0);
    assert_int_equal(w->alice.probed, 0);
    TURN_UNTIL(w, w->alice.probed == 2);
    assert_int_equal(w->alice.latency, 0);
    relay_open(&w->two, w->loop, 0);
    w->one.silent = true; /* is not waited for by whoever leaves */
    assert_int_equal(relay_node_probe(w->alice.node, 901, now_of(w)), 0);
}

static void a_relay_that_is_gone_is_named_and_tried_again(void **state)
{
    struct world *w = *state;
    uint16_t port = w->one.port;
    struct relay_connection *c;

    both_at_home(w, 901, 901);
    say(w, &w->alice, &w->bob, 901, "one");
    TURN_UNTIL(w, w->bob.received == 1);
    relay_close(&w->one);
    TURN_UNTIL(w, !home_up(w, &w->alice) && w->alice.troubles >= 2);
    c = connection_of(&w->alice, 901);
    TURN_UNTIL(w, c->state == CONNECTION_RESTING);
    c->retry_at = now_of(w) + 3 * SEC;
    assert_string_equal(status_of(w, &w->alice).sentence,
                        "relay region 901 (lab1): connection refused; trying again in 3 s");
    assert_int_equal(routes_find(&w->bob.node->routes, w->shard->hash_key, &w->alice.key), 0);

    relay_open(&w->one, w->loop, port);
    relay_node_check(w->alice.node, now_of(w), now_of(w)); /* no need to wait */
    TURN_UNTIL(w, home_up(w, &w->alice) && home_up(w, &w->bob));
    say(w, &w->alice, &w->bob, 901, "two");
    TURN_UNTIL(w, w->bob.received == 2);
    assert_string_equal(w->bob.last, "two");
}

/* A relay that takes the connection and says nothing, and one that says nothing any more. */
static void silence_ends_a_connection(void **state)
{
    struct world *w = *state;
    struct relay_connection *c;

    w->one.silent = true;
    relay_node_set_home(w->alice.node, 901, now_of(w));
    TURN_UNTIL(w, w->one.guest_count == 1);
    c = connection_of(&w->alice, 901);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ev_loop_turn(w->loop, 5 * MSEC), 0);
    assert_int_equal(c->state, CONNECTION_DIALING);
    c->retry_at = now_of(w);
    connection_arm(c, now_of(w));
    w->one.silent = false;
    TURN_UNTIL(w, w->alice.troubles == 1);
    TURN_UNTIL(w, home_up(w, &w->alice));

    relay_node_check(w->alice.node, now_of(w), now_of(w)); /* answered: stays */
    TURN_UNTIL(w, w->one.pings == 1);
    assert_int_equal(ev_loop_turn(w->loop, 20 * MSEC), 0);
    assert_true(derp_client_deadline(c->derp) > now_of(w) + MINUTE);
    w->one.deaf = true;
    relay_node_check(w->alice.node, now_of(w) + HOUR, now_of(w));
    assert_true(c->timer.at > now_of(w) + MINUTE); /* not yet */
    relay_node_check(w->alice.node, now_of(w), now_of(w));
    TURN_UNTIL(w, c->check_at == TIME_NEVER);
    assert_true(derp_client_deadline(c->derp) <= now_of(w) + DERP_PING_WAIT);
}

/* A connection that takes nothing keeps 32 packets, the newest; room is told when there is some. */
static void a_slow_relay_costs_the_oldest_packets(void **state)
{
    struct world *w = *state;
    static uint8_t big[60000];
    int sent = 0;

    both_at_home(w, 901, 901);
    w->one.deaf = true;
    memset(big, 'x', sizeof(big));
    while (!relay_node_counters(w->alice.node)->dropped_full) {
        relay_node_send(w->alice.node, 901, &w->bob.key, SPAN_OF(big), now_of(w));
        assert_true(++sent < 1000);
    }
    assert_int_equal(relay_node_room(w->alice.node, 901, &w->bob.key), 0);
    assert_int_equal(connection_of(&w->alice, 901)->state, CONNECTION_UP);
    assert_int_equal(w->alice.rooms, 0);
    w->one.deaf = false;
    relay_close(&w->one); /* also a connection that breaks makes room */
    TURN_UNTIL(w, w->alice.rooms == 1);
    assert_int_equal(relay_node_room(w->alice.node, 901, &w->bob.key), DERP_QUEUE_PACKETS);
    assert_true(relay_node_counters(w->alice.node)->dropped_lost >= DERP_QUEUE_PACKETS - 1);
}

static void many_packets_in_one_turn_are_not_dropped(void **state)
{
    struct world *w = *state;
    static uint8_t packet[1000];

    both_at_home(w, 901, 901);
    memset(packet, 'x', sizeof(packet));
    for (int i = 0; i < 200; i++)
        relay_node_send(w->alice.node, 901, &w->bob.key, SPAN_OF(packet), now_of(w));
    assert_int_equal(relay_node_counters(w->alice.node)->dropped_full, 0);
    assert_true(relay_node_room(w->alice.node, 901, &w->bob.key) > 0);
    TURN_UNTIL(w, w->bob.received == 200);
}

static void a_map_without_the_region_ends_its_connection(void **state)
{
    struct world *w = *state;
    struct tailcfg_derp_map smaller = w->map;

    both_at_home(w, 901, 902);
    say(w, &w->alice, &w->bob, 902, "first");
    TURN_UNTIL(w, w->bob.received == 1);
    assert_ptr_equal(w->alice.node->map, w->bob.node->map); /* equal maps are one */
    smaller.region_count = 1;
    assert_int_equal(relay_node_set_map(w->alice.node, &smaller, now_of(w)), 0);
    assert_null(connection_of(&w->alice, 902));
    assert_true(home_up(w, &w->alice));
    relay_node_send(w->alice.node, 902, &w->bob.key, span_from_str("x"), now_of(w)); /* goes to our home */
    TURN_UNTIL(w, !connection_of(&w->alice, 902));

    assert_int_equal(relay_node_set_map(w->bob.node, &smaller, now_of(w)), 0);
    TURN_UNTIL(w, strstr(status_of(w, &w->bob).sentence, "relay region 902: it is not on the relay map"));
    assert_int_equal(relay_node_set_map(w->bob.node, &w->map, now_of(w)), 0);
    TURN_UNTIL(w, home_up(w, &w->bob));
}

static void without_home_or_region_nothing_is_sent(void **state)
{
    struct world *w = *state;

    say(w, &w->alice, &w->bob, 0, "x");
    say(w, &w->alice, &w->bob, 999, "x");
    assert_int_equal(relay_node_counters(w->alice.node)->dropped_no_region, 2);
    assert_int_equal(relay_node_room(w->alice.node, 0, &w->bob.key), DERP_QUEUE_PACKETS);
}

/* RELAY_DIALS_PER_SECOND after the first RELAY_DIALS_BURST, per lane. */
static void the_pace_is_kept(void **state)
{
    (void)state;
    struct relay_pacer *p;
    time_ns now = HOUR;

    assert_int_equal(relay_pacer_new(&p), 0);
    for (int i = 0; i < RELAY_DIALS_BURST; i++)
        assert_true(pacer_reserve(p, PACE_QUIET, now) == now);
    assert_true(pacer_reserve(p, PACE_QUIET, now) == now + SEC / RELAY_DIALS_PER_SECOND);
    assert_true(pacer_reserve(p, PACE_URGENT, now) == now);
    for (int i = 1; i < 1000; i++)
        pacer_reserve(p, PACE_QUIET, now);
    assert_true(pacer_reserve(p, PACE_QUIET, now) == now + 1001 * SEC / RELAY_DIALS_PER_SECOND);
    assert_true(pacer_reserve(p, PACE_QUIET, now + HOUR) == now + HOUR);
    assert_true(pacer_reserve(NULL, PACE_QUIET, now) == now);
    relay_pacer_free(p);
}

/* Who is not connected cannot be reached, so waiting is paid for by clients. */
static void two_hundred_nodes_dial_at_once_and_a_thousand_within_ten_seconds(void **state)
{
    (void)state;
    struct relay_pacer *p;
    time_ns now = HOUR;

    assert_int_equal(relay_pacer_new(&p), 0);
    for (int i = 0; i < 200; i++)
        assert_true(pacer_reserve(p, PACE_QUIET, now) == now);
    for (int i = 200; i < 1000; i++)
        assert_true(pacer_reserve(p, PACE_QUIET, now) <= now + 10 * SEC);
    relay_pacer_free(p);
}

static void the_oldest_route_goes(void **state)
{
    (void)state;
    const uint8_t hash_key[16] = { 1 };
    struct public_key key = { { 0 } };
    struct routes r;

    routes_init(&r);
    for (uint32_t i = 1; i <= RELAY_ROUTES_MAX; i++) {
        store_be32(key.bytes, i);
        routes_note(&r, hash_key, &key, 901);
    }
    store_be32(key.bytes, 1);
    routes_note(&r, hash_key, &key, 902); /* heard again, elsewhere */
    store_be32(key.bytes, RELAY_ROUTES_MAX + 1);
    routes_note(&r, hash_key, &key, 901);
    store_be32(key.bytes, 1);
    assert_int_equal(routes_find(&r, hash_key, &key), 902);
    store_be32(key.bytes, 2);
    assert_int_equal(routes_find(&r, hash_key, &key), 0);
    assert_int_equal(r.table.count, RELAY_ROUTES_MAX);
    store_be32(key.bytes, 1);
    routes_forget(&r, hash_key, &key, 901); /* it left where it no longer was */
    assert_int_equal(routes_find(&r, hash_key, &key), 902);
    routes_forget_region(&r, 901);
    assert_int_equal(r.table.count, 1);
    routes_deinit(&r);
}

/* Between `least` and that with what the allocator adds to each of so many blocks. */
#define assert_heap(bytes, least, blocks) assert_in_range(bytes, least, (least) + (blocks) * (size_t)32)

static size_t held(const struct person *p)
{
    struct account_memory m = { 0 };

    relay_node_memory(p->node, &m);
    assert_int_equal(account_memory_sum(&m), m.bytes[ACCOUNT_RELAY]);
    return m.bytes[ACCOUNT_RELAY];
}

/* What one connection holds besides packets, before it dials. */
static size_t connection_least(void)
{
    static const struct secret_key secret = { { 1 } };
    struct derp_config config = { .host = "", .node_key = &secret };
    struct derp_client *c;
    size_t bytes;

    assert_int_equal(derp_client_new(&c, &config, 0), 0);
    bytes = derp_client_memory(c);
    derp_client_free(c);
    return bytes + sizeof(struct relay_connection);
}

static void memory_grows_by_a_connection_and_by_what_waits_for_it(void **state)
{
    enum { PACKETS = 20, BYTES = 1000 };
    const size_t frame = DERP_HEADER_BYTES + KEY_BYTES + BYTES + 2 * sizeof(void *);
    const size_t stream = 512, route = 128;
    struct world *w = *state;
    static char text[BYTES + 1];
    size_t before, dialing;

    memset(text, 'a', BYTES);
    both_at_home(w, 901, 902);
    before = held(&w->alice);
    w->two.silent = true; /* packets wait: it never says that it is a relay */
    say(w, &w->alice, &w->bob, 902, "x");
    TURN_UNTIL(w, connection_of(&w->alice, 902)->stream);
    dialing = held(&w->alice);
    assert_in_range(dialing - before, connection_least(), connection_least() + stream + 1024); /* the dial */
    for (int i = 0; i < PACKETS; i++)
        say(w, &w->alice, &w->bob, 902, text);
    assert_heap(held(&w->alice) - dialing, PACKETS * frame, PACKETS);
    w->two.silent = false;
    connection_redial(connection_of(&w->alice, 902), now_of(w));
    TURN_UNTIL(w, w->bob.received == PACKETS + 1);
    TURN_UNTIL(w, held(&w->alice) <= before + connection_least() + stream + route);
    connection_free(connection_of(&w->alice, 902), now_of(w));
    assert_in_range(held(&w->alice), before - route, before + route);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(packets_go_through_a_shared_home, setup, teardown),
        cmocka_unit_test_setup_teardown(a_relay_is_heard_when_it_knows_us_and_not_before, setup, teardown),
        cmocka_unit_test_setup_teardown(another_region_is_opened_when_needed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_region_that_is_not_home_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(moving_tells_both_relays, setup, teardown),
        cmocka_unit_test_setup_teardown(the_next_server_of_the_region_is_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(a_region_is_measured_without_a_connection_to_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_region_that_cannot_be_measured_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_relay_that_is_gone_is_named_and_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_ends_a_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_relay_costs_the_oldest_packets, setup, teardown),
        cmocka_unit_test_setup_teardown(many_packets_in_one_turn_are_not_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_map_without_the_region_ends_its_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(without_home_or_region_nothing_is_sent, setup, teardown),
        cmocka_unit_test(the_pace_is_kept),
        cmocka_unit_test(two_hundred_nodes_dial_at_once_and_a_thousand_within_ten_seconds),
        cmocka_unit_test(the_oldest_route_goes),
        cmocka_unit_test_setup_teardown(memory_grows_by_a_connection_and_by_what_waits_for_it, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

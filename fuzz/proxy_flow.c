/* A client and its upstreams say what they like: whatever the upstream then sees is well framed, and in each
 * of its requests identity and forwarding are ours.
 *
 * Input: one byte of options, then records: one byte (bit 7: the upstream speaks, else the client; 7 bits:
 * length, 0 closes that side), and the bytes. With an auth server, bit 6 means the connection before the
 * last.
 */
#include <stdlib.h>

#include "proxy/proxy.h"

#include "http/http.h"

#define UPSTREAMS_MAX 16

struct peer {
    struct stream_pair *pair;
    struct stream *end; /* NULL: closed */
    struct buf got, says;
};

struct world {
    struct ev_loop *loop;
    struct proxy_shard *shard;
    struct proxy_service *service;
    struct stream_pair_options way;
    struct peer client, upstreams[UPSTREAMS_MAX];
    bool is_auth[UPSTREAMS_MAX];
    bool auth; /* somebody is asked */
    int dialled;
};

static void peer_step(struct peer *p)
{
    uint8_t room[4096];
    ssize_t n;

    while (p->end && p->says.len && (n = stream_write(p->end, buf_span(&p->says))) > 0)
        buf_consume(&p->says, (size_t)n);
    while (p->end && (n = stream_read(p->end, room, sizeof(room))) > 0)
        if (buf_append(&p->got, span_make(room, (size_t)n)))
            abort();
}

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    (void)events;
    (void)now;
    peer_step(s->owner);
}

static struct stream *peer_open(struct peer *p, const struct stream_pair_options *way)
{
    if (stream_pair_new(&p->pair, way))
        abort();
    p->end = stream_pair_end(p->pair, 0);
    stream_set_owner(p->end, p, on_event);
    buf_init(&p->got, 16 << 20);
    buf_init(&p->says, 16 << 20);
    return stream_pair_end(p->pair, 1);
}

static void peer_close(struct peer *p)
{
    if (p->end)
        stream_close(p->end);
    p->end = NULL;
}

static void peer_free(struct peer *p)
{
    peer_close(p);
    stream_pair_free(p->pair);
    buf_deinit(&p->got);
    buf_deinit(&p->says);
}

static int dial(void *ctx, const char *host, uint16_t port, struct stream **out)
{
    struct world *w = ctx;

    (void)port;
    if (w->dialled == UPSTREAMS_MAX)
        return -1;
    w->is_auth[w->dialled] = strcmp(host, "auth.test") == 0;
    must(w->is_auth[w->dialled] || !w->auth || w->dialled > 0); /* nothing goes there before the question */
    *out = peer_open(&w->upstreams[w->dialled++], &w->way);
    return 0;
}

static bool whois(void *ctx, const struct ip_port *peer, struct proxy_identity *out)
{
    (void)ctx;
    (void)peer;
    *out = (struct proxy_identity) { .user_id = 77, .login = span_from_str("a@b") };
    return true;
}

static const struct proxy_ops ops = { .whois = whois, .dial = dial };

static void run(struct world *w)
{
    for (int quiet = 0; quiet < 2;) {
        bool moved = stream_pair_turn(w->client.pair, ev_now(w->loop));

        for (int i = 0; i < w->dialled; i++)
            moved |= stream_pair_turn(w->upstreams[i].pair, ev_now(w->loop));
        if (ev_loop_turn(w->loop, 0))
            abort();
        quiet = moved ? 0 : quiet + 1;
    }
}

static void say(struct world *w, struct peer *p, struct span bytes)
{
    if (!p->end)
        return;
    if (!bytes.len)
        peer_close(p);
    else if (buf_append(&p->says, bytes))
        abort();
    peer_step(p);
    run(w);
}

static size_t count_named(const struct http_head *h, const char *name, const char *value)
{
    struct span n = span_from_str(name);
    size_t count = 0;

    for (int i = http_head_find_name(h, n, 0); i >= 0; i = http_head_find_name(h, n, i + 1)) {
        must(span_equal_str(http_head_text(h, h->fields[i].value), value));
        count++;
    }
    return count;
}

/* What the auth server hears: our words, whatever the client's were. */
static void check_question(const struct http_head *h)
{
    must(count_named(h, "X-Forwarded-For", "100.64.0.7") == 1);
    must(count_named(h, "X-Forwarded-Proto", "http") == 1);
    must(h->method_id == HTTP_METHOD_GET && h->body == HTTP_BODY_NONE && h->keep_alive && !h->upgrade);
    must(text_starts_with(http_head_target(h), "/verify"));
    must(count_named(h, "Host", "auth.test") == 1 && count_named(h, "Remote-User", "") == 0);
    must(http_head_find_name(h, span_from_str("X-Tailscale-User"), 0) < 0);
}

static void check_request(const struct http_head *h, bool auth)
{
    must(count_named(h, "X-Tailscale-User", "userid:77") == 1);
    must(count_named(h, "X-Forwarded-For", "100.64.0.7") == 1);
    must(count_named(h, "X-Forwarded-Proto", "http") == 1);
    must(count_named(h, "X_Tailscale_User", "") == 0 && (auth || count_named(h, "Remote-User", "") == 0));
    must(count_named(h, "Remote_User", "") == 0);
    must(h->minor == 1 && http_head_find(h, HTTP_FIELD_HTTP2_SETTINGS, 0) < 0);
    must(http_head_target(h).data[0] == '/');
}

/* Everything one upstream connection received: requests, one behind the other; cut off at most at the end. */
static void check_upstream(struct span got, bool is_auth, bool auth)
{
    struct http_head head;
    struct http1_event ev;
    struct http1 m;
    int r;

    http_head_init(&head);
    http1_init(&m, HTTP1_READS_REQUESTS, &head, NULL);
    do {
        r = http1_next(&m, &got, &ev);
        must(!r);
        if (ev.kind == HTTP1_HEAD && is_auth)
            check_question(&head);
        if (ev.kind == HTTP1_HEAD && !is_auth)
            check_request(&head, auth);
        if (ev.kind == HTTP1_TRAILERS)
            must(http_head_find_name(ev.trailers, span_from_str("X-Tailscale-User"), 0) < 0);
    } while (ev.kind != HTTP1_MORE && !(ev.kind == HTTP1_HEAD && head.upgrade));
    http1_deinit(&m);
    http_head_deinit(&head);
}

static void play(struct world *w, struct span script)
{
    while (script.len) {
        uint8_t head = script.data[0];
        struct span bytes = span_slice(script, 1, head & (w->auth ? 0x3f : 0x7f));
        int last = w->dialled - 1 - (w->auth && (head & 0x40));

        if (!(head & 0x80))
            say(w, &w->client, bytes);
        else if (last >= 0)
            say(w, &w->upstreams[last], bytes);
        script = span_slice(script, 1 + bytes.len, script.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct proxy_service_config config = { .name = "fuzz",
                                           .upstream = "http://up.test/base",
                                           .access_log = PROXY_LOG_OFF };
    static const char *const copied[] = { "Remote-User" };
    struct proxy_arrival arrival = { .listen_port = 80 };
    struct world w = { 0 };
    char why[PROXY_WHY_BYTES];

    if (len < 2 || len > 20000)
        return 0;
    log_set_level(LOG_ERROR);
    if (data[0] & 1)
        w.way = (struct stream_pair_options) { .chunk = 1 + (data[0] >> 4), .room = 11 };
    config.keep_unclean_paths = data[0] & 2;
    if (data[0] & 4) {
        w.auth = true;
        config.auth_url = "http://auth.test/verify";
        config.auth_copy_headers = copied;
        config.auth_copy_count = COUNT_OF(copied);
    }
    if (ev_loop_new(&w.loop) || proxy_shard_new(&w.shard, w.loop) ||
        proxy_service_new(&w.service, w.shard, &config, &ops, &w, why))
        abort();
    must(ip_port_parse(span_from_str("100.64.0.7:1"), &arrival.peer));
    proxy_accept(w.service, peer_open(&w.client, &w.way), &arrival);
    play(&w, span_make(data + 1, len - 1));
    for (int i = 0; i < w.dialled; i++)
        check_upstream(buf_span(&w.upstreams[i].got), w.is_auth[i], w.auth);
    proxy_service_free(w.service);
    must(proxy_shard_connections(w.shard) == 0 && proxy_shard_idle_upstreams(w.shard) == 0);
    proxy_shard_free(w.shard);
    peer_free(&w.client);
    for (int i = 0; i < w.dialled; i++)
        peer_free(&w.upstreams[i]);
    ev_loop_free(w.loop);
    return 0;
}

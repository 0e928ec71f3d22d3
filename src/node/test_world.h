/* Two processes with nodes in simulated time: what the tests of node/ share.
 *
 * There is no control server: each node starts from keys and a netmap on disk, as after a restart with
 * control away, and tests apply what control would say. No relay either: paths are direct.
 */
#ifndef MANYTAILS_NODE_TEST_WORLD_H
#define MANYTAILS_NODE_TEST_WORLD_H

#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/internal.h"
#include "sim/sim.h"

#define WORLD_URL "http://192.0.2.1" /* refuses every connection */
#define WORLD_PORT 41641

/* A process with one shard. */
struct side {
    struct node_process *process;
    struct node_shard *shard;
    const char *outer_ip;
};

/* A node as the tailnet sees it; `node` is what runs of it, if any. */
struct member {
    struct side *side;
    int id;
    const char *name, *ip, *ip6;
    char dir[64];
    struct state_keys keys;
    int64_t expiry;         /* of its key; 0: never */
    const char *masquerade; /* how it knows us: goes into its entry; NULL: by our address */
    const char *shown_ip;   /* what the other side has as its address; NULL: `ip` */
    struct node *node;
    unsigned stopped;
};

/* ---- sides and members ------------------------------------------------------------------------ */

static inline void side_open(struct side *s, const char *outer_ip)
{
    struct node_process_config config = { .shard_count = 1, .udp_port = WORLD_PORT };
    char why[NODE_WHY_BYTES];

    s->outer_ip = outer_ip;
    sim_next_host(outer_ip, outer_ip, SIM_NAT_NONE);
    assert_int_equal(node_process_new(&s->process, &config, why), 0);
    assert_int_equal(node_shard_new(&s->shard, s->process, 0, sim_loop()), 0);
}

static inline void side_close(struct side *s)
{
    node_shard_free(s->shard);
    node_process_free(s->process);
}

static inline void member_init(struct member *m, struct side *side, int id, const char *name, const char *ip,
                               const char *ip6)
{
    *m = (struct member) { .side = side, .id = id, .name = name, .ip = ip, .ip6 = ip6 };
    snprintf(m->dir, sizeof(m->dir), "/tmp/manytails-node-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    secret_key_generate(&m->keys.machine);
    secret_key_generate(&m->keys.disco);
    secret_key_generate(&m->keys.node);
}

/* The entry of a member in a netmap, as itself or as a peer. */
static inline void put_member(struct buf *out, const struct member *m, bool self)
{
    char key[KEY_TEXT_BYTES], disco[KEY_TEXT_BYTES], expiry[TIME_TEXT_BYTES] = "0001-01-01T00:00:00Z";
    const char *ip = !self && m->shown_ip ? m->shown_ip : m->ip;
    struct public_key public;

    secret_key_public(&m->keys.node, &public);
    key_text(key, "nodekey:", public.bytes);
    secret_key_public(&m->keys.disco, &public);
    key_text(disco, "discokey:", public.bytes);
    if (m->expiry)
        time_text_rfc3339(m->expiry, expiry);
    assert_int_equal(
        buf_printf(
            out,
            "{\"ID\":%d,\"StableID\":\"n%d\",\"Name\":\"%s.tail.test.\",\"User\":7,\"Key\":\"%s\","
            "\"DiscoKey\":\"%s\",\"KeyExpiry\":\"%s\",\"Addresses\":[\"%s/32\",\"%s/128\"],"
            "\"AllowedIPs\":[\"%s/32\",\"%s/128\"],\"Endpoints\":[\"%s:%d\"],\"MachineAuthorized\":true",
            m->id, m->id, m->name, key, disco, expiry, ip, m->ip6, ip, m->ip6, m->side->outer_ip, WORLD_PORT),
        0);
    if (!self && m->masquerade)
        assert_int_equal(buf_printf(out, ",\"SelfNodeV4MasqAddrForThisPeer\":\"%s\"", m->masquerade), 0);
    assert_int_equal(buf_append_str(out, "}"), 0);
}

/* What control would send first: everybody may reach everything. */
static inline void put_map(struct buf *out, const struct member *self, struct member *const *peers)
{
    assert_int_equal(buf_append_str(out, "{\"Node\":"), 0);
    put_member(out, self, true);
    assert_int_equal(buf_append_str(out,
                                    ",\"Domain\":\"tail.test\",\"PacketFilter\":[{\"SrcIPs\":[\"*\"],"
                                    "\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}],"
                                    "\"UserProfiles\":[{\"ID\":7,\"LoginName\":\"alice@example.com\","
                                    "\"DisplayName\":\"Alice\"}],\"Peers\":["),
                     0);
    for (size_t i = 0; peers[i]; i++) {
        assert_int_equal(buf_append_str(out, i ? "," : ""), 0);
        put_member(out, peers[i], false);
    }
    assert_int_equal(buf_append_str(out, "]}"), 0);
}

/* Keys and netmap on disk. */
static inline void member_store(struct member *m, struct member *const *peers)
{
    char why[STATE_WHY_BYTES];
    struct tailcfg_map_response r;
    struct netmap_changes changes;
    struct public_key public;
    struct state_store *store;
    struct netmap *map;
    struct buf text, saved;

    buf_init(&text, 1 << 20);
    buf_init(&saved, 1 << 20);
    put_map(&text, m, peers);
    assert_int_equal(tailcfg_map_response_parse(buf_span(&text), &r), 0);
    assert_int_equal(netmap_new(&map, m->side->process->store), 0);
    assert_int_equal(netmap_apply(map, &r, true, ev_wall_clock(), &changes), 0);
    netmap_changes_release(&changes);
    tailcfg_map_response_deinit(&r);
    assert_int_equal(netmap_save(map, &saved), 0);
    netmap_free(map);
    assert_int_equal(state_open(&store, m->dir, why), 0);
    assert_int_equal(state_save(store, WORLD_URL, &m->keys), 0);
    secret_key_public(&m->keys.node, &public);
    assert_int_equal(state_save_netmap(store, &public, buf_span(&saved)), 0);
    state_close(store);
    buf_deinit(&text);
    buf_deinit(&saved);
}

static inline void on_member_state(void *ctx, struct node *n, enum node_state state, const char *sentence)
{
    (void)ctx;
    (void)n;
    (void)state;
    (void)sentence;
}

static inline void on_member_url(void *ctx, struct node *n, const char *url)
{
    (void)ctx;
    (void)n;
    (void)url;
}

static inline void on_member_stopped(void *ctx, struct node *n)
{
    (void)n;
    ((struct member *)ctx)->stopped++;
}

static const struct node_ops member_ops = { .state_changed = on_member_state,
                                            .auth_url = on_member_url,
                                            .stopped = on_member_stopped };

static inline struct node_config member_config(struct member *m)
{
    return (struct node_config) {
        .name = m->name,
        .control_url = WORLD_URL,
        .state_directory = m->dir,
        .listen.port = 80,
        .proxy = { .name = m->name, .upstream = "http://127.0.0.1:9", .access_log = PROXY_LOG_OFF }
    };
}

static inline int member_new(struct member *m, char why[NODE_WHY_BYTES])
{
    struct node_config config = member_config(m);

    return node_new(&m->node, m->side->shard, &config, &member_ops, m, why);
}

/* From what is on disk, as after a restart. */
static inline void member_start(struct member *m, struct member *const *peers)
{
    char why[NODE_WHY_BYTES];

    member_store(m, peers);
    assert_int_equal(member_new(m, why), 0);
    node_start(m->node);
}

static inline void member_free(struct member *m)
{
    static const char *const files[] = { "manytails.state", "manytails.netmap", "manytails.lock" };
    char path[128];

    node_free(m->node);
    m->node = NULL;
    state_disk_wait(m->side->process->disk);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", m->dir, files[i]);
        unlink(path);
    }
    rmdir(m->dir);
}

/* A message of control's. */
static inline void member_told(struct member *m, const char *json, bool first)
{
    struct tailcfg_map_response r;

    assert_int_equal(tailcfg_map_response_parse(span_from_str(json), &r), 0);
    assert_int_equal(map_received(m->node, &r, first, sim_now()), 0);
    tailcfg_map_response_deinit(&r);
}

/* "This peer is there, or has changed." */
static inline void member_told_of(struct member *m, const struct member *peer)
{
    struct buf text;

    buf_init(&text, 1 << 16);
    assert_int_equal(buf_append_str(&text, "{\"PeersChanged\":["), 0);
    put_member(&text, peer, false);
    assert_int_equal(buf_append(&text, span_make("]}\0", 3)), 0);
    member_told(m, (const char *)text.data, false);
    buf_deinit(&text);
}

/* ---- clients ---------------------------------------------------------------------------------------- */

/* A TCP connection that a member opens through its node. */
struct client {
    struct stream *stream;
    bool connected, failed;
    char got[8192];
    size_t len;
};

static inline void client_read(struct client *c)
{
    ssize_t n;

    while (c->len < sizeof(c->got) - 1 &&
           (n = stream_read(c->stream, c->got + c->len, sizeof(c->got) - 1 - c->len)) > 0)
        c->len += (size_t)n;
    c->got[c->len] = 0;
}

static inline void on_client(struct stream *s, unsigned events, time_ns now)
{
    struct client *c = s->owner;

    (void)now;
    c->connected |= (events & STREAM_CONNECTED) != 0;
    c->failed |= (events & STREAM_FAILED) != 0;
    client_read(c);
}

static inline void client_open(struct client *c, struct member *from, const char *ip)
{
    struct ip_port to = { .port = 80 };

    *c = (struct client) { 0 };
    assert_true(ip_parse(span_from_str(ip), &to.ip));
    assert_int_equal(inner_stream_connect(&c->stream, from->node, &to, sim_now()), 0);
    stream_set_owner(c->stream, c, on_client);
}

static inline void client_say(struct client *c, const char *text)
{
    assert_int_equal(stream_write(c->stream, span_from_str(text)), strlen(text));
}

/* The next answer to a request: what came since the last call. */
static inline bool client_hears(struct client *c, const char *text)
{
    bool found = strstr(c->got, text) != NULL;

    c->len = 0;
    c->got[0] = 0;
    return found;
}

static inline void client_close(struct client *c)
{
    stream_close(c->stream);
    c->stream = NULL;
}

#define REQUEST "GET / HTTP/1.1\r\nHost: web\r\n\r\n"
#define ANSWER "HTTP/1.1 502 " /* its upstream refuses, so this is the service's own */

/* Connects, asks, and lets go; false: no answer within half a minute. */
static inline bool is_answered(struct member *from, const char *ip)
{
    struct client c;
    bool answered = false;

    client_open(&c, from, ip);
    for (int i = 0; i < 30 && !c.connected; i++)
        sim_run(SEC);
    if (c.connected) {
        client_say(&c, REQUEST);
        for (int i = 0; i < 30 && !c.len; i++)
            sim_run(SEC);
        answered = client_hears(&c, ANSWER);
    }
    client_close(&c);
    return answered;
}

#endif

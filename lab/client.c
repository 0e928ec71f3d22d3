#include "lab/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/stream.h"

#define NOTHING "http://127.0.0.1:1" /* where the service leads that this node does not have */

struct lab_client {
    struct ev_loop *loop;
    struct node_process *process;
    struct node_shard *shard;
    struct node *node;
    struct host *host;
    struct list forwards, connections;
    size_t forward_count, connection_count;
    struct lab_client_counters counters;
};

/* A loopback port. */
struct forward {
    struct list link;
    struct lab_client *client;
    struct ev_io io;
    int fd;
    char host[NODE_NAME_BYTES];
    uint16_t host_port, port;
};

/* Side 0 is the caller's, side 1 is the tunnel's; held[i] came from side i and goes to the other. */
struct connection {
    struct list link;
    struct lab_client *client;
    struct stream *sides[2];
    struct buf held[2];
    bool ended[2], passed_on[2]; /* the end of side i: read, and told to the other */
};

/* ---- connections ------------------------------------------------------------------------------------ */

static void connection_free(struct connection *c, bool abort)
{
    list_remove(&c->link);
    c->client->connection_count--;
    for (int i = 0; i < 2; i++) {
        if (abort && c->sides[i])
            stream_abort(c->sides[i]);
        else
            stream_close(c->sides[i]);
        buf_deinit(&c->held[i]);
    }
    free(c);
}

/* > 0: something moved; 0: nothing; -errno. */
static int fill(struct connection *c, int from)
{
    struct mspan room;
    ssize_t n;

    if (c->ended[from] || c->held[from].len == LAB_FORWARD_BYTES)
        return 0;
    if (buf_reserve(&c->held[from], LAB_FORWARD_BYTES - c->held[from].len, &room))
        return -ENOMEM;
    n = stream_read(c->sides[from], room.data, MIN(room.len, LAB_FORWARD_BYTES - c->held[from].len));
    if (n > 0)
        buf_commit(&c->held[from], (size_t)n);
    c->ended[from] = n == 0;
    return n == -EAGAIN ? 0 : n < 0 ? (int)n : 1;
}

static int drain(struct connection *c, int from)
{
    struct stream *to = c->sides[!from];
    ssize_t n;

    if (c->held[from].len) {
        n = stream_write(to, buf_span(&c->held[from]));
        if (n > 0)
            buf_consume(&c->held[from], (size_t)n);
        return n == -EAGAIN ? 0 : n < 0 ? (int)n : 1;
    }
    buf_trim(&c->held[from]);
    if (c->ended[from] && !c->passed_on[from]) {
        stream_shutdown(to);
        c->passed_on[from] = true;
    }
    return 0;
}

/* Until neither way moves. False: it is over. */
static bool pump(struct connection *c)
{
    int moved = 1;

    while (moved > 0) {
        moved = 0;
        for (int from = 0; from < 2; from++) {
            int in = fill(c, from), out = in < 0 ? in : drain(c, from);

            if (out < 0) {
                connection_free(c, true);
                return false;
            }
            moved |= in | out;
        }
    }
    if (!c->passed_on[0] || !c->passed_on[1])
        return true;
    connection_free(c, false);
    return false;
}

static void on_side(struct stream *s, unsigned events, time_ns now)
{
    struct connection *c = s->owner;

    (void)now;
    if (events & STREAM_FAILED)
        connection_free(c, true);
    else
        pump(c);
}

static void refuse(struct lab_client *client, int fd)
{
    client->counters.refused++;
    ev_reset(&fd);
}

static void connect_through(struct forward *f, int fd)
{
    struct lab_client *client = f->client;
    struct connection *c = NULL;
    struct stream *inner;

    if (client->connection_count < LAB_FORWARD_CONNECTIONS_MAX)
        c = calloc(1, sizeof(*c));
    if (!c || node_dial(client->node, f->host, f->host_port, &inner)) {
        free(c);
        refuse(client, fd);
        return;
    }
    c->client = client;
    c->sides[1] = inner;
    buf_init(&c->held[0], LAB_FORWARD_BYTES);
    buf_init(&c->held[1], LAB_FORWARD_BYTES);
    list_push_back(&client->connections, &c->link);
    client->connection_count++;
    client->counters.connections++;
    if (stream_tcp_accept(&c->sides[0], client->loop, fd)) {
        connection_free(c, true);
        return;
    }
    stream_set_owner(c->sides[0], c, on_side);
    stream_set_owner(c->sides[1], c, on_side);
}

/* ---- ports -------------------------------------------------------------------------------------------- */

static void on_accept(struct ev_io *io, unsigned events, time_ns now)
{
    struct forward *f = CONTAINER_OF(io, struct forward, io);
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(f->fd, &fd) == 0)
        connect_through(f, fd);
}

static void forward_free(struct forward *f)
{
    list_remove(&f->link);
    f->client->forward_count--;
    ev_io_stop(&f->io);
    ev_close(&f->fd);
    free(f);
}

static int forward_new(struct lab_client *c, const char *host, uint16_t host_port, uint16_t at,
                       struct forward **out)
{
    static const uint8_t loopback[4] = { 127, 0, 0, 1 };
    struct ip_port address = { ip_from_v4(loopback), at };
    struct forward *f;
    int r;

    if (c->forward_count >= LAB_FORWARDS_MAX)
        return -EMFILE;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->client = c;
    f->fd = -1;
    f->host_port = host_port;
    ev_io_init(&f->io, c->loop, on_accept);
    list_push_back(&c->forwards, &f->link);
    c->forward_count++;
    r = text_copy(f->host, sizeof(f->host), span_from_str(host)) ? 0 : -ENAMETOOLONG;
    if (!r)
        r = ev_tcp_listen(&address, &f->fd, &f->port);
    if (!r)
        r = ev_io_start_reader(&f->io, f->fd);
    if (r) {
        forward_free(f);
        return r;
    }
    *out = f;
    return 0;
}

int lab_client_forward(struct lab_client *c, const char *host, uint16_t host_port, uint16_t at,
                       uint16_t *port)
{
    struct forward *found = NULL;
    int r = 0;

    LIST_EACH (f, &c->forwards, struct forward, link)
        if (f->host_port == host_port && strcmp(f->host, host) == 0)
            found = f;
    if (!found)
        r = forward_new(c, host, host_port, at, &found);
    if (!r)
        *port = found->port;
    return r;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void on_state(void *ctx, struct node *n, enum node_state state, const char *sentence)
{
    (void)ctx;
    log_debug(node_name(n), "%s: %s", node_state_text(state), sentence);
}

static void on_auth_url(void *ctx, struct node *n, const char *url)
{
    (void)ctx;
    (void)n;
    (void)url; /* it has an auth key */
}

static void on_stopped(void *ctx, struct node *n)
{
    (void)ctx;
    (void)n;
}

static const struct node_ops ops = { .state_changed = on_state,
                                     .auth_url = on_auth_url,
                                     .stopped = on_stopped };

static int open_parts(struct lab_client *c, const struct lab_client_config *config, char why[NODE_WHY_BYTES])
{
    struct node_process_config process = { .shard_count = 1 };
    struct node_config node = {
        .name = config->name,
        .control_url = config->control_url,
        .auth_key = config->auth_key,
        .state_directory = config->state_directory,
        .proxy = { .name = config->name, .upstream = NOTHING }, /* and nobody can ask for its port 0 */
    };
    int r = node_process_new(&c->process, &process, why);

    if (!r)
        r = node_shard_new(&c->shard, c->process, 0, c->loop);
    if (!r)
        r = host_new(&c->host, c->loop, NULL, NULL);
    if (r)
        return r;
    node_shard_set_host(c->shard, host_view_get(c->host));
    return node_new(&c->node, c->shard, &node, &ops, c, why);
}

int lab_client_new(struct lab_client **out, struct ev_loop *loop, const struct lab_client_config *config,
                   char why[NODE_WHY_BYTES])
{
    struct lab_client *c = calloc(1, sizeof(*c));
    int r;

    why[0] = '\0';
    if (!c)
        return -ENOMEM;
    c->loop = loop;
    list_init(&c->forwards);
    list_init(&c->connections);
    r = open_parts(c, config, why);
    if (r) {
        lab_client_free(c);
        return r;
    }
    node_start(c->node);
    *out = c;
    return 0;
}

void lab_client_free(struct lab_client *c)
{
    if (!c)
        return;
    while (!list_empty(&c->forwards))
        forward_free(LIST_FIRST(&c->forwards, struct forward, link));
    while (!list_empty(&c->connections))
        connection_free(LIST_FIRST(&c->connections, struct connection, link), true);
    node_free(c->node);
    host_free(c->host);
    node_shard_free(c->shard);
    node_process_free(c->process);
    free(c);
}

bool lab_client_running(const struct lab_client *c)
{
    return node_state_get(c->node) == NODE_RUNNING;
}

const struct lab_client_counters *lab_client_counters(const struct lab_client *c)
{
    return &c->counters;
}

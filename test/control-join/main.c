/* control-join: N bare control clients in one process, to try src/control against real control servers
 *
 *   control-join -url URL -hostname NAME [-n N] [-authkey KEY] [-state DIR] [-ephemeral] [-tag tag:x]...
 *                [-derp REGION] [-endpoint IP:PORT]... [-version N] [-for SECONDS] [-parallel N] [-quiet]
 *
 * Prints one line per change of state and per netmap message. Keys are kept in DIR/NAME.keys. SIGUSR1 moves
 * every node to another endpoint port, SIGUSR2 logs them all out, SIGINT and SIGTERM stop (ephemeral nodes
 * log out first). Exit 0 when every node was running once, 1 if not. Nothing here carries traffic.
 */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NODES_MAX 2000
#define LIST_MAX 16

struct options {
    const char *url, *hostname, *authkey, *state;
    const char *tags[LIST_MAX];
    struct tailcfg_endpoint endpoints[LIST_MAX];
    size_t tag_count, endpoint_count, count;
    unsigned version, parallel;
    int derp, seconds;
    bool ephemeral, quiet;
};

struct join {
    struct control_client *client;
    struct secret_key machine, disco;
    char name[80], path[300];
    bool was_running, logged_out;
    size_t peers;
    time_ns running_at;
};

static struct options options = { .count = 1, .derp = 901 };
static struct join joins[NODES_MAX];
static struct ev_loop *loop;
static struct ev_timer end_timer;
static time_ns started;
static size_t running, logged_out;
static uint16_t port_shift;
static bool ending;

/* ---- keys on disk ------------------------------------------------------------------- */

static void load(struct join *j, struct control_keys *keys)
{
    int fd = open(j->path, O_RDONLY);

    secret_key_generate(&j->machine);
    secret_key_generate(&j->disco);
    if (fd < 0)
        return;
    if (read(fd, &j->machine, 32) != 32 || read(fd, keys, sizeof(*keys)) != (ssize_t)sizeof(*keys))
        fprintf(stderr, "%s: not a key file\n", j->path);
    close(fd);
}

static int store(struct join *j, const struct control_keys *keys)
{
    int fd;

    if (!options.state)
        return 0;
    fd = open(j->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return -errno;
    if (write(fd, &j->machine, 32) != 32 || write(fd, keys, sizeof(*keys)) != (ssize_t)sizeof(*keys)) {
        close(fd);
        return -EIO;
    }
    close(fd);
    return 0;
}

/* ---- callbacks ------------------------------------------------------------------------- */

static double seconds(void)
{
    return (double)(ev_now(loop) - started) / 1e9;
}

static void on_state(void *owner, struct control_client *c)
{
    struct join *j = owner;
    struct control_status s;

    control_client_status(c, ev_now(loop), &s);
    if (s.state == CONTROL_RUNNING && !j->was_running) {
        j->was_running = true;
        j->running_at = ev_now(loop);
        if (++running == options.count)
            printf("%.3f all %zu running\n", seconds(), running);
    }
    if (!options.quiet)
        printf("%.3f %s: %s: %s\n", seconds(), j->name, control_state_name(s.state), s.sentence);
    fflush(stdout);
}

static void on_auth_url(void *owner, const char *url)
{
    struct join *j = owner;

    printf("%.3f %s: auth url %s\n", seconds(), j->name, url ? url : "(none)");
    fflush(stdout);
}

static int on_keys(void *owner, const struct control_keys *keys)
{
    struct join *j = owner;
    struct public_key pub;
    char text[KEY_TEXT_BYTES];

    secret_key_public(&keys->node, &pub);
    if (!options.quiet)
        printf("%.3f %s: keys changed, %s\n", seconds(), j->name, key_text(text, "nodekey:", pub.bytes));
    return store(j, keys);
}

static int on_map(void *owner, const struct tailcfg_map_response *m, bool first, time_ns now)
{
    struct join *j = owner;

    (void)now;
    if (first)
        j->peers = 0;
    j->peers = m->peers.count ? m->peers.count : j->peers;
    if (!options.quiet)
        printf("%.3f %s: map%s: self %zu bytes, peers %zu, changed %zu, removed %zu, patches %zu, derp %zu\n",
               seconds(), j->name, first ? " (first)" : "", m->node.len, m->peers.count,
               m->peers_changed.count, m->peers_removed.count, m->patch_count, m->derp_map.len);
    fflush(stdout);
    return 0;
}

static void on_report(void *owner, struct control_report *out)
{
    struct join *j = owner;
    static struct tailcfg_netinfo netinfo;
    static struct tailcfg_endpoint endpoints[LIST_MAX];

    netinfo = (struct tailcfg_netinfo) { .preferred_derp = options.derp, .working_udp = TAILCFG_TRUE };
    memcpy(endpoints, options.endpoints, sizeof(endpoints));
    for (size_t i = 0; i < options.endpoint_count; i++)
        endpoints[i].address.port = (uint16_t)(endpoints[i].address.port + port_shift);
    if (options.derp)
        out->hostinfo.netinfo = &netinfo;
    secret_key_public(&j->disco, &out->disco_key);
    out->endpoints = endpoints;
    out->endpoint_count = options.endpoint_count;
}

static void on_logged_out(void *owner, bool done)
{
    struct join *j = owner;

    j->logged_out = true;
    if (!options.quiet)
        printf("%.3f %s: logged out%s\n", seconds(), j->name, done ? "" : " (not confirmed)");
    if (++logged_out == options.count) {
        printf("%.3f all logged out\n", seconds());
        ev_loop_stop(loop);
    }
    fflush(stdout);
}

static const struct control_ops ops = {
    .state_changed = on_state,
    .auth_url = on_auth_url,
    .keys_changed = on_keys,
    .map = on_map,
    .report = on_report,
    .logged_out = on_logged_out,
};

static void finish(void)
{
    if (ending || !options.ephemeral) {
        ev_loop_stop(loop);
        return;
    }
    ending = true;
    for (size_t i = 0; i < options.count; i++)
        control_client_logout(joins[i].client);
}

static void on_end(struct ev_timer *t, time_ns now)
{
    (void)t;
    (void)now;
    finish();
}

static void on_signal(void *owner, int signal)
{
    (void)owner;
    if (signal == SIGUSR1) {
        port_shift++;
        for (size_t i = 0; i < options.count; i++)
            control_client_report_changed(joins[i].client);
    } else if (signal == SIGUSR2) {
        for (size_t i = 0; i < options.count; i++)
            control_client_logout(joins[i].client);
    } else {
        finish();
    }
}

static void print_end(void)
{
    unsigned long long maps = 0, keepalives = 0, updates = 0, registrations = 0, connects = 0;

    for (size_t i = 0; i < options.count; i++) {
        struct control_status s;

        control_client_status(joins[i].client, ev_now(loop), &s);
        maps += s.maps;
        keepalives += s.keepalives;
        updates += s.updates;
        registrations += s.registrations;
        connects += s.connects;
    }
    printf("%.3f end: %zu of %zu were running; %llu connections, %llu registrations, %llu maps, %llu "
           "keep-alives, "
           "%llu updates, %llu wake-ups\n",
           seconds(), running, options.count, connects, registrations, maps, keepalives, updates,
           (unsigned long long)ev_loop_wakeups(loop));
}

/* ---- main --------------------------------------------------------------------------------- */

static bool option(const char *name, const char *value)
{
    struct tailcfg_endpoint *e = &options.endpoints[options.endpoint_count];

    if (strcmp(name, "-url") == 0)
        options.url = value;
    else if (strcmp(name, "-hostname") == 0)
        options.hostname = value;
    else if (strcmp(name, "-authkey") == 0)
        options.authkey = value;
    else if (strcmp(name, "-state") == 0)
        options.state = value;
    else if (strcmp(name, "-n") == 0)
        options.count = (size_t)atoi(value);
    else if (strcmp(name, "-derp") == 0)
        options.derp = atoi(value);
    else if (strcmp(name, "-for") == 0)
        options.seconds = atoi(value);
    else if (strcmp(name, "-version") == 0)
        options.version = (unsigned)atoi(value);
    else if (strcmp(name, "-parallel") == 0)
        options.parallel = (unsigned)atoi(value);
    else if (strcmp(name, "-tag") == 0 && options.tag_count < LIST_MAX)
        options.tags[options.tag_count++] = value;
    else if (strcmp(name, "-endpoint") == 0 && options.endpoint_count < LIST_MAX &&
             ip_port_parse(span_from_str(value), &e->address))
        options.endpoints[options.endpoint_count++].type = TAILCFG_ENDPOINT_LOCAL;
    else
        return false;
    return true;
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-ephemeral") == 0)
            options.ephemeral = true;
        else if (strcmp(argv[i], "-quiet") == 0)
            options.quiet = true;
        else if (i + 1 < argc && option(argv[i], argv[i + 1]))
            i++;
        else
            return false;
    }
    return options.url && options.hostname && options.count && options.count <= NODES_MAX;
}

static void add(struct join *j, size_t i, struct control_shard *shard, struct tls_client *tls)
{
    struct control_config config = { .control_url = options.url,
                                     .auth_key = options.authkey,
                                     .tls = tls,
                                     .ephemeral = options.ephemeral,
                                     .request_tags = options.tags,
                                     .request_tag_count = options.tag_count,
                                     .version = (uint16_t)options.version };
    int r;

    if (options.count == 1)
        snprintf(j->name, sizeof(j->name), "%s", options.hostname);
    else
        snprintf(j->name, sizeof(j->name), "%s%04zu", options.hostname, i);
    snprintf(j->path, sizeof(j->path), "%s/%s.keys", options.state ? options.state : "/nonexistent", j->name);
    load(j, &config.keys);
    config.machine_key = j->machine;
    config.name = config.hostname = j->name;
    r = control_client_new(&j->client, shard, &config, &ops, j);
    if (r) {
        fprintf(stderr, "%s: %s\n", j->name, r > 0 ? "bad URL or configuration" : err_text(r));
        exit(2);
    }
    control_client_start(j->client);
}

int main(int argc, char **argv)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGUSR1, SIGUSR2 };
    struct control_gate *gate;
    struct control_shard *shard;
    struct tls_client *tls;
    char why[TLS_WHY_BYTES];

    if (!parse(argc, argv)) {
        fprintf(stderr, "see the head of test/control-join/main.c\n");
        return 2;
    }
    if (getenv("CONTROL_DEBUG"))
        log_set_level(LOG_DEBUG);
    must(!crypto_init() && !ev_loop_new(&loop));
    must(!control_gate_new(&gate, &(struct control_gate_config) { .handshakes_max = options.parallel }));
    must(!control_shard_new(&shard, gate, loop));
    must(!ev_signals_start(loop, signals, COUNT_OF(signals), on_signal, NULL));
    if (tls_client_new(&tls, NULL, why)) {
        fprintf(stderr, "%s\n", why);
        return 2;
    }
    started = ev_now(loop);
    for (size_t i = 0; i < options.count; i++)
        add(&joins[i], i, shard, tls);
    ev_timer_init(&end_timer, loop, on_end);
    if (options.seconds)
        ev_timer_set(&end_timer, started + options.seconds * SEC);
    must(!ev_loop_run(loop));
    print_end();
    ev_timer_stop(&end_timer);
    for (size_t i = 0; i < options.count; i++)
        control_client_free(joins[i].client);
    tls_client_unref(tls);
    ev_signals_stop(loop);
    control_shard_free(shard);
    control_gate_free(gate);
    ev_loop_free(loop);
    crypto_thread_end();
    return running == options.count ? 0 : 1;
}

/* proxy-loopback: the proxy over kernel sockets, without a tailnet, for clients and upstreams that are other
 * programs
 *
 *   proxy-loopback -listen PORT -upstream URL [-cert FILE -key FILE] [-ca FILE] [-prefix P] [-log]
 *
 * Listens on 127.0.0.1:PORT and gives every connection to src/proxy. Prints "ready", and the counters as one
 * line of JSON when SIGTERM or SIGINT ends it. Every client is alice@example.com. Used by ./run and
 * bench/proxy-loopback.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "cert/cert.h"
#include "proxy/proxy.h"

struct program {
    struct ev_loop *loop;
    struct ev_io listener;
    struct proxy_shard *shard;
    struct proxy_service *service;
    struct cert *cert;
    struct tls_server *tls;
    uint16_t port;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "proxy-loopback: %s: %s\n", what, why);
    exit(1);
}

static bool whois(void *ctx, const struct ip_port *peer, struct proxy_identity *out)
{
    (void)ctx;
    (void)peer;
    *out = (struct proxy_identity) { .user_id = 1,
                                     .node_id = 2,
                                     .login = span_from_str("alice@example.com"),
                                     .display_name = span_from_str("Alice"),
                                     .node_name = span_from_str("laptop"),
                                     .node_fqdn = span_from_str("laptop.tail.test.") };
    return true;
}

static const struct proxy_ops ops = { .whois = whois };

static void serve(struct program *p, int fd)
{
    struct proxy_arrival arrival = { .listen_port = p->port, .tls = p->cert };
    struct stream *plain, *s;
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (stream_tcp_accept(&plain, p->loop, fd))
        return;
    ip_port_parse(span_from_str("127.0.0.1:1"), &arrival.peer);
    s = plain;
    if (p->cert) {
        arrival.protocol = PROXY_BY_ALPN;
        static const char *const protocols[] = { "h2", "http/1.1", NULL };
        struct tls_server_config config = { .identity = cert_identity(p->cert), .alpn = protocols };

        if (tls_server_stream(&s, p->tls, plain, &config)) {
            stream_close(plain);
            return;
        }
    }
    proxy_accept(p->service, s, &arrival);
}

static void on_listener(struct ev_io *io, unsigned events, time_ns now)
{
    struct program *p = CONTAINER_OF(io, struct program, listener);
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(io->fd, &fd) == 0)
        serve(p, fd);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 1024) < 0)
        fail("cannot listen", err_text(errno));
    return fd;
}

static void on_signal(void *owner, int signal)
{
    (void)signal;
    ev_loop_stop(((struct program *)owner)->loop);
}

static void report(const struct program *p)
{
    const struct proxy_counters *n = proxy_service_counters(p->service);
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    printf("{\"connections\": %llu, \"2xx\": %llu, \"4xx\": %llu, \"5xx\": %llu, \"bytes_in\": %llu, "
           "\"bytes_out\": %llu, "
           "\"upgrades\": %llu, \"upstream_connects\": %llu, \"upstream_retries\": %llu, \"proxy_errors\": "
           "%llu, "
           "\"client_aborts\": %llu, \"active\": %u, \"open\": %u, \"cpu_us\": %lld, \"rss_max_kb\": %ld}\n",
           (unsigned long long)n->connections, (unsigned long long)n->requests[2],
           (unsigned long long)n->requests[4], (unsigned long long)n->requests[5],
           (unsigned long long)n->bytes_in, (unsigned long long)n->bytes_out, (unsigned long long)n->upgrades,
           (unsigned long long)n->upstream_connects, (unsigned long long)n->upstream_retries,
           (unsigned long long)n->proxy_errors, (unsigned long long)n->client_aborts, n->active, n->open,
           (long long)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + use.ru_utime.tv_usec +
               use.ru_stime.tv_usec,
           use.ru_maxrss);
}

static void load_certificate(struct program *p, const char *cert, const char *key)
{
    char why[CERT_WHY_BYTES];

    if (!cert)
        return;
    if (cert_load(&p->cert, cert, key ? key : cert, ev_wall_clock(), why))
        fail("certificate", why);
    if (tls_server_new(&p->tls))
        fail("tls", "out of memory");
}

struct options {
    const char *upstream, *cert, *key, *ca, *prefix;
    int port;
    bool log;
};

static void read_arguments(struct options *o, int argc, char **argv)
{
    const struct {
        const char *name, **value;
    } texts[] = { { "-upstream", &o->upstream },
                  { "-cert", &o->cert },
                  { "-key", &o->key },
                  { "-ca", &o->ca },
                  { "-prefix", &o->prefix } };

    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        size_t k = 0;

        if (!strcmp(argv[i], "-log")) {
            o->log = true;
            continue;
        }
        if (!strcmp(argv[i], "-listen"))
            o->port = atoi(next);
        else
            while (k < COUNT_OF(texts) && strcmp(argv[i], texts[k].name))
                k++;
        if (k == COUNT_OF(texts))
            fail("unknown argument", argv[i]);
        if (strcmp(argv[i], "-listen"))
            *texts[k].value = next;
        i++;
    }
}

int main(int argc, char **argv)
{
    static const int signals[] = { SIGTERM, SIGINT };
    struct proxy_service_config config = { .name = "loopback" };
    struct program p = { 0 };
    char why[PROXY_WHY_BYTES];
    struct options o = { 0 };
    int fd;

    read_arguments(&o, argc, argv);
    p.port = (uint16_t)o.port;
    config.upstream = o.upstream;
    config.upstream_ca_file = o.ca;
    config.access_log = o.log ? PROXY_LOG_TEXT : PROXY_LOG_OFF;
    config.prefixes = &o.prefix;
    config.prefix_count = o.prefix ? 1 : 0;
    signal(SIGPIPE, SIG_IGN);
    if (ev_loop_new(&p.loop) || ev_signals_start(p.loop, signals, COUNT_OF(signals), on_signal, &p) ||
        proxy_shard_new(&p.shard, p.loop))
        fail("start", "out of memory");
    if (proxy_service_new(&p.service, p.shard, &config, &ops, NULL, why))
        fail("settings", why);
    load_certificate(&p, o.cert, o.key);
    fd = listen_on(p.port);
    ev_io_init(&p.listener, p.loop, on_listener);
    if (ev_io_start(&p.listener, fd))
        fail("start", "epoll");
    printf("ready\n");
    fflush(stdout);
    if (ev_loop_run(p.loop))
        fail("run", "the loop failed");
    report(&p);
    ev_io_stop(&p.listener);
    ev_close(&fd);
    proxy_service_free(p.service);
    proxy_shard_free(p.shard);
    cert_free(p.cert);
    tls_server_unref(p.tls);
    ev_signals_stop(p.loop);
    ev_loop_free(p.loop);
    return 0;
}

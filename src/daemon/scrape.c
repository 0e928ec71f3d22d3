/* daemon/scrape.c - the page that Prometheus fetches: http://ADDRESS/metrics
 *
 * Nothing is kept between two scrapes. A request makes every shard write its part and send it by letter; when
 * all are there they are put together and sent, and the connection ends. Who does not read, or asks and goes
 * away, is cut by one timer. The listener is the only cost when nobody asks.
 */
#include "daemon/clients.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "http/http.h"

#define HEAD_BYTES_MAX 8192

struct scrape_client {
    struct client base;
    struct http1 http;
    struct http_head head;
    struct metrics_page *page; /* what the shards have said so far */
    bool head_only;
};

struct scrape {
    struct clients clients;
    uint64_t served;
};

static struct scrape_client *of_base(struct client *c)
{
    return CONTAINER_OF(c, struct scrape_client, base);
}

static struct scrape *scrape_of(const struct scrape_client *c)
{
    return CONTAINER_OF(c->base.of, struct scrape, clients);
}

static void reply(struct scrape_client *c, int status, const char *reason, const char *type, struct span body)
{
    int r;

    buf_clear(&c->base.out);
    r = buf_printf(&c->base.out,
                   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
                   "X-Content-Type-Options: nosniff\r\n%s\r\n",
                   status, reason, type, body.len, status == 405 ? "Allow: GET, HEAD\r\n" : "");
    if (!r && !c->head_only)
        r = buf_append(&c->base.out, body);
    if (r)
        buf_clear(&c->base.out);
    client_answer(&c->base);
}

static void refuse(struct scrape_client *c, int status, const char *reason, const char *words)
{
    reply(c, status, reason, "text/plain; charset=utf-8", span_from_str(words));
}

/* ---- what the process says of itself ---------------------------------------------------------- */

#define FAMILY(id, type, name, help) static const struct metrics_family id = { name, METRICS_##type, help };
FAMILY(build, GAUGE, "manytails_build_info", "1; the version is in the label.")
FAMILY(services, GAUGE, "manytails_services", "Services by how they are.")
FAMILY(shards, GAUGE, "manytails_shards", "Threads that carry nodes.")
FAMILY(scrapes, COUNTER, "manytails_scrapes_total", "Pages of metrics served before this one.")
FAMILY(scrapes_cut, COUNTER, "manytails_scrapes_cut_total",
       "Clients of this page that were cut: too many at once, too slow, or said too much.")
FAMILY(admin_cut, COUNTER, "manytails_admin_clients_cut_total",
       "Clients of the admin socket that were cut, for the same reasons.")
FAMILY(process_cpu, COUNTER, "process_cpu_seconds_total", "User and system CPU time.")
FAMILY(process_rss, GAUGE, "process_resident_memory_bytes", "Resident memory.")
FAMILY(heap, GAUGE, "manytails_heap_bytes", "What the allocator has given out, and what it keeps for later.")
FAMILY(process_vm, GAUGE, "process_virtual_memory_bytes", "Virtual memory.")
FAMILY(process_fds, GAUGE, "process_open_fds", "Open descriptors.")
FAMILY(process_fds_max, GAUGE, "process_max_fds", "How many it may open.")
FAMILY(process_start, GAUGE, "process_start_time_seconds", "When it was started, since 1970.")

static void put_services(struct daemon *d, struct metrics_page *p)
{
    struct notify_counts c;

    count_services(d, &c);
    metrics_put_u64(p, &services, METRICS_LABELS("state", "up"), c.up);
    metrics_put_u64(p, &services, METRICS_LABELS("state", "starting"), c.starting);
    metrics_put_u64(p, &services, METRICS_LABELS("state", "needs_login"), c.need_login);
    metrics_put_u64(p, &services, METRICS_LABELS("state", "failed"), c.failed);
}

static void put_memory(struct metrics_page *p)
{
    struct memory_figures m;

    memory_read(&m);
    if (m.resident) {
        metrics_put_u64(p, &process_vm, NULL, m.virtual);
        metrics_put_u64(p, &process_rss, NULL, m.resident);
    }
    metrics_put_u64(p, &heap, METRICS_LABELS("state", "used"), m.heap_used);
    metrics_put_u64(p, &heap, METRICS_LABELS("state", "free"), m.heap_free);
}

static void put_descriptors(struct metrics_page *p)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    uint64_t open_now = 0;

    while (folder && readdir(folder))
        open_now++;
    if (folder)
        metrics_put_u64(p, &process_fds, NULL, open_now - 3); /* ".", ".." and the folder itself */
    if (folder)
        closedir(folder);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrics_put_u64(p, &process_fds_max, NULL, limit.rlim_cur);
}

static void put_process(struct scrape *s, struct metrics_page *p)
{
    struct daemon *d = s->clients.daemon;
    struct rusage usage;

    metrics_put_u64(p, &build, METRICS_LABELS("version", MANYTAILS_VERSION), 1);
    put_services(d, p);
    metrics_put_u64(p, &shards, NULL, d->shard_count);
    metrics_put_u64(p, &scrapes, NULL, s->served);
    metrics_put_u64(p, &scrapes_cut, NULL, s->clients.cut);
    metrics_put_u64(p, &admin_cut, NULL, admin_clients_cut(d));
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metrics_put(p, &process_cpu, "", NULL,
                    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    put_memory(p);
    node_process_metrics_write(d->process, p);
    put_descriptors(p);
    metrics_put(p, &process_start, "", NULL,
                (double)(ev_wall_clock() - (ev_now(d->loop) - d->started_at)) / (double)SEC);
}

/* ---- the page ---------------------------------------------------------------------------------- */

static void finish(struct scrape_client *c)
{
    struct buf text;

    put_process(scrape_of(c), c->page);
    buf_init(&text, METRICS_BYTES_MAX + (1u << 20));
    if (metrics_page_write(c->page, &text)) {
        refuse(c, 500, "Internal Server Error", "the page is too large, or memory is out\n");
    } else {
        scrape_of(c)->served++;
        metrics_page_free(c->page);
        c->page = NULL;
        reply(c, 200, "OK", "text/plain; version=0.0.4; charset=utf-8", buf_span(&text));
    }
    buf_deinit(&text);
}

void scrape_answer(struct daemon *d, uint64_t id, const struct metrics_page *page)
{
    struct client *c = d->scrape ? client_of_question(&d->scrape->clients, id) : NULL;

    if (!c)
        return;
    metrics_page_add(of_base(c)->page, page);
    if (--c->waiting == 0)
        finish(of_base(c));
}

static void start_page(struct scrape_client *c)
{
    if (metrics_page_new(&c->page))
        client_drop(&c->base);
    else
        client_ask_shards(&c->base, LETTER_METRICS);
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void run_request(struct scrape_client *c)
{
    struct span target = http_head_target(&c->head);
    const uint8_t *query = memchr(target.data, '?', target.len);
    struct span path = query ? span_slice(target, 0, (size_t)(query - target.data)) : target;

    c->head_only = c->head.method_id == HTTP_METHOD_HEAD;
    if (c->head.method_id != HTTP_METHOD_GET && !c->head_only)
        refuse(c, 405, "Method Not Allowed", "GET or HEAD, please\n");
    else if (span_equal_str(path, "/metrics"))
        start_page(c);
    else if (text_starts_with(path, "/debug/pprof"))
        refuse(c, 404, "Not Found",
               "There are no Go profiles here. `manytails top` and manytails_cpu_seconds_total in /metrics "
               "say what "
               "costs most.\n");
    else
        refuse(c, 404, "Not Found", "The metrics are at /metrics.\n");
}

static bool hear(struct client *base, struct span in)
{
    struct scrape_client *c = of_base(base);
    struct http1_event event;

    while (in.len) {
        int r = http1_next(&c->http, &in, &event);

        if (r) {
            refuse(c, r > 0 ? http1_fault_status((enum http1_fault)r) : 500, "Bad Request",
                   r > 0 ? http1_fault_text((enum http1_fault)r) : "memory is out");
            return false;
        }
        if (event.kind == HTTP1_HEAD) {
            run_request(c);
            return false;
        }
    }
    return true;
}

static void begin(struct client *base)
{
    static const struct http1_limits limits = { .head_bytes = HEAD_BYTES_MAX };
    struct scrape_client *c = of_base(base);

    http_head_init(&c->head);
    http1_init(&c->http, HTTP1_READS_REQUESTS, &c->head, &limits);
}

static void end(struct client *base)
{
    struct scrape_client *c = of_base(base);

    http1_deinit(&c->http);
    http_head_deinit(&c->head);
    metrics_page_free(c->page);
}

static const struct clients_ops ops = { .client_bytes = sizeof(struct scrape_client),
                                        .max = DAEMON_SCRAPE_CLIENTS_MAX,
                                        .out_max = METRICS_BYTES_MAX + (2u << 20),
                                        .begin = begin,
                                        .hear = hear,
                                        .end = end };

/* ---- life ---------------------------------------------------------------------------------------- */

/* ":9099" is every address, of both families where there are two. */
static int listen_at(struct scrape *s, const char *address)
{
    struct span text = span_from_str(address);
    struct ip_port at = { 0 };
    bool every = text.len && text.data[0] == ':';
    uint64_t port = 0;
    int fd = -1, r;

    if (every && text_parse_u64(span_slice(text, 1, text.len), UINT16_MAX, &port))
        at.port = (uint16_t)port;
    else if (!ip_port_parse(text, &at))
        return -EINVAL;
    if (every)
        must(ip_parse(span_from_str("::"), &at.ip));
    r = ev_tcp_listen(&at, &fd, &at.port);
    if (r == -EAFNOSUPPORT && every && ip_parse(span_from_str("0.0.0.0"), &at.ip))
        r = ev_tcp_listen(&at, &fd, &at.port);
    return r ? r : clients_open(&s->clients, fd);
}

int scrape_open(struct daemon *d, const struct config *config)
{
    const char *address = config->prometheus_address;
    struct scrape *s;
    int r;

    if (!address || !*address)
        return 0;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    clients_init(&s->clients, d, &ops);
    d->scrape = s;
    r = listen_at(s, address);
    if (!r) {
        log_info(NULL, "metrics at http://%s/metrics", address);
        return 0;
    }
    if (strcmp(address, CONFIG_PROMETHEUS_DEFAULT) == 0) {
        log_warn(NULL, "no metrics: %s: %s (prometheusAddr: another address, or \"\" for none)", address,
                 err_text(r));
        return 0;
    }
    log_error(NULL, "Failed to start prometheus server: %s: %s", address, err_text(r));
    return r;
}

void scrape_close(struct daemon *d)
{
    if (!d->scrape)
        return;
    clients_close(&d->scrape->clients);
    free(d->scrape);
    d->scrape = NULL;
}

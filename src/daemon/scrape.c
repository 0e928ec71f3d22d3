/* daemon/scrape.c - the page that Prometheus fetches: http://ADDRESS/metrics
 *
 * Nothing is kept between two scrapes. A request makes every shard write its part and send it by letter; when
 * all are there they are put together and sent, and the connection ends. Who does not read, or asks and goes
 * away, is cut by one timer. The listener is the only cost when nobody asks.
 */
#include "daemon/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "http/http.h"

#define CLIENT_TIMEOUT (10 * SEC) /* from accept to the last byte */
#define HEAD_BYTES_MAX 8192
#define READ_BYTES 2048

struct scrape_client {
    struct list link;
    struct scrape *scrape;
    struct stream *stream;
    struct ev_timer timeout;
    struct http1 http;
    struct http_head head;
    uint64_t id; /* of the question to the shards; 0: none */
    size_t waiting;
    struct metrics_page *page; /* what the shards have said so far */
    struct buf out;
    bool answered, head_only;
};

struct scrape {
    struct daemon *daemon;
    struct ev_io io;
    int fd;
    struct list clients;
    size_t client_count;
    uint64_t last_id, served, cut;
};

static void client_free(struct scrape_client *c)
{
    ev_timer_stop(&c->timeout);
    stream_close(c->stream);
    http1_deinit(&c->http);
    http_head_deinit(&c->head);
    metrics_page_free(c->page);
    buf_deinit(&c->out);
    list_remove(&c->link);
    c->scrape->client_count--;
    free(c);
}

/* Sends what there is; the client is gone when all went out. */
static void client_write(struct scrape_client *c)
{
    while (c->out.len) {
        ssize_t n = stream_write(c->stream, buf_span(&c->out));

        if (n == -EAGAIN)
            return;
        if (n < 0)
            break;
        buf_consume(&c->out, (size_t)n);
    }
    client_free(c);
}

static void reply(struct scrape_client *c, int status, const char *reason, const char *type, struct span body)
{
    int r;

    c->answered = true;
    buf_clear(&c->out);
    r = buf_printf(&c->out,
                   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
                   "X-Content-Type-Options: nosniff\r\n%s\r\n",
                   status, reason, type, body.len, status == 405 ? "Allow: GET, HEAD\r\n" : "");
    if (!r && !c->head_only)
        r = buf_append(&c->out, body);
    if (r)
        buf_clear(&c->out);
    client_write(c);
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
FAMILY(scrapes_cut, COUNTER, "manytails_scrapes_cut_total", "Clients of this page that were cut: too slow.")
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
    struct daemon *d = s->daemon;
    struct rusage usage;

    metrics_put_u64(p, &build, METRICS_LABELS("version", MANYTAILS_VERSION), 1);
    put_services(d, p);
    metrics_put_u64(p, &shards, NULL, d->shard_count);
    metrics_put_u64(p, &scrapes, NULL, s->served);
    metrics_put_u64(p, &scrapes_cut, NULL, s->cut);
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

    put_process(c->scrape, c->page);
    buf_init(&text, METRICS_BYTES_MAX + (1u << 20));
    if (metrics_page_write(c->page, &text)) {
        refuse(c, 500, "Internal Server Error", "the page is too large, or memory is out\n");
    } else {
        c->scrape->served++;
        metrics_page_free(c->page);
        c->page = NULL;
        reply(c, 200, "OK", "text/plain; version=0.0.4; charset=utf-8", buf_span(&text));
    }
    buf_deinit(&text);
}

void scrape_answer(struct daemon *d, uint64_t id, const struct metrics_page *page)
{
    if (!d->scrape)
        return;
    LIST_EACH (c, &d->scrape->clients, struct scrape_client, link) {
        if (c->id != id || c->answered)
            continue;
        metrics_page_add(c->page, page);
        if (--c->waiting == 0)
            finish(c);
        return;
    }
}

static void ask_shards(struct scrape_client *c)
{
    struct daemon *d = c->scrape->daemon;

    if (metrics_page_new(&c->page)) {
        client_free(c);
        return;
    }
    c->id = ++c->scrape->last_id;
    c->waiting = d->shard_count;
    for (size_t i = 0; i < d->shard_count; i++) {
        struct letter *l = letter_new(LETTER_METRICS, SPAN_NONE);

        l->id = c->id;
        shard_post(&d->shards[i], l);
    }
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
        ask_shards(c);
    else if (text_starts_with(path, "/debug/pprof"))
        refuse(c, 404, "Not Found",
               "There are no Go profiles here. `manytails top` and manytails_cpu_seconds_total in /metrics "
               "say what "
               "costs most.\n");
    else
        refuse(c, 404, "Not Found", "The metrics are at /metrics.\n");
}

/* True: a head came, or the client is gone. */
static bool feed(struct scrape_client *c, struct span in)
{
    struct http1_event event;

    while (in.len) {
        int r = http1_next(&c->http, &in, &event);

        if (r) {
            refuse(c, r > 0 ? http1_fault_status((enum http1_fault)r) : 500, "Bad Request",
                   r > 0 ? http1_fault_text((enum http1_fault)r) : "memory is out");
            return true;
        }
        if (event.kind == HTTP1_HEAD) {
            run_request(c);
            return true;
        }
    }
    return false;
}

static void client_read(struct scrape_client *c)
{
    uint8_t bytes[READ_BYTES];

    for (;;) {
        ssize_t n = stream_read(c->stream, bytes, sizeof(bytes));

        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            client_free(c);
            return;
        }
        if (c->id || c->answered)
            continue; /* more than it was asked for: nobody reads it */
        if (feed(c, span_make(bytes, (size_t)n)))
            return;
    }
}

static void on_stream(struct stream *s, unsigned events, time_ns now)
{
    struct scrape_client *c = s->owner;

    (void)now;
    if (events & STREAM_FAILED)
        client_free(c);
    else if (c->answered && (events & STREAM_WRITABLE))
        client_write(c);
    else if (events & STREAM_READABLE)
        client_read(c);
}

static void on_timeout(struct ev_timer *t, time_ns now)
{
    struct scrape_client *c = CONTAINER_OF(t, struct scrape_client, timeout);

    (void)now;
    c->scrape->cut++;
    client_free(c);
}

static void client_new(struct scrape *s, int fd)
{
    static const struct http1_limits limits = { .head_bytes = HEAD_BYTES_MAX };
    struct scrape_client *c = s->client_count < DAEMON_SCRAPE_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        s->cut++;
        ev_close(&fd);
        return;
    }
    c->scrape = s;
    s->client_count++;
    list_push_back(&s->clients, &c->link);
    buf_init(&c->out, METRICS_BYTES_MAX + (2u << 20));
    http_head_init(&c->head);
    http1_init(&c->http, HTTP1_READS_REQUESTS, &c->head, &limits);
    ev_timer_init(&c->timeout, s->daemon->loop, on_timeout);
    ev_timer_set(&c->timeout, ev_now(s->daemon->loop) + CLIENT_TIMEOUT);
    if (stream_tcp_accept(&c->stream, s->daemon->loop, fd)) {
        c->stream = NULL;
        client_free(c);
        return;
    }
    stream_set_owner(c->stream, c, on_stream);
}

static void on_listener(struct ev_io *io, unsigned events, time_ns now)
{
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(io->fd, &fd) == 0)
        client_new(CONTAINER_OF(io, struct scrape, io), fd);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* ":9099" is every address, of both families where there are two. */
static int listen_at(struct scrape *s, const char *address)
{
    struct span text = span_from_str(address);
    struct ip_port at = { 0 };
    bool every = text.len && text.data[0] == ':';
    uint64_t port = 0;
    int r;

    if (every && text_parse_u64(span_slice(text, 1, text.len), UINT16_MAX, &port))
        at.port = (uint16_t)port;
    else if (!ip_port_parse(text, &at))
        return -EINVAL;
    if (every)
        must(ip_parse(span_from_str("::"), &at.ip));
    r = ev_tcp_listen(&at, &s->fd, &at.port);
    if (r == -EAFNOSUPPORT && every && ip_parse(span_from_str("0.0.0.0"), &at.ip))
        r = ev_tcp_listen(&at, &s->fd, &at.port);
    return r ? r : ev_io_start_reader(&s->io, s->fd);
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
    *s = (struct scrape) { .daemon = d, .fd = -1 };
    list_init(&s->clients);
    ev_io_init(&s->io, d->loop, on_listener);
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
    struct scrape *s = d->scrape;

    if (!s)
        return;
    while (!list_empty(&s->clients))
        client_free(LIST_FIRST(&s->clients, struct scrape_client, link));
    ev_io_stop(&s->io);
    ev_close(&s->fd);
    free(s);
    d->scrape = NULL;
}

/* daemon/admin.c - the Unix socket that `manytails status` asks
 *
 * One line of command, one answer, end: docs/protocol/admin.md.
 */
#include "daemon/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_BYTES_MAX 256
#define CLIENT_TIMEOUT (10 * SEC)

struct admin_client {
    struct list link;
    struct admin *admin;
    struct stream *stream;
    struct ev_timer timeout;
    char command[COMMAND_BYTES_MAX];
    size_t command_len;
    uint64_t id;        /* of the question to the shards; 0: none */
    size_t waiting;     /* shards that have not answered */
    struct span *parts; /* one answer per shard, owned */
    struct buf out;
    bool answered;
    bool reloading; /* `out` holds what was decided; the shards are at it */
};

struct admin {
    struct daemon *daemon;
    struct ev_io io;
    int fd;
    struct list clients;
    size_t client_count;
    uint64_t last_id;
};

static void client_free(struct admin_client *c)
{
    for (size_t i = 0; c->parts && i < c->admin->daemon->shard_count; i++)
        free((void *)(uintptr_t)c->parts[i].data);
    free(c->parts);
    ev_timer_stop(&c->timeout);
    stream_close(c->stream);
    buf_deinit(&c->out);
    list_remove(&c->link);
    c->admin->client_count--;
    free(c);
}

/* Sends what there is; the client is gone when all went out. */
static void client_write(struct admin_client *c)
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

static void reply(struct admin_client *c, const char *text)
{
    c->answered = true;
    if (buf_append_str(&c->out, text))
        buf_clear(&c->out);
    client_write(c);
}

/* ---- status -------------------------------------------------------------------------------- */

/* What the shards said, put beside the services that it is about. */
static void spread_answers(struct daemon *d, const struct span *parts)
{
    struct span key, value;
    uint64_t id;

    for (size_t i = 0; i < d->shard_count; i++) {
        struct json_cursor c = json_cursor_of(json_text_member(parts[i], "services"));

        while (json_cursor_next(&c, &key, &value)) {
            struct daemon_service *s = text_parse_u64(key, UINT64_MAX, &id) ? service_of(d, id) : NULL;

            if (s)
                s->answer = value;
        }
    }
}

/* What its shard said, or the little that is known here. */
static void put_service(struct daemon_service *s, struct json_writer *w)
{
    char time[TIME_TEXT_BYTES];

    if (s->answer.len) {
        json_put_raw(w, NULL, s->answer);
    } else {
        enum node_state state = s->heard ? s->state : NODE_STARTING;

        json_object_begin(w, NULL);
        json_put_str(w, "name", s->name);
        json_put_str(w, "state", node_state_text(state));
        json_put_str(w, "sentence", node_sayings[node_saying_of(state)].sentence);
        json_put_str(w, "detail", s->sentence ? s->sentence : "");
        json_put_str(w, "since", time_text_rfc3339(s->since / SEC * SEC, time));
        json_object_end(w);
    }
    s->answer = SPAN_NONE;
}

/* In the order of the configuration, then those that leave. */
static void put_services(struct admin_client *c, struct json_writer *w)
{
    struct daemon *d = c->admin->daemon;

    spread_answers(d, c->parts);
    json_array_begin(w, "services");
    LIST_EACH (s, &d->services, struct daemon_service, link)
        put_service(s, w);
    LIST_EACH (s, &d->leaving, struct daemon_service, link)
        put_service(s, w);
    json_array_end(w);
}

/* What the services' own figures do not have: all of it, and what they share. */
static void put_memory(const struct daemon *d, struct json_writer *w)
{
    struct memory_figures m;

    memory_read(&m);
    json_object_begin(w, "memory");
    json_put_u64(w, "residentBytes", m.resident);
    json_put_u64(w, "heapUsedBytes", m.heap_used);
    json_put_u64(w, "heapFreeBytes", m.heap_free);
    json_put_u64(w, "netmapBytes", node_process_memory(d->process));
    json_object_end(w);
}

static void finish_status(struct admin_client *c)
{
    struct daemon *d = c->admin->daemon;
    struct json_writer w = json_writer_of(&c->out);

    json_object_begin(&w, NULL);
    json_put_str(&w, "version", MANYTAILS_VERSION);
    json_put_i64(&w, "pid", getpid());
    json_put_i64(&w, "uptimeSeconds", (ev_now(d->loop) - d->started_at) / SEC);
    put_memory(d, &w);
    put_services(c, &w);
    json_array_begin(&w, "shards");
    for (size_t i = 0; i < d->shard_count; i++)
        if (json_text_member(c->parts[i], "shard").len)
            json_put_raw(&w, NULL, json_text_member(c->parts[i], "shard"));
    json_array_end(&w);
    json_object_end(&w);
    if (json_writer_done(&w))
        buf_clear(&c->out);
    reply(c, "\n");
}

void admin_answer(struct daemon *d, size_t shard, uint64_t id, struct span json)
{
    LIST_EACH (c, &d->admin->clients, struct admin_client, link) {
        if (c->id != id || c->answered || c->parts[shard].data)
            continue;
        c->parts[shard] = span_make(text_dup(json), json.len);
        if (--c->waiting == 0)
            finish_status(c);
        return;
    }
}

static void ask_shards(struct admin_client *c)
{
    struct daemon *d = c->admin->daemon;

    c->parts = calloc(d->shard_count, sizeof(*c->parts));
    if (!c->parts) {
        client_free(c);
        return;
    }
    c->id = ++c->admin->last_id;
    c->waiting = d->shard_count;
    for (size_t i = 0; i < d->shard_count; i++) {
        struct letter *l = letter_new(LETTER_ASK, SPAN_NONE);

        l->id = c->id;
        shard_post(&d->shards[i], l);
    }
}

/* ---- reload ------------------------------------------------------------------------------- */

/* {"reload": what was decided, "kept": who could not change}. */
static void finish_reload(struct admin_client *c)
{
    struct daemon *d = c->admin->daemon;
    struct buf out;
    struct json_writer w;

    buf_init(&out, DAEMON_STATUS_BYTES_MAX);
    w = json_writer_of(&out);
    json_object_begin(&w, NULL);
    json_put_raw(&w, "reload", buf_span(&c->out));
    json_put_lines(&w, "kept", buf_span(&d->change_log));
    json_object_end(&w);
    buf_deinit(&c->out);
    c->out = out;
    if (json_writer_done(&w))
        buf_clear(&c->out);
    c->reloading = false;
    reply(c, "\n");
}

static void start_reload(struct admin_client *c, bool dry)
{
    struct daemon *d = c->admin->daemon;
    int r = reload(d, dry, &c->out);

    if (r) {
        buf_clear(&c->out);
        log_error(NULL, "not reloaded: %s", err_text(r));
        reply(c, "{\"error\":\"out of memory\"}\n");
        return;
    }
    c->reloading = true;
    if (dry || !d->changes_due)
        finish_reload(c);
}

void admin_changes_done(struct daemon *d)
{
    if (d->admin)
        LIST_EACH (c, &d->admin->clients, struct admin_client, link)
            if (c->reloading)
                finish_reload(c);
    buf_clear(&d->change_log);
}

/* ---- clients ----------------------------------------------------------------------------------- */

static void run_command(struct admin_client *c, struct span command)
{
    if (span_equal_str(command, "status")) {
        ask_shards(c);
    } else if (span_equal_str(command, "reload")) {
        start_reload(c, false);
    } else if (span_equal_str(command, "reload --dry-run")) {
        start_reload(c, true);
    } else if (span_equal_str(command, "stop")) {
        kill(getpid(), SIGTERM);
        reply(c, "{}\n");
    } else {
        reply(c, "{\"error\":\"unknown command\"}\n");
    }
}

static void client_read(struct admin_client *c)
{
    for (;;) {
        size_t room = sizeof(c->command) - c->command_len;
        ssize_t n = stream_read(c->stream, c->command + c->command_len, room);
        char *end;

        if (n == -EAGAIN)
            return;
        if (n <= 0 || c->id || c->answered || c->reloading) {
            if (n <= 0 && !c->id && !c->reloading)
                client_free(c);
            return;
        }
        c->command_len += (size_t)n;
        end = memchr(c->command, '\n', c->command_len);
        if (end) {
            run_command(c, span_make(c->command, (size_t)(end - c->command)));
            return;
        }
        if (c->command_len == sizeof(c->command)) {
            client_free(c);
            return;
        }
    }
}

static void on_stream(struct stream *s, unsigned events, time_ns now)
{
    struct admin_client *c = s->owner;

    (void)now;
    if (events & STREAM_FAILED)
        client_free(c);
    else if (c->answered)
        client_write(c);
    else if (events & STREAM_READABLE)
        client_read(c);
}

static void on_timeout(struct ev_timer *t, time_ns now)
{
    (void)now;
    client_free(CONTAINER_OF(t, struct admin_client, timeout));
}

static void client_new(struct admin *a, int fd)
{
    struct admin_client *c = a->client_count < DAEMON_ADMIN_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        ev_close(&fd);
        return;
    }
    c->admin = a;
    a->client_count++;
    list_push_back(&a->clients, &c->link);
    buf_init(&c->out, DAEMON_STATUS_BYTES_MAX);
    ev_timer_init(&c->timeout, a->daemon->loop, on_timeout);
    ev_timer_set(&c->timeout, ev_now(a->daemon->loop) + CLIENT_TIMEOUT);
    if (stream_tcp_accept(&c->stream, a->daemon->loop, fd)) {
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
        client_new(CONTAINER_OF(io, struct admin, io), fd);
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void make_parent(const char *path)
{
    char *parent = text_dup(span_from_str(path));
    char *slash = parent ? strrchr(parent, '/') : NULL;

    for (char *at = parent ? parent + 1 : NULL; at && slash && at <= slash; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(parent, 0700); /* the listener says what is wrong */
            *at = '/';
        }
    free(parent);
}

int admin_open(struct daemon *d)
{
    struct admin *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return -ENOMEM;
    a->daemon = d;
    a->fd = -1;
    list_init(&a->clients);
    ev_io_init(&a->io, d->loop, on_listener);
    d->admin = a;
    make_parent(d->socket_path);
    r = ev_unix_listen(d->socket_path, &a->fd);
    if (!r)
        r = ev_io_start_reader(&a->io, a->fd);
    if (r)
        log_warn(NULL, "%s: %s; `manytails status` will not find this process", d->socket_path, err_text(r));
    return 0;
}

void admin_close(struct daemon *d)
{
    struct admin *a = d->admin;

    if (!a)
        return;
    while (!list_empty(&a->clients))
        client_free(LIST_FIRST(&a->clients, struct admin_client, link));
    ev_io_stop(&a->io);
    if (a->fd >= 0)
        unlink(d->socket_path);
    ev_close(&a->fd);
    free(a);
    d->admin = NULL;
}

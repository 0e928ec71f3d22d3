/* daemon/admin.c - the Unix socket that `manytails status` asks
 *
 * One line of command, one answer, end: docs/protocol/admin.md.
 */
#include "daemon/clients.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_BYTES_MAX 256

struct admin_client {
    struct client base;
    char command[COMMAND_BYTES_MAX];
    size_t command_len;
    struct span *parts; /* one answer per shard, owned */
    bool reloading;     /* `out` holds what was decided; the shards are at it */
};

struct admin {
    struct clients clients;
};

static struct admin_client *of_base(struct client *c)
{
    return CONTAINER_OF(c, struct admin_client, base);
}

static void reply(struct admin_client *c, const char *text)
{
    if (buf_append_str(&c->base.out, text))
        buf_clear(&c->base.out);
    client_answer(&c->base);
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
        const char *sentence = node_sayings[node_saying_of(state)].sentence;

        json_object_begin(w, NULL);
        json_put_str(w, "name", s->name);
        json_put_str(w, "state", node_state_text(state));
        json_put_str(w, "sentence", sentence);
        json_put_str(w, "detail", s->sentence && strcmp(s->sentence, sentence) != 0 ? s->sentence : "");
        json_put_str(w, "since", time_text_rfc3339(s->since / SEC * SEC, time));
        json_object_end(w);
    }
    s->answer = SPAN_NONE;
}

/* In the order of the configuration, then those that leave. */
static void put_services(struct admin_client *c, struct json_writer *w)
{
    struct daemon *d = c->base.of->daemon;

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
    struct daemon *d = c->base.of->daemon;
    struct json_writer w = json_writer_of(&c->base.out);

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
        buf_clear(&c->base.out);
    reply(c, "\n");
}

void admin_answer(struct daemon *d, size_t shard, uint64_t id, struct span json)
{
    struct client *base = client_of_question(&d->admin->clients, id);
    struct admin_client *c = base ? of_base(base) : NULL;

    if (!c || c->parts[shard].data)
        return;
    c->parts[shard] = span_make(text_dup(json), json.len);
    if (--base->waiting == 0)
        finish_status(c);
}

static void start_status(struct admin_client *c)
{
    c->parts = calloc(c->base.of->daemon->shard_count, sizeof(*c->parts));
    if (c->parts)
        client_ask_shards(&c->base, LETTER_ASK);
    else
        client_drop(&c->base);
}

/* ---- reload ------------------------------------------------------------------------------- */

/* {"reload": what was decided, "kept": who could not change}. */
static void finish_reload(struct admin_client *c)
{
    struct daemon *d = c->base.of->daemon;
    struct buf out;
    struct json_writer w;

    buf_init(&out, DAEMON_STATUS_BYTES_MAX);
    w = json_writer_of(&out);
    json_object_begin(&w, NULL);
    json_put_raw(&w, "reload", buf_span(&c->base.out));
    json_put_lines(&w, "kept", buf_span(&d->change_log));
    json_object_end(&w);
    buf_deinit(&c->base.out);
    c->base.out = out;
    if (json_writer_done(&w))
        buf_clear(&c->base.out);
    c->reloading = false;
    reply(c, "\n");
}

static void start_reload(struct admin_client *c, bool dry)
{
    struct daemon *d = c->base.of->daemon;
    int r = reload(d, dry, &c->base.out);

    if (r) {
        buf_clear(&c->base.out);
        log_error(NULL, "not reloaded: %s", err_text(r));
        reply(c, "{\"error\":\"out of memory\"}\n");
        return;
    }
    c->base.asked = c->reloading = true;
    if (dry || !d->changes_due)
        finish_reload(c);
}

void admin_changes_done(struct daemon *d)
{
    if (d->admin)
        LIST_EACH (c, &d->admin->clients.all, struct client, link)
            if (of_base(c)->reloading)
                finish_reload(of_base(c));
    buf_clear(&d->change_log);
}

/* ---- clients ----------------------------------------------------------------------------------- */

static void run_command(struct admin_client *c, struct span command)
{
    if (span_equal_str(command, "status")) {
        start_status(c);
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

static bool hear(struct client *base, struct span bytes)
{
    struct admin_client *c = of_base(base);
    size_t n = MIN(bytes.len, sizeof(c->command) - c->command_len);
    char *end;

    memcpy(c->command + c->command_len, bytes.data, n);
    c->command_len += n;
    end = memchr(c->command, '\n', c->command_len);
    if (end)
        run_command(c, span_make(c->command, (size_t)(end - c->command)));
    else if (c->command_len == sizeof(c->command))
        client_drop(base);
    else
        return true;
    return false;
}

static void begin(struct client *c)
{
    (void)c;
}

static void end(struct client *base)
{
    struct admin_client *c = of_base(base);

    for (size_t i = 0; c->parts && i < base->of->daemon->shard_count; i++)
        free((void *)(uintptr_t)c->parts[i].data);
    free(c->parts);
}

static const struct clients_ops ops = { .client_bytes = sizeof(struct admin_client),
                                        .max = DAEMON_ADMIN_CLIENTS_MAX,
                                        .out_max = DAEMON_STATUS_BYTES_MAX,
                                        .begin = begin,
                                        .hear = hear,
                                        .end = end };

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
    int fd = -1, r;

    if (!a)
        return -ENOMEM;
    clients_init(&a->clients, d, &ops);
    d->admin = a;
    make_parent(d->socket_path);
    r = ev_unix_listen(d->socket_path, &fd);
    if (!r)
        r = clients_open(&a->clients, fd);
    if (r)
        log_warn(NULL, "%s: %s; `manytails status` will not find this process", d->socket_path, err_text(r));
    return 0;
}

uint64_t admin_clients_cut(const struct daemon *d)
{
    return d->admin ? d->admin->clients.cut : 0;
}

void admin_close(struct daemon *d)
{
    if (!d->admin)
        return;
    if (d->admin->clients.fd >= 0)
        unlink(d->socket_path);
    clients_close(&d->admin->clients);
    free(d->admin);
    d->admin = NULL;
}

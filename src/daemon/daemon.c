#include "daemon/internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "crypto/crypto.h"

/* ---- what shards say --------------------------------------------------------------------- */

static void on_service_state(struct daemon *d, const struct letter *l)
{
    struct daemon_service *s = &d->services[l->service];
    bool entered = !s->heard || s->state != l->state;

    s->heard = true;
    s->state = l->state;
    text_copy(s->sentence, sizeof(s->sentence),
              span_slice(span_make(l->text, l->len), 0, sizeof(s->sentence) - 1));
    if (l->state == NODE_FAILED)
        log_error(s->config->name, "%s; trying again in %d s", l->text, (int)(DAEMON_RETRY / SEC));
    else if (entered)
        log_info(s->config->name, "%s: %s", node_state_text(l->state), l->text);
    else
        log_debug(s->config->name, "%s: %s", node_state_text(l->state), l->text);
    if (entered)
        notify_services(d->notify);
}

static void on_service_stopped(struct daemon *d, size_t service)
{
    size_t left = 0;

    d->services[service].stopped = true;
    for (size_t i = 0; i < d->service_count; i++)
        left += !d->services[i].stopped;
    if (!left && d->stopping)
        ev_loop_stop(d->loop);
}

static void on_letter(void *owner, struct ev_letter *base, time_ns now)
{
    struct letter *l = CONTAINER_OF(base, struct letter, base);
    struct daemon *d = owner;

    (void)now;
    switch (l->kind) {
    case LETTER_STATE:
        on_service_state(d, l);
        break;
    case LETTER_AUTH_URL:
        if (l->len)
            login_show(d->services[l->service].config->name, l->text);
        break;
    case LETTER_STOPPED:
        on_service_stopped(d, l->service);
        break;
    case LETTER_ANSWER:
        if (d->admin)
            admin_answer(d, l->shard, l->id, span_make(l->text, l->len));
        break;
    case LETTER_PONG:
        notify_shard_alive(d->notify, l->shard);
        break;
    case LETTER_START:
    case LETTER_STOP:
    case LETTER_HOST:
    case LETTER_ASK:
    case LETTER_PING:
    case LETTER_QUIT:
        must(!"a letter to a shard");
    }
    free(l);
}

/* ---- what the service manager hears ------------------------------------------------------------ */

static void ask_shards(void *ctx)
{
    struct daemon *d = ctx;

    for (size_t i = 0; i < d->shard_count; i++)
        shard_post(&d->shards[i], letter_new(LETTER_PING, SPAN_NONE));
}

static void count_services(void *ctx, struct notify_counts *out)
{
    const struct daemon *d = ctx;

    *out = (struct notify_counts) { .all = d->service_count };
    for (size_t i = 0; i < d->service_count; i++) {
        const struct daemon_service *s = &d->services[i];

        out->starting += !s->heard || s->state == NODE_STARTING;
        out->up += s->heard && (s->state == NODE_RUNNING || s->state == NODE_SERVING_STORED);
        out->need_login += s->heard && (s->state == NODE_NEEDS_LOGIN || s->state == NODE_WAITING_APPROVAL);
        out->failed += s->heard && (s->state == NODE_FAILED || s->state == NODE_EXPIRED);
    }
}

static const struct notify_ops notify_ops = { .ask_shards = ask_shards, .count = count_services };

/* ---- what the host and the user say ---------------------------------------------------------- */

static void post_host(struct daemon *d, const struct host_view *view)
{
    for (size_t i = 0; i < d->shard_count; i++) {
        struct letter *l = letter_new(LETTER_HOST, SPAN_NONE);

        must(l);
        l->view = *view;
        shard_post(&d->shards[i], l);
    }
}

static void on_host(void *owner, const struct host_view *view, time_ns now)
{
    (void)now;
    log_debug(NULL, "the host's addresses changed: %u usable", view->count);
    post_host(owner, view);
}

/* Bringing nodes up leaves holes in the heap (netmaps, handshakes, certificates) and code that is not needed
 * again. Once, not a tick. */
static void on_settled(struct ev_timer *t, time_ns now)
{
    (void)t;
    (void)now;
    memory_settle();
}

static void on_stop_timer(struct ev_timer *t, time_ns now)
{
    struct daemon *d = CONTAINER_OF(t, struct daemon, stop_timer);

    (void)now;
    log_warn(NULL, "not every service could finish in time");
    ev_loop_stop(d->loop);
}

static void stop(struct daemon *d)
{
    time_ns now = ev_now(d->loop);

    if (d->stopping) {
        ev_loop_stop(d->loop); /* asked twice: at once */
        return;
    }
    d->stopping = true;
    notify_stopping(d->notify);
    log_info(NULL, "stopping: requests under way may take %d s more", (int)(DAEMON_DRAIN / SEC));
    for (size_t i = 0; i < d->shard_count; i++) {
        struct letter *l = letter_new(LETTER_STOP, SPAN_NONE);

        must(l);
        l->at = now + DAEMON_DRAIN;
        shard_post(&d->shards[i], l);
    }
    ev_timer_set(&d->stop_timer, now + DAEMON_DRAIN + DAEMON_LOGOUT);
}

static void on_signal(void *owner, int signal)
{
    if (signal == SIGHUP)
        log_warn(NULL,
                 "reloading the configuration is not supported by this version: restart to apply changes");
    else
        stop(owner);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* Cores that this process may use. */
static size_t core_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    return (size_t)MIN(MAX(CPU_COUNT(&set), 1), NODE_SHARDS_MAX);
}

/* Two descriptors a node; the soft limit is often 1,024. */
static void raise_limits(size_t shards)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    memory_configure(shards + 1);
    signal(SIGPIPE, SIG_IGN);
}

static int services_open(struct daemon *d)
{
    d->service_count = d->config->service_count;
    d->services = calloc(d->service_count, sizeof(*d->services));
    if (!d->services)
        return -ENOMEM;
    for (size_t i = 0; i < d->service_count; i++)
        d->services[i] = (struct daemon_service) {
            .config = &d->config->services[i], .daemon = d, .index = i, .shard = i % d->shard_count
        };
    return 0;
}

static int shards_open(struct daemon *d)
{
    d->shards = calloc(d->shard_count, sizeof(*d->shards));
    if (!d->shards)
        return -ENOMEM;
    for (size_t i = 0; i < d->shard_count; i++) {
        d->shards[i].daemon = d;
        d->shards[i].index = i;
    }
    for (size_t i = 0; i < d->shard_count; i++) {
        int r = shard_start(&d->shards[i]);

        if (r)
            return r;
    }
    return 0;
}

static const char *environment_of(const char *name, const char *or_name)
{
    const char *value = getenv(name);

    return value && *value ? value : getenv(or_name);
}

static int open_parts(struct daemon *d)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    struct node_process_config process = { .shard_count = (unsigned)d->shard_count,
                                           .ca_file = getenv("SSL_CERT_FILE"),
                                           .proxies = {
                                               .for_tls = environment_of("HTTPS_PROXY", "https_proxy"),
                                               .for_plain = environment_of("HTTP_PROXY", "http_proxy"),
                                               .no_proxy = environment_of("NO_PROXY", "no_proxy"),
                                           } };
    char why[NODE_WHY_BYTES];
    int r = crypto_init();

    if (!r)
        r = ev_loop_new(&d->loop);
    if (!r)
        r = ev_signals_start(d->loop, signals, COUNT_OF(signals), on_signal, d);
    if (!r)
        r = ev_mailbox_new(&d->mailbox, d->loop, on_letter, d);
    if (!r)
        r = host_new(&d->host, d->loop, on_host, d);
    if (!r)
        r = node_process_new(&d->process, &process, why);
    if (r > 0) {
        log_error(NULL, "%s", why);
        return -EINVAL;
    }
    if (!r)
        r = services_open(d);
    if (!r)
        r = notify_new(&d->notify, d->loop, d->shard_count, &notify_ops, d);
    if (!r)
        r = admin_open(d);
    if (!r)
        r = shards_open(d);
    return r;
}

static void close_parts(struct daemon *d)
{
    for (size_t i = 0; d->shards && i < d->shard_count; i++)
        shard_join(&d->shards[i]);
    admin_close(d);
    notify_free(d->notify);
    node_process_free(d->process);
    host_free(d->host);
    ev_mailbox_free(d->mailbox);
    ev_loop_free(d->loop);
    free(d->shards);
    free(d->services);
}

int daemon_run(const struct config *config)
{
    struct daemon d = { .config = config, .shard_count = MIN(core_count(), config->service_count) };
    int r;

    raise_limits(d.shard_count);
    r = open_parts(&d);
    if (r) {
        log_error(NULL, "cannot start: %s", err_text(r));
        close_parts(&d);
        return 1;
    }
    d.started_at = ev_now(d.loop);
    ev_timer_init(&d.stop_timer, d.loop, on_stop_timer);
    ev_timer_init(&d.settled_timer, d.loop, on_settled);
    ev_timer_set(&d.settled_timer, d.started_at + DAEMON_SETTLED);
    log_info(NULL, "manytails %s: %zu service%s on %zu core%s, control server %s", MANYTAILS_VERSION,
             d.service_count, d.service_count == 1 ? "" : "s", d.shard_count, d.shard_count == 1 ? "" : "s",
             config->control_url);
    notify_started(d.notify);
    post_host(&d, host_view_get(d.host));
    for (size_t i = 0; i < d.service_count; i++) {
        struct letter *l = letter_new(LETTER_START, SPAN_NONE);

        must(l);
        l->service = i;
        shard_post(&d.shards[d.services[i].shard], l);
    }
    r = ev_loop_run(d.loop);
    ev_timer_stop(&d.stop_timer);
    ev_timer_stop(&d.settled_timer);
    close_parts(&d);
    log_info(NULL, "stopped");
    return r ? 1 : 0;
}

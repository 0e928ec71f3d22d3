#include "daemon/internal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "crypto/crypto.h"

/* ---- what shards say --------------------------------------------------------------------- */

static void on_letter(void *owner, struct ev_letter *base, time_ns now)
{
    struct letter *l = CONTAINER_OF(base, struct letter, base);
    struct daemon *d = owner;

    (void)now;
    switch (l->kind) {
    case LETTER_STATE:
    case LETTER_AUTH_URL:
    case LETTER_REFUSED:
    case LETTER_CHANGED:
        service_hear(d, l);
        break;
    case LETTER_STOPPED:
        service_hear(d, l);
        if (d->stopping && services_stopped(d))
            ev_loop_stop(d->loop);
        break;
    case LETTER_ANSWER:
        if (d->admin)
            admin_answer(d, l->shard, l->id, span_make(l->text, l->len));
        break;
    case LETTER_PAGE:
        scrape_answer(d, l->id, l->page);
        break;
    case LETTER_PONG:
        notify_shard_alive(d->notify, l->shard);
        break;
    case LETTER_START:
    case LETTER_CHANGE:
    case LETTER_STOP:
    case LETTER_END:
    case LETTER_HOST:
    case LETTER_ASK:
    case LETTER_PING:
    case LETTER_METRICS:
    case LETTER_QUIT:
        must(!"a letter to a shard");
    }
    letter_free(l);
}

/* ---- what the service manager hears ------------------------------------------------------------ */

static void ask_shards(void *ctx)
{
    struct daemon *d = ctx;

    for (size_t i = 0; i < d->shard_count; i++)
        shard_post(&d->shards[i], letter_new(LETTER_PING, SPAN_NONE));
}

void count_services(void *ctx, struct notify_counts *out)
{
    struct daemon *d = ctx;

    *out = (struct notify_counts) { .all = d->service_count };
    LIST_EACH (s, &d->services, struct daemon_service, link) {
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
    (void)now;
    memory_settle();
    progress_settled(CONTAINER_OF(t, struct daemon, settled_timer));
}

static void on_stop_timer(struct ev_timer *t, time_ns now)
{
    struct daemon *d = CONTAINER_OF(t, struct daemon, stop_timer);

    (void)now;
    log_warn(NULL, "not every service could finish in time");
    d->exit_status = 1;
    ev_loop_stop(d->loop);
}

/* Clients get a reset, ephemeral nodes take their leave; nobody is waited for. A shard that does not answer
 * even that, or who asks once more, ends it all the same. */
static void end(struct daemon *d)
{
    log_warn(NULL, "asked twice: ending at once");
    d->exit_status = 1;
    if (d->ending) {
        ev_loop_stop(d->loop);
        return;
    }
    d->ending = true;
    services_end(d);
    ev_timer_set(&d->stop_timer, ev_now(d->loop) + DAEMON_END);
}

static void stop(struct daemon *d)
{
    if (d->stopping) {
        end(d);
        return;
    }
    d->stopping = true;
    progress_end(d);
    notify_stopping(d->notify);
    log_info(NULL, "stopping: requests under way may take %d s more", (int)(DAEMON_DRAIN / SEC));
    services_stop(d);
    ev_timer_set(&d->stop_timer, ev_now(d->loop) + DAEMON_DRAIN + DAEMON_LOGOUT);
    if (services_stopped(d))
        ev_loop_stop(d->loop);
}

static void on_signal(void *owner, int signal)
{
    struct daemon *d = owner;

    if (signal == SIGHUP)
        reload_on_signal(d);
    else
        stop(d);
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

/* Everything that needs more than a running process may do is open by now; the threads come after it. */
static int enter_sandbox(struct daemon *d, const struct config *config)
{
    if (!config->sandbox) {
        log_info(NULL, "sandbox: off, as configured");
        return 0;
    }
    d->folders = sandbox_folders_of(config, true);
    if (!d->folders)
        return -ENOMEM;
    sandbox_enter(d->folders);
    return 0;
}

static int open_parts(struct daemon *d, const struct config *config)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    struct node_process_config process = {
        .shard_count = (unsigned)d->shard_count,
        .ca_file = config_variable(CONFIG_VARIABLE_CA_FILE),
        .plain_relays = config_variable_is_true(CONFIG_VARIABLE_PLAIN_RELAYS),
        .proxies = { .for_tls = config_variable(CONFIG_VARIABLE_PROXY_FOR_TLS),
                     .for_plain = config_variable(CONFIG_VARIABLE_PROXY_FOR_PLAIN),
                     .no_proxy = config_variable(CONFIG_VARIABLE_NO_PROXY) },
    };
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
        r = notify_new(&d->notify, d->loop, d->shard_count, &notify_ops, d);
    if (!r)
        r = admin_open(d);
    if (!r)
        r = scrape_open(d, config);
    if (!r)
        r = enter_sandbox(d, config);
    if (!r)
        r = shards_open(d);
    return r;
}

static void close_parts(struct daemon *d)
{
    d->stopping = true; /* what shards still say starts nothing */
    for (size_t i = 0; d->shards && i < d->shard_count; i++)
        shard_join(&d->shards[i]);
    admin_close(d);
    scrape_close(d);
    notify_free(d->notify);
    node_process_free(d->process);
    host_free(d->host);
    ev_mailbox_free(d->mailbox);
    services_deinit(d);
    ev_loop_free(d->loop);
    buf_deinit(&d->change_log);
    free(d->socket_path);
    free(d->shards);
    sandbox_folders_free(d->folders);
}

/* Everything is added: the way from no configuration to the first is the way of every reload. */
static int start_services(struct daemon *d, struct loaded *first)
{
    struct config_diff diff;
    int r = config_diff(&diff, &(struct config) { 0 }, &first->config);

    if (!r)
        r = services_apply(d, first, &diff);
    config_diff_free(&diff);
    return r;
}

static void say_hello(const struct daemon *d, const struct config *c)
{
    log_info(NULL, "manytails %s: %zu service%s on %zu core%s, control server %s", MANYTAILS_VERSION,
             c->service_count, c->service_count == 1 ? "" : "s", d->shard_count,
             d->shard_count == 1 ? "" : "s", c->control_url);
}

static int run(struct daemon *d, struct loaded *first)
{
    int r;

    d->started_at = ev_now(d->loop);
    progress_init(d);
    ev_timer_init(&d->stop_timer, d->loop, on_stop_timer);
    ev_timer_init(&d->settled_timer, d->loop, on_settled);
    ev_timer_set(&d->settled_timer, d->started_at + DAEMON_SETTLED);
    say_hello(d, &first->config);
    notify_started(d->notify);
    post_host(d, host_view_get(d->host));
    r = start_services(d, first);
    if (r) {
        loaded_unref(first);
        return r;
    }
    r = ev_loop_run(d->loop);
    ev_timer_stop(&d->stop_timer);
    ev_timer_stop(&d->settled_timer);
    return r;
}

int daemon_run(struct config *config, int argc, char *const *argv)
{
    struct daemon d = { .argc = argc, .argv = argv, .shard_count = core_count() };
    struct loaded *first;
    int r;

    services_init(&d);
    buf_init(&d.change_log, 1 << 18);
    raise_limits(d.shard_count);
    d.socket_path = text_dup(span_from_str(config->socket_path));
    first = loaded_new(config);
    r = d.socket_path && first ? open_parts(&d, &first->config) : -ENOMEM;
    if (r)
        loaded_unref(first);
    else
        r = run(&d, first);
    close_parts(&d);
    if (r) {
        log_error(NULL, "cannot run: %s", err_text(r));
        return 1;
    }
    log_info(NULL, "stopped");
    return d.exit_status;
}

/* daemon/services.c - the list of services, and what happens to each when the configuration changes */
#include "daemon/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICES_MAX (2 * CONFIG_SERVICES_MAX) /* wanted, and leaving ones of the configuration before */

/* ---- configurations ----------------------------------------------------------------------- */

struct loaded *loaded_new(struct config *config)
{
    struct loaded *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    atomic_init(&l->references, 1);
    l->config = *config;
    memset(config, 0, sizeof(*config));
    return l;
}

struct loaded *loaded_ref(struct loaded *l)
{
    atomic_fetch_add_explicit(&l->references, 1, memory_order_relaxed);
    return l;
}

void loaded_unref(struct loaded *l)
{
    if (!l || atomic_fetch_sub_explicit(&l->references, 1, memory_order_acq_rel) > 1)
        return;
    config_free(&l->config);
    free(l);
}

/* ---- one service ----------------------------------------------------------------------------- */

struct daemon_service *service_of(struct daemon *d, handle h)
{
    return slab_get(&d->service_slab, h);
}

static struct daemon_service *find(struct list *in, const char *name)
{
    LIST_EACH (s, in, struct daemon_service, link)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

struct daemon_service *service_named(struct daemon *d, const char *name)
{
    struct daemon_service *s = find(&d->services, name);

    return s ? s : find(&d->leaving, name);
}

static void service_free(struct daemon_service *s)
{
    ev_timer_stop(&s->retry);
    list_remove(&s->link);
    free(s->name);
    free(s->directory);
    free(s->sentence);
    free(s->auth_url);
    slab_release(&s->daemon->service_slab, s);
}

static void on_retry(struct ev_timer *t, time_ns now);

/* Not in a list yet. */
static struct daemon_service *service_new(struct daemon *d, const char *name)
{
    struct daemon_service *s = slab_alloc(&d->service_slab);

    if (!s)
        return NULL;
    s->daemon = d;
    s->name = text_dup(span_from_str(name));
    ev_timer_init(&s->retry, d->loop, on_retry);
    if (s->name)
        return s;
    service_free(s);
    return NULL;
}

static void post(struct daemon_service *s, enum letter_kind kind, time_ns at)
{
    struct letter *l = letter_new(kind, SPAN_NONE);

    l->service = slab_handle(&s->daemon->service_slab, s);
    l->at = at;
    if (kind == LETTER_START || kind == LETTER_CHANGE) {
        l->loaded = loaded_ref(s->daemon->loaded);
        l->config = s->config;
    }
    shard_post(&s->daemon->shards[s->shard], l);
}

/* Where the fewest are. */
static size_t place(struct daemon *d)
{
    size_t best = 0;

    for (size_t i = 1; i < d->shard_count; i++)
        if (d->shards[i].service_count < d->shards[best].service_count)
            best = i;
    d->shards[best].service_count++;
    return best;
}

static void say(struct daemon_service *s, enum node_state state, const char *sentence)
{
    bool entered = !s->heard || s->state != state;

    if (entered)
        s->since = ev_wall_clock();
    s->heard = true;
    s->state = state;
    free(s->sentence);
    s->sentence = text_dup(span_from_str(sentence));
    if (entered && s->daemon->notify)
        notify_services(s->daemon->notify);
    progress_changed(s->daemon);
}

/* The one that still has the folder that this one wants; NULL: it is free. */
static struct daemon_service *holder(const struct daemon_service *s)
{
    struct daemon *d = s->daemon;
    uint32_t index = 0;

    for (struct daemon_service *other; (other = slab_next(&d->service_slab, &index));)
        if (other != s && other->phase == SERVICE_LEAVING &&
            strcmp(other->directory, s->config->state_directory) == 0)
            return other;
    return NULL;
}

static void service_start(struct daemon_service *s)
{
    struct daemon_service *before = s->daemon->leaving_count ? holder(s) : NULL;
    char sentence[NODE_WHY_BYTES];

    must(s->phase == SERVICE_WAITING && s->config);
    ev_timer_stop(&s->retry);
    if (before) {
        snprintf(sentence, sizeof(sentence), "waiting until service %s has stopped: it has the same stateDir",
                 before->name);
        say(s, NODE_STARTING, sentence);
        return; /* service_left starts it */
    }
    s->directory = text_dup(span_from_str(s->config->state_directory));
    must(s->directory);
    s->phase = SERVICE_UP;
    s->stale = false;
    s->shard = place(s->daemon);
    say(s, NODE_STARTING, "starting");
    post(s, LETTER_START, 0);
}

/* A secret that could not be read may be there by now. No shard looks at a service that has no node. */
static void read_secrets_again(struct daemon_service *s)
{
    struct config *c = &s->daemon->loaded->config;

    if (!s->config->fault)
        return;
    if (config_secrets_again(c, (size_t)(s->config - c->services)))
        log_warn(s->name, "no memory to read its secrets again");
    else if (!s->config->fault)
        log_info(s->name, "its secrets can be read now");
}

static void on_retry(struct ev_timer *t, time_ns now)
{
    struct daemon_service *s = CONTAINER_OF(t, struct daemon_service, retry);

    (void)now;
    read_secrets_again(s);
    service_start(s);
}

static void service_leave(struct daemon_service *s)
{
    must(s->phase == SERVICE_UP);
    s->phase = SERVICE_LEAVING;
    s->daemon->leaving_count++;
    post(s, LETTER_STOP, ev_now(s->daemon->loop) + DAEMON_DRAIN);
}

/* Its node is gone. Who waited for the folder may have it now. */
static void service_left(struct daemon_service *s)
{
    struct daemon *d = s->daemon;

    must(s->phase == SERVICE_LEAVING);
    s->phase = SERVICE_WAITING;
    d->leaving_count--;
    d->shards[s->shard].service_count--;
    free(s->directory);
    s->directory = NULL;
    if (d->stopping)
        return;
    if (!s->config)
        service_free(s);
    LIST_EACH (other, &d->services, struct daemon_service, link)
        if (other->phase == SERVICE_WAITING && !ev_timer_running(&other->retry))
            service_start(other);
}

/* ---- what shards say ---------------------------------------------------------------------------- */

static void on_state(struct daemon_service *s, const struct letter *l)
{
    bool entered = !s->heard || s->state != l->state;
    const char *state = node_state_text(l->state);

    say(s, l->state, l->text);
    if (entered && strcmp(state, l->text) == 0)
        log_info(s->name, "%s", state); /* not "stopped: stopped" */
    else if (entered)
        log_info(s->name, "%s: %s", state, l->text);
    else
        log_debug(s->name, "%s: %s", state, l->text);
}

static void on_auth_url(struct daemon_service *s, const struct letter *l)
{
    free(s->auth_url);
    s->auth_url = l->len ? text_dup(span_make(l->text, l->len)) : NULL;
    progress_changed(s->daemon);
    if (s->auth_url)
        login_show(s->name, s->auth_url);
}

/* There is no node: tried again, unless it was to leave anyway. Then STOPPED follows. */
static void on_refused(struct daemon_service *s, const struct letter *l)
{
    struct daemon *d = s->daemon;

    if (s->phase != SERVICE_UP)
        return;
    s->phase = SERVICE_WAITING;
    d->shards[s->shard].service_count--;
    free(s->directory);
    s->directory = NULL;
    say(s, NODE_FAILED, l->text);
    log_error(s->name, "%s; trying again in %d s", l->text, (int)(DAEMON_RETRY / SEC));
    ev_timer_set(&s->retry, ev_now(d->loop) + DAEMON_RETRY);
}

static void on_changed(struct daemon *d, struct daemon_service *s, const struct letter *l)
{
    if (s && l->len) {
        s->stale = true;
        log_error(s->name, "keeps its old settings: %s", l->text);
        if (buf_printf(&d->change_log, "service %s: %s\n", s->name, l->text))
            log_debug(s->name, "too many services that keep their settings to list them all");
    }
    must(d->changes_due);
    if (--d->changes_due == 0)
        admin_changes_done(d);
}

void service_hear(struct daemon *d, const struct letter *l)
{
    struct daemon_service *s = service_of(d, l->service);

    if (l->kind == LETTER_CHANGED)
        on_changed(d, s, l);
    else if (!s)
        return;
    else if (l->kind == LETTER_STATE)
        on_state(s, l);
    else if (l->kind == LETTER_AUTH_URL)
        on_auth_url(s, l);
    else if (l->kind == LETTER_REFUSED)
        on_refused(s, l);
    else if (l->kind == LETTER_STOPPED)
        service_left(s);
}

/* ---- what a new configuration changes --------------------------------------------------------------- */

/* The service of each entry of the new configuration: kept, called back, or made. NULL: no memory; what was
 * made is in `made`, in no list yet. */
static struct daemon_service **take_services(struct daemon *d, const struct config *next,
                                             const struct config_diff *diff, struct list *made)
{
    struct daemon_service **new = calloc(next->service_count + 1, sizeof(*new));
    struct daemon_service **old = calloc(d->service_count + 1, sizeof(*old));
    size_t n = 0;

    LIST_EACH (s, &d->services, struct daemon_service, link)
        if (old)
            old[n++] = s;
    for (size_t i = 0; new &&old &&i < diff->count; i++) {
        const struct config_change *c = &diff->changes[i];
        struct daemon_service *s;

        if (c->after == CONFIG_NO_SERVICE)
            continue;
        s = c->before == CONFIG_NO_SERVICE ? find(&d->leaving, next->services[c->after].name)
                                           : old[c->before];
        if (!s && (s = service_new(d, next->services[c->after].name)))
            list_push_back(made, &s->link);
        if (!s) {
            free(new);
            new = NULL;
        } else {
            new[c->after] = s;
        }
    }
    if (!old) {
        free(new);
        new = NULL;
    }
    free(old);
    return new;
}

/* The list in the order of the new configuration; who is not in it is leaving. */
static void relist(struct daemon *d, struct loaded *next, struct daemon_service **new)
{
    LIST_EACH (s, &d->services, struct daemon_service, link)
        s->config = NULL;
    list_splice_back(&d->leaving, &d->services);
    d->service_count = next->config.service_count;
    for (size_t i = 0; i < d->service_count; i++) {
        list_remove(&new[i]->link);
        list_push_back(&d->services, &new[i]->link);
        new[i]->config = &next->config.services[i];
    }
}

static void service_change(struct daemon_service *s, enum config_cost cost)
{
    if (s->phase == SERVICE_WAITING) {
        service_start(s);
    } else if (s->phase == SERVICE_UP && cost == CONFIG_COST_NODE) {
        log_info(s->name, "starts anew: its identity, folder or control server changed");
        service_leave(s);
    } else if (s->phase == SERVICE_UP && (cost != CONFIG_COST_NOTHING || s->stale)) {
        s->stale = false;
        s->daemon->changes_due++;
        post(s, LETTER_CHANGE, 0);
    }
}

static void let_go(struct daemon *d)
{
    LIST_EACH (s, &d->leaving, struct daemon_service, link) {
        if (s->phase == SERVICE_UP)
            service_leave(s);
        else if (s->phase == SERVICE_WAITING)
            service_free(s);
    }
}

void log_lines(enum log_level level, struct span lines)
{
    while (lines.len) {
        const uint8_t *end = memchr(lines.data, '\n', lines.len);
        size_t len = end ? (size_t)(end - lines.data) : lines.len;

        log_line(level, NULL, "%.*s", (int)len, (const char *)lines.data);
        lines = span_slice(lines, len + 1, lines.len);
    }
}

static bool any_verbose(const struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++)
        if (c->services[i].verbose)
            return true;
    return false;
}

int services_apply(struct daemon *d, struct loaded *next, const struct config_diff *diff)
{
    struct daemon_service **new;
    struct loaded *before = d->loaded;
    struct list made;

    list_init(&made);
    new = take_services(d, &next->config, diff, &made);
    if (!new) {
        while (!list_empty(&made))
            service_free(LIST_FIRST(&made, struct daemon_service, link));
        return -ENOMEM;
    }
    log_set_level(any_verbose(&next->config) ? LOG_DEBUG : LOG_INFO);
    log_lines(LOG_WARN, buf_span(&next->config.notices));
    relist(d, next, new);
    d->loaded = next;
    let_go(d); /* before anybody starts: the folder of one may be the next one's */
    for (size_t i = 0; i < diff->count; i++)
        if (diff->changes[i].after != CONFIG_NO_SERVICE)
            service_change(new[diff->changes[i].after], diff->changes[i].cost);
    loaded_unref(before);
    free(new);
    progress_begin(d);
    return 0;
}

/* ---- life -----------------------------------------------------------------------------------------------
 */

void services_init(struct daemon *d)
{
    slab_init(&d->service_slab, sizeof(struct daemon_service), SERVICES_MAX);
    list_init(&d->services);
    list_init(&d->leaving);
}

void services_deinit(struct daemon *d)
{
    uint32_t index = 0;

    for (struct daemon_service *s; (s = slab_next(&d->service_slab, &index));)
        service_free(s);
    slab_deinit(&d->service_slab);
    loaded_unref(d->loaded);
    d->loaded = NULL;
}

void services_stop(struct daemon *d)
{
    uint32_t index = 0;

    for (struct daemon_service *s; (s = slab_next(&d->service_slab, &index));) {
        ev_timer_stop(&s->retry);
        if (s->phase == SERVICE_UP)
            service_leave(s);
    }
}

void services_end(struct daemon *d)
{
    uint32_t index = 0;

    for (struct daemon_service *s; (s = slab_next(&d->service_slab, &index));)
        if (s->phase == SERVICE_LEAVING)
            post(s, LETTER_END, 0);
}

bool services_stopped(const struct daemon *d)
{
    uint32_t index = 0;

    for (struct daemon_service *s; (s = slab_next(&d->service_slab, &index));)
        if (s->phase != SERVICE_WAITING)
            return false;
    return true;
}

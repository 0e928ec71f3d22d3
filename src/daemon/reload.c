/* daemon/reload.c - the configuration anew: what would change, and what does */
#include "daemon/internal.h"

#include <errno.h>

/* Lines as an array of strings. */
void json_put_lines(struct json_writer *w, const char *key, struct span lines)
{
    json_array_begin(w, key);
    while (lines.len) {
        const uint8_t *end = memchr(lines.data, '\n', lines.len);
        size_t len = end ? (size_t)(end - lines.data) : lines.len;

        json_put_span(w, NULL, span_slice(lines, 0, len));
        lines = span_slice(lines, len + 1, lines.len);
    }
    json_array_end(w);
}

/* What happens to a service: a word for the machine. */
static const char *action_of(const struct config_change *c)
{
    if (c->before == CONFIG_NO_SERVICE)
        return "add";
    if (c->after == CONFIG_NO_SERVICE)
        return "remove";
    return c->cost == CONFIG_COST_NODE ? "restart" : "change";
}

static void put_change(struct json_writer *w, const struct config_change *c, const struct config *before,
                       const struct config *after)
{
    const struct config_service *s =
        c->after == CONFIG_NO_SERVICE ? &before->services[c->before] : &after->services[c->after];

    json_object_begin(w, NULL);
    json_put_str(w, "name", s->name);
    json_put_str(w, "action", action_of(c));
    if (c->options)
        json_put_str(w, "options", c->options);
    /* Requests under way always have their time to finish. */
    json_put_bool(w, "cutsConnections", c->after == CONFIG_NO_SERVICE || c->cost == CONFIG_COST_NODE);
    json_object_end(w);
}

static void put_diff(struct json_writer *w, const struct config_diff *d, const struct config *before,
                     const struct config *after)
{
    json_put_u64(w, "unchanged", d->unchanged);
    json_array_begin(w, "services");
    for (size_t i = 0; i < d->count; i++)
        if (d->changes[i].before == CONFIG_NO_SERVICE || d->changes[i].cost != CONFIG_COST_NOTHING ||
            d->changes[i].after == CONFIG_NO_SERVICE)
            put_change(w, &d->changes[i], before, after);
    json_array_end(w);
    if (d->process)
        json_put_str(w, "needsRestart", d->process);
}

static int go_over(struct daemon *d, struct config *next, const struct config_diff *diff)
{
    struct loaded *l = loaded_new(next);
    int r;

    if (!l)
        return -ENOMEM;
    r = services_apply(d, l, diff);
    if (r) {
        *next = l->config; /* the caller's again */
        l->config = (struct config) { 0 };
        loaded_unref(l);
        return r;
    }
    log_info(NULL, "configuration reloaded: %zu added, %zu changed, %zu removed, %zu left alone", diff->added,
             diff->changed, diff->removed, diff->unchanged);
    if (diff->process)
        log_warn(NULL, "these settings need a restart of the program: %s", diff->process);
    return 0;
}

/* A good configuration: compared, written down, and used unless `dry`. */
static int compare(struct daemon *d, struct config *next, bool dry, struct json_writer *w)
{
    struct config_diff diff;
    int r = config_diff(&diff, &d->loaded->config, next);

    if (!r) {
        put_diff(w, &diff, &d->loaded->config, next);
        json_put_lines(w, "notices", buf_span(&next->notices));
    }
    if (!r && !dry)
        r = go_over(d, next, &diff);
    config_diff_free(&diff);
    return r;
}

static void put_refusal(const struct daemon *d, const struct config *next, struct json_writer *w)
{
    struct span problems = d->stopping ? span_from_str("the program is stopping") : buf_span(&next->problems);

    log_lines(LOG_ERROR, problems);
    log_error(NULL, "not reloaded: nothing was changed");
    json_put_lines(w, "problems", problems);
}

/* Folders that nobody named at the start are closed to the process, and it cannot open them itself. */
static void check_sandbox(const struct daemon *d, struct config *next)
{
    struct sandbox_folders *wanted = d->folders ? sandbox_folders_of(next, false) : NULL;
    const char *missing = wanted ? sandbox_folders_missing(d->folders, wanted) : NULL;

    if (missing &&
        buf_printf(&next->problems,
                   "%s is outside the sandbox that this process entered when it started: restart it\n",
                   missing) == 0)
        next->problem_count++;
    sandbox_folders_free(wanted);
}

/* Files that it names are read here as well: a start has to get along with what there is, but who changes a
 * running program gets all of it, or is told what to put right. */
static int load(struct daemon *d, bool dry, struct buf *out)
{
    struct json_writer w = json_writer_of(out);
    struct config next;
    int r = config_load_mode(&next, d->argc, d->argv, CONFIG_FILES);
    bool good;

    if (r >= 0)
        check_sandbox(d, &next);
    good = r == 0 && !next.problem_count && !d->stopping;
    json_object_begin(&w, NULL);
    json_put_bool(&w, "ok", good);
    json_put_bool(&w, "dryRun", dry);
    if (good) {
        r = compare(d, &next, dry, &w);
    } else if (r >= 0) {
        put_refusal(d, &next, &w);
        r = 0;
    }
    json_object_end(&w);
    config_free(&next);
    return r ? r : json_writer_done(&w);
}

int reload(struct daemon *d, bool dry, struct buf *out)
{
    int r;

    if (!dry && d->notify)
        notify_reloading(d->notify, ev_now(d->loop));
    r = load(d, dry, out);
    if (!dry && d->notify)
        notify_reloaded(d->notify);
    return r;
}

void reload_on_signal(struct daemon *d)
{
    struct buf answer;
    int r;

    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    r = reload(d, false, &answer);
    if (r)
        log_error(NULL, "not reloaded: %s", err_text(r));
    buf_deinit(&answer);
}

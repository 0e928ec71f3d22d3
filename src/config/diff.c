/* config/diff.c - what a reload has to do: two configurations compared service by service, option by option
 */
#include <errno.h>
#include <stdlib.h>

#include "config/internal.h"

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_list(const struct config_list *a, const struct config_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

static bool same_value(const struct option *o, const void *a, const void *b)
{
    const void *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;

    switch (o->kind) {
    case OPTION_STRING:
    case OPTION_FILE:
    case OPTION_DIRECTORY:
        return same_text(*(char *const *)x, *(char *const *)y);
    case OPTION_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case OPTION_NUMBER:
        return *(const uint32_t *)x == *(const uint32_t *)y;
    case OPTION_DURATION:
        return *(const time_ns *)x == *(const time_ns *)y;
    case OPTION_LIST:
    case OPTION_TAGS:
    case OPTION_HEADERS:
        return same_list(x, y);
    }
    return false;
}

/* Appends a name to the list *names. */
static int add_name(char **names, const char *name)
{
    char *longer;

    if (!*names) {
        *names = text_dup(span_from_str(name));
        return *names ? 0 : -ENOMEM;
    }
    longer = realloc(*names, strlen(*names) + strlen(name) + 3);
    if (!longer)
        return -ENOMEM;
    *names = longer;
    strcat(strcat(longer, ", "), name);
    return 0;
}

/* The options of one owner that differ, and the dearest of their costs. */
static int compare(enum option_scope scope, const void *before, const void *after, enum config_cost *cost,
                   char **names)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &options[i];
        int r;

        if (o->scope != scope || same_value(o, before, after))
            continue;
        r = add_name(names, *o->yaml ? o->yaml : o->flag);
        if (r)
            return r;
        *cost = MIN(*cost, o->change);
    }
    return 0;
}

static int compare_service(struct config_change *c, const struct config_service *before,
                           const struct config_service *after)
{
    int r = compare(OPTION_SERVICE, before, after, &c->cost, &c->options);

    /* The same path, another key in it: it is for the next registration. */
    if (!r && !same_text(before->auth_key, after->auth_key) &&
        same_text(before->auth_key_path, after->auth_key_path)) {
        r = add_name(&c->options, "the auth key");
        c->cost = MIN(c->cost, CONFIG_COST_IN_PLACE);
    }
    if (!r && !same_text(before->fault, after->fault)) {
        r = add_name(&c->options, "whether its secrets can be read");
        c->cost = MIN(c->cost, CONFIG_COST_IN_PLACE);
    }
    return r;
}

/* ---- finding by name ----------------------------------------------------------------- */

/* Services by name, so that a thousand of them are not a million comparisons. */
struct by_name {
    const char *name;
    size_t index;
};

static int order(const void *a, const void *b)
{
    return strcmp(((const struct by_name *)a)->name, ((const struct by_name *)b)->name);
}

static struct by_name *index_new(const struct config *c)
{
    struct by_name *index = malloc((c->service_count + 1) * sizeof(*index));

    for (size_t i = 0; index && i < c->service_count; i++)
        index[i] = (struct by_name) { c->services[i].name, i };
    if (index)
        qsort(index, c->service_count, sizeof(*index), order);
    return index;
}

static size_t index_find(const struct by_name *index, size_t count, const char *name)
{
    const struct by_name key = { name, 0 };
    const struct by_name *found = bsearch(&key, index, count, sizeof(*index), order);

    return found ? found->index : CONFIG_NO_SERVICE;
}

/* ---- the comparison -------------------------------------------------------------------- */

static int add_after(struct config_diff *d, const struct config *before, const struct config *after,
                     const struct by_name *index)
{
    for (size_t i = 0; i < after->service_count; i++) {
        struct config_change *c = &d->changes[d->count++];
        int r;

        *c = (struct config_change) {
            .before = index_find(index, before->service_count, after->services[i].name),
            .after = i,
            .cost = CONFIG_COST_NOTHING,
        };
        if (c->before == CONFIG_NO_SERVICE) {
            d->added++;
            continue;
        }
        r = compare_service(c, &before->services[c->before], &after->services[i]);
        if (r)
            return r;
        if (c->cost == CONFIG_COST_NOTHING)
            d->unchanged++;
        else
            d->changed++;
    }
    return 0;
}

static void add_removed(struct config_diff *d, const struct config *before, const struct config *after,
                        const struct by_name *index)
{
    for (size_t i = 0; i < before->service_count; i++) {
        if (index_find(index, after->service_count, before->services[i].name) != CONFIG_NO_SERVICE)
            continue;
        d->changes[d->count++] =
            (struct config_change) { .before = i, .after = CONFIG_NO_SERVICE, .cost = CONFIG_COST_NOTHING };
        d->removed++;
    }
}

int config_diff(struct config_diff *d, const struct config *before, const struct config *after)
{
    struct by_name *old = index_new(before), *new = index_new(after);
    enum config_cost ignored = CONFIG_COST_NOTHING;
    int r = -ENOMEM;

    *d = (struct config_diff) { 0 };
    d->changes = calloc(before->service_count + after->service_count + 1, sizeof(*d->changes));
    if (old && new && d->changes)
        r = add_after(d, before, after, old);
    if (!r) {
        add_removed(d, before, after, new);
        r = compare(OPTION_PROCESS, before, after, &ignored, &d->process);
    }
    free(old);
    free(new);
    return r;
}

void config_diff_free(struct config_diff *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->changes[i].options);
    free(d->changes);
    free(d->process);
    *d = (struct config_diff) { 0 };
}

/* ---- in words ---------------------------------------------------------------------------- */

static const char *cost_text(enum config_cost cost)
{
    static const char *const texts[] = {
#define X(name, text) [CONFIG_COST_##name] = text,
        CONFIG_COSTS(X)
#undef X
            [CONFIG_COST_PROCESS] = "needs a new start",
    };

    return texts[cost];
}

static int change_text(const struct config_change *c, const struct config *before, const struct config *after,
                       struct buf *out)
{
    if (c->before == CONFIG_NO_SERVICE)
        return buf_printf(out, "added: %s -> %s\n", after->services[c->after].name,
                          after->services[c->after].upstream);
    if (c->after == CONFIG_NO_SERVICE)
        return buf_printf(out, "removed: %s\n", before->services[c->before].name);
    if (c->cost == CONFIG_COST_NOTHING)
        return 0;
    return buf_printf(out, "changed: %s: %s; %s\n", after->services[c->after].name, c->options,
                      cost_text(c->cost));
}

int config_diff_text(const struct config_diff *d, const struct config *before, const struct config *after,
                     struct buf *out)
{
    for (size_t i = 0; i < d->count; i++) {
        int r = change_text(&d->changes[i], before, after, out);

        if (r)
            return r;
    }
    if (d->process) {
        int r = buf_printf(out, "needs a new start of the program: %s\n", d->process);

        if (r)
            return r;
    }
    return buf_printf(out, "%zu added, %zu changed, %zu removed, %zu unchanged\n", d->added, d->changed,
                      d->removed, d->unchanged);
}

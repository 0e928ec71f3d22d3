#include "config/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define OWNER_SERVICE struct config_service
#define OWNER_PROCESS struct config

const struct option options[] = {
#define OPTION(scope_, kind_, field, flag_, key_, yaml_, fallback_, argument_, change_, text_, range_, why_, \
               example_)                                                                                     \
    { OPTION_##scope_, OPTION_##kind_, offsetof(OWNER_##scope_, field), flag_, key_,   yaml_,                \
      fallback_,       argument_,      CONFIG_COST_##change_,           text_, range_, why_,                 \
      example_ },
#define FEATURE(kind, name, what)
#include "config/options.def"
#undef OPTION
#undef FEATURE
};
const size_t option_count = COUNT_OF(options);

const struct feature features[] = {
#define OPTION(...)
#define FEATURE(kind_, name_, what_) { OPTION_##kind_, name_, what_ },
#include "config/options.def"
#undef OPTION
#undef FEATURE
};
const size_t feature_count = COUNT_OF(features);

static const char *name_in(const struct option *o, enum option_source source)
{
    switch (source) {
    case FROM_FLAG:
        return o->flag;
    case FROM_KEY:
        return o->key;
    case FROM_YAML:
        return o->yaml;
    }
    return "";
}

const struct option *option_find(enum option_source source, struct span name)
{
    for (size_t i = 0; name.len && i < option_count; i++)
        if (span_equal_str(name, name_in(&options[i], source)))
            return &options[i];
    return NULL;
}

const struct feature *feature_find(struct span name)
{
    for (size_t i = 0; i < feature_count; i++)
        if (span_equal_str(name, features[i].name))
            return &features[i];
    return NULL;
}

const char *option_nearest(enum option_source source, struct span name)
{
    const char *best = NULL;
    size_t best_distance = MIN(name.len / 2 + 1, (size_t)4);

    for (size_t i = 0; i < option_count; i++) {
        const char *candidate = name_in(&options[i], source);
        size_t d = text_distance(name, span_from_str(candidate));

        if (*candidate && d < best_distance) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}

/* ---- values -------------------------------------------------------------------- */

static bool one_of(struct span value, const char *const *words, bool fold)
{
    for (; *words; words++)
        if (fold ? text_equal_fold(value, span_from_str(*words)) : span_equal_str(value, *words))
            return true;
    return false;
}

/* Each source has its own spellings (Go's flag package, the fork's -service, YAML 1.1). */
static bool parse_bool(struct span value, enum option_source source, bool *out)
{
    static const char *const flag_true[] = { "1", "t", "T", "TRUE", "true", "True", NULL };
    static const char *const flag_false[] = { "0", "f", "F", "FALSE", "false", "False", NULL };
    static const char *const key_true[] = { "true", "yes", "1", "y", NULL };
    static const char *const key_false[] = { "false", "no", "0", "n", NULL };
    static const char *const yaml_true[] = { "true", "yes", "on", "y", NULL };
    static const char *const yaml_false[] = { "false", "no", "off", "n", NULL };
    static const char *const *const yes[] = { flag_true, key_true, yaml_true };
    static const char *const *const no[] = { flag_false, key_false, yaml_false };

    *out = one_of(value, yes[source], source != FROM_FLAG);
    return *out || one_of(value, no[source], source != FROM_FLAG);
}

static int list_add(struct config_list *list, struct span value)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

    if (!items)
        return -ENOMEM;
    list->items = items;
    items[list->count] = text_dup(value);
    if (!items[list->count])
        return -ENOMEM;
    list->count++;
    return 0;
}

/* "Name: value" on the command line needs the space, "Name:Value" in -service does not; kept as "Name:
 * value". */
static int header_add(struct config_list *list, struct span value, enum option_source source,
                      const char **why)
{
    const uint8_t *colon = value.len ? memchr(value.data, ':', value.len) : NULL;
    struct span name, rest;
    char *line;
    int r;

    *why = source == FROM_FLAG ? "header format must be 'Header-Name: value'"
                               : "header format must be 'Name:Value'";
    if (!colon || colon == value.data)
        return 1;
    name = text_trim(span_make(value.data, (size_t)(colon - value.data)));
    rest = span_slice(value, (size_t)(colon - value.data) + 1, value.len);
    if (!name.len || (source == FROM_FLAG && (!rest.len || rest.data[0] != ' ')))
        return 1;
    rest = text_trim(rest);
    if (asprintf(&line, "%.*s: %.*s", (int)name.len, name.data, (int)rest.len,
                 rest.len ? (const char *)rest.data : "") < 0)
        return -ENOMEM;
    r = list_add(list, span_from_str(line));
    free(line);
    return r;
}

int option_set(const struct option *o, void *target, struct span value, enum option_source source,
               const char **why)
{
    void *field = (char *)target + o->offset;
    struct config_list *list = field;
    uint64_t number;
    char *copy;

    switch (o->kind) {
    case OPTION_STRING:
    case OPTION_FILE:
    case OPTION_DIRECTORY:
        if (value.len && memchr(value.data, 0, value.len)) {
            *why = "there is a zero byte in it";
            return 1;
        }
        copy = text_dup(value);
        if (!copy)
            return -ENOMEM;
        free(*(char **)field);
        *(char **)field = copy;
        return 0;
    case OPTION_BOOL:
        *why = "invalid boolean value: write true or false";
        return parse_bool(value, source, field) ? 0 : 1;
    case OPTION_NUMBER:
        *why = "a whole number is expected";
        if (!text_parse_u64(value, INT32_MAX, &number))
            return 1;
        *(uint32_t *)field = (uint32_t)number;
        return 0;
    case OPTION_DURATION:
        *why = "parsing duration: write a number with a unit, as 300ms, 1.5s or 2m";
        return duration_parse(value, field) ? 0 : 1;
    case OPTION_LIST:
    case OPTION_HEADERS:
        if (list->count >= CONFIG_LIST_MAX) {
            *why = "too many entries";
            return 1;
        }
        return o->kind == OPTION_LIST ? list_add(list, value) : header_add(list, value, source, why);
    }
    return 0;
}

/* ---- services -------------------------------------------------------------------- */

int service_init(struct config_service *s)
{
    const char *why;

    *s = (struct config_service) { 0 };
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &options[i];
        int r;

        if (o->scope != OPTION_SERVICE || option_is_list(o))
            continue;
        r = option_set(o, s, span_from_str(o->fallback), FROM_FLAG, &why);
        must(r <= 0);
        if (r)
            return r;
    }
    return 0;
}

static void fields_free(void *target, enum option_scope scope)
{
    for (size_t i = 0; i < option_count; i++) {
        void *field = (char *)target + options[i].offset;
        struct config_list *list = field;

        if (options[i].scope != scope)
            continue;
        if (option_is_text(&options[i]))
            free(*(char **)field);
        if (!option_is_list(&options[i]))
            continue;
        for (size_t k = 0; k < list->count; k++)
            free(list->items[k]);
        free(list->items);
    }
}

void service_free(struct config_service *s)
{
    fields_free(s, OPTION_SERVICE);
    if (s->auth_key)
        explicit_bzero(s->auth_key, strlen(s->auth_key));
    free(s->auth_key);
    *s = (struct config_service) { 0 };
}

struct config_service *config_add_service(struct config *c)
{
    struct config_service *services;

    if (c->service_count >= CONFIG_SERVICES_MAX) {
        problem(c, "more than %d services", CONFIG_SERVICES_MAX);
        return NULL;
    }
    services = realloc(c->services, (c->service_count + 1) * sizeof(*services));
    if (!services)
        return NULL;
    c->services = services;
    if (service_init(&services[c->service_count])) {
        service_free(&services[c->service_count]);
        return NULL;
    }
    return &services[c->service_count++];
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++)
        service_free(&c->services[i]);
    free(c->services);
    fields_free(c, OPTION_PROCESS);
    free(c->control_url);
    free(c->base_directory);
    buf_deinit(&c->problems);
    buf_deinit(&c->notices);
    *c = (struct config) { 0 };
}

/* ---- what is to be told ------------------------------------------------------------ */

static void add_line(struct buf *to, const char *fmt, va_list args)
{
    char *line;

    if (vasprintf(&line, fmt, args) < 0)
        return;
    if (buf_append_str(to, line) == 0 && buf_append_str(to, "\n") == 0) {
        free(line);
        return;
    }
    free(line); /* the list is full: the first ones are the ones to read */
}

void problem(struct config *c, const char *fmt, ...)
{
    va_list args;

    if (c->problem_count++ >= CONFIG_PROBLEMS_MAX)
        return;
    va_start(args, fmt);
    add_line(&c->problems, fmt, args);
    va_end(args);
}

void notice(struct config *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_line(&c->notices, fmt, args);
    va_end(args);
}

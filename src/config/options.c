#include "config/internal.h"

#include <ctype.h>
#include <errno.h>
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

/* How far "did you mean" may reach. */
static struct text_nearest nearest_to(struct span name)
{
    return (struct text_nearest) { .name = name, .distance = MIN(name.len / 2 + 1, (size_t)4) };
}

const char *option_nearest(enum option_source source, struct span name)
{
    struct text_nearest n = nearest_to(name);

    for (size_t i = 0; i < option_count; i++)
        text_consider(&n, name_in(&options[i], source));
    return n.found;
}

const char *yaml_nearest(struct span name, enum option_scope scope, bool top)
{
    static const char *const sections[] = { "services", "defaults", "include" };
    struct text_nearest n = nearest_to(name);

    for (size_t i = 0; i < option_count; i++)
        if (options[i].scope == scope)
            text_consider(&n, options[i].yaml);
    for (size_t i = 0; top && i < COUNT_OF(sections); i++)
        text_consider(&n, sections[i]);
    return n.found;
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
bool bool_parse(struct span value, enum option_source source, bool *out)
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

int list_add(struct config_list *list, struct span value)
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

static void text_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void header_drop(struct config_list *list, struct span name)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        const char *colon = strchr(list->items[i], ':');

        if (text_equal_fold(span_make(list->items[i], (size_t)(colon - list->items[i])), name))
            text_free(list->items[i]);
        else
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum(s.data[i]) && !strchr("!#$%&'*+-.^_`|~", s.data[i]))
            return false;
    return s.len;
}

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7f)
            return true;
    return false;
}

/* What no header may be, whoever asks. */
static bool header_refused(struct span name, struct span value, struct option_fault *why)
{
    static const char *const ours[] = { "Connection", "Content-Length",    "Keep-Alive", "TE",
                                        "Trailer",    "Transfer-Encoding", "Upgrade" };

    if (!is_token(name)) {
        *why = (struct option_fault) { "no header name", "use letters, digits and hyphens" };
        return true;
    }
    if (has_control(value)) {
        *why = (struct option_fault) { "the header's value has a control character", "remove it" };
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(ours); i++)
        if (text_equal_fold(name, span_from_str(ours[i]))) {
            *why = (struct option_fault) { "this header belongs to the connection, not to the service",
                                           "remove it" };
            return true;
        }
    return false;
}

/* "Name: value" on the command line needs the space, "Name:Value" in -service does not; kept as "Name:
 * value". */
static int header_add(struct config_list *list, struct span value, enum option_source source,
                      struct option_fault *why)
{
    const uint8_t *colon = value.len ? memchr(value.data, ':', value.len) : NULL;
    struct span name, rest;
    char *line;
    int r;

    *why = (struct option_fault) { source == FROM_FLAG ? "header format must be 'Header-Name: value'"
                                                       : "header format must be 'Name:Value'",
                                   "" };
    if (!colon || colon == value.data)
        return 1;
    name = text_trim(span_make(value.data, (size_t)(colon - value.data)));
    rest = span_slice(value, (size_t)(colon - value.data) + 1, value.len);
    if (!name.len || (source == FROM_FLAG && (!rest.len || rest.data[0] != ' ')))
        return 1;
    rest = text_trim(rest);
    if (header_refused(name, rest, why))
        return 1;
    if (asprintf(&line, "%.*s: %.*s", (int)name.len, name.data, (int)rest.len,
                 rest.len ? (const char *)rest.data : "") < 0)
        return -ENOMEM;
    if (source == FROM_KEY)
        header_drop(list, name); /* a map there: the last one counts */
    r = list_add(list, span_from_str(line));
    explicit_bzero(line, strlen(line));
    free(line);
    return r;
}

static int set_string(char **field, struct span value, struct option_fault *why)
{
    char *copy;

    if (value.len && memchr(value.data, 0, value.len)) {
        *why = (struct option_fault) { "there is a zero byte in it", "remove it" };
        return 1;
    }
    copy = text_dup(value);
    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

int option_set(const struct option *o, void *target, struct span value, enum option_source source,
               struct option_fault *why)
{
    void *field = (char *)target + o->offset;
    struct config_list *list = field;
    uint64_t number;

    switch (o->kind) {
    case OPTION_STRING:
    case OPTION_FILE:
    case OPTION_DIRECTORY:
        return set_string(field, value, why);
    case OPTION_BOOL:
        *why = (struct option_fault) { "invalid boolean value", "write true or false" };
        return bool_parse(value, source, field) ? 0 : 1;
    case OPTION_NUMBER:
        *why = (struct option_fault) { "a whole number is expected", "write it in digits" };
        if (!text_parse_u64(value, INT32_MAX, &number))
            return 1;
        *(uint32_t *)field = (uint32_t)number;
        return 0;
    case OPTION_DURATION:
        *why =
            (struct option_fault) { "parsing duration", "write a number with a unit, as 300ms, 1.5s or 2m" };
        return duration_parse(value, field) ? 0 : 1;
    case OPTION_LIST:
    case OPTION_TAGS:
    case OPTION_HEADERS:
        *why = (struct option_fault) { "tags must start with 'tag:'", "write tag:web" };
        if (o->kind == OPTION_TAGS && (!text_starts_with(value, "tag:") || value.len < 5))
            return 1;
        if (list->count >= CONFIG_LIST_MAX) {
            *why = (struct option_fault) { "too many entries", "at most 256" };
            return 1;
        }
        return o->kind == OPTION_HEADERS ? header_add(list, value, source, why) : list_add(list, value);
    }
    return 0;
}

void option_clear(const struct option *o, void *target)
{
    struct config_list *list = (struct config_list *)((char *)target + o->offset);

    must(option_is_list(o));
    for (size_t k = 0; k < list->count; k++)
        text_free(list->items[k]);
    free(list->items);
    *list = (struct config_list) { 0 };
}

/* ---- services -------------------------------------------------------------------- */

static int fields_init(void *target, enum option_scope scope)
{
    struct option_fault why;

    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &options[i];
        int r;

        if (o->scope != scope || option_is_list(o))
            continue;
        r = option_set(o, target, span_from_str(o->fallback), FROM_FLAG, &why);
        must(r <= 0);
        if (r)
            return r;
    }
    return 0;
}

static void fields_free(void *target, enum option_scope scope)
{
    for (size_t i = 0; i < option_count; i++) {
        if (options[i].scope != scope)
            continue;
        if (option_is_text(&options[i]))
            free(*(char **)((char *)target + options[i].offset));
        if (option_is_list(&options[i]))
            option_clear(&options[i], target);
    }
}

int service_init(struct config_service *s)
{
    *s = (struct config_service) { .places = calloc(option_count, sizeof(*s->places)) };
    return s->places ? fields_init(s, OPTION_SERVICE) : -ENOMEM;
}

static int list_copy(struct config_list *out, const struct config_list *from)
{
    for (size_t i = 0; i < from->count; i++) {
        int r = list_add(out, span_from_str(from->items[i]));

        if (r)
            return r;
    }
    return 0;
}

/* One option's value from one service to the other. */
static int field_copy(const struct option *o, struct config_service *out, const struct config_service *from)
{
    void *to = (char *)out + o->offset;
    const void *it = (const char *)from + o->offset;
    struct option_fault why;

    if (option_is_list(o))
        return list_copy(to, it);
    if (option_is_text(o))
        return set_string(to, span_from_str(*(char *const *)it), &why);
    if (o->kind == OPTION_BOOL)
        *(bool *)to = *(const bool *)it;
    else if (o->kind == OPTION_NUMBER)
        *(uint32_t *)to = *(const uint32_t *)it;
    else
        *(time_ns *)to = *(const time_ns *)it;
    return 0;
}

int service_copy(struct config_service *out, const struct config_service *from)
{
    int r = service_init(out);

    for (size_t i = 0; !r && i < option_count; i++) {
        out->places[i] = from->places[i];
        if (options[i].scope == OPTION_SERVICE)
            r = field_copy(&options[i], out, from);
    }
    return r;
}

void service_free(struct config_service *s)
{
    fields_free(s, OPTION_SERVICE);
    text_free(s->auth_key);
    free(s->fault);
    free(s->places);
    *s = (struct config_service) { 0 };
}

int process_init(struct config *c)
{
    c->places = calloc(option_count, sizeof(*c->places));
    return c->places ? fields_init(c, OPTION_PROCESS) : -ENOMEM;
}

struct config_service *config_add_service(struct config *c, const struct config_service *from)
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
    if (service_copy(&services[c->service_count], from)) {
        service_free(&services[c->service_count]);
        return NULL;
    }
    return &services[c->service_count++];
}

static size_t option_at(enum option_scope scope, size_t offset)
{
    size_t i = 0;

    while (i < option_count && (options[i].scope != scope || options[i].offset != offset))
        i++;
    must(i < option_count); /* a field of the table */
    return i;
}

struct config_place place_of_option(const struct config_service *s, const void *field)
{
    return s->places[option_at(OPTION_SERVICE, (size_t)((const char *)field - (const char *)s))];
}

void mark_bad(struct config_service *s, const void *field)
{
    s->places[option_at(OPTION_SERVICE, (size_t)((const char *)field - (const char *)s))].bad = true;
}

struct config_place place_of_process(const struct config *c, const void *field)
{
    return c->places[option_at(OPTION_PROCESS, (size_t)((const char *)field - (const char *)c))];
}

/* Places are for faults only; a thousand services would hold a megabyte of them. */
void places_free(struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++) {
        if (c->services[i].fault)
            continue;
        free(c->services[i].places);
        c->services[i].places = NULL;
    }
    free(c->places);
    c->places = NULL;
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++)
        service_free(&c->services[i]);
    free(c->services);
    fields_free(c, OPTION_PROCESS);
    free(c->places);
    free(c->control_url);
    free(c->base_directory);
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i]);
    free(c->files);
    faults_free(c);
    buf_deinit(&c->problems);
    buf_deinit(&c->notices);
    *c = (struct config) { 0 };
}

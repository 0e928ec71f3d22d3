/* config/yaml.c - the configuration file: tsnsrv's schema and what was added to it
 *
 *     defaults:  options of every service that does not set them itself
 *     services:  the list
 *     include:   more files, each with defaults, services and includes of its own
 *
 * and the options of the process, in the first file only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "config/internal.h"

/* ---- mappings ---------------------------------------------------------------------------- */

static struct span clip(struct span s)
{
    return span_slice(s, 0, MIN(s.len, (size_t)80));
}

#define CLIPPED(s) (int)clip(s).len, clip(s).len ? (const char *)clip(s).data : ""

struct yaml_entry *yaml_find(const struct yaml_flat *m, const char *key)
{
    for (size_t i = 0; i < m->count; i++)
        if (span_equal_str(m->items[i]->key->text, key))
            return m->items[i];
    return NULL;
}

static struct yaml_entry *find_key(const struct yaml_flat *m, struct span key)
{
    for (size_t i = 0; i < m->count; i++)
        if (span_equal(m->items[i]->key->text, key))
            return m->items[i];
    return NULL;
}

static bool step(struct yaml_reading *y, const struct yaml_node *at)
{
    if (++y->steps == CONFIG_STEPS_MAX) {
        problem_at(y->c, at->place, "the file refers to itself too often: write it with fewer aliases");
        y->c->unread = true;
    }
    return y->steps < CONFIG_STEPS_MAX;
}

static bool merges(const struct yaml_entry *e)
{
    return e->key->plain && span_equal_str(e->key->text, "<<");
}

static void flatten_own(struct yaml_reading *y, const struct yaml_node *map, struct yaml_flat *out)
{
    for (struct yaml_entry *e = map->entries; e && step(y, map); e = e->next) {
        const struct yaml_entry *first;

        if (e->key->kind != YAML_VALUE) {
            problem_at(y->c, e->key->place, "a key is expected here: write key: value");
            continue;
        }
        if (merges(e))
            continue;
        first = find_key(out, e->key->text);
        if (first)
            problem_at(y->c, e->key->place,
                       "\"%.*s\" is set twice: it is already in line %u; remove one of them",
                       CLIPPED(e->key->text), first->key->place.line);
        else if (out->count == CONFIG_KEYS_MAX)
            problem_at(y->c, e->key->place, "too many keys in one mapping: at most %d", CONFIG_KEYS_MAX);
        else
            out->items[out->count++] = e;
        if (out->count == CONFIG_KEYS_MAX)
            return;
    }
}

static void flatten_merged(struct yaml_reading *y, const struct yaml_node *from, struct yaml_flat *out)
{
    struct yaml_flat more;

    if (from->kind != YAML_MAP) {
        problem_at(y->c, from->place, "<< takes a mapping, or a list of them: write <<: *anchor");
        return;
    }
    if (!step(y, from) || !yaml_flatten(y, from, &more))
        return;
    for (size_t i = 0; i < more.count && out->count < CONFIG_KEYS_MAX; i++)
        if (!find_key(out, more.items[i]->key->text))
            out->items[out->count++] = more.items[i];
}

bool yaml_flatten(struct yaml_reading *y, const struct yaml_node *map, struct yaml_flat *out)
{
    struct yaml_entry *items[CONFIG_KEYS_MAX];

    *out = (struct yaml_flat) { .items = items };
    flatten_own(y, map, out);
    for (const struct yaml_entry *e = map->entries; e && y->steps < CONFIG_STEPS_MAX; e = e->next) {
        if (e->key->kind != YAML_VALUE || !merges(e))
            continue;
        if (e->value->kind != YAML_LIST)
            flatten_merged(y, e->value, out);
        for (const struct yaml_entry *i = e->value->kind == YAML_LIST ? e->value->entries : NULL; i;
             i = i->next)
            flatten_merged(y, i->value, out);
    }
    out->items = ARENA_ARRAY(y->arena, out->count, struct yaml_entry *);
    for (size_t i = 0; out->items && i < out->count; i++)
        out->items[i] = items[i];
    if (!out->items)
        y->failed = -ENOMEM;
    return out->items;
}

/* ---- values --------------------------------------------------------------------------------- */

static bool is_null(const struct yaml_node *n)
{
    return n->kind == YAML_VALUE && n->plain &&
           (!n->text.len || span_equal_str(n->text, "null") || span_equal_str(n->text, "~"));
}

static bool expect_value(struct yaml_reading *y, const struct yaml_node *n, struct span key)
{
    if (n->kind == YAML_VALUE)
        return true;
    problem_at(y->c, n->place, "a single value is expected for \"%.*s\", not a %s", CLIPPED(key),
               n->kind == YAML_LIST ? "list" : "mapping");
    return false;
}

static void refuse(struct yaml_reading *y, const struct yaml_node *n, struct span key,
                   const struct option_fault *f)
{
    problem_at(y->c, n->place, "%.*s: %s: \"%.*s\"%s%s", CLIPPED(key), f->what, CLIPPED(n->text),
               *f->instead ? ": " : "", f->instead);
}

static void set_text(struct yaml_reading *y, const struct option *o, void *target, const struct yaml_node *n,
                     struct span key)
{
    struct option_fault why;
    struct span text;

    if (!expect_value(y, n, key) || !expand(y, n, &text))
        return;
    if (o->kind == OPTION_DURATION && n->plain && text_trim(text).len &&
        strspn((const char *)text.data, "0123456789") == text.len) {
        problem_at(y->c, n->place,
                   "%.*s: cannot unmarshal a number without a unit into a duration: write %.*ss",
                   CLIPPED(key), CLIPPED(text));
        return;
    }
    if (option_set(o, target, text, FROM_YAML, &why) > 0)
        refuse(y, n, key, &why);
}

static void set_list(struct yaml_reading *y, const struct option *o, void *target, const struct yaml_node *n,
                     struct span key)
{
    if (n->kind != YAML_LIST) {
        problem_at(y->c, n->place, "a list is expected for \"%.*s\": write %s", CLIPPED(key), o->example);
        return;
    }
    for (const struct yaml_entry *e = n->entries; e && step(y, n); e = e->next)
        set_text(y, o, target, e->value, key);
}

/* A mapping name: value. */
static void set_headers(struct yaml_reading *y, const struct option *o, void *target,
                        const struct yaml_node *n, struct span key)
{
    struct yaml_flat headers;

    if (n->kind != YAML_MAP) {
        problem_at(y->c, n->place, "a mapping is expected for \"%.*s\": write %s", CLIPPED(key), o->example);
        return;
    }
    if (!yaml_flatten(y, n, &headers))
        return;
    for (size_t i = 0; i < headers.count; i++) {
        const struct yaml_entry *e = headers.items[i];
        struct option_fault why;
        struct span value;
        char *line = NULL;

        if (!expect_value(y, e->value, e->key->text) || !expand(y, e->value, &value) ||
            asprintf(&line, "%.*s:%.*s", (int)e->key->text.len, (const char *)e->key->text.data,
                     (int)value.len, value.len ? (const char *)value.data : "") < 0)
            continue;
        if (option_set(o, target, span_from_str(line), FROM_YAML, &why) > 0)
            refuse(y, e->key, key, &why);
        explicit_bzero(line, strlen(line));
        free(line);
    }
}

static void set_option(struct yaml_reading *y, const struct option *o, void *target,
                       struct config_place *places, const struct yaml_entry *e)
{
    const struct yaml_node *n = e->value;
    struct span key = e->key->text;
    unsigned problems = y->c->problem_count;

    if (o->scope == OPTION_PROCESS && places[o - options].set && !places[o - options].line)
        return; /* the command line has the last word */
    places[o - options] = n->place;
    if (is_null(n))
        return;
    if (option_is_list(o))
        option_clear(o, target); /* a list replaces that of the defaults */
    if (o->kind == OPTION_HEADERS)
        set_headers(y, o, target, n, key);
    else if (option_is_list(o))
        set_list(y, o, target, n, key);
    else
        set_text(y, o, target, n, key);
    places[o - options].bad = y->c->problem_count > problems;
}

/* ---- keys ------------------------------------------------------------------------------------- */

/* A feature we lack is a fault unless the file says that it is off. */
static void refuse_feature(struct yaml_reading *y, const struct feature *f, const struct yaml_entry *e)
{
    bool on = true;

    if (is_null(e->value) || (f->kind == OPTION_BOOL && e->value->kind == YAML_VALUE &&
                              bool_parse(e->value->text, FROM_YAML, &on) && !on))
        return;
    problem_at(y->c, e->value->place, "%s is not supported by this version: remove \"%s\"", f->what, f->name);
}

/* Strict mode asks for it to be mended. */
static const char *ignored(const struct config *c)
{
    return c->mode & CONFIG_STRICT ? ": remove or rename it" : " is ignored";
}

static void unknown_key(struct yaml_reading *y, const struct yaml_entry *e, enum option_scope scope, bool top)
{
    struct span key = e->key->text;
    const struct option *o = option_find(FROM_YAML, key);
    const char *near = yaml_nearest(key, scope, top);

    if (o && o->scope == OPTION_SERVICE)
        doubt_at(y->c, e->key->place,
                 "key \"%.*s\" has no meaning here: it belongs to a service, or under \"defaults\"",
                 CLIPPED(key));
    else if (o)
        doubt_at(y->c, e->key->place,
                 "key \"%.*s\" has no meaning here: it belongs at the top of the first file", CLIPPED(key));
    else
        doubt_at(y->c, e->key->place, "unknown key \"%.*s\"%s%s%s%s", CLIPPED(key), ignored(y->c),
                 near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

static void read_options(struct yaml_reading *y, const struct yaml_flat *m, struct config_service *s)
{
    for (size_t i = 0; i < m->count && step(y, m->items[i]->key); i++) {
        const struct yaml_entry *e = m->items[i];
        const struct option *o = option_find(FROM_YAML, e->key->text);
        const struct feature *f = feature_find(e->key->text);

        if (o && o->scope == OPTION_SERVICE)
            set_option(y, o, s, s->places, e);
        else if (f)
            refuse_feature(y, f, e);
        else
            unknown_key(y, e, OPTION_SERVICE, false);
    }
}

/* What only one service can have cannot be everybody's. */
static void refuse_in_defaults(struct yaml_reading *y, const struct yaml_flat *m)
{
    static const char *const own[] = { "name", "stateDir" };

    for (size_t i = 0; i < COUNT_OF(own); i++) {
        const struct yaml_entry *e = yaml_find(m, own[i]);

        if (e)
            problem_at(y->c, e->key->place,
                       "\"%s\" cannot stand under \"defaults\": it differs from service to service", own[i]);
    }
}

static void read_defaults(struct yaml_reading *y, const struct yaml_flat *top,
                          struct config_service *defaults)
{
    const struct yaml_entry *e = yaml_find(top, "defaults");
    struct yaml_flat m;

    if (!e || is_null(e->value))
        return;
    if (e->value->kind != YAML_MAP) {
        problem_at(y->c, e->value->place, "a mapping is expected for \"defaults\": the keys of a service");
        return;
    }
    if (!yaml_flatten(y, e->value, &m))
        return;
    refuse_in_defaults(y, &m);
    read_options(y, &m, defaults);
}

static void read_services(struct yaml_reading *y, const struct yaml_flat *top,
                          const struct config_service *defaults)
{
    const struct yaml_entry *e = yaml_find(top, "services");

    if (!e || is_null(e->value))
        return;
    if (e->value->kind != YAML_LIST) {
        problem_at(y->c, e->value->place,
                   "a list is expected for \"services\": begin each service with \"- name:\"");
        return;
    }
    for (const struct yaml_entry *i = e->value->entries; i && step(y, i->value); i = i->next) {
        struct config_service *s;
        struct yaml_flat m;

        if (i->value->kind != YAML_MAP) {
            problem_at(y->c, i->value->place, "a service is a mapping of keys to values: write - name: web");
            continue;
        }
        s = config_add_service(y->c, defaults);
        if (!s)
            return;
        s->place = i->value->place;
        if (yaml_flatten(y, i->value, &m))
            read_options(y, &m, s);
    }
}

static void read_top(struct yaml_reading *y, const struct yaml_flat *top, bool first)
{
    static const char *const sections[] = { "services", "defaults", "include" };
    const struct yaml_entry *expand_key = first ? yaml_find(top, "expandEnvironment") : NULL;

    if (expand_key) /* before everything that it changes */
        set_option(y, option_find(FROM_YAML, expand_key->key->text), y->c, y->c->places, expand_key);
    for (size_t i = 0; i < top->count; i++) {
        const struct yaml_entry *e = top->items[i];
        const struct option *o = option_find(FROM_YAML, e->key->text);
        bool section = false;

        for (size_t k = 0; k < COUNT_OF(sections); k++)
            section |= span_equal_str(e->key->text, sections[k]);
        if (section || e == expand_key || text_starts_with(e->key->text, "x-"))
            continue; /* "x-" is how YAML users name what only holds anchors */
        if (o && o->scope == OPTION_PROCESS && first)
            set_option(y, o, y->c, y->c->places, e);
        else
            unknown_key(y, e, OPTION_PROCESS, true);
    }
}

/* ---- files --------------------------------------------------------------------------------------- */

static void read_document(struct yaml_reading *y, const struct yaml_node *root, bool first,
                          const struct config_service *inherited)
{
    struct config_service defaults;
    struct yaml_flat top;

    if (!root || is_null(root))
        return;
    if (root->kind != YAML_MAP) {
        problem_at(y->c, root->place, "the file must be a mapping with the key \"services\"");
        return;
    }
    if (!yaml_flatten(y, root, &top) || service_copy(&defaults, inherited)) {
        y->failed = -ENOMEM;
        return;
    }
    read_top(y, &top, first);
    read_defaults(y, &top, &defaults);
    read_services(y, &top, &defaults);
    if (yaml_find(&top, "include"))
        include_files(y, yaml_find(&top, "include")->value, &defaults);
    service_free(&defaults);
}

static int add_file(struct config *c, const char *path)
{
    char **files = realloc(c->files, (c->file_count + 1) * sizeof(*files));

    if (!files)
        return -ENOMEM;
    c->files = files;
    files[c->file_count] = text_dup(span_from_str(path));
    if (!files[c->file_count])
        return -ENOMEM;
    c->file_count++;
    return 0;
}

int yaml_read_text(struct yaml_reading *y, const char *path, struct span text,
                   const struct config_service *inherited)
{
    unsigned file = (unsigned)y->c->file_count;
    struct yaml_node *root;
    int r = add_file(y->c, path);

    if (!r)
        r = yaml_tree(y->c, file, text, y->arena, &root);
    if (!r)
        read_document(y, root, file == 0, inherited);
    return r ? r : y->failed;
}

int yaml_load_text(struct config *c, const char *path, struct span text)
{
    struct arena arena;
    struct yaml_reading y = { .c = c, .arena = &arena };
    struct config_service defaults;
    int r;

    arena_init(&arena, CONFIG_TREE_BYTES_MAX);
    r = service_init(&defaults);
    if (!r)
        r = yaml_read_text(&y, path, text, &defaults);
    service_free(&defaults);
    arena_deinit(&arena);
    return r;
}

int yaml_read_file(struct yaml_reading *y, const char *path, const struct config_service *inherited)
{
    struct buf bytes;
    int r;

    buf_init(&bytes, CONFIG_FILE_BYTES_MAX);
    r = file_read(path, &bytes, CONFIG_FILE_BYTES_MAX);
    if (!r)
        r = yaml_read_text(y, path, buf_span(&bytes), inherited);
    buf_deinit(&bytes);
    return r;
}

int yaml_load(struct config *c, const char *path)
{
    struct arena arena;
    struct yaml_reading y = { .c = c, .arena = &arena };
    struct config_service defaults;
    int r;

    arena_init(&arena, CONFIG_TREE_BYTES_MAX);
    r = service_init(&defaults);
    if (!r)
        r = include_enter(&y, path);
    if (!r)
        r = yaml_read_file(&y, path, &defaults);
    service_free(&defaults);
    arena_deinit(&arena);
    return r;
}

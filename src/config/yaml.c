/* config/yaml.c - the configuration file: tsnsrv's schema, read event by event from libyaml
 *
 * Anchors, aliases and tags are refused: nothing in a list of services needs them, and they are how a
 * small file becomes a large one.
 */
#include "config/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct reading {
    struct config *c;
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;
    bool have_event;
    bool dead; /* a syntax error: nothing more comes */
};

static void fault(struct reading *y, size_t line, size_t column, const char *what, struct span name)
{
    problem(y->c, "%s:%zu:%zu: %s%s%.*s%s", y->path, line + 1, column + 1, what, name.len ? " \"" : "",
            (int)name.len, name.len ? (const char *)name.data : "", name.len ? "\"" : "");
}

#define HERE(y) (y)->event.start_mark.line, (y)->event.start_mark.column

static bool next_event(struct reading *y)
{
    if (y->dead)
        return false;
    if (y->have_event)
        yaml_event_delete(&y->event);
    y->have_event = yaml_parser_parse(&y->parser, &y->event);
    if (!y->have_event) {
        fault(y, y->parser.problem_mark.line, y->parser.problem_mark.column,
              y->parser.problem ? y->parser.problem : "cannot be read as YAML", SPAN_NONE);
        y->dead = true;
    }
    return y->have_event;
}

static struct span scalar(const struct reading *y)
{
    return span_make(y->event.data.scalar.value, y->event.data.scalar.length);
}

/* Reads over the node that the current event begins. */
static void skip_node(struct reading *y)
{
    int depth = 0;

    do {
        switch (y->event.type) {
        case YAML_SEQUENCE_START_EVENT:
        case YAML_MAPPING_START_EVENT:
            depth++;
            break;
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT:
            depth--;
            break;
        default:
            break;
        }
    } while (depth > 0 && next_event(y));
}

/* A scalar without anchor and tag, or a fault with the node skipped. */
static bool expect_scalar(struct reading *y, struct span key)
{
    if (y->event.type != YAML_SCALAR_EVENT) {
        fault(y, HERE(y),
              y->event.type == YAML_ALIAS_EVENT ? "aliases are not supported: write the value for"
                                                : "a single value is expected for",
              key);
        skip_node(y);
        return false;
    }
    return true;
}

static bool is_null(const struct reading *y)
{
    return y->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!scalar(y).len || span_equal_str(scalar(y), "null") || span_equal_str(scalar(y), "~"));
}

static void set_scalar(struct reading *y, const struct option *o, void *target, struct span key)
{
    const char *why = "";
    int r;

    if (!expect_scalar(y, key) || is_null(y))
        return;
    if (o->kind == OPTION_DURATION && span_equal_str(scalar(y), "0") &&
        y->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        fault(y, HERE(y), "cannot unmarshal a bare 0 into a duration: write 0s for", key);
        return;
    }
    r = option_set(o, target, scalar(y), FROM_YAML, &why);
    if (r > 0)
        fault(y, HERE(y), why, scalar(y));
}

static void set_list(struct reading *y, const struct option *o, void *target, struct span key)
{
    const char *why = "";

    if (y->event.type == YAML_SCALAR_EVENT && is_null(y))
        return;
    if (y->event.type != YAML_SEQUENCE_START_EVENT) {
        fault(y, HERE(y), "a list is expected for", key);
        skip_node(y);
        return;
    }
    while (next_event(y) && y->event.type != YAML_SEQUENCE_END_EVENT)
        if (expect_scalar(y, key) && option_set(o, target, scalar(y), FROM_YAML, &why) > 0)
            fault(y, HERE(y), why, scalar(y));
}

/* A mapping name: value. */
static void set_headers(struct reading *y, const struct option *o, void *target, struct span key)
{
    const char *why = "";

    if (y->event.type == YAML_SCALAR_EVENT && is_null(y))
        return;
    if (y->event.type != YAML_MAPPING_START_EVENT) {
        fault(y, HERE(y), "a mapping of header names to values is expected for", key);
        skip_node(y);
        return;
    }
    while (next_event(y) && y->event.type != YAML_MAPPING_END_EVENT) {
        char *line = NULL, *name;

        if (!expect_scalar(y, key)) {
            next_event(y);
            skip_node(y);
            continue;
        }
        name = text_dup(scalar(y));
        if (next_event(y) && expect_scalar(y, key) && name &&
            asprintf(&line, "%s:%.*s", name, (int)scalar(y).len, scalar(y).data) >= 0 &&
            option_set(o, target, span_from_str(line), FROM_YAML, &why) > 0)
            fault(y, HERE(y), why, span_from_str(name));
        free(line);
        free(name);
    }
}

static void set_option(struct reading *y, const struct option *o, void *target, struct span key)
{
    if (o->kind == OPTION_LIST)
        set_list(y, o, target, key);
    else if (o->kind == OPTION_HEADERS)
        set_headers(y, o, target, key);
    else
        set_scalar(y, o, target, key);
}

/* A feature we lack is a fault unless the file says that it is off. */
static void refuse_feature(struct reading *y, const struct feature *f, struct span key)
{
    bool off = false;

    if (y->event.type == YAML_SCALAR_EVENT)
        off = is_null(y) || text_equal_fold(scalar(y), span_from_str("false")) ||
              text_equal_fold(scalar(y), span_from_str("no")) ||
              text_equal_fold(scalar(y), span_from_str("off"));
    if (!off) {
        char text[128];

        snprintf(text, sizeof(text), "%s is not supported by this version: remove", f->what);
        fault(y, HERE(y), text, key);
    }
    skip_node(y);
}

/* The value of one key; the current event is the value's first. */
static void read_value(struct reading *y, enum option_scope scope, void *target, struct span key, size_t line,
                       size_t column)
{
    const struct option *o = option_find(FROM_YAML, key);
    const struct feature *f = feature_find(key);
    const char *near;

    if (o && o->scope == scope) {
        set_option(y, o, target, key);
        return;
    }
    if (f && scope == OPTION_SERVICE) {
        refuse_feature(y, f, key);
        return;
    }
    near = option_nearest(FROM_YAML, key);
    notice(y->c, "%s:%zu:%zu: unknown key \"%.*s\" is ignored%s%s%s", y->path, line + 1, column + 1,
           (int)key.len, key.data, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
    skip_node(y);
}

typedef void value_fn(struct reading *y, void *target, struct span key, size_t line, size_t column);

/* The keys of a mapping whose start is the current event. */
static void read_mapping(struct reading *y, value_fn *value, void *target)
{
    while (next_event(y) && y->event.type != YAML_MAPPING_END_EVENT) {
        size_t line = y->event.start_mark.line, column = y->event.start_mark.column;
        char key[128];

        if (y->event.type != YAML_SCALAR_EVENT || !text_copy(key, sizeof(key), scalar(y))) {
            fault(y, line, column, "a key is expected", SPAN_NONE);
            skip_node(y);
            key[0] = 0;
        }
        if (!next_event(y))
            return;
        value(y, target, span_from_str(key), line, column);
    }
}

static void service_value(struct reading *y, void *target, struct span key, size_t line, size_t column)
{
    read_value(y, OPTION_SERVICE, target, key, line, column);
}

static void read_services(struct reading *y)
{
    struct config_service *s;

    if (y->event.type != YAML_SEQUENCE_START_EVENT) {
        if (y->event.type != YAML_SCALAR_EVENT || !is_null(y))
            fault(y, HERE(y), "a list is expected for", span_from_str("services"));
        skip_node(y);
        return;
    }
    while (next_event(y) && y->event.type != YAML_SEQUENCE_END_EVENT) {
        if (y->event.type != YAML_MAPPING_START_EVENT) {
            fault(y, HERE(y), "a service is a mapping of keys to values", SPAN_NONE);
            skip_node(y);
            continue;
        }
        s = config_add_service(y->c);
        if (!s) {
            skip_node(y);
            continue;
        }
        s->line = (int)y->event.start_mark.line + 1;
        read_mapping(y, service_value, s);
    }
}

static void top_value(struct reading *y, void *target, struct span key, size_t line, size_t column)
{
    if (span_equal_str(key, "services"))
        read_services(y);
    else
        read_value(y, OPTION_PROCESS, target, key, line, column);
}

static void read_document(struct reading *y)
{
    int documents = 0;

    while (next_event(y) && y->event.type != YAML_STREAM_END_EVENT) {
        if (y->event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
            fault(y, HERE(y), "only one document is allowed in the file", SPAN_NONE);
            return;
        }
        if (y->event.type == YAML_MAPPING_START_EVENT)
            read_mapping(y, top_value, y->c);
        else if (y->event.type == YAML_SCALAR_EVENT ? !is_null(y)
                                                    : y->event.type == YAML_SEQUENCE_START_EVENT) {
            fault(y, HERE(y), "the file must be a mapping with the key \"services\"", SPAN_NONE);
            skip_node(y);
        }
    }
}

int yaml_load_text(struct config *c, const char *path, struct span text)
{
    struct reading y = { .c = c, .path = path };

    if (!yaml_parser_initialize(&y.parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&y.parser, text.data, text.len);
    read_document(&y);
    if (y.have_event)
        yaml_event_delete(&y.event);
    yaml_parser_delete(&y.parser);
    return 0;
}

int yaml_load(struct config *c, const char *path)
{
    FILE *f = fopen(path, "rbe");
    uint8_t *bytes;
    size_t len;
    int r;

    if (!f)
        return -errno;
    bytes = malloc(CONFIG_FILE_BYTES_MAX + 1);
    len = bytes ? fread(bytes, 1, CONFIG_FILE_BYTES_MAX + 1, f) : 0;
    r = !bytes ? -ENOMEM : ferror(f) ? -EIO : len > CONFIG_FILE_BYTES_MAX ? -EFBIG : 0;
    fclose(f);
    if (!r)
        r = yaml_load_text(c, path, span_make(bytes, len));
    free(bytes);
    return r;
}

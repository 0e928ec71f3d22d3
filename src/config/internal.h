/* config/internal.h - the option table and what fills it; inside config/ only */
#ifndef MANYTAILS_CONFIG_INTERNAL_H
#define MANYTAILS_CONFIG_INTERNAL_H

#include "config/config.h"

enum option_scope { OPTION_SERVICE, OPTION_PROCESS };
enum option_kind {
    OPTION_STRING,
    OPTION_FILE,      /* a string that names a file */
    OPTION_DIRECTORY, /* a string that names a folder */
    OPTION_BOOL,
    OPTION_NUMBER, /* uint32_t */
    OPTION_DURATION,
    OPTION_LIST,
    OPTION_HEADERS,
};

struct option {
    enum option_scope scope;
    enum option_kind kind;
    size_t offset;
    const char *flag, *key, *yaml, *fallback, *argument;
    enum config_cost change;
    const char *text, *range, *why, *example;
};

static inline bool option_is_text(const struct option *o)
{
    return o->kind == OPTION_STRING || o->kind == OPTION_FILE || o->kind == OPTION_DIRECTORY;
}

static inline bool option_is_list(const struct option *o)
{
    return o->kind == OPTION_LIST || o->kind == OPTION_HEADERS;
}

/* An option of tsnsrv that we know and do not have. */
struct feature {
    enum option_kind kind;
    const char *name, *what;
};

extern const struct option options[];
extern const size_t option_count;
extern const struct feature features[];
extern const size_t feature_count;

enum option_source { FROM_FLAG, FROM_KEY, FROM_YAML };

/* NULL if there is none of that name. */
const struct option *option_find(enum option_source source, struct span name);
const struct feature *feature_find(struct span name);
/* Nearest known name of that source, for "did you mean"; NULL if nothing is near. */
const char *option_nearest(enum option_source source, struct span name);

/* Sets the option in its struct. 0, -ENOMEM, or 1 with *why (static text) when the value is not one.
 * Lists and headers grow; everything else is replaced. */
NODISCARD int option_set(const struct option *o, void *target, struct span value, enum option_source source,
                         const char **why);
/* Every service option at its default. */
NODISCARD int service_init(struct config_service *s);
void service_free(struct config_service *s);
/* Room for one more service, initialised; NULL when memory or the limit is out. */
struct config_service *config_add_service(struct config *c);

/* Collects a fault, one line. */
void problem(struct config *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void notice(struct config *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* yaml.c: services and process options of a file; faults are collected. 0 or -errno. */
NODISCARD int yaml_load(struct config *c, const char *path);
/* The same for text; `path` is what faults name. 0 or -ENOMEM. */
NODISCARD int yaml_load_text(struct config *c, const char *path, struct span text);
/* check.c: what must hold of each service and between them; `place` names the command line's service. */
void config_check(struct config *c, bool from_file);
/* environment.c: state folders, control URL, auth keys. 0 or -ENOMEM. */
NODISCARD int environment_apply(struct config *c, const char *argv0, const char *state_flag);

#endif

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
    OPTION_TAGS, /* a list of tag:NAME */
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
    return o->kind == OPTION_LIST || o->kind == OPTION_TAGS || o->kind == OPTION_HEADERS;
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

/* Of the keys that may stand there: of a service, or at the top of a file. */
const char *yaml_nearest(struct span name, enum option_scope scope, bool top);

/* In the spelling of that source. */
bool bool_parse(struct span value, enum option_source source, bool *out);

/* Why a value is not one, and what to write instead ("" if that says it). Static text. */
struct option_fault {
    const char *what, *instead;
};

/* Sets the option in its struct. 0, -ENOMEM, or 1 with *why. Lists and headers grow; everything else is
 * replaced. */
NODISCARD int option_set(const struct option *o, void *target, struct span value, enum option_source source,
                         struct option_fault *why);
void option_clear(const struct option *o, void *target); /* empties a list */
int list_add(struct config_list *list, struct span value);
/* Every service option at its default. */
NODISCARD int service_init(struct config_service *s);
NODISCARD int service_copy(struct config_service *out, const struct config_service *from);
void service_free(struct config_service *s); /* wipes secrets */
NODISCARD int process_init(struct config *c);
/* Room for one more service, a copy of `from`; NULL when memory or the limit is out. */
struct config_service *config_add_service(struct config *c, const struct config_service *from);
/* Where the option that lives in this field was set. */
struct config_place place_of_option(const struct config_service *s, const void *field);
/* Its value is no good, which was said. */
void mark_bad(struct config_service *s, const void *field);
struct config_place place_of_process(const struct config *c, const void *field);
void places_free(struct config *c);

/* ---- fault.c: what is wrong or worth knowing ------------------------------------------------ */

#define CONFIG_NO_PLACE ((struct config_place) { 0 })
#define CONFIG_PLACE_BYTES 512

void problem(struct config *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void problem_at(struct config *c, struct config_place at, const char *fmt, ...) PRINTF_LIKE(3, 4);
void notice(struct config *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What is ignored: a problem in strict mode, else a notice. */
void doubt_at(struct config *c, struct config_place at, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* "file:line:column: ", or nothing for the command line. */
const char *place_text(const struct config *c, struct config_place at, char out[CONFIG_PLACE_BYTES]);
/* Everything collected, in the order of the files, to c->problems. */
void faults_tell(struct config *c);
void faults_free(struct config *c);

/* ---- tree.c: a file as nodes ------------------------------------------------------------------ */

enum yaml_kind { YAML_VALUE, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    bool plain;       /* a value without quotes */
    struct span text; /* of a value; a NUL behind it */
    struct config_place place;
    struct yaml_entry *entries; /* of a list or mapping */
};

struct yaml_entry {
    struct yaml_node *key; /* NULL in a list */
    struct yaml_node *value;
    struct yaml_entry *next;
};

/* *root: NULL if the file is empty, or when its fault was said. 0 or -ENOMEM. */
NODISCARD int yaml_tree(struct config *c, unsigned file, struct span text, struct arena *arena,
                        struct yaml_node **root);

/* ---- yaml.c, include.c, expand.c: nodes to options ---------------------------------------------- */

#define CONFIG_TREE_BYTES_MAX (64u << 20) /* of all files together, while they are read */
#define CONFIG_STEPS_MAX (1u << 20)       /* of the walk over all of them: aliases may lead anywhere often */
#define CONFIG_VALUE_BYTES_MAX (64u << 10)

struct yaml_reading {
    struct config *c;
    struct arena *arena;
    size_t steps;
    int failed; /* -ENOMEM */
    unsigned depth;
    struct {
        dev_t device;
        ino_t inode;
    } open[CONFIG_INCLUDE_DEPTH_MAX]; /* the files that are being read */
};

/* The keys of a mapping, those of merged ones (<<) included. */
struct yaml_flat {
    struct yaml_entry **items;
    size_t count;
};

bool yaml_flatten(struct yaml_reading *y, const struct yaml_node *map, struct yaml_flat *out);
struct yaml_entry *yaml_find(const struct yaml_flat *m, const char *key);

/* Services and process options of a file; faults are collected. 0 or -errno: the file cannot be read. */
NODISCARD int yaml_load(struct config *c, const char *path);
/* The same for text; `path` is what faults name. 0 or -ENOMEM. */
NODISCARD int yaml_load_text(struct config *c, const char *path, struct span text);
NODISCARD int yaml_read_text(struct yaml_reading *y, const char *path, struct span text,
                             const struct config_service *inherited);
NODISCARD int yaml_read_file(struct yaml_reading *y, const char *path,
                             const struct config_service *inherited);

/* Notes that the file is being read. 0, -ELOOP, -E2BIG, -errno. */
NODISCARD int include_enter(struct yaml_reading *y, const char *path);
void include_files(struct yaml_reading *y, const struct yaml_node *n, const struct config_service *defaults);

/* The text of a value with its variables. False: said. */
bool expand(struct yaml_reading *y, const struct yaml_node *n, struct span *out);

/* ---- the rest -------------------------------------------------------------------------------------- */

/* A whole file of at most `max` bytes, appended. 0, -EFBIG, -errno. */
NODISCARD int file_read(const char *path, struct buf *out, size_t max);
/* meaning.c: what an absent or zero value means, and what means something else than in tsnsrv. */
NODISCARD int meaning_apply(struct config *c, bool from_file);
/* check.c: what must hold of each service and between them. */
void config_check(struct config *c, bool from_file);
/* environment.c: state folders, control URL, auth keys. 0 or -ENOMEM. */
NODISCARD int environment_apply(struct config *c, const char *argv0, const char *state_flag);
/* secrets.c: what stands in files: auth keys, header values; credential:NAME. 0 or -ENOMEM. */
NODISCARD int secrets_read(struct config *c);

#endif

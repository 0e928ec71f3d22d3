/* config/config.h - what the user wants: command line, -service lists, YAML, environment
 *
 * One table (options.def) says what there is; flags, keys, help and checks come from it. Everything
 * that is wrong is collected and reported at once, with the place and what to write instead. The
 * command line is tsnsrv's: Go-style flags, one legacy service, or -service lists, or -config FILE.
 *
 * Memory: one struct config, freed in one call. Thread: none; it is read once before threads start.
 */
#ifndef MANYTAILS_CONFIG_CONFIG_H
#define MANYTAILS_CONFIG_CONFIG_H

#include "base/base.h"

#define CONFIG_FILE_BYTES_MAX (1 << 20)
#define CONFIG_SERVICES_MAX 4096
#define CONFIG_PROMETHEUS_DEFAULT "127.0.0.1:9099"
#define CONFIG_LIST_MAX 256 /* entries of one list option */
#define CONFIG_PROBLEMS_MAX 200
#define CONFIG_FILES_MAX 1024      /* one file and all that it includes */
#define CONFIG_INCLUDE_DEPTH_MAX 8 /* files that include each other */
#define CONFIG_DEPTH_MAX 32        /* lists and mappings inside each other */
#define CONFIG_NODES_MAX 100000    /* values in one file */
#define CONFIG_KEYS_MAX 256        /* in one mapping */

/* Where in the files something was said. */
struct config_place {
    bool set;        /* somebody said it */
    bool bad;        /* and it was no good: one fault is enough */
    uint16_t file;   /* index in config.files */
    uint16_t column; /* from 1 */
    uint32_t line;   /* from 1; 0: on the command line */
};

struct config_list {
    char **items; /* each owned */
    size_t count;
};

struct config_service {
    char *name;
    char *upstream;
    char *upstream_tcp_address;
    char *upstream_unix_address;
    bool ephemeral;
    char *listen_address;
    bool plaintext;
    char *dedicated_port; /* "": shares the sockets of the process; "true", or a number */
    char *certificate_file;
    char *key_file;
    bool redirect_http;
    bool recommended_proxy_headers;
    struct config_list prefixes;
    bool strip_prefix;
    struct config_list upstream_headers;      /* "Name: value"; those from files too */
    struct config_list upstream_header_files; /* "Name: path" */
    bool insecure_https;
    bool upstream_allow_insecure_ciphers;
    char *prefix_match, *access_log;
    bool clean_paths;
    time_ns upstream_connect_timeout, upstream_response_timeout, upstream_queue_timeout;
    time_ns upstream_idle_timeout, upstream_keep_alive;
    uint32_t upstream_max_connections, upstream_queue, upstream_idle_connections;
    char *auth_url, *auth_path;
    time_ns auth_timeout;
    struct config_list auth_copy_headers; /* "Name: whatever" */
    bool auth_insecure_https, auth_bypass_for_tailnet;
    bool suppress_whois;
    time_ns whois_timeout;
    bool suppress_tailnet_dialer;
    time_ns read_header_timeout;
    time_ns timeout;
    char *state_directory; /* filled in: never empty in a good configuration */
    char *auth_key_path;
    char *auth_key; /* secret: from the file or the environment; NULL: interactive. An OAuth client secret has
                     * all behind its "?" */
    char *control_url; /* filled in */
    struct config_list tags;
    bool verbose;
    char *fault; /* why it cannot start although the others can: a secret that cannot be read; NULL: it can */
    /* Below: nothing that a user writes. */
    size_t headers_own;          /* of upstream_headers; those of the files stand behind them */
    struct config_place place;   /* of the service in its file */
    bool listed;                 /* by a -service flag */
    struct config_place *places; /* of each option; only while loading, and with a fault */
};

struct config_fault;

struct config {
    struct config_service *services;
    size_t service_count;
    char *prometheus_address;
    bool sandbox;
    char *socket_path;    /* filled in */
    char *control_url;    /* of services that name none: TS_URL, TS_CONTROL_URL, or the hosted service */
    char *base_directory; /* of all state */
    bool old_yaml_defaults;
    bool expand_environment;
    char **files; /* that were read, the first is that of -config */
    size_t file_count;
    struct buf problems; /* one line each; empty: the configuration is good */
    unsigned problem_count;
    struct buf notices; /* lines to log at the start: what changes meaning, what is ignored */
    /* While loading. */
    unsigned mode;
    bool unread; /* not everything was read: nothing follows from what is missing */
    struct config_fault *faults;
    size_t fault_count;
    struct config_place *places; /* of each option of the process */
};

/* What it takes to go over to another value; the column `change` of options.def. The worst one first: a
 * service pays what its dearest option costs. */
#define CONFIG_COSTS(X)                                                                                     \
    X(NODE, "its node restarts")                               /* identity, state folder, control server */ \
    X(LISTENER, "in place, connections that are there finish") /* where and how the node listens */         \
    X(IN_PLACE, "in place, no connection is lost")             /* routes, headers, timeouts, log */         \
    X(NOTHING, "unchanged")
/* And of the options of the process: PROCESS, the program has to be started again. */

enum config_cost {
#define X(name, text) CONFIG_COST_##name,
    CONFIG_COSTS(X)
#undef X
        CONFIG_COST_PROCESS,
};

/* What the caller is to do. */
enum config_outcome {
    CONFIG_HELP = 1, /* -h: print usage to standard output, exit 0 */
    CONFIG_BAD_FLAG, /* unknown flag or value: problems to standard error, then usage, exit 2 */
    CONFIG_INVALID,  /* the configuration is wrong: problems to standard error, exit 1 */
};

/* argv[0] is the program's name (it decides the default state folder). 0, an outcome above, -ENOMEM.
 * Whatever is returned, *out is to be freed. */
NODISCARD int config_load(struct config *out, int argc, char *const *argv);

/* How much is looked at. */
enum config_mode {
    CONFIG_STRICT = 1, /* what would only be ignored is wrong: unknown keys, prefixes that match nothing */
    CONFIG_FILES = 2,  /* certificates and their keys are read and compared; secrets must be there */
};
NODISCARD int config_load_mode(struct config *out, int argc, char *const *argv, unsigned mode);
void config_free(struct config *c); /* wipes secrets */

/* The secrets of a service with a fault are read anew: then it has none, or says what is wrong now. Nobody
 * else may look at that service meanwhile. 0, or -ENOMEM with the fault kept. */
NODISCARD int config_secrets_again(struct config *c, size_t service);

/* ---- what a reload has to do ------------------------------------------------------- */

#define CONFIG_NO_SERVICE SIZE_MAX

/* One service of either configuration. Services are told apart by their names. */
struct config_change {
    size_t before, after;  /* index in each configuration, or CONFIG_NO_SERVICE: added, removed */
    enum config_cost cost; /* of a service that both have; NOTHING: it is untouched */
    char *options;         /* names of what differs, ", " between them; owned; NULL: nothing */
};

struct config_diff {
    struct config_change *changes; /* in the order of `after`, then what was removed in that of `before` */
    size_t count;
    size_t added, removed, changed, unchanged;
    char *process; /* names of process options that differ: they need a new start. NULL: none */
};

/* Compares two configurations that config_load found good. 0 or -ENOMEM; *out is to be freed either way. */
NODISCARD int config_diff(struct config_diff *out, const struct config *before, const struct config *after);
void config_diff_free(struct config_diff *d);
/* In words, a line for each service that is not left alone, and one with the sums. 0 or -ENOMEM. */
NODISCARD int config_diff_text(const struct config_diff *d, const struct config *before,
                               const struct config *after, struct buf *out);

/* The usage text of the flags, from the table. `program` is the base name of argv[0]. */
NODISCARD int config_usage(struct buf *out, const char *program);

/* One row of the option table, for help, manual and completion. Static text. */
struct config_option {
    const char *flag, *key, *yaml; /* "" where it has none */
    const char *fallback, *argument, *text, *range, *why, *example;
    const char *change; /* what a reload does with it, in words */
    bool process;       /* of the program, not of a service */
    enum { CONFIG_TAKES_NOTHING, CONFIG_TAKES_TEXT, CONFIG_TAKES_FILE, CONFIG_TAKES_FOLDER } takes;
};

/* False: there are no more. */
bool config_option_at(size_t index, struct config_option *out);

/* Everything about one option, by the name of its flag or key. 0, 1: there is none, -ENOMEM. */
NODISCARD int config_option_help(struct buf *out, const char *name);
const char *config_option_nearest(const char *name); /* static; NULL: nothing is near */

/* ---- environment.def: variables that a user may set ----------------------------------- */

enum config_variable {
#define VARIABLE(id, name, other, text) CONFIG_VARIABLE_##id,
#include "config/environment.def"
#undef VARIABLE
    CONFIG_VARIABLE_COUNT,
};

/* The first of its names that is set and not empty; NULL: none is. */
const char *config_variable(enum config_variable v);
bool config_variable_is_true(enum config_variable v); /* "1" or "true" */

/* One row of the table, for help and manual. Static text; `other` is "" where there is one name. */
struct config_variable_row {
    const char *name, *other, *text;
};

/* False: there are no more. */
bool config_variable_at(size_t index, struct config_variable_row *out);

/* Where a service's auth key stands, and what of the service completes an OAuth client secret there. */
struct config_key_source {
    char *path; /* NULL: in no file */
    char *control_url;
    bool ephemeral, tagged;
};

/* 0; -ENOMEM: *out has no path. */
NODISCARD int config_key_source_init(struct config_key_source *out, const struct config_service *s);
void config_key_source_deinit(struct config_key_source *k);
/* The key as loading would have it now: it may have been replaced since. False: it cannot be read or used, or
 * is longer than `size`; *out is wiped then. The caller wipes it. */
bool config_key_now(const struct config_key_source *k, char *out, size_t size);

/* listenAddr: ":443", ":https", "100.64.0.1:80"; the zero address is every address. False: it is none. */
bool config_listen(const char *text, struct ip_port *out);

/* Where `manytails status` finds the process when nobody says: the same rules as config_load. NULL: no
 * memory. */
char *config_default_socket(const char *argv0);

#endif

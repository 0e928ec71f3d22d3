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
#define CONFIG_LIST_MAX 256 /* entries of one list option */
#define CONFIG_PROBLEMS_MAX 200

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
    char *certificate_file;
    char *key_file;
    bool recommended_proxy_headers;
    struct config_list prefixes;
    bool strip_prefix;
    struct config_list upstream_headers; /* "Name: value" */
    bool insecure_https;
    bool upstream_allow_insecure_ciphers;
    bool suppress_whois;
    time_ns whois_timeout;
    bool suppress_tailnet_dialer;
    time_ns read_header_timeout;
    time_ns timeout;
    char *state_directory; /* filled in: never empty in a good configuration */
    char *auth_key_path;
    char *auth_key; /* secret: from the file or the environment; NULL: interactive */
    struct config_list tags;
    bool verbose;
    int line; /* in the file; 0: from the command line */
};

struct config {
    struct config_service *services;
    size_t service_count;
    char *prometheus_address;
    char *socket_path;    /* filled in */
    char *control_url;    /* TS_URL, TS_CONTROL_URL, or the hosted service */
    char *base_directory; /* of all state */
    struct buf problems;  /* one line each; empty: the configuration is good */
    unsigned problem_count;
    struct buf notices; /* lines to log at the start: what changes meaning, what is ignored */
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
void config_free(struct config *c); /* wipes secrets */

/* The usage text of the flags, from the table. `program` is the base name of argv[0]. */
NODISCARD int config_usage(struct buf *out, const char *program);

/* Where `manytails status` finds the process when nobody says: the same rules as config_load. NULL: no
 * memory. */
char *config_default_socket(const char *argv0);

#endif

/* daemon/internal.h - what the files of daemon/ share; nobody else includes it
 *
 *   daemon.c    life of the process: parts, signals, the end
 *   services.c  the list of services, and what happens to each when the configuration changes
 *   reload.c    the configuration anew: what would change, what does
 *   progress.c  who is up, who waits, in one line
 *   settings.c  from the configuration to what a node is made of, a line per option
 *   shard.c     the thread of a shard: nodes made, changed and stopped on letters
 *   clients.c   who comes to a listener with one question (clients.h)
 *   admin.c     the Unix socket; ask.c its other end
 *   scrape.c    the page for Prometheus
 *   login.c     how a person gets to see a login URL
 *
 * The main thread knows a service by its struct daemon_service, a shard by its struct shard_service. Letters
 * name it by the handle of the former, so one that arrives late is for nobody. A letter that carries a
 * configuration carries a reference to all of it: the old one lives until the last letter about it was read.
 */
#ifndef MANYTAILS_DAEMON_INTERNAL_H
#define MANYTAILS_DAEMON_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "daemon/daemon.h"
#include "daemon/notify.h"
#include "daemon/sandbox.h"
#include "ev/ev.h"
#include "host/host.h"
#include "node/node.h"
#include "stream/stream.h"

/* ---- configurations -------------------------------------------------------------- */

/* A configuration as it was loaded; any thread may hold a reference. */
struct loaded {
    atomic_uint references;
    struct config config;
};

/* Takes over what is in *config. NULL: no memory, and *config is as it was. */
struct loaded *loaded_new(struct config *config);
struct loaded *loaded_ref(struct loaded *l);
void loaded_unref(struct loaded *l); /* NULL is fine */

/* settings.c: everything points into `service` or the struct itself; released after the node was
 * made. False: too many of something, `why` says it. */
struct settings {
    struct node_config node;
    struct proxy_header headers[PROXY_HEADERS_MAX];
    char *header_names[PROXY_HEADERS_MAX];
    char *copied_names[PROXY_HEADERS_MAX];
};
NODISCARD bool settings_fill(struct settings *out, const struct config_service *service,
                             char why[NODE_WHY_BYTES]);
void settings_release(struct settings *s);

/* ---- letters ----------------------------------------------------------------------- */

enum letter_kind {
    /* to a shard */
    LETTER_START,   /* service, loaded, config */
    LETTER_CHANGE,  /* service, loaded, config: new settings in place; answered with CHANGED */
    LETTER_STOP,    /* service, at; answered with STOPPED */
    LETTER_END,     /* service: what is left of a STOP, without waiting for anybody */
    LETTER_HOST,    /* view */
    LETTER_ASK,     /* status, id */
    LETTER_PING,    /* are you alive? */
    LETTER_METRICS, /* id */
    LETTER_QUIT,
    /* to the main thread */
    LETTER_STATE,    /* service, state, text: sentence */
    LETTER_AUTH_URL, /* service, text: URL, "" if no longer */
    LETTER_REFUSED,  /* service, text: why there is no node */
    LETTER_CHANGED,  /* service, text: why it keeps its old settings, "" if it does not */
    LETTER_STOPPED,  /* service: its node is gone, and so is the lock of its folder */
    LETTER_ANSWER,   /* shard, id, text: JSON */
    LETTER_PONG,     /* shard */
    LETTER_PAGE,     /* id, page */
};

struct letter {
    struct ev_letter base;
    enum letter_kind kind;
    handle service;
    struct loaded *loaded; /* a reference of its own, or NULL */
    const struct config_service *config;
    size_t shard;
    uint64_t id;
    time_ns at;
    enum node_state state;
    struct host_view view;
    struct metrics_page *page; /* owned */
    size_t len;
    char text[]; /* NUL at the end */
};

/* The text is copied. Without memory for a letter the process ends: there is no way to go on. */
struct letter *letter_new(enum letter_kind kind, struct span text);
void letter_free(struct letter *l);

/* ---- main thread --------------------------------------------------------------------- */

struct daemon;

/* Name; what may be assumed. */
#define SERVICE_PHASES(X)                                                                  \
    X(WAITING) /* no node: another one still has its folder, or the last attempt failed */ \
    X(UP)      /* its shard was told to start it */                                        \
    X(LEAVING) /* its shard was told to stop it; if `config` is there when it has, it starts anew */

enum service_phase {
#define X(name) SERVICE_##name,
    SERVICE_PHASES(X)
#undef X
};

/* One service as the main thread last heard of it. In daemon->services if it is wanted, else in
 * daemon->leaving. */
struct daemon_service {
    struct list link;
    struct daemon *daemon;
    char *name;
    const struct config_service *config; /* in daemon->loaded; NULL: no longer wanted */
    char *directory;                     /* that its node holds; NULL while WAITING */
    size_t shard;
    enum service_phase phase;
    bool stale; /* it could not be changed: the settings in force are older than `config` */
    bool heard;
    enum node_state state;
    char *sentence, *auth_url; /* NULL: none */
    int64_t since;             /* of state, wall clock */
    struct ev_timer retry;
    struct span answer; /* while a status is put together */
};

struct daemon_shard {
    struct daemon *daemon;
    size_t index;
    size_t service_count; /* placed here */
    pthread_t thread;
    bool running;
    struct ev_loop *loop;
    struct ev_mailbox *mailbox; /* read by the shard */
    /* the shard's own */
    struct node_shard *nodes;
    struct table services; /* struct shard_service by handle */
};

struct daemon {
    int argc; /* of the command line that is loaded anew */
    char *const *argv;
    struct loaded *loaded;
    struct ev_loop *loop;
    struct ev_mailbox *mailbox; /* read by the main thread */
    struct node_process *process;
    struct host *host;
    struct daemon_shard *shards;
    size_t shard_count;
    struct slab service_slab;
    struct list services; /* in the order of the configuration */
    struct list leaving;
    size_t service_count;  /* in `services` */
    size_t leaving_count;  /* in this phase, in either list */
    size_t changes_due;    /* CHANGE letters without an answer */
    struct buf change_log; /* what these answers said, one line per service that kept its old settings */
    struct admin *admin;
    struct notify *notify;
    struct scrape *scrape;           /* NULL: no metrics */
    struct sandbox_folders *folders; /* what the sandbox allows; NULL: it is off */
    char *socket_path;
    time_ns started_at, bringing_up_since;
    bool stopping, ending, bringing_up, terminal;
    struct ev_task progress;
    struct ev_timer stop_timer, settled_timer;
    int exit_status;
};

/* shard.c: the thread of a shard */
NODISCARD int shard_start(struct daemon_shard *s);
void shard_join(struct daemon_shard *s);
void shard_post(struct daemon_shard *s, struct letter *l);
void main_post(struct daemon *d, struct letter *l);

/* ---- services.c ------------------------------------------------------------------------ */

void services_init(struct daemon *d);
void services_deinit(struct daemon *d);                        /* the shards are gone */
struct daemon_service *service_of(struct daemon *d, handle h); /* NULL: gone */
struct daemon_service *service_named(struct daemon *d, const char *name);
/* All of them, and whatever leaves already, within DAEMON_DRAIN. */
void services_stop(struct daemon *d);
/* Those that have not stopped yet do it now. */
void services_end(struct daemon *d);
bool services_stopped(const struct daemon *d);
/* What a shard says of one; l->service may be gone. */
void service_hear(struct daemon *d, const struct letter *l);

/* Goes over from d->loaded to `next`: what `diff` calls unchanged is not touched, the others start, change in
 * place, restart or leave. Takes over the reference to `next`, unless it fails: -ENOMEM changes nothing. */
NODISCARD int services_apply(struct daemon *d, struct loaded *next, const struct config_diff *diff);

/* A log line for each line. */
void log_lines(enum log_level level, struct span lines);

/* ---- reload.c ---------------------------------------------------------------------------- */

/* Loads the configuration anew and, unless `dry`, goes over to it. One JSON object is appended to *out:
 * docs/protocol/admin.md. A configuration that is not good changes nothing. -ENOMEM, -ENOBUFS. */
NODISCARD int reload(struct daemon *d, bool dry, struct buf *out);
/* The same without anybody who waits for an answer: what happened is logged. */
void reload_on_signal(struct daemon *d);

/* Lines as an array of strings. */
void json_put_lines(struct json_writer *w, const char *key, struct span lines);

/* ---- progress.c -------------------------------------------------------------------------------- */

void progress_init(struct daemon *d);
void progress_begin(struct daemon *d);   /* services were told to start */
void progress_changed(struct daemon *d); /* one of them said something */
void progress_settled(struct daemon *d); /* they have had their time */
void progress_end(struct daemon *d);
/* "51 of 57 up; waiting: wiki (login: https://...), git (approval)", at most `width` columns. False: all are
 * up. */
bool progress_text(const struct daemon *d, size_t width, char *out, size_t size);

/* ---- admin.c: the Unix socket ---------------------------------------------------------------- */

NODISCARD int admin_open(struct daemon *d);
void admin_close(struct daemon *d);
void admin_answer(struct daemon *d, size_t shard, uint64_t id, struct span json);
void admin_changes_done(struct daemon *d); /* the last CHANGE was answered */
uint64_t admin_clients_cut(const struct daemon *d);

/* memory.c: the heap */
void memory_configure(size_t threads); /* before there is a second thread */
void memory_settle(void);              /* what starting needed may go */
/* Of the process. Zeros where the system or the allocator does not say. */
struct memory_figures {
    uint64_t resident, virtual;
    uint64_t heap_used, heap_free; /* free: the allocator keeps it for later */
};
void memory_read(struct memory_figures *out);

/* scrape.c: the page for Prometheus. 0, -ENOMEM, or why the address that was asked for cannot be had. */
NODISCARD int scrape_open(struct daemon *d, const struct config *config);
void scrape_close(struct daemon *d);
void scrape_answer(struct daemon *d, uint64_t id, const struct metrics_page *page);

/* daemon.c: how the services are */
void count_services(void *ctx, struct notify_counts *out);

/* login.c: how a person gets to see a login URL */
void login_show(const char *service, const char *url);

#endif

/* daemon/internal.h - letters between the main thread and the shards; inside daemon/ only */
#ifndef MANYTAILS_DAEMON_INTERNAL_H
#define MANYTAILS_DAEMON_INTERNAL_H

#include <pthread.h>

#include "daemon/daemon.h"
#include "daemon/notify.h"
#include "ev/ev.h"
#include "host/host.h"
#include "node/node.h"
#include "stream/stream.h"

enum letter_kind {
    /* to a shard */
    LETTER_START, /* service */
    LETTER_STOP,  /* all services, at */
    LETTER_HOST,  /* view */
    LETTER_ASK,   /* status, id */
    LETTER_PING,  /* are you alive? */
    LETTER_QUIT,
    /* to the main thread */
    LETTER_STATE,    /* service, state, text: sentence */
    LETTER_AUTH_URL, /* service, text: URL, "" if no longer */
    LETTER_STOPPED,  /* service */
    LETTER_ANSWER,   /* shard, id, text: JSON */
    LETTER_PONG,     /* shard */
};

struct letter {
    struct ev_letter base;
    enum letter_kind kind;
    size_t service, shard;
    uint64_t id;
    time_ns at;
    enum node_state state;
    struct host_view view;
    size_t len;
    char text[]; /* NUL at the end */
};

/* NULL: no memory. The text is copied. */
struct letter *letter_new(enum letter_kind kind, struct span text);

/* ---- main thread --------------------------------------------------------------- */

struct daemon;

/* One service, as its shard has it and as the main thread last heard of it. */
struct daemon_service {
    const struct config_service *config;
    struct daemon *daemon;
    size_t index, shard;
    /* the shard's */
    struct node *node;
    struct ev_timer retry;
    /* the main thread's */
    enum node_state state;
    char sentence[NODE_WHY_BYTES];
    bool heard, stopped;
};

struct daemon_shard {
    struct daemon *daemon;
    size_t index;
    pthread_t thread;
    bool running;
    struct ev_loop *loop;
    struct ev_mailbox *mailbox; /* read by the shard */
    struct node_shard *nodes;
};

struct daemon {
    const struct config *config;
    struct ev_loop *loop;
    struct ev_mailbox *mailbox; /* read by the main thread */
    struct node_process *process;
    struct host *host;
    struct daemon_shard *shards;
    size_t shard_count;
    struct daemon_service *services;
    size_t service_count;
    struct admin *admin;
    struct notify *notify;
    time_ns started_at;
    bool stopping;
    struct ev_timer stop_timer, settled_timer;
    int exit_status;
};

/* shard.c: the thread of a shard */
NODISCARD int shard_start(struct daemon_shard *s);
void shard_join(struct daemon_shard *s);
void shard_post(struct daemon_shard *s, struct letter *l); /* NULL: the process is out of memory: must() */
void main_post(struct daemon *d, struct letter *l);

/* admin.c: the Unix socket */
NODISCARD int admin_open(struct daemon *d);
void admin_close(struct daemon *d);
void admin_answer(struct daemon *d, size_t shard, uint64_t id, struct span json);

/* memory.c: the heap */
void memory_configure(size_t threads); /* before there is a second thread */
void memory_settle(void);              /* what starting needed may go */

/* login.c: how a person gets to see a login URL */
void login_show(const char *service, const char *url);

#endif

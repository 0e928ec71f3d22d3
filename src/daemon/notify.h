/* daemon/notify.h - what a service manager is told: sd_notify's datagrams and the watchdog
 *
 * Without $NOTIFY_SOCKET everything here does nothing. Ready is said once, when every service has left
 * "starting" (it runs, or it waits for a person, or it failed) or NOTIFY_READY_MAX after the start: the
 * manager waits for a program that works, not for the slowest service. The watchdog's sign of life is sent
 * only when every shard has answered a question since the last one; a timer runs only if the manager asked.
 *
 * Thread: the main thread.  The words: sd_notify(3).
 */
#ifndef MANYTAILS_DAEMON_NOTIFY_H
#define MANYTAILS_DAEMON_NOTIFY_H

#include "ev/ev.h"

#define NOTIFY_READY_MAX (30 * SEC)
#define NOTIFY_STATUS_PAUSE (1 * SEC) /* between two status lines */

/* How the services are; `up`: a client can use them. */
struct notify_counts {
    size_t all, up, starting, need_login, failed;
};

struct notify_ops {
    /* Ask every shard for a sign of life; each answers with notify_shard_alive. */
    void (*ask_shards)(void *ctx);
    void (*count)(void *ctx, struct notify_counts *out);
};

struct notify;

/* -ENOMEM is the only failure. The environment is read here. */
NODISCARD int notify_new(struct notify **out, struct ev_loop *loop, size_t shards,
                         const struct notify_ops *ops, void *ctx);
void notify_free(struct notify *n); /* NULL is fine */

void notify_started(struct notify *n);  /* services are being brought up from now on */
void notify_services(struct notify *n); /* one of them changed */
void notify_reloading(struct notify *n, time_ns now);
void notify_reloaded(struct notify *n);
void notify_stopping(struct notify *n);
void notify_shard_alive(struct notify *n, size_t shard);

#endif

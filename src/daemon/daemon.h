/* daemon/daemon.h - the running program: shards, supervision, signals, and the admin socket
 *
 * The main thread owns what exists once: signals, the host's addresses, the admin socket, the list of
 * services and what each last said of itself. One thread per core runs a shard with its nodes. The two
 * sides only exchange letters; the main thread never looks into a node.
 */
#ifndef MANYTAILS_DAEMON_DAEMON_H
#define MANYTAILS_DAEMON_DAEMON_H

#include "base/base.h"
#include "config/config.h"

#define DAEMON_DRAIN (10 * SEC)     /* requests under way may take this long after SIGTERM */
#define DAEMON_LOGOUT (6 * SEC)     /* more, for ephemeral nodes to log out */
#define DAEMON_END SEC              /* after a second signal, for shards to say good-bye */
#define DAEMON_SETTLED (15 * SEC)   /* after this the heap is trimmed, once */
#define DAEMON_RETRY (30 * SEC)     /* a service that could not be set up is tried again after this */
#define DAEMON_ADMIN_CLIENTS_MAX 16 /* at once */
#define DAEMON_SCRAPE_CLIENTS_MAX 8 /* of the metrics, at once */
#define DAEMON_STATUS_BYTES_MAX (64 << 20)

/* Runs until SIGTERM or SIGINT. Takes over what is in *config; the command line is what SIGHUP and
 * `manytails reload` load anew, and is kept by pointer. Exit status: 0, or 1: nothing could be run, or
 * services were cut off because a second signal came or the time was over. */
int daemon_run(struct config *config, int argc, char *const *argv);

/* Asks the running process: one line of command, the whole answer appended to *answer.
 * 0, -ENOENT or -ECONNREFUSED (nobody runs there), other -errno. */
NODISCARD int daemon_ask(const char *socket_path, const char *command, struct buf *answer);

#endif

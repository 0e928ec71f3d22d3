/* lab/client.h - a node of the tailnet that brings others to this machine's loopback
 *
 * One ordinary node (node/), without a service of its own, and loopback ports: whoever connects to one is
 * connected, through the tunnel, to a port of another node. So a browser without a tailnet opens a service.
 * Thread: the loop's, on which the node runs too.
 * Memory: a connection has two buffers of LAB_FORWARD_BYTES while they hold something.
 */
#ifndef MANYTAILS_LAB_CLIENT_H
#define MANYTAILS_LAB_CLIENT_H

#include "ev/ev.h"
#include "node/node.h"

#define LAB_FORWARDS_MAX 4096
#define LAB_FORWARD_CONNECTIONS_MAX 1024 /* of all ports together; more are reset */
#define LAB_FORWARD_BYTES 65536

struct lab_client;

struct lab_client_config { /* copied */
    const char *name, *control_url, *auth_key, *state_directory;
};

/* 0; 1: `why` says it; -errno. */
NODISCARD int lab_client_new(struct lab_client **out, struct ev_loop *loop,
                             const struct lab_client_config *config, char why[NODE_WHY_BYTES]);
void lab_client_free(struct lab_client *c); /* NULL is fine */
bool lab_client_running(const struct lab_client *c);

/* A port on 127.0.0.1 for a port of the node of this name, which may join later; the same again if it is
 * there already. `at` 0: the kernel chooses; *port is what it is. -errno */
NODISCARD int lab_client_forward(struct lab_client *c, const char *host, uint16_t host_port, uint16_t at,
                                 uint16_t *port);

struct lab_client_counters {
    uint64_t connections, refused; /* refused: nobody of that name, or a limit */
};
const struct lab_client_counters *lab_client_counters(const struct lab_client *c);

#endif

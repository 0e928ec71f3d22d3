/* lab/lab.h - a private tailnet on loopback, from the program's own modules: for trials, demos and tests
 *
 *   control.h  the control server, with faults on cue; registry.h is who there is, map.h what a node is told
 *   save.h     what of it is kept in a folder (file.h)
 *   web.h      HTTP/1 on a loopback port, the front of the servers below
 *   relay.h    relay (DERP); guest.h is the protocol of one connection
 *   stun.h     STUN
 *   client.h   a node that opens loopback ports for services
 *   page.h     a web page that stands for a user's program
 *
 * Never a substitute for real servers: those are what test/interop runs. Nothing of it listens beyond
 * loopback but the client's UDP port, which every node has.
 *
 * Thread: the caller's, which is the loop's.
 */
#ifndef MANYTAILS_LAB_LAB_H
#define MANYTAILS_LAB_LAB_H

#include "lab/client.h"
#include "lab/control.h"
#include "lab/page.h"
#include "lab/relay.h"
#include "lab/stun.h"
#include "lab/web.h"

#define LAB_PORT_DEFAULT 4700
#define LAB_PORTS 64         /* from the first one: control, relay, STUN, then loopback ports of services */
#define LAB_PORT_SERVICES 10 /* where those begin */
#define LAB_SERVICE_PORT 80  /* of a node, unless said */
#define LAB_FORWARDS_GIVEN_MAX 64
#define LAB_PAGES_MAX 16

struct lab_forward_config {
    char host[NODE_NAME_BYTES];
    uint16_t port, at; /* of the node; on loopback, 0: any */
};

struct lab_config {
    const char *program;   /* for the text that is printed */
    const char *directory; /* what is there is used again; NULL: a private temporary one, gone at the end */
    uint16_t port;         /* of the control server; 0: the kernel chooses all ports */
    bool needs_approval, no_client;
    struct lab_forward_config forwards[LAB_FORWARDS_GIVEN_MAX];
    size_t forward_count;
    const char *pages[LAB_PAGES_MAX];
    size_t page_count;
};

/* What it consists of. For tests and for lab_run. */
struct lab {
    struct ev_loop *loop;
    const struct lab_config *config;
    const char *directory; /* exists */
    struct tls_server *tls;
    struct tls_identity *identity;
    struct lab_relay *relay;
    struct lab_stun *stun;
    struct lab_control *control;
    struct lab_client *client; /* NULL: without */
    struct lab_page *pages[LAB_PAGES_MAX];
    struct registry_key *key;        /* reusable */
    struct registry_key *client_key; /* of the lab's own client: needs no approval */
    uint16_t opened[LAB_FORWARDS_GIVEN_MAX];
    uint32_t opened_later;
    struct ev_timer save; /* of the control server's state */
    bool kept;            /* there is something to save, and a place for it */
    char part[80];        /* what could not be started */
};

#define LAB_CLIENT_NAME "browser"

/* All servers up, the client on its way. 0; 1: `why` says it; -errno: of lab->part. lab_close in every case.
 */
NODISCARD int lab_open(struct lab *lab, struct ev_loop *loop, const struct lab_config *config,
                       const char *directory, char why[NODE_WHY_BYTES]);
void lab_close(struct lab *lab);
/* A loopback port for port 80 of this node; 0: there is none. */
uint16_t lab_open_service(struct lab *lab, const char *name);

/* The command: starts, prints, runs until SIGINT or SIGTERM. The exit status. */
int lab_run(const struct lab_config *config);

#endif

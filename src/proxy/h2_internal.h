/* proxy/h2_internal.h - between h2.c and h2_stream.c */
#ifndef MANYTAILS_PROXY_H2_INTERNAL_H
#define MANYTAILS_PROXY_H2_INTERNAL_H

#include <stdio.h>

#include "proxy/h2.h"

/* One HTTP/2 connection. */
struct h2_link {
    struct conn *conn;
    struct h2_server *server;
    struct list sides;
    time_ns idle_until; /* while there are none */
};

/* One stream. It belongs to its conn, as any stream does. */
struct h2_side {
    struct stream base;
    struct list node; /* link->sides */
    struct h2_link *link;
    struct conn *conn;
    uint32_t id;
    int fault;       /* of the request's head: 0, enum http1_fault, -errno */
    struct buf body; /* arrived and not taken by the upstream */
    struct http_head *trailers_in, *trailers_out;
    bool body_ended; /* all of it has arrived */
    bool head_sent;  /* the final one */
    bool answered;   /* the end of the response was sent too */
    bool over;       /* the machine knows it no more */
};

/* With its conn and exchange, ready to step. NULL: no memory; the request is still to be refused. */
struct h2_side *h2_side_new(struct h2_link *link, const struct h2_server_request *q, time_ns now);
/* It closes, and is in no list any more. */
void h2_side_gone(struct h2_side *side);

#endif

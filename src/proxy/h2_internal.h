/* proxy/h2_internal.h - between h2.c, h2_stream.c and h2_head.c */
#ifndef MANYTAILS_PROXY_H2_INTERNAL_H
#define MANYTAILS_PROXY_H2_INTERNAL_H

#include <stdio.h>

#include "proxy/client.h"
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

/* ---- h2_head.c --------------------------------------------------------------------- */

/* Into h, as HTTP/1 would have it: 0, an enum http1_fault, -errno. `text` is used on the way. */
NODISCARD int h2_head_from_request(struct http_head *h, const struct h2_server_request *q, struct buf *text);
/* Names in lower case, into shard->out; what belongs to an HTTP/1 connection stays behind. Their count, or
 * -ENOMEM. */
ssize_t h2_head_to_headers(struct proxy_shard *shard, const struct http_head *h,
                           struct h2_header out[HTTP_FIELDS_MAX]);

#endif

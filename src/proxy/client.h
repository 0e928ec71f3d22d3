/* proxy/client.h - what an exchange does with its client, and how bytes leave (inside proxy/)
 *
 * An exchange does not know which protocol its client speaks. conn->client is the table of that protocol:
 * http1_client (client_http1.c), or http2_client for one stream of a connection (h2_stream.c). Bodies and raw
 * bytes need no row, they go through conn->stream.
 */
#ifndef MANYTAILS_PROXY_CLIENT_H
#define MANYTAILS_PROXY_CLIENT_H

#include "proxy/internal.h"

/* ---- gathering: pieces of one read, so that a head, a chunk's size and its data leave in one write --------
 */

#define GATHER_PARTS 48
#define GATHER_TEXT 512

struct gather {
    struct exchange *x;
    bool to_client;
    enum flow flow; /* first trouble; FLOW_DONE: none. FLOW_BLOCKED is none: what follows goes to pending */
    size_t count, used;
    struct span parts[GATHER_PARTS];
    char text[GATHER_TEXT];
};

void gather_begin(struct gather *g, struct exchange *x, bool to_client);
/* Parts are borrowed until here. */
void gather_flush(struct gather *g);
void gather_add(struct gather *g, struct span s);
/* With the framing of a chunk, if there is one. */
void gather_body(struct gather *g, enum http_body framing, struct span s);
/* In HTTP/1's form, in shard->out. */
void gather_head(struct gather *g, const struct http_head *h);
/* The last chunk, and fields behind it. */
void gather_trailers(struct gather *g, const struct http_head *t);

/* ---- the client
 * ----------------------------------------------------------------------------------------------- */

struct client_ops {
    /* One of many streams on a connection: it carries one request, and its end says whether all of the
     * response has come, so that a body needs no framing. */
    bool multiplexed;
    /* The request's head, into x->request. `in`: bytes that the connection has read while it was idle.
     * FLOW_DONE; FLOW_BLOCKED; FLOW_FAULT: an enum http1_fault or -errno in *fault; FLOW_CLIENT_FAILED. */
    enum flow (*take_head)(struct exchange *x, struct span in, int *fault);
    /* Some of its body, to pump_request_event. FLOW_MORE: there was some; else as above. */
    enum flow (*take_body)(struct gather *g, int *fault);
    /* Of the response. Trouble is in g->flow. */
    void (*put_head)(struct gather *g, const struct http_head *h);
    void (*put_trailers)(struct gather *g, const struct http_head *t);
    /* A whole response. FLOW_DONE, FLOW_BLOCKED, FLOW_CLIENT_FAILED. */
    enum flow (*put_answer)(struct exchange *x, const struct http_head *h, struct span body);
};

extern const struct client_ops http1_client, http2_client;

/* ---- pump.c
 * --------------------------------------------------------------------------------------------------- */

/* A piece of a request on its way to the upstream. */
void pump_request_event(struct gather *g, const struct http1_event *ev);

#endif

/* lab/web.h - HTTP/1 on one loopback port, plain or TLS: what the servers of the lab stand behind
 *
 * One request at a time per connection, without a body. The owner answers it at once, or takes the connection
 * over to speak something else on it (ts2021, DERP).
 * Thread: the loop's.  Memory: one object per connection until it is taken over or ends.
 */
#ifndef MANYTAILS_LAB_WEB_H
#define MANYTAILS_LAB_WEB_H

#include "http/http.h"
#include "stream/stream.h"
#include "tls/tls.h"

#define WEB_CONNECTIONS_MAX 4096
#define WEB_IDLE MINUTE                 /* without a byte or an answer under way: it ends */
#define WEB_ANSWER_BYTES_MAX (1u << 20) /* waiting for a client that does not read */

struct web;
struct web_conn;

struct web_config {
    struct ip_port at;             /* port 0: the kernel chooses */
    struct tls_server *tls;        /* NULL: plain. References are taken */
    struct tls_identity *identity; /* with tls */
    /* Answers with one of the functions below before it returns; else it is 404. */
    void (*request)(void *ctx, struct web_conn *c, const struct http_head *head);
    void *ctx;
    time_ns idle; /* 0: WEB_IDLE */
};

NODISCARD int web_new(struct web **out, struct ev_loop *loop, const struct web_config *config);
void web_free(struct web *w); /* and its connections, not those taken over; not from inside `request`. NULL is
                               * fine */
uint16_t web_port(const struct web *w);
size_t web_connections(const struct web *w);

/* `type` NULL: none. `fields`: whole lines that end in CR LF, or NULL. */
void web_answer(struct web_conn *c, int status, const char *type, const char *fields, struct span body);
/* The connection is the caller's, and `rest` (an initialised buffer) has the bytes behind the head. NULL: out
 * of memory, the connection ends. */
struct stream *web_take(struct web_conn *c, struct buf *rest);

/* The path of a target without its query; and the value of one of the query's parameters, as it stands. */
struct span web_path(struct span target);
bool web_query(struct span target, const char *name, struct span *value);

#endif

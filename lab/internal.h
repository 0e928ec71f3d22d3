/* lab/internal.h - what the files of the control server share; nobody else includes it
 *
 * An answer may free its request: whoever answers does not touch it afterwards.
 */
#ifndef MANYTAILS_LAB_INTERNAL_H
#define MANYTAILS_LAB_INTERNAL_H

#include "http/http.h"
#include "lab/control.h"
#include "lab/web.h"
#include "lab/zip.h"
#include "stream/stream.h"

struct lab_control {
    struct ev_loop *loop;
    struct web *web;
    struct secret_key key;
    char url[LAB_URL_BYTES];
    struct registry registry;
    struct lab_network net;
    const struct lab_control_ops *ops;
    void *ctx;
    struct list sessions, polls;
    size_t session_count;
    struct ev_timer deliver; /* what changed goes to the map streams */
    uint64_t delivered;      /* up to this number of the registry's */
    uint8_t *scratch;        /* of all HTTP/2 machines */
    struct zip zip;
    struct buf text; /* a message in the making */
    enum lab_fault register_fault, map_fault;
    unsigned register_faults, map_faults;
    struct lab_control_counters counters;
};

/* One ts2021 connection. */
struct session {
    struct list link;
    struct lab_control *control;
    struct stream *stream;
    struct h2_server *h2;
    struct public_key machine;
    struct list requests;
    size_t request_count;
    struct ev_task pump; /* what is pending is written, before the loop sleeps */
};

enum request_kind { REQUEST_OTHER, REQUEST_REGISTER, REQUEST_MAP };

/* One HTTP/2 request on it. */
struct request {
    struct list link;
    struct session *session;
    uint32_t id;
    enum request_kind kind;
    int refuse; /* status that it gets, whatever its body; 0: it is fine so far */
    struct buf body;
    char token[REGISTRY_TOKEN_BYTES]; /* a registration that waits for this login */
    struct poll *poll;                /* a map stream */
};

/* A map stream. */
struct poll {
    struct list link; /* in the server */
    struct request *request;
    struct public_key key; /* of the node */
    uint64_t seen;         /* it was told of everything up to here */
    bool whole;            /* the next message is the whole map */
    bool zstd;
    bool ending, ended; /* no message follows; once `out` is gone HTTP/2 is told */
    struct buf out;     /* framed, not yet taken by HTTP/2 */
    struct ev_timer keep_alive;
};

/* session.c. lab_session_new takes `below` over, also when it fails. */
NODISCARD int lab_session_new(struct lab_control *c, struct stream *below, struct span initiation,
                              struct span leftover);
void lab_session_free(struct session *s);
void lab_request_answer(struct request *q, int status, const char *type, struct span body);
void lab_request_limit(struct request *q);            /* 429 */
void lab_request_reset(struct request *q);            /* and frees it */
void lab_request_retry_logins(struct lab_control *c); /* registrations that wait for a login */

/* register.c */
struct asked {
    struct registration in;
    int64_t expiry; /* wall clock; 0: no wish */
};
/* Spans are borrowed from root. False: no such request. */
bool lab_registration_parse(const struct json *root, const struct public_key *machine, struct asked *out);
void lab_register_handle(struct request *q);

/* poll.c */
void lab_map_handle(struct request *q);
void lab_poll_free(struct poll *p);
void lab_poll_writable(struct poll *p);
void lab_poll_deliver(struct lab_control *c); /* to all streams, what is new to each */
void lab_poll_send_raw(struct poll *p, struct span message);
void lab_poll_end(struct poll *p);

/* admin.c; `what` is the path behind /lab/ */
void lab_admin_request(struct lab_control *c, struct web_conn *conn, const struct http_head *head,
                       struct span what);

/* True: the request got this fault, of which *left are wanted still. How its kind is refused, and what is
 * nonsense as an answer to it, the caller says. */
bool lab_fault_inject(struct request *q, enum lab_fault fault, unsigned *left,
                      void (*refuse)(struct request *q), struct span nonsense);

#endif

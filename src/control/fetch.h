/* control/fetch.h - one HTTP/1.1 request on a connection of its own (inside control/)
 *
 * Dials, adds TLS for https (certificates are always verified), writes the request, reads the answer, all
 * within one time limit. After a 101 the connection can be taken, with the bytes that came behind the answer.
 */
#ifndef MANYTAILS_CONTROL_FETCH_H
#define MANYTAILS_CONTROL_FETCH_H

#include "control/exchange.h"
#include "control/url.h"
#include "stream/stream.h"
#include "tls/tls.h"

#define FETCH_TIMEOUT (10 * SEC) /* the reference's limit for TCP, TLS and the upgrade together */
#define FETCH_REQUEST_BYTES_MAX (64u << 10)
#define FETCH_FAILURE_BYTES 256

struct fetch;

struct fetch_config { /* read inside the call */
    const struct control_url *url;
    struct tls_client *tls;               /* NULL: only http works */
    const struct stream_proxies *proxies; /* NULL: none */
    const char *method;
    struct span target;
    const char *headers; /* lines with CR LF, behind Host; "" if none */
    struct span body;    /* its length stands in `headers` */
    time_ns timeout;     /* 0: FETCH_TIMEOUT */
    bool secret;         /* request and answer are wiped, and leave no copies behind while they grow */
};

/* The end, once, from the loop. `failure` NULL: fetch_answer is complete. Else a sentence without its subject
 * and end mark: "unreachable: connection refused". The callback may free the fetch. */
typedef void fetch_fn(void *ctx, const char *failure, time_ns now);

/* 0, -ENOMEM; everything else comes through `done`. */
NODISCARD int fetch_start(struct fetch **out, struct ev_loop *loop, const struct fetch_config *config,
                          fetch_fn *done, void *ctx);
void fetch_memory(const struct fetch *f, struct account_memory *m); /* NULL is fine */
void fetch_free(struct fetch *f); /* no callback comes any more; NULL is fine */

const struct exchange *fetch_answer(const struct fetch *f);
/* After a 101: the stream is the caller's, `leftover` is borrowed until fetch_free. */
struct stream *fetch_take_stream(struct fetch *f, struct span *leftover);

#endif

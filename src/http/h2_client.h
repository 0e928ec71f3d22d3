/* http/h2_client.h - the client side of one HTTP/2 connection, without I/O (part of http.h)
 *
 * For connections that speak HTTP/2 from the first byte ("prior knowledge", RFC 9113 3.3), as the control
 * connection does inside Noise. Several requests may run at once. The owner moves bytes between this machine
 * and its stream; whatever is queued appears in h2_client_pending, also after feed, request, cancel and
 * consumed.
 *
 * Underneath is nghttp2; nobody else includes it. No server push, no HPACK table in either direction (a
 * session that idles for days should cost little), windows of H2_WINDOW_BYTES per stream and
 * H2_WINDOW_TOTAL_BYTES per connection, given back only as the owner reports that it took the bytes.
 *
 * Thread: the one that created it.
 * Memory: one nghttp2 session (see docs/protocol/http.md for the measured size), request bodies until they
 * are sent, response heads until they are handed over; response bodies are never held.
 */
#ifndef MANYTAILS_HTTP_H2_CLIENT_H
#define MANYTAILS_HTTP_H2_CLIENT_H

#include "http/h2.h"

#define H2_WINDOW_BYTES (4u << 20)       /* one stream: a full map response must fit without a round trip */
#define H2_WINDOW_TOTAL_BYTES (8u << 20) /* all streams */
#define H2_REQUESTS_MAX 64               /* at once */
#define H2_REQUEST_BODY_BYTES_MAX (4u << 20)
#define H2_HEADERS_MAX 64             /* of one response or request */
#define H2_HEAD_BYTES_MAX (16u << 10) /* names and values of one response or request */
#define H2_PENDING_BYTES_MAX \
    (1u << 20) /* a peer that makes us answer and does not read breaks the connection */

struct h2_client; /* opaque */

enum h2_outcome {
    H2_E_PROTOCOL = 1, /* the peer broke the protocol: write what is pending, then close the connection */
    H2_E_CLOSED,       /* no new requests here: GOAWAY came or the connection broke; use a new connection */
    H2_E_FULL,         /* H2_REQUESTS_MAX run already */
    H2_E_TOO_BIG,      /* body or headers above the limits here */
};

/* Why a request ended. */
enum h2_end {
    H2_END_DONE,      /* whole response received */
    H2_END_RESET,     /* peer reset it (error code in `code`) or it broke the rules */
    H2_END_REFUSED,   /* peer did not process it (REFUSED_STREAM, GOAWAY): safe to repeat elsewhere */
    H2_END_TOO_BIG,   /* response head above H2_HEAD_BYTES_MAX or H2_HEADERS_MAX */
    H2_END_CANCELLED, /* h2_client_cancel */
    H2_END_LOST,      /* the connection ended first (h2_client_free, H2_E_PROTOCOL) */
};

/* Calls come from inside feed, request, cancel, consumed, sent or free. They may call request, cancel and
 * consumed on the same client, never feed or free. Every request that started gets `ended` exactly once,
 * last. */
struct h2_request_ops {
    /* Final response head (1xx are skipped). Spans until the call returns; `headers` has no pseudo headers.
     */
    void (*head)(void *ctx, uint32_t id, int status, const struct h2_header *headers, size_t count);
    /* Take all of it now, or keep a copy; call h2_client_consumed for it sooner or later. A consumer that
     * never does stalls its own stream after H2_WINDOW_BYTES and the connection after H2_WINDOW_TOTAL_BYTES.
     */
    void (*body)(void *ctx, uint32_t id, struct span bytes);
    void (*ended)(void *ctx, uint32_t id, enum h2_end why, uint32_t code);
};

struct h2_request {
    struct span method;    /* "POST" */
    struct span authority; /* host, or host:port */
    struct span path;      /* "/machine/map" */
    const struct h2_header
        *headers; /* lower-case names; the same name may come several times, order is kept */
    size_t header_count;
    struct span body; /* copied; content-length is added; empty: no body, no content-length */
};

/* Life. The connection preface and SETTINGS are pending at once. -ENOMEM is the only failure.
 * `scratch`: H2_SCRATCH_BYTES that outlive the client, NULL: the client allocates its own. */
NODISCARD int h2_client_new(struct h2_client **out, uint8_t *scratch);
/* NULL is fine. Running requests end with H2_END_LOST. */
void h2_client_free(struct h2_client *c);

/* In: bytes that arrived, in any pieces. 0 or H2_E_PROTOCOL (running requests have ended with H2_END_LOST;
 * every later call says H2_E_PROTOCOL or H2_E_CLOSED), -ENOMEM. */
NODISCARD int h2_client_feed(struct h2_client *c, struct span bytes);

/* Out: write `pending` to the stream, then report what went. The span lives until the next call of any kind.
 */
struct span h2_client_pending(const struct h2_client *c);
void h2_client_sent(struct h2_client *c, size_t n);

/* Requests. *id names the request on this connection, never 0, never reused. H2_E_CLOSED, H2_E_FULL,
 * H2_E_TOO_BIG, -ENOMEM: nothing was started and no callback comes. Requests above the peer's own limit wait
 * inside. */
NODISCARD int h2_client_request(struct h2_client *c, const struct h2_request *request,
                                const struct h2_request_ops *ops, void *ctx, uint32_t *id);
/* RST_STREAM(CANCEL); `ended` comes before it returns. An unknown or finished id is fine. */
void h2_client_cancel(struct h2_client *c, uint32_t id);
/* `n` bytes of body were taken: the peer may send as many more. Also right for an id that has ended. */
void h2_client_consumed(struct h2_client *c, uint32_t id, size_t n);

/* No request can be started any more. The owner closes once h2_client_running() is 0. */
bool h2_client_closing(const struct h2_client *c);
size_t h2_client_running(const struct h2_client *c);
size_t h2_client_memory(const struct h2_client *c); /* bytes of the heap, nghttp2's included */
/* Text of an enum h2_end, for logs. Static storage. */
const char *h2_end_text(enum h2_end why);

#endif

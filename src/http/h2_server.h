/* http/h2_server.h - the server side of one HTTP/2 connection, without I/O (part of http.h)
 *
 * For connections that speak HTTP/2 from the first byte: chosen by ALPN, or known beforehand. The owner moves
 * bytes between this machine and its stream; whatever is queued appears in h2_server_pending, also after
 * feed, head, write, end, reset and consumed.
 *
 * Bodies are never held here. A request's body is handed over as it arrives and the client may send more only
 * as the owner reports bytes as taken: each stream begins with H2_SERVER_WINDOW_BYTES and gets more, up to
 * H2_SERVER_WINDOW_BYTES_MAX, when its owner keeps up. The connection's window is as large as all streams
 * together can be, so a body that nobody takes stops its own stream and no other. A response's bytes are
 * taken by h2_server_write as far as the client's windows and H2_SERVER_QUEUE_BYTES allow; who has to wait is
 * told by `writable`, in the order of who was served least recently, so that no stream starves another. The
 * client's priorities are not looked at.
 *
 * No HPACK table in either direction: an idle connection holds no headers.
 *
 * Underneath is nghttp2; nobody else includes it.  Thread: the one that created it.
 * Memory: docs/protocol/http.md has the measured sizes.
 */
#ifndef MANYTAILS_HTTP_H2_SERVER_H
#define MANYTAILS_HTTP_H2_SERVER_H

#include "http/h2.h"

#define H2_SERVER_STREAMS_MAX 100                /* at once (RFC 9113 5.1.2: not below 100) */
#define H2_SERVER_WINDOW_BYTES 65535u            /* a stream's at its start: the protocol's own value */
#define H2_SERVER_WINDOW_BYTES_MAX (1u << 20)    /* and when its owner keeps up */
#define H2_SERVER_WINDOW_EXTRA_BYTES (2u << 20)  /* what all streams together may grow by */
#define H2_SERVER_HEADERS_MAX 128                /* of one request or its trailers */
#define H2_SERVER_HEAD_BYTES_MAX (48u << 10)     /* names and values of one request, or its trailers */
#define H2_SERVER_RESPONSE_HEADERS_MAX 192       /* of one response or its trailers */
#define H2_SERVER_RESPONSE_HEAD_BYTES_MAX 64000u /* names and values of it (nghttp2 stops at 64 KiB) */
#define H2_SERVER_CONTINUATIONS_MAX 7            /* frames that continue one header block */
#define H2_SERVER_RESETS_BURST 200               /* requests that the client takes back or spoils: so many */
#define H2_SERVER_RESETS_PER_SECOND 20           /* at once, and then so many */
#define H2_SERVER_CONTROL_BURST 2000             /* frames that carry nothing (PING, SETTINGS, PRIORITY, */
#define H2_SERVER_CONTROL_PER_SECOND 200         /* WINDOW_UPDATE, empty DATA) */
#define H2_SERVER_CONTROL_PER_DATA 2             /* and so many more for each DATA frame that we send */
#define H2_SERVER_QUEUE_BYTES (64u << 10)        /* response bytes wait with their owners above this */
#define H2_SERVER_ANSWER_BYTES_MAX (64u << 10)   /* body of h2_server_answer */
#define H2_SERVER_PENDING_BYTES_MAX (1u << 20)   /* a client that makes us answer and does not read */

/* Why a connection was given up; row: name, words. */
#define H2_SERVER_FAULTS(X)                               \
    X(PROTOCOL, "the client broke the protocol")          \
    X(RESETS, "the client took back too many requests")   \
    X(CONTINUATIONS, "a header block in too many pieces") \
    X(CONTROL, "too many frames without content")         \
    X(NOT_READING, "the client does not read what it asked for")

enum h2_server_fault {
    H2_SERVER_OK,
#define X(name, words) H2_SERVER_E_##name,
    H2_SERVER_FAULTS(X)
#undef X
};

/* Why a request ended. */
enum h2_server_end {
    H2_SERVER_END_DONE,  /* the whole response went to the queue, in order behind what is pending */
    H2_SERVER_END_RESET, /* the client took it back, or broke its rules; error code in `code` */
    H2_SERVER_END_LOST,  /* the connection ended first (h2_server_free, a fault) */
};

struct h2_server_request {
    uint32_t id; /* names the request on this connection, never 0, never reused */
    struct span method;
    struct span scheme;
    struct span authority;           /* may be empty: then there may be a "host" header */
    struct span path;                /* "/x?y", or "*" */
    struct span protocol;            /* extended CONNECT (RFC 8441): "websocket"; else empty */
    const struct h2_header *headers; /* without pseudo headers; lower case; checked by RFC 9113 8.2 */
    size_t header_count;
    bool bodiless; /* nothing follows the head; body_end does not come */
    bool too_big;  /* above H2_SERVER_HEADERS_MAX or head_bytes_max: the rest is missing. Answer 431 */
};

/* `request`, `body` and `body_end` come from inside feed; `writable` and `ended` from any call but free of
 * other requests' ends (feed, sent, end, reset, free). Inside them everything may be called but feed and
 * free. h2_server_write takes nothing inside of `request`, `body`, `body_end` and `ended`: `writable`
 * follows. Each request that came gets `ended` exactly once, last, unless the owner ended it by
 * h2_server_reset. */
struct h2_server_ops {
    /* Spans until the call returns. */
    void (*request)(void *ctx, const struct h2_server_request *q);
    /* Take all of it now, or keep a copy; call h2_server_consumed for it sooner or later. */
    void (*body)(void *ctx, uint32_t id, struct span bytes);
    void (*body_end)(void *ctx, uint32_t id, const struct h2_header *trailers, size_t count);
    /* h2_server_write took less than it was given; now there is room. */
    void (*writable)(void *ctx, uint32_t id);
    void (*ended)(void *ctx, uint32_t id, enum h2_server_end why, uint32_t code);
};

struct h2_server_config {
    uint32_t streams_max;    /* 0, or more than it: H2_SERVER_STREAMS_MAX */
    uint32_t head_bytes_max; /* 0, or more than it: H2_SERVER_HEAD_BYTES_MAX */
    bool extended_connect;   /* offer RFC 8441 */
};

struct h2_server; /* opaque */

/* Life. Our SETTINGS are pending at once. -ENOMEM is the only failure. `ops` outlives the machine, `config`
 * is copied, NULL: all defaults. `scratch`: H2_SCRATCH_BYTES that outlive the machine; NULL: it has its own.
 */
NODISCARD int h2_server_new(struct h2_server **out, const struct h2_server_config *config,
                            const struct h2_server_ops *ops, void *ctx, uint8_t *scratch);
/* NULL is fine. Running requests end with H2_SERVER_END_LOST. */
void h2_server_free(struct h2_server *s);

/* In: bytes that arrived, in any pieces. 0; an enum h2_server_fault: write what is pending, then close (all
 * requests have ended with H2_SERVER_END_LOST; every later call says the same); -ENOMEM: the same, close. */
NODISCARD int h2_server_feed(struct h2_server *s, struct span bytes, time_ns now);

/* Out: write `pending` to the stream, then report what went. The span lives until the next call of any kind.
 */
struct span h2_server_pending(const struct h2_server *s);
void h2_server_sent(struct h2_server *s, size_t n);

/* ---- responses -------------------------------------------------------------------
 * An id that has ended already is fine in all of these: nothing happens, write takes everything.
 * 0, -ENOMEM, -ENOBUFS (too many or too long headers: nothing was sent; reset it or answer differently).
 */

/* 1xx (not 101) any number of times, then the final one. `end`: no body follows.
 * Names in lower case, values without control characters, no connection headers: our own nonsense otherwise
 * ends the request with H2_SERVER_END_RESET. */
NODISCARD int h2_server_head(struct h2_server *s, uint32_t id, int status, const struct h2_header *headers,
                             size_t count, bool end);
/* How many of the bytes were taken, 0 to bytes.len. Less than all: `writable` comes when there is room.
 * Between the final head and h2_server_end. */
size_t h2_server_write(struct h2_server *s, uint32_t id, struct span bytes);
/* The body is complete, and after it come these trailers, if any. The request may go on: h2_server_stop. */
NODISCARD int h2_server_end(struct h2_server *s, uint32_t id, const struct h2_header *trailers, size_t count);
/* Head and whole body at once; the body is copied, at most H2_SERVER_ANSWER_BYTES_MAX (-ENOBUFS). No
 * content-length is added. */
NODISCARD int h2_server_answer(struct h2_server *s, uint32_t id, int status, const struct h2_header *headers,
                               size_t count, struct span body);
/* Nobody takes the rest of the request's body. Once the response is out, a client that is still sending is
 * told so (RFC 9113 8.1). Some take that for a failure of the request when they have not read the response
 * before: give them a moment. */
void h2_server_stop(struct h2_server *s, uint32_t id);
/* RST_STREAM with an enum h2_code. The request is over: no `ended` comes. */
void h2_server_reset(struct h2_server *s, uint32_t id, uint32_t code);
/* `n` bytes of the request's body were taken: the client may send as many more. */
void h2_server_consumed(struct h2_server *s, uint32_t id, size_t n);

/* ---- rest ------------------------------------------------------------------------
 * Nothing runs and nothing is likely to for a while: gives nghttp2's state back (9 KB) and keeps what it
 * takes to make it anew, which feed and shutdown do by themselves. False: not now, since something is under
 * way.
 */
bool h2_server_rest(struct h2_server *s);

/* ---- the end ------------------------------------------------------------------- */

/* GOAWAY: no new requests. First as a notice, then (when the client has surely seen it) with the last request
 * that will be answered. The owner closes when h2_server_finished says so, or when it has waited enough. */
void h2_server_shutdown(struct h2_server *s);
/* GOAWAY was sent or received, no request runs and nothing is pending. */
bool h2_server_finished(const struct h2_server *s);
size_t h2_server_running(const struct h2_server *s);
size_t h2_server_memory(const struct h2_server *s); /* bytes of the heap, nghttp2's included */
const char *h2_server_fault_text(enum h2_server_fault f);

#endif

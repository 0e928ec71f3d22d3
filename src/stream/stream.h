/* stream/stream.h - byte streams that do not block and that stack: tcp < tls < noise
 *
 * A stream is one connection as its owner sees it: read, write, half-close, close, and events. What
 * carries the bytes (a socket, TLS, a connection inside the tunnel, two ends in memory for a test) is
 * known only to `ops`. A stream that wraps another one owns it: it takes its events and closes it.
 *
 * Events are edges: one says that something changed, and none repeats. So an owner reads (or writes)
 * until -EAGAIN, or remembers that it stopped early and goes on by itself; not reading is how it
 * applies back-pressure. An event is a hint, the call may still say -EAGAIN. Events come from the loop,
 * never from inside a call of the owner, and their callback may do anything, closing the stream included.
 * A new owner of an old stream sets on_event and owner, and starts with a read and a write of its own.
 *
 * Thread: the loop's.  Memory: a TCP stream is one object of about 100 bytes and has no buffer;
 * other kinds say so themselves.  Errors: -errno; after one, the stream only wants to be closed, and
 * stream_failure puts into words what happened.
 */
#ifndef MANYTAILS_STREAM_STREAM_H
#define MANYTAILS_STREAM_STREAM_H

#include "ev/ev.h"
#include "metrics/metrics.h"

#include <sys/types.h>

#define STREAM_CONNECTED 1u /* once, and first: bytes can flow. Accepted streams send it too */
#define STREAM_READABLE 2u  /* bytes, the end or an error: read */
#define STREAM_WRITABLE 4u  /* room again: write */
#define STREAM_FAILED 8u    /* could not connect, or broke outside of a call. The last event */

struct stream;

struct stream_ops {
    ssize_t (*read)(struct stream *s, void *out, size_t len);
    ssize_t (*write)(struct stream *s, struct span bytes);
    ssize_t (*writev)(struct stream *s, const struct span *parts, size_t count); /* NULL: write is used */
    ssize_t (*place)(struct stream *s, size_t want, uint8_t **at);               /* NULL: has none */
    void (*shutdown)(struct stream *s);
    void (*close)(struct stream *s, bool abort);
    void (*failure)(const struct stream *s, char *out, size_t size);
    /* What it and the streams below hold; its own under `part`, unless it has one. NULL: nothing. */
    void (*memory)(const struct stream *s, enum account_part part, struct account_memory *m);
};

struct stream {
    const struct stream_ops *ops;
    void (*on_event)(struct stream *s, unsigned events, time_ns now);
    void *owner;
};

/* > 0 bytes, 0 the other side's end (for good), -EAGAIN, other -errno. Reading stays possible after
 * stream_shutdown, and what arrived before an end is read before it. */
static inline ssize_t stream_read(struct stream *s, void *out, size_t len)
{
    return s->ops->read(s, out, len);
}

/* How many of the bytes were taken (> 0, maybe fewer than given), -EAGAIN: none was, other -errno.
 * Before STREAM_CONNECTED: -EAGAIN. What was taken is on its way, what was not may change. */
static inline ssize_t stream_write(struct stream *s, struct span bytes)
{
    return s->ops->write(s, bytes);
}

/* The same for several pieces in one go (one packet, one TLS record where possible). */
ssize_t stream_writev(struct stream *s, const struct span *parts, size_t count);

/* Where to put up to `want` bytes that are written next and alone, so that they are not copied again. Returns
 * how many may go to *at, valid until the owner returns to the loop; 0: nowhere, write as usual; -EAGAIN: no
 * room now, STREAM_WRITABLE follows. */
static inline ssize_t stream_place(struct stream *s, size_t want, uint8_t **at)
{
    return s->ops->place ? s->ops->place(s, want, at) : 0;
}

/* No more bytes from here: the other side reads what was written and then the end. */
static inline void stream_shutdown(struct stream *s)
{
    s->ops->shutdown(s);
}

/* Frees it at once; what was written is still sent where the carrier can. NULL is fine. */
void stream_close(struct stream *s);

/* The same, and the other side gets to know that this was no proper end (TCP reset, no close_notify). */
void stream_abort(struct stream *s);

static inline void stream_set_owner(struct stream *s, void *owner,
                                    void (*on_event)(struct stream *s, unsigned events, time_ns now))
{
    s->owner = owner;
    s->on_event = on_event;
}

/* Why it failed, as the end of a sentence: "connection refused", "certificate of relay.example has
 * expired". Only of use after an error or STREAM_FAILED, before stream_close. Returns out. */
#define STREAM_FAILURE_BYTES 200
const char *stream_failure(const struct stream *s, char out[STREAM_FAILURE_BYTES]);

static inline void stream_memory(const struct stream *s, enum account_part part, struct account_memory *m)
{
    if (s && s->ops->memory)
        s->ops->memory(s, part, m);
}

/* ---- sockets -------------------------------------------------------------------
 * The caller sets owner and on_event before the loop's next turn.
 */

/* One address, no time limit but the kernel's; -errno when the kernel refuses at once. */
NODISCARD int stream_tcp_connect(struct stream **out, struct ev_loop *loop, const struct ip_port *to);
NODISCARD int stream_unix_connect(struct stream **out, struct ev_loop *loop, const char *path);
/* A connected descriptor (ev_accept). It is taken over, also when this fails. */
NODISCARD int stream_tcp_accept(struct stream **out, struct ev_loop *loop, int fd);

/* ---- dialing ----------------------------------------------------------------------
 * "Connect to this host": asks for its addresses, tries them in turn, IPv6 first and then alternating,
 * the next one as soon as one fails or has kept silent for STREAM_DIAL_HEADSTART (RFC 8305); the first
 * that answers wins. The stream exists at once, so others can be stacked on it before it is connected.
 */
#define STREAM_DIAL_HEADSTART (200 * MSEC)
#define STREAM_DIAL_ATTEMPT (5 * SEC)
#define STREAM_DIAL_TIMEOUT (10 * SEC)

struct stream_dial {
    const char *host;           /* name or literal address; only read inside the call */
    const struct ip *addresses; /* used instead of asking for host, at most EV_RESOLVE_MAX; copied */
    size_t address_count;
    uint16_t port;
    time_ns attempt;    /* how long one address may take; 0: STREAM_DIAL_ATTEMPT */
    time_ns timeout;    /* everything together; 0: STREAM_DIAL_TIMEOUT */
    time_ns keep_alive; /* silence after which the connection is probed (ev_tcp_keep_alive); 0: never */
    bool without_v4, without_v6;
    const struct stream_proxies *proxies; /* may say that a proxy dials instead; NULL: none does */
    bool tls;                             /* TLS follows: which of the proxies is meant */
};

/* Fails only for want of memory; everything else comes as STREAM_FAILED. */
NODISCARD int stream_dial(struct stream **out, struct ev_loop *loop, const struct stream_dial *to);

/* ---- forward proxies ------------------------------------------------------------------
 * Where the internet is only reached through an HTTP proxy, the proxy is asked to dial ("CONNECT",
 * RFC 9110 9.3.6), by host name even when addresses are known. Settings are those of the usual
 * environment variables, read as Go programs read them: a destination on this machine is never asked for
 * at a proxy; an entry of no_proxy is "*", a host (and what is below it), ".host" (only what is below
 * it), an address or a network, each with or without ":port".
 */
#define STREAM_PROXY_HEAD_BYTES_MAX 8192 /* of the proxy's answer */
#define STREAM_NO_PROXY_MAX 256          /* entries */

struct stream_proxies; /* immutable: any thread */

/* "http://[user:password@]host[:port]", or without the scheme; NULL or "": none. All are copied. */
struct stream_proxy_settings {
    const char *for_tls, *for_plain; /* HTTPS_PROXY, HTTP_PROXY. May hold a secret */
    const char *no_proxy;
};

#define STREAM_WHY_BYTES 200
/* 0; 1: a setting cannot be used, `why` says which and what to write instead; -ENOMEM. */
NODISCARD int stream_proxies_new(struct stream_proxies **out, const struct stream_proxy_settings *settings,
                                 char why[STREAM_WHY_BYTES]);
void stream_proxies_free(struct stream_proxies *p); /* wipes passwords; NULL is fine */

/* ---- two ends in memory, for tests ---------------------------------------------------
 * Nothing moves and no event comes by itself: stream_pair_turn lets bytes arrive and delivers events,
 * so a test decides every step. No loop is needed.
 */
struct stream_pair_options {
    size_t chunk;    /* bytes that arrive in one turn, each direction; 0: all that was written */
    size_t split_at; /* first arrivals end once exactly here, each direction; 0: no such place */
    size_t room;     /* bytes under way before a write says -EAGAIN; 0: 64 KiB */
    size_t place;    /* largest answer of stream_place; 0: it has none */
};

struct stream_pair;
NODISCARD int stream_pair_new(struct stream_pair **out, const struct stream_pair_options *options);
/* End 0 or 1. Whoever owns an end closes it; the pair may be freed before or after. */
struct stream *stream_pair_end(struct stream_pair *pair, int which);
/* Arrivals and events of one turn; false when there was nothing left to happen. */
bool stream_pair_turn(struct stream_pair *pair, time_ns now);
/* Turns until nothing happens; must() after a million: two ends that never rest are a fault. */
void stream_pair_settle(struct stream_pair *pair, time_ns now);
/* The connection breaks under both ends: reads and writes say `error` (-ECONNRESET), STREAM_FAILED comes. */
void stream_pair_break(struct stream_pair *pair, int error);
/* Bytes that this end has written so far, for tests that place a split. */
size_t stream_pair_written(const struct stream_pair *pair, int which);
void stream_pair_free(struct stream_pair *pair);

#endif

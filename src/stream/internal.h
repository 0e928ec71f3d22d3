/* stream/internal.h - what tcp.c, dial.c and the proxy files share */
#ifndef MANYTAILS_STREAM_INTERNAL_H
#define MANYTAILS_STREAM_INTERNAL_H

#include "stream/stream.h"

enum tcp_state {
    TCP_DIALING,    /* dial.c works on it; there is no descriptor yet */
    TCP_CONNECTING, /* the kernel works on it */
    TCP_OPEN,
    TCP_FAILED, /* `error` says why; reads and writes say the same */
};

struct dial;

struct tcp_stream {
    struct stream base;
    struct ev_io io;
    struct dial *dial; /* only while TCP_DIALING */
    int error;
    uint8_t state;
    bool announced;    /* STREAM_CONNECTED was sent */
    bool name_unknown; /* the error is the resolver's */
};

NODISCARD int tcp_new(struct tcp_stream **out, struct ev_loop *loop);
/* dial.c reports its end, once; it has freed itself. tcp_failed and tcp_won call the owner. */
void tcp_won(struct tcp_stream *t, int fd, time_ns now);
void tcp_failed(struct tcp_stream *t, int error, time_ns now);
void dial_free(struct dial *d);

/* Addresses to a connection, without any proxy. */
NODISCARD int dial_direct(struct stream **out, struct ev_loop *loop, const struct stream_dial *to);

/* ---- forward_proxy.c: which proxy, if any ---- */

struct forward_proxy {
    char host[256];
    uint16_t port;
    char *authorization; /* "Basic ...", NULL: none. Secret */
};

/* NULL: dial directly. Borrowed from p, which may be NULL. */
const struct forward_proxy *forward_proxy_pick(const struct stream_proxies *p, const char *host,
                                               uint16_t port, bool tls);

/* ---- tunnel.c: a connection that a proxy made ---- */

NODISCARD int tunnel_dial(struct stream **out, struct ev_loop *loop, const struct stream_dial *to,
                          const struct forward_proxy *by);

#endif

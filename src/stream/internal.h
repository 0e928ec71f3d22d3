/* stream/internal.h - what tcp.c and dial.c share */
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

#endif

/* http/h2_server_internal.h - between the files h2_server*.c
 *
 *     h2_server.c            a connection's life: its session, bytes in and out, the end
 *     h2_server_limits.c     what a client may do only so often
 *     h2_server_heads.c      header blocks while they arrive
 *     h2_server_requests.c   which requests run, and what else arrives on their streams
 *     h2_server_send.c       what leaves: the queue, and whose turn it is
 *     h2_server_responses.c  responses, from the owner's side
 *     h2_server_rest.c       a session that is given back and made anew
 *
 * Whatever the owner calls ends with h2_server_settle: what nghttp2 wants to say goes to the queue, those who
 * waited have their turn, and if the connection broke its requests end.
 */
#ifndef MANYTAILS_HTTP_H2_SERVER_INTERNAL_H
#define MANYTAILS_HTTP_H2_SERVER_INTERNAL_H

#include "http/h2_memory.h"
#include "http/h2_server.h"

struct h2_stream {
    struct list link;
    struct list wait_link; /* s->waiting */
    uint32_t id;
    uint32_t unconsumed; /* handed to the owner, not yet reported as taken */
    uint32_t window;     /* what the client may send ahead */
    uint32_t taken;      /* since the window has that size */
    uint32_t served;     /* s->turn when it last sent something */
    uint32_t answer_len, answer_at;
    uint8_t *answer;
    bool announced; /* the owner knows it */
    bool complete;  /* END_STREAM came */
    bool answered;  /* the final head was submitted */
    bool ending;    /* no more bytes will come from the owner */
    bool finished;  /* our END_STREAM went to the queue */
    bool unwanted;  /* nobody takes the rest of its body */
    bool blocked;   /* waits for its own window */
    bool deferred;  /* its answer waits until the queue shrinks */
};

/* So many at once, and so many a second (both in the header). */
struct h2_bucket {
    uint32_t left;
    time_ns at;
};

/* Where in a frame the client's bytes have come to (RFC 9113 4.1). */
struct h2_boundary {
    uint32_t left; /* of the payload; at first of the preface */
    uint8_t head[9], head_len;
    bool in_block; /* CONTINUATION has to follow */
};

/* The client's side of a session that rests. */
struct h2_resting {
    uint32_t table_bytes, window_bytes, frame_bytes, list_bytes; /* its SETTINGS */
    int32_t room;                                                /* what it still takes on the connection */
};

/* A header block while it arrives. There is one at a time on a connection. */
struct h2_head_block {
    struct buf text;
    struct {
        uint32_t at, name_len, value_len;
    } fields[H2_SERVER_HEADERS_MAX];
    struct {
        uint32_t at, len;
    } pseudo[5];
    size_t count;
    bool too_big;
};

struct h2_server {
    nghttp2_session *session; /* NULL while it rests */
    const struct h2_server_ops *ops;
    void *ctx;
    struct h2_lender memory;
    uint32_t streams_max, head_bytes_max;
    bool extended_connect;

    struct list requests;
    uint32_t running;
    uint32_t last_id;           /* the latest request's */
    uint32_t extra;             /* bytes by which windows have grown */
    struct h2_head_block *head; /* NULL while no request runs */

    time_ns now; /* of the latest feed */
    struct h2_bucket resets, control;
    uint16_t continuations; /* of the current header block */

    struct buf out;
    struct list waiting; /* for the queue or the connection's window; least recently served first */
    uint32_t turn;
    uint32_t offer_id;
    struct span offer; /* inside h2_server_write: what is left of it */
    uint16_t depth;    /* inside an nghttp2 call: nothing may be sent now */
    bool serving;

    struct h2_boundary boundary;
    struct h2_resting resting; /* valid while session is NULL */
    bool greeted;              /* the client has acknowledged our SETTINGS */
    bool muted;                /* what nghttp2 says now is known to the client already */

    uint8_t fault; /* enum h2_server_fault */
    bool out_of_memory;
    bool notice_sent; /* of a shutdown */
    bool closing;     /* GOAWAY was sent or received */
};

static inline bool h2_server_broken(const struct h2_server *s)
{
    return s->fault || s->out_of_memory;
}

/* ---- h2_server.c ------------------------------------------------------------------ */

/* A session with our SETTINGS in front of all: 0 or -ENOMEM. */
NODISCARD int h2_server_open(struct h2_server *s);
/* About the connection as a whole, or about how much may be sent (then q may be there). */
void h2_server_control_frame(struct h2_server *s, struct h2_stream *q, const nghttp2_frame *frame);

/* ---- h2_server_limits.c ----------------------------------------------------------- */

void h2_server_watch_limits(nghttp2_session_callbacks *cb);
void h2_server_fill_buckets(struct h2_server *s);
/* A request that was taken back or spoiled: 0, or what a callback returns to end the connection. */
int h2_server_count_reset(struct h2_server *s);
/* We have sent a DATA frame: the client has to say something about it. */
void h2_server_count_data(struct h2_server *s);

/* ---- h2_server_heads.c ------------------------------------------------------------ */

void h2_server_watch_heads(nghttp2_session_callbacks *cb);
/* What was collected is this request's head, or stands behind its body (with_trailers). */
void h2_server_announce(struct h2_server *s, struct h2_stream *q);
void h2_server_announce_end(struct h2_server *s, struct h2_stream *q, bool with_trailers);
void h2_server_drop_head(struct h2_server *s);

/* ---- h2_server_requests.c ----------------------------------------------------------- */

void h2_server_watch_requests(nghttp2_session_callbacks *cb);
struct h2_stream *h2_stream_find(const struct h2_server *s, uint32_t id); /* NULL: none, or over */
struct h2_stream *h2_stream_add(struct h2_server *s, int32_t id);         /* NULL: no memory */
/* It is over, and the owner is not told. */
void h2_stream_forget(struct h2_server *s, struct h2_stream *q);
void h2_stream_end_all(struct h2_server *s);

/* ---- h2_server_send.c ---------------------------------------------------------------- */

void h2_server_watch_output(nghttp2_session_callbacks *cb);
/* What nghttp2 asks for the bytes of a response. */
ssize_t h2_server_read_data(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *user);
/* Moves what nghttp2 wants to send to s->out. */
void h2_server_pump(struct h2_server *s);
/* At the end of every call from outside. */
void h2_server_settle(struct h2_server *s);
/* How much may be sent now: in the queue and the connection's window, and in the stream's own. */
size_t h2_server_shared_room(const struct h2_server *s);
size_t h2_server_own_room(const struct h2_server *s, const struct h2_stream *q);
/* Its owner is told when there is room, behind all that were served less recently. */
void h2_server_wait_for_room(struct h2_server *s, struct h2_stream *q);
/* The client gave it a larger window. */
void h2_server_unblock(struct h2_server *s, struct h2_stream *q);

/* ---- h2_server_rest.c ---------------------------------------------------------------- */

/* Where in its frames the client is: only between two of them may the session go. */
void h2_server_count_frames(struct h2_boundary *b, struct span bytes);
/* There is a session afterwards. False: no memory. */
NODISCARD bool h2_server_wake(struct h2_server *s);

#endif

/* daemon/clients.h - who comes to a listener of the main thread with one question (inside daemon/)
 *
 * A client asks, gets one answer, and is gone. At most so many are there at once, each has CLIENT_TIMEOUT
 * from accept to the last byte, and what one says after its question is thrown away, up to CLIENT_BYTES_MAX.
 * A listener costs nothing while nobody asks. The admin socket and the page of metrics are made of it: what a
 * question is, and what is answered, is theirs.
 */
#ifndef MANYTAILS_DAEMON_CLIENTS_H
#define MANYTAILS_DAEMON_CLIENTS_H

#include "daemon/internal.h"

#define CLIENT_TIMEOUT (10 * SEC)
#define CLIENT_BYTES_MAX (64u << 10) /* that it may say in all */

struct clients;

/* The first member of what a listener keeps of a client. */
struct client {
    struct list link;
    struct clients *of;
    struct stream *stream;
    struct ev_timer timeout;
    size_t heard;   /* bytes */
    uint64_t id;    /* of the question to the shards; 0: none */
    size_t waiting; /* shards that have not answered */
    struct buf out; /* of the answer */
    bool asked;     /* what more it says nobody reads */
    bool answered;  /* `out` is all of it */
};

struct clients_ops {
    size_t client_bytes; /* of the whole object; it is zeroed */
    size_t max;          /* at once */
    size_t out_max;
    void (*begin)(struct client *c);
    /* Bytes arrived, and there is no question yet. True: more are needed. False: that was it, and the client
     * may be gone. */
    bool (*hear)(struct client *c, struct span bytes);
    void (*end)(struct client *c); /* what `begin` and later calls made is freed */
};

struct clients {
    struct daemon *daemon;
    const struct clients_ops *ops;
    struct ev_io io;
    int fd; /* of the listener; -1: none */
    struct list all;
    size_t count;
    uint64_t last_id;
    uint64_t cut; /* clients that were too many, too slow, or said too much */
};

void clients_init(struct clients *s, struct daemon *d, const struct clients_ops *ops);
/* Takes the listener over. 0 or -errno. */
NODISCARD int clients_open(struct clients *s, int fd);
void clients_close(struct clients *s);

/* That was its question: every shard gets a letter of this kind. */
void client_ask_shards(struct client *c, enum letter_kind kind);
/* The one whose question that was and who waits for the answer; NULL: it is gone. */
struct client *client_of_question(struct clients *s, uint64_t id);
/* What is in `out` is sent, and the client is gone when it went: do not touch it any more. */
void client_answer(struct client *c);
void client_drop(struct client *c);

#endif

/* control/gate.h - what the clients of one process share (inside control/)
 *
 * Per server: its Noise key (fetched once, also when many want it at once), how many nodes are between
 * dialling and being registered (or their first netmap, if they are already), how many nodes there are
 * (reconnects spread by it), and until when it asked not to be bothered with registrations. One server that
 * does not answer holds up nobody else's nodes.
 *
 * The gate's part is under its mutex; the shard's part (who waits) belongs to the loop's thread. A shard that
 * has somebody waiting gets a letter when something changes, at most one at a time.
 *
 * Who waits for a slot has a ticket, and the lowest of all shards goes next. The first ticket of a client is
 * its place in the configuration, so many nodes come up in the order of the file; later ones are drawn, so
 * nobody who fails and comes again passes those who wait.
 */
#ifndef MANYTAILS_CONTROL_GATE_H
#define MANYTAILS_CONTROL_GATE_H

#include "control/control.h"
#include "control/unzip.h"
#include "control/url.h"
#include "http/http.h"

#include <pthread.h>

#define GATE_SERVERS_MAX 256 /* different control URLs in one process */
#define GATE_REASON_BYTES 256
#define GATE_FEW_CLIENTS 64 /* so many may all dial at once: it is over before it matters */
#define GATE_SLOTS_FIRST 16 /* of more, so many, to begin with */
#define GATE_TICKETS_DRAWN ((uint64_t)1 << 32) /* higher than any place in a configuration */
#define SHARD_KEEPALIVE_BYTES 64 /* of a keep-alive message that is recognised without opening it */
#define SHARD_UNZIP_IDLE (30 * SEC)

/* ---- shared by all threads -------------------------------------------------------------------- */

enum gate_key_state { GATE_KEY_NONE, GATE_KEY_FETCHING, GATE_KEY_KNOWN };

struct gate_server {
    struct list link; /* in the gate */
    char url[URL_TEXT_BYTES];
    struct list shard_servers; /* one for each shard that has a client of it */
    uint64_t tickets;          /* drawn so far */
    unsigned clients, handshakes;
    unsigned slots;     /* GATE_SLOTS_FIRST to handshakes_max: for more than GATE_FEW_CLIENTS */
    time_ns quickest;   /* handshake; 0: none yet */
    unsigned newcomers; /* on their way to be registered: they wait for a slot, or have one */
    bool scouting;      /* the first map stream of all is open, and has brought nothing yet */
    bool mapped;        /* somebody has a netmap */
    unsigned news;      /* counts up when those who wait to open a stream should look again */
    enum gate_key_state key_state;
    struct public_key key;
    unsigned key_failures;               /* counts up; a waiter sees that its fetch failed */
    char key_failure[GATE_REASON_BYTES]; /* why the last fetch failed */
    time_ns registrations_after;         /* Retry-After of a 429 */
};

struct control_gate {
    pthread_mutex_t lock;
    struct list servers, shards;
    size_t server_count;
    struct list tokens; /* token.c */
    unsigned handshakes_max;
    const struct stream_proxies *proxies;
};

/* ---- one thread's --------------------------------------------------------------------------------- */

/* A server as this shard sees it: the queues of its clients. */
struct shard_server {
    struct list link;    /* in the shard */
    struct list by_gate; /* in gate->shard_servers, under the gate's lock */
    struct gate_server *gate;
    struct control_url url;
    unsigned clients;
    struct list for_slot, for_key, for_stream; /* gate_waiter; for_slot by ticket */
    unsigned news_seen;
    uint64_t lowest; /* ticket in for_slot, under the gate's lock; UINT64_MAX: nobody waits */
};

/* In a client: where it waits, whether it has a slot, and the task that goes on when its turn has come. */
struct gate_waiter {
    struct list link;
    bool slot;
    time_ns slot_since;
    uint64_t place, ticket; /* place: in the configuration, until it was the first ticket */
    bool came;
    bool newcomer; /* will register; `counted`: among the newcomers */
    bool counted, scout;
    struct ev_task *task;
};

struct control_shard {
    struct control_gate *gate;
    struct ev_loop *loop;
    struct list link; /* in the gate, under its lock */
    bool wants;       /* under the gate's lock: somebody here waits */
    bool letter_out;  /* under the gate's lock */
    struct ev_letter letter;
    struct ev_mailbox *mailbox;
    struct list servers;
    struct list for_token; /* token_waiter */
    unsigned clients;

    uint8_t scratch[H2_SCRATCH_BYTES]; /* where HTTP/2 frames are put together */
    struct unzip unzip;
    struct ev_timer unzip_timer;
    time_ns unzip_used;
    uint8_t keepalive[SHARD_KEEPALIVE_BYTES]; /* the message that was one; several nodes get the same */
    uint8_t keepalive_len;
    char os_version[65], machine[65]; /* of uname */
};

/* 0, -ENOMEM, -ENOSPC (GATE_SERVERS_MAX). */
NODISCARD int shard_server_get(struct control_shard *s, const struct control_url *url,
                               struct shard_server **out);
void shard_server_put(struct control_shard *s, struct shard_server *server);

/* A slot between dialling and being registered, or (who is already) the first netmap: true when `w` has it,
 * now or already. false: it is in the queue; its task is posted when it got one. Leaving and not waiting are
 * fine in any state. */
bool gate_enter(struct control_shard *s, struct shard_server *server, struct gate_waiter *w);
void gate_leave(struct control_shard *s, struct shard_server *server, struct gate_waiter *w);
/* Leaves, and what the slot was for is done. How long it took says how many may go at once, where there are
 * more than a few: a server that needs less than twice as long for one of many as for the quickest is far
 * away, not busy, and gets more; one that needs four times as long gets fewer. A busy headscale has no time
 * for the streams that are open, and cuts those off that do not get its messages. */
void gate_done(struct control_shard *s, struct shard_server *server, struct gate_waiter *w);
void gate_unwait(struct control_shard *s, struct shard_server *server, struct gate_waiter *w);

/* Who has just registered asks before it opens its map stream. The server tells every open stream of each
 * newcomer, so it has the least to do if all register first; and what the first one learns is of use to the
 * others. WAIT, OPEN: `w` is in the queue, its task is posted when that may have changed; gate_unwait when it
 * opens the stream. FIRST, OPEN: open it. gate_stream_over: what came of it, also of one that is no scout. */
enum gate_stream { GATE_STREAM_WAIT, GATE_STREAM_FIRST, GATE_STREAM_OPEN };
enum gate_stream gate_stream_ask(struct control_shard *s, struct shard_server *server, struct gate_waiter *w);
void gate_stream_over(struct control_shard *s, struct shard_server *server, struct gate_waiter *w,
                      bool mapped);

/* KNOWN: *key. NONE: fetch it and report with gate_key_done. FETCHING: `w` waits; when its task runs it
 * looks at gate_key_failed first. */
enum gate_key_state gate_key_get(struct control_shard *s, struct shard_server *server, struct gate_waiter *w,
                                 struct public_key *key, unsigned *failures_seen);
void gate_key_done(struct control_shard *s, struct shard_server *server, const struct public_key *key,
                   const char *failure); /* key NULL: it failed, and why; both NULL: given up, next please */
/* Since gate_key_get said FETCHING, a fetch failed: why. */
bool gate_key_failed(struct shard_server *server, struct control_shard *s, unsigned failures_seen,
                     char why[GATE_REASON_BYTES]);
/* The handshake says that this key is wrong: ask again, unless somebody did already. */
void gate_key_forget(struct control_shard *s, struct shard_server *server, const struct public_key *wrong);

unsigned gate_clients(struct control_shard *s, struct shard_server *server);
time_ns gate_registrations_after(struct control_shard *s, struct shard_server *server);
void gate_postpone_registrations(struct control_shard *s, struct shard_server *server, time_ns until);

/* Under the gate's lock: something changed that a waiter may have waited for. */
void gate_tell_waiting(struct control_gate *g);

/* A message of the map stream as JSON; as unzip_message. */
NODISCARD int shard_unzip(struct control_shard *s, struct span message, struct buf *room, struct span *out,
                          time_ns now);

#endif

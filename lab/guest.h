/* lab/guest.h - the relay's side of one relay (DERP) connection, as a machine without I/O
 *
 * The HTTP upgrade is over when it begins. Order: our key, who the client is (a box that proves its key), who
 * we are, then packets both ways. The mirror of the client in derp/derp.h, of the same parts.
 *
 * Thread: the loop's. Memory: one object; a frame that has not arrived whole; at most GUEST_QUEUE_PACKETS
 * that wait for the stream, the oldest is dropped.
 */
#ifndef MANYTAILS_LAB_GUEST_H
#define MANYTAILS_LAB_GUEST_H

#include "base/base.h"
#include "derp/derp.h"

#define GUEST_FEED_BYTES_MAX 65536
#define GUEST_QUEUE_PACKETS 64
#define GUEST_CONTROL_BYTES_MAX 4096

struct guest; /* opaque */

enum guest_outcome {
    GUEST_E_TOO_BIG = 1, /* frame longer than the protocol allows */
    GUEST_E_PROTOCOL,    /* frames out of order, short, or only for meshed relays */
    GUEST_E_KEY,         /* the client does not own the key that it names */
    GUEST_E_STUCK,       /* it does not read what we must answer */
};

enum guest_event_kind {
    GUEST_HELLO,  /* guest_key is proven */
    GUEST_PACKET, /* to, packet */
    GUEST_HOME,   /* guest_is_home changed */
};

struct guest_event {
    enum guest_event_kind kind;
    struct public_key to;
    struct span packet; /* until the next call */
};

/* Our key is pending at once. -ENOMEM. */
NODISCARD int guest_new(struct guest **out, const struct secret_key *server);
void guest_free(struct guest *g); /* NULL is fine */

/* In: at most GUEST_FEED_BYTES_MAX; then take events until there are none. 0, -ENOMEM. */
NODISCARD int guest_feed(struct guest *g, struct span bytes);
/* False: none left, or guest_error tells why the connection has to end. */
bool guest_next(struct guest *g, struct guest_event *ev);
int guest_error(const struct guest *g); /* 0, GUEST_E_*, -ENOMEM */

/* Out: a packet for this client (copied), and news about others. */
NODISCARD int guest_deliver(struct guest *g, const struct public_key *from, struct span packet); /* -ENOMEM */
void guest_tell_gone(struct guest *g, const struct public_key *peer, bool never_here);
void guest_keep_alive(struct guest *g);

size_t guest_pending(const struct guest *g, struct span *parts, size_t max);
void guest_sent(struct guest *g, size_t bytes);

const struct public_key *guest_key(const struct guest *g); /* zero before GUEST_HELLO */
bool guest_is_home(const struct guest *g);
uint64_t guest_dropped(const struct guest *g); /* packets that had to make room */

#endif

/* ev/ev.h - the event loop: the only place that talks to the kernel about the network and the clock
 *
 * One loop per thread. Everything here belongs to the loop's thread except ev_mailbox_post and
 * ev_loop_stop. Nothing ticks: the loop sleeps until a descriptor, a deadline or a letter.
 * A turn: take now, dispatch what is ready, run due timers, run posted tasks until none is left.
 * Callbacks may stop, free or start anything, also themselves.
 * A thread that runs a loop has SIGURG blocked from then on: other threads wake the loop with it.
 */
#ifndef MANYTAILS_EV_EV_H
#define MANYTAILS_EV_EV_H

#include "base/base.h"
#include "metrics/metrics.h"

#include <sys/types.h>

struct ev_loop;

/* ---- loop ------------------------------------------------------------------ */

NODISCARD int ev_loop_new(struct ev_loop **out);
void ev_loop_free(struct ev_loop *loop);         /* NULL is fine; nothing may be left on it */
NODISCARD int ev_loop_run(struct ev_loop *loop); /* until ev_loop_stop */
NODISCARD int ev_loop_turn(struct ev_loop *loop, time_ns wait_max); /* one turn, for tests */
void ev_loop_stop(struct ev_loop *loop);                            /* any thread */
time_ns ev_now(const struct ev_loop *loop);           /* CLOCK_MONOTONIC, taken when the turn began */
time_ns ev_clock(void);                               /* the same clock, read now */
int64_t ev_wall_clock(void);                          /* CLOCK_REALTIME, nanoseconds since 1970 */
uint64_t ev_loop_wakeups(const struct ev_loop *loop); /* turns that slept and woke */

/* The machine slept, or stood still: CLOCK_BOOTTIME or the wall clock ran on while CLOCK_MONOTONIC did not.
 * Noticed when the loop next wakes for whatever reason; no timer waits for it. `slept`: how long, about.
 * fn NULL: nobody is told. */
#define EV_SLEEP_MIN (2 * SEC)      /* by CLOCK_BOOTTIME */
#define EV_WALL_JUMP_MIN (30 * SEC) /* a smaller one is somebody who set the clock right */
void ev_loop_watch_sleep(struct ev_loop *loop, void (*fn)(void *owner, time_ns slept, time_ns now),
                         void *owner);

/* ---- timers -----------------------------------------------------------------
 * Embedded in their owner; resolution 1 ms, rounded up. Setting again moves it. Fires once.
 */
struct ev_timer {
    struct list link;
    struct ev_loop *loop;
    void (*fn)(struct ev_timer *timer, time_ns now);
    time_ns at;
    account_charge charge; /* who set it pays for it */
};

void ev_timer_init(struct ev_timer *t, struct ev_loop *loop, void (*fn)(struct ev_timer *, time_ns now));
void ev_timer_set(struct ev_timer *t, time_ns at); /* TIME_NEVER stops it; the past means next turn */
void ev_timer_stop(struct ev_timer *t);            /* also when it is not running or was only zeroed */
static inline bool ev_timer_running(const struct ev_timer *t)
{
    return list_linked(&t->link);
}

/* ---- tasks ------------------------------------------------------------------
 * "Do this before the loop sleeps again": how callbacks record work and do it in batches.
 * Posting a posted task does nothing.
 */
struct ev_task {
    struct list link;
    struct ev_loop *loop;
    void (*fn)(struct ev_task *task, time_ns now);
    account_charge charge; /* who posted it first pays for it */
};

void ev_task_init(struct ev_task *t, struct ev_loop *loop, void (*fn)(struct ev_task *, time_ns now));
void ev_task_post(struct ev_task *t);
void ev_task_cancel(struct ev_task *t);

/* ---- descriptors ------------------------------------------------------------ */

#define EV_READ 1u
#define EV_WRITE 2u

/* Embedded in its owner. Edge triggered: after a call that said EAGAIN the next edge comes. */
struct ev_io {
    struct ev_loop *loop;
    void (*fn)(struct ev_io *io, unsigned events, time_ns now);
    int fd; /* -1 while not started; never closed here */
    uint32_t slot;
    account_charge charge; /* who started it pays for what it brings */
};

void ev_io_init(struct ev_io *io, struct ev_loop *loop,
                void (*fn)(struct ev_io *, unsigned events, time_ns now));
NODISCARD int ev_io_start(struct ev_io *io, int fd); /* EV_READ and EV_WRITE edges, both always */
/* EV_READ edges only: for descriptors on which nobody ever waits to write (UDP, netlink, inotify, listeners),
 * because each packet that left them would otherwise wake the loop. */
NODISCARD int ev_io_start_reader(struct ev_io *io, int fd);
void ev_io_stop(struct ev_io *io); /* no event of this descriptor comes any more */

/* ---- TCP and Unix sockets ----------------------------------------------------- */

/* Non-blocking descriptor, connection under way: writable or failed later (ev_socket_error). */
NODISCARD int ev_tcp_connect(const struct ip_port *to, int *fd);
/* The kernel probes after this much silence, and gives the connection up when three probes, a third of that
 * apart, go unanswered. */
void ev_tcp_keep_alive(int fd, time_ns silence);
NODISCARD int ev_unix_connect(const char *path, int *fd);
NODISCARD int ev_unix_listen(const char *path, int *fd); /* mode 0600; replaces a dead socket file */
/* One datagram to a Unix socket, "@name" being an abstract one; no descriptor stays open. */
NODISCARD int ev_unix_tell(const char *path, struct span text);
NODISCARD int ev_accept(int listener, int *fd); /* -EAGAIN: none waits */
int ev_socket_error(int fd);                    /* 0 or -errno of the connection attempt */
/* > 0 bytes, 0 end of stream, -EAGAIN, other -errno. EINTR is retried. */
ssize_t ev_read(int fd, void *out, size_t len);
ssize_t ev_write(int fd, struct span bytes);
ssize_t ev_writev(int fd, const struct span *parts, size_t count); /* at most 64 parts */
int ev_shutdown_write(int fd);
void ev_close(int *fd); /* -1 is fine; sets -1 */
void ev_reset(int *fd); /* the same, and a TCP peer reads a reset instead of an end */

/* A listener (for ev_accept) or a datagram socket on one address. Port 0: the kernel chooses; *port is what
 * it is. Both are read with ev_io_start_reader. */
NODISCARD int ev_tcp_listen(const struct ip_port *at, int *fd, uint16_t *port);
NODISCARD int ev_udp_listen(const struct ip_port *at, int *fd, uint16_t *port);
/* One datagram, cut to `len`; -EAGAIN: none waits. For servers that answer now and then; traffic goes through
 * ev_udp below. */
ssize_t ev_receive_from(int fd, void *out, size_t len, struct ip_port *from);
NODISCARD int ev_send_to(int fd, const struct ip_port *to, struct span bytes);

/* ---- UDP ---------------------------------------------------------------------
 * One socket for both families, on one port. Receives with recvmmsg and UDP_GRO into a shared slab, sends
 * with UDP_SEGMENT; falls back by itself where the kernel cannot.
 */
#define EV_UDP_BATCH_MAX 128 /* datagrams handed up in one call */
#define EV_UDP_GSO_BYTES_MAX 65000
#define EV_UDP_GSO_SEGMENTS_MAX 49

struct ev_datagram {
    struct mspan bytes; /* until the callback returns; may be changed in place */
    struct ip_port from;
};

struct ev_udp;
typedef void ev_udp_fn(void *owner, struct ev_datagram *datagrams, size_t count, time_ns now);

/* port 0: the kernel chooses. A host without IPv6 is no error; -EADDRINUSE: the port is taken in one of the
 * families. */
NODISCARD int ev_udp_open(struct ev_udp **out, struct ev_loop *loop, uint16_t port, ev_udp_fn *fn,
                          void *owner);
void ev_udp_close(struct ev_udp *u);
uint16_t ev_udp_port(const struct ev_udp *u, bool v4); /* 0: that family is not there */
/* A fresh socket in place of the old one, on its port if that is free. What waited in the old one is lost.
 * -errno: there is no socket now; call it again later. */
NODISCARD int ev_udp_rebind(struct ev_udp *u);
/* `bytes` holds datagrams of `segment` bytes each, the last may be shorter: one call, one system call.
 * 0; -EAGAIN: dropped, the socket is full; other -errno of the kernel (EHOSTUNREACH, EPERM, EMSGSIZE). */
NODISCARD int ev_udp_send(struct ev_udp *u, const struct ip_port *to, struct span bytes, size_t segment);

/* ---- mailboxes ---------------------------------------------------------------
 * How threads talk. A letter is owned by the mailbox from post until fn gets it.
 */
struct ev_letter {
    struct list link;
};

struct ev_mailbox;
NODISCARD int ev_mailbox_new(struct ev_mailbox **out, struct ev_loop *loop,
                             void (*fn)(void *owner, struct ev_letter *letter, time_ns now), void *owner);
void ev_mailbox_free(struct ev_mailbox *m); /* letters not yet read are handed to fn first */
void ev_mailbox_post(struct ev_mailbox *m, struct ev_letter *letter); /* any thread; never blocks long */

/* ---- names ------------------------------------------------------------------- */

#define EV_RESOLVE_MAX 8

struct ev_resolve; /* one question */
/* Literal addresses are answered too. status 0 and count > 0, or -errno. Called from the loop, once. */
typedef void ev_resolve_fn(void *owner, int status, const struct ip *addresses, size_t count);
NODISCARD int ev_resolve_start(struct ev_resolve **out, struct ev_loop *loop, const char *name,
                               ev_resolve_fn *fn, void *owner);
void ev_resolve_cancel(struct ev_resolve *r); /* fn is not called any more; NULL is fine */

/* ---- folders ------------------------------------------------------------------
 * For files that are replaced while we run: their folders are watched, since a rename puts another file in
 * place. One inotify descriptor a watcher.
 */
#define EV_WATCH_ALL (-1)

struct ev_watch;
/* In the folder with this id something of this name came, went or was written. name "": the folder itself was
 * moved or removed. EV_WATCH_ALL: events were lost, anything may have changed. May add and remove folders,
 * not free the watcher. */
typedef void ev_watch_fn(void *owner, int id, const char *name);
NODISCARD int ev_watch_new(struct ev_watch **out, struct ev_loop *loop, ev_watch_fn *fn, void *owner);
void ev_watch_free(struct ev_watch *w); /* NULL is fine */
/* The same folder gets the same id. -ENOTDIR, -ENOENT, -EACCES, -ENOSPC (the kernel's limit for the user). */
NODISCARD int ev_watch_add(struct ev_watch *w, const char *folder, int *id);
void ev_watch_remove(struct ev_watch *w, int id);

/* ---- signals ------------------------------------------------------------------ */

/* Signals arrive as calls on this loop, several of one number at once as one. Call it before any thread is
 * started, and not from inside the loop. */
NODISCARD int ev_signals_start(struct ev_loop *loop, const int *signals, size_t count,
                               void (*fn)(void *owner, int signal), void *owner);
void ev_signals_stop(struct ev_loop *loop);

#endif

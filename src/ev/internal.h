/* ev/internal.h - what the files of ev/ share; nobody else includes it */
#ifndef MANYTAILS_EV_INTERNAL_H
#define MANYTAILS_EV_INTERNAL_H

#include "ev/ev.h"

#include <signal.h>
#include <stdatomic.h>

/* ---- timer wheel (wheel.c) ---------------------------------------------------
 * Four levels of 256 slots; a slot of level n is 256^n milliseconds wide. What is farther than
 * 256^4 ms (49 days) waits in the last slot and is sorted in again when it comes round.
 */
#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 256

struct wheel {
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS][WHEEL_SLOTS / 64];
    uint64_t tick; /* milliseconds handled so far */
};

void wheel_init(struct wheel *w, time_ns now);
void wheel_add(struct wheel *w, struct list *link, time_ns at);
void wheel_remove(struct wheel *w, struct list *link);
/* The first deadline (within 49 days), so the loop sleeps until then and not less; TIME_NEVER if nothing
 * waits. */
time_ns wheel_next(struct wheel *w);
/* Moves what is due at `now` to `due`, in order of slots. */
void wheel_advance(struct wheel *w, time_ns now, struct list *due);

/* ---- loop ---------------------------------------------------------------------- */

struct ev_resolver;
struct ev_signal_watch;

struct io_slot {
    struct ev_io *io;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
};

struct ev_loop {
    int epoll_fd;
    struct {
        atomic_int state;      /* enum wake_state */
        pid_t process, thread; /* who runs the loop */
        sigset_t mask;         /* while it waits */
    } wake;
    time_ns now;
    _Atomic bool stopping;
    struct wheel wheel;
    struct list due;
    struct list tasks;
    struct io_slot *slots;
    uint32_t slot_count, slot_free; /* free: index + 1 */
    struct list mailboxes;
    uint64_t wakeups;
    struct ev_resolver *resolver; /* made by the first question */
    struct ev_signal_watch *signals;
    struct {
        void (*fn)(void *owner, time_ns slept, time_ns now); /* NULL: nobody watches */
        void *owner;
        time_ns boot_ahead, wall_ahead; /* of CLOCK_MONOTONIC, when looked at last */
    } sleep;
};

/* wake.c: other threads */
NODISCARD int wake_init(void);
void wake_claim(struct ev_loop *loop);      /* this thread runs the loop from now on */
bool wake_may_wait(struct ev_loop *loop);   /* false: somebody called meanwhile */
bool wake_was_called(struct ev_loop *loop); /* the wait is over: are there letters? */
void loop_wake(struct ev_loop *loop);       /* any thread */
/* signals.c: only if loop->signals */
void signals_claim(struct ev_loop *loop);
void signals_tell(struct ev_loop *loop, bool busy); /* busy: the wait brought something else */
/* A descriptor of our own that only brings something: made just now (-1: errno says why it was not), read by
 * the loop. 0 or -errno, and then it is closed. */
NODISCARD int io_open(struct ev_io *io, struct ev_loop *loop,
                      void (*fn)(struct ev_io *, unsigned events, time_ns now), int fd);
void io_close(struct ev_io *io);
void mailboxes_drain(struct ev_loop *loop);
void resolver_free(struct ev_resolver *r);

#endif

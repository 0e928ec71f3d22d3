#include "ev/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#define EVENTS_PER_WAIT 128

time_ns ev_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (time_ns)t.tv_sec * SEC + t.tv_nsec;
}

int64_t ev_wall_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * SEC + t.tv_nsec;
}

static time_ns boot_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (time_ns)t.tv_sec * SEC + t.tv_nsec;
}

time_ns ev_now(const struct ev_loop *loop)
{
    return loop->now;
}

uint64_t ev_loop_wakeups(const struct ev_loop *loop)
{
    return loop->wakeups;
}

/* ---- life ------------------------------------------------------------------- */

int ev_loop_new(struct ev_loop **out)
{
    struct ev_loop *loop = calloc(1, sizeof(*loop));
    int r;

    if (!loop)
        return -ENOMEM;
    loop->now = ev_clock();
    wheel_init(&loop->wheel, loop->now);
    list_init(&loop->due);
    list_init(&loop->tasks);
    list_init(&loop->mailboxes);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    r = loop->epoll_fd < 0 ? -errno : wake_init();
    if (r) {
        ev_loop_free(loop);
        return err_trace(r);
    }
    *out = loop;
    return 0;
}

void ev_loop_free(struct ev_loop *loop)
{
    if (!loop)
        return;
    resolver_free(loop->resolver);
    ev_signals_stop(loop);
    ev_close(&loop->epoll_fd);
    free(loop->slots);
    free(loop);
}

void ev_loop_stop(struct ev_loop *loop)
{
    atomic_store(&loop->stopping, true);
    loop_wake(loop);
}

/* ---- timers and tasks --------------------------------------------------------- */

void ev_timer_init(struct ev_timer *t, struct ev_loop *loop, void (*fn)(struct ev_timer *, time_ns))
{
    *t = (struct ev_timer) { .loop = loop, .fn = fn, .at = TIME_NEVER };
}

void ev_timer_set(struct ev_timer *t, time_ns at)
{
    if (ev_timer_running(t) && t->at == at)
        return;
    ev_timer_stop(t);
    t->at = at;
    t->charge = accounts.charge;
    if (at != TIME_NEVER)
        wheel_add(&t->loop->wheel, &t->link, at);
}

void ev_timer_stop(struct ev_timer *t)
{
    list_remove(&t->link);
    t->at = TIME_NEVER;
}

void ev_task_init(struct ev_task *t, struct ev_loop *loop, void (*fn)(struct ev_task *, time_ns))
{
    *t = (struct ev_task) { .loop = loop, .fn = fn };
}

void ev_task_post(struct ev_task *t)
{
    if (list_linked(&t->link))
        return;
    t->charge = accounts.charge;
    list_push_back(&t->loop->tasks, &t->link);
}

void ev_task_cancel(struct ev_task *t)
{
    list_remove(&t->link);
}

static void run_timers(struct ev_loop *loop)
{
    wheel_advance(&loop->wheel, loop->now, &loop->due);
    for (struct list *link; (link = list_pop_front(&loop->due));) {
        struct ev_timer *t = LIST_ENTRY(link, struct ev_timer, link);

        t->at = TIME_NEVER;
        account_switch(t->charge);
        t->fn(t, loop->now);
    }
}

static void run_tasks(struct ev_loop *loop)
{
    for (struct list *link; (link = list_pop_front(&loop->tasks));) {
        struct ev_task *t = LIST_ENTRY(link, struct ev_task, link);

        account_switch(t->charge);
        t->fn(t, loop->now);
    }
}

/* ---- descriptors ---------------------------------------------------------------- */

void ev_io_init(struct ev_io *io, struct ev_loop *loop, void (*fn)(struct ev_io *, unsigned, time_ns))
{
    *io = (struct ev_io) { .loop = loop, .fn = fn, .fd = -1 };
}

static int slots_grow(struct ev_loop *loop)
{
    uint32_t count = loop->slot_count ? loop->slot_count * 2 : 16;
    struct io_slot *slots = realloc(loop->slots, count * sizeof(*slots));

    if (!slots)
        return -ENOMEM;
    loop->slots = slots;
    for (uint32_t i = count; i-- > loop->slot_count;) {
        slots[i] = (struct io_slot) { .next_free = loop->slot_free };
        loop->slot_free = i + 1;
    }
    loop->slot_count = count;
    return 0;
}

static int io_start(struct ev_io *io, int fd, uint32_t edges)
{
    struct ev_loop *loop = io->loop;
    struct epoll_event event = { .events = edges | EPOLLRDHUP | EPOLLET };
    struct io_slot *slot;

    must(io->fd < 0);
    if (!loop->slot_free) {
        int r = slots_grow(loop);

        if (r)
            return r;
    }
    /* The kernel's event names slot and generation: one that is late for a stopped io finds nobody. */
    io->slot = loop->slot_free - 1;
    slot = &loop->slots[io->slot];
    event.data.u64 = (uint64_t)slot->generation << 32 | io->slot;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    loop->slot_free = slot->next_free;
    slot->io = io;
    io->fd = fd;
    io->charge = accounts.charge;
    return 0;
}

int ev_io_start(struct ev_io *io, int fd)
{
    return io_start(io, fd, EPOLLIN | EPOLLOUT);
}

int ev_io_start_reader(struct ev_io *io, int fd)
{
    return io_start(io, fd, EPOLLIN);
}

void ev_io_stop(struct ev_io *io)
{
    struct io_slot *slot;

    if (io->fd < 0 || !io->loop)
        return;
    epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    slot = &io->loop->slots[io->slot];
    slot->io = NULL;
    slot->generation++;
    slot->next_free = io->loop->slot_free;
    io->loop->slot_free = io->slot + 1;
    io->fd = -1;
}

int io_open(struct ev_io *io, struct ev_loop *loop, void (*fn)(struct ev_io *, unsigned events, time_ns now),
            int fd)
{
    int r;

    if (fd < 0)
        return -errno;
    ev_io_init(io, loop, fn);
    r = ev_io_start_reader(io, fd);
    if (r)
        ev_close(&fd);
    return r;
}

void io_close(struct ev_io *io)
{
    int fd = io->fd;

    ev_io_stop(io);
    ev_close(&fd);
}

static void dispatch(struct ev_loop *loop, const struct epoll_event *event)
{
    struct io_slot *slot = &loop->slots[(uint32_t)event->data.u64];
    unsigned events = 0;

    if (!slot->io || slot->generation != (uint32_t)(event->data.u64 >> 32))
        return;
    if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        events |= EV_READ;
    if (event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        events |= EV_WRITE;
    account_switch(slot->io->charge);
    slot->io->fn(slot->io, events, loop->now);
}

/* ---- sleep of the machine ---------------------------------------------------------- */

void ev_loop_watch_sleep(struct ev_loop *loop, void (*fn)(void *owner, time_ns slept, time_ns now),
                         void *owner)
{
    loop->sleep.fn = fn;
    loop->sleep.owner = owner;
    loop->sleep.boot_ahead = boot_clock() - ev_clock();
    loop->sleep.wall_ahead = ev_wall_clock() - ev_clock();
}

static void look_for_sleep(struct ev_loop *loop)
{
    time_ns boot = boot_clock() - loop->now - loop->sleep.boot_ahead;
    time_ns wall = ev_wall_clock() - loop->now - loop->sleep.wall_ahead;
    bool slept = boot >= EV_SLEEP_MIN || wall >= EV_WALL_JUMP_MIN;

    loop->sleep.boot_ahead += boot;
    loop->sleep.wall_ahead += wall;
    if (slept)
        loop->sleep.fn(loop->sleep.owner, MAX(boot, wall), loop->now);
}

/* ---- turn ---------------------------------------------------------------------- */

static int wait_ms(struct ev_loop *loop, time_ns wait_max)
{
    time_ns wait = wheel_next(&loop->wheel);

    if (wait != TIME_NEVER) {
        wait -= ev_clock();
        wait = MAX(wait, (time_ns)0); /* below 0 epoll_wait would sleep for ever */
    }
    wait = MIN(wait, wait_max);
    if (wait == TIME_NEVER)
        return -1;
    return (int)MIN((wait + MSEC - 1) / MSEC, (time_ns)INT32_MAX);
}

static int turn(struct ev_loop *loop, time_ns wait_max)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int count, timeout;

    run_tasks(loop); /* posted outside a turn */
    timeout = wait_ms(loop, wait_max);
    if (timeout && !wake_may_wait(loop))
        timeout = 0;
    account_asleep();
    count = epoll_pwait(loop->epoll_fd, events, EVENTS_PER_WAIT, timeout, &loop->wake.mask);
    if (count < 0 && errno != EINTR)
        return err_trace(-errno);
    loop->wakeups += timeout != 0;
    account_awake(timeout != 0);
    loop->now = ev_clock();
    if (timeout && loop->sleep.fn)
        look_for_sleep(loop);
    if (wake_was_called(loop))
        mailboxes_drain(loop);
    if (loop->signals)
        signals_tell(loop, count > 0);
    for (int i = 0; i < count; i++)
        dispatch(loop, &events[i]);
    run_timers(loop);
    run_tasks(loop);
    return 0;
}

static void claim(struct ev_loop *loop)
{
    wake_claim(loop);
    signals_claim(loop);
}

int ev_loop_turn(struct ev_loop *loop, time_ns wait_max)
{
    claim(loop);
    return turn(loop, wait_max);
}

int ev_loop_run(struct ev_loop *loop)
{
    claim(loop);
    while (!atomic_load(&loop->stopping)) {
        int r = turn(loop, TIME_NEVER);

        if (r)
            return r;
    }
    atomic_store(&loop->stopping, false);
    return 0;
}

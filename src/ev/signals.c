#include "ev/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct ev_signal_watch {
    struct ev_io io;
    void (*fn)(void *owner, int signal);
    void *owner;
};

static void on_signal(struct ev_io *io, unsigned events, time_ns now)
{
    struct ev_signal_watch *w = CONTAINER_OF(io, struct ev_signal_watch, io);
    struct signalfd_siginfo info;

    (void)events;
    (void)now;
    while (io->fd >= 0 && read(io->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        w->fn(w->owner, (int)info.ssi_signo);
}

int ev_signals_start(struct ev_loop *loop, const int *signals, size_t count,
                     void (*fn)(void *owner, int signal), void *owner)
{
    struct ev_signal_watch *w = calloc(1, sizeof(*w));
    sigset_t set;
    int r;

    if (!w)
        return -ENOMEM;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    w->fn = fn;
    w->owner = owner;
    r = io_open(&w->io, loop, on_signal, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (r)
        free(w);
    else
        loop->signals = w;
    return r;
}

void ev_signals_stop(struct ev_loop *loop)
{
    struct ev_signal_watch *w = loop->signals;

    if (!w)
        return;
    io_close(&w->io);
    free(w);
    loop->signals = NULL;
}

/* ev/signals.c - signals of the process, as calls on the loop
 *
 * They are blocked in every thread, and let in only where this loop's thread waits: no system call elsewhere
 * is interrupted, and the handler meets nothing half done. It notes; the turn that follows tells.
 */
#include "ev/internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct ev_signal_watch {
    sigset_t set;
    volatile sig_atomic_t any, raised[NSIG];
    void (*fn)(void *owner, int signal);
    void *owner;
};

/* A handler has no argument of ours: what the loop that this thread runs watches. */
static _Thread_local struct ev_signal_watch *watching;

static void on_signal(int signal)
{
    if (!watching)
        return;
    watching->raised[signal] = 1;
    watching->any = 1;
}

void signals_claim(struct ev_loop *loop)
{
    watching = loop->signals;
    for (int i = 1; watching && i < NSIG; i++)
        if (sigismember(&watching->set, i) == 1)
            sigdelset(&loop->wake.mask, i);
}

void signals_tell(struct ev_loop *loop, bool busy)
{
    struct ev_signal_watch *w = loop->signals;

    /* The kernel prefers descriptors that are ready to signals that wait: without this look in between a loop
     * that always has work would never hear one. */
    if (busy)
        ppoll(NULL, 0, &(struct timespec) { 0 }, &loop->wake.mask);
    if (!w->any)
        return;
    w->any = 0;
    for (int i = 1; i < NSIG && loop->signals == w; i++)
        if (w->raised[i]) {
            w->raised[i] = 0;
            w->fn(w->owner, i);
        }
}

static int handle_with(const sigset_t *set, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

    for (int i = 1; i < NSIG; i++)
        if (sigismember(set, i) == 1 && sigaction(i, &action, NULL) < 0)
            return -errno;
    return 0;
}

int ev_signals_start(struct ev_loop *loop, const int *signals, size_t count,
                     void (*fn)(void *owner, int signal), void *owner)
{
    struct ev_signal_watch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    sigemptyset(&w->set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&w->set, signals[i]);
    w->fn = fn;
    w->owner = owner;
    pthread_sigmask(SIG_BLOCK, &w->set, NULL);
    r = handle_with(&w->set, on_signal);
    if (r) {
        free(w);
        return err_trace(r);
    }
    loop->signals = w;
    return 0;
}

/* They stay blocked: what comes now comes to nobody. */
void ev_signals_stop(struct ev_loop *loop)
{
    if (!loop->signals)
        return;
    if (watching == loop->signals)
        watching = NULL;
    free(loop->signals);
    loop->signals = NULL;
}

/* ev/wake.c - how another thread wakes a loop that waits: a signal to its thread, no descriptor
 *
 * The signal is blocked except while the loop waits, so it ends that wait and nothing else, and one that
 * comes a moment too early is kept by the kernel until the wait begins. Only a loop that waits gets one: for
 * a loop at work the word in `state` is enough, it looks there before it waits. docs/decisions/waking.md
 */
#include "ev/internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* Ignored unless somebody handles it, and debuggers let it pass without a word. */
#define WAKE_SIGNAL SIGURG

enum wake_state {
    AWAKE,   /* at work, or between two turns */
    WAITING, /* who calls has to signal */
    CALLED,  /* there are letters, or it shall stop */
};

static void on_wake(int signal)
{
    (void)signal; /* the wait has ended, and that is all */
}

int wake_init(void)
{
    struct sigaction action = { .sa_handler = on_wake, .sa_flags = SA_RESTART };

    return sigaction(WAKE_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

void wake_claim(struct ev_loop *loop)
{
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, WAKE_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &ours, &loop->wake.mask);
    sigdelset(&loop->wake.mask, WAKE_SIGNAL);
    loop->wake.process = getpid();
    loop->wake.thread = gettid();
}

bool wake_may_wait(struct ev_loop *loop)
{
    int state = AWAKE;

    return atomic_compare_exchange_strong(&loop->wake.state, &state, WAITING);
}

bool wake_was_called(struct ev_loop *loop)
{
    return atomic_exchange(&loop->wake.state, AWAKE) == CALLED;
}

/* A thread that has ended meanwhile needs no signal, nor does another one mind it. */
void loop_wake(struct ev_loop *loop)
{
    if (atomic_exchange(&loop->wake.state, CALLED) == WAITING)
        (void)tgkill(loop->wake.process, loop->wake.thread, WAKE_SIGNAL);
}

/* Folders in which files come, go and change: one inotify descriptor for each watcher */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "ev/internal.h"

struct ev_watch {
    struct ev_io io;
    ev_watch_fn *fn;
    void *owner;
};

#define CHANGES                                                                                             \
    (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | \
     IN_ONLYDIR)

/* An event without a name is about the folder itself; one without a folder says that events were lost. */
static void tell(struct ev_watch *w, const struct inotify_event *e)
{
    if (e->mask & IN_IGNORED)
        return; /* the answer to our own removal, or after DELETE_SELF */
    if (e->mask & IN_Q_OVERFLOW)
        w->fn(w->owner, EV_WATCH_ALL, "");
    else
        w->fn(w->owner, e->wd, e->len ? e->name : "");
}

static void on_readable(struct ev_io *io, unsigned events, time_ns now)
{
    struct ev_watch *w = CONTAINER_OF(io, struct ev_watch, io);
    union {
        struct inotify_event aligned;
        char bytes[4096]; /* at least sizeof(event) + NAME_MAX + 1 */
    } room;
    ssize_t n;

    (void)events;
    (void)now;
    while ((n = read(io->fd, room.bytes, sizeof(room.bytes))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(room.bytes + at);

            at += (ssize_t)(sizeof(*e) + e->len);
            tell(w, e);
        }
}

int ev_watch_new(struct ev_watch **out, struct ev_loop *loop, ev_watch_fn *fn, void *owner)
{
    struct ev_watch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    w->fn = fn;
    w->owner = owner;
    r = io_open(&w->io, loop, on_readable, inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (r)
        free(w);
    else
        *out = w;
    return r;
}

void ev_watch_free(struct ev_watch *w)
{
    if (!w)
        return;
    io_close(&w->io);
    free(w);
}

int ev_watch_add(struct ev_watch *w, const char *folder, int *id)
{
    *id = inotify_add_watch(w->io.fd, folder, CHANGES);
    return *id < 0 ? -errno : 0;
}

void ev_watch_remove(struct ev_watch *w, int id)
{
    (void)inotify_rm_watch(w->io.fd, id); /* it fails if the folder has gone, which is as good */
}

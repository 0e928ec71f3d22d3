/* ev/resolve.c - names to addresses through c-ares, on the loop
 *
 * One channel per loop, made by the first question, so a process that only knows addresses has none.
 */
#include "ev/internal.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>

#include "ev/sockaddr.h"

#define RESOLVE_TIMEOUT_MS 3000
#define RESOLVE_TRIES 2
#define SOCKETS_MAX 16

struct resolver_socket {
    struct ev_io io;
    struct ev_resolver *resolver;
};

struct ev_resolver {
    struct ev_loop *loop;
    ares_channel channel;
    struct ev_timer timer;
    struct ev_task done; /* hands out answers: never from inside a call of the asker */
    struct list answered;
    struct resolver_socket sockets[SOCKETS_MAX];
};

struct ev_resolve {
    struct list link; /* in answered */
    struct ev_resolver *resolver;
    ev_resolve_fn *fn; /* NULL: cancelled */
    void *owner;
    bool pending; /* c-ares still holds it */
    int status;
    size_t count;
    struct ip addresses[EV_RESOLVE_MAX];
};

static void rearm(struct ev_resolver *r)
{
    struct timeval room;
    struct timeval *next = ares_timeout(r->channel, NULL, &room);

    ev_timer_set(&r->timer, next ? ev_clock() + (time_ns)next->tv_sec * SEC + (time_ns)next->tv_usec * USEC
                                 : TIME_NEVER);
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct ev_resolver *r = CONTAINER_OF(t, struct ev_resolver, timer);

    (void)now;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(r);
}

static void on_socket(struct ev_io *io, unsigned events, time_ns now)
{
    struct resolver_socket *s = CONTAINER_OF(io, struct resolver_socket, io);
    struct ev_resolver *r = s->resolver;
    int fd = io->fd;

    (void)now;
    ares_process_fd(r->channel, events & EV_READ ? fd : ARES_SOCKET_BAD,
                    events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    rearm(r);
}

/* c-ares tells which of its sockets it waits for. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct ev_resolver *r = data;
    struct resolver_socket *unused = NULL;

    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        struct resolver_socket *s = &r->sockets[i];

        if (s->io.fd == fd) {
            if (!readable && !writable)
                ev_io_stop(&s->io);
            return;
        }
        if (s->io.fd < 0)
            unused = s;
    }
    if ((readable || writable) && unused && ev_io_start(&unused->io, fd))
        log_warn(NULL, "resolver: a socket could not be watched; the question will time out");
}

static void on_done(struct ev_task *task, time_ns now)
{
    struct ev_resolver *r = CONTAINER_OF(task, struct ev_resolver, done);

    (void)now;
    for (struct list *link; (link = list_pop_front(&r->answered));) {
        struct ev_resolve *q = LIST_ENTRY(link, struct ev_resolve, link);

        if (q->fn)
            q->fn(q->owner, q->status, q->addresses, q->count);
        free(q);
    }
}

static void answer(struct ev_resolve *q)
{
    q->pending = false;
    list_push_back(&q->resolver->answered, &q->link);
    ev_task_post(&q->resolver->done);
}

static int errno_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return -ENOENT;
    case ARES_ENOMEM:
        return -ENOMEM;
    case ARES_ETIMEOUT:
        return -ETIMEDOUT;
    case ARES_ECONNREFUSED:
        return -EHOSTUNREACH;
    default:
        return -EIO;
    }
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
    struct ev_resolve *q = arg;

    (void)timeouts;
    q->status = errno_of(status);
    for (struct ares_addrinfo_node *n = result ? result->nodes : NULL; n && q->count < EV_RESOLVE_MAX;
         n = n->ai_next) {
        struct sockaddr_storage ss;
        struct ip_port address;

        memcpy(&ss, n->ai_addr, MIN((size_t)n->ai_addrlen, sizeof(ss)));
        sockaddr_to(&ss, &address);
        q->addresses[q->count++] = address.ip;
    }
    if (result)
        ares_freeaddrinfo(result);
    if (!q->status && !q->count)
        q->status = -ENOENT;
    answer(q);
}

static void library_init(void)
{
    ares_library_init(ARES_LIB_INIT_ALL);
}

static int resolver_new(struct ev_loop *loop)
{
    /* The library wants to be told once per process; everything else is per loop. */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct ev_resolver *r = calloc(1, sizeof(*r));
    struct ares_options options = { .timeout = RESOLVE_TIMEOUT_MS,
                                    .tries = RESOLVE_TRIES,
                                    .sock_state_cb = on_socket_state };

    if (!r)
        return -ENOMEM;
    pthread_once(&once, library_init);
    options.sock_state_cb_data = r;
    r->loop = loop;
    list_init(&r->answered);
    ev_timer_init(&r->timer, loop, on_timer);
    ev_task_init(&r->done, loop, on_done);
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        ev_io_init(&r->sockets[i].io, loop, on_socket);
        r->sockets[i].resolver = r;
    }
    if (ares_init_options(&r->channel, &options,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
        free(r);
        return -EIO;
    }
    loop->resolver = r;
    return 0;
}

void resolver_free(struct ev_resolver *r)
{
    if (!r)
        return;
    ares_destroy(r->channel); /* calls back everything that is pending */
    on_done(&r->done, 0);
    ev_task_cancel(&r->done);
    ev_timer_stop(&r->timer);
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        ev_io_stop(&r->sockets[i].io);
    free(r);
}

int ev_resolve_start(struct ev_resolve **out, struct ev_loop *loop, const char *name, ev_resolve_fn *fn,
                     void *owner)
{
    struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT };
    struct ev_resolve *q;
    int r;

    if (!loop->resolver) {
        r = resolver_new(loop);
        if (r)
            return err_trace(r);
    }
    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    *q = (struct ev_resolve) { .resolver = loop->resolver, .fn = fn, .owner = owner, .pending = true };
    *out = q;
    if (ip_parse(span_from_str(name), &q->addresses[0])) {
        q->count = 1;
        answer(q);
        return 0;
    }
    ares_getaddrinfo(loop->resolver->channel, name, NULL, &hints, on_addrinfo, q);
    rearm(loop->resolver);
    return 0;
}

void ev_resolve_cancel(struct ev_resolve *q)
{
    if (q)
        q->fn = NULL; /* freed when c-ares lets go of it */
}

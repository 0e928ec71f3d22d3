#include "ev/internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct ev_mailbox {
    struct list link; /* in the loop */
    struct ev_loop *loop;
    void (*fn)(void *owner, struct ev_letter *letter, time_ns now);
    void *owner;
    pthread_mutex_t lock; /* held for a list operation, never longer */
    struct list letters;
};

int ev_mailbox_new(struct ev_mailbox **out, struct ev_loop *loop,
                   void (*fn)(void *owner, struct ev_letter *letter, time_ns now), void *owner)
{
    struct ev_mailbox *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    *m = (struct ev_mailbox) { .loop = loop, .fn = fn, .owner = owner };
    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->letters);
    list_push_back(&loop->mailboxes, &m->link);
    *out = m;
    return 0;
}

static void drain(struct ev_mailbox *m)
{
    struct list taken;

    list_init(&taken);
    pthread_mutex_lock(&m->lock);
    list_splice_back(&taken, &m->letters);
    pthread_mutex_unlock(&m->lock);
    for (struct list *link; (link = list_pop_front(&taken));)
        m->fn(m->owner, LIST_ENTRY(link, struct ev_letter, link), m->loop->now);
}

void mailboxes_drain(struct ev_loop *loop)
{
    struct list todo;

    /* A letter may free or make other mailboxes: each is back in the loop's list before it is read. */
    list_init(&todo);
    list_splice_back(&todo, &loop->mailboxes);
    for (struct list *link; (link = list_pop_front(&todo));) {
        list_push_back(&loop->mailboxes, link);
        drain(LIST_ENTRY(link, struct ev_mailbox, link));
    }
}

void ev_mailbox_free(struct ev_mailbox *m)
{
    if (!m)
        return;
    drain(m);
    list_remove(&m->link);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void ev_mailbox_post(struct ev_mailbox *m, struct ev_letter *letter)
{
    bool first;

    pthread_mutex_lock(&m->lock);
    first = list_empty(&m->letters);
    list_push_back(&m->letters, &letter->link);
    pthread_mutex_unlock(&m->lock);
    if (first)
        loop_wake(m->loop);
}

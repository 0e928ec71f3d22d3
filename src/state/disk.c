/* The thread that writes, and the letters that say that it has.
 *
 * Jobs are done in the order in which they were posted, so they are ordered per file too, but keys come
 * before netmaps: somebody waits for them. Keys of many folders are made durable together: what waits while
 * the thread is busy shares two syncs of the file system, where each alone takes two of its own. A netmap
 * that has not been begun is replaced by a newer one of its folder, in its place in the queue. The thread is
 * started by a job and ends when there has been nothing to do for DISK_LINGER: idle, the process has no such
 * thread.
 *
 *   D1  a job belongs to the queue until the thread takes it, to the thread until its letter is posted, and
 *       to its desk from then on; `closed` and the callbacks are touched on the desk's thread alone
 *   D2  the close of a folder is its last job, and frees it when its letter is read
 */
#include "state/state.h"

#include "ev/ev.h"
#include "state/bases.h"
#include "state/internal.h"
#include "state/pack.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define DISK_LINGER_SECONDS 2
#define DISK_STACK_BYTES (256u << 10)
#define BATCH_MAX 256 /* keys that are written together, ... */
#define TOGETHER_MIN \
    4 /* ... if there are so many: a sync of the file system takes what others wrote as well */

enum job_kind { JOB_KEYS, JOB_NETMAP, JOB_CLOSE };

struct job {
    struct list link; /* in the queue */
    struct ev_letter letter;
    enum job_kind kind;
    struct state_folder *folder;
    struct state_keys keys;
    struct public_key node;
    struct buf netmap;
    state_done_fn *done;
    void *owner;
    int result;
};

/* An open folder whose writes go through the thread. */
struct state_folder {
    struct state_store *store;
    struct state_desk *desk;
    char *control_url;
    struct job *netmap; /* posted and not begun; under the disk's lock */
    struct base *base;  /* what the file is packed against; NULL: nothing. Likewise */
    bool in_batch;      /* its keys are being written with others; likewise */
    bool closed;
};

struct state_desk {
    struct state_disk *disk;
    struct ev_mailbox *mailbox;
};

struct state_disk {
    pthread_mutex_t lock; /* guards all of it */
    pthread_cond_t work, idle;
    pthread_t thread;
    bool running, joinable, stopping, busy;
    struct list keys, queue; /* jobs; queue: all that are no keys */
    size_t netmap_bytes;     /* waiting or being written */
    struct bases bases;
    struct state_disk_counters counters;
};

/* ---- jobs ------------------------------------------------------------------------------------- */

static void job_free(struct job *j)
{
    state_keys_wipe(&j->keys);
    buf_deinit(&j->netmap);
    free(j);
}

static struct job *job_new(struct state_folder *f, enum job_kind kind, state_done_fn *done, void *owner)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    *j = (struct job) { .kind = kind, .folder = f, .done = done, .owner = owner };
    buf_init(&j->netmap, 0);
    return j;
}

/* ---- netmaps --------------------------------------------------------------------------------
 *
 * Only the writer makes bases and lets go of them, so it may read their texts without the lock.
 */
static struct base *next_base(struct state_disk *d, const struct job *j, const struct base *after)
{
    struct base *next;

    pthread_mutex_lock(&d->lock);
    next = bases_next(&d->bases, state_directory(j->folder->store), after);
    pthread_mutex_unlock(&d->lock);
    return next;
}

static int add_base(struct state_disk *d, const struct job *j, struct base **out)
{
    int r;

    pthread_mutex_lock(&d->lock); /* writes under it, but seldom: a few bases are all there ever are */
    r = bases_add(&d->bases, state_directory(j->folder->store), buf_span(&j->netmap), out);
    if (!r) {
        d->counters.bases++;
        d->counters.packed_bytes += j->netmap.len;
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

static int pack_with(const struct job *j, const struct base *base, struct buf *out)
{
    buf_clear(out);
    return pack(buf_span(&j->netmap), base ? base->id : 0, base ? base->text : SPAN_NONE, out);
}

static bool is_good(const struct job *j, const struct buf *packed)
{
    return packed->len * BASE_GAIN <= j->netmap.len;
}

/* Against the base that it has, or another one that is good, or a new one, or the best that there is. */
static int pack_best(struct state_disk *d, const struct job *j, struct base **base, struct buf *out)
{
    struct base *best = j->folder->base, *fresh;
    unsigned count = 0;
    size_t smallest;
    int r = pack_with(j, best, out);

    if (r || is_good(j, out) || j->netmap.len < BASE_TEXT_BYTES_MIN) {
        *base = best;
        return r;
    }
    smallest = out->len;
    for (struct base *b = next_base(d, j, NULL); b; b = next_base(d, j, b)) {
        count++;
        r = b == best ? 0 : pack_with(j, b, out);
        if (r)
            return r;
        if (b != best && out->len < smallest) {
            smallest = out->len;
            best = b;
        }
        if (best == b && is_good(j, out))
            break;
    }
    if (smallest * BASE_GAIN > j->netmap.len && count < BASES_PER_PARENT && add_base(d, j, &fresh) == 0)
        best = fresh;
    *base = best;
    return pack_with(j, best, out);
}

/* The folder's file needs this base now. */
static void move_base(struct state_disk *d, struct state_folder *f, struct base *to)
{
    struct base *from = f->base;

    if (from == to)
        return;
    pthread_mutex_lock(&d->lock);
    if (to)
        to->refs++;
    f->base = to;
    if (from)
        bases_drop(&d->bases, state_directory(f->store), from);
    pthread_mutex_unlock(&d->lock);
}

static int write_netmap(struct state_disk *d, struct job *j)
{
    struct base *base = NULL;
    struct buf packed;
    int r;

    buf_init(&packed, STATE_NETMAP_BYTES_MAX + PACK_HEAD_BYTES_MAX);
    r = pack_best(d, j, &base, &packed);
    if (!r)
        r = state_save_packed(j->folder->store, &j->node, buf_span(&packed));
    if (!r)
        move_base(d, j->folder, base);
    pthread_mutex_lock(&d->lock);
    d->counters.packed_bytes += packed.len;
    pthread_mutex_unlock(&d->lock);
    buf_deinit(&packed);
    return r;
}

static bool has_work(const struct state_disk *d)
{
    return !list_empty(&d->keys) || !list_empty(&d->queue);
}

/* ---- keys -------------------------------------------------------------------------------------- */

/* Those that wait, of different folders on one disk. Under the lock. */
static size_t take_keys(struct state_disk *d, struct job *batch[BATCH_MAX])
{
    size_t n = 0;

    LIST_EACH (j, &d->keys, struct job, link) {
        if (n == BATCH_MAX)
            break;
        if (j->folder->in_batch || (n && !state_same_disk(j->folder->store, batch[0]->folder->store)))
            continue;
        j->folder->in_batch = true;
        list_remove(&j->link);
        batch[n++] = j;
    }
    return n;
}

static int save_alone(const struct job *j)
{
    return state_save(j->folder->store, j->folder->control_url, &j->keys);
}

/* If a sync fails it is not known whose file is concerned: then each is written by itself. */
static void save_together(struct job *const *batch, size_t n)
{
    int r;

    for (size_t i = 0; i < n; i++)
        batch[i]->result =
            state_save_begin(batch[i]->folder->store, batch[i]->folder->control_url, &batch[i]->keys);
    r = state_sync(batch[0]->folder->store);
    for (size_t i = 0; i < n && !r; i++)
        if (!batch[i]->result)
            batch[i]->result = state_save_rename(batch[i]->folder->store);
    if (!r)
        r = state_sync(batch[0]->folder->store);
    for (size_t i = 0; i < n && r; i++)
        batch[i]->result = save_alone(batch[i]);
}

/* The blocking part. Without the lock. */
static void job_do(struct state_disk *d, struct job *j)
{
    struct state_store *s = j->folder->store;

    switch (j->kind) {
    case JOB_KEYS:
        j->result = save_alone(j);
        break;
    case JOB_NETMAP:
        j->result = state_enter(s);
        if (j->result)
            break;
        j->result = write_netmap(d, j);
        state_leave(s);
        break;
    case JOB_CLOSE:
        pthread_mutex_lock(&d->lock);
        if (j->folder->base)
            bases_leave(j->folder->base);
        pthread_mutex_unlock(&d->lock);
        state_close(s);
        j->folder->store = NULL;
        break;
    }
}

/* The letter of a job, on its desk's thread. */
static void on_letter(void *owner, struct ev_letter *letter, time_ns now)
{
    struct job *j = CONTAINER_OF(letter, struct job, letter);
    struct state_folder *f = j->folder;

    (void)owner;
    (void)now;
    if (j->kind == JOB_CLOSE) { /* D2 */
        free(f->control_url);
        free(f);
    } else if (!f->closed && j->done) {
        j->done(j->owner, j->result);
    }
    job_free(j);
}

/* ---- the thread --------------------------------------------------------------------------------- */

static void finished(struct state_disk *d, struct job *j)
{
    d->counters.written++;
    d->counters.failed += j->result < 0;
    ev_mailbox_post(j->folder->desk->mailbox, &j->letter); /* D1: not ours any more */
}

static void run(struct state_disk *d, struct job *j)
{
    size_t bytes = j->netmap.len;

    if (j->folder->netmap == j)
        j->folder->netmap = NULL;
    pthread_mutex_unlock(&d->lock);
    job_do(d, j);
    buf_deinit(&j->netmap); /* its letter may lie for a while */
    pthread_mutex_lock(&d->lock);
    d->netmap_bytes -= bytes;
    d->counters.bytes += bytes;
    finished(d, j);
}

static void run_keys(struct state_disk *d, struct job *const *batch, size_t n)
{
    bool together = n >= TOGETHER_MIN;

    pthread_mutex_unlock(&d->lock);
    if (together)
        save_together(batch, n);
    for (size_t i = 0; i < n && !together; i++)
        batch[i]->result = save_alone(batch[i]);
    pthread_mutex_lock(&d->lock);
    d->counters.together += together ? n : 0;
    for (size_t i = 0; i < n; i++) {
        batch[i]->folder->in_batch = false;
        finished(d, batch[i]);
    }
}

static void drain(struct state_disk *d)
{
    struct job *batch[BATCH_MAX];
    size_t n;

    d->busy = true;
    while (has_work(d)) {
        n = take_keys(d, batch);
        if (n)
            run_keys(d, batch, n);
        else
            run(d, LIST_ENTRY(list_pop_front(&d->queue), struct job, link));
    }
    d->busy = false;
    pthread_cond_broadcast(&d->idle);
}

static void *thread_main(void *ctx)
{
    struct state_disk *d = ctx;
    struct timespec until;
    int r = 0;

    pthread_mutex_lock(&d->lock);
    while (!d->stopping && !(r == ETIMEDOUT && !has_work(d))) {
        drain(d);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += DISK_LINGER_SECONDS;
        r = d->stopping ? 0 : pthread_cond_timedwait(&d->work, &d->lock, &until);
    }
    drain(d);
    d->running = false;
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static int thread_start(struct state_disk *d)
{
    sigset_t all, before;
    pthread_attr_t attr;
    int r;

    if (d->joinable)
        pthread_join(d->thread, NULL); /* it has left the lock for good */
    d->joinable = false;
    sigfillset(&all);
    sigdelset(&all, SIGSYS); /* the sandbox tells with it what it refused */
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, DISK_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    r = pthread_create(&d->thread, &attr, thread_main, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    d->running = d->joinable = r == 0;
    return r;
}

/* With the lock held. If no thread can be had the work is done here: late is worse than never for nothing. */
static void post(struct state_disk *d, struct job *j)
{
    list_push_back(j->kind == JOB_KEYS ? &d->keys : &d->queue, &j->link);
    d->counters.posted++;
    d->counters.queued_max =
        MAX(d->counters.queued_max, (uint32_t)(d->counters.posted - d->counters.written));
    if (d->running)
        pthread_cond_signal(&d->work);
    else if (thread_start(d))
        drain(d);
}

/* ---- life ------------------------------------------------------------------------------------------ */

int state_disk_new(struct state_disk **out)
{
    struct state_disk *d = calloc(1, sizeof(*d));
    pthread_condattr_t attr;

    if (!d)
        return -ENOMEM;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->work, &attr);
    pthread_cond_init(&d->idle, NULL);
    pthread_condattr_destroy(&attr);
    list_init(&d->keys);
    list_init(&d->queue);
    bases_init(&d->bases);
    *out = d;
    return 0;
}

void state_disk_wait(struct state_disk *d)
{
    pthread_mutex_lock(&d->lock);
    while (d->busy || has_work(d))
        pthread_cond_wait(&d->idle, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

void state_disk_free(struct state_disk *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
    if (d->joinable)
        pthread_join(d->thread, NULL);
    must(!has_work(d));
    bases_deinit(&d->bases);
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->idle);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void state_disk_counters_get(struct state_disk *d, struct state_disk_counters *out)
{
    pthread_mutex_lock(&d->lock);
    *out = d->counters;
    pthread_mutex_unlock(&d->lock);
}

int state_desk_new(struct state_desk **out, struct state_disk *d, struct ev_loop *loop)
{
    struct state_desk *k = calloc(1, sizeof(*k));
    int r = k ? ev_mailbox_new(&k->mailbox, loop, on_letter, k) : -ENOMEM;

    if (r) {
        free(k);
        return r;
    }
    k->disk = d;
    *out = k;
    return 0;
}

void state_desk_free(struct state_desk *k)
{
    if (!k)
        return;
    state_disk_wait(k->disk); /* letters for us may be under way */
    ev_mailbox_free(k->mailbox);
    free(k);
}

/* ---- folders ------------------------------------------------------------------------------------------ */

int state_folder_open(struct state_folder **out, struct state_desk *k, const char *directory,
                      const char *control_url, char why[STATE_WHY_BYTES])
{
    struct state_folder *f = calloc(1, sizeof(*f));
    int r = f ? state_open(&f->store, directory, why) : -ENOMEM;

    if (r == STATE_E_IN_USE) { /* by ourselves, a moment ago? Then its close is in the queue */
        state_disk_wait(k->disk);
        r = state_open(&f->store, directory, why);
    }
    if (!r) {
        f->desk = k;
        f->control_url = text_dup(span_from_str(control_url));
        r = f->control_url ? 0 : -ENOMEM;
    }
    if (r) {
        if (f)
            state_close(f->store);
        free(f);
        return r;
    }
    *out = f;
    return 0;
}

struct state_store *state_folder_store(struct state_folder *f)
{
    return f->store;
}

int state_folder_load_netmap(struct state_folder *f, const struct public_key *node, struct buf *out)
{
    struct state_disk *d = f->desk->disk;
    uint64_t id;
    int r = state_enter(f->store);

    if (r)
        return err_trace(r);
    r = state_load_netmap_of(f->store, node, out, &id);
    if (!r && id) {
        pthread_mutex_lock(&d->lock);
        if (!f->base)
            f->base = bases_take(&d->bases, state_directory(f->store), id);
        pthread_mutex_unlock(&d->lock);
    }
    state_leave(f->store);
    return r;
}

int state_folder_save(struct state_folder *f, const struct state_keys *keys, state_done_fn *done, void *owner)
{
    struct state_disk *d = f->desk->disk;
    struct job *j = job_new(f, JOB_KEYS, done, owner);

    if (!j)
        return -ENOMEM;
    j->keys = *keys;
    pthread_mutex_lock(&d->lock);
    post(d, j);
    pthread_mutex_unlock(&d->lock);
    return 0;
}

/* The newer netmap takes the place of one that waits. */
static void replace(struct state_disk *d, struct job *waiting, struct job *fresh)
{
    struct buf old = waiting->netmap;

    d->netmap_bytes += fresh->netmap.len - old.len;
    d->counters.replaced++;
    waiting->netmap = fresh->netmap;
    waiting->node = fresh->node;
    waiting->done = fresh->done;
    waiting->owner = fresh->owner;
    fresh->netmap = old;
}

int state_folder_save_netmap(struct state_folder *f, const struct public_key *node, struct buf *netmap,
                             state_done_fn *done, void *owner)
{
    struct state_disk *d = f->desk->disk;
    struct job *j = job_new(f, JOB_NETMAP, done, owner);
    int r = 0;

    if (!j)
        return -ENOMEM;
    j->node = *node;
    pthread_mutex_lock(&d->lock);
    if (!f->netmap && d->netmap_bytes && d->netmap_bytes + netmap->len > STATE_DISK_BYTES_MAX) {
        d->counters.refused++;
        r = STATE_E_FULL;
    } else {
        j->netmap = *netmap;
        buf_init(netmap, 0);
        if (f->netmap) {
            replace(d, f->netmap, j);
        } else {
            d->netmap_bytes += j->netmap.len;
            f->netmap = j;
            post(d, j);
            j = NULL;
        }
    }
    pthread_mutex_unlock(&d->lock);
    if (j)
        job_free(j);
    return r;
}

void state_folder_close(struct state_folder *f)
{
    struct state_disk *d;
    struct job *j;

    if (!f)
        return;
    d = f->desk->disk;
    f->closed = true;
    j = job_new(f, JOB_CLOSE, NULL, NULL);
    if (j) {
        pthread_mutex_lock(&d->lock);
        post(d, j);
        pthread_mutex_unlock(&d->lock);
        return;
    }
    state_disk_wait(d); /* no memory for a job: its letters may still name the folder, so it stays */
    state_close(f->store);
    f->store = NULL;
}

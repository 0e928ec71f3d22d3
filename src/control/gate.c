#include "control/gate.h"

#include "control/token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

/* ---- gate ---------------------------------------------------------------------------------------- */

int control_gate_new(struct control_gate **out, const struct control_gate_config *config)
{
    struct control_gate *g = calloc(1, sizeof(*g));

    if (!g)
        return err_trace(-ENOMEM);
    pthread_mutex_init(&g->lock, NULL);
    list_init(&g->servers);
    list_init(&g->shards);
    list_init(&g->tokens);
    g->handshakes_max =
        config && config->handshakes_max ? config->handshakes_max : CONTROL_HANDSHAKES_DEFAULT;
    g->proxies = config ? config->proxies : NULL;
    *out = g;
    return 0;
}

void control_gate_free(struct control_gate *g)
{
    struct list *link;

    if (!g)
        return;
    must(list_empty(&g->shards) && list_empty(&g->tokens));
    while ((link = list_pop_front(&g->servers)))
        free(LIST_ENTRY(link, struct gate_server, link));
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void lock(struct control_shard *s)
{
    pthread_mutex_lock(&s->gate->lock);
}

static void unlock(struct control_shard *s)
{
    pthread_mutex_unlock(&s->gate->lock);
}

/* Under the lock: something changed that a waiter may have waited for. */
static void tell_waiting(struct control_gate *g)
{
    LIST_EACH (s, &g->shards, struct control_shard, link) {
        if (!s->wants || s->letter_out)
            continue;
        s->wants = false;
        s->letter_out = true;
        ev_mailbox_post(s->mailbox, &s->letter);
    }
}

void gate_tell_waiting(struct control_gate *g)
{
    tell_waiting(g);
}

/* ---- shard ----------------------------------------------------------------------------------------- */

static void wake(struct list *waiters)
{
    struct gate_waiter *w = LIST_ENTRY(list_pop_front(waiters), struct gate_waiter, link);

    ev_task_post(w->task);
}

/* Under the lock, as all of these: for_slot has changed. */
static void note_lowest(struct shard_server *server)
{
    server->lowest = list_empty(&server->for_slot)
                         ? UINT64_MAX
                         : LIST_ENTRY(server->for_slot.next, struct gate_waiter, link)->ticket;
}

static uint64_t lowest_of_all(const struct shard_server *server)
{
    uint64_t lowest = UINT64_MAX;

    LIST_EACH (other, &server->gate->shard_servers, struct shard_server, by_gate)
        lowest = MIN(lowest, other->lowest);
    return lowest;
}

static bool has_slot(const struct control_shard *s, const struct gate_server *g)
{
    return g->handshakes < (g->clients <= GATE_FEW_CLIENTS ? s->gate->handshakes_max : g->slots);
}

/* Somebody waits in this shard, there is a slot, and nobody of another shard comes before. */
static bool may_enter(const struct control_shard *s, const struct shard_server *server)
{
    return server->lowest != UINT64_MAX && has_slot(s, server->gate) &&
           server->lowest == lowest_of_all(server);
}

/* There is a slot, and it is another shard's turn. */
static void tell_next(struct control_shard *s, const struct shard_server *server)
{
    if (has_slot(s, server->gate) && lowest_of_all(server) < server->lowest)
        tell_waiting(s->gate);
}

static void give(const struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    server->gate->handshakes++;
    w->slot = true;
    w->slot_since = ev_now(s->loop);
}

/* Slots are given here, so that none is lost with a client that stops meanwhile. */
static void serve(struct control_shard *s, struct shard_server *server)
{
    while (!list_empty(&server->for_key))
        wake(&server->for_key);
    while (server->news_seen != server->gate->news && !list_empty(&server->for_stream))
        wake(&server->for_stream);
    server->news_seen = server->gate->news;
    while (may_enter(s, server)) {
        give(s, server, LIST_ENTRY(server->for_slot.next, struct gate_waiter, link));
        wake(&server->for_slot);
        note_lowest(server);
    }
    if (!list_empty(&server->for_slot) || !list_empty(&server->for_stream))
        s->wants = true;
    tell_next(s, server);
}

static void on_letter(void *owner, struct ev_letter *letter, time_ns now)
{
    struct control_shard *s = owner;

    (void)letter;
    (void)now;
    lock(s);
    s->letter_out = false;
    LIST_EACH (server, &s->servers, struct shard_server, link)
        serve(s, server);
    unlock(s);
    token_wake(s);
}

static void on_unzip_timer(struct ev_timer *t, time_ns now)
{
    struct control_shard *s = CONTAINER_OF(t, struct control_shard, unzip_timer);

    if (now - s->unzip_used >= SHARD_UNZIP_IDLE)
        unzip_deinit(&s->unzip);
    else
        ev_timer_set(t, s->unzip_used + SHARD_UNZIP_IDLE);
}

int control_shard_new(struct control_shard **out, struct control_gate *gate, struct ev_loop *loop)
{
    struct control_shard *s = calloc(1, sizeof(*s));
    struct utsname os;
    int r = s ? 0 : -ENOMEM;

    if (!r)
        r = ev_mailbox_new(&s->mailbox, loop, on_letter, s);
    if (r) {
        free(s);
        return err_trace(r);
    }
    s->gate = gate;
    s->loop = loop;
    list_init(&s->servers);
    list_init(&s->for_token);
    ev_timer_init(&s->unzip_timer, loop, on_unzip_timer);
    if (uname(&os) == 0) {
        snprintf(s->os_version, sizeof(s->os_version), "%s", os.release);
        snprintf(s->machine, sizeof(s->machine), "%s", os.machine);
    }
    lock(s);
    list_push_back(&gate->shards, &s->link);
    unlock(s);
    *out = s;
    return 0;
}

void control_shard_free(struct control_shard *s)
{
    if (!s)
        return;
    must(!s->clients && list_empty(&s->servers) && list_empty(&s->for_token));
    lock(s);
    list_remove(&s->link);
    unlock(s);
    ev_mailbox_free(s->mailbox);
    ev_timer_stop(&s->unzip_timer);
    unzip_deinit(&s->unzip);
    free(s);
}

int shard_unzip(struct control_shard *s, struct span message, struct buf *room, struct span *out, time_ns now)
{
    s->unzip_used = now;
    if (!ev_timer_running(&s->unzip_timer))
        ev_timer_set(&s->unzip_timer, now + SHARD_UNZIP_IDLE);
    return unzip_message(&s->unzip, message, room, out);
}

/* ---- servers ------------------------------------------------------------------------------------------ */

/* Under the lock. */
static int gate_server_get(struct control_gate *g, const char *url, struct gate_server **out)
{
    struct gate_server *server;

    LIST_EACH (known, &g->servers, struct gate_server, link)
        if (strcmp(known->url, url) == 0) {
            *out = known;
            return 0;
        }
    if (g->server_count >= GATE_SERVERS_MAX)
        return -ENOSPC;
    server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    snprintf(server->url, sizeof(server->url), "%s", url);
    list_init(&server->shard_servers);
    server->tickets = GATE_TICKETS_DRAWN;
    server->slots = MIN(GATE_SLOTS_FIRST, g->handshakes_max);
    list_push_back(&g->servers, &server->link);
    g->server_count++;
    *out = server;
    return 0;
}

static int shard_server_new(struct control_shard *s, const struct control_url *url, struct shard_server **out)
{
    struct shard_server *server = calloc(1, sizeof(*server));
    int r;

    if (!server)
        return err_trace(-ENOMEM);
    server->lowest = UINT64_MAX;
    lock(s);
    r = gate_server_get(s->gate, url->text, &server->gate);
    if (!r)
        list_push_back(&server->gate->shard_servers, &server->by_gate);
    unlock(s);
    if (r) {
        free(server);
        return err_trace(r);
    }
    server->url = *url;
    list_init(&server->for_slot);
    list_init(&server->for_key);
    list_init(&server->for_stream);
    list_push_back(&s->servers, &server->link);
    *out = server;
    return 0;
}

int shard_server_get(struct control_shard *s, const struct control_url *url, struct shard_server **out)
{
    struct shard_server *found = NULL;
    int r;

    LIST_EACH (known, &s->servers, struct shard_server, link)
        if (strcmp(known->url.text, url->text) == 0)
            found = known;
    if (!found) {
        r = shard_server_new(s, url, &found);
        if (r)
            return r;
    }
    found->clients++;
    s->clients++;
    lock(s);
    found->gate->clients++;
    unlock(s);
    *out = found;
    return 0;
}

void shard_server_put(struct control_shard *s, struct shard_server *server)
{
    s->clients--;
    lock(s);
    server->gate->clients--;
    unlock(s);
    if (--server->clients)
        return;
    must(list_empty(&server->for_slot) && list_empty(&server->for_key) && list_empty(&server->for_stream));
    /* The gate's entry goes with its last shard, and the key with it. */
    lock(s);
    list_remove(&server->by_gate);
    if (list_empty(&server->gate->shard_servers)) {
        list_remove(&server->gate->link);
        s->gate->server_count--;
        free(server->gate);
    }
    unlock(s);
    list_remove(&server->link);
    free(server);
}

/* ---- slots -----------------------------------------------------------------------------------------------
 */

/* Under the lock, as these. */
static void stream_news(struct control_shard *s, struct shard_server *server)
{
    server->gate->news++;
    tell_waiting(s->gate);
}

static void count_in(struct shard_server *server, struct gate_waiter *w)
{
    server->gate->newcomers += w->newcomer && !w->counted;
    w->counted |= w->newcomer;
}

static void count_out(struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    if (!w->counted)
        return;
    w->counted = false;
    must(server->gate->newcomers > 0);
    if (--server->gate->newcomers == 0)
        stream_news(s, server);
}

static void queue(struct shard_server *server, struct gate_waiter *w)
{
    struct list *after = &server->for_slot;

    count_in(server, w);
    w->ticket = w->came ? ++server->gate->tickets : w->place;
    w->came = true;
    while (after->prev != &server->for_slot &&
           LIST_ENTRY(after->prev, struct gate_waiter, link)->ticket > w->ticket)
        after = after->prev;
    list_insert(after, &w->link);
    note_lowest(server);
}

bool gate_enter(struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    if (w->slot)
        return true;
    gate_unwait(s, server, w);
    lock(s);
    queue(server, w);
    if (server->for_slot.next == &w->link && may_enter(s, server)) {
        give(s, server, w);
        list_remove(&w->link);
        note_lowest(server);
    } else {
        s->wants = true;
    }
    unlock(s);
    return w->slot;
}

static void learn_slots(struct gate_server *g, time_ns took, unsigned most)
{
    if (!g->quickest || took < g->quickest)
        g->quickest = MAX(took, 1);
    else if (took < 2 * g->quickest && g->slots < most)
        g->slots++;
    else if (took > 4 * g->quickest && g->slots > MIN(GATE_SLOTS_FIRST, most))
        g->slots--;
}

void gate_done(struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    if (!w->slot)
        return;
    lock(s);
    learn_slots(server->gate, ev_now(s->loop) - w->slot_since, s->gate->handshakes_max);
    unlock(s);
    gate_leave(s, server, w);
}

void gate_leave(struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    if (!w->slot)
        return;
    w->slot = false;
    lock(s);
    must(server->gate->handshakes > 0);
    server->gate->handshakes--;
    count_out(s, server, w);
    tell_waiting(s->gate);
    unlock(s);
}

void gate_unwait(struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    if (!list_linked(&w->link))
        return;
    lock(s);
    list_remove(&w->link);
    note_lowest(server);
    if (!w->slot)
        count_out(s, server, w);
    tell_next(s, server);
    unlock(s);
}

/* ---- map streams ------------------------------------------------------------------------------------ */

enum gate_stream gate_stream_ask(struct control_shard *s, struct shard_server *server, struct gate_waiter *w)
{
    struct gate_server *g = server->gate;
    enum gate_stream r;

    gate_unwait(s, server, w);
    lock(s);
    if (!g->mapped && !g->scouting)
        r = GATE_STREAM_FIRST;
    else
        r = g->newcomers || g->scouting ? GATE_STREAM_WAIT : GATE_STREAM_OPEN;
    if (r == GATE_STREAM_FIRST) {
        g->scouting = w->scout = true;
    } else {
        list_push_back(&server->for_stream, &w->link);
        s->wants = true;
    }
    unlock(s);
    return r;
}

void gate_stream_over(struct control_shard *s, struct shard_server *server, struct gate_waiter *w,
                      bool mapped)
{
    struct gate_server *g;

    if (!w->scout && !mapped)
        return;
    lock(s);
    g = server->gate;
    if (w->scout || !g->mapped) {
        g->mapped |= mapped;
        g->scouting &= !w->scout;
        w->scout = false;
        stream_news(s, server);
    }
    unlock(s);
}

unsigned gate_clients(struct control_shard *s, struct shard_server *server)
{
    unsigned n;

    lock(s);
    n = server->gate->clients;
    unlock(s);
    return n;
}

/* ---- server keys
 * --------------------------------------------------------------------------------------------- */

enum gate_key_state gate_key_get(struct control_shard *s, struct shard_server *server, struct gate_waiter *w,
                                 struct public_key *key, unsigned *failures_seen)
{
    struct gate_server *g = server->gate;
    enum gate_key_state state;

    lock(s);
    state = g->key_state;
    *failures_seen = g->key_failures;
    if (state == GATE_KEY_KNOWN)
        *key = g->key;
    if (state == GATE_KEY_NONE)
        g->key_state = GATE_KEY_FETCHING;
    if (state == GATE_KEY_FETCHING)
        s->wants = true;
    unlock(s);
    if (state == GATE_KEY_FETCHING) {
        gate_unwait(s, server, w);
        list_push_back(&server->for_key, &w->link);
    }
    return state;
}

void gate_key_done(struct control_shard *s, struct shard_server *server, const struct public_key *key,
                   const char *failure)
{
    struct gate_server *g = server->gate;

    lock(s);
    must(g->key_state == GATE_KEY_FETCHING);
    if (key) {
        g->key = *key;
        g->key_state = GATE_KEY_KNOWN;
    } else {
        g->key_state = GATE_KEY_NONE;
    }
    if (failure) {
        g->key_failures++;
        snprintf(g->key_failure, sizeof(g->key_failure), "%s", failure);
    }
    tell_waiting(s->gate);
    unlock(s);
}

bool gate_key_failed(struct shard_server *server, struct control_shard *s, unsigned failures_seen,
                     char why[GATE_REASON_BYTES])
{
    bool failed;

    lock(s);
    failed = server->gate->key_failures != failures_seen && server->gate->key_state != GATE_KEY_KNOWN;
    if (failed)
        memcpy(why, server->gate->key_failure, GATE_REASON_BYTES);
    unlock(s);
    return failed;
}

void gate_key_forget(struct control_shard *s, struct shard_server *server, const struct public_key *wrong)
{
    lock(s);
    if (server->gate->key_state == GATE_KEY_KNOWN && public_key_equal(&server->gate->key, wrong))
        server->gate->key_state = GATE_KEY_NONE;
    unlock(s);
}

/* ---- registrations
 * --------------------------------------------------------------------------------------------- */

time_ns gate_registrations_after(struct control_shard *s, struct shard_server *server)
{
    time_ns after;

    lock(s);
    after = server->gate->registrations_after;
    unlock(s);
    return after;
}

void gate_postpone_registrations(struct control_shard *s, struct shard_server *server, time_ns until)
{
    lock(s);
    server->gate->registrations_after = MAX(server->gate->registrations_after, until);
    unlock(s);
}

#include "control/token.h"

#include "control/backoff.h"
#include "control/registration.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum state { TOKEN_NONE, TOKEN_FETCHING, TOKEN_KNOWN };

struct token {
    struct list link;                /* in the gate */
    char base[URL_TEXT_BYTES];       /* with the next, whose it is */
    uint8_t digest[BLAKE2S_BYTES];   /* of the secret */
    unsigned users, mints, failures; /* failures: in a row */
    enum state state;
    unsigned generation; /* of the text */
    char text[MINT_TOKEN_BYTES_MAX];
    time_ns expires;
    struct token_failure failure; /* nobody asks before its `until` */
};

static void lock(struct control_shard *s)
{
    pthread_mutex_lock(&s->gate->lock);
}

static void unlock(struct control_shard *s)
{
    pthread_mutex_unlock(&s->gate->lock);
}

int token_get(struct token **out, struct control_shard *s, const char *base, struct span secret)
{
    struct token *t = calloc(1, sizeof(*t));

    if (!t)
        return err_trace(-ENOMEM);
    snprintf(t->base, sizeof(t->base), "%s", base);
    blake2s_hash(t->digest, secret, SPAN_NONE);
    lock(s);
    LIST_EACH (known, &s->gate->tokens, struct token, link)
        if (strcmp(known->base, t->base) == 0 && crypto_equal(known->digest, t->digest, sizeof(t->digest))) {
            free(t);
            t = known;
            break;
        }
    if (!t->users)
        list_push_back(&s->gate->tokens, &t->link);
    t->users++;
    unlock(s);
    *out = t;
    return 0;
}

void token_put(struct control_shard *s, struct token *t)
{
    bool last;

    if (!t)
        return;
    lock(s);
    last = !--t->users;
    if (last)
        list_remove(&t->link);
    unlock(s);
    if (!last)
        return;
    wipe(t, sizeof(*t));
    free(t);
}

static enum token_turn turn_of(const struct token *t, time_ns now)
{
    if (t->state == TOKEN_FETCHING)
        return TOKEN_WAIT;
    if (now < t->failure.until)
        return TOKEN_LATER;
    if (t->state == TOKEN_NONE || now >= t->expires)
        return TOKEN_FETCH;
    return t->mints < TOKEN_MINTS_MAX ? TOKEN_GO : TOKEN_WAIT;
}

enum token_turn token_enter(struct control_shard *s, struct token *t, struct token_waiter *w, time_ns now,
                            struct token_use *use, struct token_failure *failure)
{
    enum token_turn turn;

    token_unwait(w);
    lock(s);
    turn = turn_of(t, now);
    switch (turn) {
    case TOKEN_GO:
        t->mints++;
        memcpy(use->text, t->text, sizeof(use->text));
        use->generation = t->generation;
        break;
    case TOKEN_FETCH:
        t->state = TOKEN_FETCHING;
        break;
    case TOKEN_WAIT:
        s->wants = true;
        break;
    case TOKEN_LATER:
        *failure = t->failure;
        break;
    }
    unlock(s);
    if (turn == TOKEN_WAIT)
        list_push_back(&s->for_token, &w->link);
    return turn;
}

void token_unwait(struct token_waiter *w)
{
    list_remove(&w->link);
}

void token_wake(struct control_shard *s)
{
    while (!list_empty(&s->for_token))
        ev_task_post(LIST_ENTRY(list_pop_front(&s->for_token), struct token_waiter, link)->task);
}

void token_leave(struct control_shard *s, struct token *t)
{
    lock(s);
    must(t->mints > 0);
    t->mints--;
    gate_tell_waiting(s->gate);
    unlock(s);
}

static void fetched(struct control_shard *s, struct token *t, enum state state)
{
    must(t->state == TOKEN_FETCHING);
    t->state = state;
    gate_tell_waiting(s->gate);
}

void token_done(struct control_shard *s, struct token *t, const struct mint_token *got, time_ns now)
{
    lock(s);
    memcpy(t->text, got->text, sizeof(t->text));
    t->expires = now + got->life;
    t->generation++;
    t->failures = 0;
    fetched(s, t, TOKEN_KNOWN);
    unlock(s);
}

void token_failed(struct control_shard *s, struct token *t, struct token_failure *failure, time_ns now)
{
    uint64_t random;

    random_bytes(&random, sizeof(random));
    lock(s);
    t->failures++;
    if (!failure->until)
        failure->until = now + backoff_delay(failure->lasting ? 1 : t->failures,
                                             failure->lasting ? REGISTRATION_SLOW : REGISTRATION_STEP,
                                             REGISTRATION_SLOW, random);
    t->failure = *failure;
    fetched(s, t, TOKEN_NONE);
    unlock(s);
}

void token_given_up(struct control_shard *s, struct token *t)
{
    lock(s);
    fetched(s, t, TOKEN_NONE);
    unlock(s);
}

void token_forget(struct control_shard *s, struct token *t, unsigned generation)
{
    lock(s);
    if (t->state == TOKEN_KNOWN && t->generation == generation)
        t->state = TOKEN_NONE;
    unlock(s);
}

void token_postpone(struct control_shard *s, struct token *t, const struct token_failure *failure)
{
    lock(s);
    t->failure = *failure;
    unlock(s);
}

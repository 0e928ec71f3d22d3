/* control/token.h - access tokens of OAuth services, shared by all nodes of the process (inside control/)
 *
 * One per service and client secret: the first node that needs it asks for it, the others wait, and it is
 * used until it runs out. It also bounds how many keys are asked for at once, and remembers a failure: nobody
 * asks before its time is over, so N nodes with a wrong secret are one request, not N. It lives as long as
 * somebody holds it.
 *
 * Everything is under the gate's lock; who waits belongs to the loop's thread, as with gate.h.
 */
#ifndef MANYTAILS_CONTROL_TOKEN_H
#define MANYTAILS_CONTROL_TOKEN_H

#include "control/gate.h"
#include "control/mint.h"

#define TOKEN_MINTS_MAX 8 /* keys asked for at once, per service and secret */

struct token;

/* In whoever needs one: where it waits, and the task that goes on when it may ask again. */
struct token_waiter {
    struct list link;
    struct ev_task *task;
};

/* Why there is no key, until when nobody is to ask, and whether a person must do something. */
struct token_failure {
    char why[MINT_WHY_BYTES];
    time_ns until; /* 0: the caller's own back-off says */
    bool lasting;
};

enum token_turn {
    TOKEN_GO,    /* here it is: ask for a key, then token_leave */
    TOKEN_FETCH, /* there is none: ask for it, then token_done, token_failed or token_given_up */
    TOKEN_WAIT,  /* somebody else asks, or too many do: the waiter's task runs when to try again */
    TOKEN_LATER, /* it failed a moment ago: *failure */
};

/* What was handed out with TOKEN_GO. Holds a secret. */
struct token_use {
    char text[MINT_TOKEN_BYTES_MAX];
    unsigned generation;
};

/* -ENOMEM. `base` and `secret` are read inside the call; of the secret only a digest is kept. */
NODISCARD int token_get(struct token **out, struct control_shard *s, const char *base, struct span secret);
void token_put(struct control_shard *s, struct token *t); /* NULL is fine; wipes with the last */

enum token_turn token_enter(struct control_shard *s, struct token *t, struct token_waiter *w, time_ns now,
                            struct token_use *use, struct token_failure *failure);
void token_leave(struct control_shard *s, struct token *t);
void token_unwait(struct token_waiter *w); /* fine in any state */
void token_wake(struct control_shard *s);  /* everybody of this shard who waits: each asks again */

void token_done(struct control_shard *s, struct token *t, const struct mint_token *got, time_ns now);
/* `failure->until` 0: as long as a back-off says, which is written there. */
void token_failed(struct control_shard *s, struct token *t, struct token_failure *failure, time_ns now);
void token_given_up(struct control_shard *s, struct token *t);
/* The service takes it no more: a new one is asked for, unless somebody did already. */
void token_forget(struct control_shard *s, struct token *t, unsigned generation);
/* The service asks all of us to wait. */
void token_postpone(struct control_shard *s, struct token *t, const struct token_failure *failure);

#endif

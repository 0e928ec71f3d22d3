/* control/registration.h - what to ask of the server to become (and stay) a node (inside control/)
 *
 * A machine: it says what the next POST /machine/register contains, is told what came of it, and says what to
 * do next. It owns the node keys: the one in use, and the pending one, which stays the same through every
 * followup of one login and takes over only when the owner has stored it (registration_commit).
 *
 * Pure: no I/O, no clock; random bytes come through a function.
 */
#ifndef MANYTAILS_CONTROL_REGISTRATION_H
#define MANYTAILS_CONTROL_REGISTRATION_H

#include "control/control.h"

#define REGISTRATION_URL_BYTES_MAX 2048      /* of an AuthURL; longer ones are refused */
#define REGISTRATION_SLOW (5 * MINUTE)       /* between tries that cannot succeed without a person */
#define REGISTRATION_STEP (2 * SEC)          /* first delay after an error of the server */
#define REGISTRATION_FOLLOWUP_MAX (30 * SEC) /* while a person is busy: their login is noticed this soon */
#define REGISTRATION_RETRY_AFTER_MAX HOUR    /* a longer Retry-After is not believed */
#define REGISTRATION_NOT_FOUND_MAX 2         /* polls that say "no such node" before it is registered anew */
#define REGISTRATION_TEXT_BYTES 256          /* of a reason in words */

enum registration_next {
    REGISTRATION_DONE,  /* store `registration_pending_keys`, then registration_commit */
    REGISTRATION_AGAIN, /* call again now (a followup, or without what was refused) */
    REGISTRATION_LATER, /* call again after `delay`; `reason` says why */
};

struct registration {
    struct control_keys keys;   /* in use, stored */
    struct public_key node_key; /* public form of keys.node; zero: none */
    struct secret_key pending;  /* of the login under way; zero: none yet */
    char *followup;             /* the AuthURL that a person was given; NULL: none */
    unsigned failures;          /* in a row, of this login */
    unsigned not_found;         /* polls in a row */
    bool renew;                 /* `pending` replaces keys.node instead of repeating it */
    bool renewed_once;          /* the server has asked for a new key in this login already */
    bool auth_key_refused;      /* go on without it, until a new one is set */
    bool tags_refused;          /* headscale takes no RequestTags with an auth key */
    bool recreated;             /* the node was gone once since the last netmap */
    bool mints;                 /* auth keys are minted, each for one registration, with the tags in it */
    bool key_wanted;            /* then: without a key the server wants a person */
    bool accepted;              /* `pending` is known to the server, it only has to be stored */
};

/* `keys` are copied; a zero node key means that there is none yet. */
void registration_init(struct registration *r, const struct control_keys *keys);
void registration_deinit(struct registration *r); /* wipes */

/* A login begins: from the start, after the connection was lost in the middle nothing is called: the same
 * login goes on. With `renew` a fresh node key replaces the one in use. */
void registration_begin(struct registration *r, bool renew);
/* Before the next call: has an auth key to be minted? Only where nothing that we have will do. */
bool registration_wants_key(const struct registration *r);

/* A new auth key was set: what the old one was refused for is forgotten. */
void registration_auth_key_changed(struct registration *r);

/* What the next request contains. */
struct registration_call {
    struct public_key node_key, old_node_key;
    const char *followup; /* NULL: none; else the answer comes when a person is done, however long it takes */
    bool with_auth_key, with_tags;
};
void registration_call(struct registration *r, bool have_auth_key, random_fn *random, void *random_ctx,
                       struct registration_call *out);

/* What came of it. */
struct registration_answer {
    int http_status;
    const struct tailcfg_register_response *response; /* NULL: not 200, or 200 with a body that is not one */
    struct span text;                                 /* then: the body, to show */
    time_ns retry_after;                              /* of a 429; 0: not given */
    bool with_auth_key, with_tags;                    /* as in the call */
};
struct registration_verdict {
    enum registration_next next;
    time_ns delay;
    bool rate_limited;    /* `delay` is the server's wish: all nodes of this process should heed it */
    bool url_changed;     /* show registration_url, or take it back */
    bool approval_needed; /* DONE, but an administrator must approve */
    bool key_spent;       /* a minted key: used up or refused, it is of no use any more */
    char reason[REGISTRATION_TEXT_BYTES]; /* of LATER; for AGAIN what was given up, or "" */
};
/* -ENOMEM changes nothing. */
NODISCARD int registration_answer(struct registration *r, const struct registration_answer *a,
                                  uint64_t random, struct registration_verdict *out);

/* No key could be minted: `why`, and from when on it may be tried again (0: by our own back-off); `lasting`:
 * a person must do something. */
void registration_no_key(struct registration *r, const char *why, time_ns delay, bool lasting,
                         uint64_t random, struct registration_verdict *out);

/* DONE: what to store, then use. */
void registration_pending_keys(const struct registration *r, struct control_keys *out);
void registration_commit(struct registration *r);

/* A poll was answered "no such node". true: register again (begin was done); it says so once per streak. */
bool registration_not_found(struct registration *r);
void registration_found(struct registration *r); /* a netmap came */

#endif

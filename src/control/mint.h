/* control/mint.h - what is asked of an OAuth service to get an auth key, and what its answers mean (inside
 * control/)
 *
 * Two requests: a token for the client's secret, then with the token a key that one node may register with.
 * Pure: requests come out as text, answers come in as status and body. Nothing here keeps a secret, and no
 * sentence that comes out holds one. docs/protocol/control.md has the two calls.
 */
#ifndef MANYTAILS_CONTROL_MINT_H
#define MANYTAILS_CONTROL_MINT_H

#include "control/control.h"

#define MINT_TOKEN_BYTES_MAX 2048
#define MINT_WHY_BYTES 200
#define MINT_TOKEN_LIFE (10 * MINUTE)   /* of a token that does not say how long it is good */
#define MINT_TOKEN_LIFE_MAX (24 * HOUR) /* whatever it says */
#define MINT_TOKEN_MARGIN (30 * SEC)    /* before its end it is not used any more */
#define MINT_TOKEN_TARGET "/api/v2/oauth/token"
#define MINT_KEY_TARGET "/api/v2/tailnet/-/keys" /* "-": the tailnet that the token is of */

enum mint_outcome {
    MINT_E_LATER = 1, /* the service is not well: soon again */
    MINT_E_WAIT,      /* it asks to be left alone for a while (429) */
    MINT_E_TOKEN,     /* the token is no good any more: a new one, then again */
    MINT_E_REFUSED,   /* trying again cannot help until a person does something */
};

/* A request's header lines (behind Host, each with CR LF; a NUL at the end) and its body. Holds secrets. */
struct mint_request {
    const char *target;
    struct buf headers, body;
};
void mint_request_deinit(struct mint_request *r); /* wipes; fine after a failure */

/* What the key is to be like. */
struct mint_wish {
    const char *const *tags; /* at least one: without, the service makes no key */
    size_t tag_count;
    bool ephemeral, preauthorized;
};

/* -ENOMEM, -ENOBUFS. *out is to be deinitialised whatever comes back. */
NODISCARD int mint_token_request(struct mint_request *out, struct span secret);
NODISCARD int mint_key_request(struct mint_request *out, const char *token, const struct mint_wish *wish);

struct mint_token {
    char text[MINT_TOKEN_BYTES_MAX]; /* secret */
    time_ns life;                    /* how long it may be used from now on */
};

/* 0, MINT_E_*: `why` says it in words. *out and `key` are written only with 0. */
NODISCARD int mint_token_answer(int status, struct span body, struct mint_token *out,
                                char why[MINT_WHY_BYTES]);
NODISCARD int mint_key_answer(int status, struct span body, const struct mint_wish *wish,
                              char key[CONTROL_AUTH_KEY_BYTES_MAX + 1], char why[MINT_WHY_BYTES]);

#endif

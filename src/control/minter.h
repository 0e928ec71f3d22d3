/* control/minter.h - an auth key for one node, minted with an OAuth client secret (inside control/)
 *
 * Carries out what mint.h says: a token (shared by all nodes, token.h), then a key. One attempt at a time;
 * when to try again is its owner's business. At rest it holds its texts and nothing else: no timer, no
 * buffer, no connection.
 */
#ifndef MANYTAILS_CONTROL_MINTER_H
#define MANYTAILS_CONTROL_MINTER_H

#include "control/token.h"

struct minter;

struct minter_config {
    struct control_shard *shard;
    const char *text;        /* an OAuth client secret; copied */
    const char *control_url; /* where keys of hskey- are asked for; read inside the call */
    struct tls_client *tls;  /* these live as long as the minter */
    const char *const *tags;
    size_t tag_count;
};

/* It ended: minter_take_key, or minter_failure. From the loop; it may free the minter. */
typedef void minter_fn(void *ctx, time_ns now);

/* 0, CONTROL_E_CONFIG, -ENOMEM. */
NODISCARD int minter_new(struct minter **out, const struct minter_config *config, minter_fn *ended,
                         void *ctx);
void minter_free(struct minter *m); /* NULL is fine; wipes */

void minter_start(struct minter *m, time_ns now); /* not while it runs */
void minter_stop(struct minter *m);               /* silently; a key that came is forgotten */
bool minter_running(const struct minter *m);      /* and when it ended, until its result was taken */
/* The key that it ended with, the caller's to wipe and free; NULL: there is none. */
char *minter_take_key(struct minter *m);
/* Why it ended without one, once; NULL: it did not. Valid until it is started again. */
const struct token_failure *minter_take_failure(struct minter *m);

const char *minter_text(const struct minter *m); /* as given */
const char *minter_base(const struct minter *m); /* the service's URL */

#endif

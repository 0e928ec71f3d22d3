/* state/state.h - what a node keeps on disk: its keys, and the last netmap
 *
 * One folder per node, mode 0700:
 *   manytails.state    JSON, the keys; written before they are used
 *   manytails.netmap   the last netmap, so that the service answers while control does not
 *   manytails.lock     held as long as the process lives: one identity, one process
 *
 * Every write is a new file, renamed over the old one: a crash at any instant leaves the old or the new,
 * never half. Keys are on the disk when state_save returns. The netmap is a cache and is not waited for:
 * a power failure may cost it, and a torn one is noticed by its own hash. A file that cannot be read is
 * set aside under a new name and named in the log, never overwritten.
 *
 * Thread: any, one at a time per folder. Blocks on the disk.
 */
#ifndef MANYTAILS_STATE_STATE_H
#define MANYTAILS_STATE_STATE_H

#include "base/base.h"
#include "crypto/crypto.h"

#define STATE_FILE_BYTES_MAX (64 << 10)
#define STATE_NETMAP_BYTES_MAX (64 << 20)
#define STATE_WHY_BYTES 512

struct state_store; /* an open, locked folder */

struct state_keys {
    struct secret_key machine;  /* one per node, for life: losing it means a new device */
    struct secret_key disco;    /* kept over restarts, so that peers need not learn a new one */
    struct secret_key node;     /* zero: not registered yet */
    struct public_key old_node; /* zero: none */
};

enum state_outcome {
    STATE_E_IN_USE = 1, /* another process holds the folder */
    STATE_E_DAMAGED,    /* state_load: the file was set aside, `why` names it; fresh keys were made */
    STATE_E_FRESH,      /* state_load: there is no file yet; fresh keys were made */
};

/* Makes the folder if it is not there and locks it. 0, STATE_E_IN_USE, -errno; `why` says it in words. */
NODISCARD int state_open(struct state_store **out, const char *directory, char why[STATE_WHY_BYTES]);
void state_close(struct state_store *s); /* NULL is fine */

/* The keys for this control server; where it made fresh machine and disco keys, the caller saves them. A node
 * key of another control server is not used, and stays on disk until state_save. 0, STATE_E_FRESH,
 * STATE_E_DAMAGED, -errno. The caller wipes *out. */
NODISCARD int state_load(struct state_store *s, const char *control_url, struct state_keys *out,
                         char why[STATE_WHY_BYTES]);
/* On disk when it returns 0. -errno: the old file is as it was. */
NODISCARD int state_save(struct state_store *s, const char *control_url, const struct state_keys *keys);

/* The netmap stored for this node key; *out is appended to. -ENOENT: none, or of another key. */
NODISCARD int state_load_netmap(struct state_store *s, const struct public_key *node, struct buf *out);
NODISCARD int state_save_netmap(struct state_store *s, const struct public_key *node, struct span netmap);
/* Sets a stored netmap aside that turned out unusable. */
void state_damaged_netmap(struct state_store *s);

static inline void state_keys_wipe(struct state_keys *k)
{
    wipe(k, sizeof(*k));
}

#endif

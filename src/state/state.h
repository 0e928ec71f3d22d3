/* state/state.h - what a node keeps on disk: its keys, and the last netmap
 *
 * One folder per node, mode 0700:
 *   manytails.state    JSON, the keys; written before they are used
 *   manytails.netmap   the last netmap, so that the service answers while control does not
 *   manytails.lock     empty (lock.h)
 * and beside the folders, for all of them that a process writes:
 *   manytails.base-*   a netmap that theirs are packed against (docs/protocol/state.md)
 *
 * The folder is locked as long as the process lives: one identity, one process. No descriptor stays open for
 * it.
 *
 * Every write is a new file, renamed over the old one: a crash at any instant leaves the old or the new,
 * never half. Keys are on the disk when state_save returns. The netmap is a cache and is not waited for:
 * a power failure may cost it, and a torn one is noticed by its own hash. A file that cannot be read is
 * set aside under a new name and named in the log, never overwritten.
 *
 * state_* calls block on the disk. A loop must not, so a node has a `state_folder`: the same folder, written
 * by the one thread of the process that may wait (state_disk). It tells when a write is on the disk by a
 * letter to the loop (state_desk, one per loop), and not before: what must not be lost is acted upon then.
 *
 * Thread: state_* any, one at a time per folder; a desk and its folders the loop's; a disk any.
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
    STATE_E_FULL,       /* state_folder_save_netmap: too much waits to be written; try again later */
    STATE_E_IMPORTED,   /* state_load: there is none of ours, but one of tsnsrv; `why` says what was taken */
};

/* Makes the folder if it is not there and locks it. 0, STATE_E_IN_USE, -errno; `why` says it in words. */
NODISCARD int state_open(struct state_store **out, const char *directory, char why[STATE_WHY_BYTES]);
void state_close(struct state_store *s); /* NULL is fine */

/* ---- the folder of tsnsrv, or of any program built on tsnet (import.c) ------------------------------ */

#define STATE_FOREIGN_FILE "tailscaled.state"
#define STATE_FOREIGN_BYTES_MAX (4 << 20)

/* What is in it and means something here. Texts are printable ASCII, cut to their room. */
struct state_foreign {
    struct state_keys
        keys;              /* machine; node and old_node of the current profile, zero if none; no disco key */
    char control_url[256]; /* as it says; "" is the hosted service */
    char host_name[64], node_id[64], login[128], profile[64];
    char tags[256];    /* a comma between them */
    unsigned profiles; /* there are; one is the current one */
    bool logged_out, lock_key, serve;
};

/* Reads directory/tailscaled.state and touches nothing. 0; -ENOENT; STATE_E_DAMAGED or -errno with `why`. The
 * caller wipes *out. */
NODISCARD int state_foreign_read(const char *directory, struct state_foreign *out, char why[STATE_WHY_BYTES]);
/* Its keys as ours for this control server; the node key only if it is of that one. The caller wipes *out. */
void state_foreign_keys(const struct state_foreign *f, const char *control_url, struct state_keys *out);
/* The control server it belongs to, as a URL. */
const char *state_foreign_server(const struct state_foreign *f);
/* Slashes at the end and old names of the hosted service aside; "" is the hosted one too. */
bool state_same_server(const char *a, const char *b);

/* ---- keys ------------------------------------------------------------------------------------------- */

/* The keys for this control server; where it made fresh machine and disco keys, the caller saves them. A node
 * key of another control server is not used, and stays on disk until state_save. Where there is only a file
 * of tsnsrv, its keys; if that one cannot be read, -EBADMSG: beginning anew would cost the node its name and
 * address. 0, STATE_E_FRESH, STATE_E_IMPORTED, STATE_E_DAMAGED, -errno. The caller wipes *out. */
NODISCARD int state_load(struct state_store *s, const char *control_url, struct state_keys *out,
                         char why[STATE_WHY_BYTES]);
/* On disk when it returns 0. -errno: the old file is as it was. */
NODISCARD int state_save(struct state_store *s, const char *control_url, const struct state_keys *keys);

/* The netmap stored for this node key; *out is appended to. -ENOENT: none, or of another key; -EBADMSG: it is
 * damaged. */
NODISCARD int state_load_netmap(struct state_store *s, const struct public_key *node, struct buf *out);
NODISCARD int state_save_netmap(struct state_store *s, const struct public_key *node, struct span netmap);
/* Sets a stored netmap aside that turned out unusable. */
void state_damaged_netmap(struct state_store *s);

/* ---- without waiting ----------------------------------------------------------------------- */

#define STATE_DISK_BYTES_MAX (32u << 20) /* netmaps that wait to be written, of the process */

struct ev_loop;
struct state_disk;
struct state_desk;
struct state_folder;

NODISCARD int state_disk_new(struct state_disk **out);
void state_disk_free(struct state_disk *d); /* writes what was posted; its desks are gone; NULL is fine */
void state_disk_wait(struct state_disk *d); /* until all that was posted is on the disk. Blocks */

struct state_disk_counters {
    uint64_t posted, written, failed; /* jobs */
    uint64_t replaced;                /* netmaps that a newer one overtook */
    uint64_t refused;                 /* STATE_E_FULL */
    uint64_t together;                /* keys that were written with those of other folders */
    uint64_t bytes, packed_bytes;     /* of netmaps, and of what was written of them, bases included */
    uint64_t bases;                   /* made */
    uint32_t queued_max;
};
void state_disk_counters_get(struct state_disk *d, struct state_disk_counters *out);

NODISCARD int state_desk_new(struct state_desk **out, struct state_disk *d, struct ev_loop *loop);
void state_desk_free(struct state_desk *k); /* after its folders; NULL is fine */

/* As state_open, and for use before anything was posted: its store. */
NODISCARD int state_folder_open(struct state_folder **out, struct state_desk *k, const char *directory,
                                const char *control_url, char why[STATE_WHY_BYTES]);
struct state_store *state_folder_store(struct state_folder *f);
/* state_load_netmap; what is written later is packed against the same base. */
NODISCARD int state_folder_load_netmap(struct state_folder *f, const struct public_key *node,
                                       struct buf *out);
/* What was posted is written and the lock released, some time; no callback comes any more. NULL is fine. */
void state_folder_close(struct state_folder *f);

/* 0: on the disk; -errno: the file is as it was. From the loop. */
typedef void state_done_fn(void *owner, int result);
/* -ENOMEM: nothing was posted. `done` may be NULL. */
NODISCARD int state_folder_save(struct state_folder *f, const struct state_keys *keys, state_done_fn *done,
                                void *owner);
/* Takes the text out of *netmap. One that is not begun when the next comes is never written, and its `done`
 * is not called. -ENOMEM, STATE_E_FULL: *netmap is as it was. */
NODISCARD int state_folder_save_netmap(struct state_folder *f, const struct public_key *node,
                                       struct buf *netmap, state_done_fn *done, void *owner);

/* Whose folder it is, without opening it: the first label of the name that the control server gave to the
 * node ("web", or "web-1" where "web" was taken), or the host name in tsnsrv's file; in lower case. False:
 * nothing says it. */
#define STATE_NAME_BYTES 64
bool state_owner(const char *directory, char name[STATE_NAME_BYTES]);

static inline void state_keys_wipe(struct state_keys *k)
{
    wipe(k, sizeof(*k));
}

#endif

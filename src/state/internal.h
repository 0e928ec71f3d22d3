/* state/internal.h - what the files of state/ and the fuzz targets share */
#ifndef MANYTAILS_STATE_INTERNAL_H
#define MANYTAILS_STATE_INTERNAL_H

#include "state/state.h"

/* The text of a state file. False: this is not our file, or not whole. */
bool state_keys_parse(struct span text, const char *control_url, struct state_keys *out);

/* New file beside it, renamed over it; with `sync`, on the disk when this returns. `name` is relative. */
NODISCARD int state_replace_file(int directory, const char *name, const struct span *parts, size_t count,
                                 bool sync);

/* The folder is open between these two, which nest. -ESTALE: another folder is in its place; -EBUSY: its lock
 * was removed and another process has it. */
NODISCARD int state_enter(struct state_store *s);
void state_leave(struct state_store *s);
int state_directory(const struct state_store *s); /* its descriptor, for who is inside */

/* state_save for many folders of one file system: all begin, one state_sync, all rename, one state_sync. Each
 * file is then on disk as after state_save. -errno: that file is as it was. */
NODISCARD int state_save_begin(struct state_store *s, const char *control_url, const struct state_keys *keys);
NODISCARD int state_save_rename(struct state_store *s);
NODISCARD int state_sync(struct state_store *s);
bool state_same_disk(const struct state_store *a, const struct state_store *b);

/* state_load_netmap, and the base that it was packed against; 0: none. */
NODISCARD int state_load_netmap_of(struct state_store *s, const struct public_key *node, struct buf *out,
                                   uint64_t *base);
/* state_save_netmap for what is packed already. */
NODISCARD int state_save_packed(struct state_store *s, const struct public_key *node, struct span packed);

/* The text of tailscaled.state. 0, or STATE_E_DAMAGED and then *out is untouched. */
int state_foreign_parse(struct span file, struct state_foreign *out, char why[STATE_WHY_BYTES]);
/* A sentence for the log: what was taken. */
void state_foreign_words(const struct state_foreign *f, const struct state_keys *taken,
                         char why[STATE_WHY_BYTES]);

#endif

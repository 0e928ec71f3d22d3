/* state/internal.h - what the files of state/ and the fuzz targets need of state.c */
#ifndef MANYTAILS_STATE_INTERNAL_H
#define MANYTAILS_STATE_INTERNAL_H

#include "state/state.h"

/* The text of a state file. False: this is not our file, or not whole. */
bool state_keys_parse(struct span text, const char *control_url, struct state_keys *out);

/* New file beside it, renamed over it; with `sync`, on the disk when this returns. `name` is relative. */
NODISCARD int state_replace_file(int directory, const char *name, const struct span *parts, size_t count,
                                 bool sync);
int state_directory(const struct state_store *s); /* its descriptor */
/* state_load_netmap, and the base that it was packed against; 0: none. */
NODISCARD int state_load_netmap_of(struct state_store *s, const struct public_key *node, struct buf *out,
                                   uint64_t *base);
/* state_save_netmap for what is packed already. */
NODISCARD int state_save_packed(struct state_store *s, const struct public_key *node, struct span packed);

#endif

/* lab/save.h - what a lab with a folder of its own keeps: its key, auth keys and nodes, as JSON
 *
 * Pure. So that a lab that starts anew in its folder is the same control server: nodes keep names and
 * addresses and need not register again. The text holds secrets.
 */
#ifndef MANYTAILS_LAB_SAVE_H
#define MANYTAILS_LAB_SAVE_H

#include "lab/registry.h"

#define LAB_SAVE_BYTES_MAX (32u << 20)

/* 0, -ENOBUFS, -ENOMEM. */
NODISCARD int lab_save_write(struct buf *out, const struct registry *r, const struct secret_key *key);
/* Into a registry that only has its users. False: not such a text, or out of memory; the registry is to be
 * thrown away then. */
NODISCARD bool lab_save_read(struct span text, struct registry *r, struct secret_key *key);

#endif

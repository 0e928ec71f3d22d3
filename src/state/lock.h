/* state/lock.h - the lock on a folder: the kernel's, and without a descriptor for as long as it lasts
 *
 * An flock belongs to an open file and lasts until the kernel lets go of that file. A descriptor keeps a file
 * open; so does a mapping of it, which counts against no limit on descriptors. The locked file is therefore
 * mapped (nothing is ever read through the mapping) and its descriptor closed. Where a mapping does not keep
 * this very file open (overlayfs maps the file below it), or none can be had, the descriptor stays.
 * docs/decisions/folder-lock.md says what else was thought of.
 *
 * Thread: any, one at a time per lock.
 */
#ifndef MANYTAILS_STATE_LOCK_H
#define MANYTAILS_STATE_LOCK_H

#include "base/base.h"

#include <sys/types.h>

struct folder_lock {
    void *mapping; /* NULL: none */
    int fd;        /* -1: the mapping is enough */
    dev_t device;  /* of the locked file ... */
    ino_t inode;   /* 0: the folder itself is locked */
};

#define FOLDER_UNLOCKED ((struct folder_lock) { .fd = -1 })

/* Locks the folder of this descriptor, which may be closed afterwards. 0, STATE_E_IN_USE, -errno; then *out
 * is FOLDER_UNLOCKED. */
NODISCARD int folder_lock(struct folder_lock *out, int directory);
void folder_unlock(struct folder_lock *l); /* again is fine */
/* Is the locked file still the one in the folder? If somebody removed it another process could lock another
 * one. */
bool folder_lock_stands(const struct folder_lock *l, int directory);

#endif

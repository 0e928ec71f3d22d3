/* state/bases.h - the texts that netmaps are packed against (see pack.h)
 *
 * A base lies beside the folders that use it, as manytails.base-<16 hex digits>, and is never changed. It is
 * removed when no folder's file needs it any more. Its name is random, so processes that share a parent
 * folder never meet. Where the parent is not ours to write there is none, and netmaps are packed alone.
 *
 * Thread: the owner's lock around each call that is not said to be for the writer alone.
 */
#ifndef MANYTAILS_STATE_BASES_H
#define MANYTAILS_STATE_BASES_H

#include "base/base.h"

#include <sys/types.h>

#define BASE_TEXT_BYTES_MIN ((size_t)16 << 10) /* smaller netmaps are not worth one */
#define BASE_GAIN 8        /* a base is good for a text that it makes so many times smaller */
#define BASES_PER_PARENT 4 /* beyond these the best of them has to do */

struct base {
    struct list link;
    uint64_t id;
    dev_t device; /* of the parent folder ... */
    ino_t inode;
    struct span text; /* mapped */
    unsigned refs;    /* open folders whose file needs it */
    unsigned closed;  /* folders that were closed with such a file */
};

struct bases {
    struct list all;
};

void bases_init(struct bases *b);
void bases_deinit(struct bases *b); /* the files stay */

/* The text of a base beside `directory` (a descriptor). 0, -ENOENT and others. bases_unmap when done. */
NODISCARD int base_map(int directory, uint64_t id, struct span *text);
void base_unmap(struct span text);

/* The base that a folder's file needs, known from now on. NULL: not there, or no memory. */
struct base *bases_take(struct bases *b, int directory, uint64_t id);
/* One folder less needs it; if it was the last one, the file goes. */
void bases_drop(struct bases *b, int directory, struct base *base);
/* The folder is closed, its file stays. */
void bases_leave(struct base *base);

/* For the writer: the next base of this parent after `after` (NULL: the first), and a new one. */
struct base *bases_next(struct bases *b, int directory, const struct base *after);
NODISCARD int bases_add(struct bases *b, int directory, struct span text, struct base **out);

#endif

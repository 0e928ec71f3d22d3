/* lab/file.h - small files of the lab's folder: for this user only, written whole or not at all */
#ifndef MANYTAILS_LAB_FILE_H
#define MANYTAILS_LAB_FILE_H

#include "base/base.h"

/* Into `out`, up to its limit. 0, -ENOENT, other -errno. */
NODISCARD int lab_file_read(const char *path, struct buf *out);
NODISCARD int lab_file_write(const char *path, struct span text);

#endif

#include "state/lock.h"

#include "state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE "manytails.lock"
#define MAPPED_BYTES 1 /* the kernel makes a page of address space of it; the file stays empty */

static int take(int fd)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? STATE_E_IN_USE : -errno;
}

static int open_file(int directory)
{
    int fd = openat(directory, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? -errno : fd;
}

/* Leaves the lock to a mapping if that holds it. Only while the folder itself is locked by us: then nobody
 * else takes the file's lock in the moment between close and the question whether it is still held. */
static void leave_to_mapping(struct folder_lock *l, int directory)
{
    void *at = mmap(NULL, MAPPED_BYTES, PROT_NONE, MAP_PRIVATE, l->fd, 0);
    int again;

    if (at == MAP_FAILED)
        return;
    again = open_file(directory);
    if (again < 0) {
        munmap(at, MAPPED_BYTES);
        return;
    }
    close(l->fd);
    l->fd = again;
    if (take(again) == 0) { /* the mapping did not hold it; this descriptor does now */
        munmap(at, MAPPED_BYTES);
        return;
    }
    close(again);
    l->fd = -1;
    l->mapping = at;
}

static int lock_file(struct folder_lock *l, int directory)
{
    struct stat st;
    int r;

    l->fd = open_file(directory);
    if (l->fd < 0)
        return l->fd;
    r = fstat(l->fd, &st) < 0 ? -errno : take(l->fd);
    if (r) {
        close(l->fd);
        l->fd = -1;
        return r;
    }
    l->device = st.st_dev;
    l->inode = st.st_ino;
    return 0;
}

int folder_lock(struct folder_lock *out, int directory)
{
    struct folder_lock l = FOLDER_UNLOCKED;
    int guard = take(directory), r; /* fails where folders cannot be locked (NFS) */

    *out = l;
    if (guard > 0)
        return guard;
    r = lock_file(&l, directory);
    if (!r && !guard) {
        leave_to_mapping(&l, directory);
        flock(directory, LOCK_UN);
    } else if (r < 0 && !guard) { /* no file can be made there: the folder's own lock, and its descriptor */
        l.fd = fcntl(directory, F_DUPFD_CLOEXEC, 0);
        r = l.fd < 0 ? -errno : 0;
    }
    if (!r)
        *out = l;
    return r;
}

void folder_unlock(struct folder_lock *l)
{
    if (l->mapping)
        munmap(l->mapping, MAPPED_BYTES);
    if (l->fd >= 0)
        close(l->fd);
    *l = FOLDER_UNLOCKED;
}

bool folder_lock_stands(const struct folder_lock *l, int directory)
{
    struct stat st;

    return !l->inode || (fstatat(directory, LOCK_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                         st.st_dev == l->device && st.st_ino == l->inode);
}

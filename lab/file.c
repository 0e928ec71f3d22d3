#include "lab/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define STEP_BYTES 65536

int lab_file_read(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    int r = fd < 0 ? -errno : 0;

    while (!r && n > 0) {
        struct mspan room;

        r = buf_reserve(out, STEP_BYTES, &room);
        if (r)
            break;
        n = read(fd, room.data, STEP_BYTES);
        if (n < 0)
            r = -errno;
        else
            buf_commit(out, (size_t)n);
    }
    if (fd >= 0)
        close(fd);
    return r;
}

static int write_all(int fd, struct span text)
{
    while (text.len) {
        ssize_t n = write(fd, text.data, text.len);

        if (n < 0 && errno != EINTR)
            return -errno;
        text = span_slice(text, n > 0 ? (size_t)n : 0, text.len);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int lab_file_write(const char *path, struct span text)
{
    char fresh[PATH_BYTES];
    int fd, r;

    if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh))
        return -ENAMETOOLONG;
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = write_all(fd, text);
    if (close(fd) < 0 && !r)
        r = -errno;
    if (!r && rename(fresh, path) < 0)
        r = -errno;
    if (r)
        unlink(fresh);
    return r;
}

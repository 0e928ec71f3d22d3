/* Descriptors of a world that has none: every connection attempt is refused at once. */
#include "sim.h"

#include <errno.h>

void ev_io_init(struct ev_io *io, struct ev_loop *loop,
                void (*fn)(struct ev_io *, unsigned events, time_ns now))
{
    *io = (struct ev_io) { .loop = loop, .fn = fn, .fd = -1 };
}

int ev_io_start(struct ev_io *io, int fd)
{
    (void)io;
    (void)fd;
    return -EBADF;
}

int ev_io_start_reader(struct ev_io *io, int fd)
{
    return ev_io_start(io, fd);
}

void ev_io_stop(struct ev_io *io)
{
    io->fd = -1;
}

int ev_tcp_connect(const struct ip_port *to, int *fd)
{
    (void)to;
    *fd = -1;
    return -ECONNREFUSED;
}

int ev_unix_connect(const char *path, int *fd)
{
    (void)path;
    *fd = -1;
    return -ECONNREFUSED;
}

int ev_socket_error(int fd)
{
    (void)fd;
    return -EBADF;
}

ssize_t ev_read(int fd, void *out, size_t len)
{
    (void)fd;
    (void)out;
    (void)len;
    return -EBADF;
}

ssize_t ev_write(int fd, struct span bytes)
{
    (void)fd;
    (void)bytes;
    return -EBADF;
}

ssize_t ev_writev(int fd, const struct span *parts, size_t count)
{
    (void)fd;
    (void)parts;
    (void)count;
    return -EBADF;
}

int ev_shutdown_write(int fd)
{
    (void)fd;
    return -EBADF;
}

void ev_close(int *fd)
{
    *fd = -1;
}

void ev_reset(int *fd)
{
    *fd = -1;
}

#include "ev/ev.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "ev/sockaddr.h"

#define PARTS_MAX 64

void ev_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ev_reset(int *fd)
{
    const struct linger at_once = { .l_onoff = 1 };

    if (*fd >= 0) /* refused for other sockets: then it is a close */
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    ev_close(fd);
}

int ev_tcp_connect(const struct ip_port *to, int *fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(to, &ss);
    int on = 1;
    int s = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0)
        return -errno;
    /* Relay frames, HTTP heads: small writes that somebody waits for. */
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(s, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS) {
        int r = -errno;

        close(s);
        return r;
    }
    *fd = s;
    return 0;
}

static bool unix_address(const char *path, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un) { .sun_family = AF_UNIX };
    return text_copy(out->sun_path, sizeof(out->sun_path), span_from_str(path));
}

void ev_tcp_keep_alive(int fd, time_ns silence)
{
    int on = 1, seconds = (int)MAX(MIN(silence / SEC, (time_ns)32767), (time_ns)1),
        step = MAX(seconds / 3, 1), probes = 3;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step, sizeof(step));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

int ev_unix_connect(const char *path, int *fd)
{
    struct sockaddr_un address;
    int s, r;

    if (!unix_address(path, &address))
        return -ENAMETOOLONG;
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    /* A full backlog says EAGAIN at once; there is no "in progress" for these. */
    if (connect(s, (struct sockaddr *)&address, sizeof(address)) < 0) {
        r = errno == EAGAIN ? -ECONNREFUSED : -errno;
        close(s);
        return r;
    }
    *fd = s;
    return 0;
}

int ev_unix_tell(const char *path, struct span text)
{
    struct sockaddr_un address;
    socklen_t len = sizeof(address);
    int s, r = 0;

    if (!unix_address(path, &address))
        return -ENAMETOOLONG;
    if (path[0] == '@') {
        address.sun_path[0] = 0;
        len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    }
    s = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    if (sendto(s, text.data, text.len, MSG_NOSIGNAL, (struct sockaddr *)&address, len) < 0)
        r = -errno;
    close(s);
    return r;
}

/* A socket file that nobody listens on any more is in the way; a live one is somebody's. */
static int remove_dead_socket(const char *path)
{
    int probe = -1;
    int r = ev_unix_connect(path, &probe);

    ev_close(&probe);
    if (r == 0)
        return -EADDRINUSE;
    if (r == -ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}

int ev_unix_listen(const char *path, int *fd)
{
    struct sockaddr_un address;
    mode_t mask;
    int s, r;

    if (!unix_address(path, &address))
        return -ENAMETOOLONG;
    r = remove_dead_socket(path);
    if (r)
        return r;
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    mask = umask(0177); /* before threads are started; the file must never be open to others */
    r = bind(s, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (!r && listen(s, 16) < 0)
        r = -errno;
    if (r) {
        close(s);
        return r;
    }
    *fd = s;
    return 0;
}

int ev_accept(int listener, int *fd)
{
    int on = 1;
    int s;

    do {
        s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (s < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (s < 0)
        return -errno;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* refused for Unix sockets, rightly */
    *fd = s;
    return 0;
}

int ev_socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

ssize_t ev_read(int fd, void *out, size_t len)
{
    ssize_t n;

    do {
        n = read(fd, out, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t ev_write(int fd, struct span bytes)
{
    ssize_t n;

    do {
        n = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t ev_writev(int fd, const struct span *parts, size_t count)
{
    struct iovec iov[PARTS_MAX];
    struct msghdr msg = { .msg_iov = iov };
    ssize_t n;

    must(count <= PARTS_MAX);
    for (size_t i = 0; i < count; i++)
        iov[i] = (struct iovec) { .iov_base = (void *)(uintptr_t)parts[i].data, .iov_len = parts[i].len };
    msg.msg_iovlen = count;
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int ev_shutdown_write(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

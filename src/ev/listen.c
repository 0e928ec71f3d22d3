/* Sockets that wait: TCP listeners, and datagram sockets for servers that answer one datagram at a time */
#include "ev/ev.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ev/sockaddr.h"

#define BACKLOG 256

static int open_bound(const struct ip_port *at, int type, int *fd, uint16_t *port)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(at, &ss);
    struct ip_port got;
    int on = 1, r;
    int s = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0)
        return -errno;
    /* A server that starts anew must not wait for the connections of the one before. */
    if (type == SOCK_STREAM)
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(s, (struct sockaddr *)&ss, len) < 0 || (type == SOCK_STREAM && listen(s, BACKLOG) < 0) ||
        (len = sizeof(ss), getsockname(s, (struct sockaddr *)&ss, &len)) < 0) {
        r = -errno;
        close(s);
        return r;
    }
    sockaddr_to(&ss, &got);
    *port = got.port;
    *fd = s;
    return 0;
}

int ev_tcp_listen(const struct ip_port *at, int *fd, uint16_t *port)
{
    return open_bound(at, SOCK_STREAM, fd, port);
}

int ev_udp_listen(const struct ip_port *at, int *fd, uint16_t *port)
{
    return open_bound(at, SOCK_DGRAM, fd, port);
}

ssize_t ev_receive_from(int fd, void *out, size_t len, struct ip_port *from)
{
    struct sockaddr_storage ss;
    socklen_t ss_len;
    ssize_t n;

    do {
        ss_len = sizeof(ss);
        n = recvfrom(fd, out, len, 0, (struct sockaddr *)&ss, &ss_len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    sockaddr_to(&ss, from);
    return n;
}

int ev_send_to(int fd, const struct ip_port *to, struct span bytes)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(to, &ss);
    ssize_t n;

    do {
        n = sendto(fd, bytes.data, bytes.len, 0, (struct sockaddr *)&ss, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

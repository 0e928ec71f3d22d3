/* ev/udp.c - one UDP socket for both families, batches both ways
 *
 * The socket is of IPv6 and takes IPv4 as well, whose addresses are then the mapped ones that ours are
 * anyway. Only where the kernel has no IPv6 it is of IPv4.
 * Receiving: up to SLOTS messages a call, each of which may be a run of equal datagrams that the
 * kernel coalesced (UDP_GRO). The slab that they land in belongs to the socket, so many nodes share it.
 */
#include "ev/ev.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <unistd.h>

#include "ev/sockaddr.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif

#define SLOTS 8             /* messages per recvmmsg */
#define SLOT_BYTES 65536    /* a coalesced run at its largest */
#define ROUNDS_PER_EVENT 16 /* then others get their turn */
#define KERNEL_BUFFER_BYTES (7 << 20)

struct ev_udp {
    struct ev_io io;
    uint16_t port;             /* 0: there is no socket now */
    uint16_t first_port;       /* each rebind tries to get it back */
    bool v4_only;              /* the host has no IPv6 */
    bool no_gso_v4, no_gso_v6; /* a device on the way could not */
    struct ev_task more;       /* the rest when there was more than our share */
    uint8_t *slab;
    ev_udp_fn *fn;
    void *owner;
    bool *closed; /* told when the owner closes the socket from its callback */
};

/* ---- receiving ------------------------------------------------------------------ */

/* Control messages: the segment size of a coalesced run, 0 if it is a single datagram. */
static size_t segment_of(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;

            memcpy(&size, CMSG_DATA(c), sizeof(size));
            return size > 0 ? (size_t)size : 0;
        }
    return 0;
}

struct batch {
    struct ev_datagram datagrams[EV_UDP_BATCH_MAX];
    size_t count;
};

/* Hands the batch up. False: the owner closed the socket. */
static bool batch_flush(struct ev_udp *u, struct batch *b, time_ns now)
{
    bool closed = false;

    if (!b->count)
        return true;
    u->closed = &closed;
    u->fn(u->owner, b->datagrams, b->count, now);
    b->count = 0;
    if (closed)
        return false;
    u->closed = NULL;
    return true;
}

static bool batch_add(struct ev_udp *u, struct batch *b, struct mspan run, size_t segment,
                      const struct ip_port *from, time_ns now)
{
    if (!segment)
        segment = run.len;
    while (run.len) {
        size_t len = MIN(segment, run.len);

        if (b->count == EV_UDP_BATCH_MAX && !batch_flush(u, b, now))
            return false;
        b->datagrams[b->count++] = (struct ev_datagram) { { run.data, len }, *from };
        run.data += len;
        run.len -= len;
    }
    return true;
}

/* Room for one control message, aligned as the kernel wants it. */
#define CONTROL_BYTES CMSG_SPACE(sizeof(int))
#define CONTROL_ALIGN alignof(struct cmsghdr)

/* One recvmmsg. > 0: messages received, fewer than SLOTS: now it is dry; 0: dry; -1: the owner closed the
 * socket. */
static int receive_once(struct ev_udp *u, time_ns now)
{
    struct mmsghdr messages[SLOTS] = { 0 };
    struct sockaddr_storage from[SLOTS];
    struct iovec iov[SLOTS];
    alignas(CONTROL_ALIGN) char control[SLOTS][CONTROL_BYTES];
    struct batch batch;
    int count;

    batch.count = 0;
    for (int i = 0; i < SLOTS; i++) {
        iov[i] = (struct iovec) { u->slab + (size_t)i * SLOT_BYTES, SLOT_BYTES };
        messages[i].msg_hdr = (struct msghdr) { .msg_name = &from[i],
                                                .msg_namelen = sizeof(from[i]),
                                                .msg_iov = &iov[i],
                                                .msg_iovlen = 1,
                                                .msg_control = control[i],
                                                .msg_controllen = sizeof(control[i]) };
    }
    count = recvmmsg(u->io.fd, messages, SLOTS, MSG_DONTWAIT, NULL);
    if (count <= 0)
        return count < 0 && errno == ECONNREFUSED ? SLOTS : 0; /* an ICMP error of an earlier send: read on */
    for (int i = 0; i < count; i++) {
        struct ip_port source;

        sockaddr_to(&from[i], &source);
        if (!batch_add(u, &batch, (struct mspan) { iov[i].iov_base, messages[i].msg_len },
                       segment_of(&messages[i].msg_hdr), &source, now))
            return -1;
    }
    return batch_flush(u, &batch, now) ? count : -1;
}

/* Until the socket is dry or has had its share. */
static void receive(struct ev_udp *u, time_ns now)
{
    for (int round = 0; round < ROUNDS_PER_EVENT; round++)
        if (receive_once(u, now) < SLOTS)
            return; /* it was dry at that moment, so whatever comes later is a new edge; or it was closed */
    ev_task_post(&u->more); /* edges do not repeat: come back after the others */
}

static void on_socket(struct ev_io *io, unsigned events, time_ns now)
{
    if (events & EV_READ)
        receive(CONTAINER_OF(io, struct ev_udp, io), now);
}

static void on_more(struct ev_task *task, time_ns now)
{
    receive(CONTAINER_OF(task, struct ev_udp, more), now);
}

/* ---- life ----------------------------------------------------------------------- */

static void enlarge_buffers(int fd)
{
    int size = KERNEL_BUFFER_BYTES;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)); /* the kernel clamps it */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int socket_of(struct ev_udp *u, int family, uint16_t port)
{
    struct ip_port any = { .port = port };
    struct sockaddr_storage ss;
    socklen_t len;
    int on = 1, off = 0, fd, r;

    if (family == AF_INET)
        any.ip = ip_from_v4((const uint8_t[4]) { 0, 0, 0, 0 });
    len = sockaddr_from(&any, &ss);
    fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if ((family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0) ||
        bind(fd, (struct sockaddr *)&ss, len) < 0) {
        r = -errno;
        goto fail;
    }
    enlarge_buffers(fd);
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)); /* without it: a datagram a message */
    len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
        r = -errno;
        goto fail;
    }
    sockaddr_to(&ss, &any);
    r = ev_io_start_reader(&u->io, fd);
    if (r)
        goto fail;
    u->port = any.port;
    u->v4_only = family == AF_INET;
    u->no_gso_v4 = u->no_gso_v6 = false;
    return 0;
fail:
    close(fd);
    return r;
}

static bool port_is_taken(int r)
{
    return r == -EADDRINUSE || r == -EACCES;
}

/* A family that the host lacks is no error. A port that somebody else has in one family is. */
static int socket_open(struct ev_udp *u, uint16_t port)
{
    int r = socket_of(u, AF_INET6, port);

    return r && !port_is_taken(r) ? socket_of(u, AF_INET, port) : r;
}

static void socket_close(struct ev_udp *u)
{
    int fd = u->io.fd;

    ev_io_stop(&u->io);
    ev_close(&fd);
    u->port = 0;
}

int ev_udp_open(struct ev_udp **out, struct ev_loop *loop, uint16_t port, ev_udp_fn *fn, void *owner)
{
    struct ev_udp *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    u->fn = fn;
    u->owner = owner;
    ev_io_init(&u->io, loop, on_socket);
    ev_task_init(&u->more, loop, on_more);
    u->slab = malloc((size_t)SLOTS * SLOT_BYTES); /* touched only as far as traffic fills it */
    r = u->slab ? socket_open(u, port) : -ENOMEM;
    if (r) {
        ev_udp_close(u);
        return err_trace(r);
    }
    u->first_port = u->port;
    *out = u;
    return 0;
}

void ev_udp_close(struct ev_udp *u)
{
    if (!u)
        return;
    if (u->closed)
        *u->closed = true;
    ev_task_cancel(&u->more);
    socket_close(u);
    free(u->slab);
    free(u);
}

int ev_udp_rebind(struct ev_udp *u)
{
    int r;

    socket_close(u);
    r = socket_open(u, u->first_port);
    if (r == -EADDRINUSE)
        r = socket_open(u, 0);
    return r ? err_trace(r) : 0;
}

uint16_t ev_udp_port(const struct ev_udp *u, bool v4)
{
    return v4 || !u->v4_only ? u->port : 0;
}

/* ---- sending ---------------------------------------------------------------------- */

static int send_one(int fd, const struct sockaddr_storage *to, socklen_t to_len, struct span bytes,
                    size_t segment)
{
    struct iovec iov = { (void *)(uintptr_t)bytes.data, bytes.len };
    struct msghdr msg = {
        .msg_name = (void *)(uintptr_t)to, .msg_namelen = to_len, .msg_iov = &iov, .msg_iovlen = 1
    };
    alignas(CONTROL_ALIGN) char control[CMSG_SPACE(sizeof(uint16_t))] = { 0 };
    ssize_t n;

    if (segment < bytes.len) {
        uint16_t size = (uint16_t)segment;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(size));
        memcpy(CMSG_DATA(c), &size, sizeof(size));
    }
    do {
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int ev_udp_send(struct ev_udp *u, const struct ip_port *to, struct span bytes, size_t segment)
{
    bool v4 = ip_is_v4(&to->ip);
    bool *no_gso = v4 ? &u->no_gso_v4 : &u->no_gso_v6;
    struct sockaddr_storage ss;
    socklen_t len;
    int r = 0;

    if (!ev_udp_port(u, v4))
        return -EAFNOSUPPORT;
    len = u->v4_only ? sockaddr_from(to, &ss) : sockaddr_from_v6(to, &ss);
    if (segment < bytes.len && !*no_gso) {
        r = send_one(u->io.fd, &ss, len, bytes, segment);
        if (r != -EIO && r != -EINVAL)
            return r;
        *no_gso = true; /* a device without checksum offload says so here: datagram by datagram from now on */
    }
    while (bytes.len && !r) {
        size_t n = MIN(segment, bytes.len);

        r = send_one(u->io.fd, &ss, len, span_slice(bytes, 0, n), n);
        bytes = span_slice(bytes, n, bytes.len);
    }
    return r;
}

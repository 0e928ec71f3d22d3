/* ev/udp.c - one pair of UDP sockets, batches both ways
 *
 * Receiving: up to SLOTS messages a call, each of which may be a run of equal datagrams that the
 * kernel coalesced (UDP_GRO). The slab that they land in belongs to the pair, so many nodes share it.
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

struct udp_socket {
    struct ev_io io;
    struct ev_udp *pair;
    uint16_t port; /* 0: this family is not there */
    bool gso;
};

struct ev_udp {
    struct udp_socket v4, v6;
    uint16_t port;       /* at first: each rebind tries to get it back */
    struct ev_task more; /* the rest of a socket that had more than its share */
    uint8_t *slab;
    ev_udp_fn *fn;
    void *owner;
    bool *closed; /* told when the owner closes the pair from its callback */
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

/* Hands the batch up. False: the owner closed the pair. */
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
 * pair. */
static int receive_once(struct udp_socket *s, time_ns now)
{
    struct mmsghdr messages[SLOTS] = { 0 };
    struct sockaddr_storage from[SLOTS];
    struct iovec iov[SLOTS];
    alignas(CONTROL_ALIGN) char control[SLOTS][CONTROL_BYTES];
    struct ev_udp *u = s->pair;
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
    count = recvmmsg(s->io.fd, messages, SLOTS, MSG_DONTWAIT, NULL);
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

/* Until the socket is dry or has had its share. False: the owner closed the pair. */
static bool receive(struct udp_socket *s, time_ns now)
{
    for (int round = 0; round < ROUNDS_PER_EVENT; round++) {
        int r = receive_once(s, now);

        if (r <= 0)
            return r == 0;
        if (r < SLOTS)
            return true; /* it was dry at that moment, so whatever comes later is a new edge */
    }
    ev_task_post(&s->pair->more); /* edges do not repeat: come back after the others */
    return true;
}

static void on_socket(struct ev_io *io, unsigned events, time_ns now)
{
    if (events & EV_READ)
        receive(CONTAINER_OF(io, struct udp_socket, io), now);
}

static void on_more(struct ev_task *task, time_ns now)
{
    struct ev_udp *u = CONTAINER_OF(task, struct ev_udp, more);

    if (u->v4.port && !receive(&u->v4, now))
        return;
    if (u->v6.port)
        receive(&u->v6, now);
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

static int socket_open(struct udp_socket *s, int family, uint16_t port)
{
    struct ip_port any = { .port = port };
    struct sockaddr_storage ss;
    socklen_t len;
    int on = 1, fd, r;

    if (family == AF_INET)
        any.ip = ip_from_v4((const uint8_t[4]) { 0, 0, 0, 0 });
    len = sockaddr_from(&any, &ss);
    fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&ss, len) < 0) {
        r = -errno;
        goto fail;
    }
    enlarge_buffers(fd);
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)); /* without it: a datagram a message */
    s->gso = true;
    len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
        r = -errno;
        goto fail;
    }
    sockaddr_to(&ss, &any);
    r = ev_io_start_reader(&s->io, fd);
    if (r)
        goto fail;
    s->port = any.port;
    return 0;
fail:
    close(fd);
    return r;
}

static void socket_close(struct udp_socket *s)
{
    int fd = s->io.fd;

    ev_io_stop(&s->io);
    ev_close(&fd);
    s->port = 0;
}

/* A family that the host lacks is no error. A port that somebody else has in one family is. */
static bool port_is_taken(int r)
{
    return r == -EADDRINUSE || r == -EACCES;
}

int ev_udp_open(struct ev_udp **out, struct ev_loop *loop, uint16_t port, ev_udp_fn *fn, void *owner)
{
    struct ev_udp *u = calloc(1, sizeof(*u));
    int r4, r6;

    if (!u)
        return -ENOMEM;
    *u = (struct ev_udp) { .v4.pair = u, .v6.pair = u, .fn = fn, .owner = owner };
    ev_io_init(&u->v4.io, loop, on_socket);
    ev_io_init(&u->v6.io, loop, on_socket);
    ev_task_init(&u->more, loop, on_more);
    u->slab = malloc((size_t)SLOTS * SLOT_BYTES); /* touched only as far as traffic fills it */
    r4 = u->slab ? socket_open(&u->v4, AF_INET, port) : -ENOMEM;
    r6 = u->slab ? socket_open(&u->v6, AF_INET6, port) : -ENOMEM;
    if ((r4 && r6) || port_is_taken(r4) || port_is_taken(r6)) {
        ev_udp_close(u);
        return err_trace(r4 ? r4 : r6);
    }
    u->port = u->v4.port ? u->v4.port : u->v6.port;
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
    socket_close(&u->v4);
    socket_close(&u->v6);
    free(u->slab);
    free(u);
}

static int socket_renew(struct udp_socket *s, int family, uint16_t port)
{
    int r;

    socket_close(s);
    r = socket_open(s, family, port);
    return r == -EADDRINUSE ? socket_open(s, family, 0) : r;
}

int ev_udp_rebind(struct ev_udp *u)
{
    int r4 = socket_renew(&u->v4, AF_INET, u->port), r6 = socket_renew(&u->v6, AF_INET6, u->port);

    return r4 && r6 ? err_trace(r4) : 0;
}

uint16_t ev_udp_port(const struct ev_udp *u, bool v4)
{
    return v4 ? u->v4.port : u->v6.port;
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
    struct udp_socket *s = ip_is_v4(&to->ip) ? &u->v4 : &u->v6;
    struct sockaddr_storage ss;
    socklen_t len;
    int r = 0;

    if (!s->port)
        return -EAFNOSUPPORT;
    len = sockaddr_from(to, &ss);
    if (s->gso && segment < bytes.len) {
        r = send_one(s->io.fd, &ss, len, bytes, segment);
        if (r != -EIO && r != -EINVAL)
            return r;
        s->gso = false; /* a device without checksum offload says so here: datagram by datagram from now on */
    }
    while (bytes.len && !r) {
        size_t n = MIN(segment, bytes.len);

        r = send_one(s->io.fd, &ss, len, span_slice(bytes, 0, n), n);
        bytes = span_slice(bytes, n, bytes.len);
    }
    return r;
}

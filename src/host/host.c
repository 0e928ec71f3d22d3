/* host/host.c - the rtnetlink socket on the loop
 *
 * News come on a subscribed socket whose filter drops in the kernel what can never matter here: routes
 * that are no default, IPv6 link-local addresses, link messages that change no flag. A burst is read once:
 * after its first message we look away for HOST_SETTLE, then read all of it. Questions (dumps, the way
 * out) go over a second socket that exists only while asking. This is the one place outside ev/ that makes
 * system calls about the network, most of them through libmnl.
 */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "host/interfaces.h"

#define READ_BYTES 32768 /* the largest piece of a dump that the kernel makes */
#define NEWS_AT_ONCE 8   /* messages of one read; each is a fraction of a piece of a dump */
#define NEWS_BYTES (READ_BYTES / NEWS_AT_ONCE)
#define READS_PER_BURST 512
#define ANSWER_TIMEOUT_MS 1000

struct host {
    struct ev_io io;
    struct ev_timer settle;
    struct mnl_socket *news; /* NULL: the kernel gives us none; the view is what it was at start */
    struct interfaces interfaces;
    struct interfaces_patience patience;
    struct host_view view;
    void (*changed)(void *owner, const struct host_view *view, time_ns now);
    void *owner;
};

/* Aligned as netlink wants it. */
struct read_buffer {
    alignas(MNL_ALIGNTO) uint8_t bytes[READ_BYTES];
};

/* ---- questions ------------------------------------------------------------------------- */

static struct mnl_socket *open_asking(void)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    struct timeval timeout = { .tv_usec = ANSWER_TIMEOUT_MS * 1000 % 1000000,
                               .tv_sec = ANSWER_TIMEOUT_MS / 1000 };

    if (!s)
        return NULL;
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0) {
        mnl_socket_close(s);
        return NULL;
    }
    return s;
}

static bool ends_dump(struct span messages)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)messages.data;
    int left = (int)messages.len;

    for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
        if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
            return true;
    return false;
}

static int dump(struct host *host, struct mnl_socket *s, uint16_t type, struct read_buffer *buffer)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer->bytes);
    struct rtgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    m->rtgen_family = AF_UNSPEC;
    if (mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(s, buffer->bytes, sizeof(buffer->bytes));
        struct span got = span_make(buffer->bytes, n > 0 ? (size_t)n : 0);

        if (n < 0)
            return -errno;
        rtnl_apply(&host->interfaces, got);
        if (n == 0 || ends_dump(got))
            return 0;
    }
}

/* Which way to an address far away? Nothing is sent there. */
static void ask_route(struct mnl_socket *s, uint8_t family, struct read_buffer *buffer,
                      struct interface_route *out)
{
    static const uint8_t far_v4[4] = { 1, 1, 1, 1 };
    static const uint8_t far_v6[16] = { 0x26, 0x06, 0x47, 0x00, 0x47, 0x00, [14] = 0x11, [15] = 0x11 };
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer->bytes);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
    ssize_t n;

    *out = (struct interface_route) { .interface = 0 };
    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_REQUEST;
    m->rtm_family = family;
    if (family == AF_INET) {
        m->rtm_dst_len = 32;
        mnl_attr_put(h, RTA_DST, sizeof(far_v4), far_v4);
    } else {
        m->rtm_dst_len = 128;
        mnl_attr_put(h, RTA_DST, sizeof(far_v6), far_v6);
    }
    if (mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
        return;
    n = mnl_socket_recvfrom(s, buffer->bytes, sizeof(buffer->bytes));
    if (n > 0)
        rtnl_apply_route(span_make(buffer->bytes, (size_t)n), out);
}

static void ask_routes(struct host *host, struct mnl_socket *s, struct read_buffer *buffer)
{
    ask_route(s, AF_INET, buffer, &host->interfaces.default_v4);
    ask_route(s, AF_INET6, buffer, &host->interfaces.default_v6);
}

static void refresh_routes(struct host *host, struct read_buffer *buffer)
{
    struct mnl_socket *s = open_asking();

    if (!s)
        return;
    ask_routes(host, s, buffer);
    mnl_socket_close(s);
}

/* Everything anew: at start, and when the kernel had to drop news. */
static int read_all(struct host *host, struct read_buffer *buffer)
{
    struct mnl_socket *s = open_asking();
    int r;

    if (!s)
        return -errno;
    interfaces_clear(&host->interfaces);
    r = dump(host, s, RTM_GETLINK, buffer);
    if (!r)
        r = dump(host, s, RTM_GETADDR, buffer);
    if (!r)
        ask_routes(host, s, buffer);
    mnl_socket_close(s);
    return r;
}

/* ---- news --------------------------------------------------------------------------------- */

#define HTONS(x) ((uint16_t)((uint16_t)(x) << 8 | (uint16_t)(x) >> 8))
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define AS_BPF_LOADS_IT(x) HTONS(x) /* the program loads big-endian, netlink is in host order */
#else
#define AS_BPF_LOADS_IT(x) (x)
#endif
#define TYPE_AT 4
#define BODY_AT NLMSG_HDRLEN
#define DROP BPF_STMT(BPF_RET | BPF_K, 0)
#define PASS BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)
#define LOAD(size, at) BPF_STMT(BPF_LD | (size) | BPF_ABS, (at))
/* If the value loaded is k, skip `yes` instructions, else `no`. */
#define IS(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), (yes), (no))

static int attach_filter(int fd)
{
    struct sock_filter program[] = {
        LOAD(BPF_H, TYPE_AT), IS(AS_BPF_LOADS_IT(RTM_NEWROUTE), 5, 0),
        IS(AS_BPF_LOADS_IT(RTM_DELROUTE), 4, 0), IS(AS_BPF_LOADS_IT(RTM_NEWADDR), 6, 0),
        IS(AS_BPF_LOADS_IT(RTM_DELADDR), 5, 0), IS(AS_BPF_LOADS_IT(RTM_NEWLINK), 8, 0), PASS,
        /* 7: a route, wanted if it is a default */
        LOAD(BPF_B, BODY_AT + offsetof(struct rtmsg, rtm_dst_len)), IS(0, 0, 8), PASS,
        /* 10: an address, unwanted if IPv6 link-local */
        LOAD(BPF_B, BODY_AT + offsetof(struct ifaddrmsg, ifa_family)), IS(AF_INET6, 0, 4),
        LOAD(BPF_B, BODY_AT + offsetof(struct ifaddrmsg, ifa_scope)), IS(RT_SCOPE_LINK, 3, 2),
        /* 14: a link, wanted if a flag changed */
        LOAD(BPF_W, BODY_AT + offsetof(struct ifinfomsg, ifi_change)), IS(0, 1, 0), PASS, DROP, /* 17 */
    };
    struct sock_fprog filter = { .len = COUNT_OF(program), .filter = program };

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ? -errno : 0;
}

static int open_news(struct host *host)
{
    unsigned groups =
        RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r;

    if (!s)
        return -errno;
    (void)attach_filter(mnl_socket_get_fd(s)); /* without it: more to read, the same result */
    r = mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
    if (!r)
        r = ev_io_start_reader(&host->io, mnl_socket_get_fd(s));
    if (r) {
        mnl_socket_close(s);
        return r;
    }
    host->news = s;
    return 0;
}

/* True: it differs from the one before. */
static bool update_view(struct host *host, time_ns now)
{
    struct host_view view;

    interfaces_view(&host->interfaces, &view);
    if (memcmp(&view, &host->view, sizeof(view)) == 0)
        return false;
    host->view = view;
    host->interfaces.counters.changes++;
    if (host->changed)
        host->changed(host->owner, &host->view, now);
    return true;
}

/* One system call for up to NEWS_AT_ONCE messages. Fewer were read: there are no more. -ENOBUFS: the kernel
 * dropped some, or one was too long. */
static int read_some(struct host *host, struct read_buffer *buffer, unsigned *what)
{
    struct mmsghdr messages[NEWS_AT_ONCE] = { 0 };
    struct iovec room[NEWS_AT_ONCE];
    int count, r;

    for (size_t i = 0; i < NEWS_AT_ONCE; i++) {
        room[i] = (struct iovec) { buffer->bytes + i * NEWS_BYTES, NEWS_BYTES };
        messages[i].msg_hdr = (struct msghdr) { .msg_iov = &room[i], .msg_iovlen = 1 };
    }
    do {
        count = recvmmsg(mnl_socket_get_fd(host->news), messages, NEWS_AT_ONCE, MSG_DONTWAIT, NULL);
    } while (count < 0 && errno == EINTR);
    r = count < 0 ? -errno : count;
    for (int i = 0; i < count; i++) {
        if (messages[i].msg_hdr.msg_flags & MSG_TRUNC)
            r = -ENOBUFS;
        else
            *what |= rtnl_apply(&host->interfaces, span_make(room[i].iov_base, messages[i].msg_len));
    }
    return r;
}

/* Reads the burst; returns what it touched. */
static unsigned read_news(struct host *host, struct read_buffer *buffer)
{
    unsigned what = 0;

    for (int i = 0; i < READS_PER_BURST; i++) {
        int r = read_some(host, buffer, &what);

        if (r == -ENOBUFS || r == -ENOSPC) {
            host->interfaces.counters.overruns++;
            (void)read_all(host, buffer); /* news that are older than this only repeat it */
            what |= INTERFACES_VIEW;
        } else if (r < NEWS_AT_ONCE) {
            break;
        }
    }
    return what;
}

static void on_settled(struct ev_timer *timer, time_ns now)
{
    struct host *host = CONTAINER_OF(timer, struct host, settle);
    struct read_buffer buffer;
    unsigned what;

    host->interfaces.counters.bursts++;
    if (ev_io_start_reader(&host->io, mnl_socket_get_fd(host->news)))
        ev_timer_set(&host->settle, now + HOST_SETTLE); /* no memory for a descriptor: try again */
    what = read_news(host, &buffer);
    if (what & INTERFACES_ROUTE) {
        refresh_routes(host, &buffer);
        what |= INTERFACES_VIEW;
    }
    interfaces_settled(&host->patience, what & INTERFACES_VIEW && update_view(host, now), now);
}

static void on_news(struct ev_io *io, unsigned events, time_ns now)
{
    struct host *host = CONTAINER_OF(io, struct host, io);

    if (!(events & EV_READ))
        return;
    ev_io_stop(io); /* whatever else comes waits in the socket and wakes nobody */
    ev_timer_set(&host->settle, now + interfaces_settle(&host->patience, now));
}

/* ---- door ------------------------------------------------------------------------------------ */

int host_new(struct host **out, struct ev_loop *loop,
             void (*changed)(void *owner, const struct host_view *view, time_ns now), void *owner)
{
    struct host *host = calloc(1, sizeof(*host));
    struct read_buffer buffer;
    int r;

    if (!host)
        return -ENOMEM;
    host->changed = changed;
    host->owner = owner;
    interfaces_init(&host->interfaces);
    ev_io_init(&host->io, loop, on_news);
    ev_timer_init(&host->settle, loop, on_settled);
    r = open_news(host);
    if (r)
        log_warn(NULL, "host: the kernel reports no changes of addresses: %s", err_text(r));
    r = read_all(host, &buffer);
    if (r)
        log_warn(NULL, "host: cannot read the addresses of this machine: %s", err_text(r));
    interfaces_view(&host->interfaces, &host->view);
    *out = host;
    return 0;
}

void host_free(struct host *host)
{
    if (!host)
        return;
    ev_timer_stop(&host->settle);
    ev_io_stop(&host->io);
    if (host->news)
        mnl_socket_close(host->news);
    interfaces_deinit(&host->interfaces);
    free(host);
}

const struct host_view *host_view_get(const struct host *host)
{
    return &host->view;
}

const struct host_counters *host_counters_get(const struct host *host)
{
    return &host->interfaces.counters;
}

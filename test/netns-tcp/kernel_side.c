/* The kernel's side: plain blocking sockets, and what is expected of the stack behind the device. */
#include "netns-tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEGABYTE (1u << 20)

#define expect(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "kernel side: %s failed (%s:%d, errno %d %s)\n", #condition, __FILE__, __LINE__, \
                    errno, strerror(errno));                                                                 \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static socklen_t make_address(const char *text, int port, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return sizeof(*v4);
    }
    inet_pton(AF_INET6, text, &v6->sin6_addr);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    return sizeof(*v6);
}

static int connect_to(const char *address, int port)
{
    struct sockaddr_storage to;
    socklen_t len = make_address(address, port, &to);
    int fd = socket(to.ss_family, SOCK_STREAM, 0);
    struct timeval limit = { .tv_sec = 60 };

    if (fd < 0)
        return -1;
    /* Like with like: where BBR is the default, times would say nothing about ours. */
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&to, len)) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool write_all(int fd, const void *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        data = (const uint8_t *)data + n;
        len -= (size_t)n;
    }
    return true;
}

/* Reads the pattern until the end. Returns how many bytes were right, -1 if one was not or on error. */
static int64_t read_pattern(int fd)
{
    static uint8_t buffer[1 << 16];
    int64_t got = 0;

    for (;;) {
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n < 0)
            return -1;
        if (n == 0)
            return got;
        for (ssize_t i = 0; i < n; i++)
            if (buffer[i] != pattern((uint64_t)got++))
                return -1;
    }
}

static bool write_pattern(int fd, uint64_t from, uint64_t len)
{
    static uint8_t buffer[1 << 16];

    while (len) {
        size_t part = MIN(len, sizeof(buffer));

        for (size_t i = 0; i < part; i++)
            buffer[i] = pattern(from + i);
        if (!write_all(fd, buffer, part))
            return false;
        from += part;
        len -= part;
    }
    return true;
}

static bool answer_is(int fd, uint64_t number)
{
    char got[64], want[64];
    size_t at = 0;
    ssize_t n;

    while (at < sizeof(got) - 1 && (n = read(fd, got + at, sizeof(got) - 1 - at)) > 0)
        at += (size_t)n;
    got[at] = 0;
    snprintf(want, sizeof(want), "%llu\n", (unsigned long long)number);
    if (strcmp(got, want) == 0)
        return true;
    fprintf(stderr, "kernel side: answer \"%s\", expected \"%s\"\n", got, want);
    return false;
}

/* ---- cases ------------------------------------------------------------------------------------------- */

static int download_of(const char *address, uint64_t len)
{
    char line[32];
    int fd = connect_to(address, PORT_DOWNLOAD);

    expect(fd >= 0);
    snprintf(line, sizeof(line), "%llu\n", (unsigned long long)len);
    expect(write_all(fd, line, strlen(line)));
    expect(read_pattern(fd) == (int64_t)len);
    close(fd);
    return 0;
}

static int upload_of(const char *address, int port, uint64_t len)
{
    int fd = connect_to(address, port);

    expect(fd >= 0);
    expect(write_pattern(fd, 0, len));
    expect(shutdown(fd, SHUT_WR) == 0);
    expect(answer_is(fd, len));
    close(fd);
    return 0;
}

static int download(const char *address)
{
    return download_of(address, 20 * MEGABYTE);
}

static int download_small(const char *address)
{
    return download_of(address, 2 * MEGABYTE);
}

static int upload(const char *address)
{
    return upload_of(address, PORT_UPLOAD, 20 * MEGABYTE);
}

static int upload_small(const char *address)
{
    return upload_of(address, PORT_UPLOAD, 2 * MEGABYTE);
}

uint64_t path_bytes;

int path_download(const char *address)
{
    return download_of(address, path_bytes);
}

int path_upload(const char *address)
{
    return upload_of(address, PORT_UPLOAD, path_bytes);
}

static int upload_to_slow_reader(const char *address)
{
    return upload_of(address, PORT_SILENT, 3 * MEGABYTE);
}

/* We read nothing for a while: the stack meets a window that is shut, and must notice when it opens. */
static int download_by_slow_reader(const char *address)
{
    int fd = connect_to(address, PORT_DOWNLOAD), small = 4096;

    expect(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    expect(write_all(fd, "3000000\n", 8));
    usleep(2500 * 1000);
    expect(read_pattern(fd) == 3000000);
    close(fd);
    return 0;
}

static int echo(const char *address)
{
    int fd = connect_to(address, PORT_ECHO);
    uint8_t out[5000], in[5000];

    expect(fd >= 0);
    for (int round = 0; round < 200; round++) {
        size_t len = 1 + (size_t)round * 24, at = 0;

        for (size_t i = 0; i < len; i++)
            out[i] = (uint8_t)(pattern(i) ^ round);
        expect(write_all(fd, out, len));
        while (at < len) {
            ssize_t n = read(fd, in + at, len - at);

            expect(n > 0);
            at += (size_t)n;
        }
        expect(memcmp(in, out, len) == 0);
    }
    /* Half-close: our end, then its last bytes, then its end. */
    expect(write_all(fd, "last", 4));
    expect(shutdown(fd, SHUT_WR) == 0);
    expect(recv(fd, in, 4, MSG_WAITALL) == 4 && memcmp(in, "last", 4) == 0);
    expect(read(fd, in, 1) == 0);
    close(fd);
    return 0;
}

static int hello_from(const char *address, int port)
{
    char in[16];
    int fd = connect_to(address, port);

    expect(fd >= 0);
    expect(recv(fd, in, 5, MSG_WAITALL) == 5 && memcmp(in, "hello", 5) == 0);
    expect(read(fd, in, 1) == 0);
    close(fd);
    return 0;
}

static int many_short(const char *address)
{
    for (int i = 0; i < 3000; i++)
        expect(hello_from(address, PORT_CLOSE_FIRST) == 0);
    return 0;
}

/* The same port of ours again and again: TIME_WAIT on the other side must not be in the way. */
static int same_port(const char *address)
{
    struct sockaddr_storage to, from;
    socklen_t len = make_address(address, PORT_CLOSE_FIRST, &to);

    for (int i = 0; i < 50; i++) {
        int fd = socket(to.ss_family, SOCK_STREAM, 0), yes = 1;
        struct timeval limit = { .tv_sec = 10 };
        char in[16];

        expect(fd >= 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        make_address(strchr(address, ':') ? "::" : "0.0.0.0", 45678, &from);
        expect(bind(fd, (struct sockaddr *)&from, len) == 0);
        expect(connect(fd, (struct sockaddr *)&to, len) == 0);
        expect(recv(fd, in, 5, MSG_WAITALL) == 5);
        expect(read(fd, in, 1) == 0);
        close(fd);
        usleep(5000);
    }
    return 0;
}

static int at_once(const char *address)
{
    int fds[500];

    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        char line[32];

        fds[i] = connect_to(address, PORT_DOWNLOAD);
        expect(fds[i] >= 0);
        snprintf(line, sizeof(line), "%zu\n", i * 100);
        expect(write_all(fds[i], line, strlen(line)));
    }
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        expect(read_pattern(fds[i]) == (int64_t)(i * 100));
        close(fds[i]);
    }
    return 0;
}

static int deferred(const char *address)
{
    return hello_from(address, PORT_DEFERRED);
}

static int refused(const char *address)
{
    int fd = connect_to(address, PORT_REFUSED);

    expect(fd < 0 && errno == ECONNREFUSED);
    return 0;
}

static int aborted(const char *address)
{
    int fd = connect_to(address, PORT_ABORT);
    char byte;

    expect(fd >= 0);
    expect(write_all(fd, "x", 1));
    expect(read(fd, &byte, 1) < 0 && errno == ECONNRESET);
    close(fd);
    return 0;
}

/* We reset: close with unread data. The stack must forget the connection. */
static int we_reset(const char *address)
{
    struct linger now = { .l_onoff = 1 };

    for (int i = 0; i < 20; i++) {
        int fd = connect_to(address, PORT_DOWNLOAD);

        expect(fd >= 0);
        expect(write_all(fd, "1000000\n", 8));
        usleep(2000);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close(fd);
    }
    return 0;
}

static int connect_out(const char *address)
{
    struct sockaddr_storage any;
    socklen_t len = make_address(strchr(address, ':') ? KERNEL_V6 : KERNEL_V4, 5000, &any);
    int listener = socket(any.ss_family, SOCK_STREAM, 0), control, fd;

    expect(listener >= 0 && bind(listener, (struct sockaddr *)&any, len) == 0 && listen(listener, 5) == 0);
    control = connect_to(address, PORT_CONNECT_OUT);
    expect(control >= 0 && write_all(control, "5000 3000000\n", 13));
    fd = accept(listener, NULL, NULL);
    expect(fd >= 0 && write_pattern(fd, 0, 3000000));
    close(fd);
    expect(answer_is(control, 3000000));
    close(control);
    return 0;
}

static int connect_out_refused(const char *address)
{
    int control = connect_to(address, PORT_CONNECT_OUT);

    expect(control >= 0 && write_all(control, "5001 1\n", 7));
    expect(answer_is(control, 0));
    close(control);
    return 0;
}

static int ping(const char *address)
{
    char command[256];

    snprintf(command, sizeof(command),
             "ping -c 3 -i 0.05 -W 2 -q %s >/dev/null && ping -c 2 -i 0.05 -W 2 -q -s 4000 %s >/dev/null",
             address, address);
    expect(system(command) == 0);
    return 0;
}

static int port_unreachable(const char *address)
{
    struct sockaddr_storage to;
    socklen_t len = make_address(address, 9999, &to);
    int fd = socket(to.ss_family, SOCK_DGRAM, 0);
    struct timeval limit = { .tv_sec = 2 };
    char byte;

    expect(fd >= 0 && connect(fd, (struct sockaddr *)&to, len) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    expect(send(fd, "x", 1, 0) == 1);
    expect(recv(fd, &byte, 1, 0) < 0 && errno == ECONNREFUSED);
    close(fd);
    return 0;
}

#define NO_SACK "net/ipv4/tcp_sack=0"
#define NO_TS "net/ipv4/tcp_timestamps=0"
#define NO_SCALE "net/ipv4/tcp_window_scaling=0"

const struct kernel_case kernel_cases[] = {
    { .name = "ping", .run = ping, .seconds_max = 5 },
    { .name = "ping over IPv6", .run = ping, .seconds_max = 5, .v6 = true },
    { .name = "unreachable port", .run = port_unreachable, .seconds_max = 5 },
    { .name = "unreachable port over IPv6", .run = port_unreachable, .seconds_max = 5, .v6 = true },
    { .name = "download", .run = download, .seconds_max = 20 },
    { .name = "download over IPv6", .run = download, .seconds_max = 20, .v6 = true },
    { .name = "upload", .run = upload, .seconds_max = 20 },
    { .name = "upload over IPv6", .run = upload, .seconds_max = 20, .v6 = true },
    { .name = "echo and half-close", .run = echo, .seconds_max = 10 },
    { .name = "refused", .run = refused, .seconds_max = 2 },
    { .name = "deferred accept", .run = deferred, .seconds_max = 3 },
    { .name = "we are reset", .run = aborted, .seconds_max = 2 },
    { .name = "they reset", .run = we_reset, .seconds_max = 5 },
    { .name = "3000 short connections", .run = many_short, .seconds_max = 20 },
    { .name = "500 connections at once", .run = at_once, .seconds_max = 20 },
    { .name = "one port again and again", .run = same_port, .seconds_max = 10 },
    { .name = "one port again and again, no timestamps",
      .run = same_port,
      .sysctl = NO_TS,
      .seconds_max = 10 },
    { .name = "connect out", .run = connect_out, .seconds_max = 10 },
    { .name = "connect out over IPv6", .run = connect_out, .seconds_max = 10, .v6 = true },
    { .name = "connect out, refused", .run = connect_out_refused, .seconds_max = 3 },
    { .name = "slow reader here", .run = upload_to_slow_reader, .seconds_max = 12 },
    { .name = "slow reader there", .run = download_by_slow_reader, .seconds_max = 20 },
    { .name = "download, no SACK", .run = download, .sysctl = NO_SACK, .seconds_max = 20 },
    { .name = "download, no timestamps", .run = download, .sysctl = NO_TS, .seconds_max = 20 },
    { .name = "download, no window scaling", .run = download, .sysctl = NO_SCALE, .seconds_max = 20 },
    { .name = "upload, no SACK", .run = upload, .sysctl = NO_SACK, .seconds_max = 20 },
    { .name = "upload, no timestamps", .run = upload, .sysctl = NO_TS, .seconds_max = 20 },
    { .name = "upload, no window scaling", .run = upload, .sysctl = NO_SCALE, .seconds_max = 20 },
    { .name = "download, 10 ms, 1 % loss",
      .run = download_small,
      .loss = 0.01,
      .delay_ms = 5,
      .seconds_max = 8 },
    { .name = "upload, 10 ms, 1 % loss", .run = upload_small, .loss = 0.01, .delay_ms = 5, .seconds_max = 8 },
    { .name = "download, 10 ms, 1 % loss, no SACK",
      .run = download_small,
      .sysctl = NO_SACK,
      .loss = 0.01,
      .delay_ms = 5,
      .seconds_max = 15 },
    { .name = "download, 10 ms, 1 % loss, no timestamps",
      .run = download_small,
      .sysctl = NO_TS,
      .loss = 0.01,
      .delay_ms = 5,
      .seconds_max = 8 },
    { .name = "download, 10 ms, 5 % loss",
      .run = download_small,
      .loss = 0.05,
      .delay_ms = 5,
      .seconds_max = 20 },
    { .name = "upload, 10 ms, 5 % loss",
      .run = upload_small,
      .loss = 0.05,
      .delay_ms = 5,
      .seconds_max = 20 },
    { .name = "download, 20 ms, reordering",
      .run = download_small,
      .delay_ms = 10,
      .seconds_max = 5,
      .reorder = true },
    { .name = "upload, 20 ms, reordering",
      .run = upload_small,
      .delay_ms = 10,
      .seconds_max = 5,
      .reorder = true },
    { .name = "echo, 2 ms, 3 % loss", .run = echo, .loss = 0.03, .delay_ms = 1, .seconds_max = 60 },
};
const size_t kernel_case_count = COUNT_OF(kernel_cases);

/*
 * linkemu: a userspace link emulator.
 *
 * It joins two network interfaces of one namespace at layer 2 and forwards
 * every frame between them with delay, jitter, loss, duplication, reordering,
 * corruption and a rate limit. It exists because the kernel of our machines
 * is built without the netem queueing discipline.
 *
 *   cc -O2 -Wall -Wextra -o linkemu linkemu.c -lm
 *   linkemu eA eB delay=20 jitter=3 loss=1 reorder=2 rate=100
 *
 * Settings apply to both directions; prefix one with a: or b: for frames that
 * enter on the first or the second interface only (a:rate=10 b:rate=100).
 *
 *   delay=MS jitter=MS loss=% burst=N reorder=% dup=% corrupt=%
 *   rate=MBIT queue=MS order=0|1 seed=N
 *
 * loss is the average share of frames lost. burst is the mean length of a
 * run of losses (1: independent losses). jitter is uniform in +-MS; frames
 * keep their order under jitter unless order=0. A reordered frame skips the
 * delay. queue bounds the time a frame may wait for the rate limit.
 *
 * Segmentation and checksum offloads must be off on the far ends of both
 * links, or frames will be larger than the MTU or carry unfinished checksums.
 * lab-net.sh takes care of that. Counters go to stderr on SIGUSR1 and at exit.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum { FRAME_MAX = 65536, HEAP_MAX = 1 << 17, RX_BATCH = 64 };

struct frame {
    uint64_t due;
    uint64_t seq;
    uint32_t len;
    unsigned char data[];
};

struct side {
    const char *name;
    int fd;
    /* settings for frames that enter here and leave on the other side */
    double delay_ms, jitter_ms, loss, burst, reorder, dup, corrupt;
    double rate_mbit, queue_ms;
    int keep_order;
    /* state */
    struct frame **heap;
    size_t used;
    uint64_t link_free; /* when the rate limiter is next idle */
    uint64_t last_due;
    int in_loss;
    uint64_t in, out, lost, duped, reordered, corrupted, overflow, txfail;
};

static volatile sig_atomic_t stop_flag, stats_flag;
static uint64_t rng_state = 88172645463325252ull, next_seq;

static void on_signal(int sig)
{
    if (sig == SIGUSR1)
        stats_flag = 1;
    else
        stop_flag = 1;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static double rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (double)(rng_state >> 11) / 9007199254740992.0;
}

static int chance(double percent)
{
    return percent > 0 && rng() * 100.0 < percent;
}

static int before(const struct frame *x, const struct frame *y)
{
    return x->due < y->due || (x->due == y->due && x->seq < y->seq);
}

static void heap_push(struct side *s, struct frame *f)
{
    size_t i = s->used++;

    while (i > 0 && before(f, s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = f;
}

static struct frame *heap_pop(struct side *s)
{
    struct frame *top = s->heap[0];
    struct frame *f = s->heap[--s->used];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < s->used) {
        if (child + 1 < s->used && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s->heap[child], f))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = f;
    return top;
}

/* A two-state loss model whose average is s->loss and mean run is s->burst. */
static int lose(struct side *s)
{
    double p = s->loss / 100.0, leave, enter;

    if (p <= 0)
        return 0;
    if (s->burst <= 1)
        return rng() < p;
    leave = 1.0 / s->burst;
    enter = p >= 1 ? 1 : leave * p / (1 - p);
    s->in_loss = s->in_loss ? rng() >= leave : rng() < enter;
    return s->in_loss;
}

static void enqueue(struct side *s, const unsigned char *data, size_t len, uint64_t now)
{
    uint64_t start = now, due;
    struct frame *f;
    double ms = s->delay_ms;

    if (s->rate_mbit > 0) {
        start = s->link_free > now ? s->link_free : now;
        if ((double)(start - now) > s->queue_ms * 1e6) {
            s->overflow++;
            return;
        }
        start += (uint64_t)((double)(len + 24) * 8000.0 / s->rate_mbit);
        s->link_free = start;
    }
    if (s->used >= HEAP_MAX || !(f = malloc(sizeof(*f) + len))) {
        s->overflow++;
        return;
    }
    if (chance(s->reorder)) {
        s->reordered++;
        due = start;
    } else {
        if (s->jitter_ms > 0)
            ms += (rng() * 2 - 1) * s->jitter_ms;
        due = start + (uint64_t)((ms > 0 ? ms : 0) * 1e6);
        if (s->keep_order && due < s->last_due)
            due = s->last_due;
        s->last_due = due;
    }
    f->due = due;
    f->seq = next_seq++;
    f->len = (uint32_t)len;
    memcpy(f->data, data, len);
    if (len > 60 && chance(s->corrupt)) {
        f->data[42 + (size_t)(rng() * (double)(len - 42))] ^= (unsigned char)(1u << (int)(rng() * 8));
        s->corrupted++;
    }
    heap_push(s, f);
}

static void receive(struct side *s)
{
    static unsigned char buf[FRAME_MAX];
    uint64_t now = now_ns();
    int i;

    for (i = 0; i < RX_BATCH; i++) {
        ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n <= 0)
            return;
        s->in++;
        if (lose(s)) {
            s->lost++;
            continue;
        }
        enqueue(s, buf, (size_t)n, now);
        if (chance(s->dup)) {
            s->duped++;
            enqueue(s, buf, (size_t)n, now);
        }
    }
}

/* Sends what is due; returns the time of the next frame, or 0 for none. */
static uint64_t release(struct side *from, struct side *to)
{
    uint64_t now = now_ns();

    while (from->used > 0 && from->heap[0]->due <= now) {
        struct frame *f = heap_pop(from);

        if (send(to->fd, f->data, f->len, MSG_DONTWAIT) < 0)
            from->txfail++;
        else
            from->out++;
        free(f);
    }
    return from->used > 0 ? from->heap[0]->due : 0;
}

static void print_stats(const struct side *s)
{
    fprintf(stderr,
            "linkemu: from %s: in %llu out %llu lost %llu dup %llu reordered %llu corrupted %llu overflow "
            "%llu txfail %llu waiting %zu\n",
            s->name, (unsigned long long)s->in, (unsigned long long)s->out, (unsigned long long)s->lost,
            (unsigned long long)s->duped, (unsigned long long)s->reordered, (unsigned long long)s->corrupted,
            (unsigned long long)s->overflow, (unsigned long long)s->txfail, s->used);
}

static void set_one(struct side *s, const char *key, double v)
{
    if (!strcmp(key, "delay"))
        s->delay_ms = v;
    else if (!strcmp(key, "jitter"))
        s->jitter_ms = v;
    else if (!strcmp(key, "loss"))
        s->loss = v;
    else if (!strcmp(key, "burst"))
        s->burst = v;
    else if (!strcmp(key, "reorder"))
        s->reorder = v;
    else if (!strcmp(key, "dup"))
        s->dup = v;
    else if (!strcmp(key, "corrupt"))
        s->corrupt = v;
    else if (!strcmp(key, "rate"))
        s->rate_mbit = v;
    else if (!strcmp(key, "queue"))
        s->queue_ms = v;
    else if (!strcmp(key, "order"))
        s->keep_order = v != 0;
    else {
        fprintf(stderr, "linkemu: unknown setting %s\n", key);
        exit(2);
    }
}

static void parse(struct side side[2], char *arg)
{
    int first = 0, last = 1;
    char *eq;

    if ((arg[0] == 'a' || arg[0] == 'b') && arg[1] == ':') {
        first = last = arg[0] == 'b';
        arg += 2;
    }
    eq = strchr(arg, '=');
    if (!eq) {
        fprintf(stderr, "linkemu: expected KEY=VALUE, got %s\n", arg);
        exit(2);
    }
    *eq = '\0';
    if (!strcmp(arg, "seed")) {
        uint64_t seed = strtoull(eq + 1, NULL, 10);

        rng_state = (seed + 1) * 0x9E3779B97F4A7C15ull;
        return;
    }
    for (int i = first; i <= last; i++)
        set_one(&side[i], arg, strtod(eq + 1, NULL));
}

static void open_side(struct side *s)
{
    struct sockaddr_ll sll = { 0 };
    struct packet_mreq mr = { 0 };
    int on = 1, size = 8 << 20;

    s->heap = calloc(HEAP_MAX, sizeof(*s->heap));
    s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (!s->heap || s->fd < 0) {
        perror("linkemu: socket");
        exit(1);
    }
    sll.sll_family = AF_PACKET;
    sll.sll_protocol = htons(ETH_P_ALL);
    sll.sll_ifindex = (int)if_nametoindex(s->name);
    if (sll.sll_ifindex == 0) {
        perror(s->name);
        exit(1);
    }
    mr.mr_ifindex = sll.sll_ifindex;
    mr.mr_type = PACKET_MR_PROMISC;
    setsockopt(s->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
    setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    if (bind(s->fd, (struct sockaddr *)&sll, sizeof(sll)) < 0 ||
        setsockopt(s->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mr, sizeof(mr)) < 0) {
        perror(s->name);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct side side[2] = { { .burst = 1, .queue_ms = 50, .keep_order = 1 },
                            { .burst = 1, .queue_ms = 50, .keep_order = 1 } };
    struct sigaction sa = { .sa_handler = on_signal };
    struct pollfd pfd[2];

    if (argc < 3) {
        fprintf(stderr, "usage: linkemu IFACE-A IFACE-B [a:|b:]KEY=VALUE...\n");
        return 2;
    }
    for (int i = 0; i < 2; i++)
        side[i].name = argv[1 + i];
    for (int i = 3; i < argc; i++)
        parse(side, argv[i]);
    for (int i = 0; i < 2; i++) {
        open_side(&side[i]);
        pfd[i] = (struct pollfd) { .fd = side[i].fd, .events = POLLIN };
    }
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);

    while (!stop_flag) {
        uint64_t a = release(&side[0], &side[1]);
        uint64_t b = release(&side[1], &side[0]);
        uint64_t next = !a || (b && b < a) ? b : a;
        struct timespec ts, *timeout = NULL;

        if (next) {
            uint64_t now = now_ns();
            uint64_t wait = next > now ? next - now : 0;

            ts.tv_sec = (time_t)(wait / 1000000000ull);
            ts.tv_nsec = (long)(wait % 1000000000ull);
            timeout = &ts;
        }
        if (ppoll(pfd, 2, timeout, NULL) > 0) {
            for (int i = 0; i < 2; i++)
                if (pfd[i].revents)
                    receive(&side[i]);
        }
        if (stats_flag) {
            stats_flag = 0;
            print_stats(&side[0]);
            print_stats(&side[1]);
        }
    }
    print_stats(&side[0]);
    print_stats(&side[1]);
    return 0;
}

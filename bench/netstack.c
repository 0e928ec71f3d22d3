/* bench/netstack.c - what a packet, a request and a connection cost in src/netstack, without any I/O
 *
 * Two stacks in memory, thread CPU time, best of several rounds. Build and run (LIB: a release build of
 * libmanytails.a):  cc -O2 -D_GNU_SOURCE -Isrc bench/netstack.c $LIB -o /tmp/ns && /tmp/ns
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "netstack/netstack.h"

#define ROUNDS 5
#define BULK_BYTES (1ull << 30)
#define REQUESTS 200000
#define CONNECTIONS 50000

static struct side {
    struct netstack *ns;
    bool ready, serving;
    handle conn;
    uint64_t received, answered, closed;
} a, b;
static time_ns now = 1000 * SEC;
static double sending, receiving; /* seconds */
static uint64_t packets;

static bool split; /* tell the sides apart: asking for the time costs more than a small packet */

static double cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void random_fill(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)(rand() >> 5);
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    (void)ctx, (void)flow, (void)pending, (void)user;
    return NETSTACK_ACCEPT;
}

static void established(void *ctx, handle conn, void *user, time_ns at)
{
    (void)user, (void)at;
    ((struct side *)ctx)->conn = conn;
}

static void readable(void *ctx, handle conn, void *user, time_ns at)
{
    static uint8_t answer[1024];
    struct side *s = ctx;
    size_t n = tcp_readable_bytes(s->ns, conn);

    (void)user, (void)at;
    s->received += n;
    tcp_consume(s->ns, conn, n);
    if (s->serving && n)
        s->answered += (uint64_t)tcp_write(s->ns, conn, SPAN_OF(answer), false);
    if (tcp_at_end(s->ns, conn))
        tcp_shutdown(s->ns, conn);
}

static void writable(void *ctx, handle conn, void *user, time_ns at)
{
    (void)ctx, (void)conn, (void)user, (void)at;
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns at)
{
    (void)conn, (void)user, (void)reason, (void)at;
    ((struct side *)ctx)->closed++;
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    (void)node, (void)peer;
    ((struct side *)ctx)->ready = true;
}

static void deadline_changed(void *ctx)
{
    (void)ctx;
}

static const struct netstack_ops ops = { .on_syn = on_syn,
                                         .established = established,
                                         .readable = readable,
                                         .writable = writable,
                                         .closed = closed,
                                         .output_ready = output_ready,
                                         .deadline_changed = deadline_changed };

static struct ip address(const struct side *s)
{
    struct ip x = IP_NONE;

    if (!ip_parse(span_from_str(s == &a ? "100.64.0.1" : "100.64.0.2"), &x))
        abort();
    return x;
}

static void start(struct side *s)
{
    struct netstack_config config = { .ops = &ops, .ctx = s, .random = random_fill };
    struct ip own = address(s);

    *s = (struct side) { 0 };
    if (netstack_new(&s->ns, &config, now) || netstack_node_add(s->ns, 0, &own, 1))
        abort();
}

/* One batch from one to the other. `bulk`: from a, so that the two sides can be told apart. */
static bool carry(struct side *from, struct side *to)
{
    static uint8_t bytes[NETSTACK_SEGMENTS_MAX][NETSTACK_MTU];
    struct span spans[NETSTACK_SEGMENTS_MAX];
    struct netstack_segment s;
    double t0 = split ? cpu() : 0, t1;

    if (!from->ready)
        return false;
    if (!netstack_next_segment(from->ns, 0, 1, NETSTACK_SEGMENTS_MAX, now, &s)) {
        from->ready = false;
        return false;
    }
    for (uint32_t i = 0; i < s.count; i++)
        spans[i] = span_make(bytes[i], netstack_segment_write(&s, i, bytes[i], NETSTACK_MTU));
    t1 = split ? cpu() : 0;
    netstack_input(to->ns, 0, 1, spans, s.count, now);
    *(from == &a ? &sending : &receiving) += t1 - t0;
    *(to == &a ? &sending : &receiving) += split ? cpu() - t1 : 0;
    packets += s.count;
    return true;
}

static void settle(void)
{
    while (carry(&a, &b) | carry(&b, &a)) {
    }
}

static handle connect_to_b(void)
{
    struct ip own = address(&a);
    struct ip_port to = { address(&b), 80 };
    handle h;

    if (tcp_connect(a.ns, 0, 1, &own, &to, NULL, now, &h))
        abort();
    return h;
}

static void tick(time_ns by)
{
    now += by;
    if (netstack_deadline(a.ns) <= now)
        netstack_tick(a.ns, now);
    if (netstack_deadline(b.ns) <= now)
        netstack_tick(b.ns, now);
}

static void bulk(void)
{
    static uint8_t data[65536];
    double best = 1e9, best_send = 0, best_receive = 0;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t sent = 0;

        start(&a);
        start(&b);
        handle h = connect_to_b();

        settle();
        sending = receiving = 0;
        packets = 0;
        while (b.received < BULK_BYTES) {
            double t = cpu();

            for (ssize_t n = 1; n > 0;) {
                n = tcp_write(a.ns, h, SPAN_OF(data), true);
                sent += n > 0 ? (uint64_t)n : 0;
            }
            sending += cpu() - t;
            settle();
            tick(50 * USEC);
        }
        if (sending + receiving < best) {
            best = sending + receiving;
            best_send = sending;
            best_receive = receiving;
        }
        netstack_free(a.ns);
        netstack_free(b.ns);
    }
    double data_packets = (double)BULK_BYTES / 1228;

    printf("bulk            %6.2f GB/s of CPU, both sides; per data packet: %3.0f ns sending, %3.0f ns "
           "receiving\n",
           (double)BULK_BYTES / best / 1e9, best_send / data_packets * 1e9,
           best_receive / data_packets * 1e9);
}

static void requests(void)
{
    double best = 1e9;

    for (int round = 0; round < ROUNDS; round++) {
        start(&a);
        start(&b);
        b.serving = true;
        handle h = connect_to_b();

        settle();
        double t = cpu();

        for (int i = 0; i < REQUESTS; i++) {
            if (tcp_write(a.ns, h, span_from_str("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), false) <= 0)
                abort();
            settle();
            tick(100 * USEC);
        }
        best = MIN(best, cpu() - t);
        netstack_free(a.ns);
        netstack_free(b.ns);
    }
    printf("request         %6.0f ns, both sides: 27 bytes there, 1024 back\n", best / REQUESTS * 1e9);
}

static void connections(void)
{
    double best = 1e9;

    for (int round = 0; round < ROUNDS; round++) {
        start(&a);
        start(&b);
        double t = cpu();

        for (int i = 0; i < CONNECTIONS; i++) {
            handle h = connect_to_b();

            settle();
            tcp_shutdown(a.ns, h);
            settle();
            tick(2 * MSEC);
        }
        best = MIN(best, cpu() - t);
        if (b.closed != CONNECTIONS)
            abort();
        netstack_free(a.ns);
        netstack_free(b.ns);
    }
    printf("connection      %6.0f ns, both sides: opened, ended, forgotten\n", best / CONNECTIONS * 1e9);
}

int main(int argc, char **argv)
{
    split = true;
    bulk();
    split = false;
    if (argc > 1 && strcmp(argv[1], "bulk") == 0)
        return 0;
    requests();
    connections();
    return 0;
}

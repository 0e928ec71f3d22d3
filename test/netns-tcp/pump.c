/* Our side: the stack, its services, and a pump to and from the device that delays, loses and reorders. */
#include "netns-tcp.h"

#include "netstack/netstack.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64

struct packet {
    struct packet *next;
    time_ns at;
    size_t len;
    uint8_t bytes[2048];
};

struct pipe {
    struct packet *first, **last;
    time_ns free_at;
};

/* One connection of a service. */
struct session {
    handle conn;
    int port;
    char line[64];
    size_t line_len;
    bool line_done, ended, wrong;
    uint64_t sent, total, got;
    time_ns quiet_until;
    struct session *control; /* an outgoing one answers here */
    struct session *next;
};

static struct {
    struct netstack *ns;
    const struct kernel_case *c;
    int tun;
    bool ready;
    struct pipe in, out;
    struct session *sessions;
    handle deferred[16];
    time_ns deferred_at[16];
    time_ns deadline;
} pump;

static time_ns clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SEC + t.tv_nsec;
}

static void random_fill(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)(rand() >> 7);
}

static struct ip stack_address(bool v6)
{
    struct ip a = IP_NONE;

    (void)!ip_parse(span_from_str(v6 ? STACK_V6 : STACK_V4), &a);
    return a;
}

/* ---- services ----------------------------------------------------------------------------------------- */

static void send_pattern(struct session *s)
{
    uint8_t buffer[16384];

    while (s->sent < s->total) {
        size_t want = MIN(sizeof(buffer), s->total - s->sent);
        ssize_t n;

        for (size_t i = 0; i < want; i++)
            buffer[i] = pattern(s->sent + i);
        n = tcp_write(pump.ns, s->conn, span_make(buffer, want), false);
        if (n > 0)
            s->sent += (uint64_t)n;
        if (n < (ssize_t)want)
            return;
    }
    tcp_shutdown(pump.ns, s->conn);
}

static void answer_number(struct session *s, uint64_t number)
{
    char line[32];

    snprintf(line, sizeof(line), "%llu\n", (unsigned long long)number);
    (void)!tcp_write(pump.ns, s->conn, span_from_str(line), false);
    tcp_shutdown(pump.ns, s->conn);
}

static void connect_out(struct session *s, unsigned port)
{
    struct session *out = calloc(1, sizeof(*out));
    struct ip local = stack_address(pump.c->v6);
    struct ip_port to = { .port = (uint16_t)port };

    (void)!ip_parse(span_from_str(pump.c->v6 ? KERNEL_V6 : KERNEL_V4), &to.ip);
    out->port = PORT_UPLOAD;
    out->control = s;
    out->next = pump.sessions;
    pump.sessions = out;
    if (tcp_connect(pump.ns, 0, 7, &local, &to, out, clock_now(), &out->conn))
        abort();
}

/* The first line says what is wanted. */
static void take_line(struct session *s, const uint8_t *bytes, size_t len)
{
    unsigned long long a = 0, b = 0;

    for (size_t i = 0; i < len && !s->line_done; i++) {
        if (bytes[i] == '\n')
            s->line_done = true;
        else if (s->line_len < sizeof(s->line) - 1)
            s->line[s->line_len++] = (char)bytes[i];
    }
    if (!s->line_done)
        return;
    sscanf(s->line, "%llu %llu", &a, &b);
    if (s->port == PORT_DOWNLOAD) {
        s->total = a;
        send_pattern(s);
    } else {
        connect_out(s, (unsigned)a);
    }
}

/* Returns how much of it was taken. */
static size_t take(struct session *s, struct span bytes)
{
    if (s->port == PORT_DOWNLOAD || s->port == PORT_CONNECT_OUT) {
        if (!s->line_done)
            take_line(s, bytes.data, bytes.len);
        return bytes.len;
    }
    if (s->port == PORT_ECHO) {
        ssize_t n = tcp_write(pump.ns, s->conn, bytes, false);

        return n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < bytes.len; i++)
        s->wrong |= bytes.data[i] != pattern(s->got++);
    return bytes.len;
}

static void hear(struct session *s, time_ns now)
{
    struct span spans[16];
    size_t n = tcp_peek(pump.ns, s->conn, spans, COUNT_OF(spans)), done = 0;
    bool all = true;

    if (now < s->quiet_until)
        return;
    if (n && s->port == PORT_ABORT) {
        tcp_abort(pump.ns, s->conn);
        return;
    }
    for (size_t i = 0; i < n && all; i++) {
        size_t took = take(s, spans[i]);

        done += took;
        all = took == spans[i].len;
    }
    tcp_consume(pump.ns, s->conn, done);
    if (n == COUNT_OF(spans) && all) {
        hear(s, now);
        return;
    }
    if (!tcp_at_end(pump.ns, s->conn) || s->ended)
        return;
    s->ended = true;
    if (s->port == PORT_ECHO)
        tcp_shutdown(pump.ns, s->conn);
    else if (s->control)
        tcp_shutdown(pump.ns, s->conn);
    else if (s->port == PORT_UPLOAD || s->port == PORT_SILENT)
        answer_number(s, s->wrong ? 0 : s->got);
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    (void)ctx;
    *user = (void *)(uintptr_t)flow->local.port;
    if (flow->local.port == PORT_REFUSED)
        return NETSTACK_RESET;
    if (flow->local.port == PORT_DEFERRED) {
        for (size_t i = 0; i < COUNT_OF(pump.deferred); i++)
            if (!pump.deferred[i]) {
                pump.deferred[i] = pending;
                pump.deferred_at[i] = clock_now() + 300 * MSEC;
                return NETSTACK_DEFER;
            }
    }
    return NETSTACK_ACCEPT;
}

static void established(void *ctx, handle conn, void *user, time_ns now)
{
    struct session *s = user;

    (void)ctx;
    if ((uintptr_t)user < 65536) {
        s = calloc(1, sizeof(*s));
        if (!s)
            abort();
        s->port = (int)(uintptr_t)user;
        s->conn = conn;
        s->next = pump.sessions;
        pump.sessions = s;
        tcp_set_user(pump.ns, conn, s);
    }
    if (s->port == PORT_SILENT)
        s->quiet_until = now + 1500 * MSEC;
    if (s->port == PORT_CLOSE_FIRST || s->port == PORT_DEFERRED) {
        (void)!tcp_write(pump.ns, conn, span_from_str("hello"), false);
        tcp_shutdown(pump.ns, conn);
    }
}

static void readable(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    hear(user, now);
}

static void writable(void *ctx, handle conn, void *user, time_ns now)
{
    struct session *s = user;

    (void)ctx;
    (void)conn;
    if (s->port == PORT_DOWNLOAD)
        send_pattern(s);
    else if (s->port == PORT_ECHO)
        hear(s, now);
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now)
{
    struct session *s = user, **at = &pump.sessions;

    (void)ctx;
    (void)conn;
    (void)now;
    (void)reason;
    if (s->control)
        answer_number(s->control, s->wrong ? 0 : s->got);
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    (void)ctx;
    (void)node;
    (void)peer;
    pump.ready = true;
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

/* ---- the path -------------------------------------------------------------------------------------------
 */

static void put(struct pipe *p, const uint8_t *bytes, size_t len, time_ns now)
{
    struct packet *k;

    if (pump.c->loss > 0 && rand() < pump.c->loss * RAND_MAX)
        return;
    p->free_at = MAX(p->free_at, now);
    if (pump.c->rate) {
        if (p->free_at - now > 50 * MSEC)
            return; /* the bottleneck's queue is full */
        p->free_at += (time_ns)(len * SEC / pump.c->rate);
    }
    k = malloc(sizeof(*k));
    if (!k)
        abort();
    k->len = len;
    k->at = p->free_at + pump.c->delay_ms * MSEC;
    if (pump.c->reorder && rand() % 50 == 0)
        k->at += 3 * MSEC;
    memcpy(k->bytes, bytes, len);
    struct packet **where = p->last && (!*p->last || (*p->last)->at <= k->at) ? p->last : &p->first;

    while (*where && (*where)->at <= k->at)
        where = &(*where)->next;
    k->next = *where;
    *where = k;
    p->last = where;
}

static struct packet *get(struct pipe *p, time_ns now)
{
    struct packet *k = p->first;

    if (!k || k->at > now)
        return NULL;
    p->first = k->next;
    if (p->last == &k->next || !p->first)
        p->last = NULL;
    return k;
}

static void from_device(time_ns now)
{
    uint8_t bytes[2048];

    for (int i = 0; i < 4 * BATCH; i++) {
        ssize_t n = read(pump.tun, bytes, sizeof(bytes));

        if (n <= 0)
            return;
        put(&pump.in, bytes, (size_t)n, now);
    }
}

static void to_stack(time_ns now)
{
    struct packet *taken[BATCH];
    struct span spans[BATCH];
    size_t n;

    do {
        n = 0;
        while (n < BATCH && (taken[n] = get(&pump.in, now))) {
            spans[n] = span_make(taken[n]->bytes, taken[n]->len);
            n++;
        }
        if (n)
            netstack_input(pump.ns, 0, 7, spans, n, now);
        for (size_t i = 0; i < n; i++)
            free(taken[i]);
    } while (n == BATCH);
}

static void from_stack(time_ns now)
{
    struct netstack_segment segment;
    uint8_t bytes[NETSTACK_MTU];
    struct packet *k;

    while (pump.ready) {
        if (!netstack_next_segment(pump.ns, 0, 7, NETSTACK_SEGMENTS_MAX, now, &segment)) {
            pump.ready = false;
            break;
        }
        for (uint32_t i = 0; i < segment.count; i++) {
            size_t len = netstack_segment_write(&segment, i, bytes, sizeof(bytes));

            if (pump.c->delay_ms || pump.c->loss > 0 || pump.c->rate || pump.c->reorder)
                put(&pump.out, bytes, len, now);
            else if (write(pump.tun, bytes, len) < 0 && errno != EAGAIN && errno != ENOBUFS)
                perror("write to the device");
        }
    }
    while ((k = get(&pump.out, now))) {
        (void)!write(pump.tun, k->bytes, k->len);
        free(k);
    }
}

static void consumers(time_ns now)
{
    for (size_t i = 0; i < COUNT_OF(pump.deferred); i++)
        if (pump.deferred[i] && now >= pump.deferred_at[i]) {
            netstack_syn_decide(pump.ns, pump.deferred[i], NETSTACK_ACCEPT, (void *)(uintptr_t)PORT_DEFERRED,
                                now);
            pump.deferred[i] = HANDLE_NONE;
        }
    for (struct session *s = pump.sessions, *next; s; s = next) {
        next = s->next;
        if (s->quiet_until && now >= s->quiet_until) {
            s->quiet_until = 0;
            hear(s, now);
        }
    }
}

static time_ns next_time(void)
{
    time_ns at = netstack_deadline(pump.ns);

    if (pump.in.first)
        at = MIN(at, pump.in.first->at);
    if (pump.out.first)
        at = MIN(at, pump.out.first->at);
    for (size_t i = 0; i < COUNT_OF(pump.deferred); i++)
        if (pump.deferred[i])
            at = MIN(at, pump.deferred_at[i]);
    for (struct session *s = pump.sessions; s; s = s->next)
        if (s->quiet_until)
            at = MIN(at, s->quiet_until);
    return at;
}

static void turn(time_ns wait_max)
{
    time_ns now = clock_now(), wait = MIN(MAX(next_time() - now, 0), wait_max);
    struct timespec t = { .tv_sec = wait / SEC, .tv_nsec = wait % SEC };
    struct pollfd p = { .fd = pump.tun, .events = POLLIN };

    ppoll(&p, 1, &t, NULL);
    now = clock_now();
    from_device(now);
    to_stack(now);
    if (netstack_deadline(pump.ns) <= now)
        netstack_tick(pump.ns, now);
    consumers(now);
    from_stack(now);
}

static void print_counters(void)
{
    const struct netstack_counters *n = netstack_counters(pump.ns);

#define X(name, text) \
    if (n->name)      \
        printf("    %-24s %llu\n", #name, (unsigned long long)n->name);
    NETSTACK_COUNTERS(X)
#undef X
}

int pump_run(const struct kernel_case *c, int tun, int child, bool verbose)
{
    struct netstack_config config = { .ops = &ops, .random = random_fill };
    struct ip addresses[] = { stack_address(false), stack_address(true) };
    time_ns start = clock_now(), end;
    struct netstack_usage u;
    int status = 0, r = 0;

    pump.c = c;
    pump.tun = tun;
    srand(getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : 1);
    if (netstack_new(&pump.ns, &config, start) || netstack_node_add(pump.ns, 0, addresses, 2))
        return 1;
    while (waitpid(child, &status, WNOHANG) == 0) {
        turn(100 * MSEC);
        if (clock_now() - start > (time_ns)(c->seconds_max * (double)SEC)) {
            fprintf(stderr, "our side: took longer than %.0f s\n", c->seconds_max);
            return PUMP_SLOW;
        }
    }
    end = clock_now();
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        r = 1;
    /* What the child left behind must come to an end by itself. */
    while (netstack_usage(pump.ns).conns && clock_now() < end + 60 * SEC)
        turn(10 * MSEC);
    u = netstack_usage(pump.ns);
    if (u.conns || u.half_open || u.chunk_bytes) {
        fprintf(stderr, "our side: %u connections, %u half-open, %llu bytes of buffers are left\n", u.conns,
                u.half_open, (unsigned long long)u.chunk_bytes);
        r = 1;
    }
    if (verbose || r)
        print_counters();
    printf("%s %s (%.2f s)\n", r ? "FAILED" : "passed", c->name, (double)(end - start) / 1e9);
    netstack_free(pump.ns);
    return r;
}

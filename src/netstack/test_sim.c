/* Two stacks and a bad network between them: every seed is another network and another behaviour of the
 * consumers. `test_netstack_sim FIRST COUNT [verbose]` runs other seeds than the usual ones. */
#include "check.h"

#include "netstack/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define CONNS_MAX 12
#define USUAL_SEEDS 300
#define TIME_MAX (4000 * SEC)

/* ---- chance ------------------------------------------------------------------------------------- */

static uint64_t chance_state;

static uint64_t chance(void)
{
    uint64_t z = (chance_state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
    return n ? chance() % n : 0;
}

static bool one_in(uint64_t n) /* 0: never */
{
    return n && below(n) == 0;
}

static void chance_bytes(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)chance();
}

/* ---- the world ------------------------------------------------------------------------------------ */

struct packet {
    struct packet *next;
    time_ns at;
    size_t len;
    uint8_t bytes[NETSTACK_MTU];
};

struct link {
    struct packet *first; /* by arrival */
    time_ns free_at;      /* when the transmitter is idle again */
    size_t queued;
    time_ns burst_until;
};

/* One end of a connection: sends `total` bytes of a known pattern and checks what it gets. */
struct end {
    handle conn;
    struct side *side;
    int number; /* of the connection */
    uint64_t sent, total, got;
    bool open, shut, ended, closed, reset_expected;
    enum netstack_reason reason;
    time_ns pause_until;
    uint64_t reads_limited; /* consume only parts, with pauses */
    uint32_t edge;          /* highest right edge seen */
    bool edge_known;
};

struct side {
    struct netstack *ns;
    int id;
    bool ready;
    struct end ends[CONNS_MAX];
    struct link out;
};

static struct world {
    struct side sides[2];
    time_ns now;
    uint64_t rate; /* bytes per second */
    time_ns delay, jitter;
    size_t queue;
    uint64_t loss, burst, reorder, duplicate, corrupt; /* one in */
    bool backpressure, v6;
    time_ns batch; /* packets that arrive within this time come together */
    int conns;
    uint64_t steps, lost;
    uint64_t seed;
    bool verbose, tracing;
} world;

static void dump(void);

#define sim_assert(condition)                                                                           \
    do {                                                                                                \
        if (!(condition)) {                                                                             \
            fprintf(stderr, "seed %llu at %.6f s: %s failed (%s:%d)\n", (unsigned long long)world.seed, \
                    (double)world.now / 1e9, #condition, __FILE__, __LINE__);                           \
            dump();                                                                                     \
            abort();                                                                                    \
        }                                                                                               \
    } while (0)

static struct ip address(int side)
{
    struct ip a;

    assert_true(ip_parse(span_from_str(world.v6 ? (side ? "fd7a:115c:a1e0::2" : "fd7a:115c:a1e0::1")
                                                : (side ? "100.64.0.2" : "100.64.0.1")),
                         &a));
    return a;
}

static uint8_t pattern(int conn, int from, uint64_t at)
{
    uint64_t x = (at + 1) * 0x9e3779b97f4a7c15 + (uint64_t)conn * 77 + (uint64_t)from * 131071;

    return (uint8_t)(x >> 37);
}

static void dump(void)
{
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < world.conns && world.sides[i].ns; k++) {
            const struct end *e = &world.sides[i].ends[k];
            const struct tcp_conn *c = slab_get(&world.sides[i].ns->conns, e->conn);

            fprintf(stderr, "side %d end %d: sent %llu/%llu got %llu%s%s%s%s", i, k,
                    (unsigned long long)e->sent, (unsigned long long)e->total, (unsigned long long)e->got,
                    e->open ? " open" : "", e->shut ? " shut" : "", e->ended ? " ended" : "",
                    e->closed ? " closed" : "");
            if (c)
                fprintf(
                    stderr,
                    " | state %d flags %x events %x una %u nxt %u wnd %u cwnd %u mss %u rto %u rcv %u..%u",
                    c->state, c->flags, c->events, c->snd_una, c->snd_nxt, c->snd_wnd, c->cwnd, c->snd_mss,
                    c->rto_ms, c->rcv_nxt, c->rcv_edge);
            if (c && c->tx)
                fprintf(stderr, " | write %u pipe %u lost %u sacked %u phase %d timer %d at %d ready %d",
                        c->tx->write_seq, c->tx->pipe, c->tx->lost, c->tx->sacked, c->tx->phase, c->tx->timer,
                        (int32_t)(c->tx->timer_at - world.sides[i].ns->now_ms), list_linked(&c->ready));
            if (c && c->rx)
                fprintf(stderr, " | stored %u ranges %u fin %d", c->rx->stored.bytes, c->rx->range_count,
                        c->rx->has_fin);
            fprintf(stderr, "\n");
        }
}

/* ---- the network ------------------------------------------------------------------------------------- */

static void enqueue(struct link *l, const uint8_t *bytes, size_t len, time_ns at)
{
    struct packet *p = malloc(sizeof(*p)), **where = &l->first;

    assert_non_null(p);
    p->at = at;
    p->len = len;
    memcpy(p->bytes, bytes, len);
    while (*where && (*where)->at <= at)
        where = &(*where)->next;
    p->next = *where;
    *where = p;
    l->queued += len;
}

static bool dropped(struct link *l)
{
    if (one_in(world.burst))
        l->burst_until = world.now + (time_ns)below(30 * MSEC);
    return world.now < l->burst_until || one_in(world.loss);
}

/* With a fourth argument: what goes onto the wire, one line per packet. */
static void trace(const struct side *s, const uint8_t *bytes, size_t len, const char *fate)
{
    size_t ip = world.v6 ? IP6_BYTES : IP4_BYTES;
    const uint8_t *t = bytes + ip;
    size_t header = (size_t)(t[12] >> 4) * 4;

    if (!world.tracing)
        return;
    printf("%.6f %d %u>%u %c%c%c%c seq %u ack %u win %u len %zu", (double)world.now / 1e9, s->id,
           load_be16(t), load_be16(t + 2), t[13] & TCP_SYN ? 'S' : '.', t[13] & TCP_FIN ? 'F' : '.',
           t[13] & TCP_RST ? 'R' : '.', t[13] & TCP_PSH ? 'P' : '.', load_be32(t + 4), load_be32(t + 8),
           load_be16(t + 14), len - ip - header);
    for (size_t i = TCP_BYTES; i + 1 < header; i += t[i] == 1 ? 1 : MAX(t[i + 1], 1))
        if (t[i] == 5)
            for (size_t k = i + 2; k + 8 <= i + t[i + 1]; k += 8)
                printf(" %u-%u", load_be32(t + k), load_be32(t + k + 4));
    printf("%s\n", fate);
}

static void transmit(struct side *s, uint8_t *bytes, size_t len)
{
    struct link *l = &s->out;
    time_ns at;

    l->free_at = MAX(l->free_at, world.now);
    if ((size_t)(l->free_at - world.now) * world.rate / SEC > world.queue || dropped(l)) {
        world.lost++;
        trace(s, bytes, len, " LOST");
        return;
    }
    l->free_at += (time_ns)(len * SEC / world.rate);
    at = l->free_at + world.delay + (world.jitter ? (time_ns)below((uint64_t)world.jitter) : 0);
    trace(s, bytes, len, "");
    if (one_in(world.reorder))
        at += (time_ns)below((uint64_t)world.delay + MSEC);
    if (one_in(world.duplicate))
        enqueue(l, bytes, len, at + (time_ns)below(3 * MSEC));
    if (one_in(world.corrupt))
        bytes[below(len)] ^= (uint8_t)(1 << below(8));
    enqueue(l, bytes, len, at);
}

static bool has_room(const struct side *s)
{
    return !world.backpressure || s->out.free_at <= world.now + MSEC;
}

static void pump(struct side *s)
{
    struct netstack_segment segment;
    uint8_t packet[NETSTACK_MTU];

    while (s->ready && has_room(s)) {
        if (!netstack_next_segment(s->ns, 0, 1, 1 + below(NETSTACK_SEGMENTS_MAX), world.now, &segment)) {
            s->ready = false;
            break;
        }
        sim_assert(segment.count >= 1 && segment.count <= NETSTACK_SEGMENTS_MAX);
        for (uint32_t i = 0; i < segment.count; i++) {
            size_t len = netstack_segment_write(&segment, i, packet, sizeof(packet));

            sim_assert(len > 0 && len <= NETSTACK_MTU);
            sim_assert(i + 1 == segment.count || len == segment.packet_bytes);
            transmit(s, packet, len);
        }
    }
}

/* ---- consumers ------------------------------------------------------------------------------------------
 */

static struct side *side_of(void *ctx)
{
    return ctx;
}

static void say(struct end *e)
{
    uint8_t buffer[20000];

    while (e->open && !e->shut && e->sent < e->total) {
        size_t some = 1 + below(sizeof(buffer)), want = MIN(some, e->total - e->sent);
        ssize_t n;

        for (size_t i = 0; i < want; i++)
            buffer[i] = pattern(e->number, e->side->id, e->sent + i);
        n = tcp_write(e->side->ns, e->conn, span_make(buffer, want), one_in(4) && e->sent + want < e->total);
        sim_assert(n >= 0 && (size_t)n <= want);
        e->sent += (uint64_t)n;
        if ((size_t)n < want)
            return;
    }
    if (e->open && !e->shut && e->sent == e->total) {
        e->shut = true;
        tcp_shutdown(e->side->ns, e->conn);
    }
}

static void hear(struct end *e)
{
    struct span spans[64];
    size_t n, left;

    if (!e->open || e->closed || world.now < e->pause_until)
        return;
    left = e->reads_limited ? below(e->reads_limited) : SIZE_MAX;
    n = tcp_peek(e->side->ns, e->conn, spans, COUNT_OF(spans));
    for (size_t i = 0; i < n && left; i++) {
        size_t part = MIN(left, spans[i].len);

        for (size_t k = 0; k < part; k++)
            sim_assert(spans[i].data[k] == pattern(e->number, !e->side->id, e->got + k));
        e->got += part;
        left -= part;
        tcp_consume(e->side->ns, e->conn, part);
        /* Spans stay valid only until tcp_consume: look again. */
        n = tcp_peek(e->side->ns, e->conn, spans, COUNT_OF(spans));
        i = SIZE_MAX;
    }
    if (e->reads_limited && tcp_readable_bytes(e->side->ns, e->conn))
        e->pause_until = world.now + (time_ns)below(20 * MSEC);
    if (tcp_at_end(e->side->ns, e->conn))
        e->ended = true;
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    struct side *s = side_of(ctx);

    (void)pending;
    sim_assert(flow->local.port >= 1000 && flow->local.port < 1000 + CONNS_MAX);
    *user = &s->ends[flow->local.port - 1000];
    return NETSTACK_ACCEPT;
}

static void established(void *ctx, handle conn, void *user, time_ns now)
{
    struct end *e = user;

    (void)ctx;
    (void)now;
    sim_assert(!e->open && !e->closed);
    e->conn = conn;
    e->open = true;
    say(e);
}

static void readable(void *ctx, handle conn, void *user, time_ns now)
{
    struct end *e = user;

    (void)ctx;
    (void)now;
    sim_assert(e->conn == conn && e->open);
    hear(e);
}

static void writable(void *ctx, handle conn, void *user, time_ns now)
{
    struct end *e = user;

    (void)ctx;
    (void)now;
    sim_assert(e->conn == conn && e->open);
    say(e);
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now)
{
    struct end *e = user;

    (void)ctx;
    (void)now;
    sim_assert(e->conn == conn && !e->closed);
    sim_assert(!tcp_flow(e->side->ns, conn, &(struct netstack_flow) { 0 }));
    e->closed = true;
    e->open = false;
    e->reason = reason;
    if (reason != NETSTACK_CLOSED_DONE)
        fprintf(stderr, "side %d end %d: %s\n", e->side->id, e->number, netstack_reason_text(reason));
    sim_assert(reason == NETSTACK_CLOSED_DONE);
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    sim_assert(node == 0 && peer == 1);
    side_of(ctx)->ready = true;
}

static void deadline_changed(void *ctx)
{
    (void)ctx;
}

static const struct netstack_ops ops = {
    .on_syn = on_syn,
    .established = established,
    .readable = readable,
    .writable = writable,
    .closed = closed,
    .output_ready = output_ready,
    .deadline_changed = deadline_changed,
};

/* ---- invariants
 * -------------------------------------------------------------------------------------------- */

static void check_conn(struct side *s, const struct tcp_conn *c)
{
    struct end *e = c->user;

    if (c->tx) {
        records_check(c);
        sim_assert(c->tx->queue.bytes <= s->ns->config.limits.send_buffer_bytes_max);
        sim_assert(c->tx->queue.bytes == c->tx->write_seq - seq_min(c->snd_una, c->tx->write_seq));
    }
    if (c->state < TCP_ESTABLISHED)
        return;
    sim_assert(c->cwnd >= c->snd_mss || (c->tx && c->tx->phase == PHASE_RECOVERY));
    sim_assert(!seq_after(c->rcv_nxt, c->rcv_edge));
    sim_assert(!e->edge_known || !seq_before(c->rcv_edge, e->edge));
    e->edge = c->rcv_edge;
    e->edge_known = true;
    if (c->rx)
        for (uint32_t i = 0; i < c->rx->range_count; i++) {
            const struct tcp_range *r = &c->rx->ranges[i];

            sim_assert(seq_after(r->start, i ? r[-1].end : c->rcv_nxt) && seq_after(r->end, r->start));
            sim_assert(r->data.bytes == r->end - r->start);
        }
}

static void check(struct side *s)
{
    uint32_t at = 0;

    for (struct tcp_conn *c; (c = slab_next(&s->ns->conns, &at));)
        if (c->peer)
            check_conn(s, c);
}

/* ---- a run
 * ---------------------------------------------------------------------------------------------------- */

static void choose_network(void)
{
    static const uint64_t rates[] = { 20000, 200000, 2000000, 20000000, 200000000 };
    static const time_ns delays[] = { 10 * USEC, MSEC, 10 * MSEC, 50 * MSEC, 150 * MSEC };
    static const uint64_t losses[] = { 0, 0, 1000, 100, 50, 20 };

    world.rate = rates[below(COUNT_OF(rates))];
    world.delay = delays[below(COUNT_OF(delays))];
    world.jitter = one_in(3) ? world.delay / 2 : 0;
    world.queue = 3000 + below(200000);
    world.loss = losses[below(COUNT_OF(losses))];
    world.burst = one_in(4) ? 500 : 0;
    world.reorder = one_in(3) ? 50 : 0;
    world.duplicate = one_in(4) ? 100 : 0;
    world.corrupt = one_in(4) ? 200 : 0;
    world.backpressure = one_in(2);
    world.v6 = one_in(2);
    world.batch = one_in(2) ? 0 : (time_ns)below(2 * MSEC);
    world.conns = 1 + (int)below(one_in(2) ? 3 : CONNS_MAX);
}

static void make_side(int id)
{
    struct side *s = &world.sides[id];
    struct netstack_config config = { .ops = &ops, .ctx = s, .random = chance_bytes };
    struct ip a = address(id);

    config.congestion = one_in(3) ? "newreno" : "cubic";
    config.sack_off = one_in(4);
    config.timestamps_off = one_in(4);
    config.window_scaling_off = one_in(5);
    config.coalescing_off = one_in(4);
    s->id = id;
    assert_int_equal(netstack_new(&s->ns, &config, world.now), 0);
    assert_int_equal(netstack_node_add(s->ns, 0, &a, 1), 0);
}

static void open_one(int i)
{
    int opener = (int)below(2);
    struct ip from = address(opener);
    struct ip_port to = { address(!opener), (uint16_t)(1000 + i) };
    struct end *e = &world.sides[opener].ends[i];

    for (int k = 0; k < 2; k++) {
        struct end *each = &world.sides[k].ends[i];

        each->side = &world.sides[k];
        each->number = i;
        each->total = one_in(3) ? below(300) : below(world.rate / 4 + 1000);
        each->total = MIN(each->total, 600000);
        each->reads_limited = one_in(4) ? 2000 + below(30000) : 0;
    }
    assert_int_equal(tcp_connect(e->side->ns, 0, 1, &from, &to, e, world.now, &e->conn), 0);
}

static time_ns next_time(void)
{
    time_ns at = TIME_NEVER;

    for (int i = 0; i < 2; i++) {
        struct side *s = &world.sides[i];

        at = MIN(at, netstack_deadline(s->ns));
        if (s->out.first)
            at = MIN(at, s->out.first->at);
        if (s->ready && !has_room(s))
            at = MIN(at, s->out.free_at - MSEC);
        for (int k = 0; k < world.conns; k++)
            if (s->ends[k].open && s->ends[k].pause_until > world.now)
                at = MIN(at, s->ends[k].pause_until);
    }
    return at;
}

static void deliver(struct side *from, struct side *to)
{
    struct packet *taken[64];
    struct span spans[64];
    size_t n = 0;

    while (from->out.first && from->out.first->at <= world.now && n < COUNT_OF(taken)) {
        struct packet *p = from->out.first;

        from->out.first = p->next;
        from->out.queued -= p->len;
        taken[n] = p;
        spans[n++] = span_make(p->bytes, p->len);
    }
    if (n)
        netstack_input(to->ns, 0, 1, spans, n, world.now);
    while (n)
        free(taken[--n]);
}

static void step(void)
{
    time_ns at = next_time();

    sim_assert(at != TIME_NEVER);
    world.now = MAX(world.now, at) + world.batch;
    world.steps++;
    for (int i = 0; i < 2; i++) {
        struct side *s = &world.sides[i];

        deliver(&world.sides[!i], s);
        if (netstack_deadline(s->ns) <= world.now)
            netstack_tick(s->ns, world.now);
        for (int k = 0; k < world.conns; k++)
            if (s->ends[k].pause_until && s->ends[k].pause_until <= world.now) {
                s->ends[k].pause_until = 0;
                hear(&s->ends[k]);
            }
        pump(s);
        check(s);
    }
}

static bool all_closed(void)
{
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < world.conns; k++)
            if (!world.sides[i].ends[k].closed)
                return false;
    return true;
}

static void check_end_of(struct side *s)
{
    struct netstack_usage u = netstack_usage(s->ns);

    sim_assert(u.conns == 0 && u.half_open == 0 && u.time_wait == 0 && u.peers == 0);
    sim_assert(u.control_packets == 0 && u.chunk_bytes == 0 && u.fragments == 0);
    sim_assert(s->ns->flows.count == 0 && s->ns->tx_cache.used == 0 && s->ns->rx_cache.used == 0);
    sim_assert(netstack_deadline(s->ns) == TIME_NEVER);
    for (int k = 0; k < world.conns; k++) {
        struct end *e = &s->ends[k];

        sim_assert(e->reason == NETSTACK_CLOSED_DONE);
        sim_assert(e->sent == e->total && e->got == world.sides[!s->id].ends[k].total && e->ended);
    }
}

static void run_seed(uint64_t seed)
{
    memset(&world.sides, 0, sizeof(world.sides));
    world.seed = chance_state = seed;
    world.now = (time_ns)below(1000000) * SEC;
    world.steps = world.lost = 0;
    choose_network();
    for (int i = 0; i < 2; i++)
        make_side(i);
    for (int i = 0; i < world.conns; i++)
        open_one(i);
    time_ns start = world.now;

    for (int i = 0; i < 2; i++)
        pump(&world.sides[i]);
    while (!all_closed()) {
        sim_assert(world.now - start < TIME_MAX);
        step();
    }
    if (world.verbose)
        printf("seed %llu: %.3f s, rate %llu delay %.3f ms queue %zu loss 1/%llu conns %d: %llu steps, %llu "
               "lost\n",
               (unsigned long long)seed, (double)(world.now - start) / 1e9, (unsigned long long)world.rate,
               (double)world.delay / 1e6, world.queue, (unsigned long long)world.loss, world.conns,
               (unsigned long long)world.steps, (unsigned long long)world.lost);
    /* Then silence, once TIME_WAIT and what is still on the way are over. */
    while (next_time() != TIME_NEVER)
        step();
    for (int i = 0; i < 2; i++) {
        check_end_of(&world.sides[i]);
        netstack_free(world.sides[i].ns);
        world.sides[i].ns = NULL;
    }
}

static void streams_arrive_whole_and_leave_no_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= USUAL_SEEDS; seed++)
        run_seed(seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_arrive_whole_and_leave_no_trace),
    };

    if (argc >= 3) {
        uint64_t first = strtoull(argv[1], NULL, 10), count = strtoull(argv[2], NULL, 10);

        world.verbose = argc > 3;
        world.tracing = argc > 4;
        setvbuf(stdout, NULL, _IOLBF, 0);
        for (uint64_t i = 0; i < count; i++)
            run_seed(first + i);
        printf("%llu seeds\n", (unsigned long long)count);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

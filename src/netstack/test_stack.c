/* The stack as its owner sees it: nodes and peers, echo and errors, fragments, limits, churn, idleness. */
#include "check.h"

#include "netstack/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- two stacks and a wire ------------------------------------------------------------------------------
 */

#define NODES 3
#define TOKEN 77

struct party {
    struct netstack *ns;
    bool ready[NODES];
    uint32_t established, closed, failed, udp;
    uint64_t received;
    uint32_t writable; /* events */
    handle last, all[64];
    enum netstack_reason reason;
    enum netstack_verdict verdict;
    bool answer_and_end; /* sends "hello" and its end at once */
    bool hold;           /* consumes nothing */
    bool respond_udp;
    handle pending;
    size_t out_len; /* the last packets, when nobody is on the other side */
    uint8_t out[64][NETSTACK_MTU];
    size_t out_lens[64];
    uint32_t deadline_calls;
};

static struct party a, b;
static time_ns now;

static uint32_t random_state = 99;

static uint32_t chance(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state >> 8;
}

static void chance_bytes(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)chance();
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    struct party *p = ctx;

    (void)flow;
    p->pending = pending;
    *user = p;
    return p->verdict;
}

static void syn_failed(void *ctx, void *user)
{
    struct party *p = ctx;

    assert_ptr_equal(user, p);
    p->failed++;
}

static void established(void *ctx, handle conn, void *user, time_ns at)
{
    struct party *p = ctx;

    (void)at;
    (void)user;
    p->last = conn;
    if (p->established < COUNT_OF(p->all))
        p->all[p->established] = conn;
    p->established++;
    if (p->answer_and_end) {
        assert_int_equal(tcp_write(p->ns, conn, span_from_str("hello"), true), 5);
        tcp_shutdown(p->ns, conn);
    }
}

static void readable(void *ctx, handle conn, void *user, time_ns at)
{
    struct party *p = ctx;
    size_t n = tcp_readable_bytes(p->ns, conn);

    (void)at;
    (void)user;
    if (p->hold)
        return;
    p->received += n;
    tcp_consume(p->ns, conn, n);
    if (tcp_at_end(p->ns, conn))
        tcp_shutdown(p->ns, conn);
}

static void writable(void *ctx, handle conn, void *user, time_ns at)
{
    struct party *p = ctx;

    (void)conn;
    (void)user;
    (void)at;
    p->writable++;
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns at)
{
    struct party *p = ctx;

    (void)conn;
    (void)user;
    (void)at;
    p->closed++;
    p->reason = reason;
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    struct party *p = ctx;

    assert_true(node < NODES && peer == TOKEN + node);
    p->ready[node] = true;
}

static void deadline_changed(void *ctx)
{
    ((struct party *)ctx)->deadline_calls++;
}

static bool on_udp(void *ctx, const struct netstack_flow *flow, struct span payload, time_ns at)
{
    struct party *p = ctx;

    (void)at;
    if (flow->local.port != 53)
        return false;
    p->udp++;
    if (p->respond_udp)
        assert_int_equal(netstack_udp_send(p->ns, flow, payload), 0);
    return true;
}

static const struct netstack_ops ops = { .on_syn = on_syn,
                                         .syn_failed = syn_failed,
                                         .established = established,
                                         .readable = readable,
                                         .writable = writable,
                                         .closed = closed,
                                         .output_ready = output_ready,
                                         .deadline_changed = deadline_changed,
                                         .on_udp = on_udp };

static struct ip ip(const char *text)
{
    struct ip x;

    assert_true(ip_parse(span_from_str(text), &x));
    return x;
}

static void start(struct party *p, const char *v4, const char *v6, const struct netstack_limits *limits)
{
    struct netstack_config config = { .ops = &ops, .ctx = p, .random = chance_bytes };
    struct ip addresses[] = { ip(v4), ip(v6) };

    if (limits)
        config.limits = *limits;
    memset(p, 0, sizeof(*p));
    assert_int_equal(netstack_new(&p->ns, &config, now), 0);
    for (uint32_t i = 0; i < NODES; i++) /* overlapping tailnets: all have the same addresses */
        assert_int_equal(netstack_node_add(p->ns, i, addresses, 2), 0);
}

static void begin(const struct netstack_limits *limits)
{
    now = 5000 * SEC;
    start(&a, "100.64.0.1", "fd7a:115c:a1e0::1", limits);
    start(&b, "100.64.0.2", "fd7a:115c:a1e0::2", limits);
}

static void finish(void)
{
    netstack_free(a.ns);
    netstack_free(b.ns);
}

/* What one side sends goes to the same node of the other, or is kept if `to` is NULL. */
static bool carry(struct party *from, struct party *to)
{
    struct netstack_segment s;
    static uint8_t packets[NETSTACK_SEGMENTS_MAX][NETSTACK_MTU];
    struct span spans[NETSTACK_SEGMENTS_MAX];
    bool any = false;

    for (uint32_t node = 0; node < NODES; node++)
        while (from->ready[node]) {
            if (!netstack_next_segment(from->ns, node, TOKEN + node, NETSTACK_SEGMENTS_MAX, now, &s)) {
                from->ready[node] = false;
                break;
            }
            any = true;
            for (uint32_t i = 0; i < s.count; i++) {
                spans[i] = span_make(packets[i], netstack_segment_write(&s, i, packets[i], NETSTACK_MTU));
                if (!to && from->out_len < COUNT_OF(from->out)) {
                    memcpy(from->out[from->out_len], packets[i], spans[i].len);
                    from->out_lens[from->out_len++] = spans[i].len;
                }
            }
            if (to)
                netstack_input(to->ns, node, TOKEN + node, spans, s.count, now);
        }
    return any;
}

static void settle(void)
{
    bool any = true;

    while (any) {
        any = carry(&a, &b);
        any |= carry(&b, &a);
        if (netstack_deadline(a.ns) <= now)
            netstack_tick(a.ns, now);
        if (netstack_deadline(b.ns) <= now)
            netstack_tick(b.ns, now);
    }
}

static void pass(time_ns time)
{
    time_ns until = now + time;

    settle();
    for (;;) {
        time_ns at = MIN(netstack_deadline(a.ns), netstack_deadline(b.ns));

        if (at > until)
            break;
        now = MAX(now, at);
        settle();
    }
    now = until;
}

static handle connect_from_a(uint32_t node, uint16_t port)
{
    struct ip local = ip("100.64.0.1");
    struct ip_port remote = { ip("100.64.0.2"), port };
    handle h = HANDLE_NONE;

    assert_int_equal(tcp_connect(a.ns, node, TOKEN + node, &local, &remote, &a, now, &h), 0);
    return h;
}

static void nothing_is_left(const struct party *p)
{
    struct netstack_usage u = netstack_usage(p->ns);

    assert_int_equal(u.conns + u.half_open + u.time_wait + u.peers + u.control_packets + u.fragments, 0);
    assert_int_equal(u.chunk_bytes, 0);
    assert_true(netstack_deadline(p->ns) == TIME_NEVER);
}

/* ---- nodes and peers
 * --------------------------------------------------------------------------------------- */

static void equal_addresses_of_two_nodes_are_two_places(void **state)
{
    (void)state;
    begin(NULL);
    handle first = connect_from_a(0, 80), second = connect_from_a(1, 80);
    struct netstack_flow f;

    settle();
    assert_int_equal(b.established, 2);
    assert_true(tcp_flow(a.ns, first, &f) && f.node == 0 && f.peer == TOKEN);
    assert_true(tcp_flow(a.ns, second, &f) && f.node == 1 && f.peer == TOKEN + 1);
    assert_int_equal(tcp_write(a.ns, second, span_from_str("x"), false), 1);
    settle();
    assert_int_equal(b.received, 1);
    /* One node goes: the other's connection stays. */
    netstack_node_remove(b.ns, 0);
    pass(SEC);
    assert_int_equal(b.closed, 1);
    assert_int_equal(b.reason, NETSTACK_CLOSED_REMOVED);
    assert_int_equal(tcp_write(a.ns, second, span_from_str("y"), false), 1);
    settle();
    assert_int_equal(b.received, 2);
    finish();
}

static void an_address_that_goes_takes_its_connections_along(void **state)
{
    (void)state;
    struct ip only_v6 = ip("fd7a:115c:a1e0::2");

    begin(NULL);
    connect_from_a(0, 80);
    settle();
    assert_int_equal(netstack_node_add(b.ns, 0, &only_v6, 1), 0);
    pass(MSEC);
    assert_int_equal(b.closed, 1);
    assert_int_equal(b.reason, NETSTACK_CLOSED_REMOVED);
    assert_int_equal(netstack_usage(b.ns).conns, 0);
    finish();
}

static void a_peer_that_goes_ends_silently(void **state)
{
    (void)state;
    begin(NULL);
    connect_from_a(2, 80);
    settle();
    netstack_peer_remove(b.ns, 2, TOKEN + 2);
    assert_int_equal(b.closed, 0); /* never from inside a call */
    assert_true(netstack_deadline(b.ns) <= now);
    netstack_tick(b.ns, now);
    assert_int_equal(b.closed, 1);
    assert_false(carry(&b, NULL));
    nothing_is_left(&b);
    finish();
}

/* The same addresses and ports from another peer: it must not speak for the first. */
static void another_peer_cannot_join_a_connection(void **state)
{
    (void)state;
    begin(NULL);
    handle h = connect_from_a(0, 80);
    struct netstack_segment s;
    uint8_t packet[NETSTACK_MTU];

    settle();
    assert_int_equal(tcp_write(a.ns, h, span_from_str("x"), false), 1);
    assert_true(netstack_next_segment(a.ns, 0, TOKEN, 49, now, &s));
    struct span span = span_make(packet, netstack_segment_write(&s, 0, packet, sizeof(packet)));

    netstack_input(b.ns, 0, TOKEN + 1000, &span, 1, now);
    assert_int_equal(b.received, 0);
    assert_int_equal(netstack_counters(b.ns)->tcp_wrong_peer, 1);
    assert_int_equal(netstack_usage(b.ns).peers, 1); /* and nothing is kept about it */
    netstack_input(b.ns, 0, TOKEN, &span, 1, now);
    assert_int_equal(b.received, 1);
    finish();
}

/* ---- ICMP, UDP, fragments
 * ------------------------------------------------------------------------------------- */

static uint16_t sum_of(const uint8_t *data, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* An IPv4 packet from 100.64.0.2 to 100.64.0.1; `fragment` is the field of that name. */
static size_t packet_v4(uint8_t *out, uint8_t protocol, uint16_t id, uint16_t fragment, const void *payload,
                        size_t len)
{
    struct ip from = ip("100.64.0.2"), to = ip("100.64.0.1");

    memset(out, 0, 20);
    out[0] = 0x45;
    store_be16(out + 2, (uint16_t)(20 + len));
    store_be16(out + 4, id);
    store_be16(out + 6, fragment);
    out[8] = 64;
    out[9] = protocol;
    memcpy(out + 12, from.bytes + 12, 4);
    memcpy(out + 16, to.bytes + 12, 4);
    store_be16(out + 10, sum_of(out, 20, 0));
    memcpy(out + 20, payload, len);
    return 20 + len;
}

static void give_a(const uint8_t *packet, size_t len)
{
    struct span span = span_make(packet, len);

    netstack_input(a.ns, 0, TOKEN, &span, 1, now);
}

static void make_echo(uint8_t *icmp, size_t len)
{
    memset(icmp, 0, 8);
    icmp[0] = 8;
    store_be32(icmp + 4, 0x12340001);
    for (size_t i = 8; i < len; i++)
        icmp[i] = (uint8_t)(i * 7);
    store_be16(icmp + 2, sum_of(icmp, len, 0));
}

static void echo_is_answered_within_a_rate(void **state)
{
    (void)state;
    uint8_t icmp[64], packet[100];
    uint32_t answered;

    begin(NULL);
    make_echo(icmp, sizeof(icmp));
    give_a(packet, packet_v4(packet, 1, 1, 0, icmp, sizeof(icmp)));
    assert_true(carry(&a, NULL));
    assert_int_equal(a.out_lens[0], 84);
    assert_int_equal(a.out[0][20], 0);
    assert_int_equal(sum_of(a.out[0] + 20, 64, 0), 0);
    assert_memory_equal(a.out[0] + 24, icmp + 4, 60);
    for (int i = 0; i < 1000; i++) {
        give_a(packet, packet_v4(packet, 1, 1, 0, icmp, sizeof(icmp)));
        carry(&a, NULL);
    }
    answered = (uint32_t)netstack_counters(a.ns)->icmp_echo;
    assert_in_range(answered, 50, 51);
    assert_int_equal(netstack_counters(a.ns)->icmp_limited, 1001 - answered);
    nothing_is_left(&a);
    finish();
}

/* Type and code of the last message, its checksum and its quote. */
static void a_closed_udp_port_is_unreachable(void **state)
{
    (void)state;
    uint8_t udp[12] = { 0x30, 0x39, 0, 9, 0, 12, 0, 0, 'a', 'b', 'c', 'd' }, packet[100];
    size_t len;

    begin(NULL);
    len = packet_v4(packet, 17, 1, 0, udp, sizeof(udp)); /* checksum 0: not computed */
    give_a(packet, len);
    carry(&a, NULL);
    assert_int_equal(a.out_len, 1);
    assert_int_equal(a.out[0][20], 3);
    assert_int_equal(a.out[0][21], 3);
    assert_int_equal(sum_of(a.out[0] + 20, a.out_lens[0] - 20, 0), 0);
    assert_memory_equal(a.out[0] + 28, packet, len);
    finish();
}

static void datagrams_go_both_ways(void **state)
{
    (void)state;
    struct netstack_flow f = { .node = 1, .peer = TOKEN + 1 };
    uint8_t payload[NETSTACK_UDP_PAYLOAD_MAX + 1] = { 1, 2, 3 };

    begin(NULL);
    b.respond_udp = true;
    f.local = (struct ip_port) { ip("fd7a:115c:a1e0::1"), 53 };
    f.remote = (struct ip_port) { ip("fd7a:115c:a1e0::2"), 53 };
    assert_int_equal(netstack_udp_send(a.ns, &f, span_make(payload, NETSTACK_UDP_PAYLOAD_MAX)), 0);
    assert_int_equal(netstack_udp_send(a.ns, &f, span_make(payload, sizeof(payload))), -EMSGSIZE);
    f.local.ip = ip("fd7a:115c:a1e0::9");
    assert_int_equal(netstack_udp_send(a.ns, &f, span_make(payload, 5)), -EADDRNOTAVAIL);
    settle();
    assert_int_equal(b.udp, 1);
    assert_int_equal(a.udp, 1);
    nothing_is_left(&a);
    nothing_is_left(&b);
    finish();
}

static void what_is_not_for_us_is_dropped(void **state)
{
    (void)state;
    uint8_t packet[64], payload[8] = { 0 };
    size_t len;

    begin(NULL);
    for (size_t cut = 0; cut <= 28; cut++) { /* every prefix of a packet */
        len = packet_v4(packet, 6, 1, 0, payload, sizeof(payload));
        give_a(packet, cut);
    }
    packet_v4(packet, 6, 1, 0, payload, sizeof(payload));
    packet[19] = 99; /* another destination, and the checksum no longer fits */
    give_a(packet, 28);
    store_be16(packet + 10, 0);
    store_be16(packet + 10, sum_of(packet, 20, 0));
    give_a(packet, 28);
    len = packet_v4(packet, 132, 1, 0, payload, sizeof(payload));
    give_a(packet, len);
    assert_int_equal(netstack_counters(a.ns)->ip_not_local, 1);
    assert_int_equal(netstack_counters(a.ns)->ip_unknown_protocol, 1);
    assert_int_equal(netstack_counters(a.ns)->packets_in,
                     netstack_counters(a.ns)->ip_malformed + netstack_counters(a.ns)->checksum_bad + 2);
    finish();
}

/* A large echo in pieces, in any order, with repeats: it comes back, in fragments of ours. */
static void fragments_in_any_order_make_one_datagram(void **state)
{
    (void)state;
    static uint8_t icmp[9000];
    uint8_t packet[NETSTACK_MTU];

    for (int round = 0; round < 50; round++) {
        size_t len = 1300 + chance() % 7000, part = 8 * (1 + chance() % 140), count = (len + part - 1) / part;
        size_t order[2000], got = 0;

        if (count > 64)
            continue;
        begin(NULL);
        make_echo(icmp, len);
        for (size_t i = 0; i < count; i++)
            order[i] = i;
        for (size_t i = count; i > 1; i--) {
            size_t k = chance() % i, swap = order[i - 1];

            order[i - 1] = order[k];
            order[k] = swap;
        }
        for (size_t i = 0; i < count; i++) {
            size_t at = order[i] * part, n = MIN(part, len - at);
            uint16_t field = (uint16_t)(at / 8 | (at + n < len ? 0x2000 : 0));

            give_a(packet, packet_v4(packet, 1, 5, field, icmp + at, n));
            if (i + 1 < count && chance() % 3 == 0) /* the same again */
                give_a(packet, packet_v4(packet, 1, 5, field, icmp + at, n));
        }
        assert_int_equal(netstack_counters(a.ns)->fragments_complete, 1);
        carry(&a, NULL);
        for (size_t i = 0; i < a.out_len; i++) {
            uint16_t field = load_be16(a.out[i] + 6);

            assert_int_equal((field & 0x1fff) * 8, got);
            assert_int_equal((field & 0x2000) != 0, i + 1 < a.out_len);
            assert_memory_equal(a.out[i] + 20 + (got ? 0 : 8), icmp + got + (got ? 0 : 8),
                                a.out_lens[i] - 20 - (got ? 0 : 8));
            got += a.out_lens[i] - 20;
        }
        assert_int_equal(got, len);
        nothing_is_left(&a);
        finish();
    }
}

static void overlapping_fragments_are_dropped(void **state)
{
    (void)state;
    uint8_t packet[NETSTACK_MTU], payload[64] = { 8 };

    begin(NULL);
    give_a(packet, packet_v4(packet, 1, 5, 0x2000, payload, 32));
    assert_int_equal(netstack_usage(a.ns).fragments, 1);
    give_a(packet, packet_v4(packet, 1, 5, 0x2000 | 3, payload, 32)); /* 24..56 over 0..32 */
    assert_int_equal(netstack_usage(a.ns).fragments, 0);
    assert_int_equal(netstack_counters(a.ns)->fragments_dropped, 1);
    /* An end before what is here already. */
    give_a(packet, packet_v4(packet, 1, 6, 0x2000 | 8, payload, 64));
    give_a(packet, packet_v4(packet, 1, 6, 1, payload, 8));
    assert_int_equal(netstack_usage(a.ns).fragments, 0);
    /* A piece that is no multiple of eight, and is not the last. */
    give_a(packet, packet_v4(packet, 1, 7, 0x2000, payload, 33));
    assert_int_equal(netstack_usage(a.ns).fragments, 0);
    nothing_is_left(&a);
    finish();
}

static void incomplete_datagrams_have_a_limit_and_an_end(void **state)
{
    (void)state;
    uint8_t packet[NETSTACK_MTU], payload[1200] = { 0 };

    begin(NULL);
    for (uint16_t id = 0; id < 1000; id++)
        give_a(packet, packet_v4(packet, 17, id, 0x2000, payload, sizeof(payload)));
    assert_true(netstack_usage(a.ns).fragments > 10 && a.ns->fragment_bytes <= 64 << 10);
    assert_int_equal(netstack_counters(a.ns)->fragments_dropped + netstack_usage(a.ns).fragments, 1000);
    pass(31 * SEC);
    nothing_is_left(&a);
    finish();
}

/* ---- connections, many of them
 * ------------------------------------------------------------------------------------ */

/* 20,000 short connections: the next one is accepted at once, and after a minute nothing is left. */
static void a_storm_of_connections_leaves_no_trace(void **state)
{
    (void)state;
    struct netstack_limits limits = { .conns_per_peer = 1000 };
    uint64_t before;

    begin(&limits);
    before = netstack_usage(b.ns).memory_bytes;
    b.answer_and_end = true;
    for (int i = 0; i < 20000; i++) {
        connect_from_a((uint32_t)i % NODES, 80);
        settle();
        assert_int_equal(b.established, i + 1);
        assert_int_equal(b.closed, i + 1);
        now += 200 * USEC;
    }
    assert_int_equal(a.received, 20000 * 5);
    assert_int_equal(netstack_usage(b.ns).conns, 0);
    assert_int_equal(netstack_usage(b.ns).time_wait + netstack_counters(b.ns)->time_wait_reused, 20000);
    pass(61 * SEC);
    nothing_is_left(&a);
    nothing_is_left(&b);
    assert_true(netstack_usage(b.ns).memory_bytes < before + 64 * 1024);
    finish();
}

static void time_wait_has_a_limit_that_hurts_nobody(void **state)
{
    (void)state;
    struct netstack_limits limits = { .time_wait = 100 };

    begin(&limits);
    b.answer_and_end = true;
    for (int i = 0; i < 1000; i++) {
        connect_from_a(0, 80);
        settle();
    }
    assert_int_equal(b.closed, 1000);
    assert_int_equal(netstack_usage(b.ns).time_wait, 100);
    assert_int_equal(netstack_counters(b.ns)->time_wait_shed, 900);
    finish();
}

static void idle_connections_are_small_and_silent(void **state)
{
    (void)state;
    struct netstack_usage u;

    begin(NULL);
    for (int i = 0; i < 5000; i++) {
        handle h = connect_from_a(0, 80);

        settle();
        assert_int_equal(tcp_write(a.ns, h, span_from_str("GET"), false), 3);
        settle();
    }
    pass(SEC); /* delayed acknowledgements */
    u = netstack_usage(b.ns);
    assert_int_equal(u.conns, 5000);
    assert_int_equal(u.chunk_bytes, 0);
    assert_true(netstack_deadline(b.ns) == TIME_NEVER);
    assert_true(netstack_deadline(a.ns) == TIME_NEVER);
    print_message("an idle connection takes %llu bytes\n",
                  (unsigned long long)((u.memory_bytes - sizeof(struct netstack)) / 5000));
    assert_true((u.memory_bytes - sizeof(struct netstack)) / 5000 <= 350);
    finish();
}

/* Several connections of one peer that all have much to send: each gets its share. */
static void connections_send_in_turn(void **state)
{
    (void)state;
    static uint8_t bytes[100000];
    struct netstack_segment s;
    uint32_t pulls[4] = { 0 };
    uint16_t port[4];
    handle h[4];

    begin(NULL);
    for (int i = 0; i < 4; i++) {
        struct netstack_flow f;

        h[i] = connect_from_a(0, 80);
        assert_true(tcp_flow(a.ns, h[i], &f));
        port[i] = f.local.port;
    }
    settle();
    for (int i = 0; i < 4; i++)
        assert_true(tcp_write(a.ns, h[i], span_make(bytes, sizeof(bytes)), false) > 20000);
    for (int i = 0; i < 8; i++) {
        uint8_t packet[NETSTACK_MTU];

        assert_true(netstack_next_segment(a.ns, 0, TOKEN, 4, now, &s));
        assert_in_range(s.count, 1, 4);
        netstack_segment_write(&s, 0, packet, sizeof(packet));
        for (int k = 0; k < 4; k++)
            pulls[k] += load_be16(packet + 20) == port[k];
    }
    for (int k = 0; k < 4; k++)
        assert_int_equal(pulls[k], 2);
    finish();
}

/* A consumer that does not read: the window ends what the peer may make us hold. */
static void a_reader_that_stops_stops_the_sender(void **state)
{
    (void)state;
    static uint8_t bytes[1 << 20];
    uint64_t sent = 0;

    begin(NULL);
    b.hold = true;
    handle h = connect_from_a(0, 80);

    settle();
    for (int i = 0; i < 200; i++) {
        ssize_t n = tcp_write(a.ns, h, span_make(bytes, sizeof(bytes)), false);

        assert_true(n >= 0);
        sent += (uint64_t)n;
        pass(100 * MSEC);
    }
    assert_true(netstack_usage(b.ns).chunk_bytes <= 2 * 65536 + 65536);
    assert_true(sent < 400000);
    /* It goes on: everything written arrives. */
    b.hold = false;
    readable(&b, b.last, NULL, now);
    pass(60 * SEC);
    assert_int_equal(b.received, sent);
    finish();
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8));
}

static void pattern_fill(uint8_t *out, size_t len, uint64_t from)
{
    for (size_t i = 0; i < len; i++)
        out[i] = pattern(from + i);
}

/* What b holds must be the pattern from `from` on. Returns where it ends. */
static uint64_t pattern_check(uint64_t from)
{
    struct span spans[64];
    size_t count = tcp_peek(b.ns, b.last, spans, COUNT_OF(spans));

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < spans[i].len; k++)
            if (spans[i].data[k] != pattern(from + k))
                fail_msg("byte %llu is another", (unsigned long long)(from + k));
        tcp_consume(b.ns, b.last, spans[i].len);
        from += spans[i].len;
    }
    return from;
}

/* As a reader that knows of the place uses it: there while there is one, else from memory of its own. */
static ssize_t write_pattern(handle h, uint64_t from, size_t most, bool *placed)
{
    static uint8_t own[65536];
    uint8_t *at = own;
    ssize_t n = tcp_write_place(a.ns, h, most, &at);

    *placed = n > 0;
    if (n < 0)
        return n;
    if (!n)
        n = (ssize_t)most;
    pattern_fill(at, (size_t)n, from);
    return tcp_write(a.ns, h, span_make(at, (size_t)n), false);
}

static void bytes_written_in_place_arrive_as_they_were(void **state)
{
    (void)state;
    static const size_t pieces[] = { 65536, 100, 40000, 9000, 65536 };
    uint64_t sent = 0, in_place = 0, received = 0;
    int refused = 0;
    bool placed;

    begin(NULL);
    b.hold = true;
    handle h = connect_from_a(0, 80);

    settle();
    for (int i = 0; sent < 4 << 20; i++) {
        ssize_t n = write_pattern(h, sent, pieces[i % (int)COUNT_OF(pieces)], &placed);

        assert_true(n >= 0 || n == -EAGAIN);
        assert_true(i || !placed); /* nothing is under way: not worth a large chunk */
        sent += n > 0 ? (uint64_t)n : 0;
        in_place += placed ? (uint64_t)n : 0;
        if (placed)
            assert_true(n > 0);
        refused += n == -EAGAIN;
        if (n > 0)
            continue;
        for (a.writable = 0; !a.writable && received < sent;) { /* it follows */
            pass(5 * MSEC);
            received = pattern_check(received);
        }
        assert_true(a.writable);
    }
    for (int i = 0; i < 100 && received < sent; i++) {
        pass(50 * MSEC);
        received = pattern_check(received);
    }
    assert_int_equal(received, sent);
    assert_true(in_place > sent / 2);
    assert_true(refused > 0);
    pass(SEC);
    assert_int_equal(netstack_usage(a.ns).chunk_bytes, 0);
    finish();
}

/* Fast consumers get a window that grows beyond the first 64 KiB. */
static void the_window_grows_with_what_is_consumed(void **state)
{
    (void)state;
    static uint8_t bytes[1 << 20];
    struct netstack_limits limits = { .not_sent_bytes_max = 4 << 20 };
    struct tcp_stats stats;

    begin(&limits);
    handle h = connect_from_a(0, 80);

    settle();
    for (int i = 0; i < 400; i++) {
        (void)!tcp_write(a.ns, h, span_make(bytes, sizeof(bytes)), false);
        carry(&a, &b);
        now += 5 * MSEC;
        carry(&b, &a);
        now += 5 * MSEC;
        netstack_tick(a.ns, now);
        netstack_tick(b.ns, now);
    }
    assert_true(tcp_stats(b.ns, b.last, &stats));
    assert_true(stats.receive_window_bytes > 1 << 20);
    finish();
}

/* Bytes that nobody has read yet are held by the node they came to, until they are. */
static void what_a_node_holds_is_its_own_and_goes_with_it(void **state)
{
    (void)state;
    static uint8_t bytes[20000];
    size_t alone, connected, full, other, shared;
    handle h;

    begin(NULL);
    alone = netstack_node_memory(b.ns, 1);
    other = netstack_node_memory(b.ns, 0);
    assert_true(alone > 0);
    h = connect_from_a(1, 80);
    settle();
    connected = netstack_node_memory(b.ns, 1);
    assert_true(connected > alone + sizeof(struct tcp_conn));
    b.hold = true;
    assert_int_equal(tcp_write(a.ns, h, SPAN_OF(bytes), false), sizeof(bytes));
    settle();
    full = netstack_node_memory(b.ns, 1);
    assert_true(full > connected + sizeof(bytes));
    shared = netstack_shared_memory(b.ns);
    assert_true(shared >= sizeof(struct netstack));
    assert_true(shared + full <= netstack_usage(b.ns).memory_bytes);
    assert_int_equal(netstack_node_memory(b.ns, 0), other);
    assert_int_equal(netstack_node_memory(b.ns, 1000), 0);
    netstack_peer_remove(b.ns, 1, TOKEN + 1);
    assert_int_equal(netstack_node_memory(b.ns, 1), alone);
    carry(&b, NULL);
    carry(&a, NULL);
    finish();
}

/* One byte in every other place, as far as the window goes: memory stays within the peer's limit. */
static void scattered_bytes_cannot_fill_the_memory(void **state)
{
    (void)state;
    struct netstack_limits limits = { .receive_bytes_per_peer = 1 << 20 };
    struct netstack_segment s;
    uint8_t packet[NETSTACK_MTU];

    begin(&limits);
    b.hold = true;
    for (int i = 0; i < 40; i++) {
        handle h = connect_from_a(0, 80);

        settle();
        assert_int_equal(tcp_write(a.ns, h, span_from_str("x"), false), 1);
        assert_true(netstack_next_segment(a.ns, 0, TOKEN, 1, now, &s));
        uint32_t seq = load_be32(s.header + 24);

        for (uint32_t k = 0; k < 200; k++) {
            struct span span;
            uint32_t at = seq + 2 + 2 * ((k * 37) % 200);

            store_be32(s.header + 24, at);
            span = span_make(packet, netstack_segment_write(&s, 0, packet, sizeof(packet)));
            netstack_input(b.ns, 0, TOKEN, &span, 1, now);
        }
        carry(&b, NULL);
        carry(&a, NULL);
    }
    assert_true(netstack_usage(b.ns).chunk_bytes <= (1 << 20) + 64 * 2048);
    assert_true(netstack_counters(b.ns)->out_of_order_dropped > 0);
    finish();
}

static void half_open_connections_tell_when_they_fail(void **state)
{
    (void)state;
    begin(NULL);
    connect_from_a(0, 80);
    carry(&a, &b); /* the SYN */
    carry(&b, NULL);
    netstack_peer_remove(a.ns, 0, TOKEN);
    for (int i = 0; i < 100; i++) {
        now += SEC;
        netstack_tick(b.ns, now);
        carry(&b, NULL);
    }
    assert_int_equal(b.failed, 1);
    assert_int_equal(b.established, 0);
    nothing_is_left(&b);
    finish();
}

static void a_rejected_attempt_is_refused(void **state)
{
    (void)state;
    struct netstack_flow f = { .node = 0, .peer = TOKEN };

    begin(NULL);
    handle h = connect_from_a(0, 80);

    assert_true(tcp_flow(a.ns, h, &f));
    netstack_reject(a.ns, &f);
    netstack_tick(a.ns, now);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.reason, NETSTACK_CLOSED_REFUSED);
    finish();
}

static void calls_on_dead_handles_are_harmless(void **state)
{
    (void)state;
    struct span spans[2];
    uint8_t *at;
    struct tcp_stats stats;

    begin(NULL);
    handle h = connect_from_a(0, 80);

    settle();
    tcp_abort(a.ns, h);
    tcp_abort(a.ns, h);
    tcp_close(a.ns, h);
    tcp_shutdown(a.ns, h);
    tcp_consume(a.ns, h, 0);
    tcp_set_user(a.ns, h, NULL);
    assert_int_equal(tcp_peek(a.ns, h, spans, 2), 0);
    assert_int_equal(tcp_write(a.ns, h, span_from_str("x"), false), -ENOTCONN);
    assert_true(tcp_at_end(a.ns, h));
    assert_false(tcp_stats(a.ns, h, &stats));
    assert_int_equal(tcp_write_room(a.ns, h), 0);
    assert_int_equal(tcp_write_place(a.ns, h, 1, &at), 0);
    pass(SEC);
    assert_int_equal(b.reason, NETSTACK_CLOSED_RESET);
    assert_int_equal(a.closed, 0);
    finish();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_addresses_of_two_nodes_are_two_places),
    cmocka_unit_test(an_address_that_goes_takes_its_connections_along),
    cmocka_unit_test(a_peer_that_goes_ends_silently),
    cmocka_unit_test(another_peer_cannot_join_a_connection),
    cmocka_unit_test(echo_is_answered_within_a_rate),
    cmocka_unit_test(a_closed_udp_port_is_unreachable),
    cmocka_unit_test(datagrams_go_both_ways),
    cmocka_unit_test(what_is_not_for_us_is_dropped),
    cmocka_unit_test(fragments_in_any_order_make_one_datagram),
    cmocka_unit_test(overlapping_fragments_are_dropped),
    cmocka_unit_test(incomplete_datagrams_have_a_limit_and_an_end),
    cmocka_unit_test(a_storm_of_connections_leaves_no_trace),
    cmocka_unit_test(time_wait_has_a_limit_that_hurts_nobody),
    cmocka_unit_test(idle_connections_are_small_and_silent),
    cmocka_unit_test(connections_send_in_turn),
    cmocka_unit_test(a_reader_that_stops_stops_the_sender),
    cmocka_unit_test(bytes_written_in_place_arrive_as_they_were),
    cmocka_unit_test(the_window_grows_with_what_is_consumed),
    cmocka_unit_test(what_a_node_holds_is_its_own_and_goes_with_it),
    cmocka_unit_test(scattered_bytes_cannot_fill_the_memory),
    cmocka_unit_test(half_open_connections_tell_when_they_fail),
    cmocka_unit_test(a_rejected_attempt_is_refused),
    cmocka_unit_test(calls_on_dead_handles_are_harmless),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}

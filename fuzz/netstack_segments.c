/* Segments into a live connection: numbers relative to its state, valid checksums, everything else by the
 * input; in between the consumer's calls and time. Whatever comes, the records add up, the window's edge
 * does not move back, memory stays in its limits, and when all is over nothing is left. */
#include "netstack/internal.h"

#include <stdlib.h>

#define NODE 1
#define PEER 5
#define STEPS_MAX 400

static struct world {
    struct netstack *ns;
    time_ns now;
    bool v6, ready;
    handle conn;
    uint32_t peer_nxt; /* what the peer would send next */
    uint32_t edge;
    bool edge_known;
    uint16_t stack_port;
    struct ip stack, peer;
    enum netstack_verdict verdict;
    handle pending;
} w;

static void fixed_bytes(void *out, size_t len)
{
    memset(out, 0x21, len);
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    (void)ctx;
    (void)flow;
    (void)user;
    w.pending = pending;
    return w.verdict;
}

static void established(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)user;
    (void)now;
    w.conn = conn;
    w.edge_known = false;
}

static void readable(void *ctx, handle conn, void *user, time_ns now)
{
    struct span spans[4];
    size_t n = tcp_peek(w.ns, conn, spans, 4), len = 0;

    (void)ctx;
    (void)user;
    (void)now;
    for (size_t i = 0; i < n; i++)
        len += spans[i].len;
    tcp_consume(w.ns, conn, len / 2);
}

static void other_event(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    (void)user;
    (void)now;
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now)
{
    (void)reason;
    other_event(ctx, conn, user, now);
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    (void)ctx;
    must(node == NODE && peer == PEER);
    w.ready = true;
}

static void deadline_changed(void *ctx)
{
    (void)ctx;
}

static const struct netstack_ops ops = { .on_syn = on_syn,
                                         .established = established,
                                         .readable = readable,
                                         .writable = other_event,
                                         .closed = closed,
                                         .output_ready = output_ready,
                                         .deadline_changed = deadline_changed };

static void pull(void)
{
    struct netstack_segment s;
    uint8_t packet[NETSTACK_MTU];
    int pulls = 0;

    while (w.ready) {
        must(pulls++ < 20000);
        if (!netstack_next_segment(w.ns, NODE, PEER, NETSTACK_SEGMENTS_MAX, w.now, &s)) {
            w.ready = false;
            break;
        }
        must(s.count >= 1 && s.count <= NETSTACK_SEGMENTS_MAX);
        for (uint32_t i = 0; i < s.count; i++)
            must(netstack_segment_write(&s, i, packet, sizeof(packet)) > 0);
        if (s.header_bytes) { /* somebody who connects hears which port he has */
            size_t ip = w.v6 ? IP6_BYTES : IP4_BYTES;

            w.stack_port = load_be16(packet + ip);
        }
    }
}

static struct tcp_conn *live(void)
{
    struct tcp_conn *c = slab_get(&w.ns->conns, w.conn);

    return c && c->peer ? c : NULL;
}

static void check(void)
{
    struct tcp_conn *c = live();

    must(w.ns->chunk_bytes <= w.ns->config.limits.buffer_bytes);
    must(w.ns->control_count <= w.ns->config.limits.control_per_peer + 1);
    if (!c || c->state == TCP_FINISHED)
        return;
    if (c->tx)
        records_check(c);
    if (c->state < TCP_ESTABLISHED)
        return;
    must(c->snd_mss >= TCP_MSS_MIN - TCP_TS_BYTES && c->snd_mss <= 1240);
    must(!seq_after(c->rcv_nxt, c->rcv_edge));
    must(!w.edge_known || !seq_before(c->rcv_edge, w.edge));
    must(tcp_unread(c) <= 2 * c->rcv_limit + 65536);
    w.edge = c->rcv_edge;
    w.edge_known = true;
}

static uint16_t finish_sum(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static uint64_t add_words(uint64_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? data[i] : (uint64_t)data[i] << 8;
    return sum;
}

/* A number near one that matters now. */
static uint32_t near(uint8_t which, int16_t off, const struct tcp_conn *c, bool sent_by_peer)
{
    uint32_t bases[] = { 0, 0, 0, 0 };

    if (c && sent_by_peer) {
        bases[0] = c->rcv_nxt;
        bases[1] = c->rcv_edge;
        bases[2] = c->rx && c->rx->range_count ? c->rx->ranges[0].start : c->rcv_nxt;
        bases[3] = c->ack_sent;
    } else if (c) {
        bases[0] = c->snd_nxt;
        bases[1] = c->snd_una;
        bases[2] = c->tx && c->tx->record_count ? record_at(c->tx, c->tx->record_count / 2)->end : c->snd_una;
        bases[3] = c->snd_una + c->snd_mss;
    } else if (sent_by_peer) {
        bases[0] = bases[1] = bases[2] = bases[3] = w.peer_nxt;
    } else if (w.ns->syns.used) {
        uint32_t at = 0;
        struct tcp_syn *syn = slab_next(&w.ns->syns, &at);

        bases[0] = bases[1] = bases[2] = bases[3] = syn->iss + 1;
    }
    return bases[which % 4] + (uint32_t)(int32_t)off;
}

static size_t options(struct reader *r, uint8_t *out, const struct tcp_conn *c)
{
    struct writer o = writer_of(out, 40);
    uint8_t which = reader_u8(r);

    if (which & 1) {
        writer_be32(&o, 0x0101080a);
        writer_be32(&o, (c ? c->ts_recent : 0) + (uint32_t)(int8_t)reader_u8(r));
        writer_be32(&o, (c ? w.ns->now_ms + c->ts_offset : 0) - reader_u8(r));
    }
    if (which & 2)
        writer_be32(&o, 0x02040000 | reader_be16(r));
    if (which & 4)
        writer_be32(&o, 0x01030300 | reader_u8(r));
    if (which & 8)
        writer_be32(&o, 0x01010402);
    for (int blocks = (which >> 4) & 3; blocks > 0 && o.at + 12 <= 40; blocks--) {
        writer_be32(&o, 0x0101050a);
        writer_be32(&o, near(reader_u8(r), (int16_t)reader_be16(r), c, false));
        writer_be32(&o, near(reader_u8(r), (int16_t)reader_be16(r), c, false));
    }
    if (which & 0x40 && o.at + 8 <= 40) /* anything */
        for (int i = 0; i < 8; i++)
            writer_u8(&o, reader_u8(r));
    if (o.failed)
        o.at = o.at / 4 * 4;
    return o.at;
}

static size_t build(struct reader *r, uint8_t *out)
{
    struct tcp_conn *c = live();
    size_t ip = w.v6 ? IP6_BYTES : IP4_BYTES, opts, data, len;
    uint8_t *p = out + ip, flags = reader_u8(r) & 0x3f;
    uint64_t sum;

    memset(out, 0, ip + TCP_BYTES);
    store_be16(p, 5000);
    store_be16(p + 2, c && (c->flags & CONN_OURS) ? c->local_port : 80);
    store_be32(p + 4, near(reader_u8(r), (int16_t)reader_be16(r), c, true));
    store_be32(p + 8, near(reader_u8(r), (int16_t)reader_be16(r), c, false));
    opts = options(r, p + TCP_BYTES, c);
    data = reader_u8(r) * 5u;
    if (ip + TCP_BYTES + opts + data > NETSTACK_MTU)
        data = NETSTACK_MTU - ip - TCP_BYTES - opts;
    memset(p + TCP_BYTES + opts, 'd', data);
    p[12] = (uint8_t)((TCP_BYTES + opts) / 4 << 4);
    p[13] = flags;
    store_be16(p + 14, reader_be16(r));
    len = TCP_BYTES + opts + data;
    if (flags & TCP_SYN)
        w.peer_nxt = load_be32(p + 4) + 1;
    sum = add_words(0, p, len) + 6 + len;
    sum = add_words(add_words(sum, w.peer.bytes + (w.v6 ? 0 : 12), w.v6 ? 16 : 4),
                    w.stack.bytes + (w.v6 ? 0 : 12), w.v6 ? 16 : 4);
    store_be16(p + 16, finish_sum(sum));
    if (w.v6) {
        out[0] = 0x60;
        store_be16(out + 4, (uint16_t)len);
        out[6] = 6;
        memcpy(out + 8, w.peer.bytes, 16);
        memcpy(out + 24, w.stack.bytes, 16);
        return ip + len;
    }
    out[0] = 0x45;
    store_be16(out + 2, (uint16_t)(ip + len));
    out[9] = 6;
    memcpy(out + 12, w.peer.bytes + 12, 4);
    memcpy(out + 16, w.stack.bytes + 12, 4);
    store_be16(out + 10, finish_sum(add_words(0, out, IP4_BYTES)));
    return ip + len;
}

static void inject(struct reader *r, int count)
{
    static uint8_t packets[4][NETSTACK_MTU];
    struct span spans[4];

    for (int i = 0; i < count; i++)
        spans[i] = span_make(packets[i], build(r, packets[i]));
    netstack_input(w.ns, NODE, PEER, spans, (size_t)count, w.now);
}

static void advance(time_ns time)
{
    int ticks = 0;

    w.now += time;
    while (netstack_deadline(w.ns) <= w.now) {
        must(ticks++ < 1000);
        netstack_tick(w.ns, w.now);
    }
}

static void call(struct reader *r)
{
    static uint8_t bytes[30000];
    uint8_t what = reader_u8(r);
    struct ip_port remote = { w.peer, 5000 };

    switch (what % 10) {
    case 0:
    case 1:
    case 2:
        (void)!tcp_write(w.ns, w.conn, span_make(bytes, reader_be16(r) % sizeof(bytes)), what & 0x80);
        break;
    case 3:
        tcp_consume(w.ns, w.conn, tcp_readable_bytes(w.ns, w.conn) / (1 + (what >> 4)));
        break;
    case 4:
        tcp_shutdown(w.ns, w.conn);
        break;
    case 5:
        tcp_close(w.ns, w.conn);
        break;
    case 6:
        if (what & 0x80)
            tcp_abort(w.ns, w.conn);
        break;
    case 7:
        if (!live())
            (void)!tcp_connect(w.ns, NODE, PEER, &w.stack, &remote, NULL, w.now, &w.conn);
        break;
    case 8:
        netstack_path_changed(w.ns, NODE, PEER, what & 0x80 ? NETSTACK_PATH_RELAY : NETSTACK_PATH_DIRECT,
                              what, w.now);
        break;
    case 9:
        netstack_syn_decide(w.ns, w.pending, (enum netstack_verdict)(what / 10 % 3), NULL, w.now);
        break;
    }
}

static void start(uint8_t features)
{
    struct netstack_config config = { .ops = &ops, .random = fixed_bytes };

    config.sack_off = features & 1;
    config.timestamps_off = features & 2;
    config.window_scaling_off = features & 4;
    config.congestion = features & 8 ? "newreno" : NULL;
    config.keepalive_ns = features & 16 ? 100 * SEC : 0;
    config.limits.buffer_bytes = features & 32 ? 300000 : 0;
    memset(&w, 0, sizeof(w));
    w.v6 = features & 64;
    w.verdict = features & 128 ? NETSTACK_DEFER : NETSTACK_ACCEPT;
    w.now = 77 * SEC;
    w.peer_nxt = 0xfffffe00;
    w.stack = w.peer = IP_NONE;
    if (!ip_parse(span_from_str(w.v6 ? "fd7a::1" : "100.64.0.1"), &w.stack) ||
        !ip_parse(span_from_str(w.v6 ? "fd7a::2" : "100.64.0.2"), &w.peer) ||
        netstack_new(&w.ns, &config, w.now) || netstack_node_add(w.ns, NODE, &w.stack, 1))
        abort();
}

/* When the consumer lets go and the peer is silent, everything must come to an end by itself. */
static void expect_nothing_left(void)
{
    uint32_t at = 0;

    for (struct tcp_conn *c; (c = slab_next(&w.ns->conns, &at));)
        tcp_abort(w.ns, slab_handle(&w.ns->conns, c));
    for (int i = 0; i < 4000 && netstack_deadline(w.ns) != TIME_NEVER; i++) {
        w.now = MAX(w.now, netstack_deadline(w.ns));
        netstack_tick(w.ns, w.now);
        pull();
    }
    pull();
    struct netstack_usage u = netstack_usage(w.ns);

    must(netstack_deadline(w.ns) == TIME_NEVER);
    must(!u.conns && !u.half_open && !u.time_wait);
    must(!u.control_packets);
    must(!u.chunk_bytes);
    must(!u.peers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct reader r = reader_of(span_make(data, len));

    start(reader_u8(&r));
    for (int step = 0; step < STEPS_MAX && r.rest.len; step++) {
        uint8_t verb = reader_u8(&r);

        if (verb < 140)
            inject(&r, 1);
        else if (verb < 160)
            inject(&r, 1 + verb % 4);
        else if (verb < 220)
            call(&r);
        else
            advance((time_ns)(reader_u8(&r) + 1) * (verb < 250 ? 5 * MSEC : SEC));
        check();
        if (verb & 1)
            pull();
        check();
    }
    pull();
    expect_nothing_left();
    netstack_free(w.ns);
    return 0;
}

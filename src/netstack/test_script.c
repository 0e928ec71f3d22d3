#include "check.h"

#include "netstack/internal.h"
#include "netstack/test_script.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define OUT_MAX 4096
#define TOKENS_MAX 40
#define STACK_PORT 80
#define PEER_PORT 5000
#define PEER 9

struct sent {
    size_t len;
    uint8_t bytes[NETSTACK_MTU];
};

static struct script {
    const char *name;
    int line;
    struct netstack *ns;
    time_ns now;
    bool v6, ready, in_batch;
    uint32_t peer_isn, stack_isn;
    bool stack_isn_known;
    uint16_t stack_port, peer_port;
    uint32_t last_tsval;
    enum netstack_verdict verdict;
    handle pending, conn;
    bool open, writable, is_closed;
    enum netstack_reason reason;
    size_t batch_count;
    struct sent batch[256];
    size_t out_first, out_count;
    struct sent out[OUT_MAX];
} t;

#define script_fail(...)                                            \
    do {                                                            \
        fprintf(stderr, "script \"%s\" line %d: ", t.name, t.line); \
        fprintf(stderr, __VA_ARGS__);                               \
        fprintf(stderr, "\n");                                      \
        fail();                                                     \
    } while (0)

#define script_assert(condition)           \
    do {                                   \
        if (!(condition))                  \
            script_fail("%s", #condition); \
    } while (0)

/* ---- the stack's surroundings ------------------------------------------------------------------------- */

static void fixed_bytes(void *out, size_t len)
{
    memset(out, 0x5a, len);
}

static enum netstack_verdict on_syn(void *ctx, const struct netstack_flow *flow, handle pending, void **user)
{
    (void)ctx;
    (void)user;
    (void)flow;
    t.pending = pending;
    return t.verdict;
}

static void established(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)user;
    (void)now;
    t.conn = conn;
    t.open = true;
}

static void readable(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    (void)user;
    (void)now;
}

static void writable(void *ctx, handle conn, void *user, time_ns now)
{
    (void)ctx;
    (void)conn;
    (void)user;
    (void)now;
    t.writable = true;
}

static void closed(void *ctx, handle conn, void *user, enum netstack_reason reason, time_ns now)
{
    (void)ctx;
    (void)user;
    (void)now;
    script_assert(conn == t.conn && !t.is_closed);
    t.is_closed = true;
    t.reason = reason;
}

static void output_ready(void *ctx, uint32_t node, uint64_t peer)
{
    (void)ctx;
    script_assert(node == 3 && peer == PEER);
    t.ready = true;
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

static struct ip ip_of(bool stack)
{
    struct ip a;

    assert_true(ip_parse(span_from_str(t.v6 ? (stack ? "fd7a:115c:a1e0::1" : "fd7a:115c:a1e0::2")
                                            : (stack ? "100.64.0.1" : "100.64.0.2")),
                         &a));
    return a;
}

static struct tcp_conn *conn_now(void)
{
    struct tcp_conn *c = slab_get(&t.ns->conns, t.conn);
    uint32_t at = 0;

    if (c)
        return c->peer ? c : NULL;
    c = slab_next(&t.ns->conns, &at); /* let go by its consumer, but alive */
    return c && c->peer ? c : NULL;
}

static void pull_all(void)
{
    struct netstack_segment s;

    while (t.ready) {
        if (!netstack_next_segment(t.ns, 3, PEER, NETSTACK_SEGMENTS_MAX, t.now, &s)) {
            t.ready = false;
            break;
        }
        for (uint32_t i = 0; i < s.count; i++) {
            struct sent *k = &t.out[t.out_count++];

            assert_true(t.out_count < OUT_MAX);
            k->len = netstack_segment_write(&s, i, k->bytes, sizeof(k->bytes));
            assert_true(k->len > 0);
        }
    }
}

/* ---- words --------------------------------------------------------------------------------------------- */

struct words {
    char text[512];
    char *word[TOKENS_MAX];
    int count;
};

static void split(struct words *w, const char *line, size_t len)
{
    char *rest;

    assert_true(len < sizeof(w->text));
    memcpy(w->text, line, len);
    w->text[len] = 0;
    w->count = 0;
    for (char *one = strtok_r(w->text, " \t", &rest); one; one = strtok_r(NULL, " \t", &rest)) {
        if (one[0] == '#')
            break;
        assert_true(w->count < TOKENS_MAX);
        w->word[w->count++] = one;
    }
}

static bool has(const struct words *w, const char *key)
{
    for (int i = 1; i < w->count; i++)
        if (strcmp(w->word[i], key) == 0)
            return true;
    return false;
}

static const char *value(const struct words *w, const char *key)
{
    for (int i = 1; i + 1 < w->count; i++)
        if (strcmp(w->word[i], key) == 0)
            return w->word[i + 1];
    return NULL;
}

static uint32_t number(const struct words *w, const char *key, uint32_t other)
{
    const char *v = value(w, key);

    return v ? (uint32_t)strtoll(v, NULL, 10) : other;
}

static uint8_t flags_of(const char *text)
{
    uint8_t flags = 0;

    for (; *text; text++) {
        const char *at = strchr("FSRPAU", *text);

        assert_non_null(at);
        flags |= (uint8_t)(1 << (at - "FSRPAU"));
    }
    return flags;
}

/* xN at the end of a line. */
static uint32_t times_of(const struct words *w)
{
    const char *last = w->word[w->count - 1];

    return last[0] == 'x' ? (uint32_t)atoi(last + 1) : 1;
}

/* ---- packets ------------------------------------------------------------------------------------------- */

static size_t build_options(const struct words *w, uint8_t *out)
{
    struct writer o = writer_of(out, 40);
    const char *ts = value(w, "ts"), *sack = value(w, "sack"), *slash;

    if (value(w, "mss")) {
        writer_be16(&o, 0x0204);
        writer_be16(&o, (uint16_t)number(w, "mss", 0));
    }
    if (has(w, "sackok"))
        writer_be32(&o, 0x01010402);
    if (value(w, "scale"))
        writer_be32(&o, 0x01030300 | number(w, "scale", 0));
    if (ts) {
        slash = strchr(ts, '/');
        writer_be32(&o, 0x0101080a);
        writer_be32(&o, (uint32_t)strtoll(ts, NULL, 10));
        writer_be32(&o, slash ? (uint32_t)strtoll(slash + 1, NULL, 10) + t.last_tsval : t.last_tsval);
    }
    if (sack) {
        uint8_t *len = out + o.at + 3;

        writer_be32(&o, 0x01010502);
        for (const char *at = sack; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
            writer_be32(&o, (uint32_t)strtoll(at, NULL, 10) + t.stack_isn);
            writer_be32(&o, (uint32_t)strtoll(strchr(at, '-') + 1, NULL, 10) + t.stack_isn);
            *len = (uint8_t)(*len + 8);
        }
    }
    assert_false(o.failed);
    return o.at;
}

/* Built by hand, so that a fault of the stack's writer does not hide a fault of its reader. */
static size_t build_packet(const struct words *w, uint32_t seq_more, uint8_t *out)
{
    size_t ip = t.v6 ? 40 : 20, data = number(w, "len", 0), options, len;
    struct ip from = ip_of(false), to = ip_of(true);
    uint32_t seq = number(w, "seq", 0) + seq_more + t.peer_isn, ack = number(w, "ack", 0) + t.stack_isn,
             sum = 0;
    uint8_t *p = out + ip, flags = flags_of(w->word[1]);

    memset(out, 0, ip + 20);
    store_be16(p, (uint16_t)number(w, "port", t.peer_port));
    store_be16(p + 2, t.stack_port);
    store_be32(p + 4, seq);
    store_be32(p + 8, flags & TCP_ACK ? ack : 0);
    options = build_options(w, p + 20);
    p[12] = (uint8_t)((20 + options) / 4 << 4);
    p[13] = flags;
    store_be16(p + 14, (uint16_t)number(w, "win", 65535));
    len = 20 + options + data;
    for (size_t i = 0; i < data; i++)
        p[20 + options + i] = (uint8_t)(number(w, "seq", 0) + seq_more + i);
    p[len] = 0;
    for (size_t i = 0; i < len; i += 2)
        sum += load_be16(p + i);
    for (size_t i = t.v6 ? 0 : 12; i < 16; i += 2)
        sum += load_be16(from.bytes + i) + (uint32_t)load_be16(to.bytes + i);
    sum += 6 + (uint32_t)len;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    store_be16(p + 16, (uint16_t)(~sum ^ (has(w, "bad") ? 0x100 : 0)));
    if (t.v6) {
        out[0] = 0x60;
        store_be16(out + 4, (uint16_t)len);
        out[6] = 6;
        out[7] = 64;
        memcpy(out + 8, from.bytes, 16);
        memcpy(out + 24, to.bytes, 16);
        return ip + len;
    }
    out[0] = 0x45;
    store_be16(out + 2, (uint16_t)(ip + len));
    out[8] = 64;
    out[9] = 6;
    memcpy(out + 12, from.bytes + 12, 4);
    memcpy(out + 16, to.bytes + 12, 4);
    sum = 0;
    for (size_t i = 0; i < 20; i += 2)
        sum += load_be16(out + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    store_be16(out + 10, (uint16_t)~sum);
    return ip + len;
}

static void nothing_unexpected(void)
{
    if (t.out_first < t.out_count) {
        const uint8_t *p = t.out[t.out_first].bytes + (t.v6 ? 40 : 20);

        script_fail("%zu packets nobody asked for, the first with flags %02x seq %d ack %d length %zu",
                    t.out_count - t.out_first, p[13], (int)(load_be32(p + 4) - t.stack_isn),
                    (int)(load_be32(p + 8) - t.peer_isn), t.out[t.out_first].len);
    }
    t.out_first = t.out_count = 0;
}

static void flush_batch(void)
{
    struct span spans[256];

    for (size_t i = 0; i < t.batch_count; i++)
        spans[i] = span_make(t.batch[i].bytes, t.batch[i].len);
    netstack_input(t.ns, 3, PEER, spans, t.batch_count, t.now);
    t.batch_count = 0;
    pull_all();
}

static void do_in(const struct words *w)
{
    uint32_t times = times_of(w), len = number(w, "len", 0);

    if (!t.batch_count)
        nothing_unexpected();
    for (uint32_t i = 0; i < times; i++) {
        struct sent *k = &t.batch[t.batch_count++];

        assert_true(t.batch_count <= COUNT_OF(t.batch));
        k->len = build_packet(w, i * len, k->bytes);
        if (!t.in_batch)
            flush_batch();
    }
}

static void compare(const char *what, uint32_t got, uint32_t want)
{
    if (got != want)
        script_fail("%s is %d, expected %d", what, (int)got, (int)want);
}

/* The options of a packet sent, as far as the line names them. */
static void compare_options(const struct words *w, const uint8_t *p)
{
    size_t end = (size_t)(p[12] >> 4) * 4;
    uint32_t mss = 0, scale = 99, tsecr = 0;
    bool sackok = false, ts = false;
    char sack[128] = "";

    for (size_t i = 20; i < end; i += p[i] == 1 ? 1 : p[i + 1]) {
        script_assert(p[i] != 0 && (p[i] == 1 || p[i + 1] >= 2));
        if (p[i] == 2)
            mss = load_be16(p + i + 2);
        if (p[i] == 3)
            scale = p[i + 2];
        if (p[i] == 4)
            sackok = true;
        if (p[i] == 8) {
            ts = true;
            t.last_tsval = load_be32(p + i + 2);
            tsecr = load_be32(p + i + 6);
        }
        for (size_t k = i + 2; p[i] == 5 && k < i + p[i + 1]; k += 8)
            snprintf(sack + strlen(sack), sizeof(sack) - strlen(sack), "%s%u-%u", *sack ? "," : "",
                     load_be32(p + k) - t.peer_isn, load_be32(p + k + 4) - t.peer_isn);
    }
    if (value(w, "mss"))
        compare("mss", mss, number(w, "mss", 0));
    if (value(w, "scale"))
        compare("scale", scale, number(w, "scale", 0));
    if (has(w, "sackok") != sackok && (p[13] & TCP_SYN))
        script_fail("SACK permitted: %d", sackok);
    if (has(w, "ts"))
        script_assert(ts);
    if (has(w, "nots"))
        script_assert(!ts);
    if (value(w, "tsecr"))
        compare("tsecr", tsecr, number(w, "tsecr", 0));
    if ((value(w, "sack") || *sack) && strcmp(value(w, "sack") ? value(w, "sack") : "", sack) != 0)
        script_fail("sack is \"%s\"", sack);
}

static void compare_packet(const struct words *w, const struct sent *k, uint32_t seq_more)
{
    size_t ip = t.v6 ? 40 : 20;
    const uint8_t *p = k->bytes + ip;
    size_t data = k->len - ip - (size_t)(p[12] >> 4) * 4;

    if ((p[13] & TCP_SYN) && !t.stack_isn_known) {
        t.stack_isn = load_be32(p + 4);
        t.stack_isn_known = true;
        t.stack_port = load_be16(p);
    }
    if (p[13] != flags_of(w->word[1]))
        script_fail("flags are %02x (seq %d ack %d len %zu), expected %s", p[13],
                    (int)(load_be32(p + 4) - t.stack_isn), (int)(load_be32(p + 8) - t.peer_isn), data,
                    w->word[1]);
    if (value(w, "seq"))
        compare("seq", load_be32(p + 4) - t.stack_isn, number(w, "seq", 0) + seq_more);
    if (value(w, "ack"))
        compare("ack", load_be32(p + 8) - t.peer_isn, number(w, "ack", 0));
    if (value(w, "win"))
        compare("win", load_be16(p + 14), number(w, "win", 0));
    compare("len", (uint32_t)data, number(w, "len", 0));
    compare_options(w, p);
}

static void do_out(const struct words *w)
{
    uint32_t times = times_of(w), len = number(w, "len", 0);

    for (uint32_t i = 0; i < times; i++) {
        if (t.out_first == t.out_count)
            script_fail("packet %u of %u was not sent", i + 1, times);
        compare_packet(w, &t.out[t.out_first++], i * len);
    }
}

/* ---- time ------------------------------------------------------------------------------------------------
 */

static void do_at(const struct words *w)
{
    time_ns until = t.now + strtoll(w->word[1], NULL, 10) * MSEC;

    nothing_unexpected();
    while (netstack_deadline(t.ns) <= until) {
        t.now = MAX(t.now, netstack_deadline(t.ns));
        netstack_tick(t.ns, t.now);
        pull_all();
    }
    t.now = until;
}

/* ---- the consumer
 * ------------------------------------------------------------------------------------------- */

static void do_write(const struct words *w)
{
    size_t left = (size_t)atoi(w->word[1]);
    static uint8_t bytes[1 << 20];

    assert_true(left <= sizeof(bytes));
    t.writable = false;
    ssize_t n = tcp_write(t.ns, t.conn, span_make(bytes, left), has(w, "more"));

    if (value(w, "takes"))
        compare("taken", (uint32_t)n, number(w, "takes", 0));
    else
        script_assert(n == (ssize_t)left);
    pull_all();
}

static void do_read(const struct words *w)
{
    size_t n = strcmp(w->word[1], "all") == 0 ? tcp_readable_bytes(t.ns, t.conn) : (size_t)atoi(w->word[1]);

    script_assert(n <= tcp_readable_bytes(t.ns, t.conn));
    tcp_consume(t.ns, t.conn, n);
    pull_all();
}

static void do_closed(const struct words *w)
{
    if (!t.is_closed)
        script_fail("not closed");
    if (strncmp(netstack_reason_text(t.reason), w->word[1], strlen(w->word[1])) != 0)
        script_fail("closed: %s", netstack_reason_text(t.reason));
}

static void do_connect(void)
{
    struct ip local = ip_of(true);
    struct ip_port remote = { ip_of(false), PEER_PORT };
    int r = tcp_connect(t.ns, 3, PEER, &local, &remote, NULL, t.now, &t.conn);

    compare("tcp_connect", (uint32_t)r, 0);
    pull_all();
}

/* ---- questions
 * --------------------------------------------------------------------------------------------- */

static void do_state(const struct words *w)
{
    static const char *const names[] = {
#define X(name) #name,
        TCP_STATES(X)
#undef X
    };
    struct tcp_conn *c = conn_now();
    const char *got = c ? names[c->state] : "gone";

    if (strcmp(got, w->word[1]) != 0)
        script_fail("state is %s", got);
}

static void do_count(const struct words *w)
{
#define X(name, text)                                                              \
    if (strcmp(w->word[1], #name) == 0) {                                          \
        compare(#name, (uint32_t)t.ns->counters.name, (uint32_t)atoi(w->word[2])); \
        return;                                                                    \
    }
    NETSTACK_COUNTERS(X)
#undef X
    script_fail("no counter %s", w->word[1]);
}

static void do_cwnd(const struct words *w)
{
    struct tcp_conn *c = conn_now();
    int got, want = atoi(w->word[2]);

    script_assert(c != NULL);
    got = (int)(c->cwnd / c->snd_mss);
    if ((w->word[1][0] == '=' && got != want) || (w->word[1][0] == '<' && got >= want) ||
        (w->word[1][0] == '>' && got <= want))
        script_fail("cwnd is %d segments", got);
}

static void do_idle(void)
{
    struct tcp_conn *c = conn_now();

    script_assert(netstack_deadline(t.ns) == TIME_NEVER);
    script_assert(!c || (!c->tx && !c->rx));
}

/* An error that quotes the first 8 bytes of the oldest packet in flight. */
static void do_icmp(const struct words *w)
{
    uint8_t out[20 + 8 + 28] = { 0x45 };
    struct tcp_conn *c = conn_now();
    struct ip from = ip_of(false), to = ip_of(true);
    uint8_t *icmp = out + 20, *quote = icmp + 8;
    bool too_big = strcmp(w->word[1], "too-big") == 0;
    struct span packet = SPAN_OF(out);
    uint32_t sum = 0;

    script_assert(c && !t.v6);
    nothing_unexpected();
    store_be16(out + 2, sizeof(out));
    out[8] = 64;
    out[9] = 1;
    memcpy(out + 12, from.bytes + 12, 4);
    memcpy(out + 16, to.bytes + 12, 4);
    checksum_store(out + 10, checksum_add(0, out, 20));
    icmp[0] = 3;
    icmp[1] = too_big ? 4 : (uint8_t)atoi(w->word[2]);
    store_be16(icmp + 6, too_big ? (uint16_t)atoi(w->word[2]) : 0);
    quote[0] = 0x45;
    quote[9] = 6;
    memcpy(quote + 12, to.bytes + 12, 4);
    memcpy(quote + 16, from.bytes + 12, 4);
    store_be16(quote + 20, c->local_port);
    store_be16(quote + 22, c->remote_port);
    store_be32(quote + 24, number(w, "seq", 0) + (value(w, "seq") ? t.stack_isn : c->snd_una));
    for (size_t i = 0; i < 36; i += 2)
        sum += load_be16(icmp + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    store_be16(icmp + 2, (uint16_t)~sum);
    netstack_input(t.ns, 3, PEER, &packet, 1, t.now);
    pull_all();
}

static enum netstack_verdict verdict_of(const char *text)
{
    static const char *const names[] = { "accept", "reset", "drop", "defer" };

    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum netstack_verdict)i;
    script_fail("verdict %s", text);
    return NETSTACK_DROP;
}

/* ---- the stack
 * -------------------------------------------------------------------------------------------------- */

static void option(struct netstack_config *config, const char *text)
{
    uint32_t n = strchr(text, '=') ? (uint32_t)strtoll(strchr(text, '=') + 1, NULL, 10) : 0;

    if (strcmp(text, "sack=off") == 0)
        config->sack_off = true;
    else if (strcmp(text, "timestamps=off") == 0)
        config->timestamps_off = true;
    else if (strcmp(text, "scaling=off") == 0)
        config->window_scaling_off = true;
    else if (strcmp(text, "newreno") == 0)
        config->congestion = "newreno";
    else if (strcmp(text, "v6") == 0)
        t.v6 = true;
    else if (strncmp(text, "peer_isn=", 9) == 0)
        t.peer_isn = n;
    else if (strncmp(text, "keepalive=", 10) == 0)
        config->keepalive_ns = n * SEC;
    else if (strncmp(text, "half_open=", 10) == 0)
        config->limits.half_open_per_peer = n;
    else if (strncmp(text, "conns=", 6) == 0)
        config->limits.conns_per_peer = n;
    else
        script_fail("option %s", text);
}

static void start_stack(const struct netstack_config *config)
{
    struct ip a = ip_of(true);

    assert_int_equal(netstack_new(&t.ns, config, t.now), 0);
    assert_int_equal(netstack_node_add(t.ns, 3, &a, 1), 0);
}

static void run_lines(const char *text);

static void do_line(const struct words *w)
{
    const char *verb = w->word[0];

    if (strcmp(verb, "in") == 0)
        do_in(w);
    else if (strcmp(verb, "out") == 0)
        do_out(w);
    else if (strcmp(verb, "none") == 0)
        nothing_unexpected();
    else if (strcmp(verb, "skip") == 0)
        t.out_first = t.out_count = 0;
    else if (strcmp(verb, "batch") == 0)
        t.in_batch = true;
    else if (strcmp(verb, "end") == 0 && t.in_batch) {
        t.in_batch = false;
        flush_batch();
    } else if (strcmp(verb, "at") == 0)
        do_at(w);
    else if (strcmp(verb, "write") == 0)
        do_write(w);
    else if (strcmp(verb, "read") == 0)
        do_read(w);
    else if (strcmp(verb, "connect") == 0)
        do_connect();
    else if (strcmp(verb, "established") == 0)
        run_lines("in S seq 0 mss 1240\n out SA seq 0 ack 1 mss 1240\n in A seq 1 ack 1\n none\n open\n");
    else if (strcmp(verb, "full") == 0) /* the same with every option */
        run_lines(
            "in S seq 0 mss 1240 sackok ts 100 scale 7\n out SA seq 0 ack 1 mss 1240 sackok ts scale 8\n"
            "in A seq 1 ack 1 ts 100 win 512\n none\n open\n");
    else if (strcmp(verb, "far") == 0) /* the same over 20 ms */
        run_lines("in S seq 0 mss 1240 sackok ts 100 scale 7\n out SA seq 0 ack 1 mss 1240 sackok ts scale "
                  "8\n at +20\n"
                  "in A seq 1 ack 1 ts 120 win 512\n none\n open\n");
    else if (strcmp(verb, "slow") == 0) /* quick acknowledgements are over */
        script_assert(conn_now() && (conn_now()->quick_acks = 0) == 0);
    else
        script_fail("what is \"%s\"?", verb);
}

/* The lines that are one call or one question. */
static bool do_short_line(const struct words *w)
{
    const char *verb = w->word[0];

    if (strcmp(verb, "shutdown") == 0)
        tcp_shutdown(t.ns, t.conn);
    else if (strcmp(verb, "close") == 0)
        tcp_close(t.ns, t.conn);
    else if (strcmp(verb, "abort") == 0)
        tcp_abort(t.ns, t.conn);
    else if (strcmp(verb, "policy") == 0)
        t.verdict = verdict_of(w->word[1]);
    else if (strcmp(verb, "decide") == 0)
        script_assert(netstack_syn_decide(t.ns, t.pending, verdict_of(w->word[1]), NULL, t.now));
    else if (strcmp(verb, "path") == 0)
        netstack_path_changed(t.ns, 3, PEER,
                              strcmp(w->word[1], "relay") == 0 ? NETSTACK_PATH_RELAY : NETSTACK_PATH_DIRECT,
                              (uint32_t)(t.now / MSEC), t.now);
    else if (strcmp(verb, "got") == 0)
        compare("readable", (uint32_t)tcp_readable_bytes(t.ns, t.conn), (uint32_t)atoi(w->word[1]));
    else if (strcmp(verb, "end") == 0 && !t.in_batch)
        script_assert(tcp_at_end(t.ns, t.conn));
    else if (strcmp(verb, "open") == 0)
        script_assert(t.open);
    else if (strcmp(verb, "writable") == 0)
        script_assert(t.writable);
    else if (strcmp(verb, "closed") == 0)
        do_closed(w);
    else if (strcmp(verb, "state") == 0)
        do_state(w);
    else if (strcmp(verb, "count") == 0)
        do_count(w);
    else if (strcmp(verb, "cwnd") == 0)
        do_cwnd(w);
    else if (strcmp(verb, "idle") == 0)
        do_idle();
    else if (strcmp(verb, "icmp") == 0)
        do_icmp(w);
    else
        return false;
    pull_all();
    return true;
}

static void run_lines(const char *text)
{
    struct words w;

    while (*text) {
        size_t len = strcspn(text, "\n;");

        split(&w, text, len);
        text += len + (text[len] != 0);
        if (w.count && !do_short_line(&w))
            do_line(&w);
    }
}

void run_script(const char *name, const char *script)
{
    struct netstack_config config = { .ops = &ops, .random = fixed_bytes };
    struct words w;

    memset(&t, 0, offsetof(struct script, batch));
    t.out_first = t.out_count = 0;
    t.name = name;
    t.now = 1000 * SEC;
    t.peer_isn = 700000;
    t.stack_port = STACK_PORT;
    t.peer_port = PEER_PORT;
    /* Options come first. */
    while (*script) {
        size_t len = strcspn(script, "\n;");

        split(&w, script, len);
        if (w.count && strcmp(w.word[0], "option") != 0)
            break;
        if (w.count)
            option(&config, w.word[1]);
        script += len + (script[len] != 0);
        t.line++;
    }
    start_stack(&config);
    while (*script) {
        size_t len = strcspn(script, "\n");
        char line[512];

        assert_true(len < sizeof(line));
        memcpy(line, script, len);
        line[len] = 0;
        t.line++;
        run_lines(line);
        script += len + (script[len] != 0);
    }
    nothing_unexpected();
    netstack_free(t.ns);
}

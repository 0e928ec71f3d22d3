/* metrics/metrics.h - what the program costs, by node and by part, always counted
 *
 *     account_*      the thread's time, wake-ups, bytes and packets, charged to (account, part) pairs
 *     metrics_*      what is counted anywhere, as the text that Prometheus reads
 *
 * At any moment a thread charges one account (a node; 0 is nobody in particular) and one part of the program.
 * The event loop remembers with each timer, task and descriptor what was charged when it was set, so a
 * callback is paid by whoever asked for it; code that goes over to another part, or learns late whose packet
 * it holds, says so. A switch costs one read of the cycle counter, about 10 ns; nothing is measured while the
 * thread sleeps, and nothing ticks.
 *
 * Cycles are turned into CPU time when somebody asks: what the counter saw beyond the thread's CPU clock
 * (another thread had the core) is taken off all cells alike, what it missed (the loop's own system calls)
 * goes to account 0. So the cells always add up to the CPU time of the thread.
 *
 * Thread: each thread has its own accounts, made with the thread and reached without an argument, since the
 * pure modules and the streams that charge do not know the loop.
 */
#ifndef MANYTAILS_METRICS_METRICS_H
#define MANYTAILS_METRICS_METRICS_H

#include "base/base.h"

#include <sys/types.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define ACCOUNTS_MAX 65536 /* of one thread; what is beyond is charged to account 0 */

/* Row: name, label, what its time goes to, what its bytes are, what its packets are (NULL: it has none). */
#define ACCOUNT_PARTS(X)                                                                                     \
    X(OTHER, "other", "the loop, the kernel's share of it, start and end", NULL, NULL)                       \
    X(CONTROL, "control", "the connection to the control server, netmaps",                                   \
      "on connections to control servers, inside TLS", "Noise records")                                      \
    X(RELAY, "relay", "connections to relays", "on connections to relays, inside TLS",                       \
      "packets for and from peers")                                                                          \
    X(PATHS, "paths", "sockets, disco, STUN: finding and keeping direct paths", "of UDP datagrams",          \
      "UDP datagrams")                                                                                       \
    X(WIREGUARD, "wireguard", "handshakes, sealing and opening, sending", "of WireGuard's messages",         \
      "WireGuard's messages, by whatever way")                                                               \
    X(NETSTACK, "netstack", "TCP/IP inside the tunnel", "of IP packets", "IP packets inside the tunnels")    \
    X(TLS, "tls", "TLS of services, upstreams, relays and control servers", "of TLS records", "TLS records") \
    X(PROXY, "proxy", "requests and their upstream connections",                                             \
      "HTTP with clients, inside TLS; heads and framing too", NULL)

enum account_part {
#define X(name, label, text, bytes, packets) ACCOUNT_##name,
    ACCOUNT_PARTS(X)
#undef X
        ACCOUNT_PART_COUNT
};

struct account_part_text {
    const char *label, *text;
    const char *bytes, *packets; /* what is counted of them; NULL: it has none */
};
extern const struct account_part_text account_part_texts[ACCOUNT_PART_COUNT];

/* Account and part in one word: what timers and descriptors remember. 0: nobody in particular. */
typedef uint32_t account_charge;

static inline account_charge account_charge_of(uint32_t account, enum account_part part)
{
    return account << 8 | part;
}

enum account_direction { ACCOUNT_IN, ACCOUNT_OUT, ACCOUNT_DIRECTION_COUNT };

struct account_traffic {
    uint64_t packets, bytes;
};

struct account_cell {
    uint64_t cycles;
    uint64_t wakeups; /* times that the sleeping thread was woken for it */
    struct account_traffic traffic[ACCOUNT_DIRECTION_COUNT];
};

struct account {
    struct account_cell parts[ACCOUNT_PART_COUNT];
};

struct accounts {
    struct account *items; /* by number; NULL until the first account_open */
    uint32_t count;
    account_charge charge;
    struct account_cell *cell; /* of charge */
    uint64_t mark;             /* the counter when it was charged last */
    bool woken;                /* the loop slept, and nobody paid for it yet */
    struct account nobody;     /* account 0 */
    uint64_t base_cycles;      /* counter and clocks at the first look, to turn one into the other */
    int64_t base_wall, base_cpu;
};
extern _Thread_local struct accounts accounts;

/* ---- charging ------------------------------------------------------------------ */

uint64_t account_clock_slow(void); /* where there is no counter: a system call, nearly */

static inline uint64_t account_clock(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t value;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return account_clock_slow();
#endif
}
struct account_cell *account_cell_of(account_charge charge);

/* What has passed goes to the present charge, what comes to `to`. Returns what was charged before. */
static inline account_charge account_switch(account_charge to)
{
    account_charge was = accounts.charge;
    uint64_t now;

    if (to == was && !accounts.woken)
        return was;
    now = account_clock();
    if (accounts.cell)
        accounts.cell->cycles += now - accounts.mark;
    accounts.mark = now;
    accounts.charge = to;
    accounts.cell = account_cell_of(to);
    if (accounts.woken && to >> 8) {
        accounts.woken = false;
        accounts.cell->wakeups++;
    }
    return was;
}

/* The same account, another part of the program. */
static inline account_charge account_switch_part(enum account_part part)
{
    return account_switch((accounts.charge & ~0xffu) | part);
}

/* What the present account's `part` received or sent: an addition in the cell beside the present one. */
static inline void account_count(enum account_part part, enum account_direction direction, uint64_t packets,
                                 uint64_t bytes)
{
    account_charge charge = accounts.charge;
    struct account_cell *cell =
        accounts.cell ? accounts.cell - (charge & 0xff) + part : account_cell_of((charge & ~0xffu) | part);

    cell->traffic[direction].packets += packets;
    cell->traffic[direction].bytes += bytes;
}

/* The result of a read or a write of a stream: counted if it moved bytes. Returns it. */
static inline ssize_t account_moved(enum account_part part, enum account_direction direction, ssize_t n)
{
    if (n > 0)
        account_count(part, direction, 0, (uint64_t)n);
    return n;
}

/* For objects that keep who made them: the present account with this part. */
static inline account_charge account_charge_here(enum account_part part)
{
    return (accounts.charge & ~0xffu) | part;
}

/* As account_switch, but what has passed since the last switch goes to `to` as well: for a packet that turns
 * out to be somebody's only after it was read and opened. */
account_charge account_claim(account_charge to);

/* ---- life (the event loop, the owner of the nodes) -------------------------------- */

/* Number an account is known by; it may be opened again under the same number. 0 if memory is out. */
NODISCARD uint32_t account_open(uint32_t number);
void account_close(uint32_t number); /* what it cost goes to account 0 */
void account_thread_end(void);       /* frees what the thread has */
void account_asleep(void);           /* the loop is about to wait */
void account_awake(bool slept);      /* it has waited; slept: not only looked */

/* ---- reading ------------------------------------------------------------------------ */

struct account_cost {
    time_ns cpu;
    uint64_t wakeups;
    struct account_traffic traffic[ACCOUNT_DIRECTION_COUNT];
};

struct account_reading {
    double ns_per_cycle; /* after what other threads took is taken off */
    time_ns thread_cpu;  /* of the thread since the first look */
    time_ns missed;      /* of it, not in any cell: account 0's */
};

/* Called on the thread itself; then the costs, which add up to thread_cpu. */
void account_read(struct account_reading *out);
void account_cost_get(const struct account_reading *r, uint32_t number, enum account_part part,
                      struct account_cost *out);

/* ---- memory ----------------------------------------------------------------------------
 *
 * Nothing is counted as it is taken. Whoever holds blocks of the heap adds them up when somebody asks, at
 * what the allocator took for them: so it costs nothing meanwhile, needs no counter per node, and cannot
 * drift. What it is a walk over: the peers and connections of a node. docs/protocol/metrics.md says what is
 * left out.
 */
struct account_memory {
    uint64_t bytes[ACCOUNT_PART_COUNT];
};

/* What a block of the heap takes, the allocator's own word included. NULL: nothing. It is not looked into. */
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((access(none, 1)))
#endif
size_t
account_block(const void *block);
static inline void account_hold(struct account_memory *m, enum account_part part, size_t bytes)
{
    m->bytes[part] += bytes;
}
static inline void account_hold_block(struct account_memory *m, enum account_part part, const void *block)
{
    m->bytes[part] += account_block(block);
}
uint64_t account_memory_sum(const struct account_memory *m);

/* ---- the page --------------------------------------------------------------------------
 *
 * A page is sections by family, since a family's samples must stand together and they come from several
 * shards: each shard fills a page of its own, the reader adds them up. Failures (memory, the limit) are kept
 * and told at the end. Text format: docs/protocol/metrics.md.
 */
#define METRICS_BYTES_MAX (64u << 20)

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_SUMMARY, METRICS_HISTOGRAM };

/* Static, one row per family; told apart by address. No newline or backslash in the help. */
struct metrics_family {
    const char *name;
    enum metrics_type type;
    const char *help;
};

struct metrics_page;

NODISCARD int metrics_page_new(struct metrics_page **out); /* -ENOMEM */
void metrics_page_free(struct metrics_page *p);            /* NULL is fine */
/* labels: name, value, ..., NULL; or NULL. `suffix` is that of summaries and histograms: "_sum". */
void metrics_put(struct metrics_page *p, const struct metrics_family *f, const char *suffix,
                 const char *const *labels, double value);
void metrics_put_u64(struct metrics_page *p, const struct metrics_family *f, const char *const *labels,
                     uint64_t value);
void metrics_page_add(struct metrics_page *to, const struct metrics_page *from);
NODISCARD int metrics_page_write(const struct metrics_page *p, struct buf *out); /* -ENOBUFS, -ENOMEM */

#define METRICS_LABELS(...) ((const char *const[]) { __VA_ARGS__, NULL })

#endif

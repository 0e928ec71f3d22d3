/* cli/top.h - the table of `manytails top`, without a terminal: samples in, text out */
#ifndef MANYTAILS_CLI_TOP_H
#define MANYTAILS_CLI_TOP_H

#include "base/base.h"

#define TOP_NAME_BYTES 64
#define TOP_PARTS_MAX 16

/* One service, or what no service asked for. */
struct top_row {
    char name[TOP_NAME_BYTES], state[32], part[16]; /* part: of the program, the one that costs most */
    uint64_t cpu_us, requests, bytes_in, bytes_out; /* since the start */
    uint64_t memory;                                /* bytes held now */
    unsigned peers, direct;                         /* in use; of these, without a relay */
    double cpu, rps, in, out;                       /* per second, cpu as a share of one core */
};

struct top_sample {
    struct top_row *rows; /* owned; sorted by name until top_sample_rates sorts them by cost */
    size_t count, shards;
    time_ns at; /* when it was taken */
    double uptime;
    uint64_t cpu_us, wakeups, datagrams; /* since the start; datagrams: both ways */
    uint64_t resident;                   /* bytes of the process; 0: it did not say */
    double cpu, wakeup_rate, datagram_rate;
};

/* Column, key in a terminal. The first is what is meant when nothing is said. */
#define TOP_ORDERS(X)            \
    X(CPU, "cpu", 'c')           \
    X(MEMORY, "memory", 'm')     \
    X(REQUESTS, "requests", 'r') \
    X(IN, "in", 'i')             \
    X(OUT, "out", 'o')           \
    X(NAME, "name", 'n')

enum top_order {
#define X(id, name, key) TOP_BY_##id,
    TOP_ORDERS(X)
#undef X
        TOP_ORDER_COUNT
};
/* TOP_ORDER_COUNT: there is none of that name, or of that key. */
enum top_order top_order_find(const char *name);
enum top_order top_order_of_key(char key);

/* 0, 1: the answer makes no sense, -ENOMEM. *out is to be freed in any case. */
NODISCARD int top_sample_read(struct top_sample *out, struct span json, time_ns at);
void top_sample_free(struct top_sample *s);
/* Fills the rates from an earlier sample (NULL: since the start of the process) and sorts: what costs most
 * first. `before` is left sorted by name. */
void top_sample_rates(struct top_sample *s, struct top_sample *before);
/* Another order, the largest first; the order of names breaks ties. */
void top_sample_sort(struct top_sample *s, enum top_order order);
/* The table in so many columns and lines (0: as many as there are rows). Lines end in \n. */
NODISCARD int top_write(struct buf *out, const struct top_sample *s, bool since_start, size_t columns,
                        size_t lines);

#endif

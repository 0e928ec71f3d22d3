#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/top.h"

#define ANSWER_BYTES_MAX (64 << 20)
#define SHARED "(shared)" /* the row of what no service asked for */
#define FIXED_COLUMNS 63  /* all but the name and the state */
#define NAME_COLUMNS_MIN 10

/* ---- reading ---------------------------------------------------------------------------- */

static uint64_t number(const struct json *v, const char *key)
{
    int64_t n = 0;

    return json_get_i64(v, key, &n) == JSON_GOT && n > 0 ? (uint64_t)n : 0;
}

static void copy_text(char *out, size_t size, const struct json *v, const char *key)
{
    struct span s = SPAN_NONE;

    json_get_string(v, key, &s);
    text_copy(out, size, span_slice(s, 0, MIN(s.len, size - 1)));
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

/* Adds the CPU time of every part; *most is what the costliest had so far. */
static void read_cost(struct top_row *row, const struct json *cost, uint64_t *most)
{
    static const char *const parts[] = { "other",     "control",  "relay", "paths",
                                         "wireguard", "netstack", "tls",   "proxy" };
    const struct json *cpu = cost ? json_member(cost, "cpuMicroseconds") : NULL;

    for (size_t i = 0; cpu && i < COUNT_OF(parts); i++) {
        uint64_t us = number(cpu, parts[i]);

        row->cpu_us += us;
        if (us > *most) {
            *most = us;
            text_copy(row->part, sizeof(row->part), span_from_str(parts[i]));
        }
    }
}

/* Of a service, or what a shard holds besides its services. */
static uint64_t read_memory(const struct json *cost)
{
    return cost ? number(cost, "memoryBytesTotal") : 0;
}

/* Datagrams of all kinds. What no service asked for has no tunnel: its bytes are those of its datagrams. */
static void read_datagrams(struct top_sample *out, struct top_row *shared, const struct json *cost)
{
    const struct json *traffic = cost ? json_member(cost, "traffic") : NULL;
    const struct json *paths = traffic ? json_member(traffic, "paths") : NULL;

    if (!paths)
        return;
    out->datagrams += number(paths, "packetsIn") + number(paths, "packetsOut");
    if (shared) {
        shared->bytes_in += number(paths, "bytesIn");
        shared->bytes_out += number(paths, "bytesOut");
    }
}

static void read_peers(struct top_row *row, const struct json *service)
{
    const struct json *list = NULL;

    json_get_array(service, "peers", &list);
    for (size_t i = 0; i < json_array_count(list); i++) {
        struct span path = SPAN_NONE;

        json_get_string(json_array_at(list, i), "path", &path);
        row->peers++;
        row->direct += !span_equal_str(path, "relay");
    }
}

static void read_service(struct top_row *row, const struct json *service)
{
    const struct json *requests = json_member(service, "requests");
    uint64_t most = 0;

    copy_text(row->name, sizeof(row->name), service, "name");
    copy_text(row->state, sizeof(row->state), service, "state");
    read_cost(row, json_member(service, "cost"), &most);
    row->memory = read_memory(json_member(service, "cost"));
    read_peers(row, service);
    row->bytes_in = number(service, "bytesIn");
    row->bytes_out = number(service, "bytesOut");
    row->requests = requests ? number(requests, "total") : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct top_row *)a)->name, ((const struct top_row *)b)->name);
}

static void read_shards(struct top_sample *out, const struct json *shards)
{
    struct top_row *shared = &out->rows[out->count++];
    uint64_t most = 0;

    strcpy(shared->name, SHARED);
    out->shards = json_array_count(shards);
    for (size_t i = 0; i < out->shards; i++) {
        const struct json *shard = json_array_at(shards, i);

        read_cost(shared, json_member(shard, "cost"), &most);
        shared->memory += read_memory(json_member(shard, "cost"));
        read_datagrams(out, shared, json_member(shard, "cost"));
        out->cpu_us += number(shard, "cpuMicroseconds");
        out->wakeups += number(shard, "wakeups");
    }
}

int top_sample_read(struct top_sample *out, struct span json, time_ns at)
{
    OWNED(json_freep) struct json *root = NULL;
    const struct json *services = NULL, *shards = NULL, *memory;

    *out = (struct top_sample) { .at = at };
    if (json_parse(json, ANSWER_BYTES_MAX, &root) ||
        json_get_array(root, "services", &services) != JSON_GOT ||
        json_get_array(root, "shards", &shards) != JSON_GOT)
        return 1;
    out->rows = calloc(json_array_count(services) + 1, sizeof(*out->rows));
    if (!out->rows)
        return -ENOMEM;
    memory = json_member(root, "memory");
    out->uptime = (double)number(root, "uptimeSeconds");
    for (size_t i = 0; i < json_array_count(services); i++) {
        read_service(&out->rows[out->count++], json_array_at(services, i));
        read_datagrams(out, NULL, json_member(json_array_at(services, i), "cost"));
    }
    read_shards(out, shards);
    if (memory) {
        out->resident = number(memory, "residentBytes");
        out->rows[out->count - 1].memory += number(memory, "netmapBytes"); /* that services share */
    }
    qsort(out->rows, out->count, sizeof(*out->rows), by_name);
    return 0;
}

void top_sample_free(struct top_sample *s)
{
    free(s->rows);
    *s = (struct top_sample) { 0 };
}

/* ---- rates -------------------------------------------------------------------------------- */

/* A service that started anew counts from nothing again. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return (double)(now >= before ? now - before : now) / seconds;
}

static int by_cost(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;

    if (x->cpu != y->cpu)
        return x->cpu < y->cpu ? 1 : -1;
    if (x->rps != y->rps)
        return x->rps < y->rps ? 1 : -1;
    return by_name(a, b);
}

static int descending(double x, double y, const void *a, const void *b)
{
    return x < y ? 1 : x > y ? -1 : by_name(a, b);
}

static int by_memory(const void *a, const void *b)
{
    return descending((double)((const struct top_row *)a)->memory,
                      (double)((const struct top_row *)b)->memory, a, b);
}

static int by_requests(const void *a, const void *b)
{
    return descending(((const struct top_row *)a)->rps, ((const struct top_row *)b)->rps, a, b);
}

static int by_in(const void *a, const void *b)
{
    return descending(((const struct top_row *)a)->in, ((const struct top_row *)b)->in, a, b);
}

static int by_out(const void *a, const void *b)
{
    return descending(((const struct top_row *)a)->out, ((const struct top_row *)b)->out, a, b);
}

static const struct {
    const char *name;
    char key;
} orders[] = {
#define X(id, name, key) [TOP_BY_##id] = { name, key },
    TOP_ORDERS(X)
#undef X
};

enum top_order top_order_find(const char *name)
{
    enum top_order i = 0;

    while (i < TOP_ORDER_COUNT && strcmp(orders[i].name, name) != 0)
        i++;
    return i;
}

enum top_order top_order_of_key(char key)
{
    enum top_order i = 0;

    while (i < TOP_ORDER_COUNT && orders[i].key != key)
        i++;
    return i;
}

void top_sample_sort(struct top_sample *s, enum top_order order)
{
    static int (*const compare[])(const void *, const void *) = {
        [TOP_BY_CPU] = by_cost, [TOP_BY_MEMORY] = by_memory, [TOP_BY_REQUESTS] = by_requests,
        [TOP_BY_IN] = by_in,    [TOP_BY_OUT] = by_out,       [TOP_BY_NAME] = by_name,
    };

    qsort(s->rows, s->count, sizeof(*s->rows), compare[order]);
}

void top_sample_rates(struct top_sample *s, struct top_sample *before)
{
    static const struct top_row nothing;
    double seconds = before ? (double)(s->at - before->at) / (double)SEC : s->uptime;

    seconds = MAX(seconds, 0.001);
    if (before)
        qsort(before->rows, before->count, sizeof(*before->rows), by_name);
    for (size_t i = 0; i < s->count; i++) {
        struct top_row *r = &s->rows[i];
        const struct top_row *old =
            before ? bsearch(r, before->rows, before->count, sizeof(*r), by_name) : NULL;

        if (!old)
            old = &nothing;
        r->cpu = rate(r->cpu_us, old->cpu_us, seconds) / 1e6;
        r->rps = rate(r->requests, old->requests, seconds);
        r->in = rate(r->bytes_in, old->bytes_in, seconds);
        r->out = rate(r->bytes_out, old->bytes_out, seconds);
    }
    s->cpu = rate(s->cpu_us, before ? before->cpu_us : 0, seconds) / 1e6;
    s->wakeup_rate = rate(s->wakeups, before ? before->wakeups : 0, seconds);
    s->datagram_rate = rate(s->datagrams, before ? before->datagrams : 0, seconds);
    top_sample_sort(s, TOP_BY_CPU);
}

/* ---- text ----------------------------------------------------------------------------------- */

static const char *amount(double v, char out[24])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    size_t unit = 0;

    while (v >= 999.5 && unit + 1 < COUNT_OF(units)) {
        v /= 1000;
        unit++;
    }
    snprintf(out, 24, "%.*f %s", unit && v < 10 ? 1 : 0, v, units[unit]);
    return out;
}

static const char *duration(double seconds, char out[32])
{
    unsigned long s = (unsigned long)seconds;

    if (s >= 86400)
        snprintf(out, 32, "%lu d %lu h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(out, 32, "%lu h %lu min", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(out, 32, "%lu min %lu s", s / 60, s % 60);
    else
        snprintf(out, 32, "%lu s", s);
    return out;
}

static const char *path_of(const struct top_row *r, char out[24])
{
    if (!r->peers)
        return "-";
    if (r->direct == r->peers)
        return "direct";
    if (!r->direct)
        return "relay";
    snprintf(out, 24, "%u direct", r->direct);
    return out;
}

/* One line, cut to the columns, without blanks at its end. */
static int put_line(struct buf *out, size_t columns, const char *line)
{
    size_t len = MIN(strlen(line), columns);

    while (len && line[len - 1] == ' ')
        len--;
    return buf_printf(out, "%.*s\n", (int)len, line);
}

static int put_row(struct buf *out, const struct top_row *r, size_t name, size_t columns)
{
    char line[512], in[24], sent[24], path[24], memory[24];

    snprintf(line, sizeof(line), "%-*.*s %6.2f %6s %7.1f %6s %6s %5u %-9s %-9s %s", (int)name, (int)name,
             r->name, r->cpu * 100, amount((double)r->memory, memory), r->rps, amount(r->in, in),
             amount(r->out, sent), r->peers, path_of(r, path), r->part, r->state);
    return put_line(out, columns, line);
}

static int put_head(struct buf *out, const struct top_sample *s, bool since_start, size_t name,
                    size_t columns)
{
    char line[512], up[32], resident[24], named[24];
    double held = 0;
    int r;

    for (size_t i = 0; i < s->count; i++)
        held += (double)s->rows[i].memory;

    snprintf(line, sizeof(line),
             "%zu service%s on %zu shard%s, up %s, CPU %.2f %%, memory %s (below %s), %.1f wake-ups/s, %.0f "
             "datagrams/s%s",
             s->count - 1, s->count == 2 ? "" : "s", s->shards, s->shards == 1 ? "" : "s",
             duration(s->uptime, up), s->cpu * 100, amount((double)s->resident, resident),
             amount(held, named), s->wakeup_rate, s->datagram_rate, since_start ? " (since start)" : "");
    r = put_line(out, columns, line);
    snprintf(line, sizeof(line), "%-*s %6s %6s %7s %6s %6s %5s %-9s %-9s %s", (int)name, "NAME", "CPU %",
             "MEM", "REQ/S", "IN/S", "OUT/S", "PEERS", "PATH", "MOSTLY", "STATE");
    return r ? r : put_line(out, columns, line);
}

int top_write(struct buf *out, const struct top_sample *s, bool since_start, size_t columns, size_t lines)
{
    size_t longest = NAME_COLUMNS_MIN, state = strlen("STATE"), room, name;
    size_t shown = lines ? MIN(s->count, lines > 2 ? lines - 2 : 0) : s->count;
    int r;

    for (size_t i = 0; i < s->count; i++)
        longest = MAX(longest, strlen(s->rows[i].name));
    for (size_t i = 0; i < s->count; i++)
        state = MAX(state, strlen(s->rows[i].state));
    room = columns > FIXED_COLUMNS + state ? columns - FIXED_COLUMNS - state : 0;
    name = MIN(longest, MAX(room, (size_t)NAME_COLUMNS_MIN));
    r = put_head(out, s, since_start, name, columns);
    for (size_t i = 0; i < shown && !r; i++)
        r = put_row(out, &s->rows[i], name, columns);
    return r;
}

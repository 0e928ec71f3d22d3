#include "metrics/metrics.h"

#include <malloc.h>
#include <stdlib.h>
#include <time.h>

const struct account_part_text account_part_texts[] = {
#define X(name, label, text, bytes, packets) { label, text, bytes, packets },
    ACCOUNT_PARTS(X)
#undef X
};

_Thread_local struct accounts accounts;

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * SEC + t.tv_nsec;
}

uint64_t account_clock_slow(void)
{
    return (uint64_t)clock_ns(CLOCK_MONOTONIC);
}

/* ---- charging ------------------------------------------------------------------ */

struct account_cell *account_cell_of(account_charge charge)
{
    struct accounts *a = &accounts;
    uint32_t number = charge >> 8;
    uint32_t part = charge & 0xff;

    must(part < ACCOUNT_PART_COUNT);
    return number && number < a->count ? &a->items[number].parts[part] : &a->nobody.parts[part];
}

static void charge_elapsed(struct accounts *a)
{
    uint64_t now = account_clock();

    if (a->cell)
        a->cell->cycles += now - a->mark;
    a->mark = now;
}

account_charge account_claim(account_charge to)
{
    struct accounts *a = &accounts;
    account_charge was = a->charge;

    a->charge = to;
    a->cell = account_cell_of(to);
    account_switch(to); /* for the wake-up */
    return was;
}

/* ---- life ------------------------------------------------------------------------ */

uint32_t account_open(uint32_t number)
{
    struct accounts *a = &accounts;
    struct account *items;
    uint32_t count = MAX(a->count, 16u);

    must(number);
    if (number >= ACCOUNTS_MAX)
        return 0;
    if (number < a->count)
        return number;
    while (count <= number)
        count *= 2;
    items = realloc(a->items, count * sizeof(*items));
    if (!items)
        return 0;
    memset(items + a->count, 0, (count - a->count) * sizeof(*items));
    a->items = items;
    a->count = count;
    a->cell = account_cell_of(a->charge);
    return number;
}

static void cell_add(struct account_cell *to, const struct account_cell *from)
{
    to->cycles += from->cycles;
    to->wakeups += from->wakeups;
    for (int way = 0; way < ACCOUNT_DIRECTION_COUNT; way++) {
        to->traffic[way].packets += from->traffic[way].packets;
        to->traffic[way].bytes += from->traffic[way].bytes;
    }
}

void account_close(uint32_t number)
{
    struct accounts *a = &accounts;

    if (!number || number >= a->count)
        return;
    for (int i = 0; i < ACCOUNT_PART_COUNT; i++)
        cell_add(&a->nobody.parts[i], &a->items[number].parts[i]);
    a->items[number] = (struct account) { 0 };
}

void account_thread_end(void)
{
    free(accounts.items);
    accounts = (struct accounts) { 0 };
}

static void take_base(struct accounts *a)
{
    a->base_cycles = a->mark = account_clock();
    a->base_wall = clock_ns(CLOCK_MONOTONIC);
    a->base_cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void account_asleep(void)
{
    struct accounts *a = &accounts;

    charge_elapsed(a);
    a->nobody.parts[ACCOUNT_OTHER].wakeups += a->woken;
    a->woken = false;
    a->cell = NULL; /* nothing is charged until account_awake */
}

void account_awake(bool slept)
{
    struct accounts *a = &accounts;

    a->charge = 0;
    a->cell = account_cell_of(0);
    a->woken = slept;
    if (!a->base_cycles)
        take_base(a);
    else
        a->mark = account_clock();
}

/* ---- reading ------------------------------------------------------------------------ */

static uint64_t all_cycles(const struct accounts *a)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i <= a->count; i++) {
        const struct account *one = i < a->count ? &a->items[i] : &a->nobody;

        for (int part = 0; part < ACCOUNT_PART_COUNT; part++)
            sum += one->parts[part].cycles;
    }
    return sum;
}

void account_read(struct account_reading *out)
{
    struct accounts *a = &accounts;
    double cycles, wall;

    *out = (struct account_reading) { 0 };
    if (!a->base_cycles)
        return;
    charge_elapsed(a);
    wall = (double)(clock_ns(CLOCK_MONOTONIC) - a->base_wall);
    out->thread_cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - a->base_cpu;
    out->ns_per_cycle = wall / (double)MAX(account_clock() - a->base_cycles, (uint64_t)1);
    cycles = (double)all_cycles(a);
    if (cycles * out->ns_per_cycle > (double)out->thread_cpu)
        out->ns_per_cycle = (double)out->thread_cpu / cycles;
    out->missed = out->thread_cpu - (time_ns)(cycles * out->ns_per_cycle);
}

void account_cost_get(const struct account_reading *r, uint32_t number, enum account_part part,
                      struct account_cost *out)
{
    const struct accounts *a = &accounts;
    const struct account_cell *cell;

    *out = (struct account_cost) { 0 };
    if (number && number >= a->count)
        return;
    cell = number ? &a->items[number].parts[part] : &a->nobody.parts[part];
    out->cpu = (time_ns)((double)cell->cycles * r->ns_per_cycle);
    if (!number && part == ACCOUNT_OTHER)
        out->cpu += r->missed;
    out->wakeups = cell->wakeups;
    memcpy(out->traffic, cell->traffic, sizeof(out->traffic));
}

/* ---- memory --------------------------------------------------------------------------- */

size_t account_block(const void *block)
{
    return block ? malloc_usable_size((void *)(uintptr_t)block) + sizeof(size_t) : 0;
}

uint64_t account_memory_sum(const struct account_memory *m)
{
    uint64_t sum = 0;

    for (int part = 0; part < ACCOUNT_PART_COUNT; part++)
        sum += m->bytes[part];
    return sum;
}

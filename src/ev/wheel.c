#include "ev/internal.h"

#define SLOT_MASK (WHEEL_SLOTS - 1)
#define LEVEL_BITS 8
#define WHEEL_SPAN_MS ((uint64_t)1 << (LEVEL_BITS * WHEEL_LEVELS))

/* The wheel's own fields ride in struct ev_timer: only `link` and `at` are used here. */
static struct ev_timer *timer_of(struct list *link)
{
    return LIST_ENTRY(link, struct ev_timer, link);
}

/* Rounded up: a timer never fires early. */
static uint64_t tick_of(time_ns at)
{
    if (at <= 0)
        return 0;
    return (uint64_t)at / MSEC + ((uint64_t)at % MSEC != 0);
}

void wheel_init(struct wheel *w, time_ns now)
{
    *w = (struct wheel) { .tick = (uint64_t)now / MSEC };
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
}

/* Level and slot for a tick that is not before w->tick. */
static void place(const struct wheel *w, uint64_t tick, int *level, int *slot)
{
    uint64_t ahead = tick - w->tick;

    if (ahead >= WHEEL_SPAN_MS)
        tick = w->tick + WHEEL_SPAN_MS - 1;
    *level = 0;
    while (*level < WHEEL_LEVELS - 1 && (ahead >> (LEVEL_BITS * (*level + 1))) != 0)
        (*level)++;
    *slot = (int)(tick >> (LEVEL_BITS * *level)) & SLOT_MASK;
}

void wheel_add(struct wheel *w, struct list *link, time_ns at)
{
    /* The tick in hand is over: what is due goes into the next one. */
    uint64_t tick = MAX(tick_of(at), w->tick + 1);
    int level, slot;

    place(w, tick, &level, &slot);
    list_push_back(&w->slots[level][slot], link);
    w->occupied[level][slot / 64] |= (uint64_t)1 << (slot % 64);
}

void wheel_remove(struct wheel *w, struct list *link)
{
    (void)w; /* the slot's bit is cleared when the slot is next looked at */
    list_remove(link);
}

/* First slot at or after `from` (cyclic) with its bit set: distance 0..255, or -1. */
static int next_occupied(const uint64_t bits[WHEEL_SLOTS / 64], int from)
{
    for (int step = 0; step <= WHEEL_SLOTS / 64; step++) {
        int word = (from / 64 + step) % (WHEEL_SLOTS / 64);
        uint64_t b = bits[word];

        if (step == 0)
            b &= ~(uint64_t)0 << (from % 64);
        if (step == WHEEL_SLOTS / 64)
            b &= ((uint64_t)1 << (from % 64)) - 1;
        if (b)
            return (word * 64 + __builtin_ctzll(b) - from) & SLOT_MASK;
    }
    return -1;
}

/* The next tick at which a slot must be opened: a coarse one at its beginning, to sort it. */
static uint64_t next_slot(const struct wheel *w)
{
    uint64_t best = UINT64_MAX;

    for (int level = 0; level < WHEEL_LEVELS; level++) {
        unsigned shift = (unsigned)(LEVEL_BITS * level);
        uint64_t base = w->tick >> shift;
        int ahead = next_occupied(w->occupied[level], (int)((base + 1) & SLOT_MASK));

        if (ahead >= 0)
            best = MIN(best, (base + 1 + (uint64_t)ahead) << shift);
    }
    return best;
}

/* The first tick of a level that a timer waits for, if it is before `best`. Slots that are found empty lose
 * their bit. A slot that begins after `best` is not looked into: with many timers `best` is near, so the
 * large slots are walked hardly ever. What is farther than the wheel's span is looked at when its slot ends.
 */
static uint64_t first_of_level(struct wheel *w, int level, uint64_t best)
{
    unsigned shift = (unsigned)(LEVEL_BITS * level);
    uint64_t base = w->tick >> shift;

    for (int ahead; (ahead = next_occupied(w->occupied[level], (int)((base + 1) & SLOT_MASK))) >= 0;) {
        uint64_t begin = (base + 1 + (uint64_t)ahead) << shift, end = begin + ((uint64_t)1 << shift) - 1;
        int slot = (int)(begin >> shift) & SLOT_MASK;

        if (begin >= best)
            break;
        for (struct list *l = w->slots[level][slot].next; l != &w->slots[level][slot]; l = l->next)
            best = MIN(best, MAX(begin, MIN(tick_of(timer_of(l)->at), end)));
        if (!list_empty(&w->slots[level][slot]))
            break;
        w->occupied[level][slot / 64] &= ~((uint64_t)1 << (slot % 64));
    }
    return best;
}

time_ns wheel_next(struct wheel *w)
{
    uint64_t best = UINT64_MAX;

    for (int level = 0; level < WHEEL_LEVELS; level++)
        best = first_of_level(w, level, best);
    return best == UINT64_MAX ? TIME_NEVER : (time_ns)best * MSEC;
}

/* Empties a slot: what is due goes to `due`, the rest is sorted in again. */
static void open_slot(struct wheel *w, int level, int slot, struct list *due)
{
    struct list taken;

    w->occupied[level][slot / 64] &= ~((uint64_t)1 << (slot % 64));
    list_init(&taken);
    list_splice_back(&taken, &w->slots[level][slot]);
    for (struct list *link; (link = list_pop_front(&taken));) {
        if (tick_of(timer_of(link)->at) <= w->tick)
            list_push_back(due, link);
        else
            wheel_add(w, link, timer_of(link)->at);
    }
}

/* One step to `tick`, which is the next tick at which any slot must be opened. */
static void step_to(struct wheel *w, uint64_t tick, struct list *due)
{
    w->tick = tick;
    for (int level = WHEEL_LEVELS - 1; level >= 0; level--) {
        unsigned shift = (unsigned)(LEVEL_BITS * level);

        if (tick & (((uint64_t)1 << shift) - 1))
            continue;
        open_slot(w, level, (int)(tick >> shift) & SLOT_MASK, due);
    }
}

void wheel_advance(struct wheel *w, time_ns now, struct list *due)
{
    uint64_t target = (uint64_t)now / MSEC;

    while (w->tick < target) {
        uint64_t next = next_slot(w);

        if (next > target) {
            w->tick = target;
            return;
        }
        step_to(w, next, due);
    }
}

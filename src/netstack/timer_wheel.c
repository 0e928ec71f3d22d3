#include "netstack/timer_wheel.h"

#define SLOT_MASK (TIMER_WHEEL_SLOTS - 1)
#define LEVEL_BITS 8

void timer_wheel_init(struct timer_wheel *w, uint64_t tick)
{
    memset(w->occupied, 0, sizeof(w->occupied));
    w->tick = tick;
    for (size_t i = 0; i < COUNT_OF(w->slots); i++)
        list_init(&w->slots[i]);
}

static void occupy(struct timer_wheel *w, size_t slot, bool yes)
{
    uint64_t bit = (uint64_t)1 << (slot % 64);
    uint64_t *word = &w->occupied[slot / TIMER_WHEEL_SLOTS][slot % TIMER_WHEEL_SLOTS / 64];

    *word = yes ? *word | bit : *word & ~bit;
}

/* The slot of an entry that is `ahead` >= 1 ticks away: of the finest level that reaches so far. */
static size_t slot_for(const struct timer_wheel *w, uint64_t ahead)
{
    uint64_t tick = w->tick + ahead;
    unsigned level = 0;

    while (level < TIMER_WHEEL_LEVELS - 1 && ahead >> (LEVEL_BITS * (level + 1)))
        level++;
    return level * TIMER_WHEEL_SLOTS + ((tick >> (LEVEL_BITS * level)) & SLOT_MASK);
}

void timer_wheel_set(struct timer_wheel *w, struct timer_entry *e, uint32_t at)
{
    int32_t ahead = (int32_t)(at - (uint32_t)w->tick);
    size_t slot;

    timer_wheel_clear(w, e);
    e->at = at;
    slot = slot_for(w, (uint64_t)MAX(ahead, 1));
    list_push_back(&w->slots[slot], &e->link);
    occupy(w, slot, true);
}

void timer_wheel_clear(struct timer_wheel *w, struct timer_entry *e)
{
    struct list *head = e->link.next;

    if (!list_linked(&e->link))
        return;
    /* Alone between head and head: the slot will be empty (lists outside of the wheel have no slot). */
    if (head == e->link.prev && (uintptr_t)head - (uintptr_t)w->slots < sizeof(w->slots))
        occupy(w, (size_t)(head - w->slots), false);
    list_remove(&e->link);
}

/* Distance 1..TIMER_WHEEL_SLOTS from slot `at` to the next one with its bit set, 0 if there is none. */
static unsigned distance(const uint64_t bits[TIMER_WHEEL_SLOTS / 64], unsigned at)
{
    unsigned from = (at + 1) & SLOT_MASK;

    for (unsigned step = 0; step <= TIMER_WHEEL_SLOTS / 64; step++) {
        unsigned word = (from / 64 + step) % (TIMER_WHEEL_SLOTS / 64);
        uint64_t b = bits[word];

        if (step == 0)
            b &= ~(uint64_t)0 << (from % 64);
        if (step == TIMER_WHEEL_SLOTS / 64)
            b &= ((uint64_t)1 << (from % 64)) - 1;
        if (b)
            return ((word * 64 + (unsigned)__builtin_ctzll(b) - from) & SLOT_MASK) + 1;
    }
    return 0;
}

uint64_t timer_wheel_next(const struct timer_wheel *w)
{
    uint64_t best = UINT64_MAX;

    for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++) {
        unsigned shift = LEVEL_BITS * level;
        uint64_t base = w->tick >> shift;
        unsigned ahead = distance(w->occupied[level], (unsigned)(base & SLOT_MASK));

        if (ahead)
            best = MIN(best, (base + ahead) << shift);
    }
    return best;
}

/* Empties a slot of the tick in hand: what is due goes to `due`, the rest is sorted in again. */
static void open_slot(struct timer_wheel *w, size_t slot, struct list *due)
{
    struct list taken;

    occupy(w, slot, false);
    list_init(&taken);
    list_splice_back(&taken, &w->slots[slot]);
    for (struct list *link; (link = list_pop_front(&taken));) {
        struct timer_entry *e = LIST_ENTRY(link, struct timer_entry, link);

        if ((int32_t)(e->at - (uint32_t)w->tick) <= 0)
            list_push_back(due, link);
        else
            timer_wheel_set(w, e, e->at);
    }
}

void timer_wheel_advance(struct timer_wheel *w, uint64_t tick, struct list *due)
{
    while (w->tick < tick) {
        uint64_t next = timer_wheel_next(w);

        if (next > tick) {
            w->tick = tick;
            return;
        }
        w->tick = next;
        for (unsigned level = TIMER_WHEEL_LEVELS; level-- > 0;)
            if (!(next & (((uint64_t)1 << (LEVEL_BITS * level)) - 1)))
                open_slot(w, level * TIMER_WHEEL_SLOTS + ((next >> (LEVEL_BITS * level)) & SLOT_MASK), due);
    }
}

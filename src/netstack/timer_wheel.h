/* netstack/timer_wheel.h - the timers of a stack: a hierarchical wheel of milliseconds
 *
 * One entry per object. Nothing here sleeps or ticks: the owner asks for the next occupied slot and
 * opens it when its time has come. An entry may be due later than the slot it lies in; opening a slot sorts
 * it in again. Removing the last entry of a slot clears the slot, so an idle stack has no deadline.
 */
#ifndef MANYTAILS_NETSTACK_TIMER_WHEEL_H
#define MANYTAILS_NETSTACK_TIMER_WHEEL_H

#include "base/base.h"

#define TIMER_WHEEL_LEVELS 4
#define TIMER_WHEEL_SLOTS 256

/* Ticks are the low 32 bits of milliseconds; what is due lies less than TIMER_WHEEL_AHEAD_MAX ahead. */
#define TIMER_WHEEL_AHEAD_MAX 0x40000000u

struct timer_entry {
    struct list link; /* zeroed: not in the wheel */
    uint32_t at;
    uint8_t kind; /* the owner's */
};

struct timer_wheel {
    uint64_t tick;
    uint64_t occupied[TIMER_WHEEL_LEVELS][TIMER_WHEEL_SLOTS / 64];
    struct list slots[TIMER_WHEEL_LEVELS * TIMER_WHEEL_SLOTS];
};

void timer_wheel_init(struct timer_wheel *w, uint64_t tick);
/* Moves it if it is in the wheel. What is due now or was due before comes with the next tick. */
void timer_wheel_set(struct timer_wheel *w, struct timer_entry *e, uint32_t at);
void timer_wheel_clear(struct timer_wheel *w, struct timer_entry *e); /* also when it is not in the wheel */
/* When a slot must be opened; UINT64_MAX if the wheel is empty. Never later than any entry. */
uint64_t timer_wheel_next(const struct timer_wheel *w);
/* Goes to `tick` and moves what is due to the end of `due` (unlinked from the wheel, linked there). */
void timer_wheel_advance(struct timer_wheel *w, uint64_t tick, struct list *due);

#endif

/* A timer wheel: very many deadlines, most of which are called off before they come. Setting and
 * calling off cost the same however many there are; looking costs what has come due.
 *
 * A struct wheel_timer is a part of what waits; zeroed, it is not set. Times are in microseconds on
 * a clock that never goes back. A deadline is reported after it, by WHEEL_SLOT_US at most. One that
 * lies further ahead than the wheel reaches (8 s) is looked at once in each turn of the wheel.
 *
 * Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", scheme 6. */
#ifndef MK_BASE_WHEEL_H
#define MK_BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { WHEEL_SLOTS = 512, WHEEL_SLOT_US = 16384 };

struct wheel_timer {
    LIST_ENTRY(wheel_timer) link;
    uint64_t due_us;
    bool set;
};

struct wheel {
    LIST_HEAD(wheel_slot, wheel_timer) slots[WHEEL_SLOTS];
    struct wheel_slot due; /* come due, not taken yet */
    uint64_t turned;       /* all slots before this one, counted since time 0, were looked at */
    uint32_t count;
};

void wheel_init(struct wheel *w, uint64_t now_us);
/* The timer must not be set. */
void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t due_us);
/* To no effect if it is not set. */
void wheel_clear(struct wheel *w, struct wheel_timer *t);
/* Takes out one that is due; NULL if none is. */
struct wheel_timer *wheel_take(struct wheel *w, uint64_t now_us);
/* When to look next; UINT64_MAX while no timer is set. */
uint64_t wheel_deadline(const struct wheel *w);

#endif

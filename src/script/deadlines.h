/* What is due when: a heap of deadlines, ordered by time and, within one microsecond, by the order
 * in which they were set, so that a run is repeatable.
 *
 * A struct deadline is embedded in what waits for it; it must be cleared before that goes. */
#ifndef MK_SCRIPT_DEADLINES_H
#define MK_SCRIPT_DEADLINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: not set. */
struct deadline {
    uint64_t at_us;
    uint64_t order;
    size_t slot; /* place in the heap, counted from 1; 0 when not set */
    void (*fire)(struct deadline *d);
};

/* Zeroed: empty. */
struct deadlines {
    struct deadline **heap;
    size_t count;
    size_t capacity;
    uint64_t order;
};

void deadlines_close(struct deadlines *all);
/* Set, or move. fire() is called by deadlines_fire(), once, after the deadline was cleared. */
void deadline_set(struct deadlines *all, struct deadline *d, uint64_t at_us);
/* Accepts one that is not set. */
void deadline_clear(struct deadlines *all, struct deadline *d);
static inline bool deadline_is_set(const struct deadline *d)
{
    return d->slot != 0;
}
/* UINT64_MAX when there is none. */
uint64_t deadlines_next(const struct deadlines *all);
/* Fire what is due at now. What a fired one sets is fired too if it is due. */
void deadlines_fire(struct deadlines *all, uint64_t now_us);

#endif

#include "base/wheel.h"

#include "base/assert.h"

static struct wheel_slot *slot_at(struct wheel *w, uint64_t turn)
{
    return &w->slots[turn % WHEEL_SLOTS];
}

void wheel_init(struct wheel *w, uint64_t now_us)
{
    for (uint32_t i = 0; i < WHEEL_SLOTS; i++) {
        LIST_INIT(&w->slots[i]);
    }
    LIST_INIT(&w->due);
    w->turned = now_us / WHEEL_SLOT_US;
    w->count = 0;
}

void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t due_us)
{
    ASSERT(!t->set);
    uint64_t turn = due_us / WHEEL_SLOT_US;
    t->due_us = due_us;
    t->set = true;
    w->count++;
    LIST_INSERT_HEAD(slot_at(w, turn > w->turned ? turn : w->turned), t, link);
}

void wheel_clear(struct wheel *w, struct wheel_timer *t)
{
    if (t->set) {
        LIST_REMOVE(t, link);
        t->set = false;
        w->count--;
    }
}

/* Those of a slot that stay are for a later turn of the wheel. */
static void look_at(struct wheel *w, struct wheel_slot *slot, uint64_t now_us)
{
    struct wheel_timer *next;
    for (struct wheel_timer *t = LIST_FIRST(slot); t != NULL; t = next) {
        next = LIST_NEXT(t, link);
        if (t->due_us <= now_us) {
            LIST_REMOVE(t, link);
            LIST_INSERT_HEAD(&w->due, t, link);
        }
    }
}

struct wheel_timer *wheel_take(struct wheel *w, uint64_t now_us)
{
    uint64_t turn = now_us / WHEEL_SLOT_US;
    if (turn > w->turned + WHEEL_SLOTS) { /* once around is all of it */
        w->turned = turn - WHEEL_SLOTS;
    }
    while (LIST_EMPTY(&w->due) && w->turned < turn) {
        look_at(w, slot_at(w, w->turned), now_us);
        w->turned++;
    }
    struct wheel_timer *t = LIST_FIRST(&w->due);
    if (t != NULL) {
        wheel_clear(w, t);
    }
    return t;
}

uint64_t wheel_deadline(const struct wheel *w)
{
    if (w->count == 0) {
        return UINT64_MAX;
    }
    return LIST_EMPTY(&w->due) ? (w->turned + 1) * WHEEL_SLOT_US : 0;
}

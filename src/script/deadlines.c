#include "script/deadlines.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"

void deadlines_close(struct deadlines *all)
{
    ASSERT(all->count == 0);
    free(all->heap);
    *all = (struct deadlines){0};
}

static bool sooner(const struct deadline *a, const struct deadline *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void place(struct deadlines *all, struct deadline *d, size_t slot)
{
    all->heap[slot - 1] = d;
    d->slot = slot;
}

static void rise(struct deadlines *all, struct deadline *d)
{
    size_t slot = d->slot;
    while (slot > 1 && sooner(d, all->heap[slot / 2 - 1])) {
        place(all, all->heap[slot / 2 - 1], slot);
        slot /= 2;
    }
    place(all, d, slot);
}

static void sink(struct deadlines *all, struct deadline *d)
{
    size_t slot = d->slot;
    for (;;) {
        size_t child = slot * 2;
        if (child > all->count) {
            break;
        }
        if (child < all->count && sooner(all->heap[child], all->heap[child - 1])) {
            child++;
        }
        if (!sooner(all->heap[child - 1], d)) {
            break;
        }
        place(all, all->heap[child - 1], slot);
        slot = child;
    }
    place(all, d, slot);
}

void deadline_clear(struct deadlines *all, struct deadline *d)
{
    if (d->slot == 0) {
        return;
    }
    ASSERT(all->heap[d->slot - 1] == d);
    struct deadline *last = all->heap[all->count - 1];
    all->count--;
    if (last != d) {
        place(all, last, d->slot);
        rise(all, last);
        sink(all, last);
    }
    d->slot = 0;
}

void deadline_set(struct deadlines *all, struct deadline *d, uint64_t at_us)
{
    ASSERT(d->fire != NULL);
    deadline_clear(all, d);
    if (all->count == all->capacity) {
        all->capacity = all->capacity == 0 ? 16 : all->capacity * 2;
        all->heap = alloc_resize(all->heap, all->capacity, sizeof(struct deadline *));
    }
    d->at_us = at_us;
    d->order = ++all->order;
    all->count++;
    place(all, d, all->count);
    rise(all, d);
}

uint64_t deadlines_next(const struct deadlines *all)
{
    return all->count == 0 ? UINT64_MAX : all->heap[0]->at_us;
}

void deadlines_fire(struct deadlines *all, uint64_t now_us)
{
    while (all->count > 0 && all->heap[0]->at_us <= now_us) {
        struct deadline *d = all->heap[0];
        deadline_clear(all, d);
        d->fire(d);
    }
}

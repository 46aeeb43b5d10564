#include "raft/writes.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"

enum { CAPACITY_MIN = 16 };

static struct write *write_at(const struct writes *w, uint32_t position)
{
    return &w->ring[(w->head + position) & (w->capacity - 1)];
}

void writes_init(struct writes *w)
{
    *w = (struct writes){.capacity = CAPACITY_MIN};
    w->ring = alloc_zeroed(w->capacity, sizeof *w->ring);
}

void writes_close(struct writes *w)
{
    free(w->ring);
    *w = (struct writes){0};
}

static void grow(struct writes *w)
{
    struct writes old = *w;
    w->capacity = old.capacity * 2;
    w->head = 0;
    w->ring = alloc_zeroed(w->capacity, sizeof *w->ring);
    for (uint32_t i = 0; i < old.count; i++) {
        w->ring[i] = *write_at(&old, i);
    }
    free(old.ring);
}

uint64_t writes_push(struct writes *w, struct write write)
{
    if (w->count == w->capacity) {
        grow(w);
    }
    write.seq = ++w->last_seq;
    *write_at(w, w->count) = write;
    w->count++;
    return write.seq;
}

void writes_truncate(struct writes *w, raft_index from)
{
    for (uint32_t i = w->count; i > 0; i--) {
        struct write *write = write_at(w, i - 1);
        if (write->hi > from) {
            write->hi = from;
        }
    }
}

const struct write *writes_oldest(const struct writes *w)
{
    return w->count == 0 ? NULL : write_at(w, 0);
}

struct write writes_pop(struct writes *w)
{
    ASSERT(w->count > 0);
    struct write oldest = *write_at(w, 0);
    w->head = (w->head + 1) & (w->capacity - 1);
    w->count--;
    return oldest;
}

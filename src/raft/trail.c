#include "raft/trail.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

enum { CAPACITY_MIN = 64, RUNS_MIN = 8 };

static uint64_t *total_at(const struct trail *t, raft_index index)
{
    return &t->totals_bytes[index & (t->capacity - 1)];
}

void trail_init(struct trail *t, struct raft_pos base)
{
    *t = (struct trail){.base = base, .last = base.index, .capacity = CAPACITY_MIN};
    t->totals_bytes = alloc_zeroed(t->capacity, sizeof *t->totals_bytes);
}

void trail_close(struct trail *t)
{
    free(t->totals_bytes);
    free(t->runs);
    *t = (struct trail){0};
}

/* The run that holds index: the last one that does not start after it. */
static size_t run_of(const struct trail *t, raft_index index)
{
    size_t lo = 0;
    size_t hi = t->runs_count;
    if (t->runs[hi - 1].first <= index) {
        return hi - 1; /* by far the most frequent question is about the end of the log */
    }
    while (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;
        if (t->runs[middle].first <= index) {
            lo = middle;
        } else {
            hi = middle;
        }
    }
    return lo;
}

raft_term trail_term(const struct trail *t, raft_index index)
{
    if (index == t->base.index) {
        return t->base.term;
    }
    if (index < t->base.index || index > t->last) {
        return 0;
    }
    return t->runs[run_of(t, index)].term;
}

struct raft_pos trail_last(const struct trail *t)
{
    return (struct raft_pos){.index = t->last, .term = trail_term(t, t->last)};
}

bool trail_has(const struct trail *t, struct raft_pos pos)
{
    return pos.index >= t->base.index && pos.index <= t->last &&
           trail_term(t, pos.index) == pos.term;
}

static void grow_totals(struct trail *t)
{
    struct trail old = *t;
    t->capacity = old.capacity * 2;
    t->totals_bytes = alloc_zeroed(t->capacity, sizeof *t->totals_bytes);
    for (raft_index i = old.base.index; i <= old.last; i++) {
        *total_at(t, i) = *total_at(&old, i);
    }
    free(old.totals_bytes);
}

static void add_run(struct trail *t, struct trail_run run)
{
    if (t->runs_count == t->runs_capacity) {
        t->runs_capacity = t->runs_capacity == 0 ? RUNS_MIN : t->runs_capacity * 2;
        t->runs = alloc_resize(t->runs, t->runs_capacity, sizeof *t->runs);
    }
    t->runs[t->runs_count++] = run;
}

void trail_append(struct trail *t, raft_term term, uint32_t size_bytes)
{
    if (t->last - t->base.index + 1 == t->capacity) {
        grow_totals(t);
    }
    uint64_t total = *total_at(t, t->last);
    t->last++;
    *total_at(t, t->last) = total + size_bytes;

    raft_term last_term = t->runs_count > 0 ? t->runs[t->runs_count - 1].term : 0;
    ASSERT(term >= last_term);
    ASSERT(term >= t->base.term);
    if (term != last_term) {
        add_run(t, (struct trail_run){.first = t->last, .term = term});
    }
}

void trail_truncate(struct trail *t, raft_index from)
{
    ASSERT(from > t->base.index);
    if (from > t->last) {
        return;
    }
    t->last = from - 1;
    while (t->runs_count > 0 && t->runs[t->runs_count - 1].first >= from) {
        t->runs_count--;
    }
}

void trail_compact(struct trail *t, struct raft_pos pos)
{
    ASSERT(pos.index >= t->base.index);
    ASSERT(pos.index <= t->last);
    t->base = pos;
    if (pos.index == t->last) {
        t->runs_count = 0;
        return;
    }
    size_t drop = run_of(t, pos.index + 1);
    t->runs_count -= drop;
    memmove(t->runs, t->runs + drop, t->runs_count * sizeof *t->runs);
}

void trail_reset(struct trail *t, struct raft_pos pos)
{
    t->base = pos;
    t->last = pos.index;
    t->runs_count = 0;
    *total_at(t, pos.index) = 0;
}

uint64_t trail_bytes(const struct trail *t, raft_index lo, raft_index hi)
{
    ASSERT(lo > t->base.index);
    ASSERT(lo <= hi);
    ASSERT(hi <= t->last + 1);
    return *total_at(t, hi - 1) - *total_at(t, lo - 1);
}

raft_index trail_fit(const struct trail *t, raft_index lo, raft_index hi, uint64_t size_bytes)
{
    ASSERT(lo < hi);
    if (trail_bytes(t, lo, hi) <= size_bytes) {
        return hi;
    }
    raft_index fits = lo + 1; /* at least one, whatever its size */
    raft_index over = hi;
    while (over - fits > 1) {
        raft_index middle = fits + (over - fits) / 2;
        if (trail_bytes(t, lo, middle) <= size_bytes) {
            fits = middle;
        } else {
            over = middle;
        }
    }
    return fits;
}

raft_index trail_agree(const struct trail *t, raft_index limit, raft_term term)
{
    raft_index end = limit < t->last ? limit : t->last;
    if (end <= t->base.index || t->runs_count == 0) {
        return t->base.index;
    }
    size_t i = run_of(t, end);
    if (t->runs[i].term <= term) {
        return end;
    }
    while (i > 0 && t->runs[i - 1].term > term) {
        i--;
    }
    /* Run i is the first that is too new; what comes before it agrees. */
    raft_index before = t->runs[i].first - 1;
    return before > t->base.index ? before : t->base.index;
}

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/wal.h"

void wal_index_add(struct wal *w, uint64_t term, uint64_t offset_bytes)
{
    struct wal_segment *s = wal_active(w);
    uint64_t index = w->last.index + 1;
    ASSERT(offset_bytes < UINT32_MAX);
    if (s->count == 0) {
        s->first_index = index;
    }
    ASSERT(s->first_index + s->count == index);
    if (s->count == s->capacity) {
        s->capacity = s->capacity == 0 ? 64 : s->capacity * 2;
        s->offsets = alloc_resize(s->offsets, s->capacity, sizeof *s->offsets);
    }
    s->offsets[s->count++] = (uint32_t)offset_bytes;
    if (w->runs_count == 0 || w->runs[w->runs_count - 1].term != term) {
        if (w->runs_count == w->runs_capacity) {
            w->runs_capacity = w->runs_capacity == 0 ? 16 : w->runs_capacity * 2;
            w->runs = alloc_resize(w->runs, w->runs_capacity, sizeof *w->runs);
        }
        w->runs[w->runs_count++] = (struct wal_run){.index = index, .term = term};
    }
    w->last = (struct store_pos){.index = index, .term = term};
}

void wal_index_truncate(struct wal *w, uint64_t from)
{
    ASSERT(from > w->base.index);
    w->older_than = 0;
    for (size_t i = w->segments_count; i-- > 0;) {
        struct wal_segment *s = &w->segments[i];
        if (s->count > 0 && s->first_index + s->count > from) {
            s->count = s->first_index < from ? (size_t)(from - s->first_index) : 0;
        }
    }
    while (w->runs_count > 0 && w->runs[w->runs_count - 1].index >= from) {
        w->runs_count--;
    }
    w->last = (struct store_pos){.index = from - 1, .term = wal_index_term(w, from - 1)};
}

void wal_index_base(struct wal *w, struct store_pos base)
{
    ASSERT(base.index >= w->base.index);
    w->older_than = 0;
    w->base = base;
    size_t below = 0;
    while (below + 1 < w->runs_count && w->runs[below + 1].index <= base.index) {
        below++;
    }
    for (size_t i = below; i < w->runs_count; i++) {
        w->runs[i - below] = w->runs[i];
    }
    w->runs_count -= below;
    if (w->last.index == base.index) {
        w->last = base;
    }
}

void wal_index_restart(struct wal *w, struct store_pos base)
{
    ASSERT(base.index > w->base.index);
    w->older_than = 0;
    for (size_t i = 0; i < w->segments_count; i++) {
        w->segments[i].count = 0;
    }
    w->runs_count = 0;
    w->base = base;
    w->last = base;
}

/* From its first entry above the base on. */
static uint64_t live_bytes(const struct wal *w, const struct wal_segment *s)
{
    if (s->count == 0 || s->first_index + s->count - 1 <= w->base.index) {
        return 0;
    }
    uint64_t below = s->first_index <= w->base.index ? w->base.index + 1 - s->first_index : 0;
    return s->end_bytes - s->offsets[below];
}

uint64_t wal_index_bytes(struct wal *w)
{
    const struct wal_segment *active = wal_active(w);
    if (w->older_than != active->header.sequence) {
        w->older_than = active->header.sequence;
        w->older_bytes = 0;
        for (size_t i = 0; i + 1 < w->segments_count; i++) {
            w->older_bytes += live_bytes(w, &w->segments[i]);
        }
    }
    return w->older_bytes + live_bytes(w, active);
}

uint64_t wal_index_term(const struct wal *w, uint64_t index)
{
    if (index == w->base.index) {
        return w->base.term;
    }
    size_t lo = 0, hi = w->runs_count;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (w->runs[middle].index <= index) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo > 0 ? w->runs[lo - 1].term : 0;
}

const struct wal_segment *wal_index_find(const struct wal *w, uint64_t index)
{
    /* The ranges of the segments ascend and do not overlap, but some may be empty. Most reads are
     * near the end. */
    for (size_t i = w->segments_count; i-- > 0;) {
        const struct wal_segment *s = &w->segments[i];
        if (s->count > 0 && s->first_index <= index) {
            return index - s->first_index < s->count ? s : NULL;
        }
    }
    return NULL;
}

uint64_t wal_index_first(const struct wal *w)
{
    for (size_t i = 0; i < w->segments_count; i++) {
        if (w->segments[i].count > 0) {
            return w->segments[i].first_index;
        }
    }
    return w->last.index + 1;
}

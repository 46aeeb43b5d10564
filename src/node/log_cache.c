#include "node/log_cache.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"

void log_cache_init(struct log_cache *c, raft_index next, size_t size_bytes_max)
{
    *c = (struct log_cache){.first = next, .size_bytes_max = size_bytes_max};
}

void log_cache_close(struct log_cache *c)
{
    log_cache_reset(c, c->first);
    free(c->ring);
    *c = (struct log_cache){0};
}

raft_index log_cache_last(const struct log_cache *c)
{
    return c->first + c->count - 1;
}

static struct log_cache_entry *slot(const struct log_cache *c, size_t position)
{
    return &c->ring[(c->head + position) & (c->capacity - 1)];
}

static void drop_oldest(struct log_cache *c)
{
    struct log_cache_entry *oldest = slot(c, 0);
    c->size_bytes -= oldest->body.size;
    slice_close(&oldest->body);
    c->head = (c->head + 1) & (c->capacity - 1);
    c->count--;
    c->first++;
}

static void grow(struct log_cache *c)
{
    size_t capacity = c->capacity == 0 ? 64 : c->capacity * 2;
    struct log_cache_entry *ring = alloc_zeroed(capacity, sizeof *ring);
    for (size_t i = 0; i < c->count; i++) {
        ring[i] = *slot(c, i);
    }
    free(c->ring);
    c->ring = ring;
    c->capacity = capacity;
    c->head = 0;
}

void log_cache_add_take(struct log_cache *c, raft_term term, struct slice body)
{
    if (c->count == c->capacity) {
        grow(c);
    }
    *slot(c, c->count) = (struct log_cache_entry){.term = term, .body = body};
    c->count++;
    c->size_bytes += body.size;
}

void log_cache_durable(struct log_cache *c, struct raft_pos last)
{
    const struct log_cache_entry *entry = log_cache_at(c, last.index);
    if (entry == NULL || entry->term != last.term) {
        return; /* it was replaced since it was written */
    }
    while (c->size_bytes > c->size_bytes_max && c->first < last.index) {
        drop_oldest(c);
    }
}

void log_cache_truncate(struct log_cache *c, raft_index index)
{
    if (index <= c->first) {
        log_cache_reset(c, index);
        return;
    }
    while (log_cache_last(c) >= index) {
        struct log_cache_entry *newest = slot(c, c->count - 1);
        c->size_bytes -= newest->body.size;
        slice_close(&newest->body);
        c->count--;
    }
}

void log_cache_reset(struct log_cache *c, raft_index next)
{
    while (c->count > 0) {
        drop_oldest(c);
    }
    ASSERT(c->size_bytes == 0);
    c->first = next;
}

const struct log_cache_entry *log_cache_at(const struct log_cache *c, raft_index index)
{
    if (index < c->first || index - c->first >= c->count) {
        return NULL;
    }
    return slot(c, index - c->first);
}

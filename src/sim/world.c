#include "sim/world.h"

#include <stdlib.h>

#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"

struct call {
    uint64_t time_us;
    uint64_t sequence;
    world_fn fn;
    void *ctx;
    uint64_t arg;
};

struct world {
    uint64_t seed;
    struct rng rng;
    uint64_t now_us;
    uint64_t sequence;
    uint64_t calls;
    uint64_t hash;
    bool stopped;
    struct call *heap; /* a heap with four children: half the levels of a binary one */
    size_t count;
    size_t capacity;
};

enum { HEAP_WIDTH = 4 };

struct world *world_new(uint64_t seed)
{
    struct world *w = NEW(struct world);
    w->seed = seed;
    rng_seed(&w->rng, seed);
    w->hash = seed;
    return w;
}

void world_free(struct world *w)
{
    if (w != NULL) {
        free(w->heap);
        free(w);
    }
}

uint64_t world_seed(const struct world *w)
{
    return w->seed;
}

uint64_t world_now_us(const struct world *w)
{
    return w->now_us;
}

uint64_t world_draw_seed(struct world *w)
{
    return rng_next(&w->rng);
}

static bool earlier(const struct call *a, const struct call *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->sequence < b->sequence;
}

void world_at(struct world *w, uint64_t time_us, world_fn fn, void *ctx, uint64_t arg)
{
    if (w->count == w->capacity) {
        w->capacity = w->capacity == 0 ? 256 : w->capacity * 2;
        w->heap = alloc_resize(w->heap, w->capacity, sizeof *w->heap);
    }
    struct call call = {
        .time_us = time_us > w->now_us ? time_us : w->now_us,
        .sequence = w->sequence++,
        .fn = fn,
        .ctx = ctx,
        .arg = arg,
    };
    size_t at = w->count++;
    while (at > 0) {
        size_t parent = (at - 1) / HEAP_WIDTH;
        if (!earlier(&call, &w->heap[parent])) {
            break;
        }
        w->heap[at] = w->heap[parent];
        at = parent;
    }
    w->heap[at] = call;
}

void world_after(struct world *w, uint64_t delay_us, world_fn fn, void *ctx, uint64_t arg)
{
    world_at(w, w->now_us + delay_us, fn, ctx, arg);
}

static struct call take_first(struct world *w)
{
    ASSERT(w->count > 0);
    struct call first = w->heap[0];
    struct call last = w->heap[--w->count];
    size_t at = 0;
    for (;;) {
        size_t lo = at * HEAP_WIDTH + 1;
        size_t hi = lo + HEAP_WIDTH < w->count ? lo + HEAP_WIDTH : w->count;
        if (lo >= hi) {
            break;
        }
        size_t least = lo;
        for (size_t i = lo + 1; i < hi; i++) {
            if (earlier(&w->heap[i], &w->heap[least])) {
                least = i;
            }
        }
        if (!earlier(&w->heap[least], &last)) {
            break;
        }
        w->heap[at] = w->heap[least];
        at = least;
    }
    if (w->count > 0) {
        w->heap[at] = last;
    }
    return first;
}

bool world_step(struct world *w, uint64_t until_us)
{
    if (w->stopped || w->count == 0 || w->heap[0].time_us > until_us) {
        return false;
    }
    struct call call = take_first(w);
    ASSERT(call.time_us >= w->now_us);
    w->now_us = call.time_us;
    w->calls++;
    world_mix(w, call.time_us, call.sequence);
    call.fn(call.ctx, call.arg);
    return true;
}

uint64_t world_next_us(const struct world *w)
{
    return w->stopped || w->count == 0 ? UINT64_MAX : w->heap[0].time_us;
}

bool world_run_until(struct world *w, uint64_t time_us)
{
    while (world_step(w, time_us)) {
    }
    if (!w->stopped && time_us > w->now_us) {
        w->now_us = time_us;
    }
    return !w->stopped;
}

void world_stop(struct world *w)
{
    w->stopped = true;
}

bool world_stopped(const struct world *w)
{
    return w->stopped;
}

void world_mix(struct world *w, uint64_t a, uint64_t b)
{
    uint64_t h = w->hash ^ (a * UINT64_C(0x9e3779b97f4a7c15));
    h = (h ^ (h >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    h ^= b * UINT64_C(0x94d049bb133111eb);
    w->hash = (h ^ (h >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
}

void world_mix_bytes(struct world *w, struct bytes data)
{
    world_mix(w, data.size, XXH3_64bits(data.data, data.size));
}

uint64_t world_trace_hash(const struct world *w)
{
    return w->hash;
}

uint64_t world_calls(const struct world *w)
{
    return w->calls;
}

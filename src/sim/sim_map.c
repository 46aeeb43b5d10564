#include "sim/sim_map.h"

#include <stdlib.h>

#include "base/alloc.h"

/* Keys that follow each other, as indexes do, are neighbours: what is asked for next is at hand. */
enum { NEIGHBOURS = 8 };

static size_t place(const struct sim_map *m, struct sim_key key)
{
    uint64_t h = key.a / NEIGHBOURS * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (h >> 31) ^ key.b) * UINT64_C(0xbf58476d1ce4e5b9);
    return (size_t)((h ^ (h >> 32)) * NEIGHBOURS + key.a % NEIGHBOURS) & (m->capacity - 1);
}

/* The slot that holds key, or the free one where it belongs. */
static struct sim_map_slot *find(const struct sim_map *m, struct sim_key key)
{
    size_t i = place(m, key);
    while (m->slots[i].used && (m->slots[i].key.a != key.a || m->slots[i].key.b != key.b)) {
        i = (i + 1) & (m->capacity - 1);
    }
    return &m->slots[i];
}

static void grow(struct sim_map *m)
{
    struct sim_map old = *m;
    m->capacity = old.capacity == 0 ? 1024 : old.capacity * 2;
    m->slots = alloc_zeroed(m->capacity, sizeof *m->slots);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].used) {
            *find(m, old.slots[i].key) = old.slots[i];
        }
    }
    free(old.slots);
}

void sim_map_close(struct sim_map *m)
{
    free(m->slots);
    *m = (struct sim_map){0};
}

uint64_t *sim_map_get(const struct sim_map *m, struct sim_key key)
{
    if (m->count == 0) {
        return NULL;
    }
    struct sim_map_slot *slot = find(m, key);
    return slot->used ? &slot->value : NULL;
}

uint64_t sim_map_put(struct sim_map *m, struct sim_key key, uint64_t value)
{
    if (m->count * 2 >= m->capacity) {
        grow(m);
    }
    struct sim_map_slot *slot = find(m, key);
    if (!slot->used) {
        *slot = (struct sim_map_slot){.key = key, .value = value, .used = true};
        m->count++;
    }
    return slot->value;
}

/* A hash table from a pair of 64-bit numbers to a 64-bit number: what the checker remembers of a
 * whole run. One block of memory, no allocation per entry, nothing is ever removed.
 * In place; zeroed is empty. */
#ifndef MK_SIM_SIM_MAP_H
#define MK_SIM_SIM_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_key {
    uint64_t a;
    uint64_t b;
};

struct sim_map_slot {
    struct sim_key key;
    uint64_t value;
    bool used;
};

struct sim_map {
    struct sim_map_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

void sim_map_close(struct sim_map *m);
/* NULL if there is none. Valid until the next sim_map_put. */
uint64_t *sim_map_get(const struct sim_map *m, struct sim_key key);
/* The value kept under key: value itself if there was none before. */
uint64_t sim_map_put(struct sim_map *m, struct sim_key key, uint64_t value);

#endif

/* A small seeded generator (xoshiro256**, seeded by splitmix64). Deterministic: the same seed gives
 * the same numbers on every machine. Not for secrets: those come from port/entropy.h. */
#ifndef MK_BASE_RNG_H
#define MK_BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [lo, hi); lo when the range is empty. */
uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi);
/* True with probability p (0..1). */
bool rng_chance(struct rng *r, double p);
/* Uniform in [0, 1). */
double rng_unit(struct rng *r);

#endif

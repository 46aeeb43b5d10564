/* A simulated world: what happens next, and when.
 *
 * Everything that happens in a simulation is a call scheduled here. Calls are made one at a time in
 * the order of (time, sequence), so one seed is the whole run: the same seed makes the same calls
 * in the same order on every machine. Whoever acts mixes what it did into the trace hash; two runs
 * with the same hash did the same.
 *
 * Times are true time in microseconds since the world began. What a node believes is in
 * sim_clock.h. */
#ifndef MK_SIM_WORLD_H
#define MK_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/rng.h"

struct world;

/* arg is the caller's: an index, a generation. A call cannot be taken back: whoever may lose
 * interest puts a generation into arg and compares it. */
typedef void (*world_fn)(void *ctx, uint64_t arg);

struct world *world_new(uint64_t seed);
/* Calls not yet made are dropped. Accepts NULL. */
void world_free(struct world *w);

uint64_t world_seed(const struct world *w);
uint64_t world_now_us(const struct world *w);
/* A seed for a generator of the caller's own, so that the parts do not disturb each other's luck.
 */
uint64_t world_draw_seed(struct world *w);

void world_at(struct world *w, uint64_t time_us, world_fn fn, void *ctx, uint64_t arg);
void world_after(struct world *w, uint64_t delay_us, world_fn fn, void *ctx, uint64_t arg);

/* Makes the next call, if it is due by until_us. False when there is none or the world has stopped.
 */
bool world_step(struct world *w, uint64_t until_us);
/* When the next call is due; UINT64_MAX: there is none. */
uint64_t world_next_us(const struct world *w);
/* Makes all calls due by time_us, and lets that be the time. False if the world stopped. */
bool world_run_until(struct world *w, uint64_t time_us);
/* No further call is made: something went wrong. */
void world_stop(struct world *w);
bool world_stopped(const struct world *w);

void world_mix(struct world *w, uint64_t a, uint64_t b);
void world_mix_bytes(struct world *w, struct bytes data);
uint64_t world_trace_hash(const struct world *w);
uint64_t world_calls(const struct world *w);

#endif

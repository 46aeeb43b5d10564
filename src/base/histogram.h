/* How long something took, counted in fixed buckets: a few additions per measurement, and
 * histograms of several nodes can be added up (Prometheus' cumulative histogram). */
#ifndef MK_BASE_HISTOGRAM_H
#define MK_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 19 };
/* Upper bounds of the buckets, inclusive, in µs: 10 µs to 10 s. Beyond is one bucket more. */
extern const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

/* Zeroed: empty. */
struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* each bucket by itself */
    uint64_t sum_us;
};

void histogram_add(struct histogram *h, uint64_t took_us);

#endif

#include "base/histogram.h"

const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
    10,    25,    50,     100,    250,    500,     1000,    2500,    5000,     10000,
    25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};

void histogram_add(struct histogram *h, uint64_t took_us)
{
    unsigned i = 0;
    while (i < HISTOGRAM_BOUNDS && took_us > histogram_bounds_us[i]) {
        i++;
    }
    h->counts[i]++;
    h->sum_us += took_us;
}

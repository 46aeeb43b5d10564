/* Draws the distributions of bench_elections as an SVG: cumulative share of the trials over the
 * time without a leader, on a logarithmic axis, as Figure 16 of the Raft paper does. */
#ifndef MK_BENCH_ELECTIONS_PLOT_H
#define MK_BENCH_ELECTIONS_PLOT_H

#include <stdbool.h>
#include <stdint.h>

/* The trials of one row. */
struct election_curve {
    char label[32];
    uint64_t *times_us; /* ascending */
    uint32_t count;
    double median_ms, mean_ms;
    double published_median_ms; /* 0: none */
};

struct election_panel {
    const char *title;
    const struct election_curve *curves;
    int count;
};

/* False, with a message on stderr, if the file cannot be written. */
bool elections_plot(const char *path, const struct election_panel *panels, int panels_count);

#endif

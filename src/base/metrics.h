/* Writing a page of metrics: Prometheus' text exposition format, version 0.0.4.
 *
 *     metrics_value(&m, "raft_term", METRICS_GAUGE, "Current term.", 7);
 *
 *     metrics_family(&m, "peer_rtt_seconds", METRICS_GAUGE, "Round trip to a peer.");
 *     for each peer:
 *         metrics_sample(&m, (struct metrics_label[]){{"peer", name}}, 1, seconds);
 *
 * The samples of a family stand together; a family without samples may be left out or not. Names
 * are the caller's to keep to [a-zA-Z_][a-zA-Z0-9_]*; help and label values may be any text. */
#ifndef MK_BASE_METRICS_H
#define MK_BASE_METRICS_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/histogram.h"

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* Borrowed: both strings outlive the page's writing. */
struct metrics {
    struct buffer out;
    const char *prefix; /* before every name: "moonkeeper_" */
    const char *family; /* the one whose samples come next */
};

struct metrics_label {
    const char *name;
    const char *value;
};

/* Begin a family. */
void metrics_family(struct metrics *m, const char *name, enum metrics_kind kind, const char *help);
/* One number of the family. */
void metrics_sample(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                    double value);
/* One histogram of the family, in seconds: its buckets, sum and count. */
void metrics_histogram(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                       const struct histogram *h);
/* The same in buckets of any kind. */
struct metrics_buckets {
    const double *bounds;   /* upper ones, inclusive, ascending */
    const uint64_t *counts; /* each bucket by itself; one more than bounds: beyond the last */
    uint32_t bounds_count;
    double sum;
};
void metrics_buckets(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                     const struct metrics_buckets *b);
/* A family of one number without labels. */
void metrics_value(struct metrics *m, const char *name, enum metrics_kind kind, const char *help,
                   double value);

#endif

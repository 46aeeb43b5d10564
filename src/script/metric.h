/* Figures that scripts keep (mk.metrics), for the page of /metrics:
 * moonkeeper_script_NAME{app="...", ...}.
 *
 * The host keeps them, not the application's Lua state: they outlive a reload, and the next
 * generation that asks for one of the same name and labels goes on with it. They end with the
 * application. */
#ifndef MK_SCRIPT_METRIC_H
#define MK_SCRIPT_METRIC_H

#include <stdbool.h>
#include <sys/queue.h>

#include "base/err.h"
#include "base/metrics.h"

struct app;
struct script_host;

enum {
    METRIC_SERIES_MAX = 1000, /* of one application; those beyond work, and are not shown */
    METRIC_LABELS_MAX = 8,
    METRIC_BOUNDS_MAX = 32,
    METRIC_TEXT_MAX = 128, /* bytes of a name or a label's value */
};

struct metric; /* one series */
struct metric_family;
TAILQ_HEAD(metric_families, metric_family); /* in order of names */

struct metric_spec {
    enum metrics_kind kind;
    const char *name;
    const char *help;
    const struct metrics_label *labels; /* in order of names */
    uint32_t labels_count;
    const double *bounds; /* of a histogram, ascending */
    uint32_t bounds_count;
};

/* The series of app that is so called; made if there is none. A reference, to be released. Errors:
 * INVALID (a name that the format does not have, a label that is not free), EXISTS (it is of
 * another kind). */
enum err metric_open(struct app *app, const struct metric_spec *spec, struct metric **out,
                     struct why *why);
void metric_release(struct metric *m);

enum metrics_kind metric_kind(const struct metric *m);
/* Of a counter, a gauge. */
void metric_add(struct metric *m, double value);
void metric_set(struct metric *m, double value);
/* Of a histogram. */
void metric_observe(struct metric *m, double value);

/* The application has ended for good. */
void metrics_drop_app(struct script_host *host, const char *app);
void metrics_close(struct script_host *host);
/* Append the lines of all, if any has changed since the last time: else false. */
bool metrics_write(struct script_host *host, struct metrics *page);

#endif

#include "base/metrics.h"

#include <inttypes.h>
#include <math.h>

/* Whole numbers up to here are exact in a double. */
static const double WHOLE_MAX = 9007199254740992.0;

/* Text inside a line: the format knows three escapes, the last only between quotes. */
static void add_escaped(struct buffer *out, const char *text, bool quoted)
{
    for (const char *c = text; *c != 0; c++) {
        if (*c == '\n') {
            buffer_add_format(out, "\\n");
        } else if (*c == '\\' || (quoted && *c == '"')) {
            buffer_add_format(out, "\\%c", *c);
        } else {
            buffer_add_u8(out, (uint8_t)*c);
        }
    }
}

static void add_labels(struct buffer *out, const struct metrics_label *labels, uint32_t count,
                       const char *le)
{
    const char *before = "{";
    for (uint32_t i = 0; i < count; i++, before = ",") {
        buffer_add_format(out, "%s%s=\"", before, labels[i].name);
        add_escaped(out, labels[i].value, true);
        buffer_add_u8(out, '"');
    }
    if (le != NULL) {
        buffer_add_format(out, "%sle=\"%s\"", before, le);
        before = ",";
    }
    if (before[0] == ',') {
        buffer_add_u8(out, '}');
    }
}

static void add_number(struct buffer *out, double value)
{
    if (isnan(value)) {
        buffer_add_format(out, " NaN\n");
    } else if (isinf(value)) {
        buffer_add_format(out, " %sInf\n", value > 0 ? "+" : "-");
    } else if (fabs(value) <= WHOLE_MAX && (double)(int64_t)value == value) {
        buffer_add_format(out, " %.0f\n", value);
    } else {
        buffer_add_format(out, " %.9g\n", value);
    }
}

void metrics_family(struct metrics *m, const char *name, enum metrics_kind kind, const char *help)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    m->family = name;
    buffer_add_format(&m->out, "# HELP %s%s ", m->prefix, name);
    add_escaped(&m->out, help, false);
    buffer_add_format(&m->out, "\n# TYPE %s%s %s\n", m->prefix, name, kinds[kind]);
}

void metrics_sample(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                    double value)
{
    buffer_add_format(&m->out, "%s%s", m->prefix, m->family);
    add_labels(&m->out, labels, labels_count, NULL);
    add_number(&m->out, value);
}

static void add_bucket(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                       const char *le, uint64_t below)
{
    buffer_add_format(&m->out, "%s%s_bucket", m->prefix, m->family);
    add_labels(&m->out, labels, labels_count, le);
    buffer_add_format(&m->out, " %" PRIu64 "\n", below);
}

void metrics_buckets(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                     const struct metrics_buckets *b)
{
    uint64_t below = 0;
    for (uint32_t i = 0; i < b->bounds_count; i++) {
        struct buffer le = {0};
        buffer_add_format(&le, "%.9g", b->bounds[i]);
        below += b->counts[i];
        add_bucket(m, labels, labels_count, buffer_text(&le), below);
        buffer_close(&le);
    }
    below += b->counts[b->bounds_count];
    add_bucket(m, labels, labels_count, "+Inf", below);
    buffer_add_format(&m->out, "%s%s_sum", m->prefix, m->family);
    add_labels(&m->out, labels, labels_count, NULL);
    add_number(&m->out, b->sum);
    buffer_add_format(&m->out, "%s%s_count", m->prefix, m->family);
    add_labels(&m->out, labels, labels_count, NULL);
    buffer_add_format(&m->out, " %" PRIu64 "\n", below);
}

void metrics_histogram(struct metrics *m, const struct metrics_label *labels, uint32_t labels_count,
                       const struct histogram *h)
{
    double bounds[HISTOGRAM_BOUNDS];
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        bounds[i] = (double)histogram_bounds_us[i] / 1e6;
    }
    metrics_buckets(m, labels, labels_count,
                    &(struct metrics_buckets){.bounds = bounds,
                                              .counts = h->counts,
                                              .bounds_count = HISTOGRAM_BOUNDS,
                                              .sum = (double)h->sum_us / 1e6});
}

void metrics_value(struct metrics *m, const char *name, enum metrics_kind kind, const char *help,
                   double value)
{
    metrics_family(m, name, kind, help);
    metrics_sample(m, NULL, 0, value);
}

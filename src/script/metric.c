#include "script/metric.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/host.h"

struct metric {
    uint32_t references; /* of handles; and one of its family while it is listed */
    struct script_host *host;
    struct metric_family *family; /* NULL: it is not shown */
    char *app;
    uint64_t asked; /* serial of the app that asked for it last */
    struct metrics_label *labels;
    uint32_t labels_count; /* the first is the application */
    enum metrics_kind kind;
    double value; /* of a histogram, the sum */
    double *bounds;
    uint32_t bounds_count;
    uint64_t *counts; /* one more than bounds: each bucket by itself */
    TAILQ_ENTRY(metric) link;
};

struct metric_family {
    char *name, *help;
    enum metrics_kind kind;
    TAILQ_HEAD(, metric) series; /* in order of application and labels */
    TAILQ_ENTRY(metric_family) link;
};

/* ---- names ------------------------------------------------------------------------------------
 */

static bool is_name(const char *text)
{
    if (!isalpha((unsigned char)text[0]) && text[0] != '_') {
        return false;
    }
    const char *c = text;
    while (isalnum((unsigned char)*c) || *c == '_') {
        c++;
    }
    return *c == 0 && c - text <= METRIC_TEXT_MAX;
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t size = strlen(name), suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

static enum err check(const struct metric_spec *spec, struct why *why)
{
    if (!is_name(spec->name)) {
        return err_why(why, ERR_INVALID,
                       "'%.140s' cannot be a metric's name: letters, digits and _, no digit first, "
                       "128 at most",
                       spec->name);
    }
    if (ends_in(spec->name, "_bucket") || ends_in(spec->name, "_sum") ||
        ends_in(spec->name, "_count")) {
        return err_why(why, ERR_INVALID, "'%s' cannot be a metric's name: histograms end so",
                       spec->name);
    }
    for (uint32_t i = 0; i < spec->labels_count; i++) {
        const char *name = spec->labels[i].name;
        if (!is_name(name) || strncmp(name, "__", 2) == 0 || strcmp(name, "app") == 0 ||
            strcmp(name, "le") == 0) {
            return err_why(why, ERR_INVALID,
                           "'%.140s' cannot be a label: letters, digits and _, no digit first; "
                           "app, le and what begins "
                           "with __ are taken",
                           name);
        }
        if (strlen(spec->labels[i].value) > METRIC_TEXT_MAX) {
            return err_why(why, ERR_INVALID, "the value of label %s is longer than 128 bytes",
                           name);
        }
    }
    return ERR_OK;
}

/* ---- finding ----------------------------------------------------------------------------------
 */

static struct metric_family *find_family(struct script_host *host, const char *name)
{
    struct metric_family *family;
    TAILQ_FOREACH (family, &host->metrics, link) {
        if (strcmp(family->name, name) == 0) {
            return family;
        }
    }
    return NULL;
}

/* In order of labels: their names and values one after the other. */
static int compare(const struct metric *m, const char *app, const struct metric_spec *spec)
{
    int order = strcmp(m->app, app);
    for (uint32_t i = 0; order == 0 && i < spec->labels_count && i + 1 < m->labels_count; i++) {
        order = strcmp(m->labels[i + 1].name, spec->labels[i].name);
        order = order != 0 ? order : strcmp(m->labels[i + 1].value, spec->labels[i].value);
    }
    return order != 0 ? order : (int)m->labels_count - 1 - (int)spec->labels_count;
}

static bool has_bounds(const struct metric *m, const struct metric_spec *spec)
{
    return m->bounds_count == spec->bounds_count &&
           (m->bounds_count == 0 ||
            memcmp(m->bounds, spec->bounds, m->bounds_count * sizeof *m->bounds) == 0);
}

static uint32_t count_of(const struct script_host *host, const char *app)
{
    uint32_t count = 0;
    const struct metric_family *family;
    TAILQ_FOREACH (family, &host->metrics, link) {
        const struct metric *m;
        TAILQ_FOREACH (m, &family->series, link) {
            count += strcmp(m->app, app) == 0;
        }
    }
    return count;
}

/* ---- listing ----------------------------------------------------------------------------------
 */

void metric_release(struct metric *m)
{
    ASSERT(m->references > 0);
    if (--m->references > 0) {
        return;
    }
    for (uint32_t i = 0; i < m->labels_count; i++) {
        free((char *)(uintptr_t)m->labels[i].name);
        free((char *)(uintptr_t)m->labels[i].value);
    }
    free(m->labels);
    free(m->bounds);
    free(m->counts);
    free(m->app);
    free(m);
}

static void drop_family(struct script_host *host, struct metric_family *family)
{
    TAILQ_REMOVE(&host->metrics, family, link);
    free(family->name);
    free(family->help);
    free(family);
}

/* No longer shown; whoever holds it can go on. True if its family is gone with it. */
static bool unlist(struct metric *m)
{
    struct script_host *host = m->host;
    struct metric_family *family = m->family;
    TAILQ_REMOVE(&family->series, m, link);
    m->family = NULL;
    host->metrics_changed = true;
    metric_release(m);
    if (TAILQ_EMPTY(&family->series)) {
        drop_family(host, family);
        return true;
    }
    return false;
}

static struct metric_family *add_family(struct script_host *host, const struct metric_spec *spec)
{
    struct metric_family *family = NEW(struct metric_family);
    family->name = alloc_string(spec->name);
    family->help = alloc_string(spec->help);
    family->kind = spec->kind;
    TAILQ_INIT(&family->series);
    struct metric_family *other;
    TAILQ_FOREACH (other, &host->metrics, link) {
        if (strcmp(other->name, family->name) > 0) {
            TAILQ_INSERT_BEFORE(other, family, link);
            return family;
        }
    }
    TAILQ_INSERT_TAIL(&host->metrics, family, link);
    return family;
}

static struct metric *new_series(struct app *app, const struct metric_spec *spec)
{
    struct metric *m = NEW(struct metric);
    m->references = 1;
    m->host = app->host;
    m->app = alloc_string(app->name);
    m->kind = spec->kind;
    m->labels_count = spec->labels_count + 1;
    m->labels = alloc_zeroed(m->labels_count, sizeof *m->labels);
    m->labels[0] = (struct metrics_label){alloc_string("app"), alloc_string(app->name)};
    for (uint32_t i = 0; i < spec->labels_count; i++) {
        m->labels[i + 1] = (struct metrics_label){alloc_string(spec->labels[i].name),
                                                  alloc_string(spec->labels[i].value)};
    }
    m->counts = alloc_zeroed(spec->bounds_count + 1, sizeof *m->counts);
    m->bounds = alloc_zeroed(spec->bounds_count + 1, sizeof *m->bounds);
    m->bounds_count = spec->bounds_count;
    for (uint32_t i = 0; i < spec->bounds_count; i++) {
        m->bounds[i] = spec->bounds[i];
    }
    return m;
}

static void list(struct metric *m, struct metric_family *family, const struct metric_spec *spec)
{
    m->family = family;
    m->references++;
    struct metric *other;
    TAILQ_FOREACH (other, &family->series, link) {
        if (compare(other, m->app, spec) > 0) {
            TAILQ_INSERT_BEFORE(other, m, link);
            return;
        }
    }
    TAILQ_INSERT_TAIL(&family->series, m, link);
}

/* An earlier generation's is given up when the next one wants another kind. NULL in *family: it was
 * the last of it. */
static enum err make_way(const struct app *app, const struct metric_spec *spec,
                         struct metric_family **family, struct why *why)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct metric *m, *next;
    bool same_kind = (*family)->kind == spec->kind;
    TAILQ_FOREACH (m, &(*family)->series, link) {
        bool same = same_kind && has_bounds(m, spec);
        if (!same && (strcmp(m->app, app->name) != 0 || m->asked == app->serial)) {
            return err_why(
                why, ERR_EXISTS, "metric '%s' is there already, as a %s%s of application '%s'",
                spec->name, kinds[(*family)->kind], same_kind ? " with other buckets" : "", m->app);
        }
    }
    for (m = TAILQ_FIRST(&(*family)->series); m != NULL; m = next) {
        next = TAILQ_NEXT(m, link);
        if (!(same_kind && has_bounds(m, spec)) && unlist(m)) {
            *family = NULL;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static void warn_of_too_many(struct app *app, const struct metric_spec *spec)
{
    if (!app->metrics_full) {
        app->metrics_full = true;
        log_warn(app->host->options.log,
                 "too many metrics: this one and all further ones are not shown; is a label's "
                 "value new each time?",
                 log_text("app", app->name), log_text("metric", spec->name),
                 log_u64("max", METRIC_SERIES_MAX));
    }
}

enum err metric_open(struct app *app, const struct metric_spec *spec, struct metric **out,
                     struct why *why)
{
    struct script_host *host = app->host;
    struct metric_family *family = find_family(host, spec->name);
    enum err e = check(spec, why);
    if (e == ERR_OK && family != NULL) {
        e = make_way(app, spec, &family, why);
    }
    if (e != ERR_OK) {
        return e;
    }
    struct metric *m = NULL;
    if (family != NULL) {
        TAILQ_FOREACH (m, &family->series, link) {
            if (compare(m, app->name, spec) == 0) {
                break;
            }
        }
    }
    if (m != NULL) {
        m->references++;
    } else {
        m = new_series(app, spec);
        if (count_of(host, app->name) < METRIC_SERIES_MAX) {
            list(m, family != NULL ? family : add_family(host, spec), spec);
        } else {
            warn_of_too_many(app, spec);
        }
    }
    m->asked = app->serial;
    host->metrics_changed = true;
    *out = m;
    return ERR_OK;
}

/* ---- values -----------------------------------------------------------------------------------
 */

enum metrics_kind metric_kind(const struct metric *m)
{
    return m->kind;
}

void metric_add(struct metric *m, double value)
{
    m->value += value;
    m->host->metrics_changed = true;
}

void metric_set(struct metric *m, double value)
{
    m->value = value;
    m->host->metrics_changed = true;
}

void metric_observe(struct metric *m, double value)
{
    uint32_t i = 0;
    while (i < m->bounds_count && value > m->bounds[i]) {
        i++;
    }
    m->counts[i]++;
    metric_add(m, value);
}

/* ---- the page ---------------------------------------------------------------------------------
 */

bool metrics_write(struct script_host *host, struct metrics *page)
{
    if (!host->metrics_changed) {
        return false;
    }
    host->metrics_changed = false;
    const struct metric_family *family;
    TAILQ_FOREACH (family, &host->metrics, link) {
        metrics_family(page, family->name, family->kind, family->help);
        const struct metric *m;
        TAILQ_FOREACH (m, &family->series, link) {
            if (m->kind == METRICS_HISTOGRAM) {
                metrics_buckets(page, m->labels, m->labels_count,
                                &(struct metrics_buckets){.bounds = m->bounds,
                                                          .counts = m->counts,
                                                          .bounds_count = m->bounds_count,
                                                          .sum = m->value});
            } else {
                metrics_sample(page, m->labels, m->labels_count, m->value);
            }
        }
    }
    return true;
}

/* ---- the end ----------------------------------------------------------------------------------
 */

void metrics_drop_app(struct script_host *host, const char *app)
{
    for (struct metric_family *family = TAILQ_FIRST(&host->metrics), *after; family != NULL;
         family = after) {
        after = TAILQ_NEXT(family, link);
        for (struct metric *m = TAILQ_FIRST(&family->series), *next; m != NULL; m = next) {
            next = TAILQ_NEXT(m, link);
            if (strcmp(m->app, app) == 0 && unlist(m)) {
                break;
            }
        }
    }
}

void metrics_close(struct script_host *host)
{
    struct metric_family *family;
    while ((family = TAILQ_FIRST(&host->metrics)) != NULL) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): a family leaves the list with its last */
        unlist(TAILQ_FIRST(&family->series));
    }
}

/* Figures of scripts: as the page of /metrics has them, kept across reloads, bounded. */
#include "host_fixture.h"

#define MK "local mk = require 'moonkeeper' local log, metrics = mk.log.info, mk.metrics\n"

static void nothing(void *ctx, enum err err, const char *message, struct bytes results)
{
    (void)ctx, (void)err, (void)message, (void)results;
}

/* The page, once what was done has been published. The caller frees it. */
static char *page_of(struct fixture *f)
{
    run_for(f, 300);
    struct slice lines = script_host_metrics(f->host);
    struct buffer text = {0};
    buffer_add_bytes(&text, slice_bytes(lines));
    slice_close(&lines);
    char *copy = alloc_string(buffer_text(&text));
    buffer_close(&text);
    return copy;
}

#define assert_page(f, expected)                \
    do {                                        \
        char *page_ = page_of(f);               \
        assert_string_equal(page_, (expected)); \
        free(page_);                            \
    } while (0)

static void reload(struct fixture *f, const char *name, const char *source)
{
    const struct script_app app = {.name = name, .path = "test.lua", .source = source};
    script_host_reload(f->host,
                       &(struct script_reload){.apps = &app, .apps_count = 1, .done = nothing});
    run_for(f, 10);
}

static void figures_stand_on_the_page_in_order(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK
         "local jobs = metrics.counter('jobs_total', {queue = 'b', kind = 1}, {help = 'Jobs.'})\n"
         "jobs:add() jobs:add(2)\n"
         "metrics.counter('jobs_total', {queue = 'a', kind = 1}):add(0.5)\n"
         "local depth = metrics.gauge 'depth' depth:set(7) depth:add(-9)\n"
         "local h = metrics.histogram('took_seconds', nil, {buckets = {0.1, 1}})\n"
         "h:observe(0.1) h:observe(0.5) h:observe(3)\n"
         "metrics.gauge('odd', {text = 'say \"hi\"\\n'}):set(0/0)");
    assert_page(&f, "# HELP moonkeeper_script_depth Of a script.\n"
                    "# TYPE moonkeeper_script_depth gauge\n"
                    "moonkeeper_script_depth{app=\"app\"} -2\n"
                    "# HELP moonkeeper_script_jobs_total Jobs.\n"
                    "# TYPE moonkeeper_script_jobs_total counter\n"
                    "moonkeeper_script_jobs_total{app=\"app\",kind=\"1\",queue=\"a\"} 0.5\n"
                    "moonkeeper_script_jobs_total{app=\"app\",kind=\"1\",queue=\"b\"} 3\n"
                    "# HELP moonkeeper_script_odd Of a script.\n"
                    "# TYPE moonkeeper_script_odd gauge\n"
                    "moonkeeper_script_odd{app=\"app\",text=\"say \\\"hi\\\"\\n\"} NaN\n"
                    "# HELP moonkeeper_script_took_seconds Of a script.\n"
                    "# TYPE moonkeeper_script_took_seconds histogram\n"
                    "moonkeeper_script_took_seconds_bucket{app=\"app\",le=\"0.1\"} 1\n"
                    "moonkeeper_script_took_seconds_bucket{app=\"app\",le=\"1\"} 2\n"
                    "moonkeeper_script_took_seconds_bucket{app=\"app\",le=\"+Inf\"} 3\n"
                    "moonkeeper_script_took_seconds_sum{app=\"app\"} 3.6\n"
                    "moonkeeper_script_took_seconds_count{app=\"app\"} 3\n");
    fixture_close(&f);
}

static void the_same_name_and_labels_are_the_same_series(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "for i = 1, 5 do metrics.counter('x_total', {a = 'b'}):add() end collectgarbage()");
    load_named(&f, "other", MK "metrics.counter('x_total', {a = 'b'}):add(10)");
    assert_page(&f, "# HELP moonkeeper_script_x_total Of a script.\n"
                    "# TYPE moonkeeper_script_x_total counter\n"
                    "moonkeeper_script_x_total{app=\"app\",a=\"b\"} 5\n"
                    "moonkeeper_script_x_total{app=\"other\",a=\"b\"} 10\n");
    fixture_close(&f);
}

static void figures_outlive_a_reload_and_end_with_their_application(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "metrics.counter('x_total'):add(5) metrics.gauge('y'):set(1)");
    reload(&f, "app",
           MK "metrics.counter('x_total'):add(5)\n"
              "metrics.histogram('y', nil, {buckets = {1}}) error('no')");
    reload(&f, "app", MK "metrics.counter('x_total'):add(5) metrics.gauge('y'):set(3)");
    assert_page(&f, "# HELP moonkeeper_script_x_total Of a script.\n"
                    "# TYPE moonkeeper_script_x_total counter\n"
                    "moonkeeper_script_x_total{app=\"app\"} 15\n"
                    "# HELP moonkeeper_script_y Of a script.\n"
                    "# TYPE moonkeeper_script_y gauge\n"
                    "moonkeeper_script_y{app=\"app\"} 3\n");
    reload(&f, "another", "");
    assert_page(&f, "");
    fixture_close(&f);
}

static void what_the_format_does_not_have_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load_named(&f, "first", MK "metrics.gauge 'taken'");
    load(&f,
         MK "local function try(...) log(tostring(select(2, pcall(...)))) end\n"
            "try(metrics.counter, 'jobs-total') try(metrics.counter, '') try(metrics.gauge, "
            "'x_count')\n"
            "try(metrics.counter, 'x', {app = 'y'}) try(metrics.counter, 'x', {['a b'] = 'y'})\n"
            "try(metrics.counter, 'x', {a = {}}) try(metrics.counter, 'x', {a = 'b\\0c'})\n"
            "try(metrics.counter, 'x', nil, {helpp = 'y'})\n"
            "try(metrics.histogram, 'x', nil, {buckets = {2, 1}})\n"
            "try(metrics.counter, 'taken')\n"
            "metrics.gauge 'mine' try(metrics.counter, 'mine')\n"
            "local c = metrics.counter 'x' try(c.add, c, -1) try(c.add, metrics.gauge 'z')\n"
            "log(tostring(c.set))");
    assert_said(&f, "'jobs-total' cannot be a metric's name");
    assert_said(&f, "'' cannot be a metric's name");
    assert_said(&f, "'x_count' cannot be a metric's name: histograms end so");
    assert_said(&f, "'app' cannot be a label");
    assert_said(&f, "'a b' cannot be a label");
    assert_said(&f, "a label's value is a string, a number or a boolean");
    assert_said(&f, "a label has no zero bytes");
    assert_said(&f, "there is no option 'helpp'");
    assert_said(&f, "option buckets is a list of ascending numbers");
    assert_said(&f, "metric 'taken' is there already, as a gauge of application 'first'");
    assert_said(&f, "metric 'mine' is there already, as a gauge of application 'app'");
    assert_said(&f, "a counter does not go down");
    assert_said(&f, "moonkeeper.counter expected");
    fixture_close(&f);
}

static void a_label_that_is_new_each_time_does_not_fill_the_memory(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "for i = 1, 3000 do metrics.counter('x_total', {id = i}):add() end\n"
                "metrics.gauge('late'):set(1) log('goes on')");
    load_named(&f, "other", MK "metrics.gauge('fine'):set(1)");
    char *page = page_of(&f);
    size_t lines = 0;
    for (const char *at = page; (at = strstr(at, "x_total{")) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, 1000);
    assert_null(strstr(page, "late"));
    assert_non_null(strstr(page, "fine"));
    assert_said(&f, "too many metrics");
    assert_said(&f, "goes on");
    free(page);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_stand_on_the_page_in_order),
        cmocka_unit_test(the_same_name_and_labels_are_the_same_series),
        cmocka_unit_test(figures_outlive_a_reload_and_end_with_their_application),
        cmocka_unit_test(what_the_format_does_not_have_is_refused),
        cmocka_unit_test(a_label_that_is_new_each_time_does_not_fill_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

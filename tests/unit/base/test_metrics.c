/* The page of metrics: what a Prometheus server reads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"

static void a_family_says_what_it_is_before_its_samples(void **state)
{
    (void)state;
    struct metrics m = {.prefix = "mk_"};
    metrics_value(&m, "term", METRICS_GAUGE, "The\\term,\nnow.", 7);
    metrics_family(&m, "rtt_seconds", METRICS_COUNTER, "x");
    metrics_sample(&m, (struct metrics_label[]){{"peer", "n2"}, {"b", ""}}, 2, 0.000125);
    assert_string_equal(buffer_text(&m.out), "# HELP mk_term The\\\\term,\\nnow.\n"
                                             "# TYPE mk_term gauge\n"
                                             "mk_term 7\n"
                                             "# HELP mk_rtt_seconds x\n"
                                             "# TYPE mk_rtt_seconds counter\n"
                                             "mk_rtt_seconds{peer=\"n2\",b=\"\"} 0.000125\n");
    buffer_close(&m.out);
}

static void labels_cannot_break_out_of_their_quotes(void **state)
{
    (void)state;
    struct metrics m = {.prefix = ""};
    metrics_family(&m, "x", METRICS_GAUGE, "h");
    buffer_clear(&m.out);
    metrics_sample(&m, (struct metrics_label[]){{"l", "a\"} 1\nx{\\"}}, 1, 1);
    assert_string_equal(buffer_text(&m.out), "x{l=\"a\\\"} 1\\nx{\\\\\"} 1\n");
    buffer_close(&m.out);
}

static void numbers_are_written_whole(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "x 0\n"},
        {9007199254740991.0, "x 9007199254740991\n"},
        {-3, "x -3\n"},
        {1e300, "x 1e+300\n"},
        {0.1, "x 0.1\n"},
        {(double)INFINITY, "x +Inf\n"},
        {(double)-INFINITY, "x -Inf\n"},
        {(double)NAN, "x NaN\n"},
    };
    struct metrics m = {.prefix = "", .family = "x"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buffer_clear(&m.out);
        metrics_sample(&m, NULL, 0, cases[i].value);
        assert_string_equal(buffer_text(&m.out), cases[i].text);
    }
    buffer_close(&m.out);
}

static void a_duration_on_a_bound_is_within_it(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, 0);
    histogram_add(&h, 10);
    histogram_add(&h, 11);
    histogram_add(&h, 10000000);
    histogram_add(&h, 10000001);
    assert_int_equal(h.counts[0], 2);
    assert_int_equal(h.counts[1], 1);
    assert_int_equal(h.counts[HISTOGRAM_BOUNDS - 1], 1);
    assert_int_equal(h.counts[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(h.sum_us, 20000022);
}

static void buckets_are_cumulative_and_end_with_the_count(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, 20);
    histogram_add(&h, 3000);
    histogram_add(&h, 20000000);
    struct metrics m = {.prefix = ""};
    metrics_family(&m, "d_seconds", METRICS_HISTOGRAM, "h");
    metrics_histogram(&m, (struct metrics_label[]){{"hook", "a"}}, 1, &h);
    const char *text = buffer_text(&m.out);
    assert_non_null(strstr(text, "# TYPE d_seconds histogram\n"));
    assert_non_null(strstr(text, "\nd_seconds_bucket{hook=\"a\",le=\"1e-05\"} 0\n"));
    assert_non_null(strstr(text, "\nd_seconds_bucket{hook=\"a\",le=\"2.5e-05\"} 1\n"));
    assert_non_null(strstr(text, "\nd_seconds_bucket{hook=\"a\",le=\"0.005\"} 2\n"));
    assert_non_null(strstr(text, "\nd_seconds_bucket{hook=\"a\",le=\"10\"} 2\n"));
    assert_non_null(strstr(text, "\nd_seconds_bucket{hook=\"a\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "\nd_seconds_sum{hook=\"a\"} 20.00302\n"));
    assert_non_null(strstr(text, "\nd_seconds_count{hook=\"a\"} 3\n"));
    buffer_close(&m.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_says_what_it_is_before_its_samples),
        cmocka_unit_test(labels_cannot_break_out_of_their_quotes),
        cmocka_unit_test(numbers_are_written_whole),
        cmocka_unit_test(a_duration_on_a_bound_is_within_it),
        cmocka_unit_test(buckets_are_cumulative_and_end_with_the_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

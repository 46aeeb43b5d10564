/* What machines are shown of a suite: TAP and JUnit, to the letter. */
#include "../net/check.h"

#include "scenario/report.h"

static const struct report_style style = {.program = "moonkeeper"};

static void set(struct buffer *b, const char *text)
{
    buffer_add_format(b, "%s", text);
}

/* One file with a test that passed, one that failed with some of its seeds, one that was skipped.
 */
struct fixture {
    struct scenario_case cases[3];
    struct scenario_file file;
    struct suite_case runs[3];
    struct suite suite;
};

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){
        .cases = {{.name = "elections > one leads", .line = 4, .sim = true, .seeds = 2},
                  {.name = "it's < \"all\" & more # 1", .line = 9, .sim = true, .seeds = 20},
                  {.name = "disks > full", .line = 30, .sim = true, .seeds = 1}},
        .runs = {{.number = 0, .runs = 2, .done = 2, .passed = 2, .simulated_us = 3000000},
                 {.number = 1, .runs = 20, .done = 20, .passed = 18, .failed = 2, .seed = 7},
                 {.number = 2, .runs = 1, .done = 1, .skipped = 1, .seed = 1}},
    };
    f->file = (struct scenario_file){.path = "tests/a.lua", .cases = f->cases, .count = 3};
    for (int i = 0; i < 3; i++) {
        f->runs[i].file = &f->file;
        f->runs[i].took_us = 250000;
    }
    struct suite_case *failed = &f->runs[1];
    failed->failed_seeds[0] = 7;
    failed->failed_seeds[1] = 19;
    failed->result.outcome = SCENARIO_FAILED;
    set(&failed->result.where, "tests/a.lua:12");
    set(&failed->result.message, "got 1, expected <2>\nas it was");
    set(&failed->result.trace, "stack traceback:\n\t[C]: in function 'error'\n"
                               "\ttests/a.lua:12: in local 'check'\n"
                               "\tmoonkeeper/test/cases.lua:80: in function 'run'\n"
                               "\ttests/a.lua:9: in function <tests/a.lua:9>\n");
    set(&failed->result.log, "here: \x01 \xc3\xa9 \xff\n");
    set(&failed->result.timeline, "  9.900000  n1 started\n 10.200000  n1 leads\n");
    set(&f->runs[2].result.message, "needs mode \"real\"");
    f->suite = (struct suite){.files = &f->file,
                              .files_count = 1,
                              .cases = f->runs,
                              .cases_count = 3,
                              .took_us = 1500000};
}

static void fixture_close(struct fixture *f)
{
    for (int i = 0; i < 3; i++) {
        scenario_result_close(&f->runs[i].result);
    }
}

static void tap_is_version_14_with_a_yaml_block_for_each_failure(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct buffer out = {0};
    report_tap_plan(&f.suite, &out);
    for (int i = 0; i < 3; i++) {
        report_tap_case(&f.suite, &f.runs[i], &style, &out);
    }
    assert_string_equal(
        buffer_text(&out),
        "TAP version 14\n"
        "1..3\n"
        "ok 1 - tests/a.lua: elections > one leads\n"
        "not ok 2 - tests/a.lua: it's < \"all\" & more \\# 1\n"
        "  ---\n"
        "  message: |2\n"
        "    tests/a.lua:12: got 1, expected <2>\n"
        "    as it was\n"
        "  seed: 7\n"
        "  failed: \"2 of 20 seeds: 7, 19\"\n"
        "  rerun: |2\n"
        "    moonkeeper test tests/a.lua --filter 'it'\\''s < \"all\" & more # 1' --seed 7\n"
        "  log: |2\n"
        "    here: ? \xc3\xa9 ?\n"
        "  timeline: |2\n"
        "      9.900000  n1 started\n"
        "     10.200000  n1 leads\n"
        "  ...\n"
        "ok 3 - tests/a.lua: disks > full # SKIP needs mode \"real\"\n");
    buffer_close(&out);
    fixture_close(&f);
}

static void junit_counts_and_escapes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct buffer out = {0};
    report_junit(&f.suite, &style, &out);
    assert_string_equal(
        buffer_text(&out),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<testsuites name=\"moonkeeper test\" tests=\"3\" failures=\"1\" skipped=\"1\" "
        "time=\"1.500\">\n"
        "  <testsuite name=\"tests/a.lua\" tests=\"3\" failures=\"1\" skipped=\"1\" "
        "time=\"0.750\">\n"
        "    <testcase name=\"elections &gt; one leads\" classname=\"tests/a.lua\" "
        "file=\"tests/a.lua\" line=\"4\" time=\"0.250\"/>\n"
        "    <testcase name=\"it's &lt; &quot;all&quot; &amp; more # 1\" classname=\"tests/a.lua\" "
        "file=\"tests/a.lua\" line=\"9\" time=\"0.250\">\n"
        "      <failure message=\"tests/a.lua:12: got 1, expected &lt;2&gt;\">tests/a.lua:12: got "
        "1, expected &lt;2&gt;\n"
        "as it was\n"
        "\n"
        "run it again: moonkeeper test tests/a.lua --filter 'it'\\''s &lt; &quot;all&quot; &amp; "
        "more # 1' --seed 7\n"
        "\n"
        "here: ? \xc3\xa9 ?\n"
        "  9.900000  n1 started\n"
        " 10.200000  n1 leads\n"
        "</failure>\n"
        "    </testcase>\n"
        "    <testcase name=\"disks &gt; full\" classname=\"tests/a.lua\" file=\"tests/a.lua\" "
        "line=\"30\" time=\"0.250\">\n"
        "      <skipped message=\"needs mode &quot;real&quot;\"/>\n"
        "    </testcase>\n"
        "  </testsuite>\n"
        "</testsuites>\n");
    buffer_close(&out);
    fixture_close(&f);
}

static void people_see_what_failed_and_how_to_run_it_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct buffer out = {0};
    for (int i = 0; i < 3; i++) {
        report_case(&f.suite, &f.runs[i], &style, &out);
    }
    report_summary(&f.suite, &style, &out);
    assert_string_equal(buffer_text(&out),
                        "tests/a.lua\n"
                        "  ok    elections > one leads                                         2 "
                        "seeds, 3.0 s simulated in 0.25 s\n"
                        "  FAIL  it's < \"all\" & more # 1\n"
                        "        tests/a.lua:12: got 1, expected <2>\n"
                        "        as it was\n"
                        "\n"
                        "        called from\n"
                        "          tests/a.lua:12: in local 'check'\n"
                        "          tests/a.lua:9: in function <tests/a.lua:9>\n"
                        "\n"
                        "        the test said\n"
                        "          here: \x01 \xc3\xa9 \xff\n"
                        "\n"
                        "        what happened last (s, node, what)\n"
                        "            9.900000  n1 started\n"
                        "           10.200000  n1 leads\n"
                        "\n"
                        "        it failed with 2 of 20 seeds: 7, 19; this is seed 7\n"
                        "        run it again: moonkeeper test tests/a.lua --filter 'it'\\''s < "
                        "\"all\" & more # 1' --seed 7\n"
                        "\n"
                        "  skip  disks > full                                                  "
                        "needs mode \"real\"\n"
                        "\n"
                        "1 passed, 1 failed, 1 skipped; 23 runs, 3.0 s simulated in 1.5 s\n");
    buffer_close(&out);
    fixture_close(&f);
}

static void a_real_run_is_run_again_without_a_seed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct buffer out = {0};
    report_rerun(&f.runs[1], &(struct report_style){.program = "mk", .real = true}, &out);
    assert_string_equal(buffer_text(&out),
                        "mk test tests/a.lua --filter 'it'\\''s < \"all\" & more # 1' --real");
    buffer_close(&out);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tap_is_version_14_with_a_yaml_block_for_each_failure),
        cmocka_unit_test(junit_counts_and_escapes),
        cmocka_unit_test(people_see_what_failed_and_how_to_run_it_again),
        cmocka_unit_test(a_real_run_is_run_again_without_a_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

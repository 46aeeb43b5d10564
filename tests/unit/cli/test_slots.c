/* Slots for people: the times of cron expressions as clocks show them. */
#include "cli/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct slots open_slots(const char *spec, const char *tz)
{
    struct slots s;
    struct why why = {""};
    if (slots_open(spec, tz, &s, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return s;
}

/* The time, parsed and printed again, is this. */
static void shows(const struct slots *s, const char *text, const char *expected)
{
    int64_t at_ms = 0;
    struct why why = {""};
    char shown[SLOT_TEXT_MAX];
    if (slots_parse_time(s, text, &at_ms, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    assert_string_equal(slots_text(s, at_ms, shown), expected);
}

static void a_time_is_that_of_the_zone(void **state)
{
    (void)state;
    struct slots utc = open_slots("@daily", "UTC"), berlin = open_slots("@daily", "Europe/Berlin");
    shows(&utc, "2026-01-02", "2026-01-02 00:00 +00:00");
    shows(&utc, "2026-01-02 03:04", "2026-01-02 03:04 +00:00");
    shows(&berlin, "2026-01-02T03:04", "2026-01-02 03:04 +01:00");
    shows(&berlin, "2026-07-02 03:04", "2026-07-02 03:04 +02:00");
    shows(&berlin, "2026-07-02T23:04Z", "2026-07-03 01:04 +02:00");
    slots_close(&utc);
    slots_close(&berlin);
}

static void
a_time_that_clocks_leave_out_is_that_of_the_change_and_one_they_show_twice_the_first(void **state)
{
    (void)state;
    struct slots s = open_slots("@daily", "Europe/Berlin");
    shows(&s, "2026-03-29 01:59", "2026-03-29 01:59 +01:00");
    shows(&s, "2026-03-29 02:30", "2026-03-29 03:00 +02:00");
    shows(&s, "2026-03-29 03:00", "2026-03-29 03:00 +02:00");
    shows(&s, "2026-10-25 02:30", "2026-10-25 02:30 +02:00");
    shows(&s, "2026-10-25T01:30Z", "2026-10-25 02:30 +01:00");
    slots_close(&s);
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "tomorrow",
                                        "2026",
                                        "2026-13-01",
                                        "2026-02-29",
                                        "2026-01-01 24:00",
                                        "2026-01-01x",
                                        "2026-01-01 10:00x",
                                        "2026-01-01 10"};
    struct slots s = open_slots("@daily", "UTC");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int64_t at_ms;
        struct why why = {""};
        assert_int_equal(slots_parse_time(&s, wrong[i], &at_ms, &why), ERR_INVALID);
        assert_non_null(strstr(why.text, "it must be like 2026-03-29"));
    }
    slots_close(&s);
}

static void seconds_are_shown_where_there_are_any_and_changes_of_clocks_are_known(void **state)
{
    (void)state;
    struct slots s = open_slots("30 2 * * *", "Europe/Berlin");
    char text[SLOT_TEXT_MAX];
    int64_t at_ms, next_ms;
    assert_string_equal(slots_text(&s, 7000, text), "1970-01-01 01:00:07 +01:00");
    assert_int_equal(slots_parse_time(&s, "2026-03-28 02:30", &at_ms, NULL), ERR_OK);
    assert_true(slots_next(&s, at_ms, &next_ms));
    assert_string_equal(slots_text(&s, next_ms, text), "2026-03-29 03:00 +02:00");
    assert_int_equal(slots_clock_change(&s, at_ms, next_ms), 3600);
    assert_int_equal(slots_clock_change(&s, next_ms, at_ms), -3600);
    slots_close(&s);
}

static void a_wrong_expression_or_zone_is_named(void **state)
{
    (void)state;
    struct slots s;
    struct why why = {""};
    assert_int_equal(slots_open("0 0 31 2 *", "UTC", &s, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "never comes"));
    assert_int_equal(slots_open("@daily", "Europe/Nowhere", &s, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "Europe/Nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_that_of_the_zone),
        cmocka_unit_test(
            a_time_that_clocks_leave_out_is_that_of_the_change_and_one_they_show_twice_the_first),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(seconds_are_shown_where_there_are_any_and_changes_of_clocks_are_known),
        cmocka_unit_test(a_wrong_expression_or_zone_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

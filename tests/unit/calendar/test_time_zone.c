/* Time zones: what is read from files of the tz database agrees with the C library, and what is no
 * such file is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "calendar/civil.h"
#include "zones.h"

static void days_and_dates_are_inverse(void **state)
{
    (void)state;
    assert_int_equal(civil_days(1970, 1, 1), 0);
    assert_int_equal(civil_days(2000, 2, 29), 11016);
    assert_int_equal(civil_days(1969, 12, 31), -1);
    unsigned weekday = civil_weekday(civil_days(-400, 1, 1));
    int64_t day = civil_days(-400, 1, 1);
    for (int64_t year = -400; year < 2500; year++) {
        for (unsigned month = 1; month <= 12; month++) {
            for (unsigned d = 1; d <= civil_month_days(year, month); d++, day++) {
                struct civil_date date = civil_date_of(day);
                assert_int_equal(civil_days(year, month, d), day);
                assert_true(date.year == year && date.month == month && date.day == d);
                assert_int_equal(civil_weekday(day), weekday);
                weekday = (weekday + 1) % 7;
            }
        }
    }
}

static const char *const places[] = {
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "America/Havana",
    "Asia/Tehran",
    "Antarctica/Troll",
    "Africa/Cairo",
    "Europe/Dublin",
    "America/Sao_Paulo",
    "Pacific/Chatham",
    "Asia/Gaza",
    "America/Nuuk",
    "Africa/Monrovia",
    "America/Argentina/Buenos_Aires",
    "Etc/GMT+12",
    "EST5EDT",
    "UTC",
};

/* About every day, and at the moments around each change, for four centuries. */
static void offsets_are_those_of_the_c_library(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct time_zone *zone = zone_of_system(places[i]);
        setenv("TZ", places[i], 1);
        tzset();
        time_t at = -(time_t)5000000000, end = 9000000000;
        while (at < end) {
            struct tm tm;
            struct time_zone_span span = time_zone_span(zone, at);
            assert_true(span.from_s <= at && at < span.to_s);
            assert_non_null(localtime_r(&at, &tm));
            if (tm.tm_gmtoff != span.offset_s) {
                fail_msg("%s at %lld: %d, the C library says %ld", places[i], (long long)at,
                         span.offset_s, tm.tm_gmtoff);
            }
            at = at < span.to_s - 1 && span.to_s - 1 < at + 100000 ? (time_t)span.to_s - 1
                 : at == span.to_s - 1                             ? at + 1
                                                                   : at + 100000;
        }
        free(zone);
    }
}

static void spans_lie_end_to_end(void **state)
{
    (void)state;
    struct time_zone *zone = zone_of_system("Europe/Berlin");
    int64_t at = -5000000000;
    int changes = 0;
    while (at < 9000000000) {
        struct time_zone_span span = time_zone_span(zone, at);
        assert_true(span.to_s > at);
        struct time_zone_span last = time_zone_span(zone, span.to_s - 1);
        assert_int_equal(last.offset_s, span.offset_s);
        at = span.to_s;
        assert_int_equal(time_zone_span(zone, at).from_s, at);
        changes++;
    }
    assert_true(changes > 500);
    free(zone);
}

static void check_rule(const char *text, const char *moment_before, int32_t offset_s, int64_t at_s)
{
    struct zone_rule rule;
    if (!zone_rule_parse(bytes_of_string(text), &rule)) {
        fail_msg("%s is refused", text);
    }
    struct time_zone_span span = zone_rule_span(&rule, at_s);
    if (span.offset_s != offset_s) {
        fail_msg("%s %s: %d", text, moment_before, span.offset_s);
    }
}

static void rules_are_those_of_posix(void **state)
{
    (void)state;
    const char *berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
    int64_t march = civil_days(2050, 3, 27) * SECONDS_PER_DAY + 3600; /* 01:00 UTC */
    int64_t october = civil_days(2050, 10, 30) * SECONDS_PER_DAY + 3600;
    check_rule(berlin, "a second before summer", 3600, march - 1);
    check_rule(berlin, "summer begins", 7200, march);
    check_rule(berlin, "its last second", 7200, october - 1);
    check_rule(berlin, "winter", 3600, october);
    check_rule("EST5EDT,0/0,J365/25", "summer time all year", -14400, march);
    check_rule("EST5EDT,0/0,J365/25", "the turn of the year", -14400,
               civil_days(2050, 1, 1) * SECONDS_PER_DAY + 5 * 3600 - 1);
    check_rule("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "Greenland", -7200, march - 1);
    check_rule("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "Greenland, summer", -3600, march);
    check_rule("IST-1GMT0,M10.5.0,M3.5.0/1", "Ireland's winter", 0, march - 1);
    check_rule("IST-1GMT0,M10.5.0,M3.5.0/1", "Ireland's summer", 3600, march);
    check_rule("ABC-5:30:15", "seconds", 19815, 0);
    check_rule("AAA0BBB,J60/0,J61/0", "1 March of a leap year", 3600,
               civil_days(2048, 3, 1) * SECONDS_PER_DAY);
    check_rule("AAA0BBB,59/0,60/0", "29 February", 3600, civil_days(2048, 2, 29) * SECONDS_PER_DAY);
    static const char *const wrong[] = {"",
                                        "C",
                                        "CET",
                                        "CET-1CEST",
                                        "CET-25",
                                        "CET-1CEST,M3.5.0",
                                        "CET-1CEST,M13.5.0,M10.5.0",
                                        "CET-1CEST,M3.6.0,M10.5.0",
                                        "CET-1CEST,M3.5.7,M10.5.0",
                                        "<CET-1",
                                        "CET-1 ",
                                        "CET-1CEST,M3.5.0,M10.5.0/3x",
                                        "CET-1CEST,J0,J5",
                                        "CET-1CEST,M3.5.0/168,M10.5.0",
                                        "CET-1:60"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct zone_rule rule;
        if (zone_rule_parse(bytes_of_string(wrong[i]), &rule)) {
            fail_msg("'%s' is accepted", wrong[i]);
        }
    }
}

static void what_is_no_time_zone_is_refused(void **state)
{
    (void)state;
    struct buffer file = {0};
    zone_file_of_system("Europe/Berlin", &file);
    struct time_zone *zone = malloc(time_zone_size(buffer_bytes(&file)));
    struct why why;
    for (size_t size = 0; size < file.size; size++) {
        uint8_t *part = malloc(size + 1);
        memcpy(part, file.data, size);
        struct bytes bytes = bytes_of(part, size);
        assert_true(time_zone_size(bytes) <= time_zone_size(buffer_bytes(&file)));
        assert_int_equal(time_zone_read("Part", bytes, zone, &why), ERR_INVALID);
        assert_non_null(strstr(why.text, "time zone Part"));
        free(part);
    }
    file.data[28 + 3] = 1; /* leap seconds in the first header: its size no longer fits */
    assert_int_equal(time_zone_read("Berlin", buffer_bytes(&file), zone, NULL), ERR_INVALID);
    free(zone);
    buffer_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_and_dates_are_inverse),
        cmocka_unit_test(offsets_are_those_of_the_c_library),
        cmocka_unit_test(spans_lie_end_to_end),
        cmocka_unit_test(rules_are_those_of_posix),
        cmocka_unit_test(what_is_no_time_zone_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

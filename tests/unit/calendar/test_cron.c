/* Cron expressions: what they mean, what is refused, and, against a scan of every minute, when they
 * are due while clocks are changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rng.h"
#include "calendar/civil.h"
#include "calendar/cron.h"
#include "zones.h"

/* "2024-02-29 10:30" as UTC. */
static int64_t utc_ms(const char *text)
{
    int year;
    unsigned month, day, hour, minute;
    assert_int_equal(sscanf(text, "%d-%u-%u %u:%u", &year, &month, &day, &hour, &minute), 5);
    return (civil_days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60) * 1000;
}

static void expect_next(const char *spec, const struct time_zone *zone, const char *after,
                        const char *const *expected)
{
    struct cron cron;
    struct why why = {0};
    if (cron_parse(spec, &cron, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    int64_t at_ms = utc_ms(after);
    for (; *expected != NULL; expected++) {
        assert_true(cron_next(&cron, zone, at_ms, &at_ms));
        if (at_ms != utc_ms(*expected)) {
            time_t at = at_ms / 1000;
            char text[32];
            struct tm tm;
            strftime(text, sizeof text, "%F %R:%S", gmtime_r(&at, &tm));
            fail_msg("%s: %s, not %s", spec, text, *expected);
        }
    }
}
#define EXPECT(spec, zone, after, ...) \
    expect_next((spec), (zone), (after), (const char *const[]){__VA_ARGS__, NULL})

static void fields_mean_what_crontab_says(void **state)
{
    (void)state;
    struct time_zone utc;
    time_zone_utc(&utc);
    EXPECT("*/15 * * * *", &utc, "2024-01-01 00:00", "2024-01-01 00:15", "2024-01-01 00:30",
           "2024-01-01 00:45", "2024-01-01 01:00");
    EXPECT("5,35 8-18/5 * * *", &utc, "2024-01-01 09:00", "2024-01-01 13:05", "2024-01-01 13:35",
           "2024-01-01 18:05", "2024-01-01 18:35", "2024-01-02 08:05");
    EXPECT("0 0 29 feb *", &utc, "2096-03-01 00:00", "2104-02-29 00:00");
    EXPECT("30 6 * * mon-fri", &utc, "2024-03-01 06:30", "2024-03-04 06:30"); /* a Friday */
    EXPECT("0 0 * * fri-sun", &utc, "2024-03-01 00:00", "2024-03-02 00:00", "2024-03-03 00:00",
           "2024-03-08 00:00");
    EXPECT("0 0 * * 7", &utc, "2024-03-01 00:00", "2024-03-03 00:00", "2024-03-10 00:00");
    EXPECT("0 0 13 * fri", &utc, "2024-09-01 00:00", "2024-09-06 00:00", "2024-09-13 00:00",
           "2024-09-20 00:00", "2024-09-27 00:00", "2024-10-04 00:00", "2024-10-11 00:00",
           "2024-10-13 00:00"); /* either */
    EXPECT("0 0 */13 * fri", &utc, "2024-09-01 00:00", "2024-09-27 00:00",
           "2024-11-01 00:00"); /* both: the 1st, 14th and 27th */
    EXPECT("@hourly", &utc, "2024-12-31 23:00", "2025-01-01 00:00");
    EXPECT(" @Daily\n", &utc, "2024-12-31 23:00", "2025-01-01 00:00", "2025-01-02 00:00");
    EXPECT("@weekly", &utc, "2024-12-31 23:00", "2025-01-05 00:00");
    EXPECT("@monthly", &utc, "2024-12-31 23:00", "2025-01-01 00:00", "2025-02-01 00:00");
    EXPECT("@annually", &utc, "2024-12-31 23:00", "2025-01-01 00:00", "2026-01-01 00:00");
    EXPECT("0 12 1 1 *", &utc, "1960-06-01 00:00", "1961-01-01 12:00");
}

static void what_is_due_now_is_not_next(void **state)
{
    (void)state;
    struct time_zone utc;
    time_zone_utc(&utc);
    struct cron cron;
    int64_t next_ms;
    assert_int_equal(cron_parse("* * * * *", &cron, NULL), ERR_OK);
    assert_true(cron_next(&cron, &utc, 60000, &next_ms));
    assert_int_equal(next_ms, 120000);
    assert_true(cron_next(&cron, &utc, 59999, &next_ms));
    assert_int_equal(next_ms, 60000);
    assert_true(cron_next(&cron, &utc, -1, &next_ms));
    assert_int_equal(next_ms, 0);
    assert_false(cron_next(&cron, &utc, CRON_TIME_MAX_MS, &next_ms));
    assert_true(cron_next(&cron, &utc, CRON_TIME_MIN_MS, &next_ms));
}

/* 2024: clocks go from 02:00 to 03:00 on 31 March and from 03:00 back to 02:00 on 27 October. */
static void a_time_that_clocks_leave_out_is_due_at_the_change(void **state)
{
    (void)state;
    struct time_zone *berlin = zone_of_system("Europe/Berlin");
    EXPECT("30 2 * * *", berlin, "2024-03-30 00:00", "2024-03-30 01:30", "2024-03-31 01:00",
           "2024-04-01 00:30");
    EXPECT("*/20 2 * * *", berlin, "2024-03-30 02:00", "2024-03-31 01:00", "2024-04-01 00:00");
    EXPECT("0 3 * * *", berlin, "2024-03-30 12:00", "2024-03-31 01:00", "2024-04-01 01:00");
    struct time_zone *apia = zone_of_system("Pacific/Apia"); /* there was no 30 December 2011 */
    EXPECT("0 9,17 30 12 *", apia, "2011-01-01 00:00", "2011-12-30 10:00", "2012-12-29 19:00");
    free(berlin);
    free(apia);
}

static void a_time_that_clocks_show_twice_is_due_once(void **state)
{
    (void)state;
    struct time_zone *berlin = zone_of_system("Europe/Berlin");
    EXPECT("30 2 * * *", berlin, "2024-10-26 00:00", "2024-10-26 00:30", "2024-10-27 00:30",
           "2024-10-28 01:30");
    EXPECT("30 2 * * *", berlin, "2024-10-27 01:10", "2024-10-28 01:30"); /* the second 02:10 */
    EXPECT("0 2,3 * * *", berlin, "2024-10-26 12:00", "2024-10-27 00:00", "2024-10-27 02:00",
           "2024-10-28 01:00");
    free(berlin);
}

static void every_hour_goes_by_the_time_that_has_passed(void **state)
{
    (void)state;
    struct time_zone *berlin = zone_of_system("Europe/Berlin");
    EXPECT("30 * * * *", berlin, "2024-03-31 00:00", "2024-03-31 00:30", "2024-03-31 01:30");
    EXPECT("30 * * * *", berlin, "2024-10-27 00:00", "2024-10-27 00:30", "2024-10-27 01:30",
           "2024-10-27 02:30");
    EXPECT("*/30 * 31 3 *", berlin, "2024-03-31 00:00", "2024-03-31 00:30", "2024-03-31 01:00",
           "2024-03-31 01:30");
    free(berlin);
}

static void expect_error(const char *spec, const char *message)
{
    struct cron cron;
    struct why why = {0};
    if (cron_parse(spec, &cron, &why) != ERR_INVALID) {
        fail_msg("'%s' is accepted", spec);
    }
    if (strstr(why.text, message) == NULL) {
        fail_msg("'%s': %s", spec, why.text);
    }
}

static void errors_name_the_field_and_what_is_wrong(void **state)
{
    (void)state;
    expect_error("60 * * * *", "'60 * * * *': minute: 60 is not in 0-59");
    expect_error("* 24 * * *", "hour: 24 is not in 0-23");
    expect_error("* * 0 * *", "day of month: 0 is not in 1-31");
    expect_error("* * * 13 *", "month: 13 is not in 1-12");
    expect_error("* * * * 8", "day of week: 8 is not in 0-7");
    expect_error("99999999999999999999 * * * *", "99999999999999999999 is not in 0-59");
    expect_error("* * * juni *", "month: 'juni' is not known; names are jan, feb, ...");
    expect_error("mon * * * *", "minute: 'mon' is no number");
    expect_error("10-5 * * * *", "minute: the range 10-5 goes backwards");
    expect_error("5/15 * * * *", "minute: a step needs a range: 5-59/15, or */15");
    expect_error("*/0 * * * *", "minute: the step '0' is not in 1-59");
    expect_error("*/99 * * * *", "minute: the step '99'");
    expect_error("*/ * * * *", "minute: the step '' is not");
    expect_error("1,,2 * * * *", "minute: a value is missing");
    expect_error("1- * * * *", "minute: a value is missing");
    expect_error("* * ? * *", "day of month: '?' is not understood here");
    expect_error("* * 5x * *", "day of month: 'x' is not understood here");
    expect_error("* * * *", "it has 4 fields, not 5");
    expect_error("0 * * * * *", "it has 6 fields, not 5: minute, hour, day of month, month, day of "
                                "week (there is none for seconds)");
    expect_error("", "it has 0 fields");
    expect_error("0 0 31 2 *", "day of month: '31' never comes in month '2'");
    expect_error("0 0 31 feb,apr,jun *", "day of month: '31' never comes in month 'feb,apr,jun'");
    expect_error("0 0 30,31 2 */2", "never comes");
    expect_error("@hourli", "did you mean @hourly");
    expect_error("@reboot", "it names no time");
    expect_error("@every 5m", "there are @hourly");
    struct cron cron;
    assert_int_equal(cron_parse("0 0 31 2 mon", &cron, NULL), ERR_OK); /* Mondays do come */
    assert_int_equal(cron_parse("0 0 31 1,2 *", &cron, NULL), ERR_OK);
    assert_int_equal(cron_parse("0 0 29 2 *", &cron, NULL), ERR_OK);
}

/* ---- against a scan of every minute -------------------------------------------------------------
 */

static unsigned below(struct rng *rng, unsigned n)
{
    return (unsigned)rng_range(rng, 0, n);
}

/* A random field: its text, and its members, by a way of its own. */
static bool random_field(struct rng *rng, unsigned min, unsigned max, char *text, bool *members)
{
    memset(members, 0, 64 * sizeof *members);
    switch (below(rng, 4)) {
    case 0:
        strcpy(text, "*");
        for (unsigned i = min; i <= max; i++) {
            members[i] = true;
        }
        return true;
    case 1: {
        unsigned step = 2 + below(rng, (max - min) / 2);
        sprintf(text, "*/%u", step);
        for (unsigned i = min; i <= max; i += step) {
            members[i] = true;
        }
        return true;
    }
    case 2: {
        unsigned from = min + below(rng, max - min + 1);
        unsigned to = from + below(rng, max - from + 1);
        sprintf(text, "%u-%u", from, to);
        for (unsigned i = from; i <= to; i++) {
            members[i] = true;
        }
        return false;
    }
    default: {
        unsigned a = min + below(rng, max - min + 1);
        unsigned b = min + below(rng, max - min + 1);
        sprintf(text, "%u,%u", a, b);
        members[a] = members[b] = true;
        return false;
    }
    }
}

struct random_spec {
    char text[192];
    bool minutes[64], hours[64], days[64], months[64], weekdays[64];
    bool day_star, weekday_star, every_hour;
};

static void random_spec(struct rng *rng, struct random_spec *s)
{
    char parts[5][32];
    random_field(rng, 0, 59, parts[0], s->minutes);
    random_field(rng, 0, 23, parts[1], s->hours);
    if (below(rng, 3) > 0) { /* around the changes of clocks, as a rule */
        unsigned hour = below(rng, 4);
        memset(s->hours, 0, sizeof s->hours);
        sprintf(parts[1], "%u", hour);
        s->hours[hour] = true;
    }
    s->day_star = random_field(rng, 1, 31, parts[2], s->days);
    random_field(rng, 1, 12, parts[3], s->months);
    s->weekday_star = random_field(rng, 0, 6, parts[4], s->weekdays);
    s->every_hour = true;
    for (int i = 0; i < 24; i++) {
        s->every_hour = s->every_hour && s->hours[i];
    }
    snprintf(s->text, sizeof s->text, "%s %s %s %s %s", parts[0], parts[1], parts[2], parts[3],
             parts[4]);
}

static bool matches(const struct random_spec *s, int64_t local_minute)
{
    static int64_t known_day = INT64_MAX;
    static struct tm tm;
    int64_t day = local_minute / 1440;
    if (day != known_day) {
        time_t at = (time_t)(day * SECONDS_PER_DAY);
        gmtime_r(&at, &tm);
        known_day = day;
    }
    bool by_date = s->days[tm.tm_mday], by_weekday = s->weekdays[tm.tm_wday];
    bool day_ok = s->day_star || s->weekday_star ? by_date && by_weekday : by_date || by_weekday;
    return s->minutes[local_minute % 60] && s->hours[local_minute / 60 % 24] && day_ok &&
           s->months[tm.tm_mon + 1];
}

enum { AROUND_CHANGE_S = 3 * 3600 };

static void compare_with_scan(const struct random_spec *s, const char *place,
                              const struct time_zone *zone, int64_t from, int64_t to)
{
    struct cron cron;
    struct why why = {0};
    if (cron_parse(s->text, &cron, &why) != ERR_OK) {
        assert_non_null(strstr(why.text, "never comes"));
        return;
    }
    int64_t after_ms = from * 60000 - 1, next_ms = 0;
    if (!cron_next(&cron, zone, after_ms, &next_ms)) {
        next_ms = INT64_MAX;
    }
    struct time_zone_span span = time_zone_span(zone, (from - 3000) * 60);
    int64_t latest = INT64_MIN;
    for (int64_t minute = from - 3000; minute < to; minute++) {
        if (minute * 60 >= span.to_s) {
            span = time_zone_span(zone, minute * 60);
        }
        int64_t local = minute + span.offset_s / 60;
        bool due = s->every_hour && matches(s, local);
        int64_t shown = latest == INT64_MIN ? local : latest + 1;
        for (; !s->every_hour && shown <= local && !due; shown++) {
            due = matches(s, shown);
        }
        latest = local > latest ? local : latest;
        if (minute < from || (!due && next_ms != minute * 60000)) {
            if (minute >= from && minute * 60 - span.from_s < AROUND_CHANGE_S) {
                int64_t again_ms;
                assert_true(cron_next(&cron, zone, minute * 60000, &again_ms));
                assert_int_equal(again_ms, next_ms); /* wherever one asks from */
            }
            continue;
        }
        if (!due || next_ms != minute * 60000) {
            fail_msg("'%s' in %s: next after %lld is %lld, the scan %s at %lld", s->text, place,
                     (long long)after_ms, (long long)next_ms, due ? "is due" : "is not due",
                     (long long)minute * 60000);
        }
        after_ms = next_ms;
        assert_true(cron_next(&cron, zone, after_ms, &next_ms));
    }
}

static void next_is_what_a_scan_of_every_minute_finds(void **state)
{
    (void)state;
    static const char *const places[] = {
        "Europe/Berlin",  "America/New_York", "Australia/Lord_Howe", "Pacific/Apia",
        "America/Havana", "Antarctica/Troll", "Africa/Casablanca",   "Asia/Kathmandu",
    };
    enum { SPECS = 12 };
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct time_zone *zone = zone_of_system(places[i]);
        for (int n = 0; n < SPECS; n++) {
            struct random_spec spec;
            random_spec(&rng, &spec);
            /* Two years that the file lists, two that only its rule knows. */
            int64_t year = n % 2 == 0 ? 2010 + (int64_t)below(&rng, 4) : 2045;
            compare_with_scan(&spec, places[i], zone, civil_days(year, 11, 1) * 1440,
                              civil_days(year + 2, 1, 10) * 1440);
        }
        free(zone);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_mean_what_crontab_says),
        cmocka_unit_test(what_is_due_now_is_not_next),
        cmocka_unit_test(a_time_that_clocks_leave_out_is_due_at_the_change),
        cmocka_unit_test(a_time_that_clocks_show_twice_is_due_once),
        cmocka_unit_test(every_hour_goes_by_the_time_that_has_passed),
        cmocka_unit_test(errors_name_the_field_and_what_is_wrong),
        cmocka_unit_test(next_is_what_a_scan_of_every_minute_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

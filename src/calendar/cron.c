#include "calendar/cron.h"

#include "base/assert.h"
#include "calendar/civil.h"

/* "Local" below: what clocks show, as seconds since 1970-01-01 00:00 on them. */

enum {
    MINUTE_S = 60,
    HOURS_PER_DAY = 24,
    MINUTES_PER_HOUR = 60,
    /* No two offsets of clocks are further apart. */
    OFFSETS_APART_S = 2 * SECONDS_PER_DAY + 4 * 3600,
    YEARS_MAX = 9999,
    ALL_HOURS = (1 << 24) - 1,
};
#define NEVER INT64_MAX

/* ---- local times that match -------------------------------------------------------------------
 */

static bool is_in(uint64_t set, int64_t value)
{
    return (set >> value & 1) != 0;
}

/* The lowest member that is not below from; -1 if there is none. */
static int64_t next_in(uint64_t set, int64_t from)
{
    uint64_t rest = from < 64 ? set >> from << from : 0;
    return rest != 0 ? (int64_t)__builtin_ctzll(rest) : -1;
}

/* The first time of day, in minutes, that is not before from; -1 if there is none. */
static int64_t next_time_of_day(const struct cron *c, int64_t from)
{
    int64_t hour = next_in(c->hours, from / MINUTES_PER_HOUR);
    if (hour == from / MINUTES_PER_HOUR) {
        int64_t minute = next_in(c->minutes, from % MINUTES_PER_HOUR);
        if (minute >= 0) {
            return hour * MINUTES_PER_HOUR + minute;
        }
        hour = next_in(c->hours, hour + 1);
    }
    return hour >= 0 ? hour * MINUTES_PER_HOUR + next_in(c->minutes, 0) : -1;
}

static bool day_matches(const struct cron *c, int64_t days, unsigned day)
{
    bool by_date = is_in(c->days, day);
    bool by_weekday = is_in(c->weekdays, civil_weekday(days));
    return c->either_day ? by_date || by_weekday : by_date && by_weekday;
}

/* The first day, from this one on, that matches; NEVER: none before the year 10000. */
static int64_t next_day(const struct cron *c, int64_t days)
{
    struct civil_date date = civil_date_of(days);
    while (date.year <= YEARS_MAX) {
        unsigned last = civil_month_days(date.year, date.month);
        for (; is_in(c->months, date.month) && date.day <= last; date.day++, days++) {
            if (day_matches(c, days, date.day)) {
                return days;
            }
        }
        date.day = 1;
        date.year += date.month == 12;
        date.month = date.month % 12 + 1;
        days = civil_days(date.year, date.month, 1);
    }
    return NEVER;
}

/* The first local time, from this one on, that matches. */
static int64_t next_local(const struct cron *c, int64_t from_s)
{
    int64_t minutes = -civil_floor_div(-from_s, MINUTE_S);
    int64_t days = civil_floor_div(minutes, MINUTES_PER_HOUR * HOURS_PER_DAY);
    int64_t time = minutes - days * MINUTES_PER_HOUR * HOURS_PER_DAY;
    int64_t day = next_day(c, days);
    if (day == days) {
        int64_t found = next_time_of_day(c, time);
        if (found >= 0) {
            return day * SECONDS_PER_DAY + found * MINUTE_S;
        }
        day = next_day(c, days + 1);
    }
    return day == NEVER ? NEVER : day * SECONDS_PER_DAY + next_time_of_day(c, 0) * MINUTE_S;
}

/* ---- and when clocks show them ------------------------------------------------------------------
 */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The latest time that clocks have shown up to and including this moment. */
static int64_t latest_shown(const struct time_zone *zone, int64_t at_s)
{
    struct time_zone_span span = time_zone_span(zone, at_s);
    int64_t latest = at_s + span.offset_s;
    while (span.from_s != INT64_MIN && span.from_s > at_s - OFFSETS_APART_S) {
        int64_t change_s = span.from_s;
        span = time_zone_span(zone, change_s - 1);
        latest = later(latest, change_s - 1 + span.offset_s);
    }
    return latest;
}

/* The first moment after after_s at which clocks show local_s or more. */
static int64_t first_shown(const struct time_zone *zone, int64_t after_s, int64_t local_s)
{
    int64_t at_s = later(after_s + 1, local_s - OFFSETS_APART_S);
    for (;;) {
        struct time_zone_span span = time_zone_span(zone, at_s);
        int64_t moment = later(local_s - span.offset_s, at_s);
        if (moment < span.to_s) {
            return moment;
        }
        at_s = span.to_s;
    }
}

/* Once for each time named. */
static int64_t next_named(const struct cron *c, const struct time_zone *zone, int64_t after_s)
{
    int64_t local_s = next_local(c, latest_shown(zone, after_s) + 1);
    return local_s == NEVER ? NEVER : first_shown(zone, after_s, local_s);
}

/* Whenever clocks show a time that matches. */
static int64_t next_shown(const struct cron *c, const struct time_zone *zone, int64_t after_s)
{
    int64_t at_s = after_s + 1;
    for (;;) {
        struct time_zone_span span = time_zone_span(zone, at_s);
        int64_t local_s = next_local(c, at_s + span.offset_s);
        if (local_s == NEVER || local_s - span.offset_s < span.to_s) {
            return local_s == NEVER ? NEVER : local_s - span.offset_s;
        }
        at_s = later(span.to_s, local_s - OFFSETS_APART_S);
    }
}

bool cron_next(const struct cron *cron, const struct time_zone *zone, int64_t after_ms,
               int64_t *next_ms)
{
    ASSERT(after_ms >= CRON_TIME_MIN_MS);
    ASSERT(after_ms <= CRON_TIME_MAX_MS);
    int64_t after_s = civil_floor_div(after_ms, 1000);
    int64_t next_s = cron->hours == ALL_HOURS ? next_shown(cron, zone, after_s)
                                              : next_named(cron, zone, after_s);
    if (next_s == NEVER) {
        return false;
    }
    *next_ms = next_s * 1000;
    return true;
}

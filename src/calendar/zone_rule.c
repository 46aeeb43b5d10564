#include "calendar/zone_rule.h"

#include "calendar/civil.h"
#include "calendar/time_zone.h"

enum { HOUR_S = 3600, NAME_MIN = 3, HOURS_OFFSET_MAX = 24, HOURS_TIME_MAX = 167 };

/* ---- reading -----------------------------------------------------------------------------------
 */

struct text {
    const uint8_t *at, *end;
};

static bool take(struct text *t, char c)
{
    bool there = t->at < t->end && *t->at == (uint8_t)c;
    t->at += there;
    return there;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool take_number(struct text *t, unsigned max, unsigned *out)
{
    unsigned value = 0;
    const uint8_t *begin = t->at;
    for (; t->at < t->end && is_digit(*t->at); t->at++) {
        value = value * 10 + (*t->at - (unsigned)'0');
        if (value > max) {
            return false;
        }
    }
    *out = value;
    return t->at > begin;
}

/* "CET", or "<+03>". */
static bool take_name(struct text *t)
{
    bool quoted = take(t, '<');
    const uint8_t *begin = t->at;
    for (; t->at < t->end; t->at++) {
        uint8_t c = *t->at;
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(quoted && (is_digit(c) || c == '+' || c == '-'))) {
            break;
        }
    }
    return t->at - begin >= NAME_MIN && (!quoted || take(t, '>'));
}

/* "[+-]h[h[h]][:mm[:ss]]" */
static bool take_time(struct text *t, unsigned hours_max, int32_t *out_s)
{
    bool negative = take(t, '-');
    if (!negative) {
        take(t, '+');
    }
    unsigned hours, minutes = 0, seconds = 0;
    if (!take_number(t, hours_max, &hours)) {
        return false;
    }
    if (take(t, ':')) {
        if (!take_number(t, 59, &minutes)) {
            return false;
        }
        if (take(t, ':') && !take_number(t, 59, &seconds)) {
            return false;
        }
    }
    int32_t value = (int32_t)(hours * HOUR_S + minutes * 60 + seconds);
    *out_s = negative ? -value : value;
    return true;
}

static bool take_in(struct text *t, unsigned min, unsigned max, unsigned *out)
{
    return take_number(t, max, out) && *out >= min;
}

/* ",M3.5.0/3" */
static bool take_yearly(struct text *t, struct zone_yearly *out)
{
    *out = (struct zone_yearly){.kind = ZONE_DAY_YEAR, .time_s = 2 * HOUR_S};
    bool ok = take(t, ',');
    if (take(t, 'M')) {
        out->kind = ZONE_DAY_MONTH;
        ok = ok && take_in(t, 1, 12, &out->month) && take(t, '.') && take_in(t, 1, 5, &out->week) &&
             take(t, '.') && take_in(t, 0, 6, &out->weekday);
    } else if (take(t, 'J')) {
        out->kind = ZONE_DAY_JULIAN;
        ok = ok && take_in(t, 1, 365, &out->day);
    } else {
        ok = ok && take_in(t, 0, 365, &out->day);
    }
    return ok && (!take(t, '/') || take_time(t, HOURS_TIME_MAX, &out->time_s));
}

bool zone_rule_parse(struct bytes text, struct zone_rule *out)
{
    struct text t = {.at = text.data, .end = text.data + text.size};
    *out = (struct zone_rule){0};
    /* POSIX counts offsets westwards. */
    if (!take_name(&t) || !take_time(&t, HOURS_OFFSET_MAX, &out->standard_s)) {
        return false;
    }
    out->standard_s = -out->standard_s;
    if (t.at == t.end) {
        return true;
    }
    out->has_summer = true;
    if (!take_name(&t)) {
        return false;
    }
    out->summer_s = out->standard_s + HOUR_S;
    if (t.at < t.end && *t.at != ',') {
        if (!take_time(&t, HOURS_OFFSET_MAX, &out->summer_s)) {
            return false;
        }
        out->summer_s = -out->summer_s;
    }
    return take_yearly(&t, &out->begin) && take_yearly(&t, &out->end) && t.at == t.end;
}

/* ---- the changes of a year
 * ----------------------------------------------------------------------- */

static int64_t day_of(const struct zone_yearly *y, int64_t year)
{
    int64_t first = civil_days(year, 1, 1);
    if (y->kind == ZONE_DAY_YEAR) {
        return first + y->day;
    }
    if (y->kind == ZONE_DAY_JULIAN) {
        return first + y->day - 1 + (civil_is_leap(year) && y->day >= 60);
    }
    int64_t month = civil_days(year, y->month, 1);
    int64_t day = month + (y->weekday + 7 - civil_weekday(month)) % 7 + (y->week - 1) * 7;
    return day < month + civil_month_days(year, y->month) ? day : day - 7;
}

/* Clocks show offset_s before it. */
static int64_t moment_of(const struct zone_yearly *y, int64_t year, int32_t offset_s)
{
    return day_of(y, year) * SECONDS_PER_DAY + y->time_s - offset_s;
}

struct change {
    int64_t at_s;
    int32_t offset_s; /* from then on */
};

/* Ascending; of two at one moment, the one of the later year counts, and is last. */
static void insert(struct change *all, unsigned *count, struct change change)
{
    unsigned at = (*count)++;
    for (; at > 0 && all[at - 1].at_s > change.at_s; at--) {
        all[at] = all[at - 1];
    }
    all[at] = change;
}

struct time_zone_span zone_rule_span(const struct zone_rule *rule, int64_t at_s)
{
    struct time_zone_span span = {INT64_MIN, INT64_MAX, rule->standard_s};
    if (!rule->has_summer) {
        return span;
    }
    struct change changes[6];
    unsigned count = 0;
    int64_t year = civil_date_of(civil_floor_div(at_s, SECONDS_PER_DAY)).year;
    /* A change may fall into the neighbouring year by its time of day and offset. */
    for (int64_t y = year - 1; y <= year + 1; y++) {
        insert(changes, &count,
               (struct change){moment_of(&rule->begin, y, rule->standard_s), rule->summer_s});
        insert(changes, &count,
               (struct change){moment_of(&rule->end, y, rule->summer_s), rule->standard_s});
    }
    for (unsigned i = 0; i < count; i++) {
        if (changes[i].at_s > at_s) {
            span.to_s = changes[i].at_s;
            break;
        }
        span.from_s = changes[i].at_s;
        span.offset_s = changes[i].offset_s;
    }
    return span;
}

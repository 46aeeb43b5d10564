#include "calendar/civil.h"

/* The calendar repeats after 400 years. Years are counted from 1 March here, so that the day of a
 * leap year comes last in them. */
enum {
    ERA_YEARS = 400,
    ERA_DAYS = 146097,
    DAYS_0000_03_01 = -719468, /* since 1970-01-01 */
};

bool civil_is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

unsigned civil_month_days(int64_t year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && civil_is_leap(year) ? 1u : 0u);
}

/* Days from 1 March to the first of a month; 0 is March. Five months have 153 days, again and
 * again. */
static int64_t days_before_month(int64_t month)
{
    return (153 * month + 2) / 5;
}

int64_t civil_days(int64_t year, unsigned month, int64_t day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t era = civil_floor_div(y, ERA_YEARS);
    int64_t in_era = y - era * ERA_YEARS;
    int64_t m = month > 2 ? (int64_t)month - 3 : (int64_t)month + 9;
    return DAYS_0000_03_01 + era * ERA_DAYS + in_era * 365 + in_era / 4 - in_era / 100 +
           days_before_month(m) + day - 1;
}

struct civil_date civil_date_of(int64_t days)
{
    int64_t since = days - DAYS_0000_03_01;
    int64_t era = civil_floor_div(since, ERA_DAYS);
    int64_t d = since - era * ERA_DAYS;
    /* Take the days of leap years out (one in 1460, not in 36524, the last of the era). */
    int64_t y = (d - d / 1460 + d / 36524 - d / (ERA_DAYS - 1)) / 365;
    int64_t in_year = d - (y * 365 + y / 4 - y / 100);
    int64_t m = (5 * in_year + 2) / 153;
    unsigned month = (unsigned)(m < 10 ? m + 3 : m - 9);
    return (struct civil_date){
        .year = era * ERA_YEARS + y + (month <= 2),
        .month = month,
        .day = (unsigned)(in_year - days_before_month(m)) + 1,
    };
}

unsigned civil_weekday(int64_t days)
{
    int64_t since_sunday = days + 4; /* 1970-01-01 was a Thursday */
    return (unsigned)(since_sunday - civil_floor_div(since_sunday, 7) * 7);
}

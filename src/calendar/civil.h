/* Dates of the (proleptic) Gregorian calendar and days since 1970-01-01. Pure arithmetic. */
#ifndef MK_CALENDAR_CIVIL_H
#define MK_CALENDAR_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

enum { SECONDS_PER_DAY = 86400 };

struct civil_date {
    int64_t year;
    unsigned month; /* 1..12 */
    unsigned day;   /* 1..31 */
};

/* Days since 1970-01-01. day may be any number: 0 is the last of the month before. */
int64_t civil_days(int64_t year, unsigned month, int64_t day);
struct civil_date civil_date_of(int64_t days);
/* 0 is Sunday. */
unsigned civil_weekday(int64_t days);
bool civil_is_leap(int64_t year);
unsigned civil_month_days(int64_t year, unsigned month);

/* Rounds towards the past, also for times before 1970. */
static inline int64_t civil_floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

#endif

/* Cron expressions: when is it due next?
 *
 *     minute (0-59)  hour (0-23)  day of month (1-31)  month (1-12, jan-dec)
 *     day of week (0-7, sun-sat; 0 and 7 are Sunday)
 *
 * Each field is a list of *, values, ranges and either of the two with a step: "*", "1,15",
 * "mon-fri", "8-18/2". Instead of the five: @hourly, @daily (@midnight), @weekly, @monthly, @yearly
 * (@annually).
 *
 * Days, as crontab(5) has it: where neither day field begins with *, either of them is enough;
 * otherwise both must hold.
 *
 * When clocks are changed:
 *   - An expression for every hour of the day goes by the time that has passed: what clocks leave
 *     out does not happen, what they show twice happens twice.
 *   - Any other is due once for each time that it names, as soon as a clock shows that time or a
 *     later one: what clocks leave out is due at the change (once, if it is several times), what
 *     they show twice is due the first time. */
#ifndef MK_CALENDAR_CRON_H
#define MK_CALENDAR_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "calendar/time_zone.h"

/* Sets of bits. */
struct cron {
    uint64_t minutes;
    uint32_t hours;
    uint32_t days;     /* bit 1 is the first */
    uint32_t months;   /* bit 1 is January */
    uint32_t weekdays; /* bit 0 is Sunday */
    bool either_day;   /* days or weekdays; else both */
};

/* Errors: INVALID; why names the field, what is wrong with it, and what would be right. An
 * expression that is never due ("0 0 30 2 *") is one of them. */
enum err cron_parse(const char *text, struct cron *out, struct why *why);

/* The years that a time may be in: 0 to 9999. */
#define CRON_TIME_MIN_MS INT64_C(-62167219200000)
#define CRON_TIME_MAX_MS INT64_C(253402300799999)

/* The first time after after_ms (both since 1970) that it is due. False if that is after year
 * 9999. */
bool cron_next(const struct cron *cron, const struct time_zone *zone, int64_t after_ms,
               int64_t *next_ms);

#endif

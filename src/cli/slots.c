#include "cli/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "calendar/civil.h"
#include "net/system_zones.h"

enum { MS_PER_S = 1000, S_PER_MINUTE = 60, S_PER_HOUR = 3600 };

static enum err read_zone(const char *name, struct time_zone **out, struct why *why)
{
    if (strcmp(name, "UTC") == 0) {
        *out = NEW(struct time_zone);
        time_zone_utc(*out);
        return ERR_OK;
    }
    const struct zones_port *port = system_zones();
    void *file = alloc_bytes(TIME_ZONE_FILE_MAX);
    size_t size = 0;
    enum err e = port->read(port->ctx, name, file, TIME_ZONE_FILE_MAX, &size, why);
    if (e == ERR_OK) {
        struct bytes bytes = bytes_of(file, size);
        *out = alloc_zeroed(1, time_zone_size(bytes));
        e = time_zone_read(name, bytes, *out, why);
    }
    free(file);
    return e;
}

enum err slots_open(const char *spec, const char *tz, struct slots *out, struct why *why)
{
    *out = (struct slots){0};
    enum err e = cron_parse(spec, &out->cron, why);
    e = e != ERR_OK ? e : read_zone(tz, &out->zone, why);
    if (e != ERR_OK) {
        slots_close(out);
    }
    return e;
}

void slots_close(struct slots *s)
{
    free(s->zone);
    s->zone = NULL;
}

bool slots_next(const struct slots *s, int64_t after_ms, int64_t *next_ms)
{
    return cron_next(&s->cron, s->zone, after_ms, next_ms);
}

static int64_t offset_at(const struct slots *s, int64_t at_s)
{
    return time_zone_span(s->zone, at_s).offset_s;
}

int64_t slots_clock_change(const struct slots *s, int64_t from_ms, int64_t to_ms)
{
    return offset_at(s, civil_floor_div(to_ms, MS_PER_S)) -
           offset_at(s, civil_floor_div(from_ms, MS_PER_S));
}

const char *slots_text(const struct slots *s, int64_t at_ms, char out[SLOT_TEXT_MAX])
{
    int64_t at_s = civil_floor_div(at_ms, MS_PER_S), offset_s = offset_at(s, at_s);
    int64_t local_s = at_s + offset_s, days = civil_floor_div(local_s, SECONDS_PER_DAY);
    struct civil_date date = civil_date_of(days);
    unsigned of_day = (unsigned)(local_s - days * SECONDS_PER_DAY) % SECONDS_PER_DAY;
    unsigned ahead = (unsigned)(offset_s < 0 ? -offset_s : offset_s) % SECONDS_PER_DAY;
    char seconds[8] = ""; /* slots have none, runs besides may */
    if (of_day % S_PER_MINUTE != 0) {
        snprintf(seconds, sizeof seconds, ":%02u", of_day % S_PER_MINUTE);
    }
    snprintf(out, SLOT_TEXT_MAX, "%04u-%02u-%02u %02u:%02u%s %c%02u:%02u",
             (unsigned)date.year % 10000, date.month % 100, date.day % 100, of_day / S_PER_HOUR,
             of_day / S_PER_MINUTE % 60, seconds, offset_s < 0 ? '-' : '+', ahead / S_PER_HOUR,
             ahead / S_PER_MINUTE % 60);
    return out;
}

/* The first moment at which clocks show this or, where they leave it out, later times. */
static int64_t moment_of(const struct slots *s, int64_t local_s)
{
    struct time_zone_span span = time_zone_span(s->zone, local_s - SECONDS_PER_DAY);
    while (span.to_s <= local_s - span.offset_s) {
        span = time_zone_span(s->zone, span.to_s);
    }
    int64_t at_s = local_s - span.offset_s;
    return at_s > span.from_s ? at_s : span.from_s;
}

enum err slots_parse_time(const struct slots *s, const char *text, int64_t *out_ms, struct why *why)
{
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, end = 0;
    char rest[40] = "";
    bool good = strlen(text) < sizeof rest &&
                sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &end) == 3 && end >= 8;
    if (good) {
        snprintf(rest, sizeof rest, "%s", text + end);
        size_t size = strlen(rest);
        bool utc = size > 0 && rest[size - 1] == 'Z';
        rest[size - utc] = 0;
        end = 0;
        good = rest[0] == 0 ||
               ((rest[0] == ' ' || rest[0] == 'T') &&
                sscanf(rest + 1, "%2d:%2d%n", &hour, &minute, &end) == 2 && rest[1 + end] == 0);
        good = good && month >= 1 && month <= 12 && day >= 1 && hour >= 0 && hour <= 23 &&
               minute >= 0 && minute <= 59 && year >= 1970 &&
               day <= (int)civil_month_days(year, (unsigned)month);
        int64_t days = good ? civil_days(year, (unsigned)month, day) : 0;
        int64_t local_s = days * SECONDS_PER_DAY + hour * S_PER_HOUR + minute * S_PER_MINUTE;
        *out_ms = (utc ? local_s : moment_of(s, local_s)) * MS_PER_S;
    }
    return good ? ERR_OK
                : err_why(why, ERR_INVALID,
                          "\"%s\" is no time; it must be like 2026-03-29, \"2026-03-29 02:30\" or "
                          "2026-03-29T00:30Z",
                          text);
}

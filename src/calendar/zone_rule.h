/* The rule at the end of a TZif file, by which clocks are changed every year from then on: the TZ
 * environment variable of POSIX ("CET-1CEST,M3.5.0,M10.5.0/3") with the extensions of RFC 8536,
 * §3.3.1 (hours from -167 to 167). */
#ifndef MK_CALENDAR_ZONE_RULE_H
#define MK_CALENDAR_ZONE_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum zone_day_kind {
    ZONE_DAY_MONTH, /* "Mm.w.d": weekday d of week w (5: the last) of month m */
    ZONE_DAY_JULIAN /* "Jn": day n of the year, 1..365, 29 February never counted */,
    ZONE_DAY_YEAR, /* "n": day of the year, 0..365 */
};

/* A change of clocks, each year. */
struct zone_yearly {
    enum zone_day_kind kind;
    unsigned month, week, weekday;
    unsigned day;
    int32_t time_s; /* after midnight of that day, by the clocks before the change */
};

/* Offsets are to be added to UTC. */
struct zone_rule {
    int32_t standard_s;
    bool has_summer;
    int32_t summer_s;
    struct zone_yearly begin, end; /* of summer time */
};

/* False if the text is no such rule. */
bool zone_rule_parse(struct bytes text, struct zone_rule *out);

struct time_zone_span;
/* The span that this moment is in, if the rule always held. Years up to 10^9. */
struct time_zone_span zone_rule_span(const struct zone_rule *rule, int64_t at_s);

#endif

/* A time zone: what clocks on the wall show, and when they are changed. Read from a file of the tz
 * database ("TZif", RFC 8536, versions 1 to 4), which is data that the caller brings: nothing here
 * looks at a system's zones.
 *
 * A time zone is one block of memory without pointers: whoever owns it may move and copy it. */
#ifndef MK_CALENDAR_TIME_ZONE_H
#define MK_CALENDAR_TIME_ZONE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "calendar/zone_rule.h"

/* No file of the tz database comes near. */
enum { TIME_ZONE_FILE_MAX = 65536 };

struct time_zone_change {
    int64_t at_s; /* since 1970 */
    int32_t offset_s;
};

struct time_zone {
    int32_t first_offset_s; /* before the first change */
    bool has_rule;          /* for what comes after the last change */
    struct zone_rule rule;
    uint32_t changes_count;
    struct time_zone_change changes[]; /* ascending */
};

/* Bytes of memory that time_zone_read() needs for this file; sizeof(struct time_zone) where it is
 * none. */
size_t time_zone_size(struct bytes file);
/* Read file into memory of time_zone_size() bytes. name is for messages.
 * Errors: INVALID (not such a file, or one that counts leap seconds); why says what is wrong. */
enum err time_zone_read(const char *name, struct bytes file, struct time_zone *out,
                        struct why *why);
/* UTC, into memory of sizeof(struct time_zone) bytes. */
void time_zone_utc(struct time_zone *out);

/* A stretch of time [from_s, to_s) in which clocks are not changed. Its neighbours may have the
 * same offset. */
struct time_zone_span {
    int64_t from_s; /* INT64_MIN: ever since */
    int64_t to_s;   /* INT64_MAX: for ever */
    int32_t offset_s;
};
/* The span that this moment is in. */
struct time_zone_span time_zone_span(const struct time_zone *zone, int64_t at_s);

#endif

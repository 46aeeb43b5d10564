/* The times at which a cron expression is due, for people: as clocks in its time zone show them. */
#ifndef MK_CLI_SLOTS_H
#define MK_CLI_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "calendar/cron.h"

enum { SLOT_TEXT_MAX = 40 };

struct slots {
    struct cron cron;
    struct time_zone *zone; /* owned */
};

/* tz as in mk.cron.parse(). Errors: INVALID, NOT_FOUND, IO; why says which part is wrong. */
enum err slots_open(const char *spec, const char *tz, struct slots *out, struct why *why);
/* Accepts a zeroed object. */
void slots_close(struct slots *s);

/* False if it is not due any more. */
bool slots_next(const struct slots *s, int64_t after_ms, int64_t *next_ms);
/* By how much clocks are set (s, ahead) between two moments. */
int64_t slots_clock_change(const struct slots *s, int64_t from_ms, int64_t to_ms);

/* "2026-03-29 03:00 +02:00", with seconds if there are any. Returns out. */
const char *slots_text(const struct slots *s, int64_t at_ms, char out[SLOT_TEXT_MAX]);
/* "2026-03-29", "2026-03-29 02:30" or with T: as clocks of the zone show it (the first time, if
 * they do so twice); with Z at its end: UTC. Errors: INVALID. */
enum err slots_parse_time(const struct slots *s, const char *text, int64_t *out_ms,
                          struct why *why);

#endif

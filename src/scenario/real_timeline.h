/* What happened last to a cluster of real processes: what their logs say and what was done to them,
 * in order of time. The logs come through pipes, a little later than they were written; each line
 * is put where its own time stamp has it. */
#ifndef MK_SCENARIO_REAL_TIMELINE_H
#define MK_SCENARIO_REAL_TIMELINE_H

#include <stdint.h>

#include "base/bytes.h"

struct real_timeline;

/* Its time 0 is wall_ms by the wall clock, which the time stamps of logs are of. */
struct real_timeline *real_timeline_new(int64_t wall_ms);
/* Accepts NULL. */
void real_timeline_free(struct real_timeline *t);
void real_timeline_set_live(struct real_timeline *t, void (*live)(void *ctx, const char *line),
                            void *ctx);

/* Something that was done. node 0: to all of them. */
void real_timeline_note(struct real_timeline *t, uint64_t time_us, uint32_t node,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A line that a node wrote: logfmt, or anything else. It was read at time_us. */
void real_timeline_log(struct real_timeline *t, uint64_t time_us, uint32_t node, const char *line);

/* Append the last lines_max lines: "   1.234567  n2  info  ready peer=...". */
void real_timeline_print(const struct real_timeline *t, uint32_t lines_max, struct buffer *out);

#endif

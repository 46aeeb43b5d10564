/* What happened last, for people: shown when a run went wrong, or line by line while it goes.
 *
 * Recording is cheap (a few structs are copied into a ring); the text is made only when asked for.
 */
#ifndef MK_SIM_TIMELINE_H
#define MK_SIM_TIMELINE_H

#include <stdint.h>

#include "base/bytes.h"
#include "raft/raft.h"

struct timeline;

/* live: called with each line as it happens; NULL: none. */
struct timeline *timeline_new(void (*live)(void *ctx, const char *line), void *ctx);
/* Accepts NULL. */
void timeline_free(struct timeline *t);

enum { TIMELINE_WORLD = UINT32_MAX }; /* instead of a host: it concerns all */

struct timeline_at {
    uint64_t time_us;
    uint32_t host;
};

/* A step of a core, and how the core stands after it. */
void timeline_step(struct timeline *t, struct timeline_at at, const struct raft_event *event,
                   const struct raft_effects *effects, const struct raft *core);
/* Anything else: a fault, a start, an end. Cut at TIMELINE_NOTE_MAX bytes. */
enum { TIMELINE_NOTE_MAX = 400 };
void timeline_note(struct timeline *t, struct timeline_at at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As in timeline_new(), from now on. */
void timeline_set_live(struct timeline *t, void (*live)(void *ctx, const char *line), void *ctx);

/* Append the last lines_max lines, oldest first. Heartbeats that changed nothing are not among
 * them: between the lines it says how many there were. */
void timeline_print(const struct timeline *t, uint32_t lines_max, struct buffer *out);

#endif

/* What the nodes of a simulation told their hooks (leader_elected, term_change, ...), in order:
 * recorded whether or not a script was there to hear it. Each is mixed into the trace hash.
 *
 * A window: beyond EVENTS_KEPT_MAX the oldest are forgotten. An event keeps its number. */
#ifndef MK_SIM_EVENTS_H
#define MK_SIM_EVENTS_H

#include <stdint.h>

#include "base/bytes.h"
#include "raft/raft.h"
#include "sim/world.h"

struct events;

enum { EVENTS_KEPT_MAX = 1 << 16, EVENT_NAME_MAX = 32 };

struct sim_event {
    uint64_t time_us; /* true time */
    uint32_t host;
    raft_term term;
    char name[EVENT_NAME_MAX];
    struct slice fields; /* MessagePack map */
};

struct events *events_new(struct world *w);
/* Accepts NULL. */
void events_free(struct events *e);

void events_record(struct events *e, uint32_t host, const char *name, raft_term term,
                   struct bytes fields);

/* Their numbers are [events_begin(), events_end()). */
uint64_t events_begin(const struct events *e);
uint64_t events_end(const struct events *e);
/* Borrowed until the next events_record(). */
const struct sim_event *events_at(const struct events *e, uint64_t number);

/* "leader_elected term 3 addr 10.0.0.2:7118 is_self false leader_id n2", without a newline. */
void events_describe(const struct sim_event *event, struct buffer *out);

#endif

/* What becomes of the frames of one directed link between real processes: the rules of c:drop() and
 * c:delay() and the link's own latency, loss, duplication and reordering. Decisions only; proxy.h
 * carries them out. */
#ifndef MK_SCENARIO_LINK_RULES_H
#define MK_SCENARIO_LINK_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "scenario/target.h"

enum { LINK_RULES_MAX = 8, LINK_COPIES_MAX = 2 };

/* The link as it was set up. Probabilities are per frame. */
struct link_quality {
    uint64_t latency_min_us, latency_max_us;
    double loss, duplicate, reorder;
    uint64_t reorder_min_us, reorder_max_us; /* how much later a reordered frame comes */
};

struct link_rules {
    struct link_quality quality;
    struct rng rng;
    struct target_drop drops[LINK_RULES_MAX]; /* at most one for each type of message */
    uint32_t drops_count;
    struct target_delay delays[LINK_RULES_MAX];
    uint32_t delays_count;
};

void link_rules_init(struct link_rules *r, const struct link_quality *quality, uint64_t seed);
/* A later rule takes its types from the earlier ones; with probability 0 it only ends those. */
void link_rules_drop(struct link_rules *r, const struct target_drop *rule);
void link_rules_delay(struct link_rules *r, const struct target_delay *rule);
/* No rules: the link as it was set up. */
void link_rules_heal(struct link_rules *r);

/* How a frame travels. Frames of one stream keep their order among themselves. */
struct link_travel {
    uint64_t delay_us;
    int stream; /* LINK_UNORDERED: it overtakes and is overtaken */
};
enum { LINK_UNORDERED = -1, LINK_STREAMS = LINK_RULES_MAX + 1 };

/* The fate of a frame with a message of this type: how many copies of it arrive (0: it is lost),
 * and how. */
uint32_t link_rules_decide(struct link_rules *r, enum target_message type,
                           struct link_travel out[LINK_COPIES_MAX]);
/* Of what is no message: pings, certificates, greetings. They are only as late as the link is. */
struct link_travel link_rules_plain(struct link_rules *r);

/* What a frame between nodes carries. */
enum target_message link_message_of(struct bytes frame);

#endif

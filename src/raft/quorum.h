/* What a majority has reached. Add one value per voter; the answer is the largest value that more
 * than half of them are at or beyond: the median for odd counts, the lower one for even counts. */
#ifndef MK_RAFT_QUORUM_H
#define MK_RAFT_QUORUM_H

#include <stdint.h>

#include "raft/raft.h"

struct quorum {
    uint32_t count;
    uint64_t descending[RAFT_MEMBERS_MAX];
};

void quorum_init(struct quorum *q);
void quorum_add(struct quorum *q, uint64_t value);
/* 0 when there are no voters: nothing is ever reached. */
uint64_t quorum_reached(const struct quorum *q);

#endif

#include "raft/quorum.h"

#include "base/assert.h"

void quorum_init(struct quorum *q)
{
    q->count = 0;
}

void quorum_add(struct quorum *q, uint64_t value)
{
    ASSERT(q->count < RAFT_MEMBERS_MAX);
    uint32_t i = q->count++;
    while (i > 0 && q->descending[i - 1] < value) {
        q->descending[i] = q->descending[i - 1];
        i--;
    }
    q->descending[i] = value;
}

uint64_t quorum_reached(const struct quorum *q)
{
    return q->count == 0 ? 0 : q->descending[q->count / 2];
}

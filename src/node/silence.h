/* How long a follower has been without a word from its leader. Private to this folder. */
#ifndef MK_NODE_SILENCE_H
#define MK_NODE_SILENCE_H

#include "raft/raft.h"

struct node;

/* Between two appends (heartbeats are some) of one term's leader. Compared with the shortest
 * election timeout, it says how near this node came to an election that nobody needed. */
struct silence {
    raft_term term;
    uint64_t heard_us;
    uint64_t longest_us;
};

/* Call for each message received, after the core has seen it. */
void silence_heard(struct node *n, const struct raft_message *m);
/* The longest silence of the leader of this term, the present one included; 0 on the leader, and
 * where none was heard yet. */
uint64_t silence_longest_us(const struct node *n);

#endif

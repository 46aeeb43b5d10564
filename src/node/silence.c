#include "node/node_internal.h"

void silence_heard(struct node *n, const struct raft_message *m)
{
    if (m->type != RAFT_MESSAGE_APPEND || m->from != raft_leader(n->raft) ||
        m->term != raft_current_term(n->raft)) {
        return;
    }
    struct silence *s = &n->silence;
    uint64_t now_us = node_now(n);
    if (s->term != m->term) {
        *s = (struct silence){.term = m->term, .heard_us = now_us};
        return;
    }
    uint64_t gap_us = now_us - s->heard_us;
    s->longest_us = gap_us > s->longest_us ? gap_us : s->longest_us;
    s->heard_us = now_us;
}

uint64_t silence_longest_us(const struct node *n)
{
    const struct silence *s = &n->silence;
    if (s->term != raft_current_term(n->raft) || node_is_leader(n)) {
        return 0;
    }
    uint64_t present_us = node_now(n) - s->heard_us;
    return present_us > s->longest_us ? present_us : s->longest_us;
}

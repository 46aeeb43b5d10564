/* What is true of a struct raft between any two steps. */
#include "raft/raft_internal.h"

static void check_log(const struct raft *r)
{
    const struct trail *t = &r->trail;
    ASSERT(t->base.index <= r->commit_index);
    ASSERT(r->commit_index <= t->last);
    ASSERT(t->base.index <= r->durable_index);
    ASSERT(r->durable_index <= t->last);
    ASSERT(t->last - t->base.index < t->capacity);
    raft_term before = t->base.term;
    for (size_t i = 0; i < t->runs_count; i++) {
        ASSERT(t->runs[i].term >= before);
        ASSERT(t->runs[i].first <= t->last);
        ASSERT(i == 0 || t->runs[i].first > t->runs[i - 1].first);
        before = t->runs[i].term;
    }
    ASSERT((t->runs_count == 0) == (t->last == t->base.index));
    ASSERT(trail_last(t).term <= r->term);
}

static void check_durability(const struct raft *r)
{
    ASSERT(r->durable_term <= r->asked_term);
    ASSERT(r->asked_term == r->term);
    ASSERT(r->asked_vote == r->vote);
    const struct writes *w = &r->writes;
    if (w->count == 0) {
        ASSERT(r->durable_term == r->term);
        ASSERT(r->durable_vote == r->vote);
        ASSERT(r->durable_index == r->trail.last);
    }
    raft_index hi = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct write *write = &w->ring[(w->head + i) & (w->capacity - 1)];
        ASSERT(write->hi <= r->trail.last + 1);
        ASSERT(write->hi == 0 || write->hi >= hi);
        ASSERT(write->term >= r->durable_term);
        hi = write->hi == 0 ? hi : write->hi;
    }
    /* What is held back waits for a write. */
    ASSERT(r->out.held_count == 0 || w->count > 0);
}

static void check_leader(const struct raft *r)
{
    ASSERT(r->leader == r->options.self);
    ASSERT(r->vote == r->options.self);
    ASSERT(r->durable_term == r->term);
    ASSERT(r->durable_vote == r->options.self);
    ASSERT(r->lead.noop_index <= r->trail.last);
    ASSERT(trail_term(&r->trail, r->trail.last) == r->term);
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct progress *p = &r->peers[i].progress;
        ASSERT(p->match < p->next);
        ASSERT(p->match <= r->trail.last);
        ASSERT(p->next <= r->trail.last + 1);
        ASSERT(r->peers[i].echoed_sent_us <= r->now_us);
        ASSERT(r->peers[i].echoed_round <= r->lead.round);
    }
}

static void check_role(const struct raft *r)
{
    ASSERT(r->term > 0 || r->vote == 0);
    switch (r->role) {
    case RAFT_LEADER:
        check_leader(r);
        return;
    case RAFT_CANDIDATE:
        ASSERT(r->vote == r->options.self);
        ASSERT(r->leader == 0);
        ASSERT(membership_may_stand(r));
        break;
    case RAFT_PRE_CANDIDATE:
        ASSERT(r->leader == 0);
        ASSERT(membership_may_stand(r));
        break;
    case RAFT_FOLLOWER:
        ASSERT(membership_may_stand(r));
        break;
    case RAFT_LEARNER:
        ASSERT(!membership_may_stand(r));
        break;
    }
    ASSERT(r->leader != r->options.self);
    ASSERT(r->lead.reads_count == 0);
    ASSERT(r->lead.transfer_target == 0);
    ASSERT(r->follower.verified <= r->trail.last);
}

static void check_membership(const struct raft *r)
{
    ASSERT(r->configs_count > 0);
    ASSERT(membership_valid(raft_members_now(r)));
    ASSERT(r->peers_count <= raft_members_now(r)->count);
    for (uint32_t i = 1; i < r->configs_count; i++) {
        ASSERT(r->configs[i].index > r->configs[i - 1].index);
        ASSERT(r->configs[i].index > r->commit_index);
        ASSERT(r->configs[i].index <= r->trail.last);
    }
}

void raft_check(const struct raft *r)
{
    check_log(r);
    check_durability(r);
    check_role(r);
    check_membership(r);
}

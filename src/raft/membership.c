/* Membership: thesis §4, one server at a time. A configuration is in effect from append on, so each
 * one that may still be truncated is kept with the one before it. */
#include "raft/raft_internal.h"

#include "base/alloc.h"

enum { CAPACITY_MIN = 4 };

/* ---- sets of members ------------------------------------------------------------------------ */

static const struct raft_member *find(const struct raft_members *m, raft_id id)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->at[i].id == id) {
            return &m->at[i];
        }
    }
    return NULL;
}

static uint32_t count_voters(const struct raft_members *m)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        voters += m->at[i].voter;
    }
    return voters;
}

bool membership_valid(const struct raft_members *m)
{
    if (m->count > RAFT_MEMBERS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->at[i].id == 0 || find(m, m->at[i].id) != &m->at[i]) {
            return false;
        }
    }
    return true;
}

/* How many members of one set are missing or different in the other. */
static uint32_t count_changes(const struct raft_members *from, const struct raft_members *to)
{
    uint32_t changes = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct raft_member *kept = find(to, from->at[i].id);
        changes += kept == NULL || kept->voter != from->at[i].voter;
    }
    for (uint32_t i = 0; i < to->count; i++) {
        changes += find(from, to->at[i].id) == NULL;
    }
    return changes;
}

uint32_t membership_voters(const struct raft *r)
{
    return count_voters(raft_members_now(r));
}

/* ---- the configuration in effect ------------------------------------------------------------ */

bool membership_may_stand(const struct raft *r)
{
    for (uint32_t i = 0; i < r->configs_count; i++) {
        const struct raft_member *self = find(&r->configs[i].members, r->options.self);
        if (self != NULL && self->voter) {
            return true;
        }
    }
    return false;
}

static void rest(struct raft *r)
{
    if (r->role == RAFT_FOLLOWER || r->role == RAFT_LEARNER) {
        raft_set_role(r, membership_may_stand(r) ? RAFT_FOLLOWER : RAFT_LEARNER);
    }
}

/* Keep what is known of the peers that stay; meet the new ones. */
static void take_effect(struct raft *r)
{
    const struct raft_members *now = raft_members_now(r);
    struct peer peers[RAFT_MEMBERS_MAX];
    uint32_t count = 0;
    r->self_voter = false;
    for (uint32_t i = 0; i < now->count; i++) {
        const struct raft_member *member = &now->at[i];
        if (member->id == r->options.self) {
            r->self_voter = member->voter;
            continue;
        }
        const struct peer *known = raft_peer(r, member->id);
        struct peer *peer = &peers[count++];
        if (known != NULL) {
            *peer = *known;
        } else {
            /* The entry that brings it in is the first that it is sent. */
            *peer = (struct peer){.id = member->id, .heard_us = r->now_us};
            progress_init(&peer->progress, r->trail.last > 0 ? r->trail.last : 1);
        }
        peer->voter = member->voter;
    }
    for (uint32_t i = 0; i < count; i++) {
        r->peers[i] = peers[i];
    }
    r->peers_count = count;
    rest(r);
}

static void push(struct raft *r, raft_index index, const struct raft_members *m)
{
    if (r->configs_count == r->configs_capacity) {
        r->configs_capacity = r->configs_capacity == 0 ? CAPACITY_MIN : r->configs_capacity * 2;
        r->configs = alloc_resize(r->configs, r->configs_capacity, sizeof *r->configs);
    }
    r->configs[r->configs_count++] = (struct config){.index = index, .members = *m};
}

void membership_init(struct raft *r, const struct raft_members *m, raft_index index)
{
    r->configs_count = 0;
    push(r, index, m);
    take_effect(r);
}

void membership_append(struct raft *r, raft_index index, const struct raft_members *m)
{
    ASSERT(index > r->configs[r->configs_count - 1].index);
    push(r, index, m);
    take_effect(r);
}

void membership_truncate(struct raft *r, raft_index from)
{
    uint32_t count = r->configs_count;
    while (count > 1 && r->configs[count - 1].index >= from) {
        count--;
    }
    if (count != r->configs_count) {
        r->configs_count = count;
        take_effect(r);
    }
}

void membership_committed(struct raft *r)
{
    uint32_t superseded = 0;
    while (superseded + 1 < r->configs_count &&
           r->configs[superseded + 1].index <= r->commit_index) {
        superseded++;
    }
    if (superseded == 0) {
        return;
    }
    r->configs_count -= superseded;
    for (uint32_t i = 0; i < r->configs_count; i++) {
        r->configs[i] = r->configs[i + superseded];
    }
    rest(r);
}

/* ---- the leader's rules --------------------------------------------------------------------- */

/* A learner that is promoted far behind would hold up commits. */
static bool promotes_laggard(const struct raft *r, const struct raft_members *to)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct peer *peer = &r->peers[i];
        const struct raft_member *after = find(to, peer->id);
        if (!peer->voter && after != NULL && after->voter &&
            (peer->progress.mode != RAFT_REPLICATE ||
             peer->progress.match + r->options.window_entries < r->trail.last)) {
            return true;
        }
    }
    return false;
}

enum err membership_check(const struct raft *r, const struct raft_members *to)
{
    if (!membership_valid(to) || count_voters(to) == 0 ||
        count_changes(raft_members_now(r), to) != 1) {
        return ERR_INVALID;
    }
    if (r->configs_count > 1) {
        return ERR_CONFLICT; /* the last change is not committed */
    }
    /* Without an own-term commit, a change of the previous leader could still win against this one
     * with a majority that does not overlap. */
    if (r->commit_index < r->lead.noop_index || promotes_laggard(r, to)) {
        return ERR_BUSY;
    }
    return ERR_OK;
}

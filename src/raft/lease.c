/* Promises and leases (thesis §6.4.1, with the promise made explicit; see ARCHITECTURE.md). */
#include <string.h>

#include "raft/raft_internal.h"

enum { CERTIFICATE_SPREAD_US = 5000 };

/* ---- the promise of a follower ------------------------------------------------------------- */

bool lease_promise_blocks(const struct raft *r, raft_id candidate)
{
    return r->promise.leader != 0 && r->promise.leader != candidate &&
           r->now_us < r->promise.until_us;
}

static uint64_t saturating_add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void lease_promise(struct raft *r, raft_id leader, uint64_t lease_us,
                   const struct raft_incarnation *incarnation)
{
    if (lease_us == 0) {
        return;
    }
    struct raft_promise *p = &r->promise;
    uint64_t until_us = saturating_add(r->now_us, lease_us);
    if (p->leader == leader && p->term == r->term && p->until_us > until_us) {
        until_us = p->until_us; /* an earlier append asked for more */
    }
    *p = (struct raft_promise){
        .leader = leader, .term = r->term, .incarnation = *incarnation, .until_us = until_us};
    r->out.promise_changed = true;
}

void lease_void_promise(struct raft *r)
{
    r->promise = (struct raft_promise){0};
    r->out.promise_changed = true;
    outbox_note(r, RAFT_NOTE_PROMISE_VOIDED);
}

/* ---- certificates -------------------------------------------------------------------------- */

static bool known(const struct raft_incarnation *incarnation)
{
    static const struct raft_incarnation unknown;
    return memcmp(incarnation, &unknown, sizeof unknown) != 0;
}

/* The certificate is of the very process that holds this node's promise. */
static bool matches_promise(const struct raft *r, const struct raft_certificate *c)
{
    return c->dead != 0 && r->promise.leader == c->dead && known(&c->incarnation) &&
           memcmp(&r->promise.incarnation, &c->incarnation, sizeof c->incarnation) == 0;
}

/* What it sent before it died may come after its certificate: that renews no promise. */
bool lease_is_dead(const struct raft *r, const struct raft_incarnation *sender)
{
    const struct raft_certificate *c = &r->certificate;
    return c->dead != 0 && memcmp(&c->incarnation, sender, sizeof *sender) == 0;
}

void lease_certificate(struct raft *r, const struct raft_certificate *c)
{
    if (!r->options.fast_failover || !matches_promise(r, c)) {
        return;
    }
    lease_void_promise(r);
    r->certificate = *c;
    if (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != c->dead)) {
        return; /* the dead has a successor already */
    }
    raft_lose_leader(r, RAFT_LOST_CERTIFICATE);
    if (r->role != RAFT_CANDIDATE) {
        election_hurry(r, rng_range(&r->rng, 0, CERTIFICATE_SPREAD_US));
    }
}

/* ---- the lease of a leader ----------------------------------------------------------------- */

/* What a promise is worth to the leader: its clock may run slow, the follower's fast. */
static uint64_t worth_us(const struct raft *r)
{
    uint64_t keep_permille = 1000 - 2 * (uint64_t)r->options.drift_permille;
    return r->options.lease_us * keep_permille / 1000;
}

uint64_t lease_until(const struct raft *r)
{
    struct quorum q;
    quorum_init(&q);
    if (r->self_voter) {
        quorum_add(&q, r->now_us);
    }
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].voter) {
            quorum_add(&q, r->peers[i].echoed_sent_us);
        }
    }
    uint64_t sent_us = quorum_reached(&q);
    return sent_us == 0 ? 0 : sent_us + worth_us(r);
}

bool lease_leader_blocks(const struct raft *r)
{
    return r->role == RAFT_LEADER && !r->lead.lease_given_up && r->now_us < lease_until(r);
}

bool raft_has_lease(const struct raft *r, uint64_t now_us)
{
    return r->role == RAFT_LEADER && r->options.lease && !r->lead.lease_given_up &&
           now_us < lease_until(r);
}

uint64_t raft_lease_until(const struct raft *r)
{
    if (r->role != RAFT_LEADER || !r->options.lease || r->lead.lease_given_up) {
        return 0;
    }
    uint64_t until_us = lease_until(r);
    return r->now_us < until_us ? until_us : 0;
}

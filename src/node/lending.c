/* Leadership that works outside of this node: `moonkeeper lead -- CMD`, or whoever else asks "lead"
 * again and again. A holder is told for how long it may work; nobody else leads before that is
 * over:
 *
 *   - what it is told is within the lease, with a margin, and shortened by what clocks may differ;
 *   - a planned hand-over waits until every holder has said that it is done, or its time is over;
 *   - the guardian reads from its page until when no death may be certified.
 *
 * All of it is this node's own: a restarted node knows no holders, and its lease is another. */
#include "node/node_internal.h"
#include "wire/writer.h"

enum {
    MARGIN_US = 10000,     /* as for the programs of scripts: to kill takes time */
    DRIFT_PARTS = 10,      /* a holder's clock may be slower than ours by one of so many */
    LOAN_US_MAX = 5000000, /* however long the lease is */
};

static uint64_t until_of(const struct node *n)
{
    uint64_t until_us = raft_lease_until(n->raft), now_us = node_now(n);
    uint64_t most_us = now_us + LOAN_US_MAX;
    until_us = until_us < most_us ? until_us : most_us;
    return until_us > now_us + MARGIN_US ? until_us - MARGIN_US : 0;
}

uint64_t lending_until(const struct node *n)
{
    uint64_t until_us = 0;
    for (uint32_t i = 0; i < LENDING_MAX; i++) {
        uint64_t other_us = n->lending.loans[i].until_us;
        until_us = other_us > until_us ? other_us : until_us;
    }
    return until_us;
}

bool lending_under_way(const struct node *n)
{
    return lending_until(n) > node_now(n);
}

/* The holder's own, or a free one; NULL: there is none. */
static struct loan *find(struct node *n, uint64_t holder)
{
    struct loan *free_one = NULL;
    for (uint32_t i = 0; i < LENDING_MAX; i++) {
        struct loan *loan = &n->lending.loans[i];
        if (loan->until_us <= node_now(n)) {
            free_one = loan;
        } else if (loan->holder == holder) {
            return loan;
        }
    }
    return free_one;
}

static void write_answer(struct node *n, uint64_t for_us, struct buffer *result)
{
    write_map(result, 7);
    write_text(result, "leads");
    write_bool(result, for_us > 0);
    write_text(result, "ending");
    write_bool(result, n->transfer.active);
    write_text(result, "node");
    write_text(result, n->name);
    write_text(result, "leader");
    if (n->leader != 0) {
        write_text(result, members_name(n, n->leader));
    } else {
        write_nil(result);
    }
    write_text(result, "term");
    write_u64(result, raft_current_term(n->raft));
    write_text(result, "token");
    write_u64(result, for_us > 0 ? n->news.ready_index : 0);
    write_text(result, "for_us");
    write_u64(result, for_us - for_us / DRIFT_PARTS);
}

static bool may_lend(const struct node *n, const struct loan *loan, uint64_t holder)
{
    bool knows = loan->holder == holder && loan->until_us > node_now(n);
    return node_is_leader(n) && n->news.ready_term == raft_current_term(n->raft) && !n->failed &&
           (knows || !n->transfer.active);
}

enum err lending_ask(struct node *n, uint64_t holder, bool done, struct buffer *result)
{
    struct loan *loan = find(n, holder);
    if (!n->options.raft.lease) {
        return ERR_INVALID;
    }
    if (loan == NULL) {
        return ERR_BUSY;
    }
    uint64_t until_us = !done && may_lend(n, loan, holder) ? until_of(n) : 0;
    uint64_t now_us = node_now(n);
    if (until_us > now_us) {
        *loan = (struct loan){.holder = holder, .until_us = until_us};
    } else if (done && loan->holder == holder) {
        loan->until_us = 0;
    }
    atomic_store(&n->ports.page->lent_until_us, lending_until(n));
    write_answer(n, until_us > now_us ? until_us - now_us : 0, result);
    if (done) {
        transfer_work_ends(n);
    }
    return ERR_OK;
}

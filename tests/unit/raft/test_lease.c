/* Leases: what a majority of promises is worth, and to whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft/raft_internal.h"

enum { START_US = 1000000, LEASE_US = 100000 };

static struct raft *make(uint32_t voters, uint32_t learners, uint32_t drift_permille)
{
    struct raft_options options = {.self = 1,
                                   .election_min_us = 150000,
                                   .election_max_us = 300000,
                                   .heartbeat_us = 50000,
                                   .lease_us = LEASE_US,
                                   .drift_permille = drift_permille,
                                   .window_entries = 8,
                                   .window_bytes = 1000,
                                   .append_entries_max = 4,
                                   .append_bytes_max = 200,
                                   .uncommitted_bytes_max = 2000,
                                   .transfer_timeout_us = 150000,
                                   .lease = true};
    struct raft_boot boot = {.now_us = START_US, .members = {.count = voters + learners}};
    for (uint32_t i = 0; i < boot.members.count; i++) {
        boot.members.at[i] = (struct raft_member){.id = i + 1, .voter = i < voters};
    }
    return raft_new(&options, &boot);
}

static void persist_all(struct raft *r, const struct raft_effects *e)
{
    struct raft_event done = {.type = RAFT_EVENT_PERSISTED, .now_us = r->now_us};
    done.persisted.write_seq = e->persist.write_seq;
    if (e->persist.lo != e->persist.hi) {
        done.persisted.last = trail_last(&r->trail);
    }
    struct raft_effects after;
    raft_step(r, &done, &after);
    if (after.persist.write_seq != 0) {
        persist_all(r, &after);
    }
}

static void receive(struct raft *r, struct raft_message m, uint64_t now_us)
{
    m.to = 1;
    m.term = r->term;
    struct raft_event event = {.type = RAFT_EVENT_RECEIVE, .now_us = now_us, .receive.message = &m};
    struct raft_effects e;
    raft_step(r, &event, &e);
    if (e.persist.write_seq != 0) {
        persist_all(r, &e);
    }
}

static struct raft *make_leader(uint32_t voters, uint32_t learners, uint32_t drift_permille)
{
    struct raft *r = make(voters, learners, drift_permille);
    struct raft_event campaign = {.type = RAFT_EVENT_CAMPAIGN, .now_us = START_US};
    struct raft_effects e;
    raft_step(r, &campaign, &e);
    persist_all(r, &e);
    for (raft_id id = 2; raft_role(r) != RAFT_LEADER; id++) {
        receive(r,
                (struct raft_message){
                    .type = RAFT_MESSAGE_VOTE_REPLY, .from = id, .vote_reply.granted = true},
                START_US);
    }
    return r;
}

/* It acknowledges what was sent at sent_us. */
static void echo(struct raft *r, raft_id from, uint64_t sent_us, uint64_t now_us)
{
    receive(r,
            (struct raft_message){
                .type = RAFT_MESSAGE_APPEND_REPLY, .from = from, .append_reply.sent_us = sent_us},
            now_us);
}

static void it_counts_from_sending_to_a_majority(void **state)
{
    (void)state;
    struct raft *r = make_leader(5, 0, 0);
    assert_false(raft_has_lease(r, START_US));
    echo(r, 2, START_US, START_US + 20000);
    assert_false(raft_has_lease(r, START_US + 20000));
    echo(r, 3, START_US + 10000, START_US + 30000);
    /* 1 itself, 3 and 2: the third largest is what 2 acknowledged. */
    assert_true(raft_has_lease(r, START_US + LEASE_US - 1));
    assert_false(raft_has_lease(r, START_US + LEASE_US));
    echo(r, 4, START_US + 25000, START_US + 30000);
    assert_true(raft_has_lease(r, START_US + 10000 + LEASE_US - 1));
    assert_false(raft_has_lease(r, START_US + 10000 + LEASE_US));
    raft_free(r);
}

static void clocks_may_differ_by_twice_the_drift(void **state)
{
    (void)state;
    struct raft *r = make_leader(3, 0, 100);
    echo(r, 2, START_US, START_US + 1000);
    assert_true(raft_has_lease(r, START_US + LEASE_US * 8 / 10 - 1));
    assert_false(raft_has_lease(r, START_US + LEASE_US * 8 / 10));
    raft_free(r);
}

static void learners_and_strangers_do_not_count(void **state)
{
    (void)state;
    struct raft *r = make_leader(3, 2, 0);
    echo(r, 4, START_US, START_US + 1000);
    echo(r, 5, START_US, START_US + 1000);
    echo(r, 9, START_US, START_US + 1000);
    assert_false(raft_has_lease(r, START_US + 1000));
    raft_free(r);
}

static void the_future_was_not_sent(void **state)
{
    (void)state;
    struct raft *r = make_leader(3, 0, 0);
    echo(r, 2, START_US + 500000, START_US + 1000);
    assert_false(raft_has_lease(r, START_US + 1000));
    raft_free(r);
}

static void one_voter_needs_no_promise_but_its_own(void **state)
{
    (void)state;
    struct raft *r = make_leader(1, 0, 0);
    assert_true(raft_has_lease(r, START_US));
    raft_free(r);
}

static void it_ends_with_leadership_and_with_a_transfer(void **state)
{
    (void)state;
    struct raft *r = make_leader(3, 0, 0);
    receive(r,
            (struct raft_message){.type = RAFT_MESSAGE_APPEND_REPLY,
                                  .from = 2,
                                  .append_reply = {.match = 1, .sent_us = START_US}},
            START_US);
    assert_true(raft_has_lease(r, START_US));
    struct raft_event transfer = {.type = RAFT_EVENT_TRANSFER, .now_us = START_US};
    transfer.transfer.target = 2;
    struct raft_effects e;
    raft_step(r, &transfer, &e);
    assert_int_equal(e.result, ERR_OK);
    assert_false(raft_has_lease(r, START_US));
    /* It stays given up, whatever is acknowledged, until the next term. */
    echo(r, 2, START_US + 149999, START_US + 149999);
    echo(r, 3, START_US + 149999, START_US + 149999);
    assert_int_equal(raft_role(r), RAFT_LEADER);
    assert_false(raft_has_lease(r, START_US + 149999));
    raft_term term = raft_current_term(r);
    struct raft_event timeout = {.type = RAFT_EVENT_TIMEOUT, .now_us = START_US + 150000};
    raft_step(r, &timeout, &e);
    assert_int_equal(raft_role(r), RAFT_CANDIDATE);
    assert_int_equal(raft_current_term(r), term + 1);
    raft_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_from_sending_to_a_majority),
        cmocka_unit_test(clocks_may_differ_by_twice_the_drift),
        cmocka_unit_test(learners_and_strangers_do_not_count),
        cmocka_unit_test(the_future_was_not_sent),
        cmocka_unit_test(one_voter_needs_no_promise_but_its_own),
        cmocka_unit_test(it_ends_with_leadership_and_with_a_transfer),
    };
    return cmocka_run_group_tests_name("raft/lease", tests, NULL, NULL);
}

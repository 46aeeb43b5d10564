/* Leadership that works outside of the node: nobody else leads before what a holder was told is
 * over. */
#include <inttypes.h>
#include <stdlib.h>

#include "rig.h"

static uint64_t field(const struct answer *a, const char *name)
{
    char key[32];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(a->result, key);
    assert_non_null(at);
    at += strlen(key);
    return strncmp(at, "true", 4) == 0 ? 1 : strtoull(at, NULL, 10);
}

/* Until when its holder may work: true time, counted from before it asked. */
static uint64_t ask_until(struct cluster *c, uint32_t host, const char *params, struct answer *a)
{
    uint64_t asked_us = world_now_us(cluster_world(c));
    *a = rig_call(c, host, "lead", params);
    assert_int_equal(a->err, ERR_OK);
    return field(a, "leads") != 0 ? asked_us + field(a, "for_us") : 0;
}

/* When somebody leads in another term. */
static uint64_t await_other(struct cluster *c, uint32_t old)
{
    uint64_t end_us = world_now_us(cluster_world(c)) + 5 * SECOND;
    while (cluster_leader(c) == old || cluster_leader(c) == CLUSTER_NOBODY) {
        assert_true(world_step(cluster_world(c), end_us));
    }
    return world_now_us(cluster_world(c));
}

static void only_the_leader_lends(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct answer a;
    assert_true(ask_until(c, leader, "[1]", &a) > world_now_us(cluster_world(c)));
    assert_true(field(&a, "token") > 0);
    assert_int_equal(field(&a, "ending"), 0);
    assert_int_equal(ask_until(c, (leader + 1) % 3, "[1]", &a), 0);
    assert_int_equal(field(&a, "token"), 0);
    assert_refused(rig_call(c, leader, "lead", "[]"), ERR_INVALID);
    assert_refused(rig_call(c, leader, "lead", "[0]"), ERR_INVALID);
    rig_end(c);
}

static void more_holders_than_there_is_room_for_are_refused(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(1);
    char params[16];
    int lent = 0;
    enum err err = ERR_OK;
    for (int i = 1; i <= 100 && err == ERR_OK; i++) {
        snprintf(params, sizeof params, "[%d]", i);
        struct answer a = rig_call(c, 0, "lead", params);
        err = a.err;
        lent += err == ERR_OK;
    }
    assert_int_equal(err, ERR_BUSY);
    assert_int_equal(lent, 64);
    assert_int_equal(rig_call(c, 0, "lead", "[7,\"done\"]").err, ERR_OK);
    assert_int_equal(rig_call(c, 0, "lead", "[100]").err, ERR_OK);
    rig_end(c);
}

static void a_death_is_not_certified_before_what_was_lent_is_over(void **ctx)
{
    (void)ctx;
    for (int round = 0; round < 2; round++) {
        struct cluster *c = rig_start(3);
        uint32_t leader = cluster_leader(c);
        struct answer a;
        uint64_t until_us = ask_until(c, leader, "[1]", &a);
        if (round == 1) {
            ask_until(c, leader, "[1,\"done\"]", &a);
        }
        sim_process_end(cluster_host(c, leader), SIM_END_CRASH);
        uint64_t other_us = await_other(c, leader);
        if (round == 0) {
            assert_true(other_us > until_us);
        } else {
            assert_true(other_us <
                        until_us); /* otherwise the first half of this test says nothing */
        }
        rig_end(c);
    }
}

static void a_hand_over_waits_for_its_holders(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    struct world *w = cluster_world(c);
    uint32_t leader = cluster_leader(c);
    struct answer a, transfer;
    uint64_t until_us = ask_until(c, leader, "[1]", &a);
    rig_ask(c, leader, "transfer", "[null,5000]", &transfer);
    for (int i = 0; i < 40; i++) { /* it stops, and asks meanwhile: a second and more */
        until_us = ask_until(c, leader, "[1]", &a);
        assert_true(until_us > world_now_us(w));
        assert_int_equal(field(&a, "ending"), 1);
        assert_int_equal(ask_until(c, leader, "[2]", &a), 0); /* nobody else begins */
        assert_true(cluster_run(c, 30 * MS));
        assert_int_equal(cluster_leader(c), leader);
    }
    ask_until(c, leader, "[1,\"done\"]", &a);
    rig_await(c, &transfer, SECOND);
    assert_int_equal(transfer.err, ERR_OK);
    assert_true(await_other(c, leader) < until_us);
    rig_end(c);
}

static void a_hand_over_does_not_wait_for_one_that_is_gone(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct answer a, transfer;
    uint64_t until_us = ask_until(c, leader, "[1]", &a);
    rig_ask(c, leader, "transfer", "[null,5000]", &transfer);
    rig_await(c, &transfer, SECOND);
    assert_int_equal(transfer.err, ERR_OK);
    uint64_t other_us = await_other(c, leader);
    assert_true(other_us > until_us);
    assert_true(other_us < until_us + 200 * MS);
    rig_end(c);
}

static void a_hand_over_that_fails_leaves_the_holders_at_work(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct answer a, transfer;
    ask_until(c, leader, "[1]", &a);
    rig_ask(c, leader, "transfer", "[null,100]", &transfer);
    while (transfer.count == 0) { /* it does not stop */
        assert_true(ask_until(c, leader, "[1]", &a) > 0);
        assert_true(cluster_run(c, 20 * MS));
    }
    assert_int_equal(transfer.err, ERR_TIMEOUT);
    assert_true(ask_until(c, leader, "[1]", &a) > 0);
    assert_int_equal(field(&a, "ending"), 0);
    assert_int_equal(cluster_leader(c), leader);
    rig_end(c);
}

/* What load balancers are told (/leader): another may lead before this one has stepped down. */
static void a_leader_whose_lease_has_lapsed_is_none(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    const struct node *n = sim_process_node(cluster_host(c, leader));
    assert_true(node_leads(n));
    sim_process_pause(cluster_host(c, (leader + 1) % 3));
    sim_process_pause(cluster_host(c, (leader + 2) % 3));
    unsigned lapsed = 0;
    while (raft_role(node_raft(n)) == RAFT_LEADER) {
        assert_true(world_step(cluster_world(c), UINT64_MAX));
        lapsed += raft_role(node_raft(n)) == RAFT_LEADER && !node_leads(n);
    }
    assert_true(lapsed > 0);
    assert_false(node_leads(n));
    sim_process_resume(cluster_host(c, (leader + 1) % 3));
    sim_process_resume(cluster_host(c, (leader + 2) % 3));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_whose_lease_has_lapsed_is_none),
        cmocka_unit_test(only_the_leader_lends),
        cmocka_unit_test(more_holders_than_there_is_room_for_are_refused),
        cmocka_unit_test(a_death_is_not_certified_before_what_was_lent_is_over),
        cmocka_unit_test(a_hand_over_waits_for_its_holders),
        cmocka_unit_test(a_hand_over_does_not_wait_for_one_that_is_gone),
        cmocka_unit_test(a_hand_over_that_fails_leaves_the_holders_at_work),
    };
    return cmocka_run_group_tests_name("node/lending", tests, NULL, NULL);
}

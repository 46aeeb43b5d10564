/* Members come and go on a simulated cluster, under all invariants (sim/safety.h): one at a time,
 * by way of a learner (thesis §4), and whoever has left, or has lost its disk, is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "sound.h"

enum { SEEDS = 5, MS = 1000, SECOND = 1000 * MS, ET = 150 * MS, N4 = 3, N5 = 4 };

static struct cluster *start_with(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    assert_true(cluster_await_progress(c, 5 * SECOND));
    assert_true(cluster_run(c, SECOND)); /* and all connections are up */
    return c;
}

static struct cluster *start(uint64_t seed, uint32_t nodes, uint32_t spares)
{
    struct cluster_options o = cluster_defaults(seed);
    o.nodes = nodes;
    o.spares = spares;
    return start_with(&o);
}

static void end(struct cluster *c)
{
    cluster_heal(c);
    bool progress = cluster_await_progress(c, 10 * SECOND);
    sim_clients_stop(cluster_clients(c));
    bool agreement = progress && cluster_await_agreement(c, 10 * SECOND);
    assert_sound(c);
    assert_true(progress);
    assert_true(agreement);
    cluster_free(c);
}

static enum err change(struct cluster *c, enum cluster_change_kind kind, uint32_t host)
{
    uint32_t leader = cluster_await_leader(c, 5 * SECOND);
    assert_true(leader != CLUSTER_NOBODY);
    return cluster_change(
        c, leader, (struct cluster_change){.kind = kind, .host = host, .timeout_us = 5 * SECOND});
}

static const struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

/* Who votes, by the configuration of that host: "1 2 4". */
static const char *voters(struct cluster *c, uint32_t host)
{
    static char text[64];
    const struct membership *m = node_members(node_of(c, host));
    uint32_t votes = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        votes |= m->at[i].voter ? UINT32_C(1) << m->at[i].id : 0;
    }
    size_t at = 0;
    text[0] = 0;
    for (unsigned id = 1; id < 16; id++) {
        if ((votes >> id & 1) != 0) {
            at += (size_t)snprintf(text + at, sizeof text - at, at > 0 ? " %u" : "%u", id);
        }
    }
    return text;
}

/* ---- the plain way -------------------------------------------------------------------------- */

static void a_new_server_learns_votes_and_leads(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3, 1);
        assert_int_equal(change(c, CLUSTER_ADD, N4), ERR_OK);
        assert_true(cluster_await_progress(c, 5 * SECOND));
        assert_int_equal(raft_role(node_raft(node_of(c, N4))), RAFT_LEARNER);
        assert_string_equal(voters(c, cluster_leader(c)), "1 2 3");
        assert_int_equal(change(c, CLUSTER_PROMOTE, N4), ERR_OK);
        assert_true(cluster_run(c, SECOND));
        assert_string_equal(voters(c, N4), "1 2 3 4");
        cluster_transfer(c, cluster_leader(c), N4);
        assert_true(cluster_run(c, SECOND));
        assert_int_equal(cluster_leader(c), N4);
        end(c);
    }
}

static void one_that_is_added_twice_is_added_once(void **state)
{
    (void)state;
    struct cluster *c = start(1, 3, 1);
    assert_int_equal(change(c, CLUSTER_ADD, N4), ERR_OK);
    assert_int_equal(change(c, CLUSTER_ADD, N4), ERR_OK);
    assert_int_equal(node_members(node_of(c, cluster_leader(c)))->count, 4);
    assert_int_equal(change(c, CLUSTER_PROMOTE, N4), ERR_OK);
    assert_int_equal(change(c, CLUSTER_PROMOTE, N4), ERR_OK);
    end(c);
}

static void what_cannot_be_changed_is_refused(void **state)
{
    (void)state;
    struct cluster *c = start(1, 1, 1);
    assert_int_equal(change(c, CLUSTER_PROMOTE, 1), ERR_NOT_FOUND);
    assert_int_equal(change(c, CLUSTER_REMOVE, 1), ERR_NOT_FOUND);
    assert_int_equal(change(c, CLUSTER_REMOVE, 0), ERR_INVALID); /* the only voter */
    end(c);
}

static void a_cluster_of_one_grows_to_five(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 1, 4);
        for (uint32_t host = 1; host < 5; host++) {
            assert_int_equal(change(c, CLUSTER_ADD, host), ERR_OK);
            assert_int_equal(change(c, CLUSTER_PROMOTE, host), ERR_OK);
        }
        /* Two of five may go. */
        sim_process_end(cluster_host(c, cluster_leader(c)), SIM_END_HOST);
        assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
        sim_process_end(cluster_host(c, cluster_leader(c)), SIM_END_HOST);
        assert_true(cluster_await_progress(c, 10 * SECOND));
        assert_string_equal(voters(c, cluster_leader(c)), "1 2 3 4 5");
        cluster_boot_all(c);
        end(c);
    }
}

static void any_member_takes_the_order(void **state)
{
    (void)state;
    struct cluster *c = start(2, 3, 1);
    uint32_t follower = (cluster_leader(c) + 1) % 3;
    const struct cluster_change add = {.kind = CLUSTER_ADD, .host = N4, .timeout_us = 5 * SECOND};
    assert_int_equal(cluster_change(c, follower, add), ERR_OK);
    assert_true(cluster_is_member(c, N4));
    end(c);
}

/* ---- leaving -------------------------------------------------------------------------------- */

static void a_leader_that_removes_itself_gives_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3, 0);
        uint32_t leader = cluster_leader(c);
        assert_int_equal(change(c, CLUSTER_REMOVE, leader), ERR_OK);
        assert_true(cluster_run(c, 2 * SECOND));
        assert_true(cluster_leader(c) != leader);
        assert_true(cluster_leader(c) != CLUSTER_NOBODY);
        assert_false(cluster_is_member(c, leader));
        end(c);
    }
}

/* It ends by itself, with the reason, and again when it is started; it disturbs nobody. */
static void a_removed_server_is_refused_when_it_returns(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.raft.prevote = seed % 2 == 0;
        struct cluster *c = start_with(&o);
        uint32_t removed = (cluster_leader(c) + 1) % 3;
        assert_int_equal(change(c, CLUSTER_REMOVE, removed), ERR_OK);
        assert_true(cluster_run(c, 5 * SECOND));
        assert_true(sim_process_down(cluster_host(c, removed)));
        uint32_t leader = cluster_leader(c);
        raft_term term = cluster_term(c);
        sim_process_boot(cluster_host(c, removed));
        assert_true(cluster_run(c, 5 * SECOND));
        assert_true(sim_process_down(cluster_host(c, removed)));
        assert_int_equal(cluster_leader(c), leader);
        assert_int_equal(cluster_term(c), term);
        end(c);
    }
}

static void a_removed_server_may_be_added_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3, 0);
        uint32_t removed = (cluster_leader(c) + 1) % 3;
        assert_int_equal(change(c, CLUSTER_REMOVE, removed), ERR_OK);
        assert_true(cluster_run(c, 5 * SECOND));
        assert_int_equal(change(c, CLUSTER_ADD, removed), ERR_OK);
        sim_process_boot(cluster_host(c, removed));
        assert_int_equal(change(c, CLUSTER_PROMOTE, removed), ERR_OK);
        assert_true(cluster_await_progress(c, 5 * SECOND));
        assert_string_equal(voters(c, removed), "1 2 3");
        end(c);
    }
}

/* Swarm seed 100272: whoever knew of the removal only did not let the one in that had come back and
 * led, and never heard of anything again. */
static void who_came_back_is_let_in_by_who_knows_of_the_removal_only(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 4, 0);
        uint32_t leader = cluster_leader(c);
        uint32_t removed = (leader + 1) % 4;
        uint32_t away = (leader + 2) % 4;
        assert_int_equal(change(c, CLUSTER_REMOVE, removed), ERR_OK);
        assert_true(cluster_run(c, 5 * SECOND));
        cluster_isolate(c, away);
        assert_int_equal(change(c, CLUSTER_ADD, removed), ERR_OK);
        sim_process_boot(cluster_host(c, removed));
        assert_int_equal(change(c, CLUSTER_PROMOTE, removed), ERR_OK);
        for (int i = 0; i < 10 && cluster_leader(c) != removed; i++) {
            cluster_transfer(c, cluster_await_leader(c, 5 * SECOND), removed);
            assert_true(cluster_run(c, SECOND));
        }
        assert_int_equal(cluster_leader(c), removed);
        sim_net_heal(cluster_net(c));
        assert_true(cluster_run(c, 5 * SECOND));
        assert_string_equal(voters(c, away), "1 2 3 4");
        end(c);
    }
}

/* A member whose disk was wiped has forgotten votes and entries: it is no longer who it was. */
static void a_wiped_disk_is_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3, 0);
        uint32_t wiped = (cluster_leader(c) + 1) % 3;
        sim_process_end(cluster_host(c, wiped), SIM_END_HOST);
        assert_true(cluster_run(c, SECOND));
        cluster_wipe(c, wiped);
        sim_process_boot(cluster_host(c, wiped));
        assert_true(cluster_run(c, 5 * SECOND));
        assert_true(sim_process_down(cluster_host(c, wiped)));
        end(c);
    }
}

/* ---- while not all can hear of it ----------------------------------------------------------- */

static void a_change_that_no_majority_hears_of_is_undone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3, 1);
        uint32_t leader = cluster_leader(c);
        cluster_isolate(c, leader);
        const struct cluster_change add = {.kind = CLUSTER_ADD, .host = N4, .timeout_us = 100 * MS};
        assert_true(cluster_change(c, leader, add) != ERR_OK);
        assert_true(cluster_run(c, 2 * SECOND));
        assert_false(cluster_is_member(c, N4)); /* as the others' leader has it */
        sim_net_heal(cluster_net(c));
        assert_true(cluster_await_progress(c, 5 * SECOND));
        assert_int_equal(node_members(node_of(c, leader))->count, 3);
        end(c);
    }
}

/* Servers are added and removed while one old member is cut off: when it returns, it does not know
 * the leader, which was added meanwhile, nor does the removed one's word count. */
static void a_member_that_missed_all_changes_finds_its_way_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3, 2);
        uint32_t away = (cluster_leader(c) + 1) % 3;
        cluster_isolate(c, away);
        assert_int_equal(change(c, CLUSTER_ADD, N4), ERR_OK);
        assert_int_equal(change(c, CLUSTER_PROMOTE, N4), ERR_OK);
        assert_int_equal(change(c, CLUSTER_ADD, N5), ERR_OK);
        assert_int_equal(change(c, CLUSTER_PROMOTE, N5), ERR_OK);
        for (uint32_t i = 0; i < 3; i++) {
            if (i != away) {
                assert_int_equal(change(c, CLUSTER_REMOVE, i), ERR_OK);
            }
        }
        uint32_t leader = cluster_await_leader(c, 5 * SECOND);
        assert_true(leader == N4 || leader == N5);
        sim_net_heal(cluster_net(c));
        assert_true(cluster_run(c, 5 * SECOND));
        assert_string_equal(voters(c, away), voters(c, N4));
        end(c);
    }
}

static void a_learner_that_lags_is_promoted_when_it_has_caught_up(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(4);
    o.spares = 1;
    o.raft.window_entries = 4;
    struct cluster *c = start_with(&o);
    assert_int_equal(change(c, CLUSTER_ADD, N4), ERR_OK);
    cluster_isolate(c, N4);
    assert_true(cluster_run(c, 5 * SECOND));
    const struct cluster_change promote = {
        .kind = CLUSTER_PROMOTE, .host = N4, .timeout_us = SECOND};
    assert_int_equal(cluster_change(c, cluster_leader(c), promote), ERR_TIMEOUT);
    sim_net_heal(cluster_net(c));
    assert_int_equal(change(c, CLUSTER_PROMOTE, N4), ERR_OK);
    end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_server_learns_votes_and_leads),
        cmocka_unit_test(one_that_is_added_twice_is_added_once),
        cmocka_unit_test(what_cannot_be_changed_is_refused),
        cmocka_unit_test(a_cluster_of_one_grows_to_five),
        cmocka_unit_test(any_member_takes_the_order),
        cmocka_unit_test(a_leader_that_removes_itself_gives_way),
        cmocka_unit_test(a_removed_server_is_refused_when_it_returns),
        cmocka_unit_test(a_removed_server_may_be_added_again),
        cmocka_unit_test(who_came_back_is_let_in_by_who_knows_of_the_removal_only),
        cmocka_unit_test(a_wiped_disk_is_refused),
        cmocka_unit_test(a_change_that_no_majority_hears_of_is_undone),
        cmocka_unit_test(a_member_that_missed_all_changes_finds_its_way_back),
        cmocka_unit_test(a_learner_that_lags_is_promoted_when_it_has_caught_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

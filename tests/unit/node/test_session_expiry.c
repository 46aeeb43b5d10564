/* Sessions expire by the time of committed entries: on every node at the same entry, whoever leads,
 * whatever the nodes' own clocks say. */
#include "rig.h"

enum { HOURS_MS = 3600 * 1000, OUTCOMES = 64 };

/* What became of the commands that were applied, host by host. */
struct seen {
    struct {
        raft_index index;
        enum err outcome;
        bool duplicate;
    } at[OUTCOMES];
    uint32_t count;
};

static void on_applied(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                       enum err outcome, bool duplicate)
{
    struct seen *s = (struct seen *)ctx + host;
    if (entry->kind == ENTRY_COMMAND && s->count < OUTCOMES) {
        s->at[s->count].index = pos.index;
        s->at[s->count].outcome = outcome;
        s->at[s->count++].duplicate = duplicate;
    }
}

static uint32_t count_expired(const struct seen *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        count += s->at[i].outcome == ERR_EXPIRED;
    }
    return count;
}

static const char load_counter[] =
    "[\"return { name='counter', version=3, init=function(st) st.n=0 end, apply={"
    " add=function(st,a) st.n=st.n+a; return st.n end },"
    " query={ get=function(st) return st.n end } }\"]";
static const char add[] = "[\"counter\",\"add\",1,{\"timeout_ms\":60000}]";

/* The leader hands over to one whose wall clock is hours ahead, which sets the log's time. */
static void let_hours_pass(struct cluster *c, uint32_t leader, uint32_t next)
{
    sim_clock_jump_wall(sim_process_clock(cluster_host(c, next)), 5 * HOURS_MS);
    cluster_transfer(c, leader, next);
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(cluster_leader(c), next);
}

/* A follower has a session and goes deaf, with a command on its hands that reached nobody. Hours
 * pass by the log's time, and leadership changes twice. The last leader is sent the command under a
 * session that has expired in the meantime: all refuse it alike, also the one that was asked, which
 * takes a new session and has the command carried out, once. */
static void an_expired_session_is_refused_by_all_alike_across_a_change_of_leader(void **ctx)
{
    (void)ctx;
    static struct seen seen[3];
    memset(seen, 0, sizeof seen);
    struct cluster_options o = cluster_defaults(9);
    o.applied = on_applied;
    o.told_ctx = seen;
    struct cluster *c = rig_start_with(&o);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3, third = (leader + 2) % 3;
    assert_int_equal(rig_call(c, leader, "load", load_counter).err, ERR_OK);
    assert_answer(rig_call(c, asked, "propose", add), "1");
    assert_true(cluster_run(c, SECOND));

    cluster_isolate(c, asked);
    struct answer a;
    rig_ask(c, asked, "propose", add, &a);
    assert_true(cluster_run(c, SECOND));
    let_hours_pass(c, leader, third);
    assert_answer(rig_call(c, third, "propose", add), "2");
    assert_int_equal(count_expired(&seen[third]), 0);

    cluster_heal(c);
    sim_process_end(cluster_host(c, third), SIM_END_GUARDIAN);
    rig_await(c, &a, 10 * SECOND);
    assert_answer(a, "3");
    cluster_boot_all(c);
    assert_true(cluster_run(c, 3 * SECOND));
    assert_true(cluster_await_agreement(c, 5 * SECOND)); /* and all states have one hash */
    assert_int_equal(count_expired(&seen[asked]), 1);
    assert_int_equal(count_expired(&seen[leader]), 1);
    assert_int_equal(seen[asked].count, seen[leader].count);
    for (uint32_t i = 0; i < seen[asked].count; i++) { /* at the same entries */
        assert_int_equal(seen[asked].at[i].index, seen[leader].at[i].index);
        assert_int_equal(seen[asked].at[i].outcome, seen[leader].at[i].outcome);
        assert_int_equal(seen[asked].at[i].duplicate, seen[leader].at[i].duplicate);
    }
    assert_answer(rig_call(c, third, "query", "[\"counter\",\"get\"]"), "3");
    rig_end(c);
}

/* The same when the command was carried out before the session expired, and nobody could tell the
 * one that asked: it is not carried out again, under whatever session. */
static void a_command_carried_out_before_the_expiry_is_not_carried_out_again(void **ctx)
{
    (void)ctx;
    struct cluster_options o = cluster_defaults(9);
    struct cluster *c = rig_start_with(&o);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3, third = (leader + 2) % 3;
    assert_int_equal(rig_call(c, leader, "load", load_counter).err, ERR_OK);
    assert_answer(rig_call(c, asked, "propose", add), "1");
    assert_true(cluster_run(c, SECOND));

    sim_net_cut(cluster_net(c), leader, asked, true); /* it gets out, and nothing comes back */
    sim_net_cut(cluster_net(c), third, asked, true);
    struct answer a;
    rig_ask(c, asked, "propose", add, &a);
    assert_true(cluster_run(c, 20 * MS));
    assert_answer(rig_call(c, leader, "query", "[\"counter\",\"get\"]"), "2");
    let_hours_pass(c, leader, third);
    assert_answer(rig_call(c, third, "propose", add), "3");
    sim_process_end(cluster_host(c, third), SIM_END_GUARDIAN);
    cluster_heal(c);
    rig_await(c, &a, 10 * SECOND);
    assert_answer(a, "2"); /* its own apply comes to it in the log, before the expiry */
    cluster_boot_all(c);
    assert_true(cluster_run(c, 3 * SECOND));
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    assert_answer(rig_call(c, asked, "query", "[\"counter\",\"get\"]"), "3");
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expired_session_is_refused_by_all_alike_across_a_change_of_leader),
        cmocka_unit_test(a_command_carried_out_before_the_expiry_is_not_carried_out_again),
    };
    return cmocka_run_group_tests_name("node/session_expiry", tests, NULL, NULL);
}

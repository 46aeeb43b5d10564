/* What waits: for a caller that takes no answers, for a leader that does not get on. */
#include "rig.h"

struct caller {
    struct answer answer;
    bool takes;
};

static void on_answer(void *ctx, const struct node_reply *reply)
{
    struct caller *c = ctx;
    rig_on_answer(&c->answer, reply);
}

static bool takes(void *ctx)
{
    return ((const struct caller *)ctx)->takes;
}

static struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

static void get(struct cluster *c, uint32_t host, const char *level, struct caller *caller)
{
    char params[128];
    struct buffer encoded = {0};
    snprintf(params, sizeof params,
             "[\"kv\",\"get\",{\"key\":\"k\"},{\"read\":\"%s\",\"timeout_ms\":500}]", level);
    *caller = (struct caller){.takes = false};
    assert_int_equal(json_to_msgpack(bytes_of_string(params), &encoded, NULL), ERR_OK);
    node_call_from(node_of(c, host), bytes_of_string("query"), buffer_bytes(&encoded),
                   &(struct node_caller){.reply = on_answer, .ctx = caller, .takes = takes});
    buffer_close(&encoded);
}

static void a_read_waits_for_who_takes_no_answers_and_holds_up_no_other(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct caller callers[4];
    const char *levels[] = {"linearizable", "lease", "local", "local"};
    for (int i = 0; i < 4; i++) {
        get(c, (leader + (i & 1)) % 3, levels[i], &callers[i]);
    }
    assert_true(cluster_run(c, 3 * SECOND)); /* beyond their timeout */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(callers[i].answer.count, 0);
    }
    assert_answer(rig_call(c, leader, "query", "[\"kv\",\"get\",{\"key\":\"k\"}]"), "null");
    for (int i = 0; i < 4; i++) {
        callers[i].takes = i != 2;
    }
    node_takes_again(node_of(c, leader));
    node_takes_again(node_of(c, (leader + 1) % 3));
    assert_true(cluster_run(c, 100 * MS));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(callers[i].answer.count, i != 2);
        assert_int_equal(callers[i].answer.err, ERR_OK);
    }
    /* Nor does it hold up a planned stop. */
    sim_process_stop(cluster_host(c, leader));
    assert_true(cluster_run(c, 400 * MS));
    assert_true(sim_process_down(cluster_host(c, leader)));
    assert_int_equal(callers[2].answer.count, 1);
    assert_int_equal(callers[2].answer.err, ERR_SHUTDOWN);
    rig_end(c);
}

/* The caller takes answers again in the very moment in which the read's time is looked at. */
static void a_read_that_was_held_is_not_late_when_its_turn_comes(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(1);
    struct caller caller;
    get(c, 0, "local", &caller);
    assert_true(cluster_run(c, 100 * MS));
    sim_process_pause(cluster_host(c, 0));
    assert_true(cluster_run(c, 3 * SECOND));
    caller.takes = true;
    node_takes_again(node_of(c, 0));
    sim_process_resume(cluster_host(c, 0));
    assert_true(cluster_run(c, 100 * MS));
    assert_int_equal(caller.answer.count, 1);
    assert_int_equal(caller.answer.err, ERR_OK);
    rig_end(c);
}

static void ask_after(struct cluster *c, uint32_t host, const char *level, raft_index index,
                      unsigned timeout_ms, struct answer *a)
{
    char params[160];
    snprintf(params, sizeof params,
             "[\"kv\",\"get\",{\"key\":\"k\"},"
             "{\"read\":\"%s\",\"index\":%llu,\"timeout_ms\":%u}]",
             level, (unsigned long long)index, timeout_ms);
    rig_ask(c, host, "query", params, a);
}

static void a_query_waits_for_the_entry_that_it_must_see(void **ctx)
{
    (void)ctx;
    const char *set = "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1}]";
    static const char *const levels[] = {"local", "linearizable", "lease"};
    struct cluster *c = rig_start(3);
    struct answer news[9], late, there;
    raft_index next = raft_last_index(node_raft(node_of(c, cluster_leader(c)))) + 1;
    for (uint32_t i = 0; i < 9; i++) {
        ask_after(c, i % 3, levels[i / 3], next, 60000, &news[i]);
    }
    ask_after(c, 0, "local", next + 100, 5000, &late);
    ask_after(c, 1, "local", next - 1, 60000, &there);
    assert_true(cluster_run(c, 2 * SECOND));
    assert_answer(there, "null");
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(news[i].count, 0);
    }
    assert_int_equal(rig_call(c, 0, "propose", set).err, ERR_OK);
    assert_true(cluster_run(c, 200 * MS));
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(news[i].count, 1);
        assert_non_null(strstr(news[i].result, "\"value\":1"));
    }
    assert_int_equal(late.count, 0);
    assert_true(cluster_run(c, 5 * SECOND));
    assert_refused(late, ERR_TIMEOUT);
    rig_end(c);
}

static void who_waits_for_what_comes_next_holds_up_no_planned_stop(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t host = (cluster_leader(c) + 1) % 3;
    struct answer a;
    ask_after(c, host, "local", INT64_MAX, 60000, &a);
    assert_true(cluster_run(c, 100 * MS));
    sim_process_stop(cluster_host(c, host));
    assert_true(cluster_run(c, 400 * MS));
    assert_true(sim_process_down(cluster_host(c, host)));
    assert_refused(a, ERR_SHUTDOWN);
    rig_end(c);
}

/* No commit is possible: the third is dead, the disk of the one that was asked stands still. What
 * it gave to the leader is not lost, which it cannot know. */
static void what_may_be_lost_is_sent_again_ever_more_rarely(void **ctx)
{
    (void)ctx;
    const char *set = "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1},{\"timeout_ms\":30000}]";
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3;
    assert_int_equal(rig_call(c, asked, "propose", set).err, ERR_OK);
    sim_process_end(cluster_host(c, (leader + 2) % 3), SIM_END_HOST);
    sim_executor_stall(sim_process_executor(cluster_host(c, asked)), 20 * SECOND);
    raft_index before = raft_last_index(node_raft(node_of(c, leader)));
    struct answer a;
    rig_ask(c, asked, "propose", set, &a);
    assert_true(cluster_run(c, 20 * SECOND));
    raft_index grown = raft_last_index(node_raft(node_of(c, leader))) - before;
    assert_in_range(grown, 3, 8);
    rig_await(c, &a, 5 * SECOND);
    assert_int_equal(a.err, ERR_OK);
    cluster_boot_all(c);
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_waits_for_who_takes_no_answers_and_holds_up_no_other),
        cmocka_unit_test(a_read_that_was_held_is_not_late_when_its_turn_comes),
        cmocka_unit_test(a_query_waits_for_the_entry_that_it_must_see),
        cmocka_unit_test(who_waits_for_what_comes_next_holds_up_no_planned_stop),
        cmocka_unit_test(what_may_be_lost_is_sent_again_ever_more_rarely),
    };
    return cmocka_run_group_tests_name("node/waiting", tests, NULL, NULL);
}

/* A read of the log can overtake a truncation in the queue of the disk thread and bring entries of
 * another term than the log has by now. Here it is the test that has them be of another term; what
 * the node makes of them, sim/safety.h checks against what is right. */
#include "rig.h"

#include "node/node_internal.h"

enum { COMMANDS = 200 };

static struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

static struct cluster *start(uint32_t nodes, const struct script_app *script)
{
    struct cluster_options o = cluster_defaults(5);
    o.nodes = nodes;
    o.cache_bytes_max = 256; /* next to nothing of the log stays in memory */
    o.scripts = script;
    o.scripts_count = script != NULL;
    o.script_limits.commits_max = 4;
    return rig_start_with(&o);
}

static void write_some(struct cluster *c, uint32_t host)
{
    static struct answer a[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        rig_ask(c, host, "propose", "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1}]", &a[i]);
        assert_true(cluster_run(c, i % 10 == 0 ? MS : 0));
    }
    rig_await(c, &a[COMMANDS - 1], 5 * SECOND);
}

/* Which of a node's reads. */
typedef struct store_read *(*read_of_fn)(struct node *n);

static struct store_read *read_for_apply(struct node *n)
{
    return n->apply.reading ? &n->apply.read : NULL;
}

static struct store_read *read_for_hooks(struct node *n)
{
    return n->feed.reading ? &n->feed.read : NULL;
}

static struct store_read *read_for_peer(struct node *n)
{
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        struct outlet *o = n->sender.outlets[i];
        if (o->reading && o->read.count > 0) {
            return &o->read;
        }
    }
    return NULL;
}

/* Waits for such a read that has something, and is not reported yet, and makes it stale. */
static void spoil(struct cluster *c, uint32_t host, read_of_fn read_of)
{
    struct store_read *read = NULL;
    for (int i = 0; i < 100000 && (read == NULL || read->count == 0); i++) {
        assert_true(world_step(cluster_world(c), UINT64_MAX));
        struct node *n = node_of(c, host);
        read = n != NULL ? read_of(n) : NULL;
    }
    assert_non_null(read);
    assert_true(read->count > 0);
    for (uint32_t i = 0; i < read->count; i++) {
        read->entries[i].term--;
    }
}

static void stale_entries_are_not_applied(void **ctx)
{
    (void)ctx;
    struct cluster *c = start(3, NULL);
    uint32_t host = (cluster_leader(c) + 1) % 3;
    write_some(c, cluster_leader(c));
    sim_process_end(cluster_host(c, host), SIM_END_CRASH); /* it applies all of its log again */
    for (int times = 0; times < 3; times++) {
        spoil(c, host, read_for_apply);
    }
    assert_true(cluster_run(c, SECOND));
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

static void stale_entries_are_not_told_to_hooks(void **ctx)
{
    (void)ctx;
    static const struct script_app script = {
        .name = "slow",
        .path = "slow.lua",
        .source = "local mk = require 'moonkeeper'\n"
                  "mk.on('commit', function(ev)\n"
                  "  mk.task.sleep(5) mk.emit(ev.entry_term == 1 and 'my.fed' or 'my.stale')\n"
                  "end)\n",
    };
    struct cluster *c = start(1, &script);
    write_some(c, 0);
    for (int times = 0; times < 3; times++) {
        spoil(c, 0, read_for_hooks);
    }
    assert_true(cluster_run(c, COMMANDS * 10 * MS));
    const struct events *e = cluster_events(c);
    uint64_t fed = 0;
    for (uint64_t i = events_begin(e); i < events_end(e); i++) {
        fed += strcmp(events_at(e, i)->name, "my.fed") == 0;
        assert_string_not_equal(events_at(e, i)->name, "my.stale");
    }
    assert_true(fed >= COMMANDS);
    assert_int_equal(node_of(c, 0)->feed.next, node_last_applied(node_of(c, 0)) + 1);
    rig_end(c);
}

static void stale_entries_are_not_sent_to_a_follower(void **ctx)
{
    (void)ctx;
    struct cluster *c = start(3, NULL);
    uint32_t leader = cluster_leader(c), away = (leader + 1) % 3;
    sim_process_end(cluster_host(c, away), SIM_END_GUARDIAN);
    cluster_transfer(c, leader, CLUSTER_NOBODY);
    assert_true(cluster_run(c, SECOND));
    leader = 3 - leader - away;
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_term(c), 2); /* so there was an earlier one to be of */
    write_some(c, leader);
    cluster_boot_all(c);
    for (int times = 0; times < 3; times++) {
        spoil(c, leader, read_for_peer);
    }
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(cluster_leader(c), leader);
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

/* The configuration is in effect within the turn that appends it: the connections change there and
 * then, while the disk is still reading for one that leaves. */
static void a_member_that_is_read_for_can_be_removed(void **ctx)
{
    (void)ctx;
    struct cluster *c = start(4, NULL);
    uint32_t leader = cluster_leader(c), leaving = (leader + 1) % 4;
    sim_process_end(cluster_host(c, leaving), SIM_END_GUARDIAN);
    write_some(c, leader);
    cluster_boot_all(c);
    struct node *n = node_of(c, leader);
    while (read_for_peer(n) == NULL) {
        assert_true(world_step(cluster_world(c), UINT64_MAX));
    }
    sim_executor_stall(sim_process_executor(cluster_host(c, leader)), 100 * MS);
    char params[32];
    snprintf(params, sizeof params, "[\"n%u\"]", leaving + 1);
    assert_int_equal(rig_call(c, leader, "members_remove", params).err, ERR_OK);
    assert_non_null(read_for_peer(n)); /* the other two have committed it meanwhile */
    const struct outlet *o = sender_outlet(n, leaving + 1);
    assert_true(o == NULL || !o->up);
    assert_true(cluster_run(c, SECOND));
    assert_null(read_for_peer(n));
    assert_int_equal(cluster_leader(c), leader);
    /* And it may come back. */
    sim_process_end(cluster_host(c, leaving), SIM_END_GUARDIAN);
    cluster_wipe(c, leaving);
    assert_int_equal(
        cluster_change(c, leader, (struct cluster_change){CLUSTER_ADD, leaving, 5 * SECOND}),
        ERR_OK);
    cluster_boot_all(c);
    assert_true(cluster_run(c, 3 * SECOND));
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stale_entries_are_not_applied),
        cmocka_unit_test(stale_entries_are_not_told_to_hooks),
        cmocka_unit_test(stale_entries_are_not_sent_to_a_follower),
        cmocka_unit_test(a_member_that_is_read_for_can_be_removed),
    };
    return cmocka_run_group_tests_name("node/stale_reads", tests, NULL, NULL);
}

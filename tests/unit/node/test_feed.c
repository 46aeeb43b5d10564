/* The feed of committed entries to commit hooks: as fast as they take them, none left out, whatever
 * is still in memory. That a hook is told each index once, in order, without holes, and that its
 * queue is bounded, is what sim/safety_scripts.c checks throughout. */
#include "rig.h"

#include "node/node_internal.h"

enum { COMMANDS = 300, COMMITS_MAX = 4 };

/* A hook that takes its time: 200 commits a second. */
static const struct script_app slow_hook = {
    .name = "slow",
    .path = "slow.lua",
    .source = "local mk = require 'moonkeeper'\n"
              "mk.on('commit', function(ev) mk.task.sleep(5) mk.emit('my.fed') end)\n",
};

static struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

/* One node that keeps next to nothing of its log in memory and has run far ahead of its hook. */
static struct cluster *start_ahead_of_the_hook(void)
{
    struct cluster_options o = cluster_defaults(3);
    o.nodes = 1;
    o.cache_bytes_max = 256;
    o.segment_bytes = 16 << 10;
    o.scripts = &slow_hook;
    o.scripts_count = 1;
    o.script_limits.commits_max = COMMITS_MAX;
    struct cluster *c = rig_start_with(&o);
    static struct answer a[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        rig_ask(c, 0, "propose", "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1}]", &a[i]);
        assert_true(cluster_run(c, MS / 2));
    }
    rig_await(c, &a[COMMANDS - 1], SECOND);
    return c;
}

static uint64_t told(const struct cluster *c)
{
    const struct events *e = cluster_events(c);
    uint64_t count = 0;
    for (uint64_t i = events_begin(e); i < events_end(e); i++) {
        assert_string_not_equal(events_at(e, i)->name, "gap");
        count += strcmp(events_at(e, i)->name, "my.fed") == 0;
    }
    return count;
}

static void a_slow_hook_holds_the_feed_back_and_misses_nothing(void **ctx)
{
    (void)ctx;
    struct cluster *c = start_ahead_of_the_hook();
    const struct node *n = node_of(c, 0);
    assert_false(n->feed.active); /* the queue is full: the node waits to be asked */
    assert_in_range(n->feed.next, 1, COMMANDS / 2);
    assert_null(log_cache_at(&n->log, n->feed.next)); /* from here on it is only on the disk */
    assert_true(cluster_run(c, COMMANDS * 8 * MS));
    assert_int_equal(n->feed.next, n->apply.last_applied + 1);
    assert_true(told(c) >= COMMANDS);
    rig_end(c);
}

static void a_read_that_failed_is_tried_again_and_nothing_is_missed(void **ctx)
{
    (void)ctx;
    struct cluster *c = start_ahead_of_the_hook();
    const struct node *n = node_of(c, 0);
    for (int times = 0; times < 3; times++) {
        sim_fs_fail(sim_process_disk(cluster_host(c, 0)), SIM_FS_READ, 1, ERR_IO);
        assert_true(cluster_run(c, 100 * MS));
        assert_true(n->feed.failing);
        uint64_t before = told(c);
        assert_true(cluster_run(c, 500 * MS)); /* no hurry: a bad disk is not hammered on */
        assert_int_equal(told(c), before);
        assert_true(cluster_run(c, 500 * MS));
        assert_false(n->feed.failing);
        assert_true(told(c) > before);
    }
    assert_true(cluster_run(c, COMMANDS * 8 * MS));
    assert_int_equal(n->feed.next, n->apply.last_applied + 1);
    assert_true(told(c) >= COMMANDS);
    /* The node is none the worse for it. */
    assert_int_equal(rig_call(c, 0, "propose", "[\"kv\",\"set\",{\"key\":\"k\",\"value\":2}]").err,
                     ERR_OK);
    rig_end(c);
}

/* Or the driver would be woken over and over by a time that has passed. */
static void a_retry_that_nobody_waits_for_wakes_nobody(void **ctx)
{
    (void)ctx;
    struct cluster *c = start_ahead_of_the_hook();
    struct node *n = node_of(c, 0);
    n->feed.active = true;
    n->feed.failing = true;
    n->feed.retry_us = node_now(n);
    assert_true(node_deadline(n) <= node_now(n));
    feed_tick(n, node_now(n));
    assert_true(node_deadline(n) > node_now(n));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_hook_holds_the_feed_back_and_misses_nothing),
        cmocka_unit_test(a_read_that_failed_is_tried_again_and_nothing_is_missed),
        cmocka_unit_test(a_retry_that_nobody_waits_for_wakes_nobody),
    };
    return cmocka_run_group_tests_name("node/feed", tests, NULL, NULL);
}

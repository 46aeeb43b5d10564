/* What outlives the process in the page shared with its guardian. */
#include "rig.h"

#include "node/node_internal.h"

static void a_promise_is_read_back_as_it_was_written(void **ctx)
{
    (void)ctx;
    static struct guardian_page page;
    struct raft_promise read;
    assert_true(page_read_promise(&page, &read)); /* none is known to be none */
    assert_int_equal(read.leader, 0);
    struct raft_promise written = {.leader = 3, .term = 9, .until_us = 77};
    written.incarnation.hash[31] = 5;
    page_write_promise(&page, &written);
    assert_true(page_read_promise(&page, &read));
    assert_memory_equal(&read, &written, sizeof read);
}

static void a_promise_torn_in_writing_is_unknown_until_the_next(void **ctx)
{
    (void)ctx;
    static struct guardian_page page;
    page_write_promise(&page, &(struct raft_promise){.leader = 3, .term = 9, .until_us = 77});
    atomic_fetch_add(&page.promise_seq, 1); /* killed in the middle */
    struct raft_promise read;
    assert_false(page_read_promise(&page, &read));
    page_write_promise(&page, &(struct raft_promise){.leader = 4, .term = 10, .until_us = 99});
    assert_true(page_read_promise(&page, &read));
    assert_int_equal(read.leader, 4);
}

/* ---- a node that was killed while it wrote ---- */

struct host { /* hand-made ports around one simulated disk */
    struct world *world;
    struct sim_clock clock;
    struct sim_fs *fs;
    struct sim_executor executor;
    struct guardian_page page;
};

static void fill(void *ctx, void *out, size_t size_bytes)
{
    (void)ctx;
    memset(out, 7, size_bytes);
}

static struct node *open_node(struct host *h, const struct entropy_port *entropy)
{
    struct cluster_options defaults = cluster_defaults(1);
    struct node_options options = {.name = "n1", .id = 1, .cluster = "t", .raft = defaults.raft};
    options.members.count = 2;
    options.members.at[0] = (struct membership_member){.id = 1, .name = "n1", .voter = true};
    options.members.at[1] = (struct membership_member){.id = 2, .name = "n2", .voter = true};
    const struct node_ports ports = {.clock = sim_clock_port(&h->clock),
                                     .entropy = entropy,
                                     .fs = sim_fs_port(h->fs),
                                     .disk = &h->executor.port,
                                     .page = &h->page};
    struct node *n = NULL;
    struct why why = {""};
    assert_int_equal(node_open(&options, &ports, &n, &why), ERR_OK);
    return n;
}

static void a_node_with_a_torn_promise_is_quiet_for_the_longest_lease(void **ctx)
{
    (void)ctx;
    static struct host h;
    h.world = world_new(1);
    const struct sim_clock_setup setup = {.boot_us = 1000 * SECOND, .wall_ms = 1700000000000};
    sim_clock_init(&h.clock, h.world, &setup);
    h.fs = sim_fs_new(1, "n1");
    const struct sim_disk_rule rule = {.job = {.min_us = 1, .max_us = 2}};
    sim_executor_init(&h.executor, h.world, h.fs, &rule);
    const struct entropy_port entropy = {.fill = fill};
    node_free(open_node(&h, &entropy));
    sim_fs_crash_process(h.fs);
    assert_int_equal(h.page.quiet_until_us, 0); /* it knows that it has promised nothing */
    atomic_fetch_add(&h.page.promise_seq, 1);
    uint64_t lease_us = cluster_defaults(1).raft.lease_us;
    node_free(open_node(&h, &entropy));
    assert_true(h.page.quiet_until_us >= sim_clock_now_us(&h.clock) + lease_us);
    sim_fs_free(h.fs);
    world_free(h.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_promise_is_read_back_as_it_was_written),
        cmocka_unit_test(a_promise_torn_in_writing_is_unknown_until_the_next),
        cmocka_unit_test(a_node_with_a_torn_promise_is_quiet_for_the_longest_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

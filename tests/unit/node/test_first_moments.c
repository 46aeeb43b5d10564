/* The first moments of a cluster: no leader yet, no machine, and clients that are there already. */
#include "rig.h"

enum { SEEDS = 20 };

static const char get[] = "[\"kv\",\"get\",{\"key\":\"k\"}]";
static const char get_by_lease[] = "[\"kv\",\"get\",{\"key\":\"k\"},{\"read\":\"lease\"}]";
static const char set[] = "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1}]";

static struct cluster *boot(uint64_t seed)
{
    struct cluster_options o = cluster_defaults(seed);
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    assert_true(cluster_run(c, 20 * MS)); /* all processes are up; nobody leads yet */
    assert_int_equal(cluster_leader(c), CLUSTER_NOBODY);
    return c;
}

/* What was asked before there was a leader, at the node that comes to lead and at the others. */
static void reads_and_commands_that_wait_for_the_first_leader_find_the_machine(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = boot(seed);
        struct answer reads[3], by_lease[3], writes[3];
        for (uint32_t i = 0; i < 3; i++) {
            rig_ask(c, i, "query", get, &reads[i]);
            rig_ask(c, i, "query", get_by_lease, &by_lease[i]);
            rig_ask(c, i, "propose", set, &writes[i]);
        }
        for (uint32_t i = 0; i < 3; i++) {
            rig_await(c, &reads[i], 5 * SECOND);
            rig_await(c, &by_lease[i], 5 * SECOND);
            rig_await(c, &writes[i], 5 * SECOND);
            assert_string_equal(reads[i].message, "");
            assert_string_equal(by_lease[i].message, "");
            assert_string_equal(writes[i].message, "");
        }
        rig_end(c);
    }
}

/* The same as soon as somebody leads: its no-op is committed before the machine is. */
static void reads_find_the_machine_from_the_first_leaders_first_moment_on(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = boot(seed);
        while (cluster_leader(c) == CLUSTER_NOBODY) {
            assert_true(cluster_run(c, 100));
        }
        static struct answer a[3 * 40];
        for (int i = 0; i < 40; i++) {
            for (uint32_t host = 0; host < 3; host++) {
                rig_ask(c, host, "query", i % 2 == 0 ? get : get_by_lease, &a[3 * i + (int)host]);
            }
            assert_true(cluster_run(c, 250));
        }
        for (int i = 0; i < 3 * 40; i++) {
            rig_await(c, &a[i], SECOND);
            assert_answer(a[i], "null");
        }
        rig_end(c);
    }
}

/* They wait for the shipped machine even if it cannot be installed, but not longer than that. */
static void a_machine_that_does_not_install_holds_up_nothing(void **ctx)
{
    (void)ctx;
    static const char source[] = "return { name='kv', version=1, init=function(st) error('no') end,"
                                 " apply={}, query={} }";
    struct cluster_options o = cluster_defaults(5);
    o.kv_source = source;
    o.kv_source_size = sizeof source - 1;
    struct cluster *c = rig_start_with(&o);
    struct answer a = rig_call(c, cluster_leader(c), "query", get);
    assert_refused(a, ERR_NOT_FOUND);
    assert_non_null(strstr(a.message, "no machine is named"));
    struct answer barrier = rig_call(c, cluster_leader(c), "barrier", "[]");
    assert_int_equal(barrier.err, ERR_OK);
    rig_end(c);
}

/* A test's own commands may come between the election and the end of its round. */
static void a_submitted_command_goes_behind_the_machine_too(void **ctx)
{
    (void)ctx;
    struct cluster *c = boot(3);
    while (cluster_leader(c) == CLUSTER_NOBODY) {
        assert_true(world_step(cluster_world(c), UINT64_MAX));
    }
    struct node *n = sim_process_node(cluster_host(c, cluster_leader(c)));
    struct raft_pos at;
    assert_int_equal(node_submit(n, bytes_of_string("first"), &at), ERR_OK);
    assert_int_equal(at.index, 3); /* the term's first entry, the machine, the command */
    sim_process_disturbed(cluster_host(c, cluster_leader(c)));
    assert_true(cluster_run(c, SECOND));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_commands_that_wait_for_the_first_leader_find_the_machine),
        cmocka_unit_test(reads_find_the_machine_from_the_first_leaders_first_moment_on),
        cmocka_unit_test(a_submitted_command_goes_behind_the_machine_too),
        cmocka_unit_test(a_machine_that_does_not_install_holds_up_nothing),
    };
    return cmocka_run_group_tests_name("node/first_moments", tests, NULL, NULL);
}

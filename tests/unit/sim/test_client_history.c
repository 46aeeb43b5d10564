/* What the simulated clients saw is held against two judges: the order of the log, and the
 * linearizability checker, which knows nothing of logs. Each must notice a stale read by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/cluster.h"

enum { MS = 1000, SECOND = 1000 * MS };

/* Registers that change often, read from nodes that are 50 to 100 ms behind. */
static struct cluster_options hurried(uint64_t seed)
{
    struct cluster_options o = cluster_defaults(seed);
    o.clients.clients = 6;
    o.clients.registers = 2;
    o.clients.pause = (struct sim_span){.min_us = MS, .max_us = 5 * MS};
    return o;
}

static struct cluster *run(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    cluster_run(c, 2 * SECOND);
    return c;
}

static const char *rule_violated(const struct cluster *c)
{
    const struct safety_violation *v = safety_violation(cluster_safety((struct cluster *)c));
    return v != NULL ? v->rule : "none";
}

static void honest_answers_pass_both_judges(void **state)
{
    (void)state;
    struct cluster_options o = hurried(1);
    struct cluster *c = run(&o);
    assert_true(sim_clients_stats(cluster_clients(c))->gets_done > 50);
    assert_true(cluster_check_history(c));
    assert_string_equal(rule_violated(c), "none");
    cluster_free(c);
}

static void the_log_as_witness_shows_a_stale_read(void **state)
{
    (void)state;
    struct cluster_options o = hurried(1);
    o.clients.local_gets = 0.2;
    struct cluster *c = run(&o);
    assert_string_equal(rule_violated(c), "linearizable");
    cluster_free(c);
}

static void a_stale_read_is_noticed_without_a_witness(void **state)
{
    (void)state;
    struct cluster_options o = hurried(1);
    o.clients.local_gets = 0.2;
    o.clients.unwitnessed = true;
    struct cluster *c = run(&o);
    assert_string_equal(rule_violated(c), "none");
    assert_false(cluster_check_history(c));
    assert_string_equal(rule_violated(c), "linearizable history");
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_answers_pass_both_judges),
        cmocka_unit_test(the_log_as_witness_shows_a_stale_read),
        cmocka_unit_test(a_stale_read_is_noticed_without_a_witness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

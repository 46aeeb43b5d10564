/* Crashes and failing disks: whatever was reported durable is there afterwards, and what else is
 * there was written, in order. */
#include "model.h"

/* The load of one run. It ends early when the store fails. */
static void load(struct rig *r, struct model *m, struct rng *rng, unsigned steps)
{
    for (unsigned i = 0; i < steps && r->failures == 0; i++) {
        model_step(m, r, rng);
        for (uint64_t jobs = rng_range(rng, 0, 4); jobs > 0; jobs--) {
            rig_step(r);
            model_durable(m, r->durable_seq);
        }
        if (rng_chance(rng, 0.1)) {
            store_poll(r->store);
        }
    }
}

static void finish(struct rig *r, struct model *m)
{
    rig_run(r);
    model_durable(m, r->durable_seq);
}

static void reopen(struct rig *r, struct model *m)
{
    rig_must_open(r);
    model_check(m, r);
}

enum { STEPS = 60 };

static void begin(struct rig *r, struct model *m, struct rng *rng, uint64_t seed)
{
    rig_init(r, seed, false);
    *m = (struct model){0};
    rng_seed(rng, seed + 1000);
}

static uint64_t operations_of_script(uint64_t seed)
{
    struct rig r;
    struct model m;
    struct rng rng;
    begin(&r, &m, &rng, seed);
    rig_must_open(&r);
    load(&r, &m, &rng, STEPS);
    finish(&r, &m);
    assert_int_equal(r.failures, 0);
    assert_int_equal(r.durable_seq, m.seq);
    uint64_t operations = sim_fs_operations(r.sim);
    rig_drop(&r);
    reopen(&r, &m);
    rig_close(&r);
    model_close(&m);
    return operations;
}

/* The disk stops at operation n; then the process or the machine crashes. */
static void stop_at(uint64_t seed, uint64_t n, bool host)
{
    struct rig r;
    struct model m;
    struct rng rng;
    begin(&r, &m, &rng, seed);
    sim_fs_stop_after(r.sim, n);
    enum err err = rig_open(&r);
    if (err == ERR_OK) {
        load(&r, &m, &rng, STEPS);
        finish(&r, &m);
        assert_int_equal(r.failures, 1);
        assert_int_equal(r.failure, ERR_IO);
        assert_true(r.why.text[0] != 0);
    } else {
        assert_int_equal(err, ERR_IO);
    }
    rig_crash(&r, host);
    reopen(&r, &m);
    load(&r, &m, &rng, 5);
    finish(&r, &m);
    assert_int_equal(r.failures, 0);
    rig_crash(&r, true);
    reopen(&r, &m);
    assert_int_equal(m.atoms_count, 0);
    rig_close(&r);
    model_close(&m);
}

static void a_crash_at_any_operation_loses_nothing_durable(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        uint64_t operations = operations_of_script(seed);
        assert_true(operations > 150);
        for (uint64_t n = 0; n < operations; n++) {
            stop_at(seed, n, false);
            stop_at(seed, n, true);
        }
    }
}

/* Operation n fails once. The store stops acknowledging, or the operation did not matter; the next
 * process finds all that was reported, and what that one reports survives the machine. */
static void a_failure_of_any_operation_loses_nothing_durable(void **state)
{
    (void)state;
    uint64_t operations = operations_of_script(3);
    for (uint64_t n = 1; n <= operations; n++) {
        struct rig r;
        struct model m;
        struct rng rng;
        begin(&r, &m, &rng, 3);
        sim_fs_fail(r.sim, SIM_FS_ANY & ~(unsigned)SIM_FS_READ, n, ERR_IO);
        if (rig_open(&r) == ERR_OK) {
            load(&r, &m, &rng, STEPS);
            finish(&r, &m);
            assert_in_range(r.failures, 0, 1);
            if (r.failures > 0) {
                uint64_t reported = r.durable_seq;
                model_write(&m, &r, &rng, true, false, 1);
                finish(&r, &m);
                assert_int_equal(r.durable_seq, reported);
            }
        }
        rig_crash(&r, false);
        sim_fs_heal(r.sim);
        reopen(&r, &m);
        /* What was found is relied upon now: it must not be only in the system's cache. */
        rig_crash(&r, true);
        reopen(&r, &m);
        load(&r, &m, &rng, 3);
        finish(&r, &m);
        rig_crash(&r, true);
        reopen(&r, &m);
        rig_close(&r);
        model_close(&m);
    }
}

/* Want of space at any site that may want it is no failure: it goes on when there is some. */
static void no_space_at_any_operation_is_survived(void **state)
{
    (void)state;
    uint64_t operations = operations_of_script(4);
    for (uint64_t n = 1; n <= operations; n++) {
        struct rig r;
        struct model m;
        struct rng rng;
        begin(&r, &m, &rng, 4);
        sim_fs_fail(r.sim, SIM_FS_WRITE | SIM_FS_ALLOCATE | SIM_FS_NAMES, n, ERR_NO_SPACE);
        enum err err = rig_open(&r);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NO_SPACE);
            assert_true(r.why.text[0] != 0);
            rig_must_open(&r);
        }
        load(&r, &m, &rng, STEPS);
        finish(&r, &m);
        store_poll(r.store);
        finish(&r, &m);
        assert_int_equal(r.failures, 0);
        assert_true(store_accepts_entries(r.store));
        assert_int_equal(r.durable_seq, m.seq);
        sim_fs_heal(r.sim);
        rig_crash(&r, true);
        reopen(&r, &m);
        rig_close(&r);
        model_close(&m);
    }
}

static void a_full_disk_takes_term_and_vote_and_recovers_by_itself(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 5, false);
    rig_must_open(&r);
    rig_run(&r);
    sim_fs_set_capacity(r.sim, sim_fs_used_bytes(r.sim));
    uint64_t seq = 0, index = 1;
    while (store_accepts_entries(r.store)) {
        rig_write(&r, ++seq, index++, 1, 1, 1000);
        rig_run(&r);
        assert_int_equal(r.durable_seq, seq); /* what was accepted found room */
        assert_true(index < 100);
    }
    for (uint64_t term = 2; term < 100; term++) {
        rig_vote(&r, ++seq, term, 1);
        rig_run(&r);
        store_poll(r.store);
        rig_run(&r);
        assert_int_equal(r.durable_seq, seq);
    }
    assert_false(store_accepts_entries(r.store));
    rig_crash(&r, true);
    rig_must_open(&r); /* starts on a full disk */
    assert_int_equal(r.recovered.term, 99);
    assert_int_equal(r.recovered.last.index, index - 1);
    assert_false(store_accepts_entries(r.store));
    /* More than there is room for: waits, and is not lost. */
    seq = 0;
    for (int i = 0; i < 30; i++) {
        rig_write(&r, ++seq, index++, 1, 99, 1000);
    }
    rig_run(&r);
    assert_true(r.durable_seq < seq);
    assert_int_equal(r.failures, 0);
    sim_fs_set_capacity(r.sim, UINT64_MAX);
    store_poll(r.store);
    rig_run(&r);
    assert_true(store_accepts_entries(r.store));
    assert_int_equal(r.durable_seq, seq);
    rig_crash(&r, true);
    rig_must_open(&r);
    assert_int_equal(r.recovered.last.index, index - 1);
    rig_check_bodies(&r);
    rig_close(&r);
}

/* A crash somewhere inside the oldest job, or between jobs. */
static void crash_somewhere(struct rig *r, struct rng *rng)
{
    bool host = rng_chance(rng, 0.6);
    if (r->first != NULL && rng_chance(rng, 0.7)) {
        sim_fs_job_begin(r->sim);
        r->first->run(r->first);
    }
    rig_crash(r, host);
}

static void one_seed(uint64_t seed)
{
    struct rig r;
    struct model m;
    struct rng rng;
    begin(&r, &m, &rng, seed);
    r.options.segment_bytes = rng_range(&rng, 2, 9) * 4096;
    while (rig_open(&r) != ERR_OK) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, r.why.text);
    }
    for (int life = 0; life < 8; life++) {
        load(&r, &m, &rng, (unsigned)rng_range(&rng, 0, 40));
        crash_somewhere(&r, &rng);
        for (uint64_t i = rng_range(&rng, 0, 4); i > 1; i--) { /* crashes while recovering */
            sim_fs_stop_after(r.sim, rng_range(&rng, 0, 8));
            enum err err = rig_open(&r);
            assert_true(err == ERR_OK || err == ERR_IO);
            rig_crash(&r, rng_chance(&rng, 0.5));
        }
        reopen(&r, &m);
    }
    rig_close(&r);
    model_close(&m);
}

static void random_lives_lose_nothing_durable(void **state)
{
    (void)state;
    const char *only = getenv("SEED");
    const char *count = getenv("SEEDS");
    uint64_t seeds = count != NULL ? strtoull(count, NULL, 10) : 300;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (only == NULL || seed == strtoull(only, NULL, 10)) {
            one_seed(seed);
        }
    }
}

static void two_runs_of_a_seed_are_the_same(void **state)
{
    (void)state;
    assert_int_equal(operations_of_script(7), operations_of_script(7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_operation_loses_nothing_durable),
        cmocka_unit_test(a_failure_of_any_operation_loses_nothing_durable),
        cmocka_unit_test(no_space_at_any_operation_is_survived),
        cmocka_unit_test(a_full_disk_takes_term_and_vote_and_recovers_by_itself),
        cmocka_unit_test(random_lives_lose_nothing_durable),
        cmocka_unit_test(two_runs_of_a_seed_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Snapshots under faults of hosts and disks, at every step of taking and of installing one. */
#include "snapshots.h"

/* MK_STRIDE=4: every fourth of the steps at which something fails, for sanitizers; what a step does
 * to the data is seen without them. It is not to be divided by 3: seeds take turns. */
static uint64_t stride(void)
{
    const char *text = getenv("MK_STRIDE");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

/* ---- crashes -------------------------------------------------------------------------------- */

/* Lets the world go on until the host has begun so many jobs of its disk. False: it has installed a
 * snapshot before that. */
static bool until_job(struct cluster *c, uint32_t host, uint64_t job)
{
    uint64_t installed = installs(c);
    uint64_t until_us = world_now_us(cluster_world(c)) + 20 * SECOND;
    while (jobs(c, host) < job && installs(c) == installed) {
        assert_true(world_step(cluster_world(c), until_us));
    }
    return installs(c) == installed;
}

/* At each job that the disk of a follower has to do from the first chunk to the new log. */
static void crash_at_each_job_of_an_install(enum sim_end how)
{
    uint64_t at = 1;
    for (bool during = true; during; at += stride()) {
        struct cluster_options o = options(at % 3 + 1);
        struct cluster *c = start(&o);
        uint32_t victim = come_back_late(c);
        during = until_job(c, victim, jobs(c, victim) + at);
        if (during) {
            sim_process_end(cluster_host(c, victim), how);
            cluster_boot_all(c);
            assert_true(cluster_run(c, 100 * MS));
        }
        end(c);
    }
    assert_true(at > 12);
}

static void power_lost_at_any_step_of_an_install_loses_nothing(void **state)
{
    (void)state;
    crash_at_each_job_of_an_install(SIM_END_HOST);
}

static void a_crash_at_any_step_of_an_install_loses_nothing(void **state)
{
    (void)state;
    crash_at_each_job_of_an_install(SIM_END_CRASH);
}

/* The leader takes a snapshot about every fifty jobs of its disk, and cuts its log behind it. */
static void crash_at_each_job_of_a_save(enum sim_end how)
{
    for (uint64_t at = how == SIM_END_HOST ? 1 : 2; at <= 60; at += 4 * stride()) {
        struct cluster_options o = options(at % 3 + 1);
        struct cluster *c = start(&o);
        uint32_t leader = cluster_leader(c);
        uint64_t until_us = world_now_us(cluster_world(c)) + 20 * SECOND;
        uint64_t taken = events_of(c, leader, "snapshot");
        while (events_of(c, leader, "snapshot") == taken) {
            assert_true(world_step(cluster_world(c), until_us));
        }
        uint64_t job = jobs(c, leader) + at;
        while (jobs(c, leader) < job) {
            assert_true(world_step(cluster_world(c), until_us));
        }
        sim_process_end(cluster_host(c, leader), how);
        cluster_boot_all(c);
        end(c);
    }
}

static void power_lost_at_any_step_of_a_save_loses_nothing(void **state)
{
    (void)state;
    crash_at_each_job_of_a_save(SIM_END_HOST);
}

static void a_crash_at_any_step_of_a_save_loses_nothing(void **state)
{
    (void)state;
    crash_at_each_job_of_a_save(SIM_END_CRASH);
}

/* ---- disks that refuse ---------------------------------------------------------------------- */

static const unsigned changes =
    SIM_FS_WRITE | SIM_FS_SYNC | SIM_FS_ALLOCATE | SIM_FS_NAMES | SIM_FS_SYNC_DIR;

struct trial {
    uint32_t victim;
    uint64_t installed;
};

static bool is_decided(struct cluster *c, void *arg)
{
    const struct trial *x = arg;
    return installs(c) > x->installed || sim_process_down(cluster_host(c, x->victim));
}

/* The nth operation of the disk of a follower fails, from the first chunk on. False: it had
 * installed the snapshot before that. */
static bool fail_in_install(uint64_t nth, unsigned kinds, enum err err)
{
    struct cluster_options o = options(nth % 3 + 1);
    struct cluster *c = start(&o);
    uint32_t victim = come_back_late(c);
    sim_fs_fail(sim_process_disk(cluster_host(c, victim)), kinds, nth, err);
    struct trial x = {.victim = victim, .installed = installs(c)};
    assert_true(until(c, is_decided, &x, 20 * SECOND));
    bool failed = sim_process_down(cluster_host(c, victim));
    assert_true(err == ERR_IO || !failed); /* what is full now may have room later */
    end(c);
    return err == ERR_IO ? failed : nth < 60;
}

/* A node whose disk fails ends, and holds nothing that it has not: at each operation. */
static void a_disk_that_fails_at_any_step_of_an_install_loses_nothing(void **state)
{
    (void)state;
    uint64_t nth = 1;
    while (fail_in_install(nth, changes, ERR_IO)) {
        nth += stride();
    }
    assert_true(nth > 20);
}

static void no_space_at_any_step_of_an_install_is_survived(void **state)
{
    (void)state;
    const unsigned kinds = SIM_FS_WRITE | SIM_FS_ALLOCATE | SIM_FS_NAMES;
    for (uint64_t nth = 1; fail_in_install(nth, kinds, ERR_NO_SPACE); nth += stride()) {
    }
}

/* True: the leader ended. */
static bool fail_in_save(uint64_t nth, unsigned kinds, enum err err)
{
    struct cluster_options o = options(nth % 3 + 1);
    struct cluster *c = start(&o);
    uint32_t leader = cluster_leader(c);
    sim_fs_fail(sim_process_disk(cluster_host(c, leader)), kinds, nth, err);
    assert_true(cluster_run(c, SECOND));
    bool ended = sim_process_down(cluster_host(c, leader));
    assert_true(err == ERR_IO || !ended);
    end(c);
    return ended;
}

/* Only the removal of a snapshot that is not needed any more may fail and be tried again. */
static void a_disk_that_fails_at_any_step_of_a_save_loses_nothing(void **state)
{
    (void)state;
    int ended = 0;
    for (uint64_t nth = 1; nth <= 80; nth += 4) {
        ended += fail_in_save(nth, changes, ERR_IO);
    }
    assert_in_range(ended, 18, 20);
}

static void no_space_at_any_step_of_a_save_is_survived(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 60; nth += 4 * stride()) {
        fail_in_save(nth, SIM_FS_WRITE | SIM_FS_ALLOCATE | SIM_FS_NAMES, ERR_NO_SPACE);
    }
}

/* A disk that stays full: the follower waits for room, and has all of it when there is some. */
static void a_snapshot_waits_for_room_on_a_full_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster_options o = options(seed);
        struct cluster *c = start(&o);
        uint32_t victim = come_back_late(c);
        struct sim_fs *disk = sim_process_disk(cluster_host(c, victim));
        sim_fs_set_capacity(disk, sim_fs_used_bytes(disk) + 700 * seed);
        uint64_t installed = installs(c);
        assert_true(cluster_run(c, seed * 5 * SECOND));
        assert_int_equal(installs(c), installed);
        assert_false(sim_process_down(cluster_host(c, victim)));
        sim_fs_set_capacity(disk, UINT64_MAX);
        assert_true(cluster_run(c, 11 * SECOND)); /* it is asked again every ten seconds at least */
        assert_true(installs(c) > installed);
        end(c);
    }
}

/* ---- disks that lie ------------------------------------------------------------------------- */

struct newest {
    char name[64];
};

static void take_name(void *arg, const char *name)
{
    struct newest *newest = arg;
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".snap") == 0) {
        snprintf(newest->name, sizeof newest->name, "snapshot/%.40s", name);
    }
}

static const char *snapshot_of(struct cluster *c, uint32_t host, struct newest *newest)
{
    const struct fs_port *fs = sim_fs_port(sim_process_disk(cluster_host(c, host)));
    newest->name[0] = 0;
    assert_int_equal(fs->v->list(fs->ctx, "snapshot", take_name, newest), ERR_OK);
    assert_true(newest->name[0] != 0);
    return newest->name;
}

static void note_refusal(void *ctx, uint32_t host, enum err err, const char *why)
{
    uint32_t *refused = ctx;
    (void)host;
    (void)why;
    *refused += err == ERR_CORRUPT;
}

/* A bit of the snapshot in place of a node is not what it was, and the log before it is gone. The
 * node does not start with less than it had: without it there is no majority, so nobody leads. */
static void a_node_with_a_flipped_bit_in_its_snapshot_never_wins(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed += stride()) {
        uint32_t refused = 0;
        struct cluster_options o = options(seed);
        o.refused = note_refusal;
        o.told_ctx = &refused;
        struct cluster *c = start(&o);
        sim_clients_stop(cluster_clients(c));
        assert_true(cluster_run(c, SECOND));
        uint32_t victim = (uint32_t)seed % 3;
        struct sim_fs *disk = sim_process_disk(cluster_host(c, victim));
        struct newest newest;
        const char *name = snapshot_of(c, victim, &newest);
        uint64_t bytes = sim_fs_written_bytes(disk, name);
        for (uint32_t i = 0; i < 3; i++) {
            sim_process_end(cluster_host(c, i), SIM_END_KILLED);
        }
        assert_true(sim_fs_flip(disk, name, bytes * seed / 13, (uint8_t)(1u << seed % 8)));
        sim_process_restart(cluster_host(c, victim));
        sim_process_restart(cluster_host(c, (victim + 1) % 3));
        assert_true(cluster_run(c, 3 * SECOND));
        assert_true(refused > 0);
        assert_true(sim_process_node(cluster_host(c, victim)) == NULL);
        assert_int_equal(cluster_leader(c), CLUSTER_NOBODY);
        sim_process_restart(cluster_host(c, (victim + 2) % 3));
        sim_clients_start(cluster_clients(c));
        end(c);
    }
}

/* The leader's own copy is damaged while it leads: who is sent that does not take it, and gets the
 * next one. */
static void a_damaged_snapshot_is_not_installed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed += stride()) {
        struct cluster_options o = options(seed);
        struct cluster *c = start(&o);
        uint32_t leader = cluster_leader(c);
        uint32_t victim = come_back_late(c);
        struct sim_fs *disk = sim_process_disk(cluster_host(c, leader));
        struct newest newest;
        const char *name = snapshot_of(c, leader, &newest);
        uint64_t bytes = sim_fs_written_bytes(disk, name);
        assert_true(sim_fs_flip(disk, name, bytes * seed / 13, (uint8_t)(1u << seed % 8)));
        uint64_t installed = installs(c);
        assert_true(cluster_run(c, 12 * SECOND));
        assert_true(installs(c) > installed || applied(c, victim) > 0);
        end(c);
    }
}

/* The same, and then nobody writes any more: no policy asks for the next one. In many chunks, or
 * all of it in one. */
static void a_damaged_snapshot_that_nobody_takes_is_replaced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed += stride()) {
        struct cluster_options o = options(seed);
        o.snapshot.chunk_bytes = seed % 2 == 0 ? 1 << 20 : o.snapshot.chunk_bytes;
        struct cluster *c = start(&o);
        uint32_t leader = cluster_leader(c);
        uint32_t victim = follower_of(leader);
        sim_process_end(cluster_host(c, victim), SIM_END_KILLED);
        commit_more(c, 60);
        sim_clients_stop(cluster_clients(c));
        assert_true(cluster_run(c, SECOND));
        take_snapshot(c, leader);
        assert_int_equal(set(c, leader, "k", bytes_of("v", 1), NULL), ERR_OK);
        struct sim_fs *disk = sim_process_disk(cluster_host(c, leader));
        struct newest newest;
        const char *name = snapshot_of(c, leader, &newest);
        uint64_t bytes = sim_fs_written_bytes(disk, name);
        assert_true(sim_fs_flip(disk, name, bytes * seed / 13, (uint8_t)(1u << seed % 8)));
        sim_process_restart(cluster_host(c, victim));
        assert_true(cluster_await_agreement(c, 20 * SECOND));
        sim_clients_start(cluster_clients(c));
        end(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_lost_at_any_step_of_an_install_loses_nothing),
        cmocka_unit_test(a_crash_at_any_step_of_an_install_loses_nothing),
        cmocka_unit_test(power_lost_at_any_step_of_a_save_loses_nothing),
        cmocka_unit_test(a_crash_at_any_step_of_a_save_loses_nothing),
        cmocka_unit_test(a_disk_that_fails_at_any_step_of_an_install_loses_nothing),
        cmocka_unit_test(no_space_at_any_step_of_an_install_is_survived),
        cmocka_unit_test(a_disk_that_fails_at_any_step_of_a_save_loses_nothing),
        cmocka_unit_test(no_space_at_any_step_of_a_save_is_survived),
        cmocka_unit_test(a_snapshot_waits_for_room_on_a_full_disk),
        cmocka_unit_test(a_node_with_a_flipped_bit_in_its_snapshot_never_wins),
        cmocka_unit_test(a_damaged_snapshot_is_not_installed),
        cmocka_unit_test(a_damaged_snapshot_that_nobody_takes_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

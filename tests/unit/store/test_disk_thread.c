/* The real executor under a real store: jobs run in order on their own thread, and their ends come
 * back to the thread that asked. */
#include <pthread.h>
#include <sys/eventfd.h>

#include "net/disk_thread.h"
#include "net/system_entropy.h"
#include "rig.h"

struct loop {
    struct disk_thread *disk;
    int wake;
};

static void on_wake(void *ctx)
{
    const struct loop *l = ctx;
    assert_int_equal(eventfd_write(l->wake, 1), 0);
}

static void start(struct loop *l)
{
    l->wake = eventfd(0, EFD_CLOEXEC);
    assert_true(l->wake >= 0);
    assert_int_equal(disk_thread_start(on_wake, l, &l->disk), ERR_OK);
}

static void turn(struct loop *l)
{
    eventfd_t count;
    assert_int_equal(eventfd_read(l->wake, &count), 0);
    disk_thread_drain(l->disk);
}

struct numbered {
    struct executor_job job;
    pthread_t ran_on;
    unsigned *next;
    unsigned ran_as, done_as;
};

static void number_run(struct executor_job *job)
{
    ((struct numbered *)job)->ran_on = pthread_self();
}

static void number_done(struct executor_job *job)
{
    struct numbered *n = (struct numbered *)job;
    n->done_as = ++*n->next;
}

static void jobs_run_elsewhere_and_are_done_here_in_order(void **state)
{
    (void)state;
    enum { JOBS = 1000 };
    struct loop l;
    unsigned next = 0;
    struct numbered *jobs = alloc_zeroed(JOBS, sizeof *jobs);
    start(&l);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].job = (struct executor_job){.run = number_run, .done = number_done};
        jobs[i].next = &next;
        executor_submit(disk_thread_port(l.disk), &jobs[i].job);
    }
    while (next < JOBS) {
        turn(&l);
    }
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done_as, i + 1);
        assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
    }
    disk_thread_stop(l.disk);
    close(l.wake);
    free(jobs);
}

static void stopping_ends_what_was_begun(void **state)
{
    (void)state;
    struct loop l;
    struct rig r;
    rig_init(&r, 1, true);
    start(&l);
    r.options.disk = disk_thread_port(l.disk);
    r.options.entropy = system_entropy();
    rig_must_open(&r);
    for (uint64_t i = 1; i <= 500; i++) {
        rig_write(&r, i, i, 1, 1, 200);
    }
    assert_int_equal(r.durable_seq, 0);
    disk_thread_stop(l.disk);
    assert_int_equal(r.durable_seq, 500);
    assert_true(store_idle(r.store));
    rig_drop(&r);
    r.options.disk = &r.disk;
    rig_must_open(&r);
    assert_int_equal(r.recovered.last.index, 500);
    rig_check_bodies(&r);
    rig_close(&r);
    close(l.wake);
}

static void read_done(struct store_read *read)
{
    *(bool *)read->ctx = true;
}

static void reads_and_writes_go_side_by_side(void **state)
{
    (void)state;
    struct loop l;
    struct rig r;
    rig_init(&r, 2, true);
    start(&l);
    r.options.disk = disk_thread_port(l.disk);
    rig_must_open(&r);
    for (uint64_t i = 1; i <= 200; i++) {
        rig_write(&r, i, i, 1, 1, 500);
        bool done = false;
        struct store_read read = {
            .lo = 1 + i / 2, .hi = i, .bytes_max = 4000, .done = read_done, .ctx = &done};
        store_read(r.store, &read);
        if (i % 50 == 0) {
            store_compact(r.store, (struct store_pos){.index = i / 4, .term = 1});
        }
        while (!done) {
            turn(&l);
        }
        assert_int_equal(read.err, ERR_OK);
        for (uint32_t e = 0; e < read.count; e++) {
            assert_true(rig_body_is(read.entries[e].body, read.lo + e, 1));
        }
        store_read_close(&read);
    }
    disk_thread_stop(l.disk);
    assert_int_equal(r.durable_seq, 200);
    rig_close(&r);
    close(l.wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_elsewhere_and_are_done_here_in_order),
        cmocka_unit_test(stopping_ends_what_was_begun),
        cmocka_unit_test(reads_and_writes_go_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

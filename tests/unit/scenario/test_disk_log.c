/* Comparing the logs that nodes left: what c:check() finds on real processes. */
#include "../net/check.h"

#include <ftw.h>

#include "net/disk_thread.h"
#include "net/posix_fs.h"
#include "net/system_entropy.h"
#include "node/node.h"
#include "scenario/disk_log.h"
#include "store/store.h"

#define LOG(first, ...)                                                                         \
    {                                                                                           \
        .base = (first)-1,                                                                      \
        .last =                                                                                 \
            (first)-1 + sizeof((struct disk_entry[]){__VA_ARGS__}) / sizeof(struct disk_entry), \
        .entries = (struct disk_entry[])                                                        \
        {                                                                                       \
            __VA_ARGS__                                                                         \
        }                                                                                       \
    }

static void logs_that_match_have_no_mismatch(void **state)
{
    (void)state;
    const struct disk_log a = LOG(1, {1, 10}, {1, 11}, {2, 12});
    const struct disk_log shorter = LOG(1, {1, 10});
    const struct disk_log other_end = LOG(1, {1, 10}, {1, 11}, {3, 99}, {3, 98});
    const struct disk_log compacted = LOG(3, {2, 12}, {4, 13});
    assert_int_equal(disk_log_mismatch(&a, &a), 0);
    assert_int_equal(disk_log_mismatch(&a, &shorter), 0);
    assert_int_equal(disk_log_mismatch(&a, &other_end), 0);
    assert_int_equal(disk_log_mismatch(&compacted, &a), 0);
    assert_true(disk_log_differ(&a, &other_end, 3));
    assert_false(disk_log_differ(&a, &shorter, 2)); /* it is not there */
}

static void a_difference_below_a_common_term_is_a_mismatch(void **state)
{
    (void)state;
    const struct disk_log a = LOG(1, {1, 10}, {1, 11}, {2, 12});
    const struct disk_log body = LOG(1, {1, 10}, {1, 77}, {2, 12});
    const struct disk_log term = LOG(1, {1, 10}, {3, 11}, {2, 12}, {4, 1});
    const struct disk_log last = LOG(2, {1, 11}, {2, 77});
    assert_int_equal(disk_log_mismatch(&a, &body), 2);
    assert_int_equal(disk_log_mismatch(&term, &a), 2);
    assert_int_equal(disk_log_mismatch(&a, &last), 3);
}

/* ---- from a directory ------------------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static void on_durable(void *ctx, uint64_t write_seq, struct store_pos last)
{
    (void)last;
    *(uint64_t *)ctx = write_seq;
}

static void on_failed(void *ctx, enum err err, const struct why *why)
{
    (void)ctx, (void)err;
    fail_msg("%s", why->text);
}

static void ignore_wake(void *ctx)
{
    (void)ctx;
}

static void write_log(const char *directory, const struct membership *members, const char *node)
{
    struct posix_fs *fs;
    struct disk_thread *disk;
    struct store *store;
    struct store_recovered recovered;
    uint64_t durable = 0;
    assert_int_equal(posix_fs_open(directory, &fs, NULL), ERR_OK);
    assert_int_equal(disk_thread_start(ignore_wake, NULL, &disk), ERR_OK);
    const struct store_options options = {
        .fs = posix_fs_port(fs),
        .disk = disk_thread_port(disk),
        .entropy = system_entropy(),
        .cluster_id = node_cluster_id("test", members),
        .node_id = membership_id(node),
        .node_name = node,
        .ctx = &durable,
        .durable = on_durable,
        .failed = on_failed,
    };
    assert_int_equal(store_open(&options, &store, &recovered, NULL), ERR_OK);
    const struct store_entry entries[] = {{.term = 1, .body = slice_copy(bytes_of_string("one"))},
                                          {.term = 2, .body = slice_copy(bytes_of_string("two"))}};
    store_write(store, &(struct store_write){.write_seq = 1,
                                             .hard_state = true,
                                             .term = 2,
                                             .lo = 1,
                                             .count = 2,
                                             .entries = entries});
    uint64_t end_us = now_us() + PATIENCE_US;
    while (durable == 0 && now_us() < end_us) {
        disk_thread_drain(disk);
    }
    assert_int_equal(durable, 1);
    disk_thread_stop(disk);
    store_close(store);
    posix_fs_close(fs);
    for (int i = 0; i < 2; i++) {
        struct slice body = entries[i].body;
        slice_close(&body);
    }
}

static void a_log_is_read_from_the_directory_of_its_node_only(void **state)
{
    (void)state;
    struct membership members = {.count = 1, .at = {{.id = membership_id("n1"), .name = "n1"}}};
    char directory[] = "/tmp/moonkeeper-XXXXXX";
    assert_non_null(mkdtemp(directory));
    write_log(directory, &members, "n1");
    struct disk_log log;
    struct why why = {""};
    assert_int_equal(disk_log_read(directory, "test", &members, "n1", &log, &why), ERR_OK);
    assert_int_equal(log.base, 0);
    assert_int_equal(log.last, 2);
    assert_int_equal(disk_log_at(&log, 1)->term, 1);
    assert_int_equal(disk_log_at(&log, 2)->term, 2);
    assert_true(disk_log_at(&log, 1)->hash != disk_log_at(&log, 2)->hash);
    disk_log_close(&log);
    assert_int_equal(disk_log_read(directory, "test", &members, "n2", &log, &why), ERR_WRONG_NODE);
    disk_log_close(&log);
    nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_that_match_have_no_mismatch),
        cmocka_unit_test(a_difference_below_a_common_term_is_a_mismatch),
        cmocka_unit_test(a_log_is_read_from_the_directory_of_its_node_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

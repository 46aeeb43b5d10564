/* The file system port: what both implementations must do, and what the simulated one does to those
 * who rely on more than it promises. */
#include "rig.h"

struct disk {
    struct rig rig; /* only its file system is used */
    const struct fs_port *fs;
};

static int on_sim(void **state)
{
    struct disk *d = NEW(struct disk);
    rig_init(&d->rig, 1, false);
    d->fs = d->rig.fs;
    *state = d;
    return 0;
}

static int on_posix(void **state)
{
    struct disk *d = NEW(struct disk);
    rig_init(&d->rig, 1, true);
    d->fs = d->rig.fs;
    *state = d;
    return 0;
}

static int end(void **state)
{
    struct disk *d = *state;
    rig_close(&d->rig);
    free(d);
    return 0;
}

static struct fs_file *open_file(const struct disk *d, const char *name, unsigned flags)
{
    struct fs_file *file;
    assert_int_equal(d->fs->v->open(d->fs->ctx, name, flags, &file), ERR_OK);
    return file;
}

static enum err put(const struct disk *d, struct fs_file *file, uint64_t at, const char *text)
{
    struct bytes piece = bytes_of_string(text);
    return d->fs->v->write(file, at, &piece, 1);
}

static void expect(const struct disk *d, struct fs_file *file, uint64_t at, const char *text)
{
    char found[256] = {0};
    size_t got;
    assert_int_equal(d->fs->v->read(file, at, found, strlen(text), &got), ERR_OK);
    assert_int_equal(got, strlen(text));
    assert_string_equal(found, text);
}

static bool exists(const struct disk *d, const char *name)
{
    struct fs_file *file;
    enum err err = d->fs->v->open(d->fs->ctx, name, FS_READ, &file);
    if (err == ERR_OK) {
        d->fs->v->close(file);
    }
    return err == ERR_OK;
}

/* ---- both ----------------------------------------------------------------------------------- */

static void bytes_are_read_as_written(void **state)
{
    const struct disk *d = *state;
    struct fs_file *file = open_file(d, "a", FS_WRITE | FS_CREATE);
    struct bytes pieces[200];
    for (int i = 0; i < 200; i++) {
        pieces[i] = bytes_of_string(i % 3 == 0 ? "" : i % 2 == 0 ? "even" : "odd");
    }
    assert_int_equal(d->fs->v->write(file, 10, pieces, 200), ERR_OK);
    uint64_t size;
    d->fs->v->size(file, &size);
    uint64_t expected = 10;
    for (int i = 0; i < 200; i++) {
        if (pieces[i].size > 0) {
            expect(d, file, expected, i % 2 == 0 ? "even" : "odd");
        }
        expected += pieces[i].size;
    }
    assert_int_equal(size, expected);
    char found[16];
    size_t got;
    assert_int_equal(d->fs->v->read(file, size - 3, found, 16, &got), ERR_OK);
    assert_int_equal(got, 3);
    assert_int_equal(d->fs->v->read(file, size + 100, found, 16, &got), ERR_OK);
    assert_int_equal(got, 0);
    d->fs->v->close(file);
}

static void an_allocated_file_reads_as_zeroes_and_keeps_what_it_had(void **state)
{
    const struct disk *d = *state;
    struct fs_file *file = open_file(d, "a", FS_WRITE | FS_CREATE);
    uint8_t found[9000];
    size_t got;
    uint64_t size;
    put(d, file, 0, "here");
    assert_int_equal(d->fs->v->allocate(file, 9000), ERR_OK);
    assert_int_equal(d->fs->v->allocate(file, 100), ERR_OK); /* never shrinks */
    d->fs->v->size(file, &size);
    assert_int_equal(size, 9000);
    assert_int_equal(d->fs->v->read(file, 0, found, 9000, &got), ERR_OK);
    assert_memory_equal(found, "here", 4);
    for (size_t i = 4; i < 9000; i++) {
        assert_int_equal(found[i], 0);
    }
    put(d, file, 5000, "tail");
    assert_int_equal(d->fs->v->truncate(file, 5002), ERR_OK);
    assert_int_equal(d->fs->v->truncate(file, 6000), ERR_OK);
    assert_int_equal(d->fs->v->read(file, 5000, found, 9000, &got), ERR_OK);
    assert_int_equal(got, 1000);
    assert_memory_equal(found, "ta\0\0\0", 5);
    d->fs->v->close(file);
}

static void names_are_created_renamed_removed_and_listed(void **state)
{
    const struct disk *d = *state;
    const struct fs_port *fs = d->fs;
    struct fs_file *file;
    assert_int_equal(fs->v->open(fs->ctx, "x", FS_WRITE, &file), ERR_NOT_FOUND);
    assert_int_equal(fs->v->open(fs->ctx, "dir/x", FS_WRITE | FS_CREATE, &file), ERR_NOT_FOUND);
    assert_int_equal(fs->v->make_dir(fs->ctx, "dir"), ERR_OK);
    assert_int_equal(fs->v->make_dir(fs->ctx, "dir"), ERR_OK);
    static const char *const names[] = {"dir/c", "dir/a", "dir/b"};
    for (size_t i = 0; i < 3; i++) {
        file = open_file(d, names[i], FS_WRITE | FS_CREATE | FS_EXCLUSIVE);
        assert_int_equal(put(d, file, 0, names[i]), ERR_OK);
        fs->v->close(file);
    }
    assert_int_equal(fs->v->open(fs->ctx, "dir/a", FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &file),
                     ERR_EXISTS);
    assert_int_equal(fs->v->rename(fs->ctx, "dir/c", "dir/a"), ERR_OK);
    assert_int_equal(fs->v->rename(fs->ctx, "dir/c", "dir/d"), ERR_NOT_FOUND);
    assert_int_equal(fs->v->remove(fs->ctx, "dir/nobody"), ERR_NOT_FOUND);
    file = open_file(d, "dir/a", FS_READ);
    expect(d, file, 0, "dir/c");
    fs->v->close(file);
    assert_int_equal(fs->v->sync_dir(fs->ctx, "dir"), ERR_OK);
    assert_int_equal(fs->v->sync_dir(fs->ctx, "."), ERR_OK);
    assert_int_equal(fs->v->list(fs->ctx, "nowhere", NULL, NULL), ERR_NOT_FOUND);
}

static void add_name(void *arg, const char *name)
{
    struct buffer *all = arg;
    buffer_add_format(all, "%s ", name);
}

static void a_listing_has_the_files_in_order(void **state)
{
    const struct disk *d = *state;
    const struct fs_port *fs = d->fs;
    static const char *const names[] = {"b", "dir/2", "a", "dir/1", "dir/10", "c"};
    fs->v->make_dir(fs->ctx, "dir");
    for (size_t i = 0; i < 6; i++) {
        fs->v->close(open_file(d, names[i], FS_WRITE | FS_CREATE));
    }
    struct buffer all = {0};
    assert_int_equal(fs->v->list(fs->ctx, ".", add_name, &all), ERR_OK);
    assert_string_equal(buffer_text(&all), "a b c ");
    buffer_clear(&all);
    assert_int_equal(fs->v->list(fs->ctx, "dir", add_name, &all), ERR_OK);
    assert_string_equal(buffer_text(&all), "1 10 2 ");
    buffer_close(&all);
}

static void a_lock_is_exclusive_until_close(void **state)
{
    const struct disk *d = *state;
    struct fs_file *a = open_file(d, "lock", FS_WRITE | FS_CREATE);
    struct fs_file *b = open_file(d, "lock", FS_WRITE | FS_CREATE);
    assert_int_equal(d->fs->v->lock(a), ERR_OK);
    assert_int_equal(d->fs->v->lock(a), ERR_OK);
    assert_int_equal(d->fs->v->lock(b), ERR_LOCKED);
    d->fs->v->close(a);
    assert_int_equal(d->fs->v->lock(b), ERR_OK);
    d->fs->v->close(b);
}

/* ---- the simulated one ---------------------------------------------------------------------- */

enum { TRIES = 200 };

static struct disk fresh(uint64_t seed)
{
    struct disk d = {0};
    rig_init(&d.rig, seed, false);
    d.fs = d.rig.fs;
    return d;
}

static void synced_bytes_and_names_survive_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct disk d = fresh(seed);
        const struct fs_port *fs = d.fs;
        fs->v->make_dir(fs->ctx, "dir");
        struct fs_file *file = open_file(&d, "dir/a", FS_WRITE | FS_CREATE);
        put(&d, file, 0, "synced");
        fs->v->sync(file);
        fs->v->sync_dir(fs->ctx, "dir");
        fs->v->sync_dir(fs->ctx, ".");
        put(&d, file, 3, "NOT");
        fs->v->rename(fs->ctx, "dir/a", "dir/b");
        sim_fs_crash_host(d.rig.sim);
        assert_int_equal(put(&d, file, 0, "late"), ERR_IO); /* its process is gone */
        fs->v->close(file);
        bool renamed = exists(&d, "dir/b");
        assert_true(renamed != exists(&d, "dir/a"));
        file = open_file(&d, renamed ? "dir/b" : "dir/a", FS_READ);
        expect(&d, file, 0, "syn");
        fs->v->close(file);
        rig_close(&d.rig);
    }
}

static void unsynced_writes_are_kept_dropped_or_torn(void **state)
{
    (void)state;
    unsigned kept = 0, dropped = 0, torn = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct disk d = fresh(seed);
        struct fs_file *file = open_file(&d, "a", FS_WRITE | FS_CREATE);
        uint8_t block[2048], found[2048];
        memset(block, 'x', sizeof block);
        struct bytes piece = bytes_of(block, sizeof block);
        d.fs->v->allocate(file, sizeof block);
        d.fs->v->sync(file);
        d.fs->v->sync_dir(d.fs->ctx, ".");
        d.fs->v->write(file, 0, &piece, 1);
        sim_fs_crash_host(d.rig.sim);
        d.fs->v->close(file);
        file = open_file(&d, "a", FS_READ);
        size_t got, there = 0;
        d.fs->v->read(file, 0, found, sizeof found, &got);
        assert_int_equal(got, sizeof found);
        for (size_t i = 0; i < got; i++) {
            assert_true(found[i] == 0 || found[i] == 'x');
            there += found[i] == 'x';
        }
        kept += there == got;
        dropped += there == 0;
        torn += there > 0 && there < got;
        d.fs->v->close(file);
        rig_close(&d.rig);
    }
    assert_true(kept > TRIES / 10);
    assert_true(dropped > TRIES / 10);
    assert_true(torn > TRIES / 10);
}

static void a_crash_of_the_process_keeps_what_was_written_and_frees_locks(void **state)
{
    (void)state;
    struct disk d = fresh(1);
    struct fs_file *file = open_file(&d, "a", FS_WRITE | FS_CREATE);
    put(&d, file, 0, "written");
    assert_int_equal(d.fs->v->lock(file), ERR_OK);
    sim_fs_crash_process(d.rig.sim);
    struct fs_file *again = open_file(&d, "a", FS_WRITE);
    expect(&d, again, 0, "written");
    assert_int_equal(d.fs->v->lock(again), ERR_OK);
    d.fs->v->close(file); /* must not free the new lock */
    assert_int_equal(d.fs->v->lock(again), ERR_OK);
    d.fs->v->close(again);
    rig_close(&d.rig);
}

static void what_a_failed_sync_lost_stays_lost_unless_written_again(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct disk d = fresh(seed);
        struct fs_file *file = open_file(&d, "a", FS_WRITE | FS_CREATE);
        d.fs->v->allocate(file, 100);
        d.fs->v->sync(file);
        d.fs->v->sync_dir(d.fs->ctx, ".");
        put(&d, file, 0, "aaaabbbb");
        sim_fs_fail(d.rig.sim, SIM_FS_SYNC, 1, ERR_IO);
        assert_int_equal(d.fs->v->sync(file), ERR_IO);
        assert_int_equal(d.fs->v->sync(file), ERR_OK);
        expect(&d, file, 0, "aaaabbbb"); /* it looks fine */
        put(&d, file, 2, "aabb");        /* the middle is written again */
        assert_int_equal(d.fs->v->sync(file), ERR_OK);
        sim_fs_crash_host(d.rig.sim);
        d.fs->v->close(file);
        file = open_file(&d, "a", FS_READ);
        expect(&d, file, 2, "aabb");
        char first = 0;
        size_t got;
        d.fs->v->read(file, 0, &first, 1, &got);
        lost += first == 0;
        d.fs->v->close(file);
        rig_close(&d.rig);
    }
    assert_in_range(lost, TRIES / 10, TRIES * 9 / 10);
}

static void a_crash_inside_a_job_leaves_a_prefix_of_it(void **state)
{
    (void)state;
    unsigned seen[5] = {0};
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct disk d = fresh(seed);
        struct fs_file *file = open_file(&d, "a", FS_WRITE | FS_CREATE);
        d.fs->v->sync_dir(d.fs->ctx, ".");
        bool host = seed % 2 == 0;
        sim_fs_job_begin(d.rig.sim);
        put(&d, file, 0, "A");
        d.fs->v->sync(file);
        put(&d, file, 1, "B");
        d.fs->v->sync(file);
        d.fs->v->rename(d.fs->ctx, "a", "b");
        d.fs->v->sync_dir(d.fs->ctx, ".");
        if (host) {
            sim_fs_crash_host(d.rig.sim);
        } else {
            sim_fs_crash_process(d.rig.sim);
        }
        d.fs->v->close(file);
        bool renamed = exists(&d, "b");
        assert_true(renamed != exists(&d, "a"));
        file = open_file(&d, renamed ? "b" : "a", FS_READ);
        uint64_t size;
        d.fs->v->size(file, &size);
        assert_in_range(size, 0, 2);
        assert_true(!renamed || size == 2); /* in order */
        if (size > 0) {
            expect(&d, file, 0, size == 2 ? "AB" : "A");
        }
        seen[size]++;
        seen[3] += renamed;
        d.fs->v->close(file);
        rig_close(&d.rig);
    }
    for (int i = 0; i < 4; i++) {
        assert_true(seen[i] > 5);
    }
}

static void a_full_disk_says_so_and_a_stopped_one_does_nothing(void **state)
{
    (void)state;
    struct disk d = fresh(1);
    struct fs_file *file = open_file(&d, "a", FS_WRITE | FS_CREATE);
    d.fs->v->allocate(file, 5000);
    sim_fs_set_capacity(d.rig.sim, 6000);
    assert_int_equal(sim_fs_used_bytes(d.rig.sim), 5000);
    assert_int_equal(d.fs->v->allocate(file, 7000), ERR_NO_SPACE);
    assert_int_equal(put(&d, file, 5999, "two"), ERR_NO_SPACE);
    assert_int_equal(put(&d, file, 4999, "two"), ERR_OK);
    assert_int_equal(put(&d, file, 0, "one"), ERR_OK);
    d.fs->v->sync(file);
    sim_fs_stop_after(d.rig.sim, 1);
    assert_int_equal(put(&d, file, 0, "ONE"), ERR_OK);
    assert_int_equal(d.fs->v->sync(file), ERR_IO);
    assert_int_equal(d.fs->v->rename(d.fs->ctx, "a", "b"), ERR_IO);
    sim_fs_crash_process(d.rig.sim);
    d.fs->v->close(file);
    file = open_file(&d, "a", FS_READ);
    expect(&d, file, 0, "ONE");
    d.fs->v->close(file);
    rig_close(&d.rig);
}

#define BOTH(test)                                 \
    {"sim: " #test, test, on_sim, end, NULL},      \
    {                                              \
        "posix: " #test, test, on_posix, end, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(bytes_are_read_as_written),
        BOTH(an_allocated_file_reads_as_zeroes_and_keeps_what_it_had),
        BOTH(names_are_created_renamed_removed_and_listed),
        BOTH(a_listing_has_the_files_in_order),
        BOTH(a_lock_is_exclusive_until_close),
        cmocka_unit_test(synced_bytes_and_names_survive_everything),
        cmocka_unit_test(unsynced_writes_are_kept_dropped_or_torn),
        cmocka_unit_test(a_crash_of_the_process_keeps_what_was_written_and_frees_locks),
        cmocka_unit_test(what_a_failed_sync_lost_stays_lost_unless_written_again),
        cmocka_unit_test(a_crash_inside_a_job_leaves_a_prefix_of_it),
        cmocka_unit_test(a_full_disk_says_so_and_a_stopped_one_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Crashes and failing disks while snapshots are saved, received and installed and the log is cut
 * below them: whatever was reported is there afterwards, and a start finds the old or the new,
 * never neither. */
#include "model.h"
#include "snapshots.h"
#include "store/snapshot_writer.h"

/* The state after index entries: the same wherever it is made. */
static struct state *state_at(uint64_t index)
{
    struct state *s = state_new();
    state_fill(s, index % 50, index % 50 + 40, 40 + index % 7 * 900);
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)index);
    state_set(s, bytes_of("index", 5), bytes_of(text, strlen(text)));
    return s;
}

/* The file that any node would write for it. */
static struct slice file_at(struct store_pos last)
{
    struct state *state = state_at(last.index);
    struct state_snapshot *root = state_snapshot_take(state);
    struct sim_fs *scratch = sim_fs_new(1, "scratch");
    struct rig r = {.fs = sim_fs_port(scratch)};
    struct snapshot_writer w;
    char name[SNAPSHOT_NAME_BYTES];
    assert_int_equal(r.fs->v->make_dir(r.fs->ctx, "snapshot"), ERR_OK);
    snapshot_writer_init(&w, r.fs, 0xc1, last, bytes_of("x", 1), root);
    for (bool whole = false; !whole;) {
        assert_int_equal(snapshot_writer_step(&w, &whole, NULL), ERR_OK);
    }
    snapshot_writer_close(&w);
    snapshot_new_name(last, name);
    struct slice file = rig_read_file(&r, name);
    sim_fs_free(scratch);
    state_snapshot_release(state, root);
    state_free(state);
    return file;
}

/* ---- a node that takes and gets snapshots --------------------------------------------------- */

struct life {
    struct rig r;
    struct model m;
    struct rng rng;
    struct store_pos acked; /* the snapshot reported to be in place */
    struct store_pos doubt; /* one whose saving the disk did not survive */

    struct saving saving;
    struct state *state; /* being saved */

    struct slice file; /* coming in */
    struct store_receive chunk;
    struct store_install install;
    bool receiving, installing;
    uint64_t saves, installs, chunks_refused; /* that came to their end */
};

static void life_saved(struct store_save *save)
{
    struct saving *saving = save->ctx;
    struct life *l = (struct life *)((char *)saving - offsetof(struct life, saving));
    saving->done++;
    if (save->err == ERR_OK) {
        assert_true(save->last.index > l->acked.index);
        l->acked = save->last;
        l->saves++;
    } else if (save->err == ERR_IO) {
        l->doubt = save->last;
    }
}

static void end_save(struct life *l)
{
    if (l->state != NULL) {
        saving_end(&l->saving);
        state_free(l->state);
        l->state = NULL;
    }
}

static void start_save(struct life *l)
{
    struct model *m = &l->m;
    uint64_t lo = l->acked.index + 1;
    if (rng_chance(&l->rng, 0.3) && m->now.count > m->commit) {
        m->commit = m->now.count; /* applied before it is durable here */
    }
    if (l->state != NULL || m->commit < lo || l->installing) {
        return;
    }
    uint64_t index = rng_range(&l->rng, lo, m->commit + 1);
    l->state = state_at(index);
    l->saving = (struct saving){.state = l->state, .root = state_snapshot_take(l->state)};
    l->saving.save = (struct store_save){
        .last = {.index = index, .term = m->now.terms[index - 1]},
        .about = bytes_of("x", 1),
        .root = l->saving.root,
        .done = life_saved,
        .ctx = &l->saving,
    };
    store_save(l->r.store, &l->saving.save);
}

static void life_installed(struct store_install *install)
{
    struct life *l = install->ctx;
    l->installing = false;
    if (install->err != ERR_OK) {
        return;
    }
    /* Everything up to the restart is durable. */
    struct model *m = &l->m;
    size_t count = 0;
    while (m->atoms[count].kind != ATOM_RESTART) {
        state_apply(&m->durable, m->atoms[count++]);
    }
    state_apply(&m->durable, m->atoms[count]);
    l->acked = (struct store_pos){.index = m->atoms[count].index, .term = m->atoms[count].term};
    count++;
    m->atoms_count -= count;
    memmove(m->atoms, m->atoms + count, m->atoms_count * sizeof *m->atoms);
    l->installs++;
}

static void end_receive(struct life *l)
{
    slice_close(&l->chunk.bytes);
    slice_close(&l->file);
    l->receiving = false;
}

static void install(struct life *l)
{
    const struct store_pos last = store_incoming(l->r.store)->last;
    if (last.index <= l->m.commit) {
        store_drop_incoming(l->r.store); /* the log came first */
        return;
    }
    l->installing = true;
    l->m.commit = last.index;
    model_add(&l->m, (struct atom){.kind = ATOM_RESTART, .index = last.index, .term = last.term});
    l->install = (struct store_install){.done = life_installed, .ctx = l};
    store_install(l->r.store, &l->install);
}

static void send_chunk(struct life *l, uint64_t offset);

static void life_received(struct store_receive *chunk)
{
    struct life *l = chunk->ctx;
    uint64_t next = chunk->offset_bytes + chunk->bytes.size;
    slice_close(&chunk->bytes);
    if (chunk->err != ERR_OK || chunk->end) {
        bool whole = chunk->err == ERR_OK;
        l->chunks_refused += !whole;
        end_receive(l);
        if (whole) {
            install(l);
        }
    } else {
        send_chunk(l, next);
    }
}

static void send_chunk(struct life *l, uint64_t offset)
{
    enum { CHUNK = 20000 };
    size_t left = l->file.size - offset;
    size_t size = left < CHUNK ? left : CHUNK;
    l->chunk.offset_bytes = offset;
    l->chunk.bytes = slice_of(l->file.owner, offset, size);
    l->chunk.end = size == left;
    store_receive(l->r.store, &l->chunk);
}

static void start_receive(struct life *l)
{
    if (l->receiving || l->installing || l->m.now.term == 0) {
        return;
    }
    uint64_t index = l->m.commit + rng_range(&l->rng, 1, 30);
    const struct store_pos last = {.index = index,
                                   .term = rng_range(&l->rng, 1, l->m.now.term + 1)};
    l->file = file_at(last);
    l->chunk = (struct store_receive){.last = last, .done = life_received, .ctx = l};
    l->receiving = true;
    send_chunk(l, 0);
}

static void compact(struct life *l)
{
    struct model *m = &l->m;
    if (l->acked.index <= m->now.base.index || l->installing) {
        return;
    }
    uint64_t index = rng_range(&l->rng, m->now.base.index + 1, l->acked.index + 1);
    struct atom a = {.kind = ATOM_BASE, .index = index, .term = m->now.terms[index - 1]};
    model_add(m, a);
    store_compact(l->r.store, (struct store_pos){.index = a.index, .term = a.term});
}

static void note(struct life *l)
{
    model_durable(&l->m, l->r.durable_seq);
    if (l->state != NULL && l->saving.done > 0) {
        end_save(l);
    }
}

static void step(struct life *l)
{
    struct model *m = &l->m;
    uint64_t safe = model_safe(m);
    if (safe > m->commit) {
        m->commit = rng_range(&l->rng, m->commit, safe + 1);
    }
    switch (rng_range(&l->rng, 0, 12)) {
    case 0:
        model_write(m, &l->r, &l->rng, true, false, 0);
        break;
    case 1:
        model_write(m, &l->r, &l->rng, true, true, (uint32_t)rng_range(&l->rng, 0, 4));
        break;
    case 2:
    case 3:
        compact(l);
        break;
    case 4:
    case 5:
        start_save(l);
        break;
    case 6:
        start_receive(l);
        break;
    default:
        model_write(m, &l->r, &l->rng, false, false, (uint32_t)rng_range(&l->rng, 1, 8));
        break;
    }
}

static void load(struct life *l, unsigned steps)
{
    for (unsigned i = 0; i < steps && l->r.failures == 0; i++) {
        step(l);
        for (uint64_t jobs = rng_range(&l->rng, 0, 9); jobs > 0; jobs--) {
            rig_step(&l->r);
            note(l);
        }
        if (rng_chance(&l->rng, 0.1)) {
            store_poll(l->r.store);
        }
    }
}

static void finish(struct life *l)
{
    while (rig_step(&l->r)) {
        note(l);
    }
}

static void begin(struct life *l, uint64_t seed)
{
    *l = (struct life){0};
    rig_init(&l->r, seed, false);
    rig_with_snapshots(&l->r);
    rng_seed(&l->rng, seed + 1000);
}

static void end(struct life *l)
{
    rig_drop(&l->r); /* before what its jobs point to */
    end_save(l);
    end_receive(l);
    rig_close(&l->r);
    model_close(&l->m);
}

static void crash(struct life *l, bool host)
{
    rig_crash(&l->r, host);
    end_receive(l);
    l->installing = false;
}

/* ---- what a start must find ----------------------------------------------------------------- */

static bool may_be_in_place(const struct life *l, struct store_pos found)
{
    if (pos_is(l->acked, found.index, found.term) || pos_is(l->doubt, found.index, found.term)) {
        return true;
    }
    if (l->state != NULL && pos_is(l->saving.save.last, found.index, found.term)) {
        return true;
    }
    for (size_t i = 0; i < l->m.atoms_count; i++) {
        const struct atom *a = &l->m.atoms[i];
        if (a->kind == ATOM_RESTART && pos_is(found, a->index, a->term)) {
            return true;
        }
    }
    return false;
}

static void reopen(struct life *l)
{
    rig_must_open(&l->r);
    const struct store_recovered *found = &l->r.recovered;
    assert_true(may_be_in_place(l, found->snapshot));
    assert_true(found->snapshot.index >= l->acked.index);
    assert_true(found->snapshot.index >= found->base.index);
    assert_true(found->snapshot.index <= found->last.index);
    model_check(&l->m, &l->r);
    assert_int_equal(found->snapshot.index == 0, l->r.restored == NULL);
    if (l->r.restored != NULL) {
        struct state *expected = state_at(found->snapshot.index);
        assert_true(state_hash_equal(state_hash(expected), state_hash(l->r.restored)));
        assert_int_equal(found->snapshot.term, l->m.now.terms[found->snapshot.index - 1]);
        state_free(expected);
    }
    l->acked = found->snapshot;
    l->doubt = (struct store_pos){0};
    /* What was applied is never truncated; a commit that nobody was told of may be forgotten. */
    l->m.commit = l->m.commit < l->m.now.count ? l->m.commit : l->m.now.count;
    l->m.commit = l->m.commit > l->acked.index ? l->m.commit : l->acked.index;
    end_save(l);
}

enum { STEPS = 50 };

static uint64_t operations_of_script(uint64_t seed)
{
    struct life l;
    begin(&l, seed);
    rig_must_open(&l.r);
    load(&l, STEPS);
    finish(&l);
    assert_int_equal(l.r.failures, 0);
    assert_true(store_idle(l.r.store));
    assert_true(l.saves > 0);
    assert_true(l.installs > 0);
    uint64_t operations = sim_fs_operations(l.r.sim);
    rig_drop(&l.r);
    reopen(&l);
    end(&l);
    return operations;
}

static void stop_at(uint64_t seed, uint64_t n, bool host)
{
    struct life l;
    begin(&l, seed);
    sim_fs_stop_after(l.r.sim, n);
    enum err err = rig_open(&l.r);
    if (err == ERR_OK) {
        load(&l, STEPS);
        finish(&l);
    } else {
        assert_int_equal(err, ERR_IO);
    }
    crash(&l, host);
    /* And again while it recovers. */
    sim_fs_stop_after(l.r.sim, n % 7);
    err = rig_open(&l.r);
    assert_true(err == ERR_OK || err == ERR_IO);
    rig_crash(&l.r, host);
    reopen(&l);
    load(&l, 8);
    finish(&l);
    assert_int_equal(l.r.failures, 0);
    crash(&l, true);
    reopen(&l);
    end(&l);
}

static void a_crash_at_any_operation_leaves_the_old_or_the_new(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        uint64_t operations = operations_of_script(seed);
        assert_true(operations > 150);
        for (uint64_t n = 0; n < operations; n++) {
            stop_at(seed, n, false);
            stop_at(seed, n, true);
        }
    }
}

static void a_failure_of_any_operation_loses_nothing_reported(void **unused)
{
    (void)unused;
    uint64_t operations = operations_of_script(3);
    for (uint64_t n = 1; n <= operations; n++) {
        struct life l;
        begin(&l, 3);
        sim_fs_fail(l.r.sim, SIM_FS_ANY & ~(unsigned)SIM_FS_READ, n, ERR_IO);
        if (rig_open(&l.r) == ERR_OK) {
            load(&l, STEPS);
            finish(&l);
            assert_in_range(l.r.failures, 0, 1);
            assert_false(store_saving(l.r.store)); /* done() was called in any case */
            assert_false(l.installing || l.receiving);
        }
        crash(&l, false);
        sim_fs_heal(l.r.sim);
        reopen(&l);
        crash(&l, true);
        reopen(&l);
        load(&l, 5);
        finish(&l);
        crash(&l, true);
        reopen(&l);
        end(&l);
    }
}

static void no_space_at_any_operation_is_survived(void **unused)
{
    (void)unused;
    uint64_t operations = operations_of_script(4);
    for (uint64_t n = 1; n <= operations; n++) {
        struct life l;
        begin(&l, 4);
        sim_fs_fail(l.r.sim, SIM_FS_WRITE | SIM_FS_ALLOCATE | SIM_FS_NAMES, n, ERR_NO_SPACE);
        enum err err = rig_open(&l.r);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NO_SPACE);
            assert_true(l.r.why.text[0] != 0);
            rig_must_open(&l.r);
        }
        load(&l, STEPS);
        finish(&l);
        store_poll(l.r.store);
        finish(&l);
        assert_int_equal(l.r.failures, 0);
        assert_true(store_accepts_entries(l.r.store));
        assert_int_equal(l.r.durable_seq, l.m.seq);
        assert_true(store_idle(l.r.store));
        sim_fs_heal(l.r.sim);
        crash(&l, true);
        reopen(&l);
        end(&l);
    }
}

/* A crash somewhere inside the oldest job, or between jobs. */
static void crash_somewhere(struct life *l)
{
    bool host = rng_chance(&l->rng, 0.6);
    if (l->r.first != NULL && rng_chance(&l->rng, 0.7)) {
        sim_fs_job_begin(l->r.sim);
        l->r.first->run(l->r.first);
    }
    crash(l, host);
}

static void one_seed(uint64_t seed)
{
    struct life l;
    begin(&l, seed);
    l.r.options.segment_bytes = rng_range(&l.rng, 2, 9) * 4096;
    rig_must_open(&l.r);
    for (int lives = 0; lives < 8; lives++) {
        load(&l, (unsigned)rng_range(&l.rng, 0, 40));
        crash_somewhere(&l);
        for (uint64_t i = rng_range(&l.rng, 0, 4); i > 1; i--) { /* crashes while recovering */
            sim_fs_stop_after(l.r.sim, rng_range(&l.rng, 0, 12));
            enum err err = rig_open(&l.r);
            assert_true(err == ERR_OK || err == ERR_IO);
            rig_crash(&l.r, rng_chance(&l.rng, 0.5));
        }
        reopen(&l);
    }
    end(&l);
}

static void random_lives_lose_nothing_reported(void **unused)
{
    (void)unused;
    const char *only = getenv("SEED");
    const char *count = getenv("SEEDS");
    uint64_t seeds = count != NULL ? strtoull(count, NULL, 10) : 200;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (only == NULL || seed == strtoull(only, NULL, 10)) {
            one_seed(seed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_operation_leaves_the_old_or_the_new),
        cmocka_unit_test(a_failure_of_any_operation_loses_nothing_reported),
        cmocka_unit_test(no_space_at_any_operation_is_survived),
        cmocka_unit_test(random_lives_lose_nothing_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* States to save, and doing to the end what the store does in steps. */
#ifndef MK_TESTS_STORE_SNAPSHOTS_H
#define MK_TESTS_STORE_SNAPSHOTS_H

#include "rig.h"

/* The pairs that a state holds after so many entries: some keys, some of them replaced. */
static inline void state_fill(struct state *s, uint64_t from, uint64_t to, size_t value_bytes)
{
    uint8_t *value = alloc_bytes(value_bytes + 1);
    for (uint64_t i = from; i < to; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%06llu", (unsigned long long)(i * 7919 % 1000003));
        memset(value, (int)i, value_bytes);
        assert_int_equal(state_set(s, bytes_of(key, strlen(key)), bytes_of(value, value_bytes)),
                         ERR_OK);
    }
    free(value);
}

struct saving {
    struct store_save save;
    struct state *state;
    struct state_snapshot *root;
    char about[32];
    unsigned done;
};

static inline void saving_done(struct store_save *save)
{
    struct saving *s = save->ctx;
    s->done++;
}

/* Begins to save the state as of index. */
static inline void saving_begin(struct saving *s, struct rig *r, struct state *state,
                                struct store_pos last)
{
    *s = (struct saving){.state = state, .root = state_snapshot_take(state)};
    snprintf(s->about, sizeof s->about, "about %llu", (unsigned long long)last.index);
    s->save = (struct store_save){.last = last,
                                  .about = bytes_of(s->about, strlen(s->about)),
                                  .root = s->root,
                                  .done = saving_done,
                                  .ctx = s};
    store_save(r->store, &s->save);
    assert_int_equal(s->done, 0);
}

static inline void saving_end(struct saving *s)
{
    state_snapshot_release(s->state, s->root);
    s->root = NULL;
}

static inline enum err rig_save(struct rig *r, struct state *state, struct store_pos last)
{
    struct saving s;
    saving_begin(&s, r, state, last);
    rig_run(r);
    assert_int_equal(s.done, 1);
    saving_end(&s);
    r->why = s.save.why;
    return s.save.err;
}

/* A whole file. */
static inline struct slice rig_read_file(const struct rig *r, const char *name)
{
    struct fs_file *file;
    uint64_t size;
    size_t got;
    assert_int_equal(r->fs->v->open(r->fs->ctx, name, FS_READ, &file), ERR_OK);
    assert_int_equal(r->fs->v->size(file, &size), ERR_OK);
    struct blob *b = blob_new((size_t)size);
    assert_int_equal(r->fs->v->read(file, 0, b->data, b->size, &got), ERR_OK);
    assert_int_equal(got, size);
    r->fs->v->close(file);
    return slice_of_take(b);
}

static inline bool rig_has_file(const struct rig *r, const char *name)
{
    struct fs_file *file;
    enum err err = r->fs->v->open(r->fs->ctx, name, FS_READ, &file);
    if (err == ERR_OK) {
        r->fs->v->close(file);
    }
    return err == ERR_OK;
}

static inline void count_done(struct store_receive *chunk)
{
    unsigned *done = chunk->ctx;
    (*done)++;
}

/* Receives [at, upto) of it in chunks. The first error ends it. */
static inline enum err rig_receive_part(struct rig *r, struct store_pos last, struct bytes file,
                                        size_t at, size_t upto, size_t chunk_bytes)
{
    enum err err = ERR_OK;
    while (err == ERR_OK && at < upto) {
        size_t size = upto - at < chunk_bytes ? upto - at : chunk_bytes;
        unsigned done = 0;
        struct store_receive chunk = {.last = last,
                                      .offset_bytes = at,
                                      .bytes = slice_copy(bytes_of(file.data + at, size)),
                                      .end = at + size == file.size,
                                      .done = count_done,
                                      .ctx = &done};
        store_receive(r->store, &chunk);
        assert_int_equal(done, 0);
        rig_run(r);
        assert_int_equal(done, 1);
        slice_close(&chunk.bytes);
        err = chunk.err;
        r->why = chunk.why;
        at += size;
    }
    return err;
}

static inline enum err rig_receive(struct rig *r, struct store_pos last, struct bytes file,
                                   size_t chunk_bytes)
{
    return rig_receive_part(r, last, file, 0, file.size, chunk_bytes);
}

static inline void nothing_done(struct store_load *load)
{
    (void)load;
}

/* Loads all of it into a new state, with its hash checked. NULL: it failed. */
static inline struct state *rig_load(struct rig *r, bool incoming)
{
    struct store_load load = {.incoming = incoming, .done = nothing_done};
    const struct state_hash hash =
        incoming ? store_incoming(r->store)->hash : store_snapshot(r->store)->hash;
    struct state *state = state_new();
    state_restore_begin(state);
    do {
        struct bytes key, value;
        store_load(r->store, &load);
        rig_run(r);
        while (store_load_pair(&load, &key, &value)) {
            assert_int_equal(state_restore_add(state, key, value), ERR_OK);
        }
    } while (!load.end && load.err == ERR_OK);
    bool ok = load.err == ERR_OK && state_restore_end(state, &hash) == ERR_OK;
    r->why = load.why;
    store_load_close(&load);
    if (!ok) {
        state_restore_cancel(state);
        state_free(state);
        return NULL;
    }
    return state;
}

static inline void install_done(struct store_install *install)
{
    unsigned *done = install->ctx;
    (*done)++;
}

static inline enum err rig_install(struct rig *r)
{
    unsigned done = 0;
    struct store_install install = {.done = install_done, .ctx = &done};
    store_install(r->store, &install);
    assert_int_equal(done, 0);
    rig_run(r);
    assert_int_equal(done, 1);
    r->why = install.why;
    return install.err;
}

static inline bool pos_is(struct store_pos p, uint64_t index, uint64_t term)
{
    return p.index == index && p.term == term;
}

#endif

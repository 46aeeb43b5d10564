/* The disk as a whole: its life, the faults that it is told to have, what it counts. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/sim_fs_internal.h"

struct sim_fs *sim_fs_new(uint64_t seed, const char *path)
{
    struct sim_fs *fs = NEW(struct sim_fs);
    fs->port = (struct fs_port){.ctx = fs, .v = &sim_fs_vtable};
    fs->path = alloc_string(path);
    rng_seed(&fs->rng, seed);
    LIST_INIT(&fs->files);
    TAILQ_INIT(&fs->changes);
    sim_fs_heal(fs);
    return fs;
}

void sim_fs_free(struct sim_fs *fs)
{
    if (fs == NULL) {
        return;
    }
    while (!LIST_EMPTY(&fs->files)) {
        fs->port.v->close(LIST_FIRST(&fs->files));
    }
    while (!TAILQ_EMPTY(&fs->changes)) {
        sim_fs_change_free(fs, TAILQ_FIRST(&fs->changes));
    }
    for (size_t i = 0; i < fs->names_count; i++) {
        free(fs->names[i].text);
        sim_fs_inode_unref(fs->names[i].inode);
    }
    free(fs->names);
    free(fs->path);
    free(fs);
}

const struct fs_port *sim_fs_port(struct sim_fs *fs)
{
    return &fs->port;
}

/* ---- faults ---------------------------------------------------------------------------------- */

void sim_fs_fail(struct sim_fs *fs, unsigned kinds, uint64_t nth, enum err err)
{
    ASSERT(err != ERR_OK);
    fs->fail_kinds = kinds;
    fs->fail_nth = nth;
    fs->fail_err = err;
}

void sim_fs_fail_reads(struct sim_fs *fs)
{
    fs->unreadable = true;
}

void sim_fs_stop_after(struct sim_fs *fs, uint64_t operations)
{
    fs->stop_at = fs->operations + operations;
}

void sim_fs_set_capacity(struct sim_fs *fs, uint64_t capacity_bytes)
{
    fs->capacity = capacity_bytes;
}

void sim_fs_heal(struct sim_fs *fs)
{
    fs->fail_nth = 0;
    fs->unreadable = false;
    fs->stop_at = NEVER;
    fs->capacity = NEVER;
    fs->lose_names = false;
}

void sim_fs_lose_names(struct sim_fs *fs)
{
    fs->lose_names = true;
}

bool sim_fs_enter(struct sim_fs *fs, enum sim_fs_kind kind, enum err *err, bool *partly)
{
    *err = ERR_OK;
    *partly = false;
    if (fs->operations >= fs->stop_at) {
        *err = ERR_IO;
        *partly = fs->operations == fs->stop_at;
    } else if (kind == SIM_FS_READ && fs->unreadable) {
        *err = ERR_IO;
        fs->felt.failed++;
    } else if ((fs->fail_kinds & kind) != 0 && fs->fail_nth > 0 && --fs->fail_nth == 0) {
        *err = fs->fail_err;
        *partly = true;
        fs->felt.failed++;
    }
    if (kind != SIM_FS_READ) {
        fs->operations++;
    }
    return *err == ERR_OK;
}

bool sim_fs_flip(struct sim_fs *fs, const char *name, uint64_t offset, uint8_t mask)
{
    struct name *found = sim_fs_name_find(fs, name);
    if (found == NULL || found->inode == NULL || offset >= found->inode->size) {
        return false;
    }
    uint8_t byte;
    sim_fs_inode_get(found->inode, offset, &byte, 1);
    byte ^= mask;
    sim_fs_inode_put(found->inode, offset, &byte, 1);
    fs->flipped = true;
    return true;
}

bool sim_fs_was_flipped(const struct sim_fs *fs)
{
    return fs->flipped;
}

uint64_t sim_fs_written_bytes(const struct sim_fs *fs, const char *name)
{
    const struct name *found = sim_fs_name_find(fs, name);
    uint64_t size = found != NULL && found->inode != NULL ? found->inode->size : 0;
    uint8_t byte = 0;
    for (; size > 0 && byte == 0; size -= byte == 0) {
        sim_fs_inode_get(found->inode, size - 1, &byte, 1);
    }
    return size;
}

/* ---- counts ---------------------------------------------------------------------------------- */

uint64_t sim_fs_operations(const struct sim_fs *fs)
{
    return fs->operations;
}

uint64_t sim_fs_syncs(const struct sim_fs *fs)
{
    return fs->syncs;
}

uint64_t sim_fs_used_bytes(const struct sim_fs *fs)
{
    uint64_t used = 0;
    for (size_t i = 0; i < fs->names_count; i++) {
        used += fs->names[i].inode != NULL ? fs->names[i].inode->size : 0;
    }
    return used;
}

struct sim_fs_felt sim_fs_felt(const struct sim_fs *fs)
{
    return fs->felt;
}

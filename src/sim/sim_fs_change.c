/* What was done and is not yet durable: taking it back, doing it again in whole or in part, and
 * making it durable. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sim/sim_fs_internal.h"

struct change *sim_fs_change_add(struct sim_fs *fs, struct change content)
{
    struct change *c = NEW(struct change);
    *c = content;
    c->operation = fs->operations;
    c->synced_by = NEVER;
    sim_fs_inode_ref(c->inode);
    TAILQ_INSERT_TAIL(&fs->changes, c, link);
    return c;
}

void sim_fs_change_free(struct sim_fs *fs, struct change *c)
{
    TAILQ_REMOVE(&fs->changes, c, link);
    sim_fs_inode_unref(c->inode);
    sim_fs_inode_unref(c->displaced);
    free(c->data);
    free(c->from);
    free(c->to);
    free(c);
}

bool sim_fs_change_is_data(const struct change *c)
{
    return c->kind == CHANGE_WRITE || c->kind == CHANGE_SIZE;
}

void sim_fs_change_exchange(struct change *c, uint64_t at, uint64_t size)
{
    if (c->data == NULL || size == 0) {
        return;
    }
    uint8_t *here = alloc_bytes(size);
    sim_fs_inode_get(c->inode, c->offset + at, here, size);
    sim_fs_inode_put(c->inode, c->offset + at, c->data + at, size);
    memcpy(c->data + at, here, size);
    free(here);
}

void sim_fs_change_undo(struct sim_fs *fs, struct change *c)
{
    switch (c->kind) {
    case CHANGE_WRITE:
    case CHANGE_SIZE:
        sim_fs_change_exchange(c, 0, c->length);
        c->inode->size = c->old_size;
        break;
    case CHANGE_CREATE:
        sim_fs_inode_unref(sim_fs_name_take(fs, c->from));
        break;
    case CHANGE_REMOVE:
        sim_fs_name_add_take(fs, c->from, sim_fs_inode_ref(c->inode));
        break;
    case CHANGE_RENAME:
        sim_fs_name_add_take(fs, c->from, sim_fs_name_take(fs, c->to));
        if (c->displaced != NULL) {
            sim_fs_name_add_take(fs, c->to, sim_fs_inode_ref(c->displaced));
        }
        break;
    }
}

void sim_fs_change_redo_part(struct change *c, uint64_t at, uint64_t size)
{
    sim_fs_change_exchange(c, at, size);
    uint64_t end = c->offset + at + size;
    if (c->kind == CHANGE_WRITE && size > 0 && c->inode->size < end) {
        c->inode->size = end;
    }
}

void sim_fs_change_redo(struct change *c)
{
    sim_fs_change_redo_part(c, 0, c->length);
    if (c->kind == CHANGE_SIZE) {
        c->inode->size = c->new_size;
    }
}

/* Bytes that are durable now are not given back when an older, lost change of the same place is. */
static void shield(struct sim_fs *fs, const struct change *durable)
{
    struct change *c;
    TAILQ_FOREACH (c, &fs->changes, link) {
        if (c == durable) {
            return;
        }
        if (c->inode != durable->inode || !sim_fs_change_is_data(c)) {
            continue;
        }
        c->old_size = durable->new_size;
        if (c->data == NULL) {
            continue;
        }
        uint64_t lo = c->offset > durable->offset ? c->offset : durable->offset;
        uint64_t end = c->offset + c->length;
        uint64_t durable_end = durable->offset + durable->length;
        uint64_t hi = end < durable_end ? end : durable_end;
        if (lo < hi) {
            sim_fs_inode_get(c->inode, lo, c->data + (lo - c->offset), hi - lo);
        }
    }
}

void sim_fs_change_make_durable(struct sim_fs *fs, struct change *c)
{
    if (sim_fs_change_is_data(c)) {
        shield(fs, c);
    }
    sim_fs_change_free(fs, c);
}

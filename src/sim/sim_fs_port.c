/* struct fs_port: the operations as the store sees them, each a change that can be taken back. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/sim_fs_internal.h"

static enum err enter_names(struct sim_fs *fs)
{
    enum err err;
    bool partly;
    sim_fs_enter(fs, SIM_FS_NAMES, &err, &partly);
    return err;
}

static bool usable(const struct fs_file *file)
{
    return file->epoch == file->fs->epoch;
}

static enum err fs_open(void *ctx, const char *name, unsigned flags, struct fs_file **out)
{
    struct sim_fs *fs = ctx;
    struct name *found = sim_fs_name_find(fs, name);
    if (found != NULL && (flags & FS_CREATE) != 0 && (flags & FS_EXCLUSIVE) != 0) {
        return ERR_EXISTS;
    }
    if (found == NULL) {
        if ((flags & FS_CREATE) == 0 || !sim_fs_dir_exists(fs, name)) {
            return ERR_NOT_FOUND;
        }
        enum err err = enter_names(fs);
        if (err != ERR_OK) {
            return err;
        }
        struct inode *inode = NEW(struct inode);
        sim_fs_name_add_take(fs, name, sim_fs_inode_ref(inode));
        sim_fs_change_add(
            fs, (struct change){.kind = CHANGE_CREATE, .inode = inode, .from = alloc_string(name)});
        found = sim_fs_name_find(fs, name);
    }
    if (found->inode == NULL) {
        return ERR_IO; /* a directory */
    }
    struct fs_file *file = NEW(struct fs_file);
    *file = (struct fs_file){.fs = fs,
                             .inode = sim_fs_inode_ref(found->inode),
                             .writable = (flags & FS_WRITE) != 0,
                             .epoch = fs->epoch};
    LIST_INSERT_HEAD(&fs->files, file, link);
    *out = file;
    return ERR_OK;
}

static void fs_close(struct fs_file *file)
{
    if (file->inode->locked_by == file) {
        file->inode->locked_by = NULL;
    }
    LIST_REMOVE(file, link);
    sim_fs_inode_unref(file->inode);
    free(file);
}

static enum err fs_read(struct fs_file *file, uint64_t offset, void *out, size_t size, size_t *got)
{
    enum err err = ERR_IO;
    bool partly;
    *got = 0;
    if (!usable(file) || !sim_fs_enter(file->fs, SIM_FS_READ, &err, &partly)) {
        return err;
    }
    uint64_t end = file->inode->size;
    uint64_t there = offset < end ? end - offset : 0;
    *got = there < size ? (size_t)there : size;
    sim_fs_inode_get(file->inode, offset, out, *got);
    return ERR_OK;
}

static bool fits(const struct fs_file *file, uint64_t new_size)
{
    const struct sim_fs *fs = file->fs;
    if (new_size <= file->inode->size || fs->capacity == NEVER) {
        return true;
    }
    uint64_t used = sim_fs_used_bytes(fs);
    return used <= fs->capacity && new_size - file->inode->size <= fs->capacity - used;
}

static void write_bytes(struct fs_file *file, uint64_t offset, const uint8_t *data, uint64_t size)
{
    struct inode *inode = file->inode;
    uint64_t end = offset + size;
    uint64_t new_size = inode->size > end ? inode->size : end;
    struct change content = {.kind = CHANGE_WRITE,
                             .inode = inode,
                             .offset = offset,
                             .length = size,
                             .old_size = inode->size,
                             .new_size = new_size};
    bool differs = !sim_fs_all_zero(data, size) || !sim_fs_inode_is_hole(inode, offset, size);
    if (differs) {
        content.data = alloc_bytes(size);
        sim_fs_inode_get(inode, offset, content.data, size);
        sim_fs_inode_put(inode, offset, data, size);
    }
    if (differs || new_size > inode->size) {
        sim_fs_change_add(file->fs, content);
        inode->size = new_size;
    }
}

static enum err fs_write(struct fs_file *file, uint64_t offset, const struct bytes *pieces,
                         size_t pieces_count)
{
    struct sim_fs *fs = file->fs;
    ASSERT(file->writable);
    struct buffer all = {0};
    for (size_t i = 0; i < pieces_count; i++) {
        buffer_add_bytes(&all, pieces[i]);
    }
    enum err err = ERR_IO;
    bool partly = false;
    uint64_t size = all.size;
    if (usable(file) && sim_fs_enter(fs, SIM_FS_WRITE, &err, &partly) &&
        !fits(file, offset + size)) {
        err = ERR_NO_SPACE;
        fs->felt.no_room++;
    }
    if (partly) {
        size = rng_range(&fs->rng, 0, size + 1);
    }
    if (size > 0 && (err == ERR_OK || (partly && fits(file, offset + size)))) {
        write_bytes(file, offset, all.data, size);
    }
    buffer_close(&all);
    return err;
}

static enum err fs_sync(struct fs_file *file)
{
    struct sim_fs *fs = file->fs;
    enum err err = ERR_IO;
    bool partly;
    if (!usable(file)) {
        return err;
    }
    sim_fs_enter(fs, SIM_FS_SYNC, &err, &partly);
    struct change *c, *next;
    for (c = TAILQ_FIRST(&fs->changes); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->inode != file->inode || !sim_fs_change_is_data(c) || c->lost) {
            continue;
        }
        if (err == ERR_OK) {
            sim_fs_job_synced(fs, c);
        } else if (c->synced_by == NEVER) {
            c->lost = true;
        }
    }
    fs->syncs += err == ERR_OK;
    return err;
}

static enum err resize(struct fs_file *file, uint64_t size, bool shrink)
{
    struct inode *inode = file->inode;
    enum err err = ERR_IO;
    bool partly;
    ASSERT(file->writable);
    if (!usable(file) || !sim_fs_enter(file->fs, SIM_FS_ALLOCATE, &err, &partly)) {
        return err;
    }
    if (size == inode->size || (size < inode->size && !shrink)) {
        return ERR_OK;
    }
    if (!fits(file, size)) {
        file->fs->felt.no_room++;
        return ERR_NO_SPACE;
    }
    struct change content = {.kind = CHANGE_SIZE,
                             .inode = inode,
                             .offset = size,
                             .old_size = inode->size,
                             .new_size = size};
    if (size < inode->size && !sim_fs_inode_is_hole(inode, size, inode->size - size)) {
        content.length = inode->size - size;
        content.data = alloc_zeroed(1, content.length);
    }
    sim_fs_change_exchange(sim_fs_change_add(file->fs, content), 0, content.length);
    inode->size = size;
    return ERR_OK;
}

static enum err fs_truncate(struct fs_file *file, uint64_t size)
{
    return resize(file, size, true);
}

static enum err fs_allocate(struct fs_file *file, uint64_t size)
{
    return resize(file, size, false);
}

static enum err fs_size(struct fs_file *file, uint64_t *out)
{
    *out = file->inode->size;
    return usable(file) ? ERR_OK : ERR_IO;
}

static enum err fs_lock(struct fs_file *file)
{
    if (!usable(file)) {
        return ERR_IO;
    }
    if (file->inode->locked_by != NULL && file->inode->locked_by != file) {
        return ERR_LOCKED;
    }
    file->inode->locked_by = file;
    return ERR_OK;
}

static enum err fs_rename(void *ctx, const char *from, const char *to)
{
    struct sim_fs *fs = ctx;
    ASSERT(sim_fs_dir_length(from) == sim_fs_dir_length(to) &&
           memcmp(from, to, sim_fs_dir_length(from)) == 0);
    ASSERT(strcmp(from, to) != 0);
    enum err err = enter_names(fs);
    if (err != ERR_OK) {
        return err;
    }
    if (sim_fs_name_find(fs, from) == NULL) {
        return ERR_NOT_FOUND;
    }
    struct change content = {
        .kind = CHANGE_RENAME, .from = alloc_string(from), .to = alloc_string(to)};
    if (sim_fs_name_find(fs, to) != NULL) {
        content.displaced = sim_fs_name_take(fs, to);
    }
    sim_fs_name_add_take(fs, to, sim_fs_name_take(fs, from));
    sim_fs_change_add(fs, content);
    return ERR_OK;
}

static enum err fs_remove(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum err err = enter_names(fs);
    if (err != ERR_OK) {
        return err;
    }
    struct name *found = sim_fs_name_find(fs, name);
    if (found == NULL) {
        return ERR_NOT_FOUND;
    }
    ASSERT(found->inode != NULL);
    struct change content = {
        .kind = CHANGE_REMOVE, .inode = found->inode, .from = alloc_string(name)};
    sim_fs_change_add(fs, content);
    sim_fs_inode_unref(sim_fs_name_take(fs, name));
    return ERR_OK;
}

static enum err fs_make_dir(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    ASSERT(sim_fs_dir_length(name) == 0);
    enum err err = enter_names(fs);
    if (err != ERR_OK) {
        return err;
    }
    struct name *found = sim_fs_name_find(fs, name);
    if (found != NULL) {
        return found->inode == NULL ? ERR_OK : ERR_EXISTS;
    }
    sim_fs_name_add_take(fs, name, NULL);
    sim_fs_change_add(fs, (struct change){.kind = CHANGE_CREATE, .from = alloc_string(name)});
    return ERR_OK;
}

static enum err fs_sync_dir(void *ctx, const char *dir)
{
    struct sim_fs *fs = ctx;
    enum err err;
    bool partly;
    if (!sim_fs_enter(fs, SIM_FS_SYNC_DIR, &err, &partly)) {
        return err;
    }
    struct change *c, *next;
    for (c = TAILQ_FIRST(&fs->changes); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (!sim_fs_change_is_data(c) && sim_fs_in_dir(c->from, dir)) {
            sim_fs_job_synced(fs, c);
        }
    }
    return ERR_OK;
}

static enum err fs_list(void *ctx, const char *dir, void (*each)(void *arg, const char *name),
                        void *arg)
{
    struct sim_fs *fs = ctx;
    size_t prefix = strcmp(dir, ".") == 0 ? 0 : strlen(dir) + 1;
    if (prefix > 0 && sim_fs_name_find(fs, dir) == NULL) {
        return ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < fs->names_count; i++) {
        if (sim_fs_in_dir(fs->names[i].text, dir) && fs->names[i].inode != NULL) {
            each(arg, fs->names[i].text + prefix);
        }
    }
    return ERR_OK;
}

static const char *fs_path(void *ctx)
{
    const struct sim_fs *fs = ctx;
    return fs->path;
}

const struct fs_vtable sim_fs_vtable = {
    .open = fs_open,
    .close = fs_close,
    .read = fs_read,
    .write = fs_write,
    .sync = fs_sync,
    .truncate = fs_truncate,
    .allocate = fs_allocate,
    .size = fs_size,
    .lock = fs_lock,
    .rename = fs_rename,
    .remove = fs_remove,
    .make_dir = fs_make_dir,
    .sync_dir = fs_sync_dir,
    .list = fs_list,
    .path = fs_path,
};

#include "sim/sim_fs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/rng.h"

enum { PAGE = 4096, SECTOR = 512 };
#define NEVER UINT64_MAX

struct inode {
    uint64_t size;
    uint8_t **pages; /* NULL: zeroes. Beyond size all bytes are zero. */
    size_t pages_count;
    uint32_t references; /* of names, open files and changes */
    const struct fs_file *locked_by;
};

struct name {
    char *text;
    struct inode *inode; /* NULL: a directory */
};

struct fs_file {
    struct sim_fs *fs;
    struct inode *inode;
    bool writable;
    uint64_t epoch; /* of the process that opened it */
    LIST_ENTRY(fs_file) link;
};

/* Something that was done and is not yet durable, with what is needed to take it back. */
struct change {
    TAILQ_ENTRY(change) link;
    enum { CHANGE_WRITE, CHANGE_SIZE, CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE } kind;
    uint64_t operation;
    uint64_t synced_by;  /* the operation of the job under way that made it durable, or NEVER */
    struct inode *inode; /* changed, created, or removed; NULL: a directory was made */
    /* WRITE, SIZE: data are the bytes that the file does not have: the old ones while the change
     * stands, the new ones while it is taken back. NULL: no bytes differ. */
    bool lost; /* by a failed sync */
    uint64_t offset;
    uint64_t length;
    uint8_t *data;
    uint64_t old_size, new_size;
    /* CREATE, REMOVE: from. RENAME: from, to and what to named before. */
    char *from, *to;
    struct inode *displaced;
};

struct sim_fs {
    struct fs_port port;
    char *path;
    struct rng rng;
    struct name *names; /* sorted */
    size_t names_count;
    LIST_HEAD(, fs_file) files;
    TAILQ_HEAD(change_list, change) changes; /* in the order in which they were made */
    uint64_t epoch;
    uint64_t operations;
    uint64_t syncs; /* that succeeded */
    bool in_job;
    uint64_t job_start; /* operations before it */
    unsigned fail_kinds;
    uint64_t fail_nth; /* 0: none */
    enum err fail_err;
    uint64_t stop_at; /* operations */
    uint64_t capacity;
};

/* ---- bytes of a file ------------------------------------------------------------------------ */

static void inode_unref(struct inode *inode)
{
    if (inode == NULL || --inode->references > 0) {
        return;
    }
    for (size_t i = 0; i < inode->pages_count; i++) {
        free(inode->pages[i]);
    }
    free(inode->pages);
    free(inode);
}

static struct inode *inode_ref(struct inode *inode)
{
    if (inode != NULL) {
        inode->references++;
    }
    return inode;
}

static bool all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

static void get_bytes(const struct inode *inode, uint64_t offset, uint8_t *out, uint64_t size)
{
    while (size > 0) {
        uint64_t within = offset % PAGE;
        size_t part = (size_t)(size < PAGE - within ? size : PAGE - within);
        uint64_t page = offset / PAGE;
        if (page < inode->pages_count && inode->pages[page] != NULL) {
            memcpy(out, inode->pages[page] + within, part);
        } else {
            memset(out, 0, part);
        }
        out += part;
        offset += part;
        size -= part;
    }
}

static uint8_t *page_for_writing(struct inode *inode, uint64_t page)
{
    if (page >= inode->pages_count) {
        size_t count = (size_t)page + 1;
        count += count / 2;
        inode->pages = alloc_resize(inode->pages, count, sizeof *inode->pages);
        memset(inode->pages + inode->pages_count, 0,
               (count - inode->pages_count) * sizeof *inode->pages);
        inode->pages_count = count;
    }
    if (inode->pages[page] == NULL) {
        inode->pages[page] = alloc_zeroed(1, PAGE);
    }
    return inode->pages[page];
}

static void put_bytes(struct inode *inode, uint64_t offset, const uint8_t *data, uint64_t size)
{
    while (size > 0) {
        uint64_t within = offset % PAGE;
        size_t part = (size_t)(size < PAGE - within ? size : PAGE - within);
        uint64_t page = offset / PAGE;
        bool hole = page >= inode->pages_count || inode->pages[page] == NULL;
        if (!hole || !all_zero(data, part)) {
            memcpy(page_for_writing(inode, page) + within, data, part);
        }
        data += part;
        offset += part;
        size -= part;
    }
}

static bool is_hole(const struct inode *inode, uint64_t offset, uint64_t size)
{
    for (uint64_t page = offset / PAGE; page * PAGE < offset + size; page++) {
        if (page < inode->pages_count && inode->pages[page] != NULL) {
            return false;
        }
    }
    return true;
}

/* ---- names ---------------------------------------------------------------------------------- */

static size_t name_place(const struct sim_fs *fs, const char *text, bool *found)
{
    size_t lo = 0, hi = fs->names_count;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (strcmp(fs->names[middle].text, text) < 0) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    *found = lo < fs->names_count && strcmp(fs->names[lo].text, text) == 0;
    return lo;
}

static struct name *name_find(const struct sim_fs *fs, const char *text)
{
    bool found;
    size_t place = name_place(fs, text, &found);
    return found ? &fs->names[place] : NULL;
}

/* Takes over the caller's reference of inode. */
static void name_add_take(struct sim_fs *fs, const char *text, struct inode *inode)
{
    bool found;
    size_t place = name_place(fs, text, &found);
    ASSERT(!found);
    fs->names = alloc_resize(fs->names, fs->names_count + 1, sizeof *fs->names);
    memmove(fs->names + place + 1, fs->names + place,
            (fs->names_count - place) * sizeof *fs->names);
    fs->names[place] = (struct name){.text = alloc_string(text), .inode = inode};
    fs->names_count++;
}

/* Hands the name's reference of the inode to the caller. */
static struct inode *name_take(struct sim_fs *fs, const char *text)
{
    bool found;
    size_t place = name_place(fs, text, &found);
    ASSERT(found);
    struct inode *inode = fs->names[place].inode;
    free(fs->names[place].text);
    fs->names_count--;
    memmove(fs->names + place, fs->names + place + 1,
            (fs->names_count - place) * sizeof *fs->names);
    return inode;
}

/* Length of the directory part: 3 for "wal/x", 0 for "x". */
static size_t dir_length(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash == NULL ? 0 : (size_t)(slash - name);
}

static bool in_dir(const char *name, const char *dir)
{
    size_t length = strcmp(dir, ".") == 0 ? 0 : strlen(dir);
    return dir_length(name) == length && memcmp(name, dir, length) == 0;
}

static bool dir_exists(const struct sim_fs *fs, const char *name)
{
    size_t length = dir_length(name);
    if (length == 0) {
        return true;
    }
    char *dir = alloc_string(name);
    dir[length] = 0;
    struct name *found = name_find(fs, dir);
    free(dir);
    return found != NULL && found->inode == NULL;
}

/* ---- changes -------------------------------------------------------------------------------- */

static struct change *change_add(struct sim_fs *fs, struct change content)
{
    struct change *c = NEW(struct change);
    *c = content;
    c->operation = fs->operations;
    c->synced_by = NEVER;
    inode_ref(c->inode);
    TAILQ_INSERT_TAIL(&fs->changes, c, link);
    return c;
}

static void change_free(struct sim_fs *fs, struct change *c)
{
    TAILQ_REMOVE(&fs->changes, c, link);
    inode_unref(c->inode);
    inode_unref(c->displaced);
    free(c->data);
    free(c->from);
    free(c->to);
    free(c);
}

static bool is_data(const struct change *c)
{
    return c->kind == CHANGE_WRITE || c->kind == CHANGE_SIZE;
}

/* Exchange [at, at + size) of the change's bytes with the file's. */
static void exchange(struct change *c, uint64_t at, uint64_t size)
{
    if (c->data == NULL || size == 0) {
        return;
    }
    uint8_t *here = alloc_bytes(size);
    get_bytes(c->inode, c->offset + at, here, size);
    put_bytes(c->inode, c->offset + at, c->data + at, size);
    memcpy(c->data + at, here, size);
    free(here);
}

/* Take a change back. Only in the reverse of the order in which they were made. */
static void undo(struct sim_fs *fs, struct change *c)
{
    switch (c->kind) {
    case CHANGE_WRITE:
    case CHANGE_SIZE:
        exchange(c, 0, c->length);
        c->inode->size = c->old_size;
        break;
    case CHANGE_CREATE:
        inode_unref(name_take(fs, c->from));
        break;
    case CHANGE_REMOVE:
        name_add_take(fs, c->from, inode_ref(c->inode));
        break;
    case CHANGE_RENAME:
        name_add_take(fs, c->from, name_take(fs, c->to));
        if (c->displaced != NULL) {
            name_add_take(fs, c->to, inode_ref(c->displaced));
        }
        break;
    }
}

/* Of a change of bytes that was taken back, do size bytes at `at` again. */
static void redo_part(struct change *c, uint64_t at, uint64_t size)
{
    exchange(c, at, size);
    uint64_t end = c->offset + at + size;
    if (c->kind == CHANGE_WRITE && size > 0 && c->inode->size < end) {
        c->inode->size = end;
    }
}

static void redo(struct change *c)
{
    redo_part(c, 0, c->length);
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
        if (c->inode != durable->inode || !is_data(c)) {
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
            get_bytes(c->inode, lo, c->data + (lo - c->offset), hi - lo);
        }
    }
}

static void make_durable(struct sim_fs *fs, struct change *c)
{
    if (is_data(c)) {
        shield(fs, c);
    }
    change_free(fs, c);
}

/* Everything that syncs up to and including this operation covered is durable. */
static void settle(struct sim_fs *fs, uint64_t upto)
{
    struct change *c, *next;
    for (c = TAILQ_FIRST(&fs->changes); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->synced_by <= upto) {
            make_durable(fs, c);
        } else {
            c->synced_by = NEVER;
        }
    }
}

/* The job under way got as far as it got. */
static void interrupt_job(struct sim_fs *fs)
{
    if (!fs->in_job) {
        return;
    }
    uint64_t upto = rng_range(&fs->rng, fs->job_start, fs->operations + 1);
    struct change *c, *previous;
    for (c = TAILQ_LAST(&fs->changes, change_list); c != NULL; c = previous) {
        previous = TAILQ_PREV(c, change_list, link);
        if (c->operation <= upto) {
            break;
        }
        undo(fs, c);
        if (c->operation == upto + 1 && c->kind == CHANGE_WRITE && c->data != NULL) {
            c->length = rng_range(&fs->rng, 0, c->length + 1);
            redo(c);
            c->new_size = c->inode->size;
        } else {
            change_free(fs, c);
        }
    }
    settle(fs, upto);
    fs->in_job = false;
}

static void end_process(struct sim_fs *fs)
{
    struct fs_file *file;
    LIST_FOREACH (file, &fs->files, link) {
        if (file->inode->locked_by == file) {
            file->inode->locked_by = NULL;
        }
    }
    fs->epoch++;
    fs->stop_at = NEVER;
}

void sim_fs_crash_process(struct sim_fs *fs)
{
    interrupt_job(fs);
    end_process(fs);
}

static const struct change *first_name_change(const struct sim_fs *fs)
{
    const struct change *c;
    TAILQ_FOREACH (c, &fs->changes, link) {
        if (!is_data(c)) {
            return c;
        }
    }
    return NULL;
}

/* Of the names changed in dir since its last sync, some of the first survive. */
static void crash_names(struct sim_fs *fs, const char *dir)
{
    uint64_t count = 0;
    struct change *c, *previous;
    TAILQ_FOREACH (c, &fs->changes, link) {
        count += !is_data(c) && in_dir(c->from, dir);
    }
    uint64_t keep = rng_range(&fs->rng, 0, count + 1);
    for (c = TAILQ_LAST(&fs->changes, change_list); c != NULL; c = previous) {
        previous = TAILQ_PREV(c, change_list, link);
        if (is_data(c) || !in_dir(c->from, dir)) {
            continue;
        }
        if (count > keep) {
            undo(fs, c);
        }
        count--;
        change_free(fs, c);
    }
}

static void tear(struct sim_fs *fs, struct change *c)
{
    if (c->kind == CHANGE_SIZE) {
        redo(c);
        return;
    }
    if (rng_chance(&fs->rng, 0.5)) {
        redo_part(c, 0, rng_range(&fs->rng, 0, c->length + 1));
        return;
    }
    uint64_t at = 0;
    while (at < c->length) {
        uint64_t part = SECTOR - (c->offset + at) % SECTOR;
        part = part < c->length - at ? part : c->length - at;
        if (rng_chance(&fs->rng, 0.5)) {
            redo_part(c, at, part);
        }
        at += part;
    }
}

static void crash_data(struct sim_fs *fs)
{
    struct change *c;
    TAILQ_FOREACH_REVERSE(c, &fs->changes, change_list, link)
    {
        undo(fs, c);
    }
    while ((c = TAILQ_FIRST(&fs->changes)) != NULL) {
        switch (rng_range(&fs->rng, 0, 3)) {
        case 0:
            redo(c);
            break;
        case 1:
            tear(fs, c);
            break;
        default:
            break;
        }
        change_free(fs, c);
    }
}

/* A directory that did not survive takes its files along. */
static void drop_orphans(struct sim_fs *fs)
{
    size_t i = 0;
    while (i < fs->names_count) {
        if (dir_exists(fs, fs->names[i].text)) {
            i++;
        } else {
            inode_unref(name_take(fs, fs->names[i].text));
        }
    }
}

void sim_fs_crash_host(struct sim_fs *fs)
{
    interrupt_job(fs);
    const struct change *c;
    while ((c = first_name_change(fs)) != NULL) {
        size_t length = dir_length(c->from);
        char *dir = alloc_string(length > 0 ? c->from : ".");
        dir[length > 0 ? length : 1] = 0;
        crash_names(fs, dir);
        free(dir);
    }
    drop_orphans(fs);
    crash_data(fs);
    end_process(fs);
}

void sim_fs_job_begin(struct sim_fs *fs)
{
    ASSERT(!fs->in_job);
    fs->in_job = true;
    fs->job_start = fs->operations;
}

void sim_fs_job_end(struct sim_fs *fs)
{
    ASSERT(fs->in_job);
    fs->in_job = false;
    settle(fs, fs->operations);
}

/* ---- the port ------------------------------------------------------------------------------- */

/* The next operation begins. False: it fails with *err; *partly if it happens in part first. */
static bool enter(struct sim_fs *fs, enum sim_fs_kind kind, enum err *err, bool *partly)
{
    *err = ERR_OK;
    *partly = false;
    if (fs->operations >= fs->stop_at) {
        *err = ERR_IO;
        *partly = fs->operations == fs->stop_at;
    } else if ((fs->fail_kinds & kind) != 0 && fs->fail_nth > 0 && --fs->fail_nth == 0) {
        *err = fs->fail_err;
        *partly = true;
    }
    if (kind != SIM_FS_READ) {
        fs->operations++;
    }
    return *err == ERR_OK;
}

static enum err enter_names(struct sim_fs *fs)
{
    enum err err;
    bool partly;
    enter(fs, SIM_FS_NAMES, &err, &partly);
    return err;
}

static bool usable(const struct fs_file *file)
{
    return file->epoch == file->fs->epoch;
}

static enum err fs_open(void *ctx, const char *name, unsigned flags, struct fs_file **out)
{
    struct sim_fs *fs = ctx;
    struct name *found = name_find(fs, name);
    if (found != NULL && (flags & FS_CREATE) != 0 && (flags & FS_EXCLUSIVE) != 0) {
        return ERR_EXISTS;
    }
    if (found == NULL) {
        if ((flags & FS_CREATE) == 0 || !dir_exists(fs, name)) {
            return ERR_NOT_FOUND;
        }
        enum err err = enter_names(fs);
        if (err != ERR_OK) {
            return err;
        }
        struct inode *inode = NEW(struct inode);
        name_add_take(fs, name, inode_ref(inode));
        change_add(
            fs, (struct change){.kind = CHANGE_CREATE, .inode = inode, .from = alloc_string(name)});
        found = name_find(fs, name);
    }
    if (found->inode == NULL) {
        return ERR_IO; /* a directory */
    }
    struct fs_file *file = NEW(struct fs_file);
    *file = (struct fs_file){.fs = fs,
                             .inode = inode_ref(found->inode),
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
    inode_unref(file->inode);
    free(file);
}

static enum err fs_read(struct fs_file *file, uint64_t offset, void *out, size_t size, size_t *got)
{
    enum err err = ERR_IO;
    bool partly;
    *got = 0;
    if (!usable(file) || !enter(file->fs, SIM_FS_READ, &err, &partly)) {
        return err;
    }
    uint64_t end = file->inode->size;
    uint64_t there = offset < end ? end - offset : 0;
    *got = there < size ? (size_t)there : size;
    get_bytes(file->inode, offset, out, *got);
    return ERR_OK;
}

uint64_t sim_fs_used_bytes(const struct sim_fs *fs)
{
    uint64_t used = 0;
    for (size_t i = 0; i < fs->names_count; i++) {
        used += fs->names[i].inode != NULL ? fs->names[i].inode->size : 0;
    }
    return used;
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
    bool differs = !all_zero(data, size) || !is_hole(inode, offset, size);
    if (differs) {
        content.data = alloc_bytes(size);
        get_bytes(inode, offset, content.data, size);
        put_bytes(inode, offset, data, size);
    }
    if (differs || new_size > inode->size) {
        change_add(file->fs, content);
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
    if (usable(file) && enter(fs, SIM_FS_WRITE, &err, &partly) && !fits(file, offset + size)) {
        err = ERR_NO_SPACE;
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

static void mark_synced(struct sim_fs *fs, struct change *c)
{
    if (c->synced_by != NEVER) {
        return;
    }
    if (fs->in_job) {
        c->synced_by = fs->operations;
    } else {
        make_durable(fs, c);
    }
}

static enum err fs_sync(struct fs_file *file)
{
    struct sim_fs *fs = file->fs;
    enum err err = ERR_IO;
    bool partly;
    if (!usable(file)) {
        return err;
    }
    enter(fs, SIM_FS_SYNC, &err, &partly);
    struct change *c, *next;
    for (c = TAILQ_FIRST(&fs->changes); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->inode != file->inode || !is_data(c) || c->lost) {
            continue;
        }
        if (err == ERR_OK) {
            mark_synced(fs, c);
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
    if (!usable(file) || !enter(file->fs, SIM_FS_ALLOCATE, &err, &partly)) {
        return err;
    }
    if (size == inode->size || (size < inode->size && !shrink)) {
        return ERR_OK;
    }
    if (!fits(file, size)) {
        return ERR_NO_SPACE;
    }
    struct change content = {.kind = CHANGE_SIZE,
                             .inode = inode,
                             .offset = size,
                             .old_size = inode->size,
                             .new_size = size};
    if (size < inode->size && !is_hole(inode, size, inode->size - size)) {
        content.length = inode->size - size;
        content.data = alloc_zeroed(1, content.length);
    }
    exchange(change_add(file->fs, content), 0, content.length);
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
    ASSERT(dir_length(from) == dir_length(to) && memcmp(from, to, dir_length(from)) == 0);
    ASSERT(strcmp(from, to) != 0);
    enum err err = enter_names(fs);
    if (err != ERR_OK) {
        return err;
    }
    if (name_find(fs, from) == NULL) {
        return ERR_NOT_FOUND;
    }
    struct change content = {
        .kind = CHANGE_RENAME, .from = alloc_string(from), .to = alloc_string(to)};
    if (name_find(fs, to) != NULL) {
        content.displaced = name_take(fs, to);
    }
    name_add_take(fs, to, name_take(fs, from));
    change_add(fs, content);
    return ERR_OK;
}

static enum err fs_remove(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum err err = enter_names(fs);
    if (err != ERR_OK) {
        return err;
    }
    struct name *found = name_find(fs, name);
    if (found == NULL) {
        return ERR_NOT_FOUND;
    }
    ASSERT(found->inode != NULL);
    struct change content = {
        .kind = CHANGE_REMOVE, .inode = found->inode, .from = alloc_string(name)};
    change_add(fs, content);
    inode_unref(name_take(fs, name));
    return ERR_OK;
}

static enum err fs_make_dir(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    ASSERT(dir_length(name) == 0);
    enum err err = enter_names(fs);
    if (err != ERR_OK) {
        return err;
    }
    struct name *found = name_find(fs, name);
    if (found != NULL) {
        return found->inode == NULL ? ERR_OK : ERR_EXISTS;
    }
    name_add_take(fs, name, NULL);
    change_add(fs, (struct change){.kind = CHANGE_CREATE, .from = alloc_string(name)});
    return ERR_OK;
}

static enum err fs_sync_dir(void *ctx, const char *dir)
{
    struct sim_fs *fs = ctx;
    enum err err;
    bool partly;
    if (!enter(fs, SIM_FS_SYNC_DIR, &err, &partly)) {
        return err;
    }
    struct change *c, *next;
    for (c = TAILQ_FIRST(&fs->changes); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (!is_data(c) && in_dir(c->from, dir)) {
            mark_synced(fs, c);
        }
    }
    return ERR_OK;
}

static enum err fs_list(void *ctx, const char *dir, void (*each)(void *arg, const char *name),
                        void *arg)
{
    struct sim_fs *fs = ctx;
    size_t prefix = strcmp(dir, ".") == 0 ? 0 : strlen(dir) + 1;
    if (prefix > 0 && name_find(fs, dir) == NULL) {
        return ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < fs->names_count; i++) {
        if (in_dir(fs->names[i].text, dir) && fs->names[i].inode != NULL) {
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

static const struct fs_vtable vtable = {
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

/* ---- life and faults ------------------------------------------------------------------------ */

struct sim_fs *sim_fs_new(uint64_t seed, const char *path)
{
    struct sim_fs *fs = NEW(struct sim_fs);
    fs->port = (struct fs_port){.ctx = fs, .v = &vtable};
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
        fs_close(LIST_FIRST(&fs->files));
    }
    while (!TAILQ_EMPTY(&fs->changes)) {
        change_free(fs, TAILQ_FIRST(&fs->changes));
    }
    for (size_t i = 0; i < fs->names_count; i++) {
        free(fs->names[i].text);
        inode_unref(fs->names[i].inode);
    }
    free(fs->names);
    free(fs->path);
    free(fs);
}

const struct fs_port *sim_fs_port(struct sim_fs *fs)
{
    return &fs->port;
}

void sim_fs_fail(struct sim_fs *fs, unsigned kinds, uint64_t nth, enum err err)
{
    ASSERT(err != ERR_OK);
    fs->fail_kinds = kinds;
    fs->fail_nth = nth;
    fs->fail_err = err;
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
    fs->stop_at = NEVER;
    fs->capacity = NEVER;
}

bool sim_fs_flip(struct sim_fs *fs, const char *name, uint64_t offset, uint8_t mask)
{
    struct name *found = name_find(fs, name);
    if (found == NULL || found->inode == NULL || offset >= found->inode->size) {
        return false;
    }
    uint8_t byte;
    get_bytes(found->inode, offset, &byte, 1);
    byte ^= mask;
    put_bytes(found->inode, offset, &byte, 1);
    return true;
}

uint64_t sim_fs_operations(const struct sim_fs *fs)
{
    return fs->operations;
}

uint64_t sim_fs_syncs(const struct sim_fs *fs)
{
    return fs->syncs;
}

/* What a crash leaves on the disk. */
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/sim_fs_internal.h"

enum { SECTOR = 512 };

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
    sim_fs_job_interrupt(fs);
    end_process(fs);
}

static const struct change *first_name_change(const struct sim_fs *fs)
{
    const struct change *c;
    TAILQ_FOREACH (c, &fs->changes, link) {
        if (!sim_fs_change_is_data(c)) {
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
        count += !sim_fs_change_is_data(c) && sim_fs_in_dir(c->from, dir);
    }
    uint64_t keep = fs->lose_names ? 0 : rng_range(&fs->rng, 0, count + 1);
    for (c = TAILQ_LAST(&fs->changes, change_list); c != NULL; c = previous) {
        previous = TAILQ_PREV(c, change_list, link);
        if (sim_fs_change_is_data(c) || !sim_fs_in_dir(c->from, dir)) {
            continue;
        }
        if (count > keep) {
            sim_fs_change_undo(fs, c);
        }
        count--;
        sim_fs_change_free(fs, c);
    }
}

static void tear(struct sim_fs *fs, struct change *c)
{
    if (c->kind == CHANGE_SIZE) {
        sim_fs_change_redo(c);
        return;
    }
    if (rng_chance(&fs->rng, 0.5)) {
        sim_fs_change_redo_part(c, 0, rng_range(&fs->rng, 0, c->length + 1));
        return;
    }
    uint64_t at = 0;
    while (at < c->length) {
        uint64_t part = SECTOR - (c->offset + at) % SECTOR;
        part = part < c->length - at ? part : c->length - at;
        if (rng_chance(&fs->rng, 0.5)) {
            sim_fs_change_redo_part(c, at, part);
        }
        at += part;
    }
}

static void crash_data(struct sim_fs *fs)
{
    struct change *c;
    TAILQ_FOREACH_REVERSE(c, &fs->changes, change_list, link)
    {
        sim_fs_change_undo(fs, c);
    }
    while ((c = TAILQ_FIRST(&fs->changes)) != NULL) {
        switch (c->torn ? 0 : rng_range(&fs->rng, 0, 3)) {
        case 0:
            sim_fs_change_redo(c);
            break;
        case 1:
            tear(fs, c);
            break;
        default:
            break;
        }
        sim_fs_change_free(fs, c);
    }
}

/* A directory that did not survive takes its files along. */
static void drop_orphans(struct sim_fs *fs)
{
    size_t i = 0;
    while (i < fs->names_count) {
        if (sim_fs_dir_exists(fs, fs->names[i].text)) {
            i++;
        } else {
            sim_fs_inode_unref(sim_fs_name_take(fs, fs->names[i].text));
        }
    }
}

void sim_fs_crash_host(struct sim_fs *fs)
{
    sim_fs_job_interrupt(fs);
    const struct change *c;
    while ((c = first_name_change(fs)) != NULL) {
        size_t length = sim_fs_dir_length(c->from);
        char *dir = alloc_string(length > 0 ? c->from : ".");
        dir[length > 0 ? length : 1] = 0;
        crash_names(fs, dir);
        free(dir);
    }
    fs->lose_names = false;
    drop_orphans(fs);
    crash_data(fs);
    end_process(fs);
}

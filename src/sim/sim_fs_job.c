/* The disk job under way: what it has synced becomes durable when it ends; a crash before that
 * goes back to a moment within it. */
#include "base/assert.h"
#include "sim/sim_fs_internal.h"

/* Everything that syncs up to and including this operation covered is durable. */
static void settle(struct sim_fs *fs, uint64_t upto)
{
    struct change *c, *next;
    for (c = TAILQ_FIRST(&fs->changes); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->synced_by <= upto) {
            sim_fs_change_make_durable(fs, c);
        } else {
            c->synced_by = NEVER;
        }
    }
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

void sim_fs_job_synced(struct sim_fs *fs, struct change *c)
{
    if (c->synced_by != NEVER) {
        return;
    }
    if (fs->in_job) {
        c->synced_by = fs->operations;
    } else {
        sim_fs_change_make_durable(fs, c);
    }
}

/* NULL: the job has written nothing that can be cut in two. */
static const struct change *last_write(const struct sim_fs *fs)
{
    const struct change *c;
    TAILQ_FOREACH_REVERSE(c, &fs->changes, change_list, link)
    {
        if (c->operation <= fs->job_start) {
            break;
        }
        if (c->kind == CHANGE_WRITE && c->data != NULL && c->length > 1) {
            return c;
        }
    }
    return NULL;
}

bool sim_fs_tear(struct sim_fs *fs)
{
    fs->tear = fs->in_job && last_write(fs) != NULL;
    return fs->tear;
}

void sim_fs_job_interrupt(struct sim_fs *fs)
{
    bool tear = fs->tear;
    fs->tear = false;
    if (!fs->in_job) {
        return;
    }
    uint64_t upto = tear ? last_write(fs)->operation - 1
                         : rng_range(&fs->rng, fs->job_start, fs->operations + 1);
    struct change *c, *previous;
    for (c = TAILQ_LAST(&fs->changes, change_list); c != NULL; c = previous) {
        previous = TAILQ_PREV(c, change_list, link);
        if (c->operation <= upto) {
            break;
        }
        sim_fs_change_undo(fs, c);
        if (c->operation == upto + 1 && c->kind == CHANGE_WRITE && c->data != NULL) {
            c->torn = tear;
            c->length =
                tear ? rng_range(&fs->rng, 1, c->length) : rng_range(&fs->rng, 0, c->length + 1);
            sim_fs_change_redo(c);
            c->new_size = c->inode->size;
        } else {
            sim_fs_change_free(fs, c);
        }
    }
    settle(fs, upto);
    fs->in_job = false;
}

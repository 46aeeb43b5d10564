/* Which snapshot is in place, who holds which, and removing those that nobody needs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/store_internal.h"

/* ---- files ---------------------------------------------------------------------------------- */

struct snapshot_file *snapshots_add(struct store *s, const struct store_snapshot *known)
{
    struct snapshot_file *file = NEW(struct snapshot_file);
    file->known = *known;
    uint8_t *about = alloc_bytes(known->about.size + 1);
    if (known->about.size > 0) {
        memcpy(about, known->about.data, known->about.size);
    }
    file->known.about.data = about;
    LIST_INSERT_HEAD(&s->snapshots.files, file, link);
    return file;
}

void snapshots_forget(struct snapshot_file *file)
{
    LIST_REMOVE(file, link);
    free((uint8_t *)(uintptr_t)file->known.about.data);
    free(file);
}

static void drop_if_unneeded(struct store *s, struct snapshot_file *file)
{
    if (file->in_place || file->holds > 0) {
        return;
    }
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_name(file->known.last, name);
    bool named = file->named;
    snapshots_forget(file);
    if (named) {
        snapshots_remove(s, name);
    }
}

void snapshots_put_in_place(struct store *s, struct snapshot_file *file)
{
    struct snapshot_file *before = s->snapshots.in_place;
    ASSERT(before == NULL || before->known.last.index < file->known.last.index);
    s->snapshots.in_place = file;
    file->in_place = true;
    if (before != NULL) {
        before->in_place = false;
        drop_if_unneeded(s, before);
    }
}

void snapshots_release(struct store *s, struct snapshot_file *file)
{
    ASSERT(file->holds > 0);
    file->holds--;
    drop_if_unneeded(s, file);
}

const struct store_snapshot *store_snapshot(const struct store *s)
{
    static const struct store_snapshot none;
    return s->snapshots.in_place != NULL ? &s->snapshots.in_place->known : &none;
}

const struct store_snapshot *store_hold(struct store *s)
{
    if (s->snapshots.in_place == NULL) {
        return NULL;
    }
    s->snapshots.in_place->holds++;
    return &s->snapshots.in_place->known;
}

void store_unhold(struct store *s, const struct store_snapshot *held)
{
    struct snapshot_file *file;
    LIST_FOREACH (file, &s->snapshots.files, link) {
        if (&file->known == held) {
            snapshots_release(s, file);
            return;
        }
    }
    ASSERT(file != NULL);
}

/* ---- removing ------------------------------------------------------------------------------- */

static void start_removal(struct store *s)
{
    struct removal_job *r = &s->snapshots.removal;
    if (r->running || r->names_count == 0 || s->status.failed) {
        return;
    }
    memcpy(r->name, r->names[--r->names_count], sizeof r->name);
    r->running = true;
    executor_submit(s->options.disk, &r->job);
}

static void removal_run(struct executor_job *job)
{
    struct removal_job *r = (struct removal_job *)job;
    const struct fs_port *fs = r->store->options.fs;
    /* Not synced: if it comes back, the next start removes it. */
    r->err = fs->v->remove(fs->ctx, r->name);
}

static void removal_done(struct executor_job *job)
{
    struct removal_job *r = (struct removal_job *)job;
    r->running = false;
    if (r->err != ERR_OK && r->err != ERR_NOT_FOUND) {
        log_warn(r->store->options.log, "cannot remove a snapshot that is not needed any more",
                 log_text("file", r->name), log_text("err", err_name(r->err)));
    }
    start_removal(r->store);
}

void snapshots_remove(struct store *s, const char *name)
{
    struct removal_job *r = &s->snapshots.removal;
    r->names = alloc_resize(r->names, r->names_count + 1, sizeof *r->names);
    snprintf(r->names[r->names_count++], sizeof *r->names, "%s", name);
    start_removal(s);
}

/* ---- life ----------------------------------------------------------------------------------- */

void snapshots_init(struct store *s)
{
    LIST_INIT(&s->snapshots.files);
    s->snapshots.removal.store = s;
    s->snapshots.removal.job = (struct executor_job){.run = removal_run, .done = removal_done};
    snapshot_save_init(s);
    snapshot_receive_init(s);
}

void snapshots_close(struct store *s)
{
    struct snapshot_file *next;
    snapshot_save_close(s);
    snapshot_receive_close(s);
    for (struct snapshot_file *file = LIST_FIRST(&s->snapshots.files); file != NULL; file = next) {
        next = LIST_NEXT(file, link);
        snapshots_forget(file);
    }
    free(s->snapshots.removal.names);
    s->snapshots.removal.names = NULL;
}

bool snapshots_idle(const struct store *s)
{
    const struct snapshots *n = &s->snapshots;
    return n->save.request == NULL && n->receiver.chunks_running == 0 &&
           n->receiver.request == NULL && n->install == NULL && !n->removal.running &&
           n->reads_running == 0;
}

/* Finding out at the start which snapshot counts, and bringing the log in line with it.
 *
 * The newest sound one counts. A damaged one is set aside only where nothing is lost by that: the
 * log, or an older snapshot and the log, still hold all that was in it. A snapshot that the log
 * does not reach is one whose installation was cut short: the log is restarted after it now. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "store/store_internal.h"

#define REPLACE "replace this node's disk and bring the node back as a new member"

struct listing {
    struct store_pos *snapshots; /* ascending, as names are listed */
    size_t snapshots_count;
    char (*left_over)[SNAPSHOT_NAME_BYTES];
    size_t left_over_count;
};

static void list_name(void *arg, const char *name)
{
    struct listing *l = arg;
    struct store_pos last;
    switch (snapshot_name_parse(name, &last)) {
    case SNAPSHOT_NAME:
        l->snapshots = alloc_resize(l->snapshots, l->snapshots_count + 1, sizeof *l->snapshots);
        l->snapshots[l->snapshots_count++] = last;
        break;
    case SNAPSHOT_NAME_LEFT_OVER:
        l->left_over = alloc_resize(l->left_over, l->left_over_count + 1, sizeof *l->left_over);
        snprintf(l->left_over[l->left_over_count++], sizeof *l->left_over, "snapshot/%s", name);
        break;
    case SNAPSHOT_NAME_OTHER:
        break;
    }
}

static enum err list(const struct store *s, struct listing *l, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    *l = (struct listing){0};
    enum err err = fs->v->list(fs->ctx, "snapshot", list_name, l);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        err_why(why, err, "the directory %s/snapshot cannot be listed: check the disk",
                fs->v->path(fs->ctx));
    }
    return err;
}

static void listing_close(struct listing *l)
{
    free(l->snapshots);
    free(l->left_over);
}

enum err snapshots_found(struct store *s, bool *found, struct why *why)
{
    struct listing l;
    *found = false;
    enum err err = list(s, &l, why);
    *found = l.snapshots_count > 0;
    listing_close(&l);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* ---- which one counts ----------------------------------------------------------------------- */

/* The newest sound one. *sound: how many are up to and including that; those above are damaged and
 * can be spared. */
static enum err choose(struct store *s, const struct listing *l, size_t *sound, struct why *why)
{
    for (*sound = l->snapshots_count; *sound > 0; (*sound)--) {
        struct snapshot_reader r;
        struct store_snapshot known;
        struct why reason = {{0}};
        enum err err = snapshot_reader_verify(&r, s->options.fs, l->snapshots[*sound - 1],
                                              s->options.cluster_id, &known, &reason);
        if (err == ERR_OK) {
            struct snapshot_file *file = snapshots_add(s, &known);
            file->named = true;
            snapshots_put_in_place(s, file);
        }
        snapshot_reader_close(&r);
        if (err == ERR_OK) {
            return ERR_OK;
        }
        uint64_t before = *sound > 1 ? l->snapshots[*sound - 2].index : 0;
        if (err != ERR_CORRUPT) {
            return err_why(why, err, "%s", reason.text);
        }
        if (before < s->wal.base.index) {
            return err_why(why, err, "%s, and the log does not hold what was in it: " REPLACE,
                           reason.text);
        }
        log_warn(s->options.log, "a snapshot is damaged; the log still holds what was in it",
                 log_text("reason", reason.text));
    }
    return ERR_OK;
}

/* ---- the log and it ------------------------------------------------------------------------- */

static enum err restart_log(struct store *s, struct store_pos last, struct why *why)
{
    size_t done;
    uint64_t bytes;
    log_info(s->options.log, "restarting the log after a snapshot that came in",
             log_u64("index", last.index), log_u64("last_index", s->wal.last.index));
    return wal_append(&s->wal, &(struct wal_write){.restart = last}, 1, &done, &bytes, why);
}

static enum err reconcile(struct store *s, struct why *why)
{
    const struct wal *w = &s->wal;
    const char *path = s->options.fs->v->path(s->options.fs->ctx);
    struct store_pos last = store_snapshot(s)->last;
    if (last.index < w->base.index || (last.index == w->base.index && last.term != w->base.term)) {
        return err_why(why, ERR_CORRUPT,
                       "the log in %s/wal begins after entry %" PRIu64
                       ", and there is no snapshot in %s/snapshot that reaches it: put it back, "
                       "or " REPLACE,
                       path, w->base.index, path);
    }
    if (last.term > w->term) {
        return err_why(why, ERR_CORRUPT,
                       "the snapshot in %s/snapshot is of term %" PRIu64
                       ", later than the log's %" PRIu64 ": put the log that belongs to it back, "
                       "or " REPLACE,
                       path, last.term, w->term);
    }
    if (last.index <= w->last.index && wal_index_term(w, last.index) == last.term) {
        return ERR_OK;
    }
    return restart_log(s, last, why);
}

/* ---- clearing away -------------------------------------------------------------------------- */

static enum err clear_away(const struct store *s, const struct listing *l, size_t sound,
                           struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    char name[SNAPSHOT_NAME_BYTES], damaged_name[SNAPSHOT_NAME_BYTES];
    enum err err = ERR_OK;
    for (size_t i = 0; err == ERR_OK && i < l->left_over_count; i++) {
        bool goes_on = s->snapshots.receiver.last.index != 0 &&
                       strcmp(l->left_over[i], SNAPSHOT_INCOMING) == 0;
        err = goes_on ? ERR_OK : fs->v->remove(fs->ctx, l->left_over[i]);
    }
    for (size_t i = 0; err == ERR_OK && i < l->snapshots_count; i++) {
        snapshot_name(l->snapshots[i], name);
        snapshot_damaged_name(l->snapshots[i], damaged_name);
        if (i + 1 < sound) {
            err = fs->v->remove(fs->ctx, name);
        } else if (i + 1 > sound) {
            err = fs->v->rename(fs->ctx, name, damaged_name);
        }
    }
    if (err != ERR_OK) {
        return err_why(why, err, "clearing old snapshots away in %s/snapshot failed: %s",
                       fs->v->path(fs->ctx), err_message(err));
    }
    return ERR_OK;
}

/* The name of the one that counts must be there for good before the log is cut for it. */
static enum err sync_names(const struct store *s, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    enum err err = fs->v->sync_dir(fs->ctx, "snapshot");
    return err == ERR_OK ? ERR_OK
                         : err_why(why, err, "syncing %s/snapshot failed: check the disk",
                                   fs->v->path(fs->ctx));
}

enum err snapshots_recover(struct store *s, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    struct listing l;
    size_t sound = 0;
    if (!s->snapshots.enabled) {
        return ERR_OK;
    }
    enum err err = list(s, &l, why);
    if (err == ERR_NOT_FOUND) {
        err = fs->v->make_dir(fs->ctx, "snapshot");
        if (err != ERR_OK) {
            err_why(why, err, "creating %s/snapshot failed: %s", fs->v->path(fs->ctx),
                    err_message(err));
        }
    }
    if (err == ERR_OK) {
        err = choose(s, &l, &sound, why);
    }
    if (err == ERR_OK) {
        err = sync_names(s, why);
    }
    if (err == ERR_OK) {
        err = reconcile(s, why);
    }
    if (err == ERR_OK) {
        err = snapshots_resume(s, why);
    }
    if (err == ERR_OK) {
        err = clear_away(s, &l, sound, why);
    }
    listing_close(&l);
    return err;
}

/* ---- delivering ----------------------------------------------------------------------------- */

static enum err deliver_pairs(const struct store *s, struct snapshot_reader *r, struct why *why)
{
    bool end = false;
    enum err err = ERR_OK;
    while (err == ERR_OK && !end) {
        struct bytes pairs, key, value;
        err = snapshot_reader_next(r, &pairs, &end, why);
        while (err == ERR_OK && snapshot_pair_take(&pairs, &key, &value) == ERR_OK) {
            err = s->options.pair(s->options.ctx, key, value);
            if (err != ERR_OK) {
                err_why(why, err, "%s/%s cannot be loaded: %s", r->path, r->name, err_message(err));
            }
        }
    }
    return err;
}

enum err snapshots_deliver(struct store *s, struct why *why)
{
    const struct store_snapshot *known = store_snapshot(s);
    if (known->last.index == 0) {
        return ERR_OK;
    }
    char name[SNAPSHOT_NAME_BYTES];
    struct snapshot_reader r;
    snapshot_name(known->last, name);
    enum err err = s->options.snapshot(s->options.ctx, known, why);
    if (err != ERR_OK) {
        return err;
    }
    err = snapshot_reader_open(&r, s->options.fs, name, s->options.cluster_id, why);
    if (err == ERR_OK) {
        err = deliver_pairs(s, &r, why);
        snapshot_reader_close(&r);
    }
    return err == ERR_OK ? s->options.snapshot_end(s->options.ctx, why) : err;
}

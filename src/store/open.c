/* Opening and closing: whose the directory is, what it holds. */
#include <stdlib.h>

#include "base/alloc.h"
#include "store/identity.h"
#include "store/store_internal.h"

static enum err take_lock(struct store *s, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    enum err err = fs->v->open(fs->ctx, "lock", FS_WRITE | FS_CREATE, &s->lock);
    if (err == ERR_OK) {
        err = fs->v->lock(s->lock);
    }
    if (err == ERR_LOCKED) {
        return err_why(why, err,
                       "the data directory %s is in use by another process: stop that one, or give "
                       "this node a directory of its own",
                       fs->v->path(fs->ctx));
    }
    if (err != ERR_OK) {
        err_why(why, err, "cannot lock the data directory %s (can this user write there?): %s",
                fs->v->path(fs->ctx), err_message(err));
    }
    return err;
}

/* A directory without identity: new, or its first start was cut short, or it has lost it. */
static enum err set_up(struct store *s, struct store_recovered *recovered, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    entropy_fill(s->options.entropy, recovered->uuid, sizeof recovered->uuid);
    wal_init(&s->wal, &s->options, recovered->uuid);
    enum err err = fs->v->make_dir(fs->ctx, "wal");
    if (err == ERR_OK && s->snapshots.enabled) {
        err = fs->v->make_dir(fs->ctx, "snapshot");
    }
    if (err == ERR_OK) {
        err = fs->v->sync_dir(fs->ctx, ".");
    }
    if (err != ERR_OK) {
        return err_why(why, err, "setting up the data directory %s failed: %s",
                       fs->v->path(fs->ctx), err_message(err));
    }
    bool used;
    err = snapshots_found(s, &used, why);
    if (err == ERR_OK && !used) {
        err = wal_discard_unused(&s->wal, &used, why);
    }
    if (err == ERR_OK && used) {
        err = err_why(why, ERR_CORRUPT,
                      "%s/identity is missing, but there is a log or a snapshot: restore it, or "
                      "bring the node back as a new member with an empty data directory",
                      fs->v->path(fs->ctx));
    }
    if (err == ERR_OK) {
        err = wal_create(&s->wal, why);
    }
    if (err == ERR_OK) {
        err = identity_write(&s->options, recovered->uuid, why);
    }
    recovered->fresh = err == ERR_OK;
    return err;
}

static enum err deliver(const struct store *s, struct why *why)
{
    enum { BYTES_AT_ONCE = 1 << 20 };
    const struct wal *w = &s->wal;
    uint64_t index = w->base.index + 1;
    while (s->options.entry != NULL && index <= w->last.index) {
        struct store_read part = {0};
        enum err err =
            wal_read(w, index, w->last.index + 1, BYTES_AT_ONCE, &part.entries, &part.count, why);
        if (err != ERR_OK) {
            return err;
        }
        for (uint32_t i = 0; i < part.count; i++) {
            s->options.entry(s->options.ctx, index++, part.entries[i].term, part.entries[i].body);
        }
        store_read_close(&part);
    }
    return ERR_OK;
}

static enum err recover(struct store *s, struct store_recovered *recovered, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    enum err err = identity_check(&s->options, recovered->uuid, why);
    if (err == ERR_NOT_FOUND) {
        err = set_up(s, recovered, why);
    } else if (err == ERR_OK && (err = peers_read(&s->peers, fs, why)) == ERR_OK) {
        wal_init(&s->wal, &s->options, recovered->uuid);
        err = wal_recover(&s->wal, why);
        if (err == ERR_OK) {
            err = snapshots_recover(s, why);
        }
        if (err == ERR_OK && (err = fs->v->sync_dir(fs->ctx, ".")) != ERR_OK) {
            err_why(why, err, "syncing the data directory %s failed", fs->v->path(fs->ctx));
        }
    }
    recovered->term = s->wal.term;
    recovered->vote = s->wal.vote;
    recovered->base = s->wal.base;
    recovered->last = s->wal.last;
    recovered->snapshot = store_snapshot(s)->last;
    recovered->incoming = s->snapshots.receiver.last;
    recovered->incoming_bytes = s->snapshots.receiver.bytes;
    if (err == ERR_OK) {
        err = snapshots_deliver(s, why);
    }
    return err == ERR_OK ? deliver(s, why) : err;
}

/* The reserve for term and vote: without it the node starts, but takes no entries. */
static enum err reserve(struct store *s, struct why *why)
{
    enum err err = ERR_OK;
    if (s->wal.spares_count == 0) {
        bool more;
        struct why reason = {{0}};
        err = wal_upkeep(&s->wal, &more, &reason);
        if (err == ERR_NO_SPACE) {
            store_set_full(s, true, reason.text);
            err = ERR_OK;
        }
        if (err != ERR_OK) {
            err_why(why, err, "%s", reason.text);
        }
    }
    struct wal_summary wal;
    store_summarise(&s->wal, &wal);
    store_take_summary(s, &wal);
    return err;
}

enum err store_open(const struct store_options *options, struct store **out,
                    struct store_recovered *recovered, struct why *why)
{
    struct store *s = NEW(struct store);
    s->options = *options;
    s->snapshots.enabled = options->snapshot != NULL;
    store_init_jobs(s);
    *recovered = (struct store_recovered){0};
    enum err err = take_lock(s, why);
    if (err == ERR_OK) {
        err = recover(s, recovered, why);
    }
    if (err == ERR_OK) {
        err = reserve(s, why);
    }
    if (err != ERR_OK) {
        store_close(s);
        return err;
    }
    s->compacted = recovered->base.index;
    log_info(s->options.log, "store opened", log_bool("fresh", recovered->fresh),
             log_u64("term", recovered->term), log_u64("base", recovered->base.index),
             log_u64("last", recovered->last.index));
    store_start_upkeep(s);
    *out = s;
    return ERR_OK;
}

void store_close(struct store *s)
{
    if (s == NULL) {
        return;
    }
    wal_close(&s->wal);
    peers_close(&s->peers);
    store_close_jobs(s);
    if (s->lock != NULL) {
        s->options.fs->v->close(s->lock);
    }
    free(s);
}

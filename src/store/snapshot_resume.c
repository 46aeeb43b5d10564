/* What had come in of a snapshot before a restart: its sound beginning is kept, so that the
 * transfer goes on there. A file that lost some of its sectors in a crash is sound up to the first
 * block that does not match its checksum; what follows comes in again. */
#include <stdlib.h>

#include "base/alloc.h"
#include "store/store_internal.h"

enum { COPY_BYTES = 1 << 20 };

/* The header and all blocks that are sound. Never the footer: the last chunk always comes in, and
 * makes the whole be verified. Errors: what makes it worth nothing, or ERR_IO. */
static enum err find_sound(const struct store *s, struct store_pos *last, uint64_t *bytes,
                           struct why *why)
{
    struct snapshot_reader r;
    struct bytes pairs;
    bool end = false;
    enum err err =
        snapshot_reader_open(&r, s->options.fs, SNAPSHOT_INCOMING, s->options.cluster_id, why);
    if (err != ERR_OK) {
        return err;
    }
    *last = r.header.last;
    do {
        *bytes = r.at;
        err = snapshot_reader_next(&r, &pairs, &end, why);
    } while (err == ERR_OK && !end);
    snapshot_reader_close(&r);
    return err == ERR_CORRUPT ? ERR_OK : err;
}

/* Writes it again where it stands. A sync may have failed before the restart: what it should have
 * made durable can still be read, but no later sync would make it so. */
static enum err write_again(struct fs_file *file, const struct fs_port *fs, uint64_t bytes)
{
    uint8_t *data = alloc_bytes(COPY_BYTES);
    enum err err = ERR_OK;
    for (uint64_t at = 0; err == ERR_OK && at < bytes;) {
        size_t size = bytes - at < COPY_BYTES ? (size_t)(bytes - at) : COPY_BYTES;
        size_t got;
        err = fs->v->read(file, at, data, size, &got);
        if (err == ERR_OK && got < size) {
            err = ERR_IO;
        }
        struct bytes piece = bytes_of(data, size);
        if (err == ERR_OK) {
            err = fs->v->write(file, at, &piece, 1);
        }
        if (err == ERR_OK) {
            err = fs->v->sync(file);
        }
        at += size;
    }
    free(data);
    return err;
}

/* Is it of use still? A leader sends only what the log does not hold. */
static bool is_wanted(const struct store *s, struct store_pos last)
{
    const struct wal *w = &s->wal;
    bool held = last.index <= w->last.index &&
                (last.index <= w->base.index || wal_index_term(w, last.index) == last.term);
    return !held && last.index > store_snapshot(s)->last.index;
}

enum err snapshots_resume(struct store *s, struct why *why)
{
    const struct fs_port *fs = s->options.fs;
    struct receiver *r = &s->snapshots.receiver;
    struct store_pos last;
    uint64_t bytes;
    struct why reason = {{0}};
    enum err err = find_sound(s, &last, &bytes, &reason);
    if (err == ERR_IO) {
        return err_why(why, err, "%s", reason.text);
    }
    if (err != ERR_OK || !is_wanted(s, last)) {
        return ERR_OK; /* it is cleared away with what else was left over */
    }
    struct fs_file *file;
    err = fs->v->open(fs->ctx, SNAPSHOT_INCOMING, FS_WRITE, &file);
    if (err != ERR_OK) {
        return err_why(why, err, "opening %s/%s failed: %s", fs->v->path(fs->ctx),
                       SNAPSHOT_INCOMING, err_message(err));
    }
    err = fs->v->truncate(file, bytes);
    if (err == ERR_OK) {
        err = write_again(file, fs, bytes);
    }
    if (err != ERR_OK) {
        fs->v->close(file);
        return err == ERR_NO_SPACE ? ERR_OK
                                   : err_why(why, err, "writing %s/%s failed: check the disk",
                                             fs->v->path(fs->ctx), SNAPSHOT_INCOMING);
    }
    r->file = file;
    r->last = last;
    r->bytes = bytes;
    log_info(s->options.log, "a snapshot had begun to come in", log_u64("index", last.index),
             log_u64("bytes", bytes));
    return ERR_OK;
}

#include "store/snapshot_writer.h"

#include "base/assert.h"

enum {
    /* Written by one step. */
    STEP_BYTES = 256 << 10,
    /* A sync waits for this much at most, and so does a batch of the log behind it. Left to the
     * end, all of a large snapshot would be written by one sync of seconds. */
    SYNC_BYTES = 1 << 20,
};

void snapshot_writer_init(struct snapshot_writer *w, const struct fs_port *fs, uint64_t cluster_id,
                          struct store_pos last, struct bytes about,
                          const struct state_snapshot *root)
{
    ASSERT(last.index > 0);
    ASSERT(last.term > 0);
    ASSERT(about.size <= STORE_ABOUT_BYTES_MAX);
    *w = (struct snapshot_writer){.fs = fs, .root = root, .about = slice_copy(about)};
    w->header = (struct snapshot_header){.cluster_id = cluster_id,
                                         .last = last,
                                         .pairs = state_snapshot_count(root),
                                         .hash = state_snapshot_hash(root),
                                         .content_bytes = state_snapshot_bytes(root)};
}

static void close_file(struct snapshot_writer *w)
{
    if (w->file != NULL) {
        w->fs->v->close(w->file);
        w->file = NULL;
    }
}

void snapshot_writer_close(struct snapshot_writer *w)
{
    close_file(w);
    buffer_close(&w->staged);
    slice_close(&w->about);
    XXH3_freeState(w->check);
    *w = (struct snapshot_writer){0};
}

static enum err failed(const struct snapshot_writer *w, enum err err, struct why *why)
{
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_new_name(w->header.last, name);
    const char *path = w->fs->v->path(w->fs->ctx);
    if (err == ERR_NO_SPACE) {
        return err_why(why, err, "no space left for a snapshot (%s/%s)", path, name);
    }
    return err_why(why, ERR_IO, "writing %s/%s failed: check the disk", path, name);
}

/* ---- what comes next ------------------------------------------------------------------------ */

static void count_staged(struct snapshot_writer *w, size_t checked)
{
    XXH3_64bits_update(w->check, w->staged.data, checked);
    w->at += w->staged.size;
    w->staged_written = 0;
}

static void stage_header(struct snapshot_writer *w)
{
    uint8_t header[SNAPSHOT_HEADER_BYTES];
    snapshot_header_encode(&w->header, slice_bytes(w->about), header);
    buffer_clear(&w->staged);
    buffer_add(&w->staged, header, sizeof header);
    buffer_add_bytes(&w->staged, slice_bytes(w->about));
    count_staged(w, w->staged.size);
}

static void stage_block(struct snapshot_writer *w)
{
    uint32_t pairs = 0;
    snapshot_block_begin(&w->staged);
    while (w->more && snapshot_block_add(&w->staged, w->cursor.key, w->cursor.value)) {
        pairs++;
        w->more = state_next(&w->cursor);
    }
    snapshot_block_finish(&w->staged, pairs);
    count_staged(w, w->staged.size);
}

static void stage_footer(struct snapshot_writer *w)
{
    enum { CHECK_BYTES = 8 };
    uint8_t footer[SNAPSHOT_FOOTER_BYTES];
    snapshot_footer_encode(w->at + SNAPSHOT_FOOTER_BYTES, footer);
    buffer_clear(&w->staged);
    buffer_add(&w->staged, footer, sizeof footer);
    count_staged(w, sizeof footer - CHECK_BYTES);
    snapshot_footer_seal(XXH3_64bits_digest(w->check),
                         w->staged.data + sizeof footer - CHECK_BYTES);
    w->sealed = true;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static enum err begin(struct snapshot_writer *w)
{
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_new_name(w->header.last, name);
    /* One whose sync failed is not written again: what it holds is anybody's guess. */
    enum err err = w->fs->v->remove(w->fs->ctx, name);
    if (err == ERR_OK || err == ERR_NOT_FOUND) {
        err = w->fs->v->open(w->fs->ctx, name, FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &w->file);
    }
    if (err != ERR_OK) {
        return err;
    }
    w->check = XXH3_createState();
    ASSERT(w->check != NULL);
    XXH3_64bits_reset(w->check);
    w->more = state_seek_snapshot(&w->cursor, w->root, (struct bytes){0});
    stage_header(w);
    return ERR_OK;
}

static enum err write_some(struct snapshot_writer *w)
{
    size_t left = w->staged.size - w->staged_written;
    struct bytes piece =
        bytes_of(w->staged.data + w->staged_written, left < STEP_BYTES ? left : STEP_BYTES);
    enum err err = w->fs->v->write(w->file, w->at - left, &piece, 1);
    w->staged_written += piece.size;
    w->unsynced += piece.size;
    return err;
}

enum err snapshot_writer_step(struct snapshot_writer *w, bool *whole, struct why *why)
{
    enum err err = ERR_OK;
    *whole = false;
    bool all_written = w->staged_written == w->staged.size;
    if (w->file == NULL) {
        err = begin(w);
    } else if (w->unsynced >= SYNC_BYTES || (all_written && w->sealed)) {
        err = w->fs->v->sync(w->file);
        w->unsynced = 0;
        *whole = err == ERR_OK && all_written && w->sealed;
    } else {
        if (all_written && w->more) {
            stage_block(w);
        } else if (all_written) {
            stage_footer(w);
        }
        err = write_some(w);
    }
    if (*whole) {
        close_file(w);
    }
    return err == ERR_OK ? ERR_OK : failed(w, err, why);
}

enum err snapshot_writer_publish(struct snapshot_writer *w, struct why *why)
{
    char new_name[SNAPSHOT_NAME_BYTES], name[SNAPSHOT_NAME_BYTES];
    snapshot_new_name(w->header.last, new_name);
    snapshot_name(w->header.last, name);
    enum err err = w->fs->v->rename(w->fs->ctx, new_name, name);
    if (err == ERR_OK && w->fs->v->sync_dir(w->fs->ctx, "snapshot") != ERR_OK) {
        err = ERR_IO;
    }
    return err == ERR_OK ? ERR_OK : failed(w, err, why);
}

void snapshot_writer_discard(struct snapshot_writer *w)
{
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_new_name(w->header.last, name);
    close_file(w);
    /* If it stays, the next start removes it. */
    w->fs->v->remove(w->fs->ctx, name);
}

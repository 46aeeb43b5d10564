/* Reading a snapshot piece by piece, to send it to another node. */
#include <stddef.h>

#include "base/assert.h"
#include "store/store_internal.h"

static struct store_piece *piece_of(struct executor_job *job)
{
    return (struct store_piece *)((char *)job - offsetof(struct store_piece, job));
}

static enum err read_piece(struct store_piece *p, struct fs_file *file, const char *name)
{
    const struct fs_port *fs = p->store->options.fs;
    uint64_t left = p->held->bytes - p->offset_bytes;
    size_t size = left < p->bytes_max ? (size_t)left : p->bytes_max;
    struct blob *block = blob_new(size);
    size_t got;
    enum err err = fs->v->read(file, p->offset_bytes, block->data, size, &got);
    if (err != ERR_OK) {
        err_why(&p->why, err, "reading %s/%s failed: check the disk", fs->v->path(fs->ctx), name);
    } else if (got < size) {
        err = err_why(&p->why, ERR_CORRUPT, "%s/%s is cut short", fs->v->path(fs->ctx), name);
    }
    if (err != ERR_OK) {
        blob_unref(block);
        return err;
    }
    p->bytes = slice_of_take(block);
    p->end = p->offset_bytes + size == p->held->bytes;
    return ERR_OK;
}

static void piece_run(struct executor_job *job)
{
    struct store_piece *p = piece_of(job);
    const struct fs_port *fs = p->store->options.fs;
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_name(p->held->last, name);
    struct fs_file *file;
    p->err = fs->v->open(fs->ctx, name, FS_READ, &file);
    if (p->err != ERR_OK) {
        err_why(&p->why, p->err, "opening %s/%s failed: check the disk", fs->v->path(fs->ctx),
                name);
        return;
    }
    p->err = read_piece(p, file, name);
    fs->v->close(file);
}

static void piece_done(struct executor_job *job)
{
    struct store_piece *p = piece_of(job);
    p->store->snapshots.reads_running--;
    p->done(p);
}

void store_piece(struct store *s, struct store_piece *piece)
{
    ASSERT(piece->held != NULL);
    ASSERT(piece->offset_bytes <= piece->held->bytes);
    ASSERT(piece->bytes_max > 0);
    ASSERT(piece->bytes.owner == NULL);
    piece->store = s;
    piece->end = false;
    piece->job = (struct executor_job){.run = piece_run, .done = piece_done};
    s->snapshots.reads_running++;
    executor_submit(s->options.disk, &piece->job);
}

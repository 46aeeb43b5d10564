/* A snapshot comes in: its chunks go to one file, which is verified as a whole after the last, a
 * block a job. Installing it: the file gets its name and the log begins after it, both in the job
 * of a batch, in order with the writes. */
#include <stddef.h>

#include "base/assert.h"
#include "store/store_internal.h"

enum { SYNC_BYTES = 1 << 20 }; /* as in snapshot_writer.c */

static struct store_receive *receive_of(struct executor_job *job)
{
    return (struct store_receive *)((char *)job - offsetof(struct store_receive, job));
}

/* ---- a chunk, on the disk thread ------------------------------------------------------------ */

static void close_file(struct receiver *r)
{
    if (r->file != NULL) {
        r->store->options.fs->v->close(r->file);
        r->file = NULL;
    }
}

static void drop(struct receiver *r)
{
    const struct fs_port *fs = r->store->options.fs;
    close_file(r);
    r->last = (struct store_pos){0};
    /* If it stays, the next start removes it. */
    fs->v->remove(fs->ctx, SNAPSHOT_INCOMING);
}

static enum err begin(struct receiver *r, struct store_pos last)
{
    const struct fs_port *fs = r->store->options.fs;
    close_file(r);
    r->last = (struct store_pos){0};
    enum err err = fs->v->remove(fs->ctx, SNAPSHOT_INCOMING);
    if (err == ERR_OK || err == ERR_NOT_FOUND) {
        err =
            fs->v->open(fs->ctx, SNAPSHOT_INCOMING, FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &r->file);
    }
    if (err == ERR_OK) {
        err = fs->v->sync_dir(fs->ctx, "snapshot"); /* what is synced of it is found again */
    }
    if (err == ERR_OK) {
        r->last = last;
        r->bytes = 0;
        r->unsynced = 0;
    }
    return err;
}

static enum err write_chunk(struct receiver *r, const struct store_receive *chunk)
{
    const struct fs_port *fs = r->store->options.fs;
    enum err err = ERR_OK;
    if (chunk->offset_bytes == 0) {
        err = begin(r, chunk->last);
    }
    if (err == ERR_OK && chunk->bytes.size > 0) {
        struct bytes piece = slice_bytes(chunk->bytes);
        err = fs->v->write(r->file, chunk->offset_bytes, &piece, 1);
        r->bytes += piece.size;
        r->unsynced += piece.size;
    }
    if (err == ERR_OK && (chunk->end || r->unsynced >= SYNC_BYTES)) {
        err = fs->v->sync(r->file);
        r->unsynced = 0;
    }
    if (err == ERR_OK && chunk->end) {
        close_file(r);
    }
    return err;
}

static bool continues(const struct receiver *r, const struct store_receive *chunk)
{
    return chunk->offset_bytes == 0 ||
           (r->file != NULL && r->last.index == chunk->last.index &&
            r->last.term == chunk->last.term && r->bytes == chunk->offset_bytes);
}

static void chunk_run(struct executor_job *job)
{
    struct store_receive *chunk = receive_of(job);
    struct receiver *r = &chunk->store->snapshots.receiver;
    const struct fs_port *fs = chunk->store->options.fs;
    if (chunk->err != ERR_OK) {
        return; /* refused at once */
    }
    if (!continues(r, chunk)) {
        chunk->err = err_why(&chunk->why, ERR_INVALID, "not the next chunk of this snapshot");
        return;
    }
    chunk->err = write_chunk(r, chunk);
    if (chunk->err == ERR_OK) {
        return;
    }
    drop(r);
    if (chunk->err == ERR_NO_SPACE) {
        err_why(&chunk->why, chunk->err, "no space left for a snapshot (%s/%s)",
                fs->v->path(fs->ctx), SNAPSHOT_INCOMING);
    } else {
        chunk->err = err_why(&chunk->why, ERR_IO, "writing %s/%s failed: check the disk",
                             fs->v->path(fs->ctx), SNAPSHOT_INCOMING);
    }
}

void snapshot_drop_overtaken(struct store *s, struct store_pos saved)
{
    struct receiver *r = &s->snapshots.receiver;
    /* Once whole its file is closed, and it is the loop that says what becomes of it. */
    if (r->file != NULL && r->last.index <= saved.index) {
        drop(r);
    }
}

/* ---- verifying ------------------------------------------------------------------------------ */

static enum err verify_some(struct receiver *r)
{
    const struct store_options *options = &r->store->options;
    struct why *why = &r->outcome.why;
    if (r->reader.about == NULL) {
        enum err err = snapshot_reader_open(&r->reader, options->fs, SNAPSHOT_INCOMING,
                                            options->cluster_id, why);
        if (err != ERR_OK) {
            return err;
        }
        const struct store_pos last = r->reader.header.last;
        if (last.index != r->last.index || last.term != r->last.term) {
            return err_why(why, ERR_CORRUPT, "the snapshot that came in is not the one announced");
        }
    }
    struct bytes pairs;
    return snapshot_reader_next(&r->reader, &pairs, &r->verified, why);
}

static void verify_run(struct executor_job *job)
{
    struct receiver *r = (struct receiver *)((char *)job - offsetof(struct receiver, job));
    r->verified = false;
    r->outcome.err = verify_some(r);
    if (r->outcome.err != ERR_OK) {
        drop(r);
    }
}

static void verify_done(struct executor_job *job)
{
    struct receiver *r = (struct receiver *)((char *)job - offsetof(struct receiver, job));
    struct store *s = r->store;
    if (s->status.failed) {
        r->outcome.err = ERR_IO;
    } else if (r->outcome.err == ERR_OK && r->cancelled) {
        r->outcome.err = ERR_CANCELLED; /* the file goes when the next comes in, or at a start */
    }
    if (r->outcome.err == ERR_OK && !r->verified) {
        executor_submit(s->options.disk, &r->job);
        return;
    }
    struct store_receive *request = r->request;
    r->request = NULL;
    r->phase = RECEIVE_PARTS;
    if (r->outcome.err == ERR_OK) {
        struct store_snapshot known;
        snapshot_reader_describe(&r->reader, &known);
        r->whole = snapshots_add(s, &known);
        r->whole->holds++; /* by being what is incoming */
        r->phase = RECEIVE_WHOLE;
    }
    snapshot_reader_close(&r->reader);
    request->err = r->outcome.err;
    request->why = r->outcome.why;
    request->done(request);
}

/* ---- the loop's side ------------------------------------------------------------------------ */

static void chunk_done(struct executor_job *job)
{
    struct store_receive *chunk = receive_of(job);
    struct store *s = chunk->store;
    struct receiver *r = &s->snapshots.receiver;
    r->chunks_running--;
    if (chunk->err == ERR_IO) {
        store_fail(s, chunk->err, &chunk->why);
    }
    if (s->status.failed) {
        chunk->err = ERR_IO;
    }
    if (chunk->end && chunk->err == ERR_OK) {
        r->request = chunk;
        r->outcome = (struct outcome){.err = ERR_OK};
        executor_submit(s->options.disk, &r->job);
        return;
    }
    if (chunk->end && chunk->err != ERR_BUSY) {
        r->phase = RECEIVE_PARTS;
    }
    chunk->done(chunk);
}

void store_receive(struct store *s, struct store_receive *chunk)
{
    struct receiver *r = &s->snapshots.receiver;
    ASSERT(s->snapshots.enabled);
    ASSERT(chunk->last.index > 0);
    ASSERT(chunk->last.term > 0);
    chunk->store = s;
    chunk->job = (struct executor_job){.run = chunk_run, .done = chunk_done};
    chunk->err = r->phase == RECEIVE_PARTS ? ERR_OK : ERR_BUSY;
    if (chunk->err == ERR_OK) {
        r->cancelled = false;
        r->phase = chunk->end ? RECEIVE_VERIFY : RECEIVE_PARTS;
    }
    r->chunks_running++;
    executor_submit(s->options.disk, &chunk->job);
}

const struct store_snapshot *store_incoming(const struct store *s)
{
    const struct receiver *r = &s->snapshots.receiver;
    return r->whole != NULL ? &r->whole->known : NULL;
}

/* It is not what is incoming any more. */
static struct snapshot_file *take_whole(struct receiver *r)
{
    struct snapshot_file *file = r->whole;
    r->whole = NULL;
    r->phase = RECEIVE_PARTS;
    return file;
}

void store_drop_incoming(struct store *s)
{
    struct receiver *r = &s->snapshots.receiver;
    ASSERT(s->snapshots.install == NULL);
    ASSERT(r->whole != NULL);
    /* The file goes when the next comes in, or at the next start. */
    snapshots_release(s, take_whole(r));
}

/* ---- installing ----------------------------------------------------------------------------- */

enum err snapshot_publish_incoming(const struct fs_port *fs, struct store_pos last, struct why *why)
{
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_name(last, name);
    enum err err = fs->v->rename(fs->ctx, SNAPSHOT_INCOMING, name);
    if (err == ERR_OK && fs->v->sync_dir(fs->ctx, "snapshot") != ERR_OK) {
        err = ERR_IO;
    }
    if (err == ERR_NO_SPACE) {
        return err_why(why, err, "no space to rename a snapshot in %s/snapshot",
                       fs->v->path(fs->ctx));
    }
    return err == ERR_OK ? ERR_OK
                         : err_why(why, ERR_IO, "renaming %s/%s failed: check the disk",
                                   fs->v->path(fs->ctx), SNAPSHOT_INCOMING);
}

void snapshot_install_done(struct store *s, enum err err, const struct why *why)
{
    struct store_install *install = s->snapshots.install;
    s->snapshots.install = NULL;
    if (err == ERR_OK) {
        struct snapshot_file *file = take_whole(&s->snapshots.receiver);
        file->named = true;
        snapshots_put_in_place(s, file);
        snapshots_release(s, file);
    }
    install->err = err;
    install->why = *why;
    install->done(install);
}

static void refusal_run(struct executor_job *job)
{
    (void)job;
}

static void refusal_done(struct executor_job *job)
{
    const struct why why = {.text = "the disk failed before"};
    snapshot_install_done(((struct refusal_job *)job)->store, ERR_IO, &why);
}

/* ---- life ----------------------------------------------------------------------------------- */

void snapshot_receive_init(struct store *s)
{
    struct receiver *r = &s->snapshots.receiver;
    r->store = s;
    r->job = (struct executor_job){.run = verify_run, .done = verify_done};
    s->snapshots.refusal.store = s;
    s->snapshots.refusal.job = (struct executor_job){.run = refusal_run, .done = refusal_done};
}

void snapshot_receive_close(struct store *s)
{
    struct receiver *r = &s->snapshots.receiver;
    if (r->store != NULL) {
        close_file(r);
    }
    snapshot_reader_close(&r->reader);
}

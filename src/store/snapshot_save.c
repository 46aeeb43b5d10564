/* Saving: a root of the state becomes the snapshot in place, step by step. A step is handed to the
 * disk thread when the one before is done, so that batches of the log go in between. */
#include "base/assert.h"
#include "store/store_internal.h"

/* It is put in place only when the log holds its last entry for good: what a start finds is then
 * never a snapshot beyond the log, but for one that was being installed. */
static void publish(struct save_job *j)
{
    const struct wal *w = &j->store->wal;
    struct store_pos last = j->writer.header.last;
    j->published = false;
    if (w->base.index >= last.index) {
        j->outcome.err = ERR_EXISTS; /* a newer one was installed meanwhile */
        return;
    }
    if (w->last.index < last.index) {
        return;
    }
    ASSERT(wal_index_term(w, last.index) == last.term);
    j->outcome.err = snapshot_writer_publish(&j->writer, &j->outcome.why);
    j->published = j->outcome.err == ERR_OK;
    if (j->published) {
        snapshot_drop_overtaken(j->store, last);
    }
}

static void save_run(struct executor_job *job)
{
    struct save_job *j = (struct save_job *)job;
    j->outcome.err = ERR_OK;
    switch (j->step) {
    case SAVE_WRITE:
        j->outcome.err = snapshot_writer_step(&j->writer, &j->whole, &j->outcome.why);
        break;
    case SAVE_PUBLISH:
        publish(j);
        break;
    case SAVE_DISCARD:
        snapshot_writer_discard(&j->writer);
        break;
    case SAVE_NOTHING:
        break;
    }
}

static void finish(struct save_job *j, enum err err)
{
    struct store_save *request = j->request;
    snapshot_writer_close(&j->writer);
    j->request = NULL;
    request->err = err;
    request->why = j->outcome.why;
    request->done(request);
}

static void put_in_place(struct save_job *j)
{
    struct store *s = j->store;
    const struct snapshot_header *h = &j->writer.header;
    const struct store_snapshot known = {.last = h->last,
                                         .bytes = j->writer.at,
                                         .pairs = h->pairs,
                                         .hash = h->hash,
                                         .about = slice_bytes(j->writer.about)};
    struct snapshot_file *file = snapshots_add(s, &known);
    file->named = true;
    if (store_snapshot(s)->last.index < h->last.index) {
        snapshots_put_in_place(s, file);
        finish(j, ERR_OK);
        return;
    }
    file->holds++;
    snapshots_release(s, file); /* it came too late */
    finish(j, ERR_EXISTS);
}

/* What is wrong with going on. */
static enum err objection(const struct save_job *j)
{
    const struct store *s = j->store;
    if (j->outcome.err != ERR_OK) {
        return j->outcome.err;
    }
    if (j->cancelled) {
        return ERR_CANCELLED;
    }
    if (store_snapshot(s)->last.index >= j->writer.header.last.index) {
        return ERR_EXISTS;
    }
    bool waits = j->step == SAVE_PUBLISH && !j->published;
    return waits && s->status.full ? ERR_NO_SPACE : ERR_OK;
}

static void save_done(struct executor_job *job)
{
    struct save_job *j = (struct save_job *)job;
    struct store *s = j->store;
    if (j->outcome.err == ERR_IO) {
        store_fail(s, j->outcome.err, &j->outcome.why);
    }
    if (s->status.failed) {
        finish(j, ERR_IO);
        return;
    }
    if (j->step == SAVE_DISCARD || j->step == SAVE_NOTHING) {
        finish(j, j->verdict);
        return;
    }
    if (j->step == SAVE_PUBLISH && j->published) {
        put_in_place(j);
        return;
    }
    j->verdict = objection(j);
    if (j->verdict != ERR_OK) {
        j->step = SAVE_DISCARD;
    } else if (j->step == SAVE_PUBLISH) {
        ASSERT(s->status.queued_writes > 0); /* else it would wait for ever */
    } else if (j->whole) {
        j->step = SAVE_PUBLISH;
    }
    executor_submit(s->options.disk, &j->job);
}

void store_save(struct store *s, struct store_save *save)
{
    struct save_job *j = &s->snapshots.save;
    ASSERT(s->snapshots.enabled);
    ASSERT(!store_saving(s));
    j->request = save;
    j->cancelled = false;
    j->outcome = (struct outcome){.err = ERR_OK};
    j->verdict = store_snapshot(s)->last.index >= save->last.index ? ERR_EXISTS : ERR_OK;
    j->step = j->verdict == ERR_OK ? SAVE_WRITE : SAVE_NOTHING;
    if (j->step == SAVE_WRITE) {
        snapshot_writer_init(&j->writer, s->options.fs, s->options.cluster_id, save->last,
                             save->about, save->root);
    }
    executor_submit(s->options.disk, &j->job);
}

bool store_saving(const struct store *s)
{
    return s->snapshots.save.request != NULL;
}

void store_cancel(struct store *s)
{
    s->snapshots.save.cancelled = true;
    s->snapshots.receiver.cancelled = true;
}

void snapshot_save_init(struct store *s)
{
    s->snapshots.save.store = s;
    s->snapshots.save.job = (struct executor_job){.run = save_run, .done = save_done};
}

void snapshot_save_close(struct store *s)
{
    snapshot_writer_close(&s->snapshots.save.writer);
}

/* The loop's side of the store: what waits, what is under way, and the jobs that carry it to the
 * disk thread. The disk thread touches the wal and what a job carries, nothing else. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/identity.h"
#include "store/peers.h"
#include "store/small_file.h"
#include "store/wal.h"

/* Writes in order, with references to their entries' bodies. */
struct write_list {
    struct wal_write *writes;
    size_t count;
    size_t capacity;
    struct store_entry *entries; /* of all writes, in order */
    size_t entries_count;
    size_t entries_capacity;
};

/* What a job left of the wal, for the loop to look at while the next one runs. */
struct wal_summary {
    uint64_t segments;
    uint64_t spares;
    bool upkeep_wanted;
};

/* How a job ended. */
struct outcome {
    enum err err;
    struct why why;
    struct wal_summary wal;
};

struct batch_job {
    struct executor_job job;
    struct store *store;
    bool running;
    struct write_list list;
    size_t next;    /* the writes before it are durable */
    size_t done;    /* result: how many from next on became so */
    uint64_t bytes; /* result: of these, on the disk */
    struct outcome outcome;
};

struct upkeep_job {
    struct executor_job job;
    struct store *store;
    bool running;
    struct outcome outcome;
};

struct peers_job {
    struct executor_job job;
    struct store *store;
    bool running;
    struct buffer text;
    struct outcome outcome;
};

struct store {
    struct store_options options;
    struct fs_file *lock;
    struct wal wal; /* the disk thread's, once store_open() has returned */
    struct peers peers;
    struct write_list waiting;
    struct batch_job batch;
    struct upkeep_job upkeep;
    struct peers_job peers_job;
    uint64_t reads_running;
    uint64_t last_seq;  /* of the last write taken */
    uint64_t compacted; /* base.index, once all is written */
    bool upkeep_wanted;
    struct store_status status;
};

/* ---- lists of writes ------------------------------------------------------------------------ */

static void list_add(struct write_list *l, const struct store_write *write, struct store_pos base)
{
    if (l->count == l->capacity) {
        l->capacity = l->capacity == 0 ? 16 : l->capacity * 2;
        l->writes = alloc_resize(l->writes, l->capacity, sizeof *l->writes);
    }
    l->writes[l->count++] = (struct wal_write){.content = *write, .base = base};
    size_t needed = l->entries_count + write->count;
    if (needed > l->entries_capacity) {
        l->entries_capacity = needed > 2 * l->entries_capacity ? needed : 2 * l->entries_capacity;
        l->entries = alloc_resize(l->entries, l->entries_capacity, sizeof *l->entries);
    }
    for (uint32_t i = 0; i < write->count; i++) {
        struct store_entry *to = &l->entries[l->entries_count++];
        to->term = write->entries[i].term;
        to->body = slice_ref(write->entries[i].body);
    }
}

/* The array of entries has stopped growing: let the writes point into it. */
static void list_link(struct write_list *l)
{
    size_t at = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct store_write *write = &l->writes[i].content;
        write->entries = write->count > 0 ? l->entries + at : NULL;
        at += write->count;
    }
}

static void list_clear(struct write_list *l)
{
    for (size_t i = 0; i < l->entries_count; i++) {
        slice_close(&l->entries[i].body);
    }
    l->entries_count = 0;
    l->count = 0;
}

static void list_close(struct write_list *l)
{
    list_clear(l);
    free(l->writes);
    free(l->entries);
    *l = (struct write_list){0};
}

/* ---- what happens when a job is done -------------------------------------------------------- */

static void fail(struct store *s, const struct outcome *outcome)
{
    if (s->status.failed) {
        return;
    }
    s->status.failed = true;
    log_error(s->options.log, "the disk failed: nothing more is acknowledged",
              log_text("err", err_name(outcome->err)), log_text("reason", outcome->why.text));
    s->options.failed(s->options.ctx, outcome->err, &outcome->why);
}

static void set_full(struct store *s, bool full, const char *reason)
{
    if (full == s->status.full) {
        return;
    }
    s->status.full = full;
    if (full) {
        log_error(s->options.log, "the disk is full: no entries are accepted",
                  log_text("reason", reason));
    } else {
        log_info(s->options.log, "there is space on the disk again");
    }
}

static void summarise(struct wal *w, struct wal_summary *out)
{
    *out = (struct wal_summary){.segments = w->segments_count,
                                .spares = w->spares_count,
                                .upkeep_wanted = wal_upkeep_wanted(w)};
}

static void take_summary(struct store *s, const struct wal_summary *wal)
{
    s->status.segments = wal->segments;
    s->status.spares = wal->spares;
    s->upkeep_wanted = wal->upkeep_wanted;
}

static void start_upkeep(struct store *s)
{
    if (s->upkeep_wanted && !s->upkeep.running && !s->status.failed) {
        s->upkeep.running = true;
        executor_submit(s->options.disk, &s->upkeep.job);
    }
}

/* The next batch, if there is something to write and none under way. */
static void start_batch(struct store *s)
{
    struct batch_job *b = &s->batch;
    if (b->running || s->status.failed) {
        return;
    }
    struct write_list written = {0};
    bool all_written = b->next == b->list.count;
    if (all_written) {
        if (s->waiting.count == 0) {
            return;
        }
        written = b->list;
        b->list = s->waiting;
        b->next = 0;
        list_link(&b->list);
    }
    b->running = true;
    executor_submit(s->options.disk, &b->job);
    if (all_written) {
        list_clear(&written); /* not before the disk had its work */
        s->waiting = written;
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

static void batch_run(struct executor_job *job)
{
    struct batch_job *b = (struct batch_job *)job;
    struct wal *w = &b->store->wal;
    b->outcome.err = wal_append(w, b->list.writes + b->next, b->list.count - b->next, &b->done,
                                &b->bytes, &b->outcome.why);
    summarise(w, &b->outcome.wal);
}

/* The last of the writes just done that somebody waits for. */
static const struct store_write *last_reported(const struct batch_job *b)
{
    for (size_t i = b->next + b->done; i-- > b->next;) {
        if (b->list.writes[i].content.write_seq > 0) {
            return &b->list.writes[i].content;
        }
    }
    return NULL;
}

static void batch_done(struct executor_job *job)
{
    struct batch_job *b = (struct batch_job *)job;
    struct store *s = b->store;
    b->running = false;
    take_summary(s, &b->outcome.wal);
    if (s->status.failed) {
        return;
    }
    if (b->outcome.err == ERR_NO_SPACE) {
        set_full(s, true, b->outcome.why.text);
        return; /* the same again at the next write or poll */
    }
    if (b->outcome.err != ERR_OK) {
        fail(s, &b->outcome);
        return;
    }
    s->status.batches++;
    s->status.writes += b->done;
    s->status.bytes += b->bytes;
    s->status.queued_writes -= b->done;
    uint64_t seq = 0;
    struct store_pos last = {0};
    const struct store_write *write = last_reported(b);
    if (write != NULL) {
        seq = write->write_seq;
        if (write->count > 0) {
            last.index = write->lo + write->count - 1;
            last.term = write->entries[write->count - 1].term;
        }
    }
    b->next += b->done;
    start_batch(s); /* the disk first: the report may take its time */
    start_upkeep(s);
    if (seq > 0) {
        s->options.durable(s->options.ctx, seq, last);
    }
}

static void queue_write(struct store *s, const struct store_write *write, struct store_pos base)
{
    if (s->status.failed) {
        return;
    }
    list_add(&s->waiting, write, base);
    s->status.queued_writes++;
    start_batch(s);
}

void store_write(struct store *s, const struct store_write *write)
{
    ASSERT(write->write_seq > s->last_seq);
    ASSERT(write->hard_state || write->truncate_from > 0 || write->count > 0);
    ASSERT(write->count == 0 || write->lo > 0);
    for (uint32_t i = 0; i < write->count; i++) {
        ASSERT(write->entries[i].body.size <= STORE_ENTRY_BYTES_MAX);
    }
    s->last_seq = write->write_seq;
    queue_write(s, write, (struct store_pos){0});
}

bool store_accepts_entries(const struct store *s)
{
    return !s->status.full;
}

void store_compact(struct store *s, struct store_pos upto)
{
    if (upto.index <= s->compacted) {
        return;
    }
    ASSERT(upto.term > 0);
    s->compacted = upto.index;
    const struct store_write nothing_else = {0};
    queue_write(s, &nothing_else, upto);
}

/* ---- upkeep --------------------------------------------------------------------------------- */

static void upkeep_run(struct executor_job *job)
{
    struct upkeep_job *u = (struct upkeep_job *)job;
    struct wal *w = &u->store->wal;
    bool more;
    u->outcome.err = wal_upkeep(w, &more, &u->outcome.why);
    summarise(w, &u->outcome.wal);
}

static void upkeep_done(struct executor_job *job)
{
    struct upkeep_job *u = (struct upkeep_job *)job;
    struct store *s = u->store;
    u->running = false;
    take_summary(s, &u->outcome.wal);
    if (u->outcome.err == ERR_NO_SPACE) {
        set_full(s, true, u->outcome.why.text);
    } else if (u->outcome.err != ERR_OK) {
        fail(s, &u->outcome);
    } else {
        set_full(s, s->status.spares == 0, "");
        start_batch(s); /* perhaps one had no space */
        start_upkeep(s);
    }
}

/* ---- peers ---------------------------------------------------------------------------------- */

static void start_peers(struct store *s)
{
    struct peers_job *p = &s->peers_job;
    if (!s->peers.dirty || p->running || s->status.failed) {
        return;
    }
    buffer_clear(&p->text);
    peers_format(&s->peers, &p->text);
    s->peers.dirty = false;
    p->running = true;
    executor_submit(s->options.disk, &p->job);
}

static void peers_run(struct executor_job *job)
{
    struct peers_job *p = (struct peers_job *)job;
    p->outcome.err = small_file_replace(p->store->options.fs, "peers", &p->text, &p->outcome.why);
}

static void peers_done(struct executor_job *job)
{
    struct peers_job *p = (struct peers_job *)job;
    struct store *s = p->store;
    p->running = false;
    if (p->outcome.err == ERR_NO_SPACE) {
        s->peers.dirty = true; /* again at the next poll */
    } else if (p->outcome.err != ERR_OK) {
        fail(s, &p->outcome);
    } else {
        start_peers(s);
    }
}

enum err store_known_peer(struct store *s, uint64_t id, const uint8_t uuid[STORE_UUID_BYTES])
{
    const struct peer *known = peers_find(&s->peers, id);
    if (known != NULL) {
        return memcmp(known->uuid, uuid, STORE_UUID_BYTES) == 0 ? ERR_OK : ERR_WRONG_NODE;
    }
    enum err err = peers_add(&s->peers, id, uuid);
    start_peers(s);
    return err;
}

void store_forget_peer(struct store *s, uint64_t id)
{
    peers_remove(&s->peers, id);
    start_peers(s);
}

/* ---- reading -------------------------------------------------------------------------------- */

static struct store_read *read_of(struct executor_job *job)
{
    return (struct store_read *)((char *)job - offsetof(struct store_read, job));
}

static void read_run(struct executor_job *job)
{
    struct store_read *r = read_of(job);
    r->err = wal_read(&r->store->wal, r->lo, r->hi, r->bytes_max, &r->entries, &r->count, &r->why);
}

static void read_done(struct executor_job *job)
{
    struct store_read *r = read_of(job);
    r->store->reads_running--;
    r->done(r);
}

void store_read(struct store *s, struct store_read *read)
{
    ASSERT(read->lo > 0);
    ASSERT(read->entries == NULL);
    read->store = s;
    read->job = (struct executor_job){.run = read_run, .done = read_done};
    s->reads_running++;
    executor_submit(s->options.disk, &read->job);
}

void store_read_close(struct store_read *read)
{
    for (uint32_t i = 0; i < read->count; i++) {
        slice_close(&read->entries[i].body);
    }
    free(read->entries);
    read->entries = NULL;
    read->count = 0;
}

/* ---- looking -------------------------------------------------------------------------------- */

void store_poll(struct store *s)
{
    if (s->status.full) {
        s->upkeep_wanted = true;
    }
    start_upkeep(s);
    start_batch(s);
    start_peers(s);
}

bool store_idle(const struct store *s)
{
    return s->waiting.count == 0 && s->batch.next == s->batch.list.count && !s->batch.running &&
           !s->upkeep.running && !s->peers_job.running && !s->peers.dirty && s->reads_running == 0;
}

void store_status(const struct store *s, struct store_status *out)
{
    *out = s->status;
}

/* ---- opening and closing -------------------------------------------------------------------- */

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
    if (err == ERR_OK) {
        err = fs->v->sync_dir(fs->ctx, ".");
    }
    if (err != ERR_OK) {
        return err_why(why, err, "setting up the data directory %s failed: %s",
                       fs->v->path(fs->ctx), err_message(err));
    }
    bool used;
    err = wal_discard_unused(&s->wal, &used, why);
    if (err == ERR_OK && used) {
        err = err_why(why, ERR_CORRUPT,
                      "%s/identity is missing, but there is a log: restore it, or bring the node "
                      "back as a new member with an empty data directory",
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
        if (err == ERR_OK && (err = fs->v->sync_dir(fs->ctx, ".")) != ERR_OK) {
            err_why(why, err, "syncing the data directory %s failed", fs->v->path(fs->ctx));
        }
    }
    recovered->term = s->wal.term;
    recovered->vote = s->wal.vote;
    recovered->base = s->wal.base;
    recovered->last = s->wal.last;
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
            set_full(s, true, reason.text);
            err = ERR_OK;
        }
        if (err != ERR_OK) {
            err_why(why, err, "%s", reason.text);
        }
    }
    struct wal_summary wal;
    summarise(&s->wal, &wal);
    take_summary(s, &wal);
    return err;
}

enum err store_open(const struct store_options *options, struct store **out,
                    struct store_recovered *recovered, struct why *why)
{
    struct store *s = NEW(struct store);
    s->options = *options;
    s->batch.store = s;
    s->batch.job = (struct executor_job){.run = batch_run, .done = batch_done};
    s->upkeep.store = s;
    s->upkeep.job = (struct executor_job){.run = upkeep_run, .done = upkeep_done};
    s->peers_job.store = s;
    s->peers_job.job = (struct executor_job){.run = peers_run, .done = peers_done};
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
    start_upkeep(s);
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
    list_close(&s->waiting);
    list_close(&s->batch.list);
    buffer_close(&s->peers_job.text);
    if (s->lock != NULL) {
        s->options.fs->v->close(s->lock);
    }
    free(s);
}

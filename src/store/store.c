/* The loop's side of the store: what waits, what is under way, and the jobs that carry it to the
 * disk thread. The disk thread touches the wal and what a job carries, nothing else. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/small_file.h"
#include "store/store_internal.h"

/* ---- lists of writes ------------------------------------------------------------------------ */

static void list_add(struct write_list *l, const struct wal_write *queued)
{
    const struct store_write *write = &queued->content;
    if (l->count == l->capacity) {
        l->capacity = l->capacity == 0 ? 16 : l->capacity * 2;
        l->writes = alloc_resize(l->writes, l->capacity, sizeof *l->writes);
    }
    l->writes[l->count++] = *queued;
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

void store_fail(struct store *s, enum err err, const struct why *why)
{
    if (s->status.failed) {
        return;
    }
    s->status.failed = true;
    log_error(s->options.log, "the disk failed: nothing more is acknowledged",
              log_text("err", err_name(err)), log_text("reason", why->text));
    s->options.failed(s->options.ctx, err, why);
    if (s->snapshots.install != NULL) {
        snapshot_install_done(s, ERR_IO, why);
    }
}

void store_set_full(struct store *s, bool full, const char *reason)
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

void store_summarise(struct wal *w, struct wal_summary *out)
{
    *out = (struct wal_summary){.segments = w->segments_count,
                                .spares = w->spares_count,
                                .log_bytes = wal_index_bytes(w),
                                .upkeep_wanted = wal_upkeep_wanted(w)};
}

void store_take_summary(struct store *s, const struct wal_summary *wal)
{
    s->status.segments = wal->segments;
    s->status.spares = wal->spares;
    s->status.log_bytes = wal->log_bytes;
    s->upkeep_wanted = wal->upkeep_wanted;
}

void store_start_upkeep(struct store *s)
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

/* The log is restarted after a snapshot only when that has its name for good. */
static enum err publish_before_restart(struct batch_job *b)
{
    const struct wal_write *next = &b->list.writes[b->next];
    if (next->restart.index == 0 || b->published) {
        return ERR_OK;
    }
    enum err err = snapshot_publish_incoming(b->store->options.fs, next->restart, &b->outcome.why);
    b->published = err == ERR_OK;
    return err;
}

static void batch_run(struct executor_job *job)
{
    struct batch_job *b = (struct batch_job *)job;
    struct wal *w = &b->store->wal;
    b->done = 0;
    b->outcome.err = publish_before_restart(b);
    if (b->outcome.err == ERR_OK) {
        b->outcome.err = wal_append(w, b->list.writes + b->next, b->list.count - b->next, &b->done,
                                    &b->bytes, &b->outcome.why);
    }
    store_summarise(w, &b->outcome.wal);
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
    store_take_summary(s, &b->outcome.wal);
    if (s->status.failed) {
        return;
    }
    if (b->outcome.err == ERR_NO_SPACE) {
        store_set_full(s, true, b->outcome.why.text);
        return; /* the same again at the next write or poll */
    }
    if (b->outcome.err != ERR_OK) {
        store_fail(s, b->outcome.err, &b->outcome.why);
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
    bool restarted = b->published; /* a restart is a batch by itself */
    b->published = false;
    start_batch(s); /* the disk first: the report may take its time */
    store_start_upkeep(s);
    if (restarted) {
        snapshot_install_done(s, ERR_OK, &b->outcome.why);
    } else if (seq > 0) {
        s->options.durable(s->options.ctx, seq, last);
    }
}

static void queue_write(struct store *s, const struct wal_write *write)
{
    if (s->status.failed) {
        return;
    }
    list_add(&s->waiting, write);
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
    queue_write(s, &(struct wal_write){.content = *write});
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
    queue_write(s, &(struct wal_write){.base = upto});
}

void store_install(struct store *s, struct store_install *install)
{
    const struct store_snapshot *incoming = store_incoming(s);
    ASSERT(incoming != NULL);
    ASSERT(s->snapshots.install == NULL);
    ASSERT(incoming->last.index > s->compacted);
    s->compacted = incoming->last.index;
    s->snapshots.install = install;
    if (s->status.failed) {
        executor_submit(s->options.disk, &s->snapshots.refusal.job);
    }
    queue_write(s, &(struct wal_write){.restart = incoming->last});
}

/* ---- upkeep --------------------------------------------------------------------------------- */

static void upkeep_run(struct executor_job *job)
{
    struct upkeep_job *u = (struct upkeep_job *)job;
    struct wal *w = &u->store->wal;
    bool more;
    u->outcome.err = wal_upkeep(w, &more, &u->outcome.why);
    store_summarise(w, &u->outcome.wal);
}

static void upkeep_done(struct executor_job *job)
{
    struct upkeep_job *u = (struct upkeep_job *)job;
    struct store *s = u->store;
    u->running = false;
    store_take_summary(s, &u->outcome.wal);
    if (u->outcome.err == ERR_NO_SPACE) {
        store_set_full(s, true, u->outcome.why.text);
    } else if (u->outcome.err != ERR_OK) {
        store_fail(s, u->outcome.err, &u->outcome.why);
    } else {
        store_set_full(s, s->status.spares == 0, "");
        start_batch(s); /* perhaps one had no space */
        store_start_upkeep(s);
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
        store_fail(s, p->outcome.err, &p->outcome.why);
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
    store_start_upkeep(s);
    start_batch(s);
    start_peers(s);
}

bool store_idle(const struct store *s)
{
    return s->waiting.count == 0 && s->batch.next == s->batch.list.count && !s->batch.running &&
           !s->upkeep.running && !s->peers_job.running && !s->peers.dirty &&
           s->reads_running == 0 && snapshots_idle(s);
}

void store_status(const struct store *s, struct store_status *out)
{
    *out = s->status;
}

/* ---- life ----------------------------------------------------------------------------------- */

void store_init_jobs(struct store *s)
{
    s->batch.store = s;
    s->batch.job = (struct executor_job){.run = batch_run, .done = batch_done};
    s->upkeep.store = s;
    s->upkeep.job = (struct executor_job){.run = upkeep_run, .done = upkeep_done};
    s->peers_job.store = s;
    s->peers_job.job = (struct executor_job){.run = peers_run, .done = peers_done};
    snapshots_init(s);
}

void store_close_jobs(struct store *s)
{
    list_close(&s->waiting);
    list_close(&s->batch.list);
    buffer_close(&s->peers_job.text);
    snapshots_close(s);
}

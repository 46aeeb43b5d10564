/* Finding the log on the disk.
 *
 * In all segments but the last, every record up to where the next segment says they end must be
 * sound. In the last, records are taken until one is not. Then either the last batch was torn by a
 * crash, which is legal: nobody was told that it is durable; or something was damaged that others
 * rely on, and this node must not go on without it. A later batch tells: it was written only after
 * the earlier one had been synced. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/wal.h"
#include "store/window.h"

/* The number of a mark, counted from the last batch found: that one or, after it, a torn one of
 * which nothing was found may have left records behind. */
enum { START_AHEAD = 2 };

#define REPLACE "replace this node's disk and bring the node back as a new member"

static enum err unreadable(const struct wal *w, enum err err, const char *name, struct why *why)
{
    return err_why(why, err, "reading %s/%s failed: check the disk", w->fs->v->path(w->fs->ctx),
                   name);
}

/* ---- records into memory -------------------------------------------------------------------- */

/* A record that is sound but cannot follow what came before was not written by this program. */
static bool apply(struct wal *w, const struct record *r, uint64_t at)
{
    switch (r->kind) {
    case RECORD_ENTRY:
        if (r->index != w->last.index + 1 || r->term < w->last.term || r->term == 0) {
            return false;
        }
        wal_index_add(w, r->term, at);
        return true;
    case RECORD_HARD_STATE:
        if (r->term < w->term) {
            return false;
        }
        w->term = r->term;
        w->vote = r->index;
        return true;
    case RECORD_TRUNCATE:
        if (r->index <= w->base.index || r->index > w->last.index + 1) {
            return false;
        }
        wal_index_truncate(w, r->index);
        return true;
    case RECORD_BASE:
        if (r->index < w->base.index || r->index > w->last.index) {
            return false;
        }
        wal_index_base(w, (struct store_pos){.index = r->index, .term = r->term});
        return true;
    case RECORD_RESTART:
        if (r->index <= w->base.index || r->term == 0 || r->term > w->term) {
            return false;
        }
        wal_index_restart(w, (struct store_pos){.index = r->index, .term = r->term});
        return true;
    case RECORD_START:
        return true;
    case RECORD_KIND_END:
        break;
    }
    return false;
}

/* How far a scan of a segment has come. */
struct scan {
    uint64_t at;
    bool in_batch;     /* the batch w->batch is not complete */
    uint64_t doubtful; /* the last batch begins here: it may be in the system's cache only */
};

static bool in_sequence(const struct wal *w, const struct scan *scan, const struct record *r)
{
    if (r->kind == RECORD_START) {
        return r->batch == w->batch + START_AHEAD && r->ends_batch;
    }
    return r->batch == (scan->in_batch ? w->batch : w->batch + 1);
}

static enum err scan_records(struct wal *w, struct window *v, uint64_t limit, struct scan *scan,
                             struct why *why)
{
    struct wal_segment *s = wal_active(w);
    char name[SEGMENT_NAME_BYTES];
    segment_name(s->header.sequence, name);
    *scan = (struct scan){.at = SEGMENT_HEADER_BYTES, .doubtful = SEGMENT_HEADER_BYTES};
    while (scan->at < limit) {
        struct record r;
        bool sound;
        enum err err = window_record(v, s->header.salt, scan->at, &r, &sound);
        if (err != ERR_OK) {
            return unreadable(w, err, name, why);
        }
        if (!sound || !in_sequence(w, scan, &r)) {
            break;
        }
        if (!apply(w, &r, scan->at)) {
            return err_why(why, ERR_CORRUPT,
                           "%s/%s has a record at byte %" PRIu64
                           " that does not follow from the ones before: " REPLACE,
                           w->fs->v->path(w->fs->ctx), name, scan->at);
        }
        if (!scan->in_batch || r.kind == RECORD_START) {
            scan->doubtful = scan->at;
        }
        w->batch = r.batch;
        scan->in_batch = !r.ends_batch;
        scan->at += record_bytes(r.body_bytes);
    }
    s->end_bytes = scan->at;
    return ERR_OK;
}

/* Searches behind the end for the header of a record of this segment. *batch: the highest number
 * of those found, 0: none; *where: its place. */
static enum err search_rest(const struct wal *w, struct window *v, const struct scan *scan,
                            uint64_t salt, uint64_t *batch, uint64_t *where)
{
    *batch = 0;
    for (uint64_t at = scan->at; at + RECORD_HEADER_BYTES <= v->file_bytes;
         at += RECORD_ALIGNMENT) {
        const uint8_t *data;
        struct record r;
        enum err err = window_look(v, at, RECORD_HEADER_BYTES, &data);
        if (err != ERR_OK) {
            return err;
        }
        if (record_decode(salt, data, &r) && r.batch > *batch && r.batch >= w->batch) {
            *batch = r.batch;
            *where = at;
        }
    }
    return ERR_OK;
}

/* ---- one segment ---------------------------------------------------------------------------- */

static enum err open_window(const struct wal *w, const char *name, unsigned flags, struct window *v,
                            struct why *why)
{
    enum err err = window_open(v, w->fs, name, flags);
    return err == ERR_OK ? ERR_OK : unreadable(w, err, name, why);
}

static enum err read_header(const struct wal *w, uint64_t sequence, struct segment_header *header,
                            uint64_t *file_bytes, struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    const char *path = w->fs->v->path(w->fs->ctx);
    struct window v;
    const uint8_t *data = NULL;
    *header = (struct segment_header){0};
    segment_name(sequence, name);
    enum err err = open_window(w, name, FS_READ, &v, why);
    if (err == ERR_OK && (err = window_look(&v, 0, SEGMENT_HEADER_BYTES, &data)) != ERR_OK) {
        unreadable(w, err, name, why);
    }
    if (err == ERR_OK && data == NULL) {
        err = err_why(why, ERR_CORRUPT, "%s/%s is cut short: " REPLACE, path, name);
    } else if (err == ERR_OK && (err = segment_header_decode(data, header)) != ERR_OK) {
        err_why(why, err,
                err == ERR_VERSION ? "%s/%s was written by another version of moonkeeper: start "
                                     "that version"
                                   : "%s/%s is damaged at its beginning: " REPLACE,
                path, name);
    }
    *file_bytes = v.file_bytes;
    window_close(&v);
    if (err != ERR_OK) {
        return err;
    }
    if (header->sequence != sequence || *file_bytes > UINT32_MAX) {
        return err_why(
            why, ERR_CORRUPT,
            "%s/%s is not the segment that its name says: put the right file in its place", path,
            name);
    }
    return ERR_OK;
}

static enum err check_owner(const struct wal *w, const struct segment_header *header,
                            struct why *why)
{
    if (memcmp(header->uuid, w->uuid, STORE_UUID_BYTES) == 0) {
        return ERR_OK;
    }
    char name[SEGMENT_NAME_BYTES];
    segment_name(header->sequence, name);
    return err_why(why, ERR_CORRUPT,
                   "%s/%s is of another data directory: put the right file in its place",
                   w->fs->v->path(w->fs->ctx), name);
}

/* Does this segment begin where the log read so far ends? */
static enum err check_chain(struct wal *w, const struct segment_header *header, struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(header->sequence, name);
    const struct segment_header *previous = &w->segments[w->segments_count - 1].header;
    if (header->sequence != previous->sequence + 1) {
        segment_name(previous->sequence + 1, name);
        return err_why(why, ERR_CORRUPT, "%s/%s is missing: put it back, or " REPLACE,
                       w->fs->v->path(w->fs->ctx), name);
    }
    if (w->last.index == header->last.index && w->last.term == 0) {
        /* Cut back to an entry that a removed segment held: its term is known only from here. */
        w->last.term = header->last.term;
    }
    if (header->previous_salt != previous->salt || header->first_batch <= w->batch ||
        header->term != w->term || header->vote != w->vote || header->last.index != w->last.index ||
        header->last.term != w->last.term || header->base.index != w->base.index) {
        return err_why(why, ERR_CORRUPT, "%s/%s does not continue the segment before it: " REPLACE,
                       w->fs->v->path(w->fs->ctx), name);
    }
    return ERR_OK;
}

static void add_segment(struct wal *w, const struct segment_header *header, uint64_t file_bytes)
{
    if (w->segments_count == 0) {
        w->term = header->term;
        w->vote = header->vote;
        w->base = header->base;
        w->last = header->last;
        if (w->last.index > 0) {
            w->runs = alloc_resize(w->runs, 1, sizeof *w->runs);
            w->runs[0] = (struct wal_run){.index = w->last.index, .term = w->last.term};
            w->runs_count = w->runs_capacity = 1;
        }
    }
    w->segments = alloc_resize(w->segments, w->segments_count + 1, sizeof *w->segments);
    w->segments[w->segments_count++] = (struct wal_segment){
        .header = *header, .size_bytes = file_bytes, .end_bytes = SEGMENT_HEADER_BYTES};
    w->batch = header->first_batch - 1;
}

/* A segment that has a successor. */
static enum err recover_full(struct wal *w, uint64_t end_bytes, struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(wal_active(w)->header.sequence, name);
    struct window v;
    struct scan scan;
    enum err err = open_window(w, name, FS_READ, &v, why);
    if (err == ERR_OK) {
        err = scan_records(w, &v, end_bytes, &scan, why);
    }
    window_close(&v);
    if (err == ERR_OK && scan.at != end_bytes) {
        return err_why(why, ERR_CORRUPT,
                       "%s/%s is damaged at byte %" PRIu64 ", and later segments exist: " REPLACE,
                       w->fs->v->path(w->fs->ctx), name, scan.at);
    }
    return err;
}

/* ---- the end -------------------------------------------------------------------------------- */

static enum err rewrite(struct wal *w, struct window *v, uint64_t at, struct bytes content)
{
    enum err err = w->fs->v->write(v->file, at, &content, 1);
    return err == ERR_OK ? w->fs->v->sync(v->file) : err;
}

/* After a sync that failed, the system may show bytes that are not on the disk and call them clean.
 * The last batch, which no other vouches for, is therefore written once more before the sync.
 *
 * Then comes a mark that voids the rest of a torn batch. Its number is one that no record has. Like
 * any batch it vouches for what is before it, so it is written after that was synced. */
static enum err make_durable(struct wal *w, struct window *v, const struct scan *scan,
                             struct why *why)
{
    struct wal_segment *s = wal_active(w);
    char name[SEGMENT_NAME_BYTES];
    segment_name(s->header.sequence, name);
    uint8_t mark[RECORD_HEADER_BYTES];
    struct record r = {.kind = RECORD_START, .batch = w->batch + START_AHEAD, .ends_batch = true};
    record_encode(s->header.salt, &r, (struct bytes){0}, mark);
    uint64_t size = scan->at - scan->doubtful;
    const uint8_t *data = NULL;
    enum err err = window_look(v, scan->doubtful, size, &data);
    if (err != ERR_OK || data == NULL) {
        return unreadable(w, err != ERR_OK ? err : ERR_IO, name, why);
    }
    err = rewrite(w, v, scan->doubtful, bytes_of(data, (size_t)size));
    /* Where the mark has no room nothing has: the next segment says where this one ends. */
    if (err == ERR_OK && v->file_bytes - scan->at >= sizeof mark) {
        err = rewrite(w, v, scan->at, bytes_of(mark, sizeof mark));
        s->end_bytes += sizeof mark;
    }
    if (err == ERR_OK) {
        err = w->fs->v->sync_dir(w->fs->ctx, "wal");
    }
    if (err != ERR_OK) {
        return err_why(why, err, "making %s/%s durable failed: check the disk",
                       w->fs->v->path(w->fs->ctx), name);
    }
    w->batch = r.batch;
    w->file = v->file;
    v->file = NULL;
    return ERR_OK;
}

/* With all records read: are the oldest entries that are needed there? */
static enum err check_first(const struct wal *w, struct why *why)
{
    uint64_t first = wal_index_first(w);
    if (first <= w->base.index + 1) {
        return ERR_OK;
    }
    return err_why(why, ERR_CORRUPT,
                   "%s/wal begins with entry %" PRIu64 " instead of %" PRIu64
                   ": put the older segments back, or " REPLACE,
                   w->fs->v->path(w->fs->ctx), first, w->base.index + 1);
}

/* torn: see wal_examine(); NULL: the log is to be used. */
static enum err recover_last(struct wal *w, struct wal_torn *torn, struct why *why)
{
    struct wal_segment *s = wal_active(w);
    char name[SEGMENT_NAME_BYTES];
    segment_name(s->header.sequence, name);
    struct window v;
    struct scan scan;
    uint64_t later = 0, where = 0;
    enum err err = open_window(w, name, torn == NULL ? FS_WRITE : FS_READ, &v, why);
    if (err == ERR_OK) {
        err = scan_records(w, &v, v.file_bytes, &scan, why);
    }
    if (err == ERR_OK) {
        err = search_rest(w, &v, &scan, s->header.salt, &later, &where);
        if (err != ERR_OK) {
            unreadable(w, err, name, why);
        }
    }
    if (err == ERR_OK && later > (scan.in_batch ? w->batch : w->batch + 1)) {
        err = err_why(why, ERR_CORRUPT,
                      "%s/%s is damaged at byte %" PRIu64 ": a later batch at byte %" PRIu64
                      " shows that this is not the torn end of the last write; " REPLACE,
                      w->fs->v->path(w->fs->ctx), name, scan.at, where);
    }
    if (err == ERR_OK) {
        err = check_first(w, why);
    }
    if (err == ERR_OK && torn != NULL) {
        torn->found = scan.in_batch || later > 0;
        torn->sequence = s->header.sequence;
        torn->offset = scan.at;
        window_close(&v);
        return ERR_OK;
    }
    if (err == ERR_OK && (scan.in_batch || later > 0)) {
        log_warn(w->log, "cut the torn end of the log", log_text("file", name),
                 log_u64("offset", scan.at), log_u64("last_index", w->last.index));
    }
    if (err == ERR_OK) {
        err = make_durable(w, &v, &scan, why);
    }
    window_close(&v);
    return err;
}

/* ---- all of it ------------------------------------------------------------------------------ */

struct listing {
    uint64_t *segments;
    size_t segments_count;
    uint64_t *spares;
    size_t spares_count;
    char unknown[256];
};

static void list_name(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t number;
    switch (segment_name_parse(name, &number)) {
    case NAME_OF_SEGMENT:
        l->segments = alloc_resize(l->segments, l->segments_count + 1, sizeof *l->segments);
        l->segments[l->segments_count++] = number;
        break;
    case NAME_OF_SPARE:
        l->spares = alloc_resize(l->spares, l->spares_count + 1, sizeof *l->spares);
        l->spares[l->spares_count++] = number;
        break;
    case NAME_UNKNOWN:
        snprintf(l->unknown, sizeof l->unknown, "%s", name);
        break;
    }
}

static void listing_close(struct listing *l)
{
    free(l->segments);
    free(l->spares);
}

static enum err list(const struct wal *w, struct listing *l, struct why *why)
{
    *l = (struct listing){0};
    const char *path = w->fs->v->path(w->fs->ctx);
    enum err err = w->fs->v->list(w->fs->ctx, "wal", list_name, l);
    if (err != ERR_OK) {
        return err_why(why, err == ERR_NOT_FOUND ? ERR_CORRUPT : err,
                       "the log %s/wal cannot be listed: put it back, or " REPLACE, path);
    }
    if (l->unknown[0] != 0) {
        /* It could be a segment that someone renamed: going on would forget what is in it. */
        return err_why(why, ERR_CORRUPT,
                       "%s/wal/%s does not belong there: undo what put it there, or move it away",
                       path, l->unknown);
    }
    return ERR_OK;
}

static enum err recover_segments(struct wal *w, const struct listing *l, struct wal_torn *torn,
                                 struct why *why)
{
    struct segment_header next;
    uint64_t next_bytes;
    enum err err = read_header(w, l->segments[0], &next, &next_bytes, why);
    for (size_t i = 0; err == ERR_OK && i < l->segments_count; i++) {
        const struct segment_header header = next;
        err = check_owner(w, &header, why);
        if (err == ERR_OK && i > 0) {
            err = check_chain(w, &header, why);
        }
        if (err != ERR_OK) {
            break;
        }
        add_segment(w, &header, next_bytes);
        if (i + 1 == l->segments_count) {
            return recover_last(w, torn, why);
        }
        err = read_header(w, l->segments[i + 1], &next, &next_bytes, why);
        if (err == ERR_OK && next.sequence == header.sequence + 1) {
            err = recover_full(w, next.previous_end_bytes, why);
        } /* else check_chain will tell */
    }
    return err;
}

static enum err list_segments(const struct wal *w, struct listing *l, struct why *why)
{
    enum err err = list(w, l, why);
    if (err == ERR_OK && l->segments_count == 0) {
        err = err_why(why, ERR_CORRUPT, "%s/wal has no log in it: put it back, or " REPLACE,
                      w->fs->v->path(w->fs->ctx));
    }
    return err;
}

enum err wal_examine(struct wal *w, struct wal_torn *torn, struct why *why)
{
    struct listing l;
    *torn = (struct wal_torn){0};
    enum err err = list_segments(w, &l, why);
    if (err == ERR_OK) {
        err = recover_segments(w, &l, torn, why);
    }
    listing_close(&l);
    return err;
}

enum err wal_recover(struct wal *w, struct why *why)
{
    struct listing l;
    enum err err = list_segments(w, &l, why);
    if (err == ERR_OK) {
        err = recover_segments(w, &l, NULL, why);
    }
    for (size_t i = 0; err == ERR_OK && i < l.spares_count; i++) {
        err = wal_adopt_spare(w, l.spares[i], why);
    }
    listing_close(&l);
    return err;
}

/* ---- a new log ------------------------------------------------------------------------------ */

enum err wal_create(struct wal *w, struct why *why)
{
    bool more = true;
    enum err err = ERR_OK;
    while (err == ERR_OK && more) {
        err = wal_upkeep(w, &more, why);
    }
    return err == ERR_OK ? wal_rotate(w, 0, why) : err;
}

static enum err has_records(struct wal *w, uint64_t sequence, bool *found, struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    struct segment_header header;
    struct window v;
    uint64_t bytes, batch, where;
    segment_name(sequence, name);
    enum err err = read_header(w, sequence, &header, &bytes, why);
    if (err != ERR_OK || (err = open_window(w, name, FS_READ, &v, why)) != ERR_OK) {
        return err;
    }
    const struct scan all = {.at = SEGMENT_HEADER_BYTES};
    err = search_rest(w, &v, &all, header.salt, &batch, &where);
    window_close(&v);
    *found = batch > 0;
    return err == ERR_OK ? ERR_OK : unreadable(w, err, name, why);
}

enum err wal_discard_unused(struct wal *w, bool *used, struct why *why)
{
    struct listing l;
    *used = false;
    enum err err = list(w, &l, why);
    if (err == ERR_OK && l.segments_count == 1) {
        err = has_records(w, l.segments[0], used, why);
    }
    *used = *used || l.segments_count > 1;
    char name[SEGMENT_NAME_BYTES];
    for (size_t i = 0; err == ERR_OK && !*used && i < l.segments_count + l.spares_count; i++) {
        if (i < l.segments_count) {
            segment_name(l.segments[i], name);
        } else {
            spare_name(l.spares[i - l.segments_count], name);
        }
        err = w->fs->v->remove(w->fs->ctx, name);
        if (err != ERR_OK) {
            err_why(why, err, "removing %s/%s failed", w->fs->v->path(w->fs->ctx), name);
        }
    }
    listing_close(&l);
    return err;
}

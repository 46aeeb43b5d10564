#include "store/inspect.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "store/snapshot_reader.h"
#include "store/wal.h"

struct inspection {
    const struct fs_port *fs;
    struct wal wal;
    struct inspected found;
};

/* ---- the log -------------------------------------------------------------------------------- */

/* Where the reading of the log came to its end. */
struct place {
    uint64_t sequence, offset;
};

static struct place end_of_reading(struct wal *w)
{
    if (w->segments_count == 0) {
        return (struct place){0};
    }
    const struct wal_segment *s = wal_active(w);
    return (struct place){.sequence = s->header.sequence, .offset = s->end_bytes};
}

static void examine(struct inspection *i)
{
    const struct store_options options = {.fs = i->fs};
    struct inspected *found = &i->found;
    struct wal_torn torn;
    wal_close(&i->wal);
    wal_init(&i->wal, &options, found->identity.uuid);
    found->damage = wal_examine(&i->wal, &torn, &found->why);
    found->torn = found->damage == ERR_OK && torn.found;
    found->torn_offset = torn.offset;
    segment_name(torn.sequence, found->torn_file);
}

/* What a node writes, or removes, while this is read can look like damage at the end of what was
 * read; damage stays where it is. */
static void examine_running(struct inspection *i)
{
    enum { ATTEMPTS = 50 };
    struct place before = {0};
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        examine(i);
        struct place now = end_of_reading(&i->wal);
        if (i->found.damage == ERR_OK ||
            (now.sequence == before.sequence && now.offset == before.offset)) {
            return;
        }
        before = now;
    }
    i->found.damage = ERR_OK; /* it ended further on each time: it is being written */
}

static void describe(struct inspection *i)
{
    const struct wal *w = &i->wal;
    struct inspected *found = &i->found;
    found->term = w->term;
    found->vote = w->vote;
    found->base = w->base;
    found->last = w->last;
    found->segments_count = w->segments_count;
    uint64_t first = wal_index_first(w);
    found->first = first > w->base.index ? first : w->base.index + 1;
}

enum err inspect_open(const struct fs_port *fs, bool running, struct inspection **out,
                      struct why *why)
{
    struct inspection *i = NEW(struct inspection);
    i->fs = fs;
    enum err err = identity_read(fs, &i->found.identity, why);
    if (err != ERR_OK) {
        free(i);
        return err != ERR_NOT_FOUND
                   ? err
                   : err_why(why, err,
                             "%s is no data directory of a node: there is no file identity in it",
                             fs->v->path(fs->ctx));
    }
    if (running) {
        examine_running(i);
    } else {
        examine(i);
    }
    describe(i);
    *out = i;
    return ERR_OK;
}

void inspect_close(struct inspection *i)
{
    if (i != NULL) {
        wal_close(&i->wal);
        free(i);
    }
}

const struct inspected *inspect_found(const struct inspection *i)
{
    return &i->found;
}

void inspect_segment(const struct inspection *i, size_t number, struct inspected_segment *out)
{
    const struct wal_segment *s = &i->wal.segments[number];
    *out = (struct inspected_segment){.first_index = s->first_index,
                                      .count = s->count,
                                      .file_bytes = s->size_bytes,
                                      .end_bytes = s->end_bytes};
    segment_name(s->header.sequence, out->file);
}

/* ---- entries -------------------------------------------------------------------------------- */

static void give(const struct inspection *i, uint64_t index, const struct store_entry *entry,
                 void (*each)(void *ctx, const struct inspected_entry *entry), void *ctx)
{
    const struct wal_segment *s = wal_index_find(&i->wal, index);
    struct inspected_entry given = {.index = index,
                                    .term = entry->term,
                                    .body = slice_bytes(entry->body),
                                    .offset = s->offsets[index - s->first_index]};
    segment_name(s->header.sequence, given.file);
    each(ctx, &given);
}

enum err inspect_entries(const struct inspection *i, uint64_t lo, uint64_t hi,
                         void (*each)(void *ctx, const struct inspected_entry *entry), void *ctx,
                         struct why *why)
{
    enum { BYTES_AT_ONCE = 1 << 20 };
    const struct inspected *found = &i->found;
    lo = lo < found->first ? found->first : lo;
    hi = hi > found->last.index + 1 ? found->last.index + 1 : hi;
    while (lo < hi) {
        struct store_read part = {0};
        enum err err = wal_read(&i->wal, lo, hi, BYTES_AT_ONCE, &part.entries, &part.count, why);
        if (err != ERR_OK) {
            return err;
        }
        for (uint32_t at = 0; at < part.count; at++) {
            give(i, lo++, &part.entries[at], each, ctx);
        }
        store_read_close(&part);
    }
    return ERR_OK;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

struct names {
    struct store_pos *last;
    size_t count;
};

static void take_name(void *arg, const char *name)
{
    struct names *n = arg;
    struct store_pos last;
    if (snapshot_name_parse(name, &last) == SNAPSHOT_NAME) {
        n->last = alloc_resize(n->last, n->count + 1, sizeof *n->last);
        n->last[n->count++] = last;
    }
}

static enum err look_at_header(struct snapshot_reader *r, const struct inspection *i,
                               const char *name, struct store_snapshot *known, struct why *why)
{
    enum err err = snapshot_reader_open(r, i->fs, name, i->found.identity.cluster_id, why);
    if (err == ERR_OK) {
        snapshot_reader_describe(r, known);
    }
    return err;
}

enum err inspect_snapshots(const struct inspection *i, bool whole,
                           void (*each)(void *ctx, const struct inspected_snapshot *snapshot),
                           void *ctx, struct why *why)
{
    struct names names = {0};
    enum err err = i->fs->v->list(i->fs->ctx, "snapshot", take_name, &names);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        err_why(why, err, "the directory %s/snapshot cannot be listed", i->fs->v->path(i->fs->ctx));
    }
    for (size_t at = 0; at < names.count; at++) {
        struct snapshot_reader r;
        struct inspected_snapshot s = {.known.last = names.last[at]};
        snapshot_name(names.last[at], s.file);
        s.damage = whole ? snapshot_reader_verify(&r, i->fs, names.last[at],
                                                  i->found.identity.cluster_id, &s.known, &s.why)
                         : look_at_header(&r, i, s.file, &s.known, &s.why);
        if (s.damage != ERR_NOT_FOUND) { /* else a node has removed it since */
            each(ctx, &s);
        }
        snapshot_reader_close(&r);
    }
    free(names.last);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

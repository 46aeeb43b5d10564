#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/wal.h"

static enum err damaged(const struct wal *w, const char *name, uint64_t offset, struct why *why)
{
    return err_why(
        why, ERR_CORRUPT,
        "%s/%s is damaged at byte %llu: replace this node's disk and bring the node back "
        "as a new member",
        w->fs->v->path(w->fs->ctx), name, (unsigned long long)offset);
}

/* Reads exactly size bytes. */
static enum err read_all(const struct wal *w, struct fs_file *file, const char *name,
                         uint64_t offset, void *out, size_t size, struct why *why)
{
    size_t got;
    enum err err = w->fs->v->read(file, offset, out, size, &got);
    if (err != ERR_OK) {
        return err_why(why, err, "reading %s/%s failed: check the disk", w->fs->v->path(w->fs->ctx),
                       name);
    }
    return got == size ? ERR_OK : damaged(w, name, offset + got, why);
}

/* Where the entries [at, at + count) of a segment end, or something behind them that is not an
 * entry that stands. */
static uint64_t end_of(const struct wal_segment *s, size_t at, size_t count)
{
    return at + count < s->count ? s->offsets[at + count] : s->end_bytes;
}

/* How many entries, at least one, to read at once. */
static uint32_t how_many(const struct wal_segment *s, size_t at, uint64_t wanted, size_t bytes_max)
{
    uint64_t most = s->count - at < wanted ? s->count - at : wanted;
    uint64_t count = 1;
    while (count < most && end_of(s, at, (size_t)count + 1) - s->offsets[at] <= bytes_max) {
        count++;
    }
    return (uint32_t)count;
}

/* The bytes to read for these entries. Of a single one the size is looked up: much may lie between
 * it and the next that stands. */
static enum err measure(const struct wal *w, const struct wal_segment *s, struct fs_file *file,
                        const char *name, size_t at, uint32_t count, uint64_t *bytes,
                        struct why *why)
{
    *bytes = end_of(s, at, count) - s->offsets[at];
    if (count > 1) {
        return ERR_OK;
    }
    uint8_t header[RECORD_HEADER_BYTES];
    struct record r;
    enum err err = read_all(w, file, name, s->offsets[at], header, sizeof header, why);
    if (err != ERR_OK) {
        return err;
    }
    if (!record_decode(s->header.salt, header, &r) || record_bytes(r.body_bytes) > *bytes) {
        return damaged(w, name, s->offsets[at], why);
    }
    *bytes = record_bytes(r.body_bytes);
    return ERR_OK;
}

/* Takes the entries out of the block, which begins at the first of them. */
static enum err take_out(const struct wal *w, const struct wal_segment *s, const char *name,
                         size_t at, uint32_t count, struct blob *block, struct store_entry *entries,
                         struct why *why)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t place = s->offsets[at + i] - s->offsets[at];
        uint64_t body = place + RECORD_HEADER_BYTES;
        struct record r;
        if (body > block->size || !record_decode(s->header.salt, block->data + place, &r) ||
            r.kind != RECORD_ENTRY || r.index != s->first_index + at + i ||
            r.body_bytes > block->size - body ||
            !record_body_matches(s->header.salt, &r, block->data + body)) {
            return damaged(w, name, s->offsets[at + i], why);
        }
        entries[i] = (struct store_entry){.term = r.term,
                                          .body = slice_of(block, (size_t)body, r.body_bytes)};
    }
    return ERR_OK;
}

static enum err read_segment(const struct wal *w, const struct wal_segment *s, const char *name,
                             struct fs_file *file, size_t at, uint32_t count,
                             struct store_entry *entries, struct why *why)
{
    uint64_t bytes;
    enum err err = measure(w, s, file, name, at, count, &bytes, why);
    if (err != ERR_OK) {
        return err;
    }
    struct blob *block = blob_new((size_t)bytes);
    err = read_all(w, file, name, s->offsets[at], block->data, block->size, why);
    if (err == ERR_OK) {
        err = take_out(w, s, name, at, count, block, entries, why);
    }
    blob_unref(block);
    return err;
}

enum err wal_read(const struct wal *w, uint64_t lo, uint64_t hi, size_t bytes_max,
                  struct store_entry **entries, uint32_t *count, struct why *why)
{
    *entries = NULL;
    *count = 0;
    if (lo <= w->base.index) {
        return err_why(why, ERR_NOT_FOUND, "entry %llu was compacted", (unsigned long long)lo);
    }
    if (lo > w->last.index || lo >= hi) {
        return ERR_OK;
    }
    const struct wal_segment *s = wal_index_find(w, lo);
    ASSERT(s != NULL);
    char name[SEGMENT_NAME_BYTES];
    segment_name(s->header.sequence, name);
    struct fs_file *file;
    enum err err = w->fs->v->open(w->fs->ctx, name, FS_READ, &file);
    if (err != ERR_OK) {
        return err_why(why, err, "opening %s/%s failed: check the disk", w->fs->v->path(w->fs->ctx),
                       name);
    }
    size_t at = (size_t)(lo - s->first_index);
    uint32_t found = how_many(s, at, hi - lo, bytes_max);
    *entries = alloc_zeroed(found, sizeof **entries);
    err = read_segment(w, s, name, file, at, found, *entries, why);
    w->fs->v->close(file);
    *count = found;
    if (err != ERR_OK) {
        for (uint32_t i = 0; i < found; i++) {
            slice_close(&(*entries)[i].body);
        }
        free(*entries);
        *entries = NULL;
        *count = 0;
    }
    return err;
}

/* Segments come and go.
 *
 * A new segment takes the place of a spare: a file of full size, allocated, so that what is written
 * to it cannot run out of space, and written with zeroes, because the first write to a block that
 * was only allocated has to change the file system's tables: half as much again for each sync.
 * A segment that is no longer needed becomes a spare as it is. The header is synced before the file
 * gets the name of a segment: a file of that name without a valid header is damage. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/wal.h"

enum { ZEROES_AT_ONCE = 256 << 10 };

static enum err spare_failed(const struct wal *w, enum err err, const char *what, uint64_t number,
                             struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    spare_name(number, name);
    if (err == ERR_NO_SPACE) {
        return err_why(why, err, "no space left for a segment of the log (%s/%s)",
                       w->fs->v->path(w->fs->ctx), name);
    }
    return err_why(why, err, "%s %s/%s failed: check the disk", what, w->fs->v->path(w->fs->ctx),
                   name);
}

/* A file with room for size bytes; not yet written with zeroes. */
static enum err create(struct wal *w, uint64_t number, uint64_t size, struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    spare_name(number, name);
    struct fs_file *file;
    enum err err = w->fs->v->open(w->fs->ctx, name, FS_WRITE | FS_CREATE, &file);
    if (err != ERR_OK) {
        return spare_failed(w, err, "creating", number, why);
    }
    err = w->fs->v->allocate(file, size);
    w->fs->v->close(file);
    if (err != ERR_OK) {
        spare_failed(w, err, "allocating", number, why);
        w->fs->v->remove(w->fs->ctx, name);
    }
    return err;
}

static enum err zero_some(struct wal *w, struct wal_spare *spare, struct why *why)
{
    static const uint8_t zeroes[ZEROES_AT_ONCE];
    char name[SEGMENT_NAME_BYTES];
    spare_name(spare->number, name);
    struct fs_file *file;
    enum err err = w->fs->v->open(w->fs->ctx, name, FS_WRITE, &file);
    if (err != ERR_OK) {
        return spare_failed(w, err, "opening", spare->number, why);
    }
    uint64_t left = w->segment_bytes - spare->zeroed_bytes;
    struct bytes piece = bytes_of(zeroes, left < sizeof zeroes ? (size_t)left : sizeof zeroes);
    err = w->fs->v->write(file, spare->zeroed_bytes, &piece, 1);
    if (err == ERR_OK) {
        err = w->fs->v->sync(file);
        err = err == ERR_NO_SPACE ? ERR_IO : err;
    }
    w->fs->v->close(file);
    if (err != ERR_OK) {
        return spare_failed(w, err, "writing", spare->number, why);
    }
    spare->zeroed_bytes += piece.size;
    return ERR_OK;
}

/* ---- beginning a segment -------------------------------------------------------------------- */

static void fill_header(struct wal *w, struct segment_header *header)
{
    *header = (struct segment_header){.sequence = 1,
                                      .first_batch = w->batch + 1,
                                      .term = w->term,
                                      .vote = w->vote,
                                      .last = w->last,
                                      .base = w->base};
    memcpy(header->uuid, w->uuid, STORE_UUID_BYTES);
    do {
        header->salt = entropy_u64(w->entropy);
    } while (header->salt == 0);
    if (w->segments_count > 0) {
        const struct wal_segment *previous = wal_active(w);
        header->sequence = previous->header.sequence + 1;
        header->previous_salt = previous->header.salt;
        header->previous_end_bytes = previous->end_bytes;
    }
}

/* The file with this name becomes the segment with this header. */
static enum err begin(struct wal *w, const char *name, const struct segment_header *header,
                      struct fs_file **file)
{
    uint8_t page[SEGMENT_HEADER_BYTES];
    char new_name[SEGMENT_NAME_BYTES];
    segment_header_encode(header, page);
    segment_name(header->sequence, new_name);
    enum err err = w->fs->v->open(w->fs->ctx, name, FS_WRITE, file);
    if (err != ERR_OK) {
        return err;
    }
    struct bytes piece = bytes_of(page, sizeof page);
    err = w->fs->v->write(*file, 0, &piece, 1);
    if (err == ERR_OK && w->fs->v->sync(*file) != ERR_OK) {
        err = ERR_IO;
    }
    if (err == ERR_OK) {
        err = w->fs->v->rename(w->fs->ctx, name, new_name);
    }
    if (err == ERR_OK && w->fs->v->sync_dir(w->fs->ctx, "wal") != ERR_OK) {
        err = ERR_IO;
    }
    if (err != ERR_OK) {
        w->fs->v->close(*file);
    }
    return err;
}

static void add_segment(struct wal *w, const struct segment_header *header, struct fs_file *file,
                        uint64_t size_bytes)
{
    w->segments = alloc_resize(w->segments, w->segments_count + 1, sizeof *w->segments);
    w->segments[w->segments_count++] = (struct wal_segment){
        .header = *header, .size_bytes = size_bytes, .end_bytes = SEGMENT_HEADER_BYTES};
    if (w->file != NULL) {
        w->fs->v->close(w->file);
    }
    w->file = file;
}

enum err wal_rotate(struct wal *w, uint64_t bytes, struct why *why)
{
    uint64_t size = SEGMENT_HEADER_BYTES + bytes;
    bool fits = size <= w->segment_bytes;
    bool use_spare = fits && w->spares_count > 0;
    uint64_t number = use_spare ? w->spares[0].number : w->spare_number;
    size = fits ? w->segment_bytes : size;
    enum err err = use_spare ? ERR_OK : create(w, number, size, why);
    if (err != ERR_OK) {
        return err;
    }
    char name[SEGMENT_NAME_BYTES];
    struct segment_header header;
    struct fs_file *file;
    spare_name(number, name);
    fill_header(w, &header);
    err = begin(w, name, &header, &file);
    if (err != ERR_OK) {
        return spare_failed(w, err, "beginning a segment in", number, why);
    }
    if (use_spare) {
        w->spares_count--;
        memmove(w->spares, w->spares + 1, w->spares_count * sizeof *w->spares);
    } else {
        w->spare_number++;
    }
    add_segment(w, &header, file, size);
    return ERR_OK;
}

/* ---- ahead of time -------------------------------------------------------------------------- */

/* The oldest segment holds nothing that is still needed. What it says of term, vote and base is
 * also in the header of the next. */
static bool oldest_is_obsolete(const struct wal *w)
{
    if (w->segments_count < 2) {
        return false;
    }
    const struct wal_segment *oldest = &w->segments[0];
    return oldest->count == 0 || oldest->first_index + oldest->count - 1 <= w->base.index;
}

/* One at a time, each durable before the next, so that no gap can be left by a crash. */
static enum err retire_oldest(struct wal *w, struct why *why)
{
    struct wal_segment *oldest = &w->segments[0];
    char name[SEGMENT_NAME_BYTES], new_name[SEGMENT_NAME_BYTES];
    segment_name(oldest->header.sequence, name);
    bool keep = oldest->size_bytes == w->segment_bytes && w->spares_count < WAL_SPARES_MAX;
    enum err err;
    if (keep) {
        spare_name(w->spare_number, new_name);
        err = w->fs->v->rename(w->fs->ctx, name, new_name);
    } else {
        err = w->fs->v->remove(w->fs->ctx, name);
    }
    if (err == ERR_OK && w->fs->v->sync_dir(w->fs->ctx, "wal") != ERR_OK) {
        err = ERR_IO;
    }
    if (err != ERR_OK) {
        return err_why(why, err, "removing the old segment %s/%s failed: check the disk",
                       w->fs->v->path(w->fs->ctx), name);
    }
    if (keep) {
        w->spares[w->spares_count++] =
            (struct wal_spare){.number = w->spare_number++, .zeroed_bytes = w->segment_bytes};
    }
    free(oldest->offsets);
    w->segments_count--;
    memmove(w->segments, w->segments + 1, w->segments_count * sizeof *w->segments);
    return ERR_OK;
}

static struct wal_spare *spare_to_zero(struct wal *w)
{
    for (size_t i = 0; i < w->spares_count; i++) {
        if (w->spares[i].zeroed_bytes < w->segment_bytes) {
            return &w->spares[i];
        }
    }
    return NULL;
}

bool wal_upkeep_wanted(struct wal *w)
{
    return oldest_is_obsolete(w) || w->spares_count == 0 || spare_to_zero(w) != NULL;
}

enum err wal_upkeep(struct wal *w, bool *more, struct why *why)
{
    enum err err = ERR_OK;
    *more = false;
    if (oldest_is_obsolete(w)) {
        err = retire_oldest(w, why);
    } else if (w->spares_count == 0) {
        err = create(w, w->spare_number, w->segment_bytes, why);
        if (err == ERR_OK) {
            w->spares[w->spares_count++] = (struct wal_spare){.number = w->spare_number++};
        }
    } else if (spare_to_zero(w) != NULL) {
        struct wal_spare *spare = spare_to_zero(w);
        err = zero_some(w, spare, why);
        if (err == ERR_NO_SPACE) {
            /* It is allocated; where that is not enough to be written to, zeroes do not help. */
            spare->zeroed_bytes = w->segment_bytes;
            err = ERR_OK;
        }
    }
    *more = err == ERR_OK && wal_upkeep_wanted(w);
    return err;
}

enum err wal_adopt_spare(struct wal *w, uint64_t number, struct why *why)
{
    char name[SEGMENT_NAME_BYTES];
    spare_name(number, name);
    w->spare_number = number >= w->spare_number ? number + 1 : w->spare_number;
    struct fs_file *file;
    enum err err = w->fs->v->open(w->fs->ctx, name, FS_WRITE, &file);
    if (err != ERR_OK) {
        return spare_failed(w, err, "opening", number, why);
    }
    uint64_t size;
    err = w->fs->v->size(file, &size);
    bool keep = err == ERR_OK && size == w->segment_bytes && w->spares_count < WAL_SPARES_MAX &&
                w->fs->v->allocate(file, size) == ERR_OK;
    w->fs->v->close(file);
    if (keep) {
        /* Perhaps not written with zeroes to the end: that only costs time, once. */
        w->spares[w->spares_count++] =
            (struct wal_spare){.number = number, .zeroed_bytes = w->segment_bytes};
        return ERR_OK;
    }
    err = w->fs->v->remove(w->fs->ctx, name);
    return err == ERR_OK ? ERR_OK : spare_failed(w, err, "removing", number, why);
}

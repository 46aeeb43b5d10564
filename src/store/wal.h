/* The write-ahead log itself: synchronous, on one thread at a time (the disk thread; before that,
 * whoever opens the store). store.c puts it behind queues. Internal to this folder.
 *
 *   wal.c      a batch is written          index.c    where each entry is
 *   spare.c    segments come and go        read.c     entries are read again
 *   recover.c  a log is found on the disk */
#ifndef MK_STORE_WAL_H
#define MK_STORE_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/segment.h"
#include "store/store.h"

struct wal_segment {
    struct segment_header header;
    uint64_t size_bytes; /* of the file */
    uint64_t end_bytes;  /* of the records; the next is written here */
    /* The entries that stand in here: first_index + i is at offsets[i]. */
    uint64_t first_index;
    uint32_t *offsets;
    size_t count;
    size_t capacity;
};

/* From index on (to the next run) all entries are of this term. */
struct wal_run {
    uint64_t index;
    uint64_t term;
};

/* A file of the size of a segment that waits to become one. */
struct wal_spare {
    uint64_t number;       /* in its name */
    uint64_t zeroed_bytes; /* written with zeroes so far */
};

enum { WAL_SPARES_MAX = 2 };

struct wal {
    const struct fs_port *fs;
    const struct entropy_port *entropy;
    const struct log *log;
    uint64_t segment_bytes;
    uint8_t uuid[STORE_UUID_BYTES];

    struct wal_segment *segments; /* ascending; the last is the one written to */
    size_t segments_count;
    /* What wal_index_bytes() has found in those before the one with this sequence; 0: it has to
     * look again. They change with the base and with truncation alone. */
    uint64_t older_than;
    uint64_t older_bytes;
    struct fs_file *file; /* of the last segment */
    uint64_t batch;       /* number of the last batch */

    uint64_t term;
    uint64_t vote;
    struct store_pos base;
    struct store_pos last;
    struct wal_run *runs;
    size_t runs_count;
    size_t runs_capacity;

    struct wal_spare spares[WAL_SPARES_MAX];
    size_t spares_count;
    uint64_t spare_number; /* the next */

    struct buffer staging; /* what goes to the disk, but for large bodies */
    struct bytes *pieces;
    size_t pieces_count;
    size_t pieces_capacity;
};

/* Sets up an empty object; files are not touched. */
void wal_init(struct wal *w, const struct store_options *options,
              const uint8_t uuid[STORE_UUID_BYTES]);
/* Closes files, frees memory. Accepts a zeroed object. */
void wal_close(struct wal *w);

static inline struct wal_segment *wal_active(struct wal *w)
{
    return &w->segments[w->segments_count - 1];
}

/* ---- wal.c ---------------------------------------------------------------------------------- */

struct wal_write {
    struct store_write content;
    struct store_pos base; /* {0, 0}: none; else a record says that the log begins after it */
    /* {0, 0}: none; else nothing but that the log is empty and begins after it, whatever it held.
     * A batch by itself. */
    struct store_pos restart;
};

/* Writes and syncs one batch: the first so many of these writes as go together, at least one.
 * *done says how many. ERR_NO_SPACE: nothing was done, it may be tried again; other errors are
 * final. */
enum err wal_append(struct wal *w, const struct wal_write *writes, size_t writes_count,
                    size_t *done, uint64_t *bytes, struct why *why);

/* ---- index.c -------------------------------------------------------------------------------- */

/* Entry {last.index + 1, term} is at this place of the active segment. */
void wal_index_add(struct wal *w, uint64_t term, uint64_t offset_bytes);
/* Entries >= from stand no longer. from > base.index. */
void wal_index_truncate(struct wal *w, uint64_t from);
/* The log begins after base. */
void wal_index_base(struct wal *w, struct store_pos base);
/* All entries are dropped; the log begins after base, which may be beyond what was the last. */
void wal_index_restart(struct wal *w, struct store_pos base);
/* From the first entry after the base to the end of the log. */
uint64_t wal_index_bytes(struct wal *w);
/* Term at index <= last.index; 0 if unknown. */
uint64_t wal_index_term(const struct wal *w, uint64_t index);
/* The segment in which the entry stands. NULL: none. */
const struct wal_segment *wal_index_find(const struct wal *w, uint64_t index);
/* The first index that can be read: base.index + 1 unless something is missing. */
uint64_t wal_index_first(const struct wal *w);

/* ---- spare.c -------------------------------------------------------------------------------- */

/* Begins the next segment, with room for that many bytes of records. Errors: as wal_append. */
enum err wal_rotate(struct wal *w, uint64_t bytes, struct why *why);
/* One step, short, of what can be done ahead of time: recycle a segment that is no longer needed,
 * or prepare a spare. *more: call again. ERR_NO_SPACE: there is no spare and no room for one. */
enum err wal_upkeep(struct wal *w, bool *more, struct why *why);
bool wal_upkeep_wanted(struct wal *w);
/* A spare file that was found. */
enum err wal_adopt_spare(struct wal *w, uint64_t number, struct why *why);

/* ---- read.c --------------------------------------------------------------------------------- */

/* Reads entries from lo on, of one segment, into one block; see store_read(). *entries is to be
 * freed, its bodies closed. */
enum err wal_read(const struct wal *w, uint64_t lo, uint64_t hi, size_t bytes_max,
                  struct store_entry **entries, uint32_t *count, struct why *why);

/* ---- recover.c ------------------------------------------------------------------------------ */

/* The first segment of a new log. The directory wal/ exists and is empty. */
enum err wal_create(struct wal *w, struct why *why);
/* Finds out what the directory holds, cuts a torn end off, makes what is left durable.
 * Errors: ERR_CORRUPT, ERR_VERSION, ERR_IO, ERR_NO_SPACE, with why. */
enum err wal_recover(struct wal *w, struct why *why);
/* Only finds out, and changes nothing. With an error, w holds what was sound before the damage; the
 * last segment's end_bytes is where that is. Errors: as wal_recover(). */
struct wal_torn {
    bool found; /* the last batch is torn, from here on: wal_recover() would cut it off */
    uint64_t sequence;
    uint64_t offset;
};
enum err wal_examine(struct wal *w, struct wal_torn *torn, struct why *why);
/* For a directory without identity, whose first start was perhaps cut short: removes what such a
 * start leaves behind, or changes nothing and says that the log was *used. */
enum err wal_discard_unused(struct wal *w, bool *used, struct why *why);

#endif

/* Looking at a data directory without changing anything in it: for people, and for tools that check
 * a backup. It reads what store_open() would read, with the same code; it takes no lock, so a node
 * may be running there. Blocking, on one thread. */
#ifndef MK_STORE_INSPECT_H
#define MK_STORE_INSPECT_H

#include "store/identity.h"
#include "store/snapshot.h"
#include "store/store.h"

enum { INSPECT_NAME_BYTES = 64 };

struct inspection; /* opaque */

/* What the log holds. After damage: what was sound before it. */
struct inspected {
    struct identity identity;
    uint64_t term;
    uint64_t vote; /* 0: nobody */
    struct store_pos base;
    struct store_pos last;
    uint64_t first; /* of the entries that can be read: [first, last.index] */
    size_t segments_count;
    bool torn; /* the last write was cut short by a crash: legal, the next start cuts it off */
    char torn_file[INSPECT_NAME_BYTES];
    uint64_t torn_offset;
    enum err damage; /* of the log; ERR_OK: none */
    struct why why;
};

/* running: a node is at work in the directory. What it writes meanwhile looks like damage where the
 * reading ends, so then it is read again, until it ends at the same place twice.
 * Errors, with why: ERR_NOT_FOUND (no data directory of a node), ERR_CORRUPT, ERR_VERSION (of the
 * file identity), ERR_IO. Damage of the log is no error here: see inspected.damage. */
enum err inspect_open(const struct fs_port *fs, bool running, struct inspection **out,
                      struct why *why);
/* Accepts NULL. */
void inspect_close(struct inspection *i);
const struct inspected *inspect_found(const struct inspection *i);

struct inspected_segment {
    char file[INSPECT_NAME_BYTES];
    uint64_t first_index; /* of its entries that stand; with count 0: none do */
    uint64_t count;
    uint64_t file_bytes;
    uint64_t end_bytes; /* of what was read and is sound */
};
/* number < segments_count. */
void inspect_segment(const struct inspection *i, size_t number, struct inspected_segment *out);

struct inspected_entry {
    uint64_t index;
    uint64_t term;
    struct bytes body; /* borrowed */
    char file[INSPECT_NAME_BYTES];
    uint64_t offset; /* of its record in the file */
};
/* Entries [lo, hi) that are within [first, last.index], in order.
 * Errors, with why: ERR_CORRUPT, ERR_NOT_FOUND (the node that runs there removed it), ERR_IO. */
enum err inspect_entries(const struct inspection *i, uint64_t lo, uint64_t hi,
                         void (*each)(void *ctx, const struct inspected_entry *entry), void *ctx,
                         struct why *why);

struct inspected_snapshot {
    char file[INSPECT_NAME_BYTES];
    struct store_snapshot known; /* about is borrowed; zeroed but for last if it cannot be read */
    enum err damage;             /* ERR_OK: its header is sound; with all of it read, all is */
    struct why why;
};
/* The snapshots, in order. whole: read all of each, else only the header.
 * Errors, with why: ERR_IO. */
enum err inspect_snapshots(const struct inspection *i, bool whole,
                           void (*each)(void *ctx, const struct inspected_snapshot *snapshot),
                           void *ctx, struct why *why);

#endif

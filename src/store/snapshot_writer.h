/* Writing a snapshot file from a root of the state, a little at a time. On the disk thread. */
#ifndef MK_STORE_SNAPSHOT_WRITER_H
#define MK_STORE_SNAPSHOT_WRITER_H

#include <xxhash.h>

#include "port/fs.h"
#include "store/snapshot_format.h"

struct snapshot_writer {
    const struct fs_port *fs;
    struct snapshot_header header;
    struct slice about;
    const struct state_snapshot *root; /* borrowed */
    struct fs_file *file;              /* NULL: not begun, or closed */
    struct state_cursor cursor;
    bool more;            /* the cursor has a pair */
    bool sealed;          /* the footer is staged or written */
    struct buffer staged; /* encoded, of which this much is written */
    size_t staged_written;
    uint64_t at;       /* the file's size once all that is staged is written */
    uint64_t unsynced; /* bytes written since the last sync */
    XXH3_state_t *check;
};

/* Sets up an empty object; files are not touched. about is copied. */
void snapshot_writer_init(struct snapshot_writer *w, const struct fs_port *fs, uint64_t cluster_id,
                          struct store_pos last, struct bytes about,
                          const struct state_snapshot *root);
/* Accepts a zeroed object. Leaves the file. */
void snapshot_writer_close(struct snapshot_writer *w);

/* One step, short: encodes and writes some, or syncs what was written. *whole: it was the last one,
 * the file is complete and synced under its new name.
 * Errors: ERR_NO_SPACE, ERR_IO, with why. Discard it then. */
enum err snapshot_writer_step(struct snapshot_writer *w, bool *whole, struct why *why);
/* Gives the whole file its name, durably. Errors: as above. */
enum err snapshot_writer_publish(struct snapshot_writer *w, struct why *why);
/* Removes what was written. */
void snapshot_writer_discard(struct snapshot_writer *w);

#endif

/* Reading a snapshot file from its beginning to its end and believing none of it: every checksum,
 * the order of the keys, the counts and sizes. On one thread at a time, usually the disk thread. */
#ifndef MK_STORE_SNAPSHOT_READER_H
#define MK_STORE_SNAPSHOT_READER_H

#include <xxhash.h>

#include "store/snapshot_format.h"
#include "store/window.h"

struct snapshot_reader {
    const char *path; /* of the data directory, for messages */
    char name[SNAPSHOT_NAME_BYTES];
    struct window window;
    struct snapshot_header header;
    uint8_t *about;
    uint64_t at; /* the next block */
    uint64_t pairs;
    uint64_t content_bytes;
    XXH3_state_t *check; /* of what was read */
    struct buffer last_key;
    bool any_key;
};

/* Opens the file and reads its header. On failure r is closed.
 * Errors, with why: ERR_NOT_FOUND, ERR_CORRUPT, ERR_VERSION, ERR_WRONG_CLUSTER, ERR_IO. */
enum err snapshot_reader_open(struct snapshot_reader *r, const struct fs_port *fs, const char *name,
                              uint64_t cluster_id, struct why *why);
/* Accepts a zeroed object. */
void snapshot_reader_close(struct snapshot_reader *r);

/* The next block's pairs, all of them sound, for snapshot_pair_take(); valid until the next call.
 * *end: there are no more and the footer is right. Errors: ERR_CORRUPT, ERR_IO. */
enum err snapshot_reader_next(struct snapshot_reader *r, struct bytes *pairs, bool *end,
                              struct why *why);

/* Opens the snapshot of that name and reads all of it; known points into r, which is to be closed
 * in any case. Errors: as the two above. */
enum err snapshot_reader_verify(struct snapshot_reader *r, const struct fs_port *fs,
                                struct store_pos last, uint64_t cluster_id,
                                struct store_snapshot *known, struct why *why);

/* What the header says. about points into r. */
void snapshot_reader_describe(const struct snapshot_reader *r, struct store_snapshot *out);

#endif

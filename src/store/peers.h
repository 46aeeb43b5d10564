/* Whom this node has met: the storage UUID of each peer, in the file "peers". A peer that comes
 * back with another storage has lost what it promised, and must not count as the one that promised.
 */
#ifndef MK_STORE_PEERS_H
#define MK_STORE_PEERS_H

#include "store/store.h"

struct peer {
    uint64_t id;
    uint8_t uuid[STORE_UUID_BYTES];
};

enum { PEERS_MAX = 1024 };

struct peers {
    struct peer *at;
    size_t count;
    bool dirty; /* differs from the file */
};

/* Accepts a zeroed object. */
void peers_close(struct peers *p);
/* NULL if not known. */
const struct peer *peers_find(const struct peers *p, uint64_t id);
/* id is not known yet. Errors: ERR_TOO_LARGE. */
enum err peers_add(struct peers *p, uint64_t id, const uint8_t uuid[STORE_UUID_BYTES]);
void peers_remove(struct peers *p, uint64_t id);

/* The contents of the file, for small_file_replace(). */
void peers_format(const struct peers *p, struct buffer *text);
/* No file: nobody. Errors: ERR_CORRUPT, ERR_IO, with why. */
enum err peers_read(struct peers *p, const struct fs_port *fs, struct why *why);

#endif

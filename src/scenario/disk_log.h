/* The log that a node left in its data directory, to be compared with those of others. */
#ifndef MK_SCENARIO_DISK_LOG_H
#define MK_SCENARIO_DISK_LOG_H

#include <stdbool.h>

#include "base/err.h"
#include "wire/membership.h"

struct disk_entry {
    uint64_t term;
    uint64_t hash; /* of its body */
};

/* Zeroed: empty. */
struct disk_log {
    uint64_t base; /* the log begins after it */
    uint64_t last;
    struct disk_entry *entries; /* of base + 1 and on */
    size_t capacity;
};

/* Recovers the log as the node itself would. Blocking; nobody has the directory open.
 * Errors: those of store_open(). */
enum err disk_log_read(const char *directory, const char *cluster, const struct membership *members,
                       const char *node, struct disk_log *out, struct why *why);
/* Accepts a zeroed object. */
void disk_log_close(struct disk_log *l);

/* Is entry index there, not compacted? */
static inline bool disk_log_has(const struct disk_log *l, uint64_t index)
{
    return index > l->base && index <= l->last;
}
static inline const struct disk_entry *disk_log_at(const struct disk_log *l, uint64_t index)
{
    return &l->entries[index - l->base - 1];
}
/* Have both logs this entry, and is it not the same one? */
bool disk_log_differ(const struct disk_log *a, const struct disk_log *b, uint64_t index);
/* Log Matching (§5.3): the first index at which the logs differ below one at which they have the
 * same term; 0: there is none. */
uint64_t disk_log_mismatch(const struct disk_log *a, const struct disk_log *b);

#endif

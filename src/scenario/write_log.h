/* A data directory with a log that a test has thought up, as if a node had written it: the logs of
 * Figure 7 of the Raft paper, say. */
#ifndef MK_SCENARIO_WRITE_LOG_H
#define MK_SCENARIO_WRITE_LOG_H

#include <stdint.h>

#include "base/err.h"
#include "port/entropy.h"
#include "port/fs.h"

struct write_log {
    const struct fs_port *fs; /* of the data directory, which is empty */
    const struct entropy_port *entropy;
    uint64_t cluster_id; /* node_cluster_id() */
    const char *cluster_name;
    uint64_t node_id;
    const char *node_name;
    const uint64_t
        *terms; /* of entries 1 .. count, which are opaque commands (node_opaque_body()) */
    uint32_t count;
    uint64_t term; /* the current one; at least that of the last entry. It has voted for nobody. */
};

/* Blocking. Errors: those of store_open(); IO, NO_SPACE. */
enum err write_log(const struct write_log *w, struct why *why);

#endif

/* How much waits in memory. */
#include "node/node_internal.h"

static uint64_t held_most(const struct node *n)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        const struct outlet *o = n->sender.outlets[i];
        most = o->held_count > most ? o->held_count : most;
    }
    return most;
}

struct node_load node_load(const struct node *n)
{
    return (struct node_load){
        .pending = n->proposals.count,
        .pending_bytes = n->proposals.bytes,
        .forwarded = n->proposals.forwarded_count,
        .forwarded_bytes = n->proposals.forwarded_bytes,
        .reads = n->reads.count,
        .reads_bytes = n->reads.query_bytes,
        .held_appends = held_most(n),
        .cache_bytes = n->log.size_bytes,
    };
}

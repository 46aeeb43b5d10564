/* What waits in the memory of a node is bounded, whatever its peers, its disk and its clients do.
 *
 * The bounds are the checker's own account of what the options promise. */
#include "sim/safety_internal.h"

enum {
    PENDING_BYTES_MAX = 64 << 20,
    FORWARDED_MAX = 65536,
    FORWARDED_BYTES_MAX = 32 << 20,
    HELD_APPENDS_MAX = 64,
    SLACK_BYTES = 64 << 10, /* a limit may be passed by the one that reaches it */
};

static void check(struct safety *s, uint32_t host, const char *what, uint64_t is, uint64_t max)
{
    if (is > max) {
        safety_fail(s, host, "memory is bounded", "%s: %llu, of at most %llu", what,
                    (unsigned long long)is, (unsigned long long)max);
    }
}

/* Beyond the cache's own limit there is only what no disk holds yet. A leader takes no more than
 * its limit of uncommitted bytes, a follower is sent no more than a window beyond what it has
 * acknowledged, that is, what is on its disk. */
static uint64_t cache_bytes_max(const struct safety *s)
{
    const struct safety_limits *l = &s->options.limits;
    return l->cache_bytes + l->uncommitted_bytes + l->window_bytes + l->append_bytes + SLACK_BYTES;
}

void safety_load_handled(struct safety *s, uint32_t host)
{
    const struct safety_limits *l = &s->options.limits;
    const struct node_load load = node_load(s->hosts[host].node);
    check(s, host, "commands without an answer", load.pending, l->pending);
    check(s, host, "bytes of commands without an answer", load.pending_bytes, PENDING_BYTES_MAX);
    check(s, host, "forwarded commands", load.forwarded, FORWARDED_MAX);
    check(s, host, "bytes of forwarded commands", load.forwarded_bytes, FORWARDED_BYTES_MAX);
    check(s, host, "reads", load.reads, l->pending);
    check(s, host, "bytes of reads", load.reads_bytes, PENDING_BYTES_MAX);
    check(s, host, "appends that wait for old entries", load.held_appends, HELD_APPENDS_MAX);
    check(s, host, "bytes of entries in memory", load.cache_bytes, cache_bytes_max(s));
}

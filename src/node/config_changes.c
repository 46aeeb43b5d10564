/* What two configurations differ in. */
#include <string.h>

#include "node/config.h"

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_members(const struct config *a, const struct config *b)
{
    bool same = a->members_count == b->members_count;
    for (uint32_t i = 0; same && i < a->members_count; i++) {
        const struct config_member *x = &a->members[i], *y = &b->members[i];
        same = same_text(x->id, y->id) && same_text(x->peer, y->peer) &&
               same_text(x->client, y->client) && x->joins == y->joins;
    }
    return same;
}

static bool same_limits(const struct config_limits *a, const struct config_limits *b)
{
    return a->proposal_bytes == b->proposal_bytes && a->pending == b->pending &&
           a->cache_bytes == b->cache_bytes && a->segment_bytes == b->segment_bytes &&
           a->clients == b->clients && a->script_memory_bytes == b->script_memory_bytes &&
           a->script_budget_ms == b->script_budget_ms;
}

static bool same_snapshot(const struct config_snapshot *a, const struct config_snapshot *b)
{
    return a->entries == b->entries && a->bytes == b->bytes && a->keep_entries == b->keep_entries &&
           a->hold_bytes == b->hold_bytes;
}

uint32_t config_changes(const struct config *a, const struct config *b,
                        const char *names[CONFIG_CHANGES_MAX])
{
    const struct {
        const char *name;
        bool same;
    } keys[] = {
        {"cluster", same_text(a->cluster, b->cluster)},
        {"id", same_text(a->id, b->id)},
        {"members", same_members(a, b)},
        {"client", same_text(a->client, b->client)},
        {"http", same_text(a->http, b->http)},
        {"data_dir", same_text(a->data_dir, b->data_dir)},
        {"election_ms",
         a->election_min_ms == b->election_min_ms && a->election_max_ms == b->election_max_ms},
        {"heartbeat_ms", a->heartbeat_ms == b->heartbeat_ms},
        {"stop_ms", a->stop_ms == b->stop_ms},
        {"prevote", a->prevote == b->prevote},
        {"check_quorum", a->check_quorum == b->check_quorum},
        {"lease", a->lease == b->lease},
        {"fast_failover", a->fast_failover == b->fast_failover},
        {"insecure", a->insecure == b->insecure},
        {"core_dumps", a->core_dumps == b->core_dumps},
        {"log_level", same_text(a->log_level, b->log_level)},
        {"log_format", same_text(a->log_format, b->log_format)},
        {"limits", same_limits(&a->limits, &b->limits)},
        {"snapshot", same_snapshot(&a->snapshot, &b->snapshot)},
    };
    _Static_assert(sizeof keys / sizeof keys[0] < CONFIG_CHANGES_MAX, "room for apps, too");
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!keys[i].same) {
            names[count++] = keys[i].name;
        }
    }
    return count;
}

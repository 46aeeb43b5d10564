/* What scripts are told, and when they work. */
#include <string.h>

#include "base/alloc.h"
#include "sim/safety_internal.h"
#include "wire/reader.h"

enum { OWN_REQUESTS_MAX = 64 }; /* of a host: beside those of its tasks */

static struct timeline_at at_host(const struct safety *s, uint32_t host)
{
    return (struct timeline_at){.time_us = world_now_us(s->world), .host = host};
}

void safety_scripts_started(struct safety *s, uint32_t host)
{
    s->hosts[host].told_count = 0;
    s->hosts[host].gaps_count = 0;
}

static void on_said(void *ctx, uint32_t host, const char *line)
{
    struct safety *s = ctx;
    timeline_note(s->timeline, at_host(s, host), "script: %s", line);
}

static void on_scripts_refused(void *ctx, uint32_t host, const char *why)
{
    safety_fail(ctx, host, "scripts can be loaded", "%s", why);
}

/* ---- commits --------------------------------------------------------------------------------- */

static struct told_commits *commits_of(struct watched *h, uint64_t cursor)
{
    for (size_t i = 0; i < h->told_count; i++) {
        if (h->told[i].cursor == cursor) {
            return &h->told[i];
        }
    }
    if (h->told_count == h->told_capacity) {
        h->told_capacity = h->told_capacity == 0 ? 4 : h->told_capacity * 2;
        h->told = alloc_resize(h->told, h->told_capacity, sizeof *h->told);
    }
    h->told[h->told_count] = (struct told_commits){.cursor = cursor};
    return &h->told[h->told_count++];
}

/* Was it said that nothing of [lo, hi) would come? Gaps are told as they arise, and may touch. */
static bool is_in_gap(const struct watched *h, raft_index lo, raft_index hi)
{
    for (size_t i = 0; i < h->gaps_count && lo < hi; i++) {
        if (h->gaps[i].from <= lo && lo <= h->gaps[i].to) {
            lo = h->gaps[i].to + 1;
        }
    }
    return lo >= hi;
}

static void on_commit_told(void *ctx, uint32_t host, uint64_t cursor, uint64_t index)
{
    struct safety *s = ctx;
    struct watched *h = &s->hosts[host];
    struct told_commits *told = commits_of(h, cursor);
    s->stats.commits_told++;
    if (index > h->last_applied) {
        safety_fail(s, host, "commit hooks: applied first",
                    "a hook is told of %llu, with %llu applied", (unsigned long long)index,
                    (unsigned long long)h->last_applied);
    } else if (told->last != 0 && index <= told->last) {
        safety_fail(s, host, "commit hooks: once and in order", "a hook is told of %llu after %llu",
                    (unsigned long long)index, (unsigned long long)told->last);
    } else if (told->last != 0 && index != told->last + 1 && !is_in_gap(h, told->last + 1, index)) {
        safety_fail(s, host, "commit hooks: without holes",
                    "a hook is told of %llu after %llu, and of no gap", (unsigned long long)index,
                    (unsigned long long)told->last);
    }
    told->last = index;
}

static void take_gap(struct safety *s, uint32_t host, struct bytes fields)
{
    struct watched *h = &s->hosts[host];
    struct told_gap gap = {0};
    struct reader r = reader_of(fields);
    uint32_t count = read_map(&r);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_str(&r, SIZE_MAX);
        raft_index value = read_u64(&r);
        *(bytes_is(key, "from") ? &gap.from : &gap.to) = value;
    }
    if (h->gaps_count == h->gaps_capacity) {
        h->gaps_capacity = h->gaps_capacity == 0 ? 4 : h->gaps_capacity * 2;
        h->gaps = alloc_resize(h->gaps, h->gaps_capacity, sizeof *h->gaps);
    }
    h->gaps[h->gaps_count++] = gap;
    s->stats.gaps_told++;
}

static void on_event(void *ctx, uint32_t host, const char *name, raft_term term,
                     struct bytes fields)
{
    struct safety *s = ctx;
    (void)term;
    if (strcmp(name, "gap") == 0) {
        take_gap(s, host, fields);
    }
}

/* ---- work and queues ------------------------------------------------------------------------- */

static void on_leader_work(void *ctx, uint32_t host, uint64_t token)
{
    struct safety *s = ctx;
    s->stats.leader_slices++;
    if (token > s->work_token) {
        s->work_token = token;
    } else if (token < s->work_token && s->options.leader_work) {
        safety_fail(s, host, "leader-only work excludes each other",
                    "work under token %llu goes on after work under %llu began",
                    (unsigned long long)token, (unsigned long long)s->work_token);
    }
}

static void on_scripts_ran(void *ctx, uint32_t host, const struct sim_script_queues *queues)
{
    struct safety *s = ctx;
    struct script_limits limits = s->options.script_limits;
    script_limits_fill(&limits);
    if (queues->events > limits.events_max || queues->commits > limits.commits_max ||
        queues->pending > limits.requests_max ||
        queues->requests > limits.requests_max + OWN_REQUESTS_MAX) {
        safety_fail(s, host, "script queues are bounded",
                    "%llu events, %llu commits, %llu requests pending, %llu on their way",
                    (unsigned long long)queues->events, (unsigned long long)queues->commits,
                    (unsigned long long)queues->pending, (unsigned long long)queues->requests);
    }
}

void safety_scripts_watch(struct sim_watch *watch)
{
    watch->event = on_event;
    watch->said = on_said;
    watch->scripts_refused = on_scripts_refused;
    watch->leader_work = on_leader_work;
    watch->commit_told = on_commit_told;
    watch->scripts_ran = on_scripts_ran;
}

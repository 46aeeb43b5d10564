#include "sim/safety.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/safety_internal.h"

enum { DECODED_FRAME_MAX = 1024 }; /* promises are small: larger frames are appends and chunks */

uint64_t safety_hash(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (a >> 32)) * UINT64_C(0x9e3779b97f4a7c15) + b;
    h = (h ^ (h >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ (h >> 32);
}

void safety_fail(struct safety *s, uint32_t host, const char *rule, const char *format, ...)
{
    world_stop(s->world);
    if (s->failed) {
        return;
    }
    s->failed = true;
    s->violation =
        (struct safety_violation){.time_us = world_now_us(s->world), .host = host, .rule = rule};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->violation.text, sizeof s->violation.text, format, arguments);
    va_end(arguments);
}

static struct timeline_at at_host(const struct safety *s, uint32_t host)
{
    return (struct timeline_at){.time_us = world_now_us(s->world), .host = host};
}

/* ---- one process ---------------------------------------------------------------------------- */

static void check_vote(struct safety *s, uint32_t host, raft_term term, raft_id candidate)
{
    uint64_t first = sim_map_put(&s->votes, (struct sim_key){.a = host, .b = term}, candidate);
    if (first != candidate) {
        safety_fail(s, host, "one vote per term", "in term %llu it votes for %016llx after %016llx",
                    (unsigned long long)term, (unsigned long long)candidate,
                    (unsigned long long)first);
    }
}

static void became_leader(struct safety *s, uint32_t host)
{
    struct watched *h = &s->hosts[host];
    uint64_t first =
        sim_map_put(&s->leaders, (struct sim_key){.a = h->term, .b = 0}, (uint64_t)host + 1);
    if (first != (uint64_t)host + 1) {
        safety_fail(s, host, "election safety", "n%u leads in term %llu, and so did n%llu",
                    host + 1, (unsigned long long)h->term, (unsigned long long)first);
    }
    h->leader_since = h->term;
    s->stats.elections++;
}

static void follow_step(struct safety *s, uint32_t host, const struct raft *core)
{
    struct watched *h = &s->hosts[host];
    enum raft_role role = raft_role(core);
    raft_term term = raft_current_term(core);
    raft_index commit = raft_commit_index(core);
    if (term < h->term) {
        safety_fail(s, host, "monotonic term", "term goes from %llu to %llu",
                    (unsigned long long)h->term, (unsigned long long)term);
    }
    if (commit < h->commit_index) {
        safety_fail(s, host, "monotonic commit index", "commit index goes from %llu to %llu",
                    (unsigned long long)h->commit_index, (unsigned long long)commit);
    }
    bool new_leader = role == RAFT_LEADER && (h->role != RAFT_LEADER || term != h->term);
    h->role = role;
    h->term = term;
    h->commit_index = commit;
    if (new_leader) {
        became_leader(s, host);
    }
    if (term > s->stats.term_max) {
        s->stats.term_max = term;
    }
}

static void on_started(void *ctx, uint32_t host, const struct node *n)
{
    struct safety *s = ctx;
    struct watched *h = &s->hosts[host];
    const struct raft *core = node_raft(n);
    s->stats.restarts++;
    h->node = n;
    h->role = raft_role(core);
    h->term = raft_current_term(core);
    h->commit_index = raft_commit_index(core);
    h->last_applied = node_last_applied(n);
    h->applied_time_ms = 0;
    h->leader_since = 0;
    h->heard_from = 0;
    timeline_note(s->timeline, at_host(s, host), "started: term %llu, last entry %llu",
                  (unsigned long long)h->term, (unsigned long long)raft_last_index(core));
    safety_log_started(s, host);
    safety_durable_started(s, host);
    safety_scripts_started(s, host);
}

static void on_ended(void *ctx, uint32_t host, const struct node *n, enum sim_end how)
{
    struct safety *s = ctx;
    ASSERT(s->hosts[host].node == n);
    s->hosts[host].node = NULL;
    s->hosts[host].role = RAFT_FOLLOWER;
    s->stats.ends[how]++;
    timeline_note(s->timeline, at_host(s, host), "%s", sim_end_name(how));
}

static void on_refused(void *ctx, uint32_t host, enum err err, const char *why)
{
    struct safety *s = ctx;
    s->stats.refused[err]++;
    timeline_note(s->timeline, at_host(s, host), "refuses to start: %s", why);
    /* A disk that fails or is full may say so, and one that rots must; after a crash alone it must
     * open. */
    bool rotten = sim_fs_was_flipped(sim_process_disk(s->options.all[host]));
    if (err != ERR_NO_SPACE && err != ERR_IO && !(err == ERR_CORRUPT && rotten)) {
        safety_fail(s, host, "a crash leaves a disk that can be opened", "%s: %s", err_name(err),
                    why);
    }
    if (s->options.refused != NULL) {
        s->options.refused(s->options.told_ctx, host, err, why);
    }
}

/* A step of a snapshot's life: for who wants to disturb it. */
static bool is_in_transfer(const struct raft_event *event, const struct raft_effects *effects)
{
    return event->type == RAFT_EVENT_SNAPSHOT_TAKEN || event->type == RAFT_EVENT_SNAPSHOT_SEND ||
           event->type == RAFT_EVENT_SNAPSHOT_CHUNK_STORED ||
           event->type == RAFT_EVENT_SNAPSHOT_INSTALLED || effects->snapshot_store;
}

static void follow_snapshots(struct safety *s, uint32_t host, const struct raft_event *event,
                             const struct raft_effects *effects)
{
    s->stats.snapshots += event->type == RAFT_EVENT_SNAPSHOT_TAKEN;
    if (event->type == RAFT_EVENT_SNAPSHOT_INSTALLED && event->snapshot_installed.ok) {
        s->stats.installs++;
        safety_log_replaced(s, host, event->snapshot_installed.last);
        safety_durable_replaced(s, host, event->snapshot_installed.last.index);
    }
    if (s->options.in_transfer != NULL && is_in_transfer(event, effects)) {
        s->options.in_transfer(s->options.in_transfer_ctx, host);
    }
}

static void on_stepped(void *ctx, uint32_t host, const struct raft_event *event,
                       const struct raft_effects *effects)
{
    struct safety *s = ctx;
    struct watched *h = &s->hosts[host];
    const struct raft *core = node_raft(h->node);
    s->stats.steps++;
    s->stats.certificates += event->type == RAFT_EVENT_CERTIFICATE;
    if (event->type == RAFT_EVENT_RECEIVE) {
        s->stats.received[event->receive.message->type]++;
    }
    timeline_step(s->timeline, at_host(s, host), event, effects, core);
    world_mix(s->world, (uint64_t)event->type << 32 | effects->messages_count,
              raft_current_term(core) << 32 ^ effects->commit_index);
    bool led = h->role == RAFT_LEADER;
    raft_term led_term = h->term;
    raft_index committed = h->commit_index;
    follow_step(s, host, core);
    follow_snapshots(s, host, event, effects);
    raft_check(core);
    if (effects->persist.write_seq != 0) {
        if (effects->persist.truncate_from != 0) {
            if (led && h->role == RAFT_LEADER && led_term == h->term) {
                safety_fail(s, host, "leader append-only", "the leader drops entries from %llu on",
                            (unsigned long long)effects->persist.truncate_from);
            }
            if (effects->persist.truncate_from <= committed) {
                safety_fail(s, host, "committed entries stay",
                            "it drops entries from %llu on, with %llu committed",
                            (unsigned long long)effects->persist.truncate_from,
                            (unsigned long long)committed);
            }
            safety_log_truncated(s, host, effects->persist.truncate_from);
        }
        safety_durable_asked(s, host, effects);
    }
    if (event->type == RAFT_EVENT_RECEIVE && h->role == RAFT_LEADER) {
        for (uint32_t i = 0; i < s->options.hosts; i++) {
            if (s->options.ids[i] == event->receive.message->from) {
                h->heard_from |= UINT64_C(1) << i;
            }
        }
    }
}

static void on_applied(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                       enum err outcome, bool duplicate)
{
    struct safety *s = ctx;
    struct watched *h = &s->hosts[host];
    s->stats.applied++;
    if (pos.index != h->last_applied + 1 || pos.index > h->commit_index) {
        safety_fail(s, host, "monotonic applied index",
                    "applies %llu after %llu, with %llu committed", (unsigned long long)pos.index,
                    (unsigned long long)h->last_applied, (unsigned long long)h->commit_index);
    }
    h->last_applied = pos.index;
    if (entry->time_ms < h->applied_time_ms) {
        safety_fail(s, host, "monotonic entry time", "entry %llu is %lld ms older than the last",
                    (unsigned long long)pos.index,
                    (long long)(h->applied_time_ms - entry->time_ms));
    }
    h->applied_time_ms = entry->time_ms;
    safety_log_applied(s, host, pos, entry, outcome, duplicate);
    if (s->options.applied != NULL) {
        s->options.applied(s->options.told_ctx, host, pos, entry, outcome, duplicate);
    }
}

static void on_restored(void *ctx, uint32_t host, struct raft_pos last)
{
    struct safety *s = ctx;
    struct watched *h = &s->hosts[host];
    if (last.index <= h->last_applied) {
        safety_fail(s, host, "monotonic applied index", "a snapshot takes it from %llu to %llu",
                    (unsigned long long)h->last_applied, (unsigned long long)last.index);
    }
    h->last_applied = last.index;
    safety_log_restored(s, host, last.index);
}

/* ---- what leaves a process ------------------------------------------------------------------ */

static bool is_prevote(const struct raft_message *m)
{
    return (m->type == RAFT_MESSAGE_VOTE && m->vote.prevote) ||
           (m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.prevote);
}

static void on_sent(void *ctx, uint32_t host, uint32_t to, struct slice frame)
{
    struct safety *s = ctx;
    if (frame.size > DECODED_FRAME_MAX || peer_frame_of(slice_bytes(frame)) != PEER_FRAME_RAFT) {
        return;
    }
    enum err e = raft_message_decode(frame, &s->decoded);
    if (e != ERR_OK) {
        safety_fail(s, host, "well-formed messages", "to n%u: %s", to + 1, err_message(e));
        return;
    }
    const struct raft_message *m = &s->decoded.message;
    if (is_prevote(m)) {
        return;
    }
    if (m->type == RAFT_MESSAGE_VOTE) {
        check_vote(s, host, m->term, s->options.ids[host]);
    } else if (m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.granted) {
        check_vote(s, host, m->term, m->to);
    }
    safety_durable_sent(s, host, m);
    bool promise =
        (m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.granted) ||
        (m->type == RAFT_MESSAGE_APPEND_REPLY && !m->append_reply.rejected) ||
        (m->type == RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY && m->install_snapshot_reply.installed);
    if (promise && s->options.promised != NULL) {
        s->options.promised(s->options.ctx, host);
    }
}

static void on_job_done(void *ctx, uint32_t host, uint64_t ordinal, bool synced)
{
    if (synced) {
        safety_durable_synced(ctx, host, ordinal);
    }
}

/* ---- after each happening ------------------------------------------------------------------- */

static uint64_t local_now_us(const struct safety *s, uint32_t host)
{
    return sim_clock_now_us(sim_process_clock(s->options.all[host]));
}

static bool has_lease(const struct safety *s, uint32_t host)
{
    return raft_has_lease(node_raft(s->hosts[host].node), local_now_us(s, host));
}

static void check_lease(struct safety *s, uint32_t host)
{
    const struct watched *h = &s->hosts[host];
    if (h->role != RAFT_LEADER) {
        return;
    }
    for (uint32_t i = 0; i < s->options.hosts; i++) {
        const struct watched *other = &s->hosts[i];
        if (i != host && other->role == RAFT_LEADER && has_lease(s, host) && has_lease(s, i)) {
            safety_fail(s, host, "lease", "n%u (term %llu) and n%u (term %llu) both hold the lease",
                        host + 1, (unsigned long long)h->term, i + 1,
                        (unsigned long long)other->term);
        }
    }
}

/* What a leader believes of a follower that is in the same term must be so. */
static void check_progress(struct safety *s, uint32_t leader)
{
    struct watched *h = &s->hosts[leader];
    uint64_t heard_from = h->heard_from;
    h->heard_from = 0;
    if (h->role != RAFT_LEADER || heard_from == 0) {
        return;
    }
    const struct raft *core = node_raft(h->node);
    for (uint32_t p = 0; p < raft_peers_count(core); p++) {
        const struct raft_peer_status peer = raft_peer_status(core, p);
        if (peer.match >= peer.next) {
            safety_fail(s, leader, "match < next", "match %llu, next %llu",
                        (unsigned long long)peer.match, (unsigned long long)peer.next);
        }
        for (uint32_t i = 0; i < s->options.hosts; i++) {
            const struct watched *follower = &s->hosts[i];
            if (i == leader || s->options.ids[i] != peer.id || follower->term != h->term ||
                (heard_from >> i & 1) == 0) {
                continue;
            }
            if (peer.match > follower->durable_index ||
                safety_log_hash(s, i, peer.match) != safety_log_hash(s, leader, peer.match)) {
                safety_fail(s, leader, "match is on the follower's disk",
                            "match %llu for n%u, whose disk holds the same up to %llu at most",
                            (unsigned long long)peer.match, i + 1,
                            (unsigned long long)follower->durable_index);
            }
        }
    }
}

static void on_handled(void *ctx, uint32_t host)
{
    struct safety *s = ctx;
    if (s->failed) {
        return;
    }
    safety_log_handled(s, host);
    safety_load_handled(s, host);
    check_progress(s, host);
    if (s->options.leases) {
        check_lease(s, host);
    }
}

/* ---- life and looks ------------------------------------------------------------------------- */

struct safety *safety_new(struct world *w, struct timeline *timeline,
                          const struct safety_options *options)
{
    struct safety *s = NEW(struct safety);
    s->world = w;
    s->timeline = timeline;
    s->options = *options;
    s->watch = (struct sim_watch){
        .ctx = s,
        .started = on_started,
        .ended = on_ended,
        .refused = on_refused,
        .stepped = on_stepped,
        .applied = on_applied,
        .restored = on_restored,
        .sent = on_sent,
        .job_done = on_job_done,
        .handled = on_handled,
    };
    safety_scripts_watch(&s->watch);
    return s;
}

void safety_free(struct safety *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < SIM_NET_HOSTS_MAX; i++) {
        free(s->hosts[i].hashes);
        free(s->hosts[i].voters);
        free(s->hosts[i].writes);
        free(s->hosts[i].told);
        free(s->hosts[i].gaps);
    }
    sim_map_close(&s->leaders);
    sim_map_close(&s->votes);
    sim_map_close(&s->prefixes);
    sim_map_close(&s->configs);
    sim_map_close(&s->commands);
    free(s->committed);
    raft_decoded_close(&s->decoded);
    free(s);
}

const struct sim_watch *safety_watch(const struct safety *s)
{
    return &s->watch;
}

const struct safety_violation *safety_violation(const struct safety *s)
{
    return s->failed ? &s->violation : NULL;
}

void safety_forget_disk(struct safety *s, uint32_t host)
{
    struct watched *h = &s->hosts[host];
    ASSERT(h->node == NULL);
    h->promised_term = 0;
    h->promised_index = 0;
    h->promised_hash = 0;
    h->durable_term = 0;
    h->durable_vote = 0;
    h->durable_index = 0;
    h->length = 0;
}

void safety_forget_leases(struct safety *s)
{
    s->options.leases = false;
    s->options.leader_work = false;
}

raft_index safety_committed(const struct safety *s)
{
    return s->committed_count;
}

const struct safety_stats *safety_stats(const struct safety *s)
{
    return &s->stats;
}

/* Committed entries change the state, in order, each once, in slices that leave the loop free. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    SLICE_US = 1000,
    READ_BYTES_MAX = 1 << 20,
};

void apply_close(struct node *n)
{
    store_read_close(&n->apply.read);
    buffer_close(&n->apply.result);
    if (n->apply.recent != NULL) {
        for (int i = 0; i < RECENT_RESULTS; i++) {
            slice_close(&n->apply.recent[i].result);
        }
        free(n->apply.recent);
        n->apply.recent = NULL;
    }
}

/* ---- one entry ------------------------------------------------------------------------------ */

/* The newest leadership's token is part of the state, so that snapshots carry it. */
static void open_scope(struct node *n, raft_index index)
{
    static const uint8_t key[] = {MACHINES_KEY_SYSTEM, 'f'};
    struct buffer value = {0};
    write_u64(&value, index);
    enum err e = state_set(n->state, bytes_of(key, sizeof key), buffer_bytes(&value));
    ASSERT(e == ERR_OK);
    buffer_close(&value);
    n->apply.scope_index = index;
}

void apply_find_scope(struct node *n)
{
    static const uint8_t key[] = {MACHINES_KEY_SYSTEM, 'f'};
    struct bytes value;
    if (state_get(n->state, bytes_of(key, sizeof key), &value)) {
        struct reader r = reader_of(value);
        n->apply.scope_index = read_u64(&r);
    }
}

void apply_replaced(struct node *n, raft_index last_applied, int64_t time_ms)
{
    sessions_replaced(&n->sessions);
    n->apply.last_applied = last_applied;
    n->apply.time_ms = time_ms;
    if (time_ms > n->log_time_ms) {
        n->log_time_ms = time_ms;
    }
    apply_find_scope(n);
}

static enum err run_command(struct node *n, struct raft_pos pos, const struct entry *e,
                            struct why *why)
{
    struct machine_command command = {
        .machine = e->machine,
        .at = {.index = pos.index, .term = pos.term, .time_ms = e->time_ms},
    };
    command.payload = entry_command(e->payload, &command.fence);
    if (command.fence != 0 && command.fence != n->apply.scope_index) {
        return err_why(why, ERR_FENCED, "the fencing token is not that of the newest leadership");
    }
    return machines_apply(n->machines, &command, &n->apply.result, why);
}

/* No session is asked: a source that comes twice changes nothing the second time. */
static void install_machine(struct node *n, struct raft_pos pos, const struct entry *e,
                            struct outcome *outcome, struct why *why)
{
    struct machine_at at = {.index = pos.index, .term = pos.term, .time_ms = e->time_ms};
    struct machine_info info;
    outcome->err = machines_install(n->machines, &at, e->payload, &info, why);
    outcome->message = bytes_of_string(why->text);
    if (outcome->err == ERR_OK) {
        write_map(&n->apply.result, 2);
        write_text(&n->apply.result, "name");
        write_text(&n->apply.result, info.name);
        write_text(&n->apply.result, "version");
        write_u64(&n->apply.result, info.version);
        outcome->result = buffer_bytes(&n->apply.result);
    } else if (outcome->err != ERR_IO) {
        log_warn(n->ports.log, "a state machine was not installed", log_text("why", why->text),
                 log_u64("index", pos.index));
    }
}

static enum session_verdict apply_command(struct node *n, struct raft_pos pos,
                                          const struct entry *e, struct outcome *outcome,
                                          struct why *why)
{
    enum session_verdict verdict = sessions_check(&n->sessions, e, outcome);
    if (verdict == SESSION_FRESH) {
        outcome->err = run_command(n, pos, e, why);
    } else if (verdict == SESSION_EXPIRED) {
        outcome->err = ERR_EXPIRED;
    } else {
        /* The kept outcome is borrowed from the state, which is about to change. */
        err_why(why, outcome->err, "%.*s", (int)outcome->message.size,
                (const char *)outcome->message.data);
        buffer_add_bytes(&n->apply.result, outcome->result);
    }
    outcome->message = bytes_of_string(why->text);
    outcome->result = buffer_bytes(&n->apply.result);
    if (verdict == SESSION_FRESH && outcome->err != ERR_IO) {
        sessions_record(&n->sessions, e, outcome);
    }
    return verdict;
}

static void remember_result(struct node *n, raft_index index, enum err err, bool repeated)
{
    if (n->scripts == NULL || !script_host_wants_commits(n->scripts)) {
        return;
    }
    if (n->apply.recent == NULL) {
        n->apply.recent = alloc_zeroed(RECENT_RESULTS, sizeof *n->apply.recent);
    }
    struct recent_result *slot = &n->apply.recent[index % RECENT_RESULTS];
    slice_close(&slot->result);
    slot->index = index;
    slot->err = err;
    slot->repeated = repeated;
    slot->result = slice_copy(buffer_bytes(&n->apply.result));
}

const struct recent_result *apply_recent_result(const struct node *n, raft_index index)
{
    if (n->apply.recent == NULL || n->apply.recent[index % RECENT_RESULTS].index != index) {
        return NULL;
    }
    return &n->apply.recent[index % RECENT_RESULTS];
}

/* Whoever cannot apply must not lead either. */
void apply_stop(struct node *n, enum err err, const char *message)
{
    n->apply.failed = true;
    struct raft_event event = {.type = RAFT_EVENT_STEP_DOWN,
                               .now_us = node_now(n),
                               .step_down = {.reason = RAFT_STEP_DOWN_DISK}};
    node_turn(n, &event);
    node_fail(n, err, message);
}

static void apply_entry(struct node *n, struct raft_pos pos, const struct entry *e,
                        size_t size_bytes)
{
    struct why why = {""};
    struct outcome outcome = {.err = ERR_OK};
    enum session_verdict verdict = SESSION_FRESH;
    buffer_clear(&n->apply.result);
    switch (e->kind) {
    case ENTRY_NOOP:
        open_scope(n, pos.index);
        break;
    case ENTRY_COMMAND:
        verdict = apply_command(n, pos, e, &outcome, &why);
        break;
    case ENTRY_MACHINE:
        install_machine(n, pos, e, &outcome, &why);
        break;
    case ENTRY_SESSION:
        outcome.err = sessions_open(&n->sessions, e);
        break;
    case ENTRY_CONFIG: /* in effect since it was appended */
        members_applied(n, pos.index);
        break;
    case ENTRY_KIND_COUNT:
        break;
    }
    if (outcome.err == ERR_IO && (e->kind == ENTRY_COMMAND || e->kind == ENTRY_MACHINE)) {
        char text[640];
        snprintf(text, sizeof text,
                 "a state machine failed on this node alone, so it must stop: %s", why.text);
        apply_stop(n, ERR_IO, text);
        return;
    }
    sessions_expire(&n->sessions, e->time_ms);
    n->apply.last_applied = pos.index;
    n->apply.time_ms = e->time_ms;
    n->snapshot_take.log_bytes += size_bytes;
    remember_result(n, pos.index, outcome.err, verdict == SESSION_DUPLICATE);
    if (n->options.observer.applied != NULL) {
        n->options.observer.applied(n->options.observer.ctx, pos, e, outcome.err,
                                    verdict != SESSION_FRESH);
    }
    proposals_applied(n, e, verdict, &outcome);
    change_applied(n, pos);
    if (e->kind == ENTRY_NOOP && node_is_leader(n) && pos.term == raft_current_term(n->raft)) {
        news_leader_ready(n, pos.index); /* §8: a leader may act once its own no-op is committed */
    }
    if (e->kind == ENTRY_MACHINE) {
        node_want_round(n); /* reads may have waited for it */
    }
}

/* ---- in order ------------------------------------------------------------------------------- */

static void read_done(struct store_read *read)
{
    struct node *n = read->ctx;
    n->apply.reading = false;
    if (read->err != ERR_OK && read->lo > n->apply.last_applied) {
        apply_stop(n, read->err, read->why.text);
        return;
    }
    node_want_round(n);
}

/* The committed entry at index: from memory, or from what was read back; else a read is begun. */
static bool entry_at(struct node *n, raft_index index, raft_term *term, struct bytes *body)
{
    if (node_log_entry(n, index, term, body)) {
        return true;
    }
    struct apply *a = &n->apply;
    if (a->reading) {
        return false;
    }
    if (a->read.entries != NULL && index >= a->read.lo && index - a->read.lo < a->read.count) {
        const struct store_entry *read = &a->read.entries[index - a->read.lo];
        /* What the disk held when it was read may have been replaced since. */
        if (read->term == raft_term_at(n->raft, index)) {
            *term = read->term;
            *body = slice_bytes(read->body);
            return true;
        }
    }
    store_read_close(&a->read);
    a->read = (struct store_read){.lo = index,
                                  .hi = n->commit_index + 1,
                                  .bytes_max = READ_BYTES_MAX,
                                  .done = read_done,
                                  .ctx = n};
    a->reading = true;
    store_read(n->store, &a->read);
    return false;
}

bool apply_slice(struct node *n)
{
    struct apply *a = &n->apply;
    if (a->last_applied >= n->commit_index || a->failed || snapshot_install_busy(n)) {
        return false;
    }
    uint64_t began = node_now(n);
    uint32_t applied = 0;
    while (a->last_applied < n->commit_index && !a->failed) {
        struct raft_pos pos = {.index = a->last_applied + 1};
        struct bytes body;
        if (!entry_at(n, pos.index, &pos.term, &body)) {
            break;
        }
        struct entry e;
        if (entry_decode(body, &e) != ERR_OK) {
            apply_stop(n, ERR_CORRUPT, "an entry of the log cannot be read");
            break;
        }
        apply_entry(n, pos, &e, body.size);
        if ((++applied & 3) == 0 && node_now(n) - began > SLICE_US) {
            break;
        }
    }
    n->view_stale = true;
    return a->last_applied < n->commit_index && !a->reading && !a->failed;
}

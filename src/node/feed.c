/* Committed entries for commit hooks: a cursor over the log that goes as far as was applied, as
 * fast as the scripts take them. They lag behind rather than lose any. */
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/writer.h"

enum {
    READ_BYTES_MAX = 1 << 20,
    RETRY_US = 1000000, /* a read that failed */
};

void feed_end(struct node *n)
{
    store_read_close(&n->feed.read);
}

static void tell_gap(struct node *n, raft_index from, raft_index to)
{
    struct buffer fields = {0};
    write_map(&fields, 2);
    write_text(&fields, "from");
    write_u64(&fields, from);
    write_text(&fields, "to");
    write_u64(&fields, to);
    news_event(n, "gap", raft_current_term(n->raft), buffer_bytes(&fields));
    buffer_close(&fields);
}

void feed_resume(struct node *n, raft_index from, uint64_t number)
{
    ASSERT(from > 0);
    struct raft_status *status = &n->status;
    raft_status(n->raft, status);
    n->feed.number = number;
    n->feed.next = from;
    n->feed.active = true;
    if (n->feed.next <= status->snapshot.index) {
        tell_gap(n, n->feed.next, status->snapshot.index);
        n->feed.next = status->snapshot.index + 1;
    }
    node_want_round(n);
}

/* False when the scripts' queue is full. */
static bool feed_one(struct node *n, raft_index index, raft_term term, struct slice body)
{
    const struct recent_result *recent = apply_recent_result(n, index);
    struct script_commit commit = {
        .index = index,
        .term = term,
        .feed = n->feed.number,
        .entry = body,
    };
    if (recent != NULL) {
        commit.has_result = true;
        commit.err = recent->err;
        commit.repeated = recent->repeated;
        commit.result = recent->result;
    }
    return script_host_commit(n->scripts, &commit);
}

static void read_done(struct store_read *read)
{
    struct node *n = read->ctx;
    struct feed *f = &n->feed;
    f->reading = false;
    bool failed = read->err != ERR_OK && read->err != ERR_NOT_FOUND; /* that: feed_pump() tells */
    if (failed && !f->failing) {
        log_warn(n->ports.log, "could not read the log for commit hooks; they wait",
                 log_text("err", read->why.text));
    }
    f->failing = failed;
    f->retry_us = failed ? node_now(n) + RETRY_US : 0;
    for (uint32_t i = 0; i < read->count && f->active; i++) {
        /* The scripts may have asked for another place meanwhile, or what was read may be what the
         * disk held before it was replaced. */
        if (read->lo + i != f->next || f->next > n->apply.last_applied ||
            read->entries[i].term != raft_term_at(n->raft, f->next)) {
            continue;
        }
        f->active = feed_one(n, f->next, read->entries[i].term, read->entries[i].body);
        f->next += f->active;
    }
    store_read_close(read);
    node_want_round(n);
}

void feed_pump(struct node *n)
{
    struct feed *f = &n->feed;
    if (n->scripts == NULL || !script_host_wants_commits(n->scripts)) {
        return;
    }
    while (f->active && !f->reading && f->next <= n->apply.last_applied) {
        const struct log_cache_entry *entry = log_cache_at(&n->log, f->next);
        if (entry == NULL && f->next <= n->compacted_index) {
            tell_gap(n, f->next, n->compacted_index);
            f->next = n->compacted_index + 1;
            continue;
        }
        if (entry == NULL && node_now(n) < f->retry_us) {
            return;
        }
        if (entry == NULL) {
            f->read = (struct store_read){.lo = f->next,
                                          .hi = n->apply.last_applied + 1,
                                          .bytes_max = READ_BYTES_MAX,
                                          .done = read_done,
                                          .ctx = n};
            f->reading = true;
            store_read(n->store, &f->read);
            return;
        }
        f->active = feed_one(n, f->next, entry->term, entry->body);
        f->next += f->active;
    }
}

void feed_tick(struct node *n, uint64_t now_us)
{
    if (now_us >= feed_deadline(n)) {
        n->feed.retry_us = 0;
        node_want_round(n);
    }
}

uint64_t feed_deadline(const struct node *n)
{
    const struct feed *f = &n->feed;
    return f->active && !f->reading && f->retry_us != 0 ? f->retry_us : UINT64_MAX;
}

/* What the disks hold, and what was promised on the strength of it.
 *
 * A write that the core asked for is durable at the earliest when a disk job that started after it
 * was asked for has ended, with a successful sync in it. That bound needs no knowledge of the core
 * or the store, so neither can deceive it. And what was promised must still be there whenever the
 * node starts again: the simulated disk keeps only what it must. */
#include <string.h>

#include "base/alloc.h"
#include "sim/safety_internal.h"

void safety_durable_started(struct safety *s, uint32_t host)
{
    struct watched *h = &s->hosts[host];
    raft_status(node_raft(h->node), &s->status);
    const struct raft_status *found = &s->status;
    h->writes_count = 0;
    h->durable_term = found->term;
    h->durable_vote = found->vote;
    h->durable_index = found->last.index;
    if (found->term < h->promised_term) {
        safety_fail(s, host, "promises survive", "it spoke in term %llu and starts in term %llu",
                    (unsigned long long)h->promised_term, (unsigned long long)found->term);
    }
    const uint64_t *vote = sim_map_get(&s->votes, (struct sim_key){.a = host, .b = found->term});
    if (vote != NULL && *vote != found->vote) {
        safety_fail(s, host, "promises survive",
                    "in term %llu it voted for %016llx and now finds %016llx",
                    (unsigned long long)found->term, (unsigned long long)*vote,
                    (unsigned long long)found->vote);
    }
    if (h->promised_index > 0 && safety_log_hash(s, host, h->promised_index) != h->promised_hash) {
        safety_fail(s, host, "promises survive",
                    "it acknowledged its log up to %llu, which has gone or changed",
                    (unsigned long long)h->promised_index);
    }
}

/* Whatever stood at from and after it counts no more. */
static void truncate(struct safety *s, uint32_t host, raft_index from)
{
    struct watched *h = &s->hosts[host];
    if (h->durable_index >= from) {
        h->durable_index = from - 1;
    }
    if (h->promised_index >= from) {
        h->promised_index = from - 1;
        h->promised_hash = safety_log_hash(s, host, from - 1);
    }
}

void safety_durable_replaced(struct safety *s, uint32_t host, raft_index last)
{
    struct watched *h = &s->hosts[host];
    h->durable_index = last;
    h->promised_index = last;
    h->promised_hash = safety_log_hash(s, host, last);
}

void safety_durable_asked(struct safety *s, uint32_t host, const struct raft_effects *effects)
{
    struct watched *h = &s->hosts[host];
    if (effects->persist.truncate_from != 0) {
        truncate(s, host, effects->persist.truncate_from);
    }
    if (h->writes_count == h->writes_capacity) {
        h->writes_capacity = h->writes_capacity == 0 ? 64 : h->writes_capacity * 2;
        h->writes = alloc_resize(h->writes, h->writes_capacity, sizeof *h->writes);
    }
    h->writes[h->writes_count++] = (struct pending_write){
        .jobs_started = sim_process_executor(s->options.all[host])->started,
        .hard_state = effects->persist.hard_state,
        .term = effects->persist.term,
        .vote = effects->persist.vote,
        .truncate_from = effects->persist.truncate_from,
        .lo = effects->persist.lo,
        .hi = effects->persist.hi,
    };
}

void safety_durable_synced(struct safety *s, uint32_t host, uint64_t ordinal)
{
    struct watched *h = &s->hosts[host];
    size_t done = 0;
    while (done < h->writes_count && h->writes[done].jobs_started < ordinal) {
        const struct pending_write *w = &h->writes[done++];
        if (w->hard_state) {
            h->durable_term = w->term;
            h->durable_vote = w->vote;
        }
        if (w->hi > w->lo) {
            h->durable_index = w->hi - 1;
        }
        /* Entries of this write that a later one has dropped do not count. */
        for (size_t later = done; later < h->writes_count; later++) {
            raft_index from = h->writes[later].truncate_from;
            if (from != 0 && h->durable_index >= from) {
                h->durable_index = from - 1;
            }
        }
    }
    if (done > 0) {
        memmove(h->writes, h->writes + done, (h->writes_count - done) * sizeof *h->writes);
        h->writes_count -= done;
    }
}

void safety_durable_sent(struct safety *s, uint32_t host, const struct raft_message *m)
{
    struct watched *h = &s->hosts[host];
    if (m->term > h->durable_term) {
        safety_fail(s, host, "nothing is said before it is durable",
                    "%s in term %llu, while the disk has term %llu at most",
                    raft_message_name(m->type), (unsigned long long)m->term,
                    (unsigned long long)h->durable_term);
    }
    if (m->term > h->promised_term) {
        h->promised_term = m->term;
    }
    raft_id vote = 0;
    if (m->type == RAFT_MESSAGE_VOTE) {
        vote = s->options.ids[host];
    } else if (m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.granted) {
        vote = m->to;
    }
    if (vote != 0 && m->term == h->durable_term && h->durable_vote != vote) {
        safety_fail(s, host, "nothing is said before it is durable",
                    "a vote for %016llx in term %llu, while the disk has one for %016llx",
                    (unsigned long long)vote, (unsigned long long)m->term,
                    (unsigned long long)h->durable_vote);
    }
    bool accepts = m->type == RAFT_MESSAGE_APPEND_REPLY && !m->append_reply.rejected;
    bool installed =
        m->type == RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY && m->install_snapshot_reply.installed;
    if (accepts || installed) {
        raft_index match = accepts ? m->append_reply.match : m->install_snapshot_reply.last.index;
        if (match > h->durable_index) {
            safety_fail(s, host, "nothing is said before it is durable",
                        "it acknowledges up to %llu, while the disk has %llu at most",
                        (unsigned long long)match, (unsigned long long)h->durable_index);
        }
        if (match > h->promised_index) {
            h->promised_index = match;
            h->promised_hash = safety_log_hash(s, host, match);
        }
    }
}

bool safety_durable_on_majority(const struct safety *s, uint32_t voters, raft_index index,
                                uint64_t hash)
{
    uint32_t holders = 0, all = 0;
    for (uint32_t i = 0; i < s->options.hosts; i++) {
        if ((voters >> i & 1) != 0) {
            const struct watched *h = &s->hosts[i];
            all++;
            holders += h->durable_index >= index && safety_log_hash(s, i, index) == hash;
        }
    }
    return holders * 2 > all;
}

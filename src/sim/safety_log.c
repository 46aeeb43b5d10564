/* What the logs hold, what is committed and applied. */
#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/safety_internal.h"
#include "wire/reader.h"

uint64_t safety_log_hash(const struct safety *s, uint32_t host, raft_index index)
{
    const struct watched *h = &s->hosts[host];
    return index <= h->length && h->hashes != NULL ? h->hashes[index] : 0;
}

static void push_hash(struct safety *s, uint32_t host, uint64_t hash)
{
    struct watched *h = &s->hosts[host];
    if (h->length + 1 >= h->capacity) {
        h->capacity = h->capacity == 0 ? 256 : h->capacity * 2;
        h->hashes = alloc_resize(h->hashes, h->capacity, sizeof *h->hashes);
        h->hashes[0] = 0;
        h->voters = alloc_resize(h->voters, h->capacity, sizeof *h->voters);
        h->voters[0] = s->options.voters;
    }
    const uint64_t *voters = sim_map_get(&s->configs, (struct sim_key){.a = hash, .b = 0});
    h->hashes[++h->length] = hash;
    h->voters[h->length] = voters != NULL ? (uint32_t)*voters : h->voters[h->length - 1];
}

/* An entry with a configuration: who votes from here on (thesis §4.1). */
static void note_config(struct safety *s, uint32_t host, uint64_t hash, struct bytes body)
{
    struct entry entry;
    struct membership members;
    if (entry_decode(body, &entry) != ERR_OK || entry.kind != ENTRY_CONFIG) {
        return;
    }
    if (membership_decode(entry.payload, &members) != ERR_OK) {
        safety_fail(s, host, "log", "an entry with members that cannot be read");
        return;
    }
    uint32_t voters = 0;
    for (uint32_t i = 0; i < s->options.hosts; i++) {
        const struct membership_member *m = membership_find(&members, s->options.ids[i]);
        voters |= m != NULL && m->voter ? UINT32_C(1) << i : 0;
    }
    sim_map_put(&s->configs, (struct sim_key){.a = hash, .b = 0}, voters);
}

uint32_t safety_log_voters(const struct safety *s, uint32_t host)
{
    const struct watched *h = &s->hosts[host];
    return h->length > 0 ? h->voters[h->length] : s->options.voters;
}

/* The next entry of the host's log: its place among all that were ever written. */
static void take_entry(struct safety *s, uint32_t host, const struct raft *core)
{
    struct watched *h = &s->hosts[host];
    raft_index index = h->length + 1;
    raft_term term = raft_term_at(core, index);
    const struct sim_key key = {.a = index, .b = term};
    uint64_t before = safety_log_hash(s, host, index - 1);
    raft_term logged_term;
    struct bytes body;
    if (!node_log_entry(h->node, index, &logged_term, &body)) {
        const uint64_t *known = sim_map_get(&s->prefixes, key);
        if (known == NULL) {
            safety_fail(s, host, "log matching", "entry (%llu, term %llu) comes from nowhere",
                        (unsigned long long)index, (unsigned long long)term);
        }
        push_hash(s, host, known != NULL ? *known : 0);
        return;
    }
    if (logged_term != term) {
        safety_fail(
            s, host, "log matching", "entry %llu has term %llu in the core and %llu in the node",
            (unsigned long long)index, (unsigned long long)term, (unsigned long long)logged_term);
    }
    uint64_t hash = safety_hash(safety_hash(before, term), XXH3_64bits(body.data, body.size)) | 1;
    if (sim_map_put(&s->prefixes, key, hash) != hash) {
        safety_fail(
            s, host, "log matching",
            "its log up to (%llu, term %llu) differs from another with the same entry there",
            (unsigned long long)index, (unsigned long long)term);
    }
    note_config(s, host, hash, body);
    push_hash(s, host, hash);
}

static void take_appended(struct safety *s, uint32_t host)
{
    struct watched *h = &s->hosts[host];
    const struct raft *core = node_raft(h->node);
    raft_index last = raft_last_index(core);
    if (last < h->length) {
        safety_fail(s, host, "log", "%llu entries vanished without a truncation",
                    (unsigned long long)(h->length - last));
        h->length = last;
    }
    while (h->length < last && !s->failed) {
        take_entry(s, host, core);
    }
}

void safety_log_replaced(struct safety *s, uint32_t host, struct raft_pos base)
{
    struct watched *h = &s->hosts[host];
    h->length = 0;
    if (base.index == 0) {
        return;
    }
    const struct sim_key key = {.a = base.index, .b = base.term};
    const uint64_t *known = sim_map_get(&s->prefixes, key);
    if (base.index > s->committed_count || known == NULL ||
        *known != s->committed[base.index].hash) {
        safety_fail(s, host, "snapshots hold what was committed",
                    "its log begins after (%llu, term %llu), which nobody has committed",
                    (unsigned long long)base.index, (unsigned long long)base.term);
        return;
    }
    for (raft_index i = 1; i <= base.index; i++) {
        push_hash(s, host, s->committed[i].hash);
    }
}

/* What it acknowledged once may have been replaced by what was committed instead. Then its word is
 * good for that, from now on. */
static void follow_promise(struct safety *s, uint32_t host, raft_index base)
{
    struct watched *h = &s->hosts[host];
    if (base > 0 && base <= s->committed_count &&
        safety_log_hash(s, host, base) != s->committed[base].hash) {
        h->promised_index = base;
        h->promised_hash = s->committed[base].hash;
    }
}

void safety_log_started(struct safety *s, uint32_t host)
{
    struct watched *h = &s->hosts[host];
    raft_status(node_raft(h->node), &s->status);
    struct raft_pos base = s->status.snapshot;
    follow_promise(s, host, base.index);
    safety_log_replaced(s, host, base);
    take_appended(s, host);
    safety_log_restored(s, host, h->last_applied);
}

void safety_log_truncated(struct safety *s, uint32_t host, raft_index from)
{
    struct watched *h = &s->hosts[host];
    if (from <= h->length) {
        h->length = from - 1;
    }
}

/* ---- committed ------------------------------------------------------------------------------ */

static struct committed *committed_at(struct safety *s, raft_index index)
{
    while (index >= s->committed_capacity) {
        s->committed_capacity = s->committed_capacity == 0 ? 1024 : s->committed_capacity * 2;
        s->committed = alloc_resize(s->committed, s->committed_capacity, sizeof *s->committed);
    }
    while (s->committed_count < index) {
        s->committed[++s->committed_count] = (struct committed){0};
    }
    return &s->committed[index];
}

/* The first to see these committed is their leader: they must survive the loss of a minority. */
static void newly_committed(struct safety *s, uint32_t host)
{
    const struct watched *h = &s->hosts[host];
    raft_index lo = s->committed_count + 1;
    raft_index hi = h->commit_index;
    for (raft_index i = lo; i <= hi; i++) {
        struct committed *c = committed_at(s, i);
        c->hash = safety_log_hash(s, host, i);
        c->term = h->term;
    }
    /* §5.4.2: what a leader commits by counting replicas is of its own term. */
    raft_term term = raft_term_at(node_raft(h->node), hi);
    if (h->role == RAFT_LEADER && term != h->term) {
        safety_fail(s, host, "own-term commit",
                    "the leader of term %llu commits up to entry %llu, which is of term %llu",
                    (unsigned long long)h->term, (unsigned long long)hi, (unsigned long long)term);
    }
    if (!safety_durable_on_majority(s, safety_log_voters(s, host), hi,
                                    safety_log_hash(s, host, hi))) {
        safety_fail(s, host, "committed means durable on a majority",
                    "entry %llu is committed in term %llu, but is not on the disks of a majority",
                    (unsigned long long)hi, (unsigned long long)h->term);
    }
}

static void check_committed(struct safety *s, uint32_t host)
{
    const struct watched *h = &s->hosts[host];
    if (h->commit_index > h->length) {
        safety_fail(s, host, "commit index", "commit index %llu, last entry %llu",
                    (unsigned long long)h->commit_index, (unsigned long long)h->length);
        return;
    }
    if (h->commit_index > s->committed_count) {
        raft_index common = s->committed_count;
        if (common > 0 && s->committed[common].hash != safety_log_hash(s, host, common)) {
            safety_fail(s, host, "committed entries stay",
                        "its log differs from what was committed up to %llu",
                        (unsigned long long)common);
            return;
        }
        newly_committed(s, host);
    } else if (h->commit_index > 0 &&
               s->committed[h->commit_index].hash != safety_log_hash(s, host, h->commit_index)) {
        safety_fail(s, host, "committed entries stay",
                    "its log differs from what was committed up to %llu",
                    (unsigned long long)h->commit_index);
    }
}

/* §5.4: what was committed in an earlier term is in the new leader's log. */
static void check_completeness(struct safety *s, uint32_t host)
{
    struct watched *h = &s->hosts[host];
    raft_term term = h->leader_since;
    if (term == 0) {
        return;
    }
    h->leader_since = 0;
    raft_index i = s->committed_count;
    while (i > 0 && s->committed[i].term >= term) {
        i--;
    }
    if (i > 0 && safety_log_hash(s, host, i) != s->committed[i].hash) {
        safety_fail(s, host, "leader completeness",
                    "the leader of term %llu has not what was committed up to %llu in term %llu",
                    (unsigned long long)term, (unsigned long long)i,
                    (unsigned long long)s->committed[i].term);
    }
}

void safety_log_handled(struct safety *s, uint32_t host)
{
    take_appended(s, host);
    if (!s->failed) {
        check_completeness(s, host);
        check_committed(s, host);
    }
}

/* ---- applied -------------------------------------------------------------------------------- */

/* The value in ["set", {key =, value =}]; empty if the payload is something else. */
static struct bytes command_value(struct bytes payload)
{
    struct bytes value = {0};
    struct reader r = reader_of(payload);
    read_array_of(&r, 2);
    read_skip(&r);
    uint32_t fields = reader_peek(&r) == WIRE_MAP ? read_map(&r) : 0;
    for (uint32_t i = 0; i < fields && r.err == ERR_OK; i++) {
        struct bytes field = read_str(&r, payload.size);
        if (bytes_is(field, "value")) {
            value = read_str_or_bin(&r, payload.size);
        } else {
            read_skip(&r);
        }
    }
    return reader_end(&r) == ERR_OK ? value : (struct bytes){0};
}

/* The two ways to know a command again: the number that it has in its session, and, where every
 * client writes values of its own, the value: that tells too when sessions themselves are at fault.
 */
static struct sim_key number_key(const struct entry *entry)
{
    return (struct sim_key){.a = XXH3_64bits(entry->session, sizeof entry->session),
                            .b = entry->seq << 1};
}

static struct sim_key value_key(struct bytes value)
{
    return (struct sim_key){.a = XXH3_64bits(value.data, value.size), .b = 1};
}

static void check_once(struct safety *s, uint32_t host, raft_index index, struct sim_key key,
                       struct bytes value)
{
    raft_index first = sim_map_put(&s->commands, key, index);
    if (first != index) {
        safety_fail(s, host, "each command once", "%.*s took effect at %llu and again at %llu",
                    (int)value.size, (const char *)value.data, (unsigned long long)first,
                    (unsigned long long)index);
    }
}

raft_index safety_command_index(const struct safety *s, struct bytes value)
{
    const uint64_t *index = sim_map_get(&s->commands, value_key(value));
    return index != NULL ? *index : 0;
}

static uint64_t state_hash_of(const struct safety *s, uint32_t host)
{
    const struct state_hash state = state_hash(node_state(s->hosts[host].node));
    return safety_hash(state.lo, state.hi) | 1;
}

void safety_log_restored(struct safety *s, uint32_t host, raft_index last)
{
    if (last == 0 || s->failed) {
        return;
    }
    s->stats.restored++;
    if (last > s->committed_count || s->committed[last].state_hash != state_hash_of(s, host)) {
        safety_fail(s, host, "a snapshot restores what replaying gives",
                    "its state at %llu is not that of the nodes that came there by applying",
                    (unsigned long long)last);
    }
}

void safety_log_applied(struct safety *s, uint32_t host, struct raft_pos pos,
                        const struct entry *entry, enum err outcome, bool duplicate)
{
    const struct state_hash state = state_hash(node_state(s->hosts[host].node));
    uint64_t hash = safety_hash(pos.term, (uint64_t)entry->kind);
    hash = safety_hash(hash, (uint64_t)outcome << 1 | duplicate);
    hash = safety_hash(hash, XXH3_64bits(entry->payload.data, entry->payload.size));
    hash = safety_hash(hash, (uint64_t)entry->time_ms);
    hash = safety_hash(hash, state.lo);
    hash = safety_hash(hash, state.hi) | 1;
    world_mix(s->world, pos.index, hash);
    if (pos.index > s->committed_count) {
        safety_log_handled(s, host);
    }
    struct committed *c = committed_at(s, pos.index);
    if (c->applied_hash == 0) {
        c->applied_hash = hash;
        c->state_hash = state_hash_of(s, host);
        s->stats.configs += entry->kind == ENTRY_CONFIG;
        s->stats.duplicates += duplicate;
    } else if (c->applied_hash != hash) {
        safety_fail(s, host, "state machine safety",
                    "entry %llu (term %llu), its outcome (%s%s) or the state after it differs from "
                    "that of another node",
                    (unsigned long long)pos.index, (unsigned long long)pos.term, err_name(outcome),
                    duplicate ? ", duplicate" : "");
    }
    if (entry->kind == ENTRY_COMMAND && outcome == ERR_OK && !duplicate) {
        struct bytes value = command_value(entry->payload);
        if (s->options.unique_values && value.size > 0) {
            check_once(s, host, pos.index, value_key(value), value);
        } else if (entry->seq > 0) {
            check_once(s, host, pos.index, number_key(entry), bytes_of_string("a command"));
        }
    }
}

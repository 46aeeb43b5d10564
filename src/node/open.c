/* Opening a node: recovery from disk, and its opposite. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/reader.h"

enum {
    DEFAULT_PENDING_MAX = 65536,
    DEFAULT_PROPOSAL_BYTES = 1 << 20,
    DEFAULT_CACHE_BYTES = 16 << 20,
    DEFAULT_SESSION_TTL_MS = 3600 * 1000,
};

uint64_t node_cluster_id(const char *cluster, const struct membership *members)
{
    struct buffer text = {0};
    buffer_add(&text, cluster, strlen(cluster) + 1);
    /* Independent of the order in which a config file lists them. */
    raft_id below = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct membership_member *next = NULL;
        for (uint32_t j = 0; j < members->count; j++) {
            const struct membership_member *m = &members->at[j];
            if (m->id > below && (next == NULL || m->id < next->id)) {
                next = m;
            }
        }
        ASSERT(next != NULL); /* ids are distinct and not 0 */
        buffer_add(&text, next->name, strlen(next->name) + 1);
        below = next->id;
    }
    uint64_t id = XXH3_64bits(text.data, text.size);
    buffer_close(&text);
    return id != 0 ? id : 1;
}

/* What recovery found, entry by entry, until the core exists. */
struct recovery {
    struct snapshot_about about;
    struct state_hash hash; /* that the snapshot states */
    struct raft_entry *entries;
    size_t count, capacity;
    enum err err;
};

static enum err recovered_snapshot(void *ctx, const struct store_snapshot *snapshot,
                                   struct why *why)
{
    struct node *n = ctx;
    struct recovery *r = n->recovery;
    enum err e = snapshot_about_decode(snapshot->about, &r->about);
    if (e != ERR_OK) {
        return err_why(why, e,
                       "what the snapshot in %s says about itself cannot be read by this version "
                       "(%s): start the version that wrote it",
                       n->ports.fs->v->path(n->ports.fs->ctx), err_message(e));
    }
    r->hash = snapshot->hash;
    state_restore_begin(n->state);
    return ERR_OK;
}

static enum err recovered_pair(void *ctx, struct bytes key, struct bytes value)
{
    struct node *n = ctx;
    return state_restore_add(n->state, key, value);
}

static enum err recovered_state(void *ctx, struct why *why)
{
    struct node *n = ctx;
    const struct recovery *r = n->recovery;
    enum err e = state_restore_end(n->state, &r->hash);
    if (e != ERR_OK) {
        return err_why(why, e, "the snapshot in %s does not hold what its hash says",
                       n->ports.fs->v->path(n->ports.fs->ctx));
    }
    members_replace(n, 0, &r->about.members);
    n->apply.time_ms = r->about.time_ms;
    n->log_time_ms = r->about.time_ms;
    apply_find_scope(n);
    return machines_reload(n->machines, why);
}

static void recovered_entry(void *ctx, uint64_t index, uint64_t term, struct slice body)
{
    struct node *n = ctx;
    struct recovery *r = n->recovery;
    if (r->count == 0) {
        log_cache_reset(&n->log, index);
    }
    if (r->count == r->capacity) {
        r->capacity = r->capacity == 0 ? 1024 : r->capacity * 2;
        r->entries = alloc_resize(r->entries, r->capacity, sizeof *r->entries);
    }
    struct entry entry;
    enum err e = entry_decode(slice_bytes(body), &entry);
    if (e == ERR_OK && entry.kind == ENTRY_CONFIG) {
        e = members_append(n, index, entry.payload);
    }
    if (e != ERR_OK && r->err == ERR_OK) {
        r->err = e;
    }
    if (e == ERR_OK && entry.time_ms > n->log_time_ms) {
        n->log_time_ms = entry.time_ms;
    }
    r->entries[r->count++] = (struct raft_entry){
        .term = term,
        .size_bytes = (uint32_t)body.size,
        .is_config = e == ERR_OK && entry.kind == ENTRY_CONFIG,
    };
    log_cache_add_take(&n->log, term, slice_ref(body));
    log_cache_durable(&n->log, (struct raft_pos){.index = index, .term = term});
}

static void start_core(struct node *n, const struct store_recovered *recovered,
                       const struct recovery *recovery)
{
    struct raft_options options = n->options.raft;
    options.self = n->id;
    options.seed = entropy_u64(n->ports.entropy);
    struct raft_boot boot = {
        .now_us = node_now(n),
        .term = recovered->term,
        .vote = recovered->vote,
        .snapshot = {.index = recovered->base.index, .term = recovered->base.term},
        .incoming = {.index = recovered->incoming.index, .term = recovered->incoming.term},
        .incoming_bytes = recovered->incoming_bytes,
    };
    membership_to_raft(&n->members.stack[0].members, &boot.members);
    struct guardian_page *page = n->ports.page;
    bool known = page_read_promise(page, &boot.promise);
    if ((page->guardian_is_new && !recovered->fresh) || !known) {
        /* Whatever was promised before is forgotten; the longest promise is over by then. */
        uint64_t drift_us = options.lease_us * options.drift_permille / 1000;
        page->quiet_until_us = boot.now_us + options.lease_us + 2 * drift_us;
    }
    boot.quiet_until_us = page->quiet_until_us;
    n->raft = raft_new(&options, &boot);
    size_t config = 1;
    for (size_t i = 0; i < recovery->count; i++) {
        struct raft_members members;
        bool is_config = recovery->entries[i].is_config;
        if (is_config) {
            membership_to_raft(&n->members.stack[config++].members, &members);
        }
        raft_restore(n->raft, recovery->entries[i], is_config ? &members : NULL);
    }
    raft_restore_committed(n->raft, recovered->snapshot.index);
}

static void copy_options(struct node *n, const struct node_options *options)
{
    n->options = *options;
    n->name = alloc_string(options->name);
    n->cluster = alloc_string(options->cluster);
    n->client_address =
        alloc_string(options->client_address != NULL ? options->client_address : "");
    n->http_address = alloc_string(options->http_address != NULL ? options->http_address : "");
    n->peer_address = alloc_string(options->peer_address != NULL ? options->peer_address : "");
    struct node_options *o = &n->options;
    o->name = n->name;
    o->cluster = n->cluster;
    o->client_address = n->client_address;
    o->http_address = n->http_address;
    o->peer_address = n->peer_address;
    o->pending_max = o->pending_max != 0 ? o->pending_max : DEFAULT_PENDING_MAX;
    o->proposal_bytes_max =
        o->proposal_bytes_max != 0 ? o->proposal_bytes_max : DEFAULT_PROPOSAL_BYTES;
    o->cache_bytes_max = o->cache_bytes_max != 0 ? o->cache_bytes_max : DEFAULT_CACHE_BYTES;
    o->session_ttl_ms = o->session_ttl_ms != 0 ? o->session_ttl_ms : DEFAULT_SESSION_TTL_MS;
    n->id = options->id != 0 ? options->id : membership_id(options->name);
    n->cluster_id = node_cluster_id(options->cluster, &options->members);
}

static enum err open_machines(struct node *n, struct why *why)
{
    n->state = state_new();
    n->sessions =
        (struct sessions){.state = n->state, .ttl_ms = (int64_t)n->options.session_ttl_ms};
    struct machines_options options = {.state = n->state, .log = n->ports.log};
    n->machines = machines_new(&options, why);
    return n->machines != NULL ? ERR_OK : ERR_INVALID;
}

static enum err open_store(struct node *n, struct store_recovered *recovered,
                           struct recovery *recovery, struct why *why)
{
    struct store_options options = {
        .fs = n->ports.fs,
        .disk = n->ports.disk,
        .entropy = n->ports.entropy,
        .log = n->ports.log,
        .segment_bytes = n->options.segment_bytes,
        .cluster_id = n->cluster_id,
        .node_id = n->id,
        .cluster_name = n->cluster,
        .node_name = n->name,
        .ctx = n,
        .snapshot = recovered_snapshot,
        .pair = recovered_pair,
        .snapshot_end = recovered_state,
        .entry = recovered_entry,
        .durable = node_durable,
        .failed = node_disk_failed,
    };
    n->recovery = recovery;
    enum err e = store_open(&options, &n->store, recovered, why);
    n->recovery = NULL;
    if (e == ERR_OK && recovery->err != ERR_OK) {
        e = err_why(
            why, ERR_CORRUPT,
            "an entry of the log in %s passes its checksum but is not one that this version "
            "can read (%s): start the version that wrote it",
            n->ports.fs->v->path(n->ports.fs->ctx), err_message(recovery->err));
    }
    return e;
}

enum err node_open(const struct node_options *options, const struct node_ports *ports,
                   struct node **out, struct why *why)
{
    struct node *n = NEW(struct node);
    copy_options(n, options);
    n->ports = *ports;
    n->started_us = node_now(n);
    STAILQ_INIT(&n->ready);
    log_cache_init(&n->log, 1, n->options.cache_bytes_max);
    members_init(n, &options->members);
    sender_init(&n->sender);
    proposals_init(n);
    wakes_init(n);
    reads_init(n);
    relay_init(n);
    messages_init(n);
    snapshot_take_init(n);
    snapshot_install_init(n);

    struct store_recovered recovered;
    struct recovery recovery = {0};
    enum err e = open_machines(n, why);
    if (e == ERR_OK) {
        e = open_store(n, &recovered, &recovery, why);
    }
    if (e != ERR_OK) {
        free(recovery.entries);
        node_free(n);
        return e;
    }
    memcpy(n->storage_uuid, recovered.uuid, sizeof n->storage_uuid);
    if (recovery.count == 0) {
        log_cache_reset(&n->log, recovered.base.index + 1);
    }
    n->apply.last_applied = recovered.snapshot.index;
    n->commit_index = recovered.snapshot.index;
    n->compacted_index = recovered.base.index;
    start_core(n, &recovered, &recovery);
    free(recovery.entries);
    *out = n;
    return ERR_OK;
}

void node_set_script_host(struct node *n, struct script_host *host)
{
    n->scripts = host;
}

void node_start(struct node *n)
{
    n->started = true;
    page_write_identity(n);
    page_write_peers(n);
    sender_follow_members(n);
    news_view(n); /* before any script runs: a commit hook begins after what it shows as applied */
    node_want_round(n);
}

void node_free(struct node *n)
{
    if (n == NULL) {
        return;
    }
    n->started = false;
    n->stop.stage = STOP_DONE; /* whoever calls from inside an answer is refused */
    stop_close(n);
    change_close(n);
    wakes_close(n);
    proposals_close(n);
    reads_give_up(n);
    relay_close(n);
    messages_close(n);
    snapshot_take_close(n);
    node_give_ready_answers(n);
    snapshot_install_close(n);
    store_close(n->store);
    sender_close(n);
    feed_end(n);
    apply_close(n);
    machines_free(n->machines);
    state_free(n->state);
    raft_free(n->raft);
    log_cache_close(&n->log);
    members_close(n);
    raft_decoded_close(&n->decoded);
    buffer_close(&n->scratch);
    buffer_close(&n->bodies);
    buffer_close(&n->news.fields);
    free(n->name);
    free(n->cluster);
    free(n->client_address);
    free(n->http_address);
    free(n->peer_address);
    free(n);
}

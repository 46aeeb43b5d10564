/* Receiving a snapshot and putting it in the place of everything this node has.
 *
 *     chunks come in -> stored; the last one makes the store verify the whole
 *     LOADING   the new state is built from the file beside the old one, which still answers reads
 *     PLACING   on disk the snapshot takes the place of the one before and of the log
 *     at once:  state, machines, applied index, log cache, members, feed; then the core
 *
 * A crash before the file is in place leaves everything as it was; after that, a start finds the
 * snapshot. From the last chunk on the core takes no entries and answers for what it had: votes and
 * heartbeats go on, so a new leader may come and go meanwhile, and finds the snapshot installed. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"

enum {
    SLICE_US = 1000,
    PAIRS_BETWEEN_LOOKS = 64, /* at the clock */
};

void snapshot_install_init(struct node *n)
{
    STAILQ_INIT(&n->snapshot_install.chunks);
}

void snapshot_install_close(struct node *n)
{
    struct snapshot_install *in = &n->snapshot_install;
    struct incoming_chunk *chunk;
    while ((chunk = STAILQ_FIRST(&in->chunks)) != NULL) {
        STAILQ_REMOVE_HEAD(&in->chunks, link);
        slice_close(&chunk->receive.bytes);
        free(chunk);
    }
    store_load_close(&in->load);
}

bool snapshot_install_busy(const struct node *n)
{
    return n->snapshot_install.stage != INSTALL_NONE;
}

/* ---- giving up ------------------------------------------------------------------------------ */

/* The leader sends it again, from the beginning, for ever if need be: told once. */
static void complain(struct node *n, const char *message, enum err err, const struct why *why)
{
    struct snapshot_install *in = &n->snapshot_install;
    LOG_AT(n->ports.log, in->complained ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, message,
           log_text("err", err_name(err)), log_text("reason", why->text));
    in->complained = true;
}

static void tell_core_failed(struct node *n, struct raft_pos last)
{
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_INSTALLED,
                               .now_us = node_now(n),
                               .snapshot_installed = {.last = last, .ok = false}};
    node_turn(n, &event);
}

/* Before the file was put in place: everything is as it was. */
static void give_up(struct node *n, enum err err, const struct why *why)
{
    struct snapshot_install *in = &n->snapshot_install;
    complain(n, "the leader's snapshot could not be installed", err, why);
    state_restore_cancel(n->state);
    store_load_close(&in->load);
    store_drop_incoming(n->store);
    in->stage = INSTALL_NONE;
    in->block_at_hand = false;
    tell_core_failed(n, in->last);
    node_want_round(n);
}

/* ---- in place: everything changes ----------------------------------------------------------- */

static void change_over(struct node *n)
{
    struct snapshot_install *in = &n->snapshot_install;
    raft_index before = n->apply.last_applied;
    enum err e = state_restore_end(n->state, NULL); /* the hash was compared when it was whole */
    ASSERT(e == ERR_OK);
    struct why why = {""};
    enum err loaded = machines_reload(n->machines, &why);
    apply_replaced(n, in->last.index, in->about.time_ms);
    n->snapshot_take.log_bytes = 0;
    n->compacted_index = in->last.index;
    log_cache_reset(&n->log, in->last.index + 1);
    members_replace(n, in->last.index, &in->about.members);
    in->stage = INSTALL_NONE;
    if (n->options.observer.restored != NULL) {
        n->options.observer.restored(n->options.observer.ctx, in->last);
    }
    struct raft_members members;
    membership_to_raft(&in->about.members, &members);
    struct raft_event event = {
        .type = RAFT_EVENT_SNAPSHOT_INSTALLED,
        .now_us = node_now(n),
        .snapshot_installed = {.last = in->last, .members = &members, .ok = true}};
    node_turn(n, &event);
    if (loaded != ERR_OK) {
        apply_stop(n, loaded, why.text);
        return;
    }
    proposals_skipped(n);
    log_info(n->ports.log, "snapshot installed", log_u64("index", in->last.index),
             log_u64("before", before), log_u64("bytes", in->bytes),
             log_u64("took_ms", (node_now(n) - in->began_us) / 1000));
    news_snapshot(n, "installed", store_snapshot(n->store), raft_leader(n->raft));
    n->view_stale = true;
    node_want_round(n);
}

static void placed(struct store_install *install)
{
    struct node *n = install->ctx;
    struct snapshot_install *in = &n->snapshot_install;
    if (install->err != ERR_OK) {
        /* The disk failed, and the store has said so: the node ends. */
        state_restore_cancel(n->state);
        in->stage = INSTALL_NONE;
        tell_core_failed(n, in->last);
        return;
    }
    in->complained = false;
    change_over(n);
}

/* ---- building the state --------------------------------------------------------------------- */

static void loaded(struct node *n)
{
    struct snapshot_install *in = &n->snapshot_install;
    const struct store_snapshot *s = store_incoming(n->store);
    ASSERT(s != NULL);
    if (!state_hash_equal(state_restore_hash(n->state), s->hash)) {
        struct why why = {""};
        err_why(&why, ERR_CORRUPT, "its contents do not have the hash that it states");
        give_up(n, ERR_CORRUPT, &why);
        return;
    }
    store_load_close(&in->load);
    in->stage = INSTALL_PLACING;
    in->install = (struct store_install){.done = placed, .ctx = n};
    store_install(n->store, &in->install);
}

static void block_done(struct store_load *load)
{
    struct node *n = load->ctx;
    struct snapshot_install *in = &n->snapshot_install;
    if (load->err != ERR_OK) {
        give_up(n, load->err, &load->why);
    } else if (load->end) {
        loaded(n);
    } else {
        in->block_at_hand = true;
        node_want_round(n);
    }
}

bool snapshot_install_slice(struct node *n)
{
    struct snapshot_install *in = &n->snapshot_install;
    if (in->stage != INSTALL_LOADING || !in->block_at_hand) {
        return false;
    }
    uint64_t began_us = node_now(n);
    struct bytes key, value;
    for (uint32_t pairs = 1; store_load_pair(&in->load, &key, &value); pairs++) {
        enum err e = state_restore_add(n->state, key, value);
        if (e != ERR_OK) {
            struct why why = {""};
            err_why(&why, e, "a pair in it cannot be taken: %s", err_message(e));
            give_up(n, e, &why);
            return false;
        }
        if (pairs % PAIRS_BETWEEN_LOOKS == 0 && node_now(n) - began_us > SLICE_US) {
            return true;
        }
    }
    in->block_at_hand = false;
    store_load(n->store, &in->load);
    return false;
}

static void load(struct node *n)
{
    struct snapshot_install *in = &n->snapshot_install;
    const struct store_snapshot *s = store_incoming(n->store);
    ASSERT(s != NULL);
    in->bytes = s->bytes;
    enum err e = snapshot_about_decode(s->about, &in->about);
    in->stage = INSTALL_LOADING;
    state_restore_begin(n->state);
    if (e != ERR_OK) {
        struct why why = {""};
        err_why(&why, e, "what it says about itself cannot be read: %s", err_message(e));
        give_up(n, e, &why);
        return;
    }
    in->load = (struct store_load){.incoming = true, .done = block_done, .ctx = n};
    store_load(n->store, &in->load);
}

/* ---- chunks --------------------------------------------------------------------------------- */

static void chunk_failed(struct node *n, const struct store_receive *r, struct raft_event *event)
{
    complain(n, "a part of the leader's snapshot could not be stored", r->err, &r->why);
    if (r->end) {
        tell_core_failed(n, event->chunk_stored.last);
        return;
    }
    event->chunk_stored.failed = true;
    node_turn(n, event);
}

static void chunk_done(struct store_receive *receive)
{
    struct node *n = receive->ctx;
    struct snapshot_install *in = &n->snapshot_install;
    struct incoming_chunk *chunk = STAILQ_FIRST(&in->chunks);
    ASSERT(&chunk->receive == receive); /* in order */
    STAILQ_REMOVE_HEAD(&in->chunks, link);
    struct raft_pos last = {.index = receive->last.index, .term = receive->last.term};
    struct raft_event event = {
        .type = RAFT_EVENT_SNAPSHOT_CHUNK_STORED,
        .now_us = node_now(n),
        .chunk_stored = {.last = last, .offset_bytes = receive->offset_bytes + receive->bytes.size},
    };
    if (receive->err != ERR_OK) {
        chunk_failed(n, receive, &event);
    } else {
        node_turn(n, &event);
        if (receive->end) {
            in->last = last;
            load(n);
        }
    }
    slice_close(&chunk->receive.bytes);
    free(chunk);
}

void snapshot_install_chunk(struct node *n, const struct raft_install_snapshot *s)
{
    struct snapshot_install *in = &n->snapshot_install;
    if (s->offset_bytes == 0 || s->last.index != in->coming.index ||
        s->last.term != in->coming.term) {
        in->coming = s->last;
        in->began_us = node_now(n);
        LOG_AT(n->ports.log, in->complained ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
               "receiving a snapshot", log_text("peer", members_name(n, n->decoded.message.from)),
               log_u64("index", s->last.index), log_u64("from_byte", s->offset_bytes));
    }
    struct incoming_chunk *chunk = NEW(struct incoming_chunk);
    chunk->receive = (struct store_receive){
        .last = {.index = s->last.index, .term = s->last.term},
        .offset_bytes = s->offset_bytes,
        .bytes = raft_decoded_chunk(&n->decoded),
        .end = s->done,
        .done = chunk_done,
        .ctx = n,
    };
    STAILQ_INSERT_TAIL(&in->chunks, chunk, link);
    store_receive(n->store, &chunk->receive);
}

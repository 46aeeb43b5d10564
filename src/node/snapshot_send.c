/* Sending the snapshot in place to a follower. */
#include "base/assert.h"
#include "node/node_internal.h"

enum {
    CHUNK_BYTES_DEFAULT = 256 << 10,
    WINDOW_CHUNKS = 4,
    RESTART_WAIT_MAX_US = 10000000,
};

static size_t chunk_bytes(const struct node *n)
{
    uint32_t bytes = n->options.snapshot.chunk_bytes;
    return bytes != 0 ? bytes : CHUNK_BYTES_DEFAULT;
}

/* An answer that takes longer is taken for lost. Being wrong costs a chunk. */
static uint64_t patience_us(const struct node *n)
{
    return n->options.raft.election_max_us;
}

static struct outlet *outlet_of(struct snapshot_stream *s)
{
    return (struct outlet *)((char *)s - offsetof(struct outlet, stream));
}

/* ---- the end -------------------------------------------------------------------------------- */

/* A piece on its way from the disk still needs what is held: read_done() goes on then. begin_us:
 * when another may begin. */
static void let_go(struct node *n, struct snapshot_stream *s, uint64_t begin_us)
{
    s->begin_us = begin_us;
    s->due_us = begin_us;
    s->letting_go = s->reading;
    if (s->reading) {
        return;
    }
    slice_close(&s->piece.bytes);
    if (s->held != NULL) {
        store_unhold(n->store, s->held);
        s->held = NULL;
    }
    s->stored_bytes = 0;
    s->next_bytes = 0;
    s->resting = false;
}

void snapshot_send_stop(struct node *n, struct outlet *o)
{
    o->stream.active = false;
    let_go(n, &o->stream, 0);
}

/* ---- chunks --------------------------------------------------------------------------------- */

static void fill_window(struct node *n, struct snapshot_stream *s);

static void send_piece(struct node *n, struct snapshot_stream *s)
{
    struct outlet *o = outlet_of(s);
    uint64_t now_us = node_now(n);
    struct raft_event event = {
        .type = RAFT_EVENT_SNAPSHOT_SEND,
        .now_us = now_us,
        .snapshot_send = {.to = o->id,
                          .last = {.index = s->held->last.index, .term = s->held->last.term},
                          .offset_bytes = s->next_bytes,
                          .size_bytes = (uint32_t)s->piece.bytes.size,
                          .done = s->piece.end},
    };
    if (s->next_bytes == s->stored_bytes) {
        s->due_us = now_us + patience_us(n);
    }
    s->next_bytes += s->piece.bytes.size;
    s->whole = s->whole || s->piece.end;
    n->sender.chunk = slice_bytes(s->piece.bytes);
    node_turn(n, &event);
    n->sender.chunk = (struct bytes){0};
    slice_close(&s->piece.bytes);
    if (n->turn_result != ERR_OK) {
        snapshot_send_stop(n, o); /* no leader any more, or the peer has caught up */
    }
}

static void read_done(struct store_piece *piece)
{
    struct snapshot_stream *s =
        (struct snapshot_stream *)((char *)piece - offsetof(struct snapshot_stream, piece));
    struct node *n = piece->ctx;
    s->reading = false;
    if (s->letting_go) {
        let_go(n, s, s->begin_us);
        return;
    }
    if (piece->err != ERR_OK) {
        log_warn(n->ports.log, "could not read the snapshot for a follower",
                 log_text("peer", members_name(n, outlet_of(s)->id)),
                 log_text("reason", piece->why.text));
        /* From the beginning, with the one that is in place then. */
        let_go(n, s, node_now(n) + RESTART_WAIT_MAX_US);
        return;
    }
    if (piece->offset_bytes == s->next_bytes && !s->resting) {
        send_piece(n, s);
    } else {
        slice_close(&piece->bytes); /* meanwhile it goes on somewhere else */
    }
    fill_window(n, s);
}

static void fill_window(struct node *n, struct snapshot_stream *s)
{
    if (s->held == NULL || s->reading || s->resting || !outlet_of(s)->up) {
        return;
    }
    uint64_t window_bytes = (s->probing ? 1 : WINDOW_CHUNKS) * (uint64_t)chunk_bytes(n);
    if (s->next_bytes == s->held->bytes || s->next_bytes - s->stored_bytes >= window_bytes) {
        return;
    }
    s->reading = true;
    s->piece = (struct store_piece){.held = s->held,
                                    .offset_bytes = s->next_bytes,
                                    .bytes_max = chunk_bytes(n),
                                    .done = read_done,
                                    .ctx = n};
    store_piece(n->store, &s->piece);
}

/* What the peer has; what was on its way beyond that counts as lost. */
static void go_to(struct node *n, struct snapshot_stream *s, uint64_t offset_bytes)
{
    s->stored_bytes = offset_bytes;
    s->next_bytes = offset_bytes;
    s->probing = true;
    s->resting = false;
    s->moved_us = node_now(n);
    s->due_us = s->moved_us + patience_us(n);
}

static void begin(struct node *n, struct snapshot_stream *s)
{
    s->held = store_hold(n->store);
    if (s->held == NULL) { /* the core compacts only what a snapshot holds */
        s->due_us = node_now(n) + patience_us(n);
        return;
    }
    s->began_us = node_now(n);
    s->whole = false;
    log_info(n->ports.log, "sending a snapshot",
             log_text("peer", members_name(n, outlet_of(s)->id)),
             log_u64("index", s->held->last.index), log_u64("bytes", s->held->bytes));
    go_to(n, s, 0);
    fill_window(n, s);
}

/* ---- what happens --------------------------------------------------------------------------- */

void snapshot_send_needed(struct node *n, raft_id peer)
{
    struct outlet *o = sender_outlet(n, peer);
    if (o == NULL) {
        return;
    }
    struct snapshot_stream *s = &o->stream;
    if (s->active && s->held != NULL && s->held == store_snapshot(n->store)) {
        return; /* that is the one under way */
    }
    s->active = true;
    s->restarts = 0;
    let_go(n, s, node_now(n)); /* begins when it is due: this is inside a turn */
    node_want_round(n);
}

static void installed(struct node *n, struct outlet *o)
{
    struct snapshot_stream *s = &o->stream;
    log_info(n->ports.log, "a follower has installed the snapshot",
             log_text("peer", members_name(n, o->id)), log_u64("index", s->held->last.index),
             log_u64("took_ms", (node_now(n) - s->began_us) / 1000));
    news_snapshot(n, "sent", s->held, o->id);
    snapshot_send_stop(n, o);
}

/* The peer has stored more. It may be more than was sent: a part from before, or from another. */
static void advance(struct node *n, struct snapshot_stream *s, uint64_t offset_bytes)
{
    s->stored_bytes = offset_bytes;
    if (s->next_bytes < offset_bytes) {
        s->next_bytes = offset_bytes;
    }
    s->probing = false;
    s->resting = false;
    s->moved_us = node_now(n);
    s->due_us = s->moved_us + patience_us(n);
}

/* A chunk was lost, or the peer has lost what it had: then it is given time, each time more. */
static void go_back(struct node *n, struct snapshot_stream *s, uint64_t offset_bytes)
{
    bool gave_up = offset_bytes == 0 && s->whole; /* it had all of it, and it was not sound */
    bool lost_all = gave_up || offset_bytes < s->stored_bytes;
    go_to(n, s, offset_bytes);
    if (!lost_all) {
        return;
    }
    uint64_t wait_us = patience_us(n);
    for (uint32_t i = 0; i < s->restarts && wait_us < RESTART_WAIT_MAX_US; i++) {
        wait_us *= 2;
    }
    wait_us = wait_us < RESTART_WAIT_MAX_US ? wait_us : RESTART_WAIT_MAX_US;
    s->resting = s->restarts > 0;
    if (s->resting) {
        s->due_us = s->moved_us + wait_us;
    }
    s->restarts++;
    if (offset_bytes != 0) {
        return;
    }
    bool in_place = s->held == store_snapshot(n->store);
    if (in_place && s->whole && s->resting && !n->snapshot_take.renew) {
        log_warn(n->ports.log, "a follower gave up the whole snapshot again: taking a new one",
                 log_text("peer", members_name(n, outlet_of(s)->id)),
                 log_u64("index", s->held->last.index));
        snapshot_take_renew(n);
    }
    if (!in_place || s->resting) {
        /* The one in place by then will do as well, or better if this one is damaged. */
        let_go(n, s, s->moved_us + wait_us);
    }
    s->whole = false;
}

void snapshot_send_heard(struct node *n, const struct raft_message *m)
{
    if (m->type != RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY || !node_is_leader(n) ||
        m->term != raft_current_term(n->raft)) {
        return;
    }
    struct outlet *o = sender_outlet(n, m->from);
    const struct raft_install_snapshot_reply *reply = &m->install_snapshot_reply;
    if (o == NULL || !o->stream.active || o->stream.held == NULL || o->stream.letting_go ||
        reply->last.index != o->stream.held->last.index ||
        reply->last.term != o->stream.held->last.term) {
        return;
    }
    struct snapshot_stream *s = &o->stream;
    if (reply->installed) {
        installed(n, o);
        return;
    }
    if (reply->offset_bytes >= s->held->bytes) {
        return; /* it has no such answer: the last chunk is answered when all is installed */
    }
    if (reply->offset_bytes > s->stored_bytes) {
        advance(n, s, reply->offset_bytes);
    } else if (reply->sent_us >= s->moved_us && s->next_bytes > s->stored_bytes) {
        go_back(n, s, reply->offset_bytes);
    }
    fill_window(n, s);
}

/* Go on without an answer. */
static void make_a_move(struct node *n, struct snapshot_stream *s)
{
    struct outlet *o = outlet_of(s);
    if (!o->up || s->letting_go) {
        s->due_us = node_now(n) + patience_us(n);
    } else if (s->held == NULL) {
        begin(n, s);
    } else {
        go_to(n, s, s->stored_bytes);
        fill_window(n, s);
    }
}

void snapshot_send_link_up(struct node *n, raft_id peer)
{
    struct outlet *o = sender_outlet(n, peer);
    if (o != NULL && o->stream.active) {
        o->stream.due_us = node_now(n);
        node_want_round(n);
    }
}

void snapshot_send_leader_changed(struct node *n)
{
    if (node_is_leader(n)) {
        return; /* what its core asked for in this term is under way */
    }
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        snapshot_send_stop(n, n->sender.outlets[i]);
    }
}

void snapshot_send_newer(struct node *n)
{
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        struct outlet *o = n->sender.outlets[i];
        if (o->stream.active && !o->up) {
            let_go(n, &o->stream, node_now(n));
        }
    }
}

void snapshot_send_tick(struct node *n, uint64_t now_us)
{
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        struct snapshot_stream *s = &n->sender.outlets[i]->stream;
        if (s->active && now_us >= s->due_us) {
            make_a_move(n, s);
        }
    }
}

uint64_t snapshot_send_deadline(const struct node *n)
{
    uint64_t at = UINT64_MAX;
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        const struct snapshot_stream *s = &n->sender.outlets[i]->stream;
        if (s->active && s->due_us < at) {
            at = s->due_us;
        }
    }
    return at;
}

/* Core messages become frames. The bodies of entries come from the log cache, or, for a follower
 * that is far behind, from disk: then the append waits, in order with the others for that peer. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"

enum {
    HELD_MAX = 64, /* appends that wait for the disk, per peer; the core repeats the rest */
    READ_BYTES_MAX = 1 << 20, /* of a read for one of them */
};

void sender_init(struct sender *s)
{
    *s = (struct sender){0};
}

static void drop_first_held(struct outlet *o)
{
    struct held_append *held = STAILQ_FIRST(&o->held);
    STAILQ_REMOVE_HEAD(&o->held, link);
    o->held_count--;
    free(held);
}

static void drop_held(struct outlet *o)
{
    while (!STAILQ_EMPTY(&o->held)) {
        drop_first_held(o);
    }
}

static void free_outlet(struct outlet *o)
{
    drop_held(o);
    slice_close(&o->stream.piece.bytes);
    store_read_close(&o->read);
    free(o);
}

void sender_close(struct node *n)
{
    struct sender *s = &n->sender;
    for (uint32_t i = 0; i < s->outlets_count; i++) {
        free_outlet(s->outlets[i]);
    }
    free(s->entries);
    free(s->writes);
    slice_close(&s->last_frame);
    *s = (struct sender){0};
}

struct outlet *sender_outlet(struct node *n, raft_id id)
{
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        if (n->sender.outlets[i]->id == id) {
            return n->sender.outlets[i];
        }
    }
    return NULL;
}

static void open_outlet(struct node *n, raft_id id)
{
    if (sender_outlet(n, id) == NULL && n->sender.outlets_count < OUTLETS_MAX) {
        struct outlet *o = NEW(struct outlet);
        o->id = id;
        STAILQ_INIT(&o->held);
        n->sender.outlets[n->sender.outlets_count++] = o;
    }
}

/* Its place among the guests; their number if it is none. */
static uint32_t find_guest(const struct sender *s, raft_id id)
{
    uint32_t at = 0;
    while (at < s->guests_count && s->guests[at].id != id) {
        at++;
    }
    return at;
}

static void drop_guest(struct sender *s, uint32_t at)
{
    s->guests_count--;
    memmove(s->guests + at, s->guests + at + 1, (s->guests_count - at) * sizeof *s->guests);
}

/* Who is removed by our present configuration, and was let in by that one all the same. By another
 * one it has to show anew what it knows. */
static bool is_returned(const struct node *n, const struct guest *g)
{
    return g->returned && g->config_index == members_committed_index(n);
}

bool sender_is_returned(const struct node *n, raft_id id)
{
    uint32_t at = find_guest(&n->sender, id);
    return at < n->sender.guests_count && is_returned(n, &n->sender.guests[at]);
}

/* Who has become a member is a guest no more, nor who was removed since it came. */
static void review_guests(struct node *n)
{
    for (uint32_t i = n->sender.guests_count; i-- > 0;) {
        const struct guest *g = &n->sender.guests[i];
        raft_id id = g->id;
        if (membership_find(members_now(n), id) != NULL ||
            membership_find(members_committed(n), id) != NULL ||
            (!is_returned(n, g) && membership_was_removed(members_committed(n), id))) {
            drop_guest(&n->sender, i);
        }
    }
}

void sender_welcome(struct node *n, const struct guest *guest)
{
    struct sender *s = &n->sender;
    uint32_t known = find_guest(s, guest->id);
    if (known < s->guests_count && strcmp(s->guests[known].address, guest->address) == 0) {
        s->guests[known] = *guest;
        return;
    }
    if (known < s->guests_count) {
        drop_guest(s, known);
    } else if (s->guests_count == GUESTS_MAX) {
        drop_guest(s, 0);
    }
    s->guests[s->guests_count++] = *guest;
    sender_follow_members(n);
}

void sender_follow_members(struct node *n)
{
    const struct membership *members = members_now(n);
    struct transport_peer peers[OUTLETS_MAX];
    uint32_t count = 0;
    review_guests(n);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct membership_member *m = &members->at[i];
        if (m->id != n->id) {
            peers[count++] =
                (struct transport_peer){.id = m->id, .name = m->name, .address = m->address};
            open_outlet(n, m->id);
        }
    }
    /* Whose removal is not committed may be the leader, and needs the acknowledgements for it. */
    const struct membership *before = members_committed(n);
    for (uint32_t i = 0; i < before->count && count < OUTLETS_MAX; i++) {
        const struct membership_member *m = &before->at[i];
        if (m->id != n->id && membership_find(members, m->id) == NULL) {
            peers[count++] =
                (struct transport_peer){.id = m->id, .name = m->name, .address = m->address};
            open_outlet(n, m->id);
        }
    }
    for (uint32_t i = 0; i < n->sender.guests_count && count < OUTLETS_MAX; i++) {
        const struct guest *g = &n->sender.guests[i];
        peers[count++] =
            (struct transport_peer){.id = g->id, .name = g->name, .address = g->address};
        open_outlet(n, g->id);
    }
    /* One that has left goes, unless a read of it is still on the disk thread. */
    for (uint32_t i = n->sender.outlets_count; i-- > 0;) {
        struct outlet *o = n->sender.outlets[i];
        if (membership_find(members, o->id) != NULL || membership_find(before, o->id) != NULL ||
            find_guest(&n->sender, o->id) < n->sender.guests_count) {
            continue;
        }
        snapshot_send_stop(n, o);
        o->up = false; /* its link is gone with it, and nobody will say so */
        if (!o->reading && !o->stream.reading) {
            free_outlet(o);
            n->sender.outlets[i] = n->sender.outlets[--n->sender.outlets_count];
        }
    }
    if (n->started) {
        n->ports.transport->set_peers(n->ports.transport->ctx, peers, count);
        page_write_peers(n);
    }
}

void sender_send_frame(struct node *n, raft_id to, struct bytes frame)
{
    struct slice copy = slice_copy(frame);
    n->ports.transport->send(n->ports.transport->ctx, to, copy);
    slice_close(&copy);
}

bool sender_send_behind(struct node *n, raft_id to, struct bytes frame)
{
    struct slice copy = slice_copy(frame);
    bool taken = transport_send_behind(n->ports.transport, to, copy);
    slice_close(&copy);
    n->counters.messages_sent += taken;
    n->counters.messages_dropped += !taken;
    return taken;
}

struct store_entry *sender_store_entries(struct node *n, raft_index lo, raft_index hi)
{
    struct sender *s = &n->sender;
    size_t count = hi - lo;
    if (count > s->writes_capacity) {
        s->writes_capacity = count;
        s->writes = alloc_resize(s->writes, count, sizeof *s->writes);
    }
    for (size_t i = 0; i < count; i++) {
        const struct log_cache_entry *entry = log_cache_at(&n->log, lo + i);
        ASSERT(entry != NULL);
        s->writes[i] = (struct store_entry){.term = entry->term, .body = entry->body};
    }
    return s->writes;
}

static struct wire_entry *scratch_entries(struct sender *s, size_t count)
{
    if (count > s->entries_capacity) {
        s->entries_capacity = count;
        s->entries = alloc_resize(s->entries, count, sizeof *s->entries);
    }
    return s->entries;
}

static void encode_and_send(struct node *n, const struct raft_message *m,
                            const struct wire_entry *entries)
{
    buffer_clear(&n->scratch);
    raft_message_encode(m, entries, n->sender.chunk, &n->scratch);
    sender_send_frame(n, m->to, buffer_bytes(&n->scratch));
}

static bool same_but_for_receiver(const struct raft_message *a, const struct raft_message *b)
{
    return a->term == b->term && a->append.prev.index == b->append.prev.index &&
           a->append.prev.term == b->append.prev.term && a->append.count == b->append.count &&
           a->append.commit_index == b->append.commit_index && a->append.round == b->append.round &&
           a->append.sent_us == b->append.sent_us && a->append.lease_us == b->append.lease_us;
}

/* False if some entry is no longer in memory. */
static bool send_append_from_cache(struct node *n, const struct raft_message *m)
{
    struct sender *s = &n->sender;
    if (s->last_frame.owner != NULL && same_but_for_receiver(m, &s->last)) {
        n->ports.transport->send(n->ports.transport->ctx, m->to, s->last_frame);
        return true;
    }
    struct wire_entry *entries = scratch_entries(s, m->append.count);
    for (uint32_t i = 0; i < m->append.count; i++) {
        const struct log_cache_entry *entry = log_cache_at(&n->log, m->append.prev.index + 1 + i);
        if (entry == NULL) {
            return false;
        }
        entries[i] = (struct wire_entry){.term = entry->term, .body = slice_bytes(entry->body)};
    }
    buffer_clear(&n->scratch);
    raft_message_encode(m, entries, (struct bytes){0}, &n->scratch);
    slice_close(&s->last_frame);
    s->last_frame = slice_copy(buffer_bytes(&n->scratch));
    s->last = *m;
    n->ports.transport->send(n->ports.transport->ctx, m->to, s->last_frame);
    return true;
}

/* ---- entries from disk ---------------------------------------------------------------------- */

static void read_for(struct node *n, struct outlet *o);

/* This node leads in the term of the message: its log has not been cut since. */
static bool still_leads(const struct node *n, const struct held_append *held)
{
    return node_is_leader(n) && raft_current_term(n->raft) == held->message.term;
}

/* What was read is sent if it is still what the message meant: this node leads in the same term, so
 * its log has not been cut, and the terms agree. A read ends with its segment: true if there is a
 * rest, which held then stands for. */
static bool send_held(struct node *n, struct outlet *o, struct held_append *held)
{
    struct raft_message *m = &held->message;
    if (!still_leads(n, held) || !o->up) {
        return false;
    }
    uint32_t count = o->read.count < m->append.count ? o->read.count : m->append.count;
    struct wire_entry *entries = scratch_entries(&n->sender, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct store_entry *read = &o->read.entries[i];
        if (read->term != raft_term_at(n->raft, m->append.prev.index + 1 + i)) {
            count = i;
            break;
        }
        entries[i] = (struct wire_entry){.term = read->term, .body = slice_bytes(read->body)};
    }
    if (count == 0) {
        return false;
    }
    uint32_t rest = m->append.count - count;
    m->append.count = count;
    encode_and_send(n, m, entries);
    m->append.prev.index += count;
    m->append.prev.term = entries[count - 1].term;
    m->append.count = rest;
    return rest > 0;
}

/* Damage stays, and so does what the disk cannot read: what is behind it would reach nobody and
 * never be committed, while heartbeats keep all others from leading. So the leader ends, as it does
 * when it cannot apply an entry. Other errors (too many open files) pass: the core repeats the
 * append. */
static void read_failed(struct node *n, const struct outlet *o, const struct held_append *held)
{
    const struct store_read *read = &o->read;
    log_warn(n->ports.log, "could not read entries for a follower",
             log_text("peer", members_name(n, o->id)), log_text("err", read->why.text));
    bool lasts = read->err == ERR_CORRUPT || read->err == ERR_IO;
    if (lasts && still_leads(n, held)) {
        node_disk_failed(n, read->err, &read->why);
    }
}

static void read_done(struct store_read *read)
{
    struct outlet *o = (struct outlet *)((char *)read - offsetof(struct outlet, read));
    struct node *n = read->ctx;
    struct held_append *held = STAILQ_FIRST(&o->held);
    bool rest = false;
    if (held != NULL && read->err == ERR_OK) {
        rest = send_held(n, o, held);
    } else if (held != NULL) {
        read_failed(n, o, held);
    }
    if (held != NULL && !rest) {
        drop_first_held(o);
    }
    store_read_close(read);
    o->reading = false; /* until here the outlet stays, whatever becomes of its peer */
    read_for(n, o);
}

/* Serve the first append that waits for the disk, and those before it that do not need it any more:
 * the follower is catching up with what is in memory. */
static void read_for(struct node *n, struct outlet *o)
{
    if (o->reading || n->failed) {
        return;
    }
    struct held_append *held;
    while ((held = STAILQ_FIRST(&o->held)) != NULL &&
           (!still_leads(n, held) || !o->up || send_append_from_cache(n, &held->message))) {
        drop_first_held(o);
    }
    if (held == NULL) {
        return;
    }
    o->reading = true;
    o->read = (struct store_read){
        .lo = held->message.append.prev.index + 1,
        .hi = held->message.append.prev.index + 1 + held->message.append.count,
        .bytes_max = READ_BYTES_MAX,
        .done = read_done,
        .ctx = n,
    };
    store_read(n->store, &o->read);
}

/* The core has gone back behind what waits: it is sent anew, from there on. What is being read now
 * is sent all the same. */
static void drop_what_begins_later(struct outlet *o, raft_index prev)
{
    struct held_append *held = STAILQ_FIRST(&o->held), *next;
    for (held = o->reading && held != NULL ? STAILQ_NEXT(held, link) : held; held != NULL;
         held = next) {
        next = STAILQ_NEXT(held, link);
        if (held->message.append.prev.index >= prev) {
            STAILQ_REMOVE(&o->held, held, held_append, link);
            o->held_count--;
            free(held);
        }
    }
}

static void hold(struct node *n, struct outlet *o, const struct raft_message *m)
{
    drop_what_begins_later(o, m->append.prev.index);
    if (o->held_count >= HELD_MAX) {
        return;
    }
    struct held_append *held = NEW(struct held_append);
    held->message = *m;
    STAILQ_INSERT_TAIL(&o->held, held, link);
    o->held_count++;
    read_for(n, o);
}

/* A heartbeat overtakes the appends that wait here, and must not say that the follower has what
 * they bring: it would refuse, and the core would have them all sent again. */
static void send_heartbeat(struct node *n, const struct raft_message *m)
{
    struct raft_message heartbeat = *m;
    const struct outlet *o = sender_outlet(n, m->to);
    const struct held_append *held = o != NULL ? STAILQ_FIRST(&o->held) : NULL;
    for (; held != NULL; held = STAILQ_NEXT(held, link)) {
        const struct raft_append *waits = &held->message.append;
        if (held->message.term == m->term && waits->prev.index < heartbeat.append.prev.index) {
            heartbeat.append.prev = waits->prev;
        }
    }
    encode_and_send(n, &heartbeat, NULL);
}

void sender_send(struct node *n, const struct raft_message *m)
{
    if (m->type != RAFT_MESSAGE_APPEND) {
        encode_and_send(n, m, NULL);
    } else if (m->append.count == 0) {
        send_heartbeat(n, m);
    } else {
        struct outlet *o = sender_outlet(n, m->to);
        if (o != NULL && (o->held_count > 0 || !send_append_from_cache(n, m))) {
            hold(n, o, m);
        }
    }
}

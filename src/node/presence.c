/* Who is online: the leader's view, which all nodes are told and tell their scripts (node_online,
 * node_offline).
 *
 *     notify  online [term, number, [[id, online, last_seen_ms], ...]]     the leader's whole view
 *
 * The view is no entry of the log: it would grow with every bad cable, and what must not be wrong
 * for a moment (who holds a lock) does not rest on it. A statement is the whole view instead, sent
 * when it changes, on each new link, and every few heartbeats, because frames may be lost; who is
 * in touch with the leader has the leader's view, whatever was lost before. Of one term the later
 * number counts. A new leader goes on from the view that it was told: what does not differ is not
 * news.
 *
 * A member is offline when the leader has not heard it for the longest election timeout; it is
 * online again when it has been heard for as long without such a silence, and longer each time that
 * it went within a minute, so that a path that comes and goes is not told at every turn. A leader
 * that does not reach a majority says nothing: it may be the one that is cut off. */
#include <string.h>

#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    LOOKS_PER_TIMEOUT = 4,
    HEARTBEATS_PER_STATEMENT = 10,
    FLAP_US = 60000000,     /* online for less than this is flapping ... */
    HOLD_US_MAX = 30000000, /* ... which costs at most so long until it is online again */
};

/* ---- what was told -------------------------------------------------------------------------- */

static struct presence_member *find(struct node *n, raft_id id)
{
    for (uint32_t i = 0; i < n->presence.count; i++) {
        if (n->presence.members[i].id == id) {
            return &n->presence.members[i];
        }
    }
    return NULL;
}

/* Of a member; NULL for who is none, as far as this node knows. */
static struct presence_member *of_member(struct node *n, raft_id id)
{
    struct presence *p = &n->presence;
    struct presence_member *m = find(n, id);
    if (m == NULL && p->count < RAFT_MEMBERS_MAX && membership_find(members_now(n), id) != NULL) {
        m = &p->members[p->count++];
        *m = (struct presence_member){.id = id};
    }
    return m;
}

static void forget_strangers(struct node *n)
{
    struct presence *p = &n->presence;
    for (uint32_t i = p->count; i-- > 0;) {
        if (membership_find(members_now(n), p->members[i].id) == NULL) {
            p->members[i] = p->members[--p->count];
        }
    }
}

bool presence_is_online(struct node *n, raft_id id)
{
    const struct presence_member *m = find(n, id);
    return m != NULL && m->known && m->online;
}

/* True if that is news. */
static bool learn(struct node *n, struct presence_member *m, bool online, int64_t seen_ms)
{
    m->seen_ms = seen_ms;
    if (m->known && m->online == online) {
        return false;
    }
    bool first = !m->known;
    m->known = true;
    m->online = online;
    n->view_stale = true;
    node_want_round(n);
    news_presence(n, m->id, online, seen_ms, first);
    return true;
}

/* ---- the leader's statement ----------------------------------------------------------------- */

static void write_statement(struct node *n, struct buffer *out)
{
    struct presence *p = &n->presence;
    uint32_t known = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        known += p->members[i].known;
    }
    write_array(out, 3);
    write_u64(out, p->term);
    write_u64(out, ++p->number);
    write_array(out, known);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct presence_member *m = &p->members[i];
        if (m->known) {
            write_array(out, 3);
            write_u64(out, m->id);
            write_bool(out, m->online);
            write_i64(out, m->seen_ms);
        }
    }
}

static bool leads_for_sure(const struct node *n)
{
    return node_is_leader(n) && n->news.ready_term == raft_current_term(n->raft) &&
           n->presence.term == n->news.ready_term;
}

/* to: 0, every peer */
static void state_view(struct node *n, raft_id to)
{
    struct buffer params = {0};
    write_statement(n, &params);
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        const struct outlet *o = n->sender.outlets[i];
        if (o->up && (to == 0 || o->id == to)) {
            relay_notify(n, o->id, "online", buffer_bytes(&params));
        }
    }
    buffer_close(&params);
    if (to == 0) {
        n->presence.state_us =
            node_now(n) + HEARTBEATS_PER_STATEMENT * n->options.raft.heartbeat_us;
    }
}

void presence_link_up(struct node *n, raft_id peer)
{
    if (leads_for_sure(n)) {
        state_view(n, peer);
    }
}

/* ---- the leader's look ---------------------------------------------------------------------- */

/* How long it has to be heard before it is told to be online again. */
static uint64_t next_hold_us(const struct node *n, const struct presence_member *m, uint64_t now_us)
{
    uint64_t least_us = n->options.raft.election_max_us;
    bool flaps = m->online_us != 0 && now_us - m->online_us < FLAP_US;
    uint64_t hold_us = flaps && m->hold_us != 0 ? 2 * m->hold_us : least_us;
    uint64_t most_us = least_us > HOLD_US_MAX ? least_us : HOLD_US_MAX;
    return hold_us < most_us ? hold_us : most_us;
}

static bool judge(struct node *n, const struct raft_peer_status *peer, uint64_t now_us)
{
    struct presence_member *m = of_member(n, peer->id);
    if (m == NULL) {
        return false;
    }
    uint64_t silent_us = now_us - peer->heard_us;
    bool silent = silent_us >= n->options.raft.election_max_us;
    bool heard = peer->heard_us > n->presence.led_since_us; /* before, it had no occasion */
    if (silent || !heard) {
        m->heard_since_us = 0;
    } else if (m->heard_since_us == 0) {
        m->heard_since_us = now_us;
    }
    int64_t seen_ms = clock_wall_ms(n->ports.clock) - (int64_t)(silent_us / 1000);
    if (silent && (m->online || !m->known)) {
        m->hold_us = next_hold_us(n, m, now_us);
        return learn(n, m, false, heard || m->seen_ms == 0 ? seen_ms : m->seen_ms);
    }
    bool steady = m->heard_since_us != 0 && now_us - m->heard_since_us >= m->hold_us;
    if (!silent && (m->online || steady || (!m->known && heard))) {
        m->online_us = m->online ? m->online_us : now_us;
        return learn(n, m, true, seen_ms);
    }
    return false;
}

/* Itself counted. */
static bool reaches_majority(const struct node *n, uint64_t now_us)
{
    const struct membership_member *self = membership_find(members_now(n), n->id);
    uint32_t voters = self != NULL && self->voter, reached = voters;
    for (uint32_t i = 0; i < raft_peers_count(n->raft); i++) {
        struct raft_peer_status peer = raft_peer_status(n->raft, i);
        voters += peer.voter;
        reached += peer.voter && now_us - peer.heard_us < n->options.raft.election_max_us;
    }
    return reached >= voters / 2 + 1;
}

static void begin_term(struct node *n, uint64_t now_us)
{
    struct presence *p = &n->presence;
    p->term = raft_current_term(n->raft);
    p->number = 0;
    p->led_since_us = now_us;
    p->state_us = now_us;
    for (uint32_t i = 0; i < p->count; i++) {
        p->members[i].heard_since_us = p->members[i].hold_us = p->members[i].online_us = 0;
    }
}

static void look(struct node *n, uint64_t now_us)
{
    bool news = false;
    forget_strangers(n);
    struct presence_member *self = of_member(n, n->id);
    if (self != NULL) {
        news = learn(n, self, true, clock_wall_ms(n->ports.clock));
    }
    for (uint32_t i = 0; i < raft_peers_count(n->raft); i++) {
        struct raft_peer_status peer = raft_peer_status(n->raft, i);
        news |= judge(n, &peer, now_us);
    }
    if (news || now_us >= n->presence.state_us) {
        state_view(n, 0);
    }
}

void presence_tick(struct node *n, uint64_t now_us)
{
    struct presence *p = &n->presence;
    if (p->term != raft_current_term(n->raft)) {
        begin_term(n, now_us);
    }
    p->look_us = now_us + n->options.raft.election_max_us / LOOKS_PER_TIMEOUT;
    if (reaches_majority(n, now_us)) {
        look(n, now_us);
    }
}

uint64_t presence_deadline(const struct node *n)
{
    bool leads = node_is_leader(n) && n->news.ready_term == raft_current_term(n->raft);
    return leads ? n->presence.look_us : UINT64_MAX;
}

/* ---- the others ------------------------------------------------------------------------------ */

void presence_stated(struct node *n, raft_id from, struct bytes params)
{
    struct presence *p = &n->presence;
    struct reader r = reader_of(params);
    read_array_of(&r, 3);
    raft_term term = read_u64(&r);
    uint64_t number = read_u64(&r);
    struct reader members = r;
    uint32_t count = read_array(&r);
    for (uint32_t i = 0; i < count; i++) {
        read_array_of(&r, 3);
        read_u64(&r);
        read_bool(&r);
        read_i64(&r);
    }
    if (reader_end(&r) != ERR_OK) {
        node_dropped(n, from, "malformed statement of who is online", ERR_INVALID);
        return;
    }
    bool newer = term > p->term || (term == p->term && number > p->number);
    if (node_is_leader(n) || from != raft_leader(n->raft) || term != raft_current_term(n->raft) ||
        !newer) {
        return;
    }
    p->term = term;
    p->number = number;
    forget_strangers(n);
    read_array(&members);
    for (uint32_t i = 0; i < count; i++) {
        read_array_of(&members, 3);
        struct presence_member *m = of_member(n, read_u64(&members));
        bool online = read_bool(&members);
        int64_t seen_ms = read_i64(&members);
        if (m != NULL) {
            learn(n, m, online, seen_ms);
        }
    }
}

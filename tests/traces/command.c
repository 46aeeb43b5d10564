#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { WORDS_MAX = 32, ENTRIES_MAX = 256 };

/* A line cut into words: the first is the verb, then come numbers, flags and key=value pairs. */
struct words {
    char text[512];
    uint32_t count;
    const char *at[WORDS_MAX];
};

static void split(struct words *w, const char *line)
{
    (void)snprintf(w->text, sizeof w->text, "%s", line);
    w->count = 0;
    for (char *word = strtok(w->text, " "); word != NULL && w->count < WORDS_MAX;
         word = strtok(NULL, " ")) {
        w->at[w->count++] = word;
    }
}

static const char *value_of(const struct words *w, const char *key)
{
    size_t length = strlen(key);
    for (uint32_t i = 1; i < w->count; i++) {
        if (strncmp(w->at[i], key, length) == 0 && w->at[i][length] == '=') {
            return w->at[i] + length + 1;
        }
    }
    return NULL;
}

static uint64_t number_of(const struct words *w, const char *key, uint64_t otherwise)
{
    const char *value = value_of(w, key);
    return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static bool flag_of(const struct words *w, const char *flag)
{
    for (uint32_t i = 1; i < w->count; i++) {
        if (strcmp(w->at[i], flag) == 0) {
            return true;
        }
    }
    return false;
}

static bool switched_on(const struct words *w, const char *key)
{
    const char *value = value_of(w, key);
    return value == NULL || strcmp(value, "off") != 0;
}

/* "3@2": index 3, term 2. */
static struct raft_pos pos_of(const struct words *w, const char *key)
{
    struct raft_pos pos = {0};
    const char *value = value_of(w, key);
    if (value != NULL) {
        char *end;
        pos.index = strtoull(value, &end, 10);
        pos.term = *end == '@' ? strtoull(end + 1, NULL, 10) : 0;
    }
    return pos;
}

/* The word at position as a number; 0 if there is none. */
static uint64_t operand(const struct words *w, uint32_t position)
{
    return position < w->count ? strtoull(w->at[position], NULL, 10) : 0;
}

/* "1,2,3l": two voters and a learner. */
static struct raft_members parse_members(const char *text)
{
    struct raft_members m = {0};
    while (text != NULL && *text != '\0') {
        char *end;
        struct raft_member *member = &m.at[m.count++];
        member->id = strtoull(text, &end, 10);
        member->voter = *end != 'l';
        end += *end == 'l';
        text = *end == ',' ? end + 1 : NULL;
    }
    return m;
}

/* "1,1,2": three entries of these terms. */
static uint32_t parse_terms(const char *text, struct log_item *items)
{
    uint32_t count = 0;
    while (text != NULL && *text != '\0' && count < ENTRIES_MAX) {
        char *end;
        items[count++] = (struct log_item){.entry.term = strtoull(text, &end, 10)};
        text = *end == ',' ? end + 1 : NULL;
    }
    return count;
}

/* ---- setting up ---------------------------------------------------------------------------- */

static void set_options(struct raft_options *o, const struct words *w)
{
    *o = (struct raft_options){
        .election_min_us = number_of(w, "election", 150000),
        .election_max_us = 2 * number_of(w, "election", 150000),
        .heartbeat_us = number_of(w, "heartbeat", 50000),
        .lease_us = number_of(w, "lease", 150000),
        .drift_permille = 100,
        .window_entries = (uint32_t)number_of(w, "window", 64),
        .window_bytes = (uint32_t)number_of(w, "window_bytes", 10000),
        .append_entries_max = (uint32_t)number_of(w, "batch", 16),
        .append_bytes_max = (uint32_t)number_of(w, "batch_bytes", 4000),
        .uncommitted_bytes_max = (uint32_t)number_of(w, "uncommitted", 100000),
        .transfer_timeout_us = number_of(w, "election", 150000),
        .prevote = switched_on(w, "prevote"),
        .check_quorum = switched_on(w, "check_quorum"),
        .lease = switched_on(w, "leases"),
        .fast_failover = switched_on(w, "fast_failover"),
    };
}

/* cluster COUNT [members=...] [options] */
static void run_cluster(struct cluster *c, const struct words *w)
{
    struct buffer *out = c->out;
    cluster_close(c);
    memset(c, 0, sizeof *c);
    c->out = out;
    c->now_us = 1000000;
    set_options(&c->options, w);
    c->nodes_count = (uint32_t)operand(w, 1);
    ASSERT(c->nodes_count <= CLUSTER_NODES_MAX);
    const char *members = value_of(w, "members");
    for (raft_id id = 1; members == NULL && id <= c->nodes_count; id++) {
        c->initial.at[c->initial.count++] = (struct raft_member){.id = id, .voter = true};
    }
    if (members != NULL) {
        c->initial = parse_members(members);
    }
    for (raft_id id = 1; id <= c->nodes_count; id++) {
        cluster_start(c, id, 0);
    }
}

/* disk ID [term=] [vote=] [log=1,1,2]: what it finds when it starts again */
static void run_disk(struct cluster *c, const struct words *w)
{
    raft_id id = operand(w, 1);
    struct node *n = &c->nodes[id];
    struct log_item items[ENTRIES_MAX];
    uint32_t count = parse_terms(value_of(w, "log"), items);
    cluster_crash(c, id);
    n->disk.last = count;
    memcpy(n->disk.at, items, count * sizeof items[0]);
    n->disk_term = number_of(w, "term", count > 0 ? items[count - 1].entry.term : 0);
    n->disk_vote = number_of(w, "vote", 0);
    cluster_start(c, id, 0);
}

static void run_start(struct cluster *c, const struct words *w)
{
    raft_id id = operand(w, 1);
    if (flag_of(w, "forgetful")) { /* the guardian died too: its page of promises is gone */
        memset(&c->nodes[id].promise, 0, sizeof c->nodes[id].promise);
    }
    cluster_start(c, id, number_of(w, "quiet_until", 0));
}

/* ---- moving time, messages and writes ------------------------------------------------------ */

static void run_persist(struct cluster *c, const struct words *w)
{
    raft_id id = operand(w, 1);
    uint64_t count = operand(w, 2);
    if (c->nodes[id].writes_count == 0) {
        buffer_add_format(c->out, "    nothing to persist\n");
        return;
    }
    cluster_persist(c, id, count == 0 ? c->nodes[id].writes_count : (uint32_t)count);
}

struct link_name {
    raft_id from;
    raft_id to;
};

static struct link_name link_of(const struct words *w)
{
    struct link_name name = {0};
    char *end;
    name.from = strtoull(w->at[1], &end, 10);
    name.to = strtoull(end + strspn(end, "->"), NULL, 10);
    return name;
}

/* deliver|drop FROM->TO [COUNT]; without COUNT all that is there now */
static void run_link(struct cluster *c, const struct words *w)
{
    struct link_name name = link_of(w);
    uint32_t there = c->links[name.from][name.to].count;
    uint64_t count = operand(w, 2) == 0 ? there : operand(w, 2);
    if (there == 0) {
        buffer_add_format(c->out, "    nothing there\n");
    }
    for (uint64_t i = 0; i < count && i < there; i++) {
        if (strcmp(w->at[0], "deliver") == 0) {
            cluster_deliver(c, name.from, name.to);
        } else {
            cluster_drop(c, name.from, name.to);
        }
    }
}

/* duplicate|delay FROM->TO: the oldest message comes twice, or after the next one */
static void run_reorder(struct cluster *c, const struct words *w)
{
    struct link_name name = link_of(w);
    struct link *link = &c->links[name.from][name.to];
    ASSERT(link->count > 0);
    ASSERT(link->at[0].items == NULL || strcmp(w->at[0], "delay") == 0);
    if (strcmp(w->at[0], "duplicate") == 0) {
        ASSERT(link->count < CLUSTER_QUEUE_MAX);
        memmove(link->at + 1, link->at, link->count * sizeof link->at[0]);
        link->count++;
    } else {
        ASSERT(link->count > 1);
        struct flying first = link->at[0];
        memmove(link->at, link->at + 1, (link->count - 1) * sizeof link->at[0]);
        link->at[link->count - 1] = first;
    }
}

/* timeout ID: at its deadline, or now if that has passed */
static void run_timeout(struct cluster *c, const struct words *w)
{
    raft_id id = operand(w, 1);
    uint64_t due_us = raft_deadline(c->nodes[id].core);
    if (due_us == UINT64_MAX) {
        buffer_add_format(c->out, "    no deadline\n");
        return;
    }
    if (due_us > c->now_us && !flag_of(w, "early")) {
        c->now_us = due_us;
    }
    struct raft_event event = {.type = RAFT_EVENT_TIMEOUT};
    cluster_step(c, id, &event, NULL);
}

/* ---- asking a node for something ----------------------------------------------------------- */

static void run_propose(struct cluster *c, const struct words *w)
{
    uint32_t sizes[ENTRIES_MAX];
    uint32_t count = (uint32_t)(operand(w, 2) == 0 ? 1 : operand(w, 2));
    for (uint32_t i = 0; i < count && i < ENTRIES_MAX; i++) {
        sizes[i] = (uint32_t)number_of(w, "size", 10);
    }
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.propose.sizes_bytes = sizes;
    event.propose.count = count;
    cluster_step(c, operand(w, 1), &event, NULL);
}

static void run_members(struct cluster *c, const struct words *w)
{
    uint32_t size_bytes = 20;
    struct raft_members members = parse_members(w->at[2]);
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.propose.sizes_bytes = &size_bytes;
    event.propose.count = 1;
    event.propose.config = &members;
    cluster_step(c, operand(w, 1), &event, NULL);
}

static void run_simple(struct cluster *c, const struct words *w)
{
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    if (strcmp(w->at[0], "read") == 0) {
        event.type = RAFT_EVENT_READ;
        event.read.token = operand(w, 2);
        event.read.allow_lease = flag_of(w, "lease");
    } else if (strcmp(w->at[0], "transfer") == 0) {
        event.type = RAFT_EVENT_TRANSFER;
        event.transfer.target = operand(w, 2);
    } else if (strcmp(w->at[0], "unreachable") == 0) {
        event.type = RAFT_EVENT_PEER_UNREACHABLE;
        event.peer_unreachable.id = operand(w, 2);
    } else if (strcmp(w->at[0], "certificate") == 0) {
        raft_id dead = operand(w, 2);
        uint64_t life = number_of(w, "life", c->nodes[dead].life);
        event.type = RAFT_EVENT_CERTIFICATE;
        event.certificate.dead = dead;
        event.certificate.incarnation = cluster_incarnation(dead, life);
    }
    cluster_step(c, operand(w, 1), &event, NULL);
}

static void run_step_down(struct cluster *c, const struct words *w)
{
    struct raft_event event = {.type = RAFT_EVENT_STEP_DOWN};
    event.step_down.reason = flag_of(w, "disk") ? RAFT_STEP_DOWN_DISK : RAFT_STEP_DOWN_REQUESTED;
    cluster_step(c, operand(w, 1), &event, NULL);
}

/* ---- snapshots ----------------------------------------------------------------------------- */

/* compact ID INDEX: its node took a snapshot up to there */
static void run_compact(struct cluster *c, const struct words *w)
{
    struct node *n = &c->nodes[operand(w, 1)];
    struct raft_pos last = {.index = operand(w, 2)};
    last.term = raft_term_at(n->core, last.index);
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_TAKEN};
    event.snapshot_taken.last = last;
    event.snapshot_taken.members = &c->initial;
    n->snapshot = last;
    n->snapshot_members = c->initial;
    cluster_step(c, operand(w, 1), &event, NULL);
}

/* chunk ID to=3 last=3@1 offset=0 size=100 [done]: its node has read a chunk for a peer */
static void run_chunk(struct cluster *c, const struct words *w)
{
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_SEND};
    event.snapshot_send.to = number_of(w, "to", 0);
    event.snapshot_send.last = pos_of(w, "last");
    event.snapshot_send.offset_bytes = number_of(w, "offset", 0);
    event.snapshot_send.size_bytes = (uint32_t)number_of(w, "size", 0);
    event.snapshot_send.done = flag_of(w, "done");
    cluster_step(c, operand(w, 1), &event, NULL);
}

/* stored ID last=3@1 offset=100 [failed]: a chunk is durable, or lost */
static void run_stored(struct cluster *c, const struct words *w)
{
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_CHUNK_STORED};
    event.chunk_stored.last = pos_of(w, "last");
    event.chunk_stored.offset_bytes = number_of(w, "offset", 0);
    event.chunk_stored.failed = flag_of(w, "failed");
    cluster_step(c, operand(w, 1), &event, NULL);
}

/* installed ID last=3@1 [failed]: state and log were replaced */
static void run_installed(struct cluster *c, const struct words *w)
{
    struct node *n = &c->nodes[operand(w, 1)];
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_INSTALLED};
    event.snapshot_installed.last = pos_of(w, "last");
    event.snapshot_installed.members = &c->initial;
    event.snapshot_installed.ok = !flag_of(w, "failed");
    if (event.snapshot_installed.ok) {
        n->snapshot = event.snapshot_installed.last;
        n->snapshot_members = c->initial;
        n->log.last = n->snapshot.index;
        n->disk.last = n->snapshot.index;
    }
    cluster_step(c, operand(w, 1), &event, NULL);
}

/* ---- a message made by hand ---------------------------------------------------------------- */

static enum raft_message_type message_type(const char *name)
{
    for (int type = 0; type < RAFT_MESSAGE_COUNT; type++) {
        if (strcmp(raft_message_name((enum raft_message_type)type), name) == 0) {
            return (enum raft_message_type)type;
        }
    }
    return RAFT_MESSAGE_COUNT;
}

static void fill_append(struct raft_message *m, const struct words *w, struct log_item *items,
                        struct raft_entry *entries)
{
    m->append.count = parse_terms(value_of(w, "terms"), items);
    m->append.prev = pos_of(w, "prev");
    m->append.commit_index = number_of(w, "commit", 0);
    m->append.lease_us = number_of(w, "lease", 0);
    m->append.round = number_of(w, "round", 0);
    m->append.sent_us = number_of(w, "sent", 0);
    for (uint32_t i = 0; i < m->append.count; i++) {
        entries[i] = items[i].entry;
    }
    m->append.entries = m->append.count > 0 ? entries : NULL;
}

static void fill_append_reply(struct raft_message *m, const struct words *w)
{
    struct raft_pos agree = pos_of(w, "agree");
    m->append_reply.rejected = flag_of(w, "rejected");
    m->append_reply.match = m->append_reply.rejected ? agree.index : number_of(w, "match", 0);
    m->append_reply.hint_term = agree.term;
    m->append_reply.prev_index = number_of(w, "prev", 0);
    m->append_reply.round = number_of(w, "round", 0);
    m->append_reply.sent_us = number_of(w, "sent", 0);
}

static void fill_vote(struct cluster *c, struct raft_message *m, const struct words *w)
{
    m->vote.last = pos_of(w, "last");
    m->vote.prevote = flag_of(w, "prevote");
    m->vote.transfer_from = number_of(w, "transfer_from", 0);
    m->vote.transfer = m->vote.transfer_from != 0;
    m->vote.certificate.dead = number_of(w, "certificate", 0);
    if (m->vote.certificate.dead != 0) {
        uint64_t life = number_of(w, "life", c->nodes[m->vote.certificate.dead].life);
        m->vote.certificate.incarnation = cluster_incarnation(m->vote.certificate.dead, life);
    }
}

static void fill_snapshot(struct raft_message *m, const struct words *w)
{
    m->install_snapshot.last = pos_of(w, "last");
    m->install_snapshot.offset_bytes = number_of(w, "offset", 0);
    m->install_snapshot.size_bytes = (uint32_t)number_of(w, "size", 0);
    m->install_snapshot.done = flag_of(w, "done");
}

static void fill_snapshot_reply(struct raft_message *m, const struct words *w)
{
    m->install_snapshot_reply.last = pos_of(w, "last");
    m->install_snapshot_reply.offset_bytes = number_of(w, "offset", 0);
    m->install_snapshot_reply.installed = flag_of(w, "installed");
}

/* receive ID TYPE from= term= ...: as if it came from a peer */
static void run_receive(struct cluster *c, const struct words *w)
{
    raft_id id = operand(w, 1);
    struct log_item items[ENTRIES_MAX];
    struct raft_entry entries[ENTRIES_MAX];
    struct raft_message m = {
        .type = w->count > 2 ? message_type(w->at[2]) : RAFT_MESSAGE_COUNT,
        .from = number_of(w, "from", 0),
        .to = id,
        .term = number_of(w, "term", 0),
    };
    bool append = m.type == RAFT_MESSAGE_APPEND;
    switch (m.type) {
    case RAFT_MESSAGE_APPEND:
        fill_append(&m, w, items, entries);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        fill_append_reply(&m, w);
        break;
    case RAFT_MESSAGE_VOTE:
        fill_vote(c, &m, w);
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        m.vote_reply.granted = flag_of(w, "granted");
        m.vote_reply.prevote = flag_of(w, "prevote");
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        m.timeout_now.last = pos_of(w, "last");
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        fill_snapshot(&m, w);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        fill_snapshot_reply(&m, w);
        break;
    case RAFT_MESSAGE_COUNT:
        buffer_add_format(c->out, "    no such message\n");
        return;
    }
    struct raft_event event = {.type = RAFT_EVENT_RECEIVE};
    event.receive.message = &m;
    uint64_t life = m.from <= c->nodes_count ? c->nodes[m.from].life : 1;
    event.receive.sender = cluster_incarnation(m.from, number_of(w, "sender_life", life));
    cluster_step(c, id, &event, append && m.append.count > 0 ? items : NULL);
}

/* ---- looking ------------------------------------------------------------------------------- */

static void show_peer(struct cluster *c, const struct raft_peer_status *p)
{
    static const char *const modes[] = {
        [RAFT_PROBE] = "probe", [RAFT_REPLICATE] = "replicate", [RAFT_SNAPSHOT] = "snapshot"};
    buffer_add_format(c->out, "        %" PRIu64 "%s match=%" PRIu64 " next=%" PRIu64 " %s\n",
                      p->id, p->voter ? "" : "l", p->match, p->next, modes[p->mode]);
}

/* status ID [...]; all nodes without ID */
static void show_status(struct cluster *c, raft_id id)
{
    const struct node *n = &c->nodes[id];
    if (n->core == NULL) {
        buffer_add_format(c->out, "    %" PRIu64 ": down\n", id);
        return;
    }
    struct raft_status s;
    raft_status(n->core, &s);
    buffer_add_format(c->out,
                      "    %" PRIu64 ": %s term=%" PRIu64 " vote=%" PRIu64 " leader=%" PRIu64
                      " commit=%" PRIu64 " durable=%" PRIu64 " log=",
                      id, raft_role_name(s.role), s.term, s.vote, s.leader, s.commit_index,
                      s.durable_index);
    for (raft_index i = s.snapshot.index; i <= s.last.index; i++) {
        bool first = i == s.snapshot.index;
        const char *after = first ? ":" : i == s.last.index ? "" : ",";
        if (!first || s.snapshot.index > 0) {
            buffer_add_format(c->out, "%" PRIu64 "%s", raft_term_at(n->core, i), after);
        }
    }
    if (s.lease_until_us != 0) {
        buffer_add_format(c->out, " lease_until=%" PRIu64, s.lease_until_us);
    }
    buffer_add_format(c->out, "\n");
    for (uint32_t i = 0; s.role == RAFT_LEADER && i < s.peers_count; i++) {
        show_peer(c, &s.peers[i]);
    }
}

static void run_status(struct cluster *c, const struct words *w)
{
    for (raft_id id = 1; id <= c->nodes_count; id++) {
        if (w->count < 2 || operand(w, 1) == id) {
            show_status(c, id);
        }
    }
}

static void run_messages(struct cluster *c, const struct words *w)
{
    (void)w;
    for (raft_id from = 1; from <= c->nodes_count; from++) {
        for (raft_id to = 1; to <= c->nodes_count; to++) {
            for (uint32_t i = 0; i < c->links[from][to].count; i++) {
                buffer_add_format(c->out, "    ");
                raft_describe_message(&c->links[from][to].at[i].message, c->out);
                buffer_add_format(c->out, "\n");
            }
        }
    }
}

/* ---- the table ----------------------------------------------------------------------------- */

static void run_at(struct cluster *c, const struct words *w)
{
    ASSERT(operand(w, 1) >= c->now_us);
    c->now_us = operand(w, 1);
}

static void run_wait(struct cluster *c, const struct words *w)
{
    c->now_us += operand(w, 1);
}

static void run_crash(struct cluster *c, const struct words *w)
{
    cluster_crash(c, operand(w, 1));
}

static void run_settle(struct cluster *c, const struct words *w)
{
    (void)w;
    cluster_settle(c);
}

/* elect ID: it campaigns and everything is settled, untold */
static void run_elect(struct cluster *c, const struct words *w)
{
    bool before = c->quiet;
    c->quiet = true;
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    cluster_step(c, operand(w, 1), &event, NULL);
    cluster_settle(c);
    c->quiet = before;
}

/* beat ID COUNT: so many heartbeats, each settled, untold */
static void run_beat(struct cluster *c, const struct words *w)
{
    raft_id id = operand(w, 1);
    bool before = c->quiet;
    c->quiet = true;
    for (uint64_t i = 0; i < operand(w, 2); i++) {
        c->now_us = raft_deadline(c->nodes[id].core);
        struct raft_event event = {.type = RAFT_EVENT_TIMEOUT};
        cluster_step(c, id, &event, NULL);
        cluster_settle(c);
    }
    c->quiet = before;
}

static void run_cut(struct cluster *c, const struct words *w)
{
    c->cut[operand(w, 1)] = true;
}

static void run_join(struct cluster *c, const struct words *w)
{
    c->cut[operand(w, 1)] = false;
}

static const struct {
    const char *verb;
    void (*run)(struct cluster *c, const struct words *w);
} commands[] = {
    {"at", run_at},
    {"beat", run_beat},
    {"campaign", run_simple},
    {"certificate", run_simple},
    {"cluster", run_cluster},
    {"compact", run_compact},
    {"crash", run_crash},
    {"cut", run_cut},
    {"delay", run_reorder},
    {"deliver", run_link},
    {"disk", run_disk},
    {"drop", run_link},
    {"duplicate", run_reorder},
    {"elect", run_elect},
    {"installed", run_installed},
    {"join", run_join},
    {"members", run_members},
    {"messages", run_messages},
    {"persist", run_persist},
    {"propose", run_propose},
    {"read", run_simple},
    {"receive", run_receive},
    {"settle", run_settle},
    {"start", run_start},
    {"status", run_status},
    {"step_down", run_step_down},
    {"chunk", run_chunk},
    {"stored", run_stored},
    {"timeout", run_timeout},
    {"transfer", run_simple},
    {"unreachable", run_simple},
    {"wait", run_wait},
};

void command_run(struct cluster *c, const char *line)
{
    struct words w;
    static const char quietly[] = "quietly ";
    c->quiet = strncmp(line, quietly, strlen(quietly)) == 0;
    split(&w, c->quiet ? line + strlen(quietly) : line);
    for (size_t i = 0; w.count > 0 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].verb, w.at[0]) == 0) {
            commands[i].run(c, &w);
            return;
        }
    }
    buffer_add_format(c->out, "    no such command\n");
}

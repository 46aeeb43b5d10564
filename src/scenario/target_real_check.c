/* The invariants of Raft (Figure 3), from outside: what the nodes say is compared, then they are
 * stopped as planned, and what is on their disks is. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/disk_log.h"
#include "scenario/target_real_internal.h"
#include "wire/reader.h"

enum { HASH_TEXT = 33 };

/* What a node says of itself. */
struct standing {
    bool known;
    bool votes[TARGET_NODES_MAX]; /* by number - 1, as this node knows the members */
    uint64_t commit_index, last_applied;
    char hash[HASH_TEXT]; /* of its machines' state */
};

struct real_check {
    struct target_real *target;
    node_reply_fn reply;
    void *ctx;
    bool last;
    bool given_up; /* the cluster is being closed */
    bool ran[TARGET_NODES_MAX];
    struct standing standings[TARGET_NODES_MAX];
    uint32_t due;                       /* replies */
    void (*next)(struct real_check *c); /* when they are all there */
    char verdict[512];                  /* the first thing that is wrong; "": nothing */
};

/* One of the replies that a step of the check waits for. */
struct step {
    struct real_check *check;
    uint32_t node;
};

__attribute__((format(printf, 2, 3))) static void object(struct real_check *c, const char *format,
                                                         ...)
{
    if (c->verdict[0] == 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(c->verdict, sizeof c->verdict, format, args);
        va_end(args);
    }
}

static void finish(struct real_check *c)
{
    c->target->check = NULL;
    struct node_reply reply = {.err = ERR_OK};
    if (c->given_up) {
        reply.err = ERR_SHUTDOWN;
    } else if (c->verdict[0] != 0) {
        reply = (struct node_reply){.err = ERR_REJECTED, .message = c->verdict};
    }
    c->target->stage->happened = true;
    c->reply(c->ctx, &reply);
    free(c);
}

static void arrive(struct real_check *c)
{
    if (--c->due == 0) {
        (c->given_up ? finish : c->next)(c);
    }
}

static struct step *expect(struct real_check *c, uint32_t node)
{
    struct step *s = NEW(struct step);
    *s = (struct step){.check = c, .node = node};
    c->due++;
    return s;
}

/* ---- the disks ------------------------------------------------------------------------------ */

static void compare_logs(struct real_check *c, const struct disk_log *logs, uint32_t a, uint32_t b)
{
    uint64_t index = disk_log_mismatch(&logs[a], &logs[b]);
    if (index != 0) {
        object(c,
               "log_matching: n%u and n%u differ at index %" PRIu64
               ", below an index at which their terms are the same",
               a + 1, b + 1, index);
    }
    uint64_t commit_a = c->standings[a].commit_index, commit_b = c->standings[b].commit_index;
    uint64_t both = commit_a < commit_b ? commit_a : commit_b;
    for (uint64_t i = 1; i <= both; i++) {
        if (disk_log_differ(&logs[a], &logs[b], i)) {
            object(c,
                   "state_machine_safety: n%u and n%u have committed different entries at "
                   "index %" PRIu64,
                   a + 1, b + 1, i);
            return;
        }
    }
}

/* What one node has committed is on the disks of a majority of the voters that it knows: a change
 * of the members comes after what it has committed, and is on a majority of them with all before
 * it. */
static void look_for_committed(struct real_check *c, const struct disk_log *logs, uint32_t owner)
{
    const bool *votes = c->standings[owner].votes;
    for (uint64_t i = 1; i <= c->standings[owner].commit_index; i++) {
        if (!disk_log_has(&logs[owner], i)) {
            continue;
        }
        uint32_t copies = 0, voters = 0;
        for (uint32_t k = 0; k < c->target->nodes; k++) {
            bool held = i <= logs[k].last && !disk_log_differ(&logs[owner], &logs[k], i);
            voters += votes[k];
            copies += votes[k] && held;
        }
        if (copies <= voters / 2) {
            object(c,
                   "durability: index %" PRIu64 ", which n%u has committed, is on %u of %u disks",
                   i, owner + 1, copies, voters);
            return;
        }
    }
}

static void check_logs(struct real_check *c)
{
    struct target_real *t = c->target;
    struct disk_log logs[TARGET_NODES_MAX] = {{0}};
    struct membership members;
    target_real_membership(t, &members);
    for (uint32_t i = 0; i < t->nodes; i++) {
        struct why why = {""};
        if (t->hosts[i].ever_up &&
            disk_log_read(t->hosts[i].directory, TARGET_REAL_CLUSTER, &members, t->hosts[i].name,
                          &logs[i], &why) != ERR_OK) {
            object(c, "durability: the log of n%u cannot be read: %s", i + 1, why.text);
        }
    }
    for (uint32_t a = 0; a < t->nodes; a++) {
        for (uint32_t b = a + 1; b < t->nodes; b++) {
            compare_logs(c, logs, a, b);
        }
        look_for_committed(c, logs, a);
    }
    for (uint32_t i = 0; i < t->nodes; i++) {
        disk_log_close(&logs[i]);
    }
}

/* ---- what the nodes say --------------------------------------------------------------------- */

static void check_states(struct real_check *c)
{
    for (uint32_t a = 0; a < c->target->nodes; a++) {
        for (uint32_t b = a + 1; b < c->target->nodes; b++) {
            const struct standing *x = &c->standings[a], *y = &c->standings[b];
            if (x->known && y->known && x->last_applied == y->last_applied &&
                strcmp(x->hash, y->hash) != 0) {
                object(c,
                       "state_machine_safety: n%u and n%u have applied the same %" PRIu64
                       " entries and their states differ (%s, %s)",
                       a + 1, b + 1, x->last_applied, x->hash, y->hash);
            }
        }
    }
}

static bool is_own_election(const struct real_event *e)
{
    struct reader r = reader_of(slice_bytes(e->fields));
    uint32_t count = strcmp(e->name, "leader_elected") == 0 ? read_map(&r) : 0;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key = read_str(&r, UINT32_MAX);
        if (bytes_is(key, "is_self")) {
            return read_bool(&r) && r.err == ERR_OK;
        }
        read_skip(&r);
    }
    return false;
}

/* At most one leader in a term (§5.2). Terms only grow from one election to the next but where
 * events of several nodes cross, so all pairs are looked at. */
static void check_elections(struct real_check *c)
{
    const struct target_real *t = c->target;
    for (size_t i = 0; i < t->events_count; i++) {
        if (!is_own_election(&t->events[i])) {
            continue;
        }
        for (size_t k = 0; k < i; k++) {
            if (t->events[k].term == t->events[i].term && t->events[k].node != t->events[i].node &&
                is_own_election(&t->events[k])) {
                object(c, "election_safety: n%u and n%u both led in term %" PRIu64,
                       t->events[k].node, t->events[i].node, t->events[i].term);
            }
        }
    }
}

static void read_state_hash(struct reader *r, char out[HASH_TEXT])
{
    uint32_t count = read_map(r);
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        if (bytes_is(read_str(r, UINT32_MAX), "hash")) {
            read_text(r, out, HASH_TEXT);
        } else {
            read_skip(r);
        }
    }
}

/* {id, ..., voter} of one member. */
static void read_voter(struct reader *r, struct standing *out)
{
    char id[16] = "";
    bool voter = false;
    uint32_t count = read_map(r);
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        struct bytes key = read_str(r, UINT32_MAX);
        if (bytes_is(key, "id")) {
            read_text(r, id, sizeof id);
        } else if (bytes_is(key, "voter")) {
            voter = read_bool(r);
        } else {
            read_skip(r);
        }
    }
    unsigned node = 0;
    if (sscanf(id, "n%u", &node) == 1 && node >= 1 && node <= TARGET_NODES_MAX) {
        out->votes[node - 1] = voter;
    }
}

static void read_standing(struct bytes status, struct standing *out)
{
    struct reader r = reader_of(status);
    uint32_t count = read_map(&r);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_str(&r, UINT32_MAX);
        if (bytes_is(key, "commit_index")) {
            out->commit_index = read_u64(&r);
        } else if (bytes_is(key, "last_applied")) {
            out->last_applied = read_u64(&r);
        } else if (bytes_is(key, "members")) {
            uint32_t members = read_array(&r);
            for (uint32_t k = 0; k < members && r.err == ERR_OK; k++) {
                read_voter(&r, out);
            }
        } else if (bytes_is(key, "state")) {
            read_state_hash(&r, out->hash);
        } else {
            read_skip(&r);
        }
    }
    out->known = reader_end(&r) == ERR_OK;
}

/* ---- the steps ------------------------------------------------------------------------------ */

static void on_started(void *ctx, const struct node_reply *reply)
{
    struct step *s = ctx;
    if (reply->err != ERR_OK) {
        object(s->check, "n%u does not start again: %s", s->node,
               reply->message != NULL ? reply->message : err_message(reply->err));
    }
    struct real_check *c = s->check;
    free(s);
    arrive(c);
}

static void start_again(struct real_check *c)
{
    c->due = 1;
    c->next = finish;
    for (uint32_t i = 0; i < c->target->nodes; i++) {
        if (c->ran[i] && !c->last) {
            host_start(&c->target->hosts[i], on_started, expect(c, i + 1));
        }
    }
    arrive(c);
}

static void all_stopped(struct real_check *c)
{
    check_states(c);
    check_elections(c);
    check_logs(c);
    start_again(c);
}

static void on_stopped(void *ctx, const struct node_reply *reply)
{
    struct step *s = ctx;
    struct real_check *c = s->check;
    if (reply->err != ERR_OK && !c->given_up) {
        object(c, "n%u does not stop as it should: %s", s->node,
               reply->message != NULL ? reply->message : err_message(reply->err));
    }
    free(s);
    arrive(c);
}

static void stop_all(struct real_check *c)
{
    c->due = 1;
    c->next = all_stopped;
    for (uint32_t i = 0; i < c->target->nodes; i++) {
        if (c->ran[i]) {
            host_stop(&c->target->hosts[i], on_stopped, expect(c, i + 1));
        }
    }
    arrive(c);
}

static void on_status(void *ctx, const struct node_reply *reply)
{
    struct step *s = ctx;
    struct real_check *c = s->check;
    if (reply->err == ERR_OK) {
        read_standing(reply->result, &c->standings[s->node - 1]);
    }
    free(s);
    arrive(c);
}

void target_real_check(struct target *target, const char *rule, bool last, node_reply_fn reply,
                       void *ctx)
{
    (void)rule; /* they all take the same trouble: all are checked */
    struct target_real *t = target_real_of(target);
    if (t->check != NULL || t->failure[0] != 0) {
        bool failed = t->failure[0] != 0;
        reply(ctx,
              &(struct node_reply){.err = failed ? ERR_REJECTED : ERR_BUSY,
                                   .message = failed ? t->failure : "it is being checked already"});
        return;
    }
    struct real_check *c = NEW(struct real_check);
    *c = (struct real_check){
        .target = t, .reply = reply, .ctx = ctx, .last = last, .due = 1, .next = stop_all};
    t->check = c;
    for (uint32_t node = 1; node <= t->nodes; node++) {
        struct host *h = &t->hosts[node - 1];
        c->ran[node - 1] = h->state == HOST_UP;
        if (c->ran[node - 1]) {
            host_pause(h, false); /* a node that is paused neither answers nor stops */
            target_real_call(target, node, "status", (struct bytes){0}, on_status, expect(c, node));
        }
    }
    arrive(c);
}

void target_real_check_close(struct target_real *t)
{
    if (t->check != NULL) {
        t->check->given_up = true; /* it ends with the replies that it waits for */
    }
}

/* Changes of the membership, as people ask for them: one server is added as a learner, promoted to
 * a voter, or removed (thesis §4). The leader proposes the new configuration and answers when it is
 * committed; any other node asks the leader. */
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "node/node_internal.h"
#include "wire/writer.h"

enum { RETRY_US = 20000 }; /* while the core is busy: a learner catches up, a term begins */

static const char *const methods[] = {
    [CHANGE_ADD] = "members_add",
    [CHANGE_PROMOTE] = "members_promote",
    [CHANGE_REMOVE] = "members_remove",
};

static void refuse(struct node *n, const struct change_request *q, enum err err,
                   const char *message)
{
    node_answer_later(n, q->reply, q->ctx, &(struct node_reply){.err = err, .message = message});
}

static void finish(struct node *n, enum err err, const char *message)
{
    struct change *c = &n->change;
    if (!c->active) {
        return;
    }
    c->active = false;
    struct buffer members = {0};
    if (err == ERR_OK) {
        status_members(n, &members);
    }
    node_answer_later(
        n, c->request.reply, c->request.ctx,
        &(struct node_reply){.err = err, .message = message, .result = buffer_bytes(&members)});
    buffer_close(&members);
}

/* ---- the configuration that is asked for ---------------------------------------------------- */

static struct membership_member *find_name(struct membership *m, const char *name)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (strcmp(m->at[i].name, name) == 0) {
            return &m->at[i];
        }
    }
    return NULL;
}

/* Errors: EXISTS (it is so already), CONFLICT, TOO_LARGE. */
static enum err add(struct membership *m, const struct change_request *q, raft_id id,
                    struct why *why)
{
    const struct membership_member *known = find_name(m, q->name);
    if (known != NULL) {
        return strcmp(known->address, q->address) == 0
                   ? ERR_EXISTS
                   : err_why(why, ERR_CONFLICT,
                             "%s is a member with another address, %s: remove it first", q->name,
                             known->address);
    }
    for (uint32_t i = 0; i < m->count; i++) {
        if (strcmp(m->at[i].address, q->address) == 0) {
            return err_why(why, ERR_CONFLICT, "%s is the peer address of another member, %s",
                           q->address, m->at[i].name);
        }
    }
    if (m->count == RAFT_MEMBERS_MAX) {
        return err_why(why, ERR_TOO_LARGE,
                       "the cluster has as many members as it can have, %d: remove one first",
                       RAFT_MEMBERS_MAX);
    }
    struct membership_member *member = &m->at[m->count++];
    *member = (struct membership_member){.id = id};
    snprintf(member->name, sizeof member->name, "%s", q->name);
    snprintf(member->address, sizeof member->address, "%s", q->address);
    membership_forgive(m, id);
    return ERR_OK;
}

static uint32_t count_voters(const struct membership *m)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        voters += m->at[i].voter;
    }
    return voters;
}

static enum err drop(struct membership *m, struct membership_member *member, struct why *why)
{
    if (member->voter && count_voters(m) == 1) {
        return err_why(why, ERR_INVALID, "%s is the only voter: promote another member first",
                       member->name);
    }
    membership_remember(m, member->id);
    *member = m->at[--m->count];
    return ERR_OK;
}

static enum err is_no_member(const struct membership *m, const char *name, struct why *why)
{
    const char *names[RAFT_MEMBERS_MAX];
    for (uint32_t i = 0; i < m->count; i++) {
        names[i] = m->at[i].name;
    }
    const char *nearest = nearest_name(name, names, m->count);
    if (nearest != NULL) {
        return err_why(why, ERR_NOT_FOUND, "%s is no member; did you mean %s?", name, nearest);
    }
    return err_why(why, ERR_NOT_FOUND, "%s is no member", name);
}

static enum err apply(struct membership *m, const struct change_request *q, raft_id new_id,
                      struct why *why)
{
    if (q->kind == CHANGE_ADD) {
        return add(m, q, new_id, why);
    }
    struct membership_member *member = find_name(m, q->name);
    if (member == NULL) {
        return is_no_member(m, q->name, why);
    }
    if (q->kind == CHANGE_REMOVE) {
        return drop(m, member, why);
    }
    bool voter = member->voter;
    member->voter = true;
    return voter ? ERR_EXISTS : ERR_OK;
}

/* ---- the leader ----------------------------------------------------------------------------- */

static raft_id id_of(const struct node *n, const char *name)
{
    return n->options.member_id != NULL ? n->options.member_id(name) : membership_id(name);
}

static void propose(struct node *n)
{
    struct change *c = &n->change;
    c->tried = true;
    c->retry_us = node_now(n) + RETRY_US;
    if (!node_is_leader(n)) {
        finish(n, ERR_NOT_LEADER, NULL);
        return;
    }
    struct membership members = *members_now(n);
    struct why why = {""};
    enum err err = apply(&members, &c->request, id_of(n, c->request.name), &why);
    if (err == ERR_EXISTS) {
        finish(n, ERR_OK, NULL);
        return;
    }
    if (err != ERR_OK) {
        finish(n, err, why.text);
        return;
    }
    err = offer_config(n, &members, &c->at);
    /* The change before this one is not committed, nor is an entry of the term, or the learner has
     * not caught up: all of that ends by itself. */
    bool later = err == ERR_BUSY || err == ERR_CONFLICT;
    if (err != ERR_OK && !later) {
        finish(n, err, NULL);
    }
}

void change_round(struct node *n)
{
    if (n->change.active && !n->change.tried) {
        propose(n);
    }
}

void change_applied(struct node *n, struct raft_pos pos)
{
    struct change *c = &n->change;
    if (!c->active || c->at.index == 0 || pos.index < c->at.index) {
        return;
    }
    bool ours = pos.index == c->at.index && pos.term == c->at.term;
    finish(n, ours ? ERR_OK : ERR_NOT_LEADER,
           ours ? NULL : "leadership changed meanwhile, and the change was not made: try again");
}

static bool lost(const struct node *n)
{
    const struct change *c = &n->change;
    return c->active && c->at.index != 0 && raft_term_at(n->raft, c->at.index) != c->at.term &&
           c->at.index > n->commit_index;
}

/* ---- asking --------------------------------------------------------------------------------- */

static void ask_leader(struct node *n, const struct change_request *q)
{
    const struct outlet *o = sender_outlet(n, raft_leader(n->raft));
    if (o == NULL || !o->up) {
        refuse(n, q, ERR_NOT_LEADER, "there is no leader to ask");
        return;
    }
    if (relay_is_full(n)) {
        refuse(n, q, ERR_BUSY, NULL);
        return;
    }
    struct buffer params = {0};
    write_array(&params, q->kind == CHANGE_ADD ? 3 : 2);
    write_text(&params, q->name);
    if (q->kind == CHANGE_ADD) {
        write_text(&params, q->address);
    }
    write_u64(&params, q->timeout_us / 1000);
    relay_request(n, o->id, methods[q->kind], buffer_bytes(&params), q->timeout_us, q->reply,
                  q->ctx);
    buffer_close(&params);
}

void change_begin(struct node *n, const struct change_request *q)
{
    struct why why = {""};
    if (q->kind == CHANGE_ADD && n->options.check_address != NULL &&
        n->options.check_address(q->address, &why) != ERR_OK) {
        refuse(n, q, ERR_INVALID, why.text);
    } else if (n->failed || n->stop.stage >= STOP_DRAIN) {
        refuse(n, q, ERR_SHUTDOWN, NULL);
    } else if (!node_is_leader(n)) {
        ask_leader(n, q);
    } else if (n->change.active) {
        refuse(n, q, ERR_BUSY, "another change of the membership is under way: one at a time");
    } else {
        n->change = (struct change){
            .active = true, .request = *q, .deadline_us = node_now(n) + q->timeout_us};
        node_want_round(n);
    }
}

/* ---- time ----------------------------------------------------------------------------------- */

void change_tick(struct node *n, uint64_t now_us)
{
    const struct change *c = &n->change;
    if (!c->active) {
        return;
    }
    if (lost(n)) {
        finish(n, ERR_NOT_LEADER, "leadership changed meanwhile, and the change was not made");
    } else if (now_us >= c->deadline_us && c->at.index != 0) {
        finish(n, ERR_OUTCOME_UNKNOWN,
               "the change is in the log and not committed yet: look at the members");
    } else if (now_us >= c->deadline_us) {
        finish(n, ERR_TIMEOUT,
               c->request.kind == CHANGE_PROMOTE
                   ? "the learner has not caught up, or the change before is not committed yet"
                   : "the change before is not committed yet");
    } else if (c->at.index == 0 && c->tried && now_us >= c->retry_us) {
        propose(n);
    }
}

uint64_t change_deadline(const struct node *n)
{
    const struct change *c = &n->change;
    if (!c->active) {
        return UINT64_MAX;
    }
    bool waits = c->at.index != 0 || !c->tried || c->deadline_us < c->retry_us;
    return waits ? c->deadline_us : c->retry_us;
}

void change_close(struct node *n)
{
    finish(n, n->change.at.index != 0 ? ERR_OUTCOME_UNKNOWN : ERR_SHUTDOWN, NULL);
}

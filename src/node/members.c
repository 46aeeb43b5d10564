/* Who is in the cluster. A configuration is in effect from the moment it is in the log, and no
 * longer when it is cut off again (thesis §4.1). */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"

static void push(struct members *m, raft_index index, const struct membership *members)
{
    if (m->count == m->capacity) {
        m->capacity = m->capacity == 0 ? 4 : m->capacity * 2;
        m->stack = alloc_resize(m->stack, m->capacity, sizeof *m->stack);
    }
    m->stack[m->count].index = index;
    m->stack[m->count].members = *members;
    m->count++;
}

void members_init(struct node *n, const struct membership *initial)
{
    push(&n->members, 0, initial);
}

void members_close(struct node *n)
{
    free(n->members.stack);
    n->members = (struct members){0};
}

const struct membership *members_now(const struct node *n)
{
    ASSERT(n->members.count > 0);
    return &n->members.stack[n->members.count - 1].members;
}

const struct membership *members_at(const struct node *n, raft_index index)
{
    size_t i = n->members.count - 1;
    while (i > 0 && n->members.stack[i].index > index) {
        i--;
    }
    return &n->members.stack[i].members;
}

void members_replace(struct node *n, raft_index index, const struct membership *members)
{
    n->members.count = 0;
    push(&n->members, index, members);
    if (n->started) {
        sender_follow_members(n);
    }
}

enum err members_append(struct node *n, raft_index index, struct bytes payload)
{
    struct membership members;
    enum err e = membership_decode(payload, &members);
    if (e == ERR_OK) {
        push(&n->members, index, &members);
        if (n->started) {
            sender_follow_members(n);
        }
    }
    return e;
}

void members_append_received(struct node *n, raft_index index, struct bytes body)
{
    struct entry entry;
    enum err e = entry_decode(body, &entry);
    ASSERT(e == ERR_OK); /* raft_message_decode() checked it */
    e = members_append(n, index, entry.payload);
    ASSERT(e == ERR_OK);
}

void members_truncate(struct node *n, raft_index from)
{
    size_t before = n->members.count;
    while (n->members.count > 1 && n->members.stack[n->members.count - 1].index >= from) {
        n->members.count--;
    }
    if (n->members.count != before && n->started) {
        sender_follow_members(n);
    }
}

static void tell_changes(struct node *n, const struct membership *from, const struct membership *to,
                         raft_index index)
{
    for (uint32_t i = 0; i < to->count; i++) {
        const struct membership_member *before = membership_find(from, to->at[i].id);
        if (before == NULL) {
            news_member(n, "member_added", &to->at[i], index);
        } else if (to->at[i].voter && !before->voter) {
            news_member(n, "member_promoted", &to->at[i], index);
        }
    }
    for (uint32_t i = 0; i < from->count; i++) {
        if (membership_find(to, from->at[i].id) == NULL) {
            news_member(n, "member_removed", &from->at[i], index);
        }
    }
}

void members_applied(struct node *n, raft_index index)
{
    struct members *m = &n->members;
    size_t at = m->count - 1;
    while (at > 0 && m->stack[at].index != index) {
        at--;
    }
    if (at == 0) {
        return; /* a snapshot brought it */
    }
    tell_changes(n, &m->stack[at - 1].members, &m->stack[at].members, index);
    /* What is committed is never cut off: the ones before will not be needed. */
    m->count -= at;
    memmove(m->stack, m->stack + at, m->count * sizeof *m->stack);
    if (n->started) {
        sender_follow_members(n);
    }
}

const struct membership *members_committed(const struct node *n)
{
    return &n->members.stack[0].members;
}

raft_index members_committed_index(const struct node *n)
{
    return n->members.stack[0].index;
}

const char *members_name(const struct node *n, raft_id id)
{
    const struct membership_member *m = membership_find(members_now(n), id);
    return m != NULL ? m->name : "";
}

const char *members_address(const struct node *n, raft_id id)
{
    const struct membership_member *m = membership_find(members_now(n), id);
    return m != NULL ? m->address : "";
}

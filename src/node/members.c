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

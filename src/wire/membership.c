#include "wire/membership.h"

#include <string.h>

#include <xxhash.h>

#include "base/assert.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { MEMBERSHIP_VERSION = 1, MEMBER_FIELDS = 4 };

void membership_encode(const struct membership *m, struct buffer *out)
{
    ASSERT(m->count <= RAFT_MEMBERS_MAX);
    ASSERT(m->removed_count <= MEMBERSHIP_REMOVED_MAX);
    write_array(out, 3);
    write_u64(out, MEMBERSHIP_VERSION);
    write_array(out, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct membership_member *member = &m->at[i];
        write_array(out, MEMBER_FIELDS);
        write_u64(out, member->id);
        write_text(out, member->name);
        write_text(out, member->address);
        write_bool(out, member->voter);
    }
    write_array(out, m->removed_count);
    for (uint32_t i = 0; i < m->removed_count; i++) {
        write_u64(out, m->removed[i]);
    }
}

static void read_member(struct reader *r, struct membership_member *out)
{
    read_array_of(r, MEMBER_FIELDS);
    out->id = read_u64(r);
    read_text(r, out->name, sizeof out->name);
    read_text(r, out->address, sizeof out->address);
    out->voter = read_bool(r);
}

/* A member is not among the removed, nor is any id there twice. */
static void read_removed(struct reader *r, struct membership *out)
{
    uint32_t count = read_array(r);
    if (count > MEMBERSHIP_REMOVED_MAX) {
        reader_fail(r, ERR_INVALID);
    }
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        raft_id id = read_u64(r);
        if (r->err == ERR_OK &&
            (id == 0 || membership_find(out, id) != NULL || membership_was_removed(out, id))) {
            reader_fail(r, ERR_INVALID);
        }
        out->removed[out->removed_count++] = id;
    }
}

enum err membership_decode(struct bytes payload, struct membership *out)
{
    struct reader r = reader_of(payload);
    *out = (struct membership){0};
    read_array_of(&r, 3);
    uint64_t version = read_u64(&r);
    if (r.err == ERR_OK && version != MEMBERSHIP_VERSION) {
        return ERR_VERSION;
    }
    uint32_t count = read_array(&r);
    if (count > RAFT_MEMBERS_MAX) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct membership_member *member = &out->at[i];
        read_member(&r, member);
        if (r.err == ERR_OK &&
            (member->id == 0 || member->name[0] == 0 || membership_find(out, member->id) != NULL ||
             membership_find_name(out, member->name) != NULL)) {
            reader_fail(&r, ERR_INVALID);
        }
        out->count = i + 1;
    }
    read_removed(&r, out);
    enum err e = reader_end(&r);
    if (e != ERR_OK) {
        out->count = 0;
        out->removed_count = 0;
    }
    return e;
}

void membership_to_raft(const struct membership *m, struct raft_members *out)
{
    out->count = m->count;
    for (uint32_t i = 0; i < m->count; i++) {
        out->at[i] = (struct raft_member){.id = m->at[i].id, .voter = m->at[i].voter};
    }
}

const struct membership_member *membership_find(const struct membership *m, raft_id id)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->at[i].id == id) {
            return &m->at[i];
        }
    }
    return NULL;
}

const struct membership_member *membership_find_name(const struct membership *m, const char *name)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (strcmp(m->at[i].name, name) == 0) {
            return &m->at[i];
        }
    }
    return NULL;
}

bool membership_was_removed(const struct membership *m, raft_id id)
{
    for (uint32_t i = 0; i < m->removed_count; i++) {
        if (m->removed[i] == id) {
            return true;
        }
    }
    return false;
}

static void take_out(struct membership *m, uint32_t at)
{
    m->removed_count--;
    memmove(m->removed + at, m->removed + at + 1, (m->removed_count - at) * sizeof *m->removed);
}

void membership_remember(struct membership *m, raft_id id)
{
    membership_forgive(m, id);
    if (m->removed_count == MEMBERSHIP_REMOVED_MAX) {
        take_out(m, 0);
    }
    m->removed[m->removed_count++] = id;
}

void membership_forgive(struct membership *m, raft_id id)
{
    for (uint32_t i = 0; i < m->removed_count; i++) {
        if (m->removed[i] == id) {
            take_out(m, i);
            return;
        }
    }
}

raft_id membership_id(const char *name)
{
    raft_id id = XXH3_64bits(name, strlen(name));
    return id == 0 ? 1 : id;
}

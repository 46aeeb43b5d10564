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
    write_array(out, 2);
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
}

static void read_member(struct reader *r, struct membership_member *out)
{
    read_array_of(r, MEMBER_FIELDS);
    out->id = read_u64(r);
    read_text(r, out->name, sizeof out->name);
    read_text(r, out->address, sizeof out->address);
    out->voter = read_bool(r);
}

enum err membership_decode(struct bytes payload, struct membership *out)
{
    struct reader r = reader_of(payload);
    *out = (struct membership){0};
    read_array_of(&r, 2);
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
    enum err e = reader_end(&r);
    if (e != ERR_OK) {
        out->count = 0;
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

raft_id membership_id(const char *name)
{
    raft_id id = XXH3_64bits(name, strlen(name));
    return id == 0 ? 1 : id;
}

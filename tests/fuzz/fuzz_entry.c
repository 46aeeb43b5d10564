/* Log entries and memberships: what decodes must encode to something that decodes to the same. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "wire/entry.h"
#include "wire/membership.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(struct bytes input)
{
    struct entry e, back;
    if (entry_decode(input, &e) != ERR_OK) {
        return;
    }
    struct buffer b = {0};
    entry_encode(&e, &b);
    ASSERT(entry_decode(buffer_bytes(&b), &back) == ERR_OK);
    ASSERT(entry_kind_of(buffer_bytes(&b)) == e.kind);
    ASSERT(bytes_equal(e.machine, back.machine));
    ASSERT(bytes_equal(e.payload, back.payload));
    ASSERT(memcmp(e.session, back.session, sizeof e.session) == 0);
    ASSERT(e.seq == back.seq);
    ASSERT(e.time_ms == back.time_ms);
    buffer_close(&b);
}

static void check_membership(struct bytes input)
{
    struct membership m, back;
    if (membership_decode(input, &m) != ERR_OK) {
        return;
    }
    ASSERT(m.count <= RAFT_MEMBERS_MAX);
    struct buffer b = {0};
    membership_encode(&m, &b);
    ASSERT(membership_decode(buffer_bytes(&b), &back) == ERR_OK);
    ASSERT(back.count == m.count);
    for (uint32_t i = 0; i < m.count; i++) {
        ASSERT(membership_find(&back, m.at[i].id) == &back.at[i]);
        ASSERT(membership_find_name(&back, m.at[i].name) == &back.at[i]);
    }
    buffer_close(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_entry(bytes_of(data, size));
    check_membership(bytes_of(data, size));
    return 0;
}

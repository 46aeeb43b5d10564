#include "wire/entry.h"

#include <string.h>

#include "base/assert.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { ENTRY_FIELDS = 6, ENTRY_HEAD_CODE = 0x90 | ENTRY_FIELDS };

void entry_encode(const struct entry *e, struct buffer *out)
{
    static const uint8_t no_session[ENTRY_SESSION_BYTES];
    ASSERT(e->kind < ENTRY_KIND_COUNT);
    ASSERT(e->machine.size <= ENTRY_MACHINE_NAME_MAX);

    bool has_session = memcmp(e->session, no_session, sizeof no_session) != 0;
    buffer_reserve(out, e->payload.size + 128); /* one growth at most */
    write_array(out, ENTRY_FIELDS);
    write_u64(out, e->kind);
    write_str(out, e->machine);
    write_bin(out, bytes_of(e->session, has_session ? sizeof e->session : 0));
    write_u64(out, e->seq);
    write_i64(out, e->time_ms);
    write_bin(out, e->payload);
}

enum err entry_decode(struct bytes body, struct entry *out)
{
    struct reader r = reader_of(body);
    read_array_of(&r, ENTRY_FIELDS);
    uint32_t kind = read_u32_max(&r, ENTRY_KIND_COUNT - 1);
    *out = (struct entry){.kind = (enum entry_kind)kind};
    out->machine = read_str(&r, ENTRY_MACHINE_NAME_MAX);
    struct bytes session = read_bin(&r, ENTRY_SESSION_BYTES);
    if (session.size == ENTRY_SESSION_BYTES) {
        memcpy(out->session, session.data, sizeof out->session);
    } else if (session.size != 0) {
        reader_fail(&r, ERR_INVALID);
    }
    out->seq = read_u64(&r);
    uint64_t time_ms = read_u64(&r);
    if (time_ms > ENTRY_TIME_MS_MAX) {
        reader_fail(&r, ERR_INVALID);
    }
    out->time_ms = (int64_t)time_ms;
    out->payload = read_bin(&r, SIZE_MAX);
    return reader_end(&r);
}

enum entry_kind entry_kind_of(struct bytes body)
{
    if (body.size < 2 || body.data[0] != ENTRY_HEAD_CODE || body.data[1] >= ENTRY_KIND_COUNT) {
        return ENTRY_KIND_COUNT;
    }
    return (enum entry_kind)body.data[1];
}

const char *entry_kind_name(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_NOOP:
        return "noop";
    case ENTRY_COMMAND:
        return "command";
    case ENTRY_CONFIG:
        return "config";
    case ENTRY_MACHINE:
        return "machine";
    case ENTRY_SESSION:
        return "session";
    case ENTRY_KIND_COUNT:
        break;
    }
    return "unknown";
}

struct bytes entry_command(struct bytes payload, uint64_t *fence)
{
    *fence = 0;
    struct reader r = reader_of(payload);
    uint32_t count = read_array(&r);
    if (count != 2 || reader_peek(&r) != WIRE_UINT) {
        return payload;
    }
    *fence = read_u64(&r);
    return read_raw(&r);
}

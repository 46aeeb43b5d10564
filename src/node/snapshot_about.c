#include "node/snapshots.h"

#include "wire/reader.h"
#include "wire/writer.h"

enum { ABOUT_VERSION = 1 };

void snapshot_about_encode(const struct snapshot_about *about, struct buffer *out)
{
    write_array(out, 3);
    write_u64(out, ABOUT_VERSION);
    write_i64(out, about->time_ms);
    membership_encode(&about->members, out);
}

enum err snapshot_about_decode(struct bytes encoded, struct snapshot_about *out)
{
    struct reader r = reader_of(encoded);
    uint32_t count = read_array(&r);
    uint64_t version = read_u64(&r);
    if (r.err == ERR_OK && (version != ABOUT_VERSION || count != 3)) {
        reader_fail(&r, ERR_VERSION);
    }
    out->time_ms = read_i64(&r);
    if (r.err == ERR_OK && (out->time_ms < 0 || out->time_ms > ENTRY_TIME_MS_MAX)) {
        reader_fail(&r, ERR_INVALID);
    }
    struct bytes members = read_raw(&r);
    enum err e = reader_end(&r);
    return e == ERR_OK ? membership_decode(members, &out->members) : e;
}

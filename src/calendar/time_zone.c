#include "calendar/time_zone.h"

#include <string.h>

enum {
    HEADER_BYTES = 44,
    TYPE_BYTES = 6,
    TYPES_MAX = 256,
    /* Twice what any place has ever had; RFC 8536 asks readers to refuse nothing below. */
    OFFSET_MAX_S = 26 * 3600,
};

/* The six counts of a header (RFC 8536, §3.1), in their order. */
struct counts {
    uint32_t ut_marks, standard_marks, leaps, changes, types, name_bytes;
};

/* One of the two data blocks; the first has times of 32 bits. */
struct block {
    const uint8_t *data;
    struct counts counts;
    size_t time_bytes;
    size_t size;
};

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t read_time(const uint8_t *at, size_t time_bytes)
{
    if (time_bytes == 4) {
        return (int32_t)read_u32(at);
    }
    return (int64_t)((uint64_t)read_u32(at) << 32 | read_u32(at + 4));
}

/* The block whose header is at offset; false if it does not lie within the file. */
static bool find_block(struct bytes file, size_t offset, size_t time_bytes, struct block *out)
{
    if (offset > file.size || file.size - offset < HEADER_BYTES ||
        memcmp(file.data + offset, "TZif", 4) != 0) {
        return false;
    }
    const uint8_t *at = file.data + offset + 20;
    struct counts *c = &out->counts;
    uint32_t *const fields[] = {&c->ut_marks, &c->standard_marks, &c->leaps,
                                &c->changes,  &c->types,          &c->name_bytes};
    for (size_t i = 0; i < 6; i++) {
        *fields[i] = read_u32(at + 4 * i);
        if (*fields[i] > file.size) { /* also: the sum below cannot overflow */
            return false;
        }
    }
    out->data = file.data + offset + HEADER_BYTES;
    out->time_bytes = time_bytes;
    out->size = (size_t)c->changes * (time_bytes + 1) + (size_t)c->types * TYPE_BYTES +
                c->name_bytes + (size_t)c->leaps * (time_bytes + 4) + c->standard_marks +
                c->ut_marks;
    return out->size <= file.size - offset - HEADER_BYTES;
}

/* The block to be used, and the rule behind it. */
static bool find_data(struct bytes file, struct block *out, struct bytes *rule)
{
    *rule = (struct bytes){0};
    if (!find_block(file, 0, 4, out)) {
        return false;
    }
    if (file.data[4] == 0) { /* version 1 */
        return true;
    }
    if (!find_block(file, HEADER_BYTES + out->size, 8, out)) {
        return false;
    }
    const uint8_t *at = out->data + out->size, *end = file.data + file.size;
    if (at == end || *at != '\n') {
        return false;
    }
    const uint8_t *newline = memchr(at + 1, '\n', (size_t)(end - at - 1));
    if (newline == NULL) {
        return false;
    }
    *rule = bytes_of(at + 1, (size_t)(newline - at - 1));
    return true;
}

static size_t size_for(uint32_t changes)
{
    return sizeof(struct time_zone) + (size_t)changes * sizeof(struct time_zone_change);
}

size_t time_zone_size(struct bytes file)
{
    struct block block;
    struct bytes rule;
    return size_for(find_data(file, &block, &rule) ? block.counts.changes : 0);
}

/* Offset of a type; false if it is none that clocks have. */
static bool read_type(const struct block *b, uint32_t type, int32_t *out)
{
    const uint8_t *types = b->data + (size_t)b->counts.changes * (b->time_bytes + 1);
    if (type >= b->counts.types) {
        return false;
    }
    *out = (int32_t)read_u32(types + (size_t)type * TYPE_BYTES);
    return *out >= -OFFSET_MAX_S && *out <= OFFSET_MAX_S;
}

static bool read_changes(const struct block *b, struct time_zone *out)
{
    const uint8_t *types = b->data + (size_t)b->counts.changes * b->time_bytes;
    if (b->counts.types > TYPES_MAX || !read_type(b, 0, &out->first_offset_s)) {
        return false;
    }
    for (uint32_t i = 0; i < b->counts.changes; i++) {
        struct time_zone_change *change = &out->changes[i];
        change->at_s = read_time(b->data + i * b->time_bytes, b->time_bytes);
        if ((i > 0 && change->at_s <= change[-1].at_s) ||
            !read_type(b, types[i], &change->offset_s)) {
            return false;
        }
    }
    out->changes_count = b->counts.changes;
    return true;
}

void time_zone_utc(struct time_zone *out)
{
    *out = (struct time_zone){0};
}

enum err time_zone_read(const char *name, struct bytes file, struct time_zone *out, struct why *why)
{
    struct block block;
    struct bytes rule;
    time_zone_utc(out);
    if (!find_data(file, &block, &rule)) {
        return err_why(why, ERR_INVALID,
                       "time zone %s: this is not a file of the tz database (TZif), or only a part "
                       "of one",
                       name);
    }
    if (block.counts.leaps > 0) {
        return err_why(why, ERR_INVALID,
                       "time zone %s counts leap seconds, which clocks do not; use the zone of the "
                       "same name without \"right/\"",
                       name);
    }
    out->has_rule = rule.size > 0;
    if (!read_changes(&block, out) || (out->has_rule && !zone_rule_parse(rule, &out->rule))) {
        return err_why(why, ERR_INVALID, "time zone %s: the file (TZif) is damaged", name);
    }
    return ERR_OK;
}

struct time_zone_span time_zone_span(const struct time_zone *zone, int64_t at_s)
{
    uint32_t low = 0, high = zone->changes_count; /* of how many has the moment come? */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zone->changes[middle].at_s <= at_s) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct time_zone_change *last = low > 0 ? &zone->changes[low - 1] : NULL;
    int64_t from_s = last != NULL ? last->at_s : INT64_MIN;
    if (low == zone->changes_count && zone->has_rule) {
        struct time_zone_span span = zone_rule_span(&zone->rule, at_s);
        span.from_s = span.from_s > from_s ? span.from_s : from_s;
        return span;
    }
    return (struct time_zone_span){
        .from_s = from_s,
        .to_s = low < zone->changes_count ? zone->changes[low].at_s : INT64_MAX,
        .offset_s = last != NULL ? last->offset_s : zone->first_offset_s,
    };
}

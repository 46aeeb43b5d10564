#include "store/segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "store/little_endian.h"

/* The header: magic, version, checksum of the rest, then the fields in the order of the struct. */
static const char magic[7] = {'M', 'K', '-', 'W', 'A', 'L', '\n'};
enum {
    FORMAT_VERSION = 1,
    HEADER_VERSION_AT = sizeof magic,
    HEADER_CHECK_AT = 8,
    HEADER_FIELDS_AT = 16,
    HEADER_END = HEADER_FIELDS_AT + STORE_UUID_BYTES + 11 * 8,
};

enum { RECORD_ENDS_BATCH = 1 };

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES])
{
    memset(out, 0, SEGMENT_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    out[HEADER_VERSION_AT] = FORMAT_VERSION;
    uint8_t *to = out + HEADER_FIELDS_AT;
    memcpy(to, h->uuid, STORE_UUID_BYTES);
    to = put_u64(to + STORE_UUID_BYTES, h->sequence);
    to = put_u64(to, h->salt);
    to = put_u64(to, h->previous_salt);
    to = put_u64(to, h->previous_end_bytes);
    to = put_u64(to, h->first_batch);
    to = put_u64(to, h->term);
    to = put_u64(to, h->vote);
    to = put_u64(to, h->last.index);
    to = put_u64(to, h->last.term);
    to = put_u64(to, h->base.index);
    to = put_u64(to, h->base.term);
    ASSERT(to == out + HEADER_END);
    put_u64(out + HEADER_CHECK_AT,
            XXH3_64bits(out + HEADER_FIELDS_AT, HEADER_END - HEADER_FIELDS_AT));
}

enum err segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *out)
{
    if (memcmp(in, magic, sizeof magic) != 0) {
        return ERR_CORRUPT;
    }
    uint64_t check;
    get_u64(in + HEADER_CHECK_AT, &check);
    bool sound = check == XXH3_64bits(in + HEADER_FIELDS_AT, HEADER_END - HEADER_FIELDS_AT);
    if (in[HEADER_VERSION_AT] != FORMAT_VERSION) {
        return sound ? ERR_CORRUPT
                     : ERR_VERSION; /* our layout: only the byte of the version is wrong */
    }
    if (!sound) {
        return ERR_CORRUPT;
    }
    const uint8_t *from = in + HEADER_FIELDS_AT;
    memcpy(out->uuid, from, STORE_UUID_BYTES);
    from = get_u64(from + STORE_UUID_BYTES, &out->sequence);
    from = get_u64(from, &out->salt);
    from = get_u64(from, &out->previous_salt);
    from = get_u64(from, &out->previous_end_bytes);
    from = get_u64(from, &out->first_batch);
    from = get_u64(from, &out->term);
    from = get_u64(from, &out->vote);
    from = get_u64(from, &out->last.index);
    from = get_u64(from, &out->last.term);
    from = get_u64(from, &out->base.index);
    get_u64(from, &out->base.term);
    return ERR_OK;
}

/* A record's header: checksum of the header, checksum of the body, batch, index, term, and a word
 * of body size, kind and flags. */
enum { RECORD_FIELDS_AT = 8, RECORD_WORD_AT = 40 };

static uint64_t header_check(uint64_t salt, const uint8_t *header)
{
    return XXH3_64bits_withSeed(header + RECORD_FIELDS_AT, RECORD_HEADER_BYTES - RECORD_FIELDS_AT,
                                salt);
}

void record_encode(uint64_t salt, struct record *r, struct bytes body,
                   uint8_t out[RECORD_HEADER_BYTES])
{
    ASSERT(body.size == r->body_bytes);
    ASSERT(r->body_bytes <= STORE_ENTRY_BYTES_MAX);
    r->body_check = XXH3_64bits_withSeed(body.data, body.size, salt);
    uint64_t flags = r->ends_batch ? RECORD_ENDS_BATCH : 0;
    uint8_t *to = put_u64(out + RECORD_FIELDS_AT, r->body_check);
    to = put_u64(to, r->batch);
    to = put_u64(to, r->index);
    to = put_u64(to, r->term);
    put_u64(to, r->body_bytes | (uint64_t)r->kind << 32 | flags << 40);
    put_u64(out, header_check(salt, out));
}

bool record_decode(uint64_t salt, const uint8_t in[RECORD_HEADER_BYTES], struct record *out)
{
    uint64_t word, check;
    get_u64(in + RECORD_WORD_AT, &word);
    uint64_t kind = word >> 32 & 0xff;
    /* The cheap test first: a search tries this at every place of a file. */
    if (kind == 0 || kind >= RECORD_KIND_END || word >> 41 != 0 ||
        (uint32_t)word > STORE_ENTRY_BYTES_MAX) {
        return false;
    }
    get_u64(in, &check);
    if (check != header_check(salt, in)) {
        return false;
    }
    const uint8_t *from = get_u64(in + RECORD_FIELDS_AT, &out->body_check);
    from = get_u64(from, &out->batch);
    from = get_u64(from, &out->index);
    get_u64(from, &out->term);
    out->body_bytes = (uint32_t)word;
    out->kind = (enum record_kind)kind;
    out->ends_batch = (word >> 40 & RECORD_ENDS_BATCH) != 0;
    return true;
}

bool record_body_matches(uint64_t salt, const struct record *r, const uint8_t *body)
{
    return r->body_check == XXH3_64bits_withSeed(body, r->body_bytes, salt);
}

void segment_name(uint64_t sequence, char out[SEGMENT_NAME_BYTES])
{
    snprintf(out, SEGMENT_NAME_BYTES, "wal/%016" PRIx64 ".log", sequence);
}

void spare_name(uint64_t number, char out[SEGMENT_NAME_BYTES])
{
    snprintf(out, SEGMENT_NAME_BYTES, "wal/%016" PRIx64 ".spare", number);
}

static bool parse_hex(const char *text, uint64_t *number)
{
    *number = 0;
    for (int i = 0; i < 16; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = text[i] != 0 ? strchr(digits, text[i]) : NULL;
        if (digit == NULL) {
            return false;
        }
        *number = *number << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

enum segment_name_kind segment_name_parse(const char *name, uint64_t *number)
{
    if (!parse_hex(name, number)) {
        return NAME_UNKNOWN;
    }
    if (strcmp(name + 16, ".log") == 0) {
        return NAME_OF_SEGMENT;
    }
    return strcmp(name + 16, ".spare") == 0 ? NAME_OF_SPARE : NAME_UNKNOWN;
}

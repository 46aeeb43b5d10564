#include "store/snapshot_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "store/little_endian.h"

static const char header_magic[7] = {'M', 'K', '-', 'S', 'N', 'P', '\n'};
static const char footer_magic[8] = {'M', 'K', '-', 'S', 'N', 'P', 'E', '\n'};

enum {
    FORMAT_VERSION = 1,
    VERSION_AT = sizeof header_magic,
    CHECK_AT = 8,
    FIELDS_AT = 16,
    INDEX_DIGITS = 16,
};

/* ---- header --------------------------------------------------------------------------------- */

static uint64_t header_check(const uint8_t *header)
{
    return XXH3_64bits(header + FIELDS_AT, SNAPSHOT_HEADER_BYTES - FIELDS_AT);
}

void snapshot_header_encode(struct snapshot_header *h, struct bytes about,
                            uint8_t out[SNAPSHOT_HEADER_BYTES])
{
    ASSERT(about.size <= STORE_ABOUT_BYTES_MAX);
    h->about_bytes = (uint32_t)about.size;
    h->about_check = XXH3_64bits(about.data, about.size);
    memcpy(out, header_magic, sizeof header_magic);
    out[VERSION_AT] = FORMAT_VERSION;
    uint8_t *to = put_u64(out + FIELDS_AT, h->cluster_id);
    to = put_u64(to, h->last.index);
    to = put_u64(to, h->last.term);
    to = put_u64(to, h->pairs);
    to = put_u64(to, h->hash.lo);
    to = put_u64(to, h->hash.hi);
    to = put_u64(to, h->content_bytes);
    to = put_u64(to, h->about_bytes);
    to = put_u64(to, h->about_check);
    ASSERT(to == out + SNAPSHOT_HEADER_BYTES);
    put_u64(out + CHECK_AT, header_check(out));
}

enum err snapshot_header_decode(const uint8_t in[SNAPSHOT_HEADER_BYTES],
                                struct snapshot_header *out)
{
    if (memcmp(in, header_magic, sizeof header_magic) != 0) {
        return ERR_CORRUPT;
    }
    uint64_t check, about_bytes;
    get_u64(in + CHECK_AT, &check);
    bool sound = check == header_check(in);
    if (in[VERSION_AT] != FORMAT_VERSION) {
        return sound ? ERR_CORRUPT
                     : ERR_VERSION; /* our layout: only the byte of the version is wrong */
    }
    if (!sound) {
        return ERR_CORRUPT;
    }
    const uint8_t *from = get_u64(in + FIELDS_AT, &out->cluster_id);
    from = get_u64(from, &out->last.index);
    from = get_u64(from, &out->last.term);
    from = get_u64(from, &out->pairs);
    from = get_u64(from, &out->hash.lo);
    from = get_u64(from, &out->hash.hi);
    from = get_u64(from, &out->content_bytes);
    from = get_u64(from, &about_bytes);
    get_u64(from, &out->about_check);
    if (about_bytes > STORE_ABOUT_BYTES_MAX || out->last.index == 0 || out->last.term == 0) {
        return ERR_CORRUPT;
    }
    out->about_bytes = (uint32_t)about_bytes;
    return ERR_OK;
}

bool snapshot_about_matches(const struct snapshot_header *h, const uint8_t *about)
{
    return h->about_check == XXH3_64bits(about, h->about_bytes);
}

/* ---- blocks --------------------------------------------------------------------------------- */

enum { BLOCK_FIELDS_AT = 8 };

static uint64_t block_check(const uint8_t *block, uint64_t pairs_bytes)
{
    return XXH3_64bits(block + BLOCK_FIELDS_AT,
                       SNAPSHOT_BLOCK_HEADER_BYTES - BLOCK_FIELDS_AT + pairs_bytes);
}

void snapshot_block_begin(struct buffer *block)
{
    static const uint8_t header[SNAPSHOT_BLOCK_HEADER_BYTES];
    buffer_clear(block);
    buffer_add(block, header, sizeof header);
}

bool snapshot_block_add(struct buffer *block, struct bytes key, struct bytes value)
{
    ASSERT(key.size <= STATE_KEY_BYTES_MAX);
    ASSERT(value.size <= STATE_VALUE_BYTES_MAX);
    size_t there = block->size - SNAPSHOT_BLOCK_HEADER_BYTES;
    size_t more = SNAPSHOT_PAIR_HEADER_BYTES + key.size + value.size;
    if (there > 0 && there + more > SNAPSHOT_BLOCK_BYTES) {
        return false;
    }
    uint8_t header[SNAPSHOT_PAIR_HEADER_BYTES];
    put_u32(put_u32(header, (uint32_t)key.size), (uint32_t)value.size);
    buffer_add(block, header, sizeof header);
    buffer_add_bytes(block, key);
    buffer_add_bytes(block, value);
    return true;
}

void snapshot_block_finish(struct buffer *block, uint32_t pairs)
{
    size_t bytes = block->size - SNAPSHOT_BLOCK_HEADER_BYTES;
    ASSERT(bytes > 0);
    ASSERT(bytes <= SNAPSHOT_BLOCK_BYTES_MAX);
    put_u32(put_u32(block->data + BLOCK_FIELDS_AT, (uint32_t)bytes), pairs);
    put_u64(block->data, block_check(block->data, bytes));
}

bool snapshot_block_decode(const uint8_t in[SNAPSHOT_BLOCK_HEADER_BYTES],
                           struct snapshot_block_header *out)
{
    const uint8_t *from = get_u64(in, &out->check);
    get_u32(get_u32(from, &out->bytes), &out->pairs);
    return out->bytes > 0 && out->bytes <= SNAPSHOT_BLOCK_BYTES_MAX && out->pairs > 0 &&
           out->pairs <= out->bytes / SNAPSHOT_PAIR_HEADER_BYTES;
}

bool snapshot_block_matches(const struct snapshot_block_header *h, const uint8_t *in)
{
    return h->check == block_check(in, h->bytes);
}

enum err snapshot_pair_take(struct bytes *pairs, struct bytes *key, struct bytes *value)
{
    if (pairs->size == 0) {
        return ERR_NOT_FOUND;
    }
    if (pairs->size < SNAPSHOT_PAIR_HEADER_BYTES) {
        return ERR_CORRUPT;
    }
    uint32_t key_bytes, value_bytes;
    const uint8_t *from = get_u32(get_u32(pairs->data, &key_bytes), &value_bytes);
    size_t left = pairs->size - SNAPSHOT_PAIR_HEADER_BYTES;
    if (key_bytes > STATE_KEY_BYTES_MAX || value_bytes > STATE_VALUE_BYTES_MAX ||
        (size_t)key_bytes + value_bytes > left) {
        return ERR_CORRUPT;
    }
    *key = bytes_of(from, key_bytes);
    *value = bytes_of(from + key_bytes, value_bytes);
    *pairs = bytes_of(value->data + value_bytes, left - key_bytes - value_bytes);
    return ERR_OK;
}

/* ---- footer --------------------------------------------------------------------------------- */

void snapshot_footer_encode(uint64_t file_bytes, uint8_t out[SNAPSHOT_FOOTER_BYTES - 8])
{
    memcpy(out, footer_magic, sizeof footer_magic);
    put_u64(out + sizeof footer_magic, file_bytes);
}

void snapshot_footer_seal(uint64_t check, uint8_t out[8])
{
    put_u64(out, check);
}

bool snapshot_footer_decode(const uint8_t in[SNAPSHOT_FOOTER_BYTES], struct snapshot_footer *out)
{
    get_u64(get_u64(in + sizeof footer_magic, &out->file_bytes), &out->check);
    return memcmp(in, footer_magic, sizeof footer_magic) == 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

static void name_with(struct store_pos last, const char *ending, char out[SNAPSHOT_NAME_BYTES])
{
    snprintf(out, SNAPSHOT_NAME_BYTES, "snapshot/%016" PRIx64 "-%016" PRIx64 "%s", last.index,
             last.term, ending);
}

void snapshot_name(struct store_pos last, char out[SNAPSHOT_NAME_BYTES])
{
    name_with(last, ".snap", out);
}

void snapshot_new_name(struct store_pos last, char out[SNAPSHOT_NAME_BYTES])
{
    name_with(last, ".new", out);
}

void snapshot_damaged_name(struct store_pos last, char out[SNAPSHOT_NAME_BYTES])
{
    name_with(last, ".damaged", out);
}

enum snapshot_name_kind snapshot_name_parse(const char *name, struct store_pos *last)
{
    size_t length = strlen(name);
    if (strcmp(name, "incoming") == 0 || (length > 4 && strcmp(name + length - 4, ".new") == 0)) {
        return SNAPSHOT_NAME_LEFT_OVER;
    }
    if (length != INDEX_DIGITS * 2 + sizeof "-.snap" - 1 ||
        sscanf(name, "%16" SCNx64 "-%16" SCNx64, &last->index, &last->term) != 2) {
        return SNAPSHOT_NAME_OTHER;
    }
    /* Only the name that would be given: sscanf takes more than that. */
    char full[SNAPSHOT_NAME_BYTES];
    snapshot_name(*last, full);
    return strcmp(full + sizeof "snapshot/" - 1, name) == 0 ? SNAPSHOT_NAME : SNAPSHOT_NAME_OTHER;
}

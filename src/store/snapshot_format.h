/* The format of a snapshot file: a header with what the node says of it, blocks of pairs in order
 * of their keys, a footer. See README.md for the layout. Nothing in it says who wrote it, so that
 * equal states give equal bytes. */
#ifndef MK_STORE_SNAPSHOT_FORMAT_H
#define MK_STORE_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "store/snapshot.h"

enum {
    SNAPSHOT_HEADER_BYTES = 88,
    SNAPSHOT_BLOCK_HEADER_BYTES = 16,
    SNAPSHOT_PAIR_HEADER_BYTES = 8,
    SNAPSHOT_FOOTER_BYTES = 24,
    /* A block ends before the pair that would make its pairs larger than this; a larger pair has a
     * block to itself. */
    SNAPSHOT_BLOCK_BYTES = 256 << 10,
    SNAPSHOT_BLOCK_BYTES_MAX =
        SNAPSHOT_PAIR_HEADER_BYTES + STATE_KEY_BYTES_MAX + STATE_VALUE_BYTES_MAX,
    SNAPSHOT_NAME_BYTES = 64,
};

struct snapshot_header {
    uint64_t cluster_id;
    struct store_pos last;
    uint64_t pairs;
    struct state_hash hash;
    uint64_t content_bytes; /* of keys and values */
    uint32_t about_bytes;
    uint64_t about_check;
};

/* Fills in about_bytes and about_check. about follows the header in the file. */
void snapshot_header_encode(struct snapshot_header *h, struct bytes about,
                            uint8_t out[SNAPSHOT_HEADER_BYTES]);
/* Errors: ERR_CORRUPT, ERR_VERSION. */
enum err snapshot_header_decode(const uint8_t in[SNAPSHOT_HEADER_BYTES],
                                struct snapshot_header *out);
bool snapshot_about_matches(const struct snapshot_header *h, const uint8_t *about);

struct snapshot_block_header {
    uint64_t check;
    uint32_t bytes; /* of the pairs; 1..SNAPSHOT_BLOCK_BYTES_MAX */
    uint32_t pairs;
};

/* Begins a block in an empty buffer; pairs are added; the header is filled in at the end. */
void snapshot_block_begin(struct buffer *block);
/* False: it does not fit any more, the block is to be finished first. */
bool snapshot_block_add(struct buffer *block, struct bytes key, struct bytes value);
void snapshot_block_finish(struct buffer *block, uint32_t pairs);

/* False: no block begins here. */
bool snapshot_block_decode(const uint8_t in[SNAPSHOT_BLOCK_HEADER_BYTES],
                           struct snapshot_block_header *out);
/* in: the block with its header, whole. */
bool snapshot_block_matches(const struct snapshot_block_header *h, const uint8_t *in);
/* Takes the first pair off *pairs. ERR_NOT_FOUND: there are no more. ERR_CORRUPT. */
enum err snapshot_pair_take(struct bytes *pairs, struct bytes *key, struct bytes *value);

struct snapshot_footer {
    uint64_t file_bytes;
    uint64_t check; /* XXH3 of the whole file up to here */
};

/* The last 8 bytes, the check, are added by the other function: it covers the rest. */
void snapshot_footer_encode(uint64_t file_bytes, uint8_t out[SNAPSHOT_FOOTER_BYTES - 8]);
void snapshot_footer_seal(uint64_t check, uint8_t out[8]);
/* False: this is no footer. */
bool snapshot_footer_decode(const uint8_t in[SNAPSHOT_FOOTER_BYTES], struct snapshot_footer *out);

/* "snapshot/<index>-<term>.snap" in hexadecimal, and what it is called until it is whole. */
void snapshot_name(struct store_pos last, char out[SNAPSHOT_NAME_BYTES]);
void snapshot_new_name(struct store_pos last, char out[SNAPSHOT_NAME_BYTES]);
/* What it is called when it was found damaged and set aside. */
void snapshot_damaged_name(struct store_pos last, char out[SNAPSHOT_NAME_BYTES]);
#define SNAPSHOT_INCOMING "snapshot/incoming"

enum snapshot_name_kind { SNAPSHOT_NAME, SNAPSHOT_NAME_LEFT_OVER, SNAPSHOT_NAME_OTHER };
/* name: without the directory. *last is for SNAPSHOT_NAME. LEFT_OVER: one that was not finished. */
enum snapshot_name_kind snapshot_name_parse(const char *name, struct store_pos *last);

#endif

/* The format of a segment file: a header page, then records. See README.md for the layout.
 *
 * Every checksum of a record is salted with the segment's salt, a fresh random number each time a
 * file is put to use, so that what an earlier use left in a recycled file does not read as new. */
#ifndef MK_STORE_SEGMENT_H
#define MK_STORE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "store/store.h"

enum {
    SEGMENT_HEADER_BYTES = 4096, /* where the records begin */
    RECORD_HEADER_BYTES = 48,
    RECORD_ALIGNMENT = 8,
    SEGMENT_NAME_BYTES = 32,
};

/* What stood when the segment was begun: a log can be recovered from any segment on. */
struct segment_header {
    uint8_t uuid[STORE_UUID_BYTES]; /* of the storage */
    uint64_t sequence;              /* 1, 2, ... without gaps; also the file's name */
    uint64_t salt;
    uint64_t previous_salt;      /* of segment sequence - 1; 0: there was none */
    uint64_t previous_end_bytes; /* where its records end; what follows there is void */
    uint64_t first_batch;        /* number of the first batch in here */
    uint64_t term;
    uint64_t vote;
    struct store_pos last;
    struct store_pos base;
};

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES]);
/* Errors: ERR_CORRUPT, ERR_VERSION. */
enum err segment_header_decode(const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *out);

enum record_kind {
    RECORD_ENTRY = 1,  /* index, term, body */
    RECORD_HARD_STATE, /* index: the vote; term */
    RECORD_TRUNCATE,   /* entries >= index are dropped */
    RECORD_BASE,       /* entries <= index (of this term) are no longer needed */
    RECORD_START,      /* a recovery ended here: an unfinished batch before it is void */
    RECORD_RESTART,    /* all entries are dropped; the log begins after this one: a snapshot's */
    RECORD_KIND_END,
};

struct record {
    uint64_t batch;
    uint64_t index;
    uint64_t term;
    uint64_t body_check;
    uint32_t body_bytes;
    enum record_kind kind;
    bool ends_batch;
};

/* Fills in r->body_check. */
void record_encode(uint64_t salt, struct record *r, struct bytes body,
                   uint8_t out[RECORD_HEADER_BYTES]);
/* False: no record begins here. The body is not looked at. */
bool record_decode(uint64_t salt, const uint8_t in[RECORD_HEADER_BYTES], struct record *out);
bool record_body_matches(uint64_t salt, const struct record *r, const uint8_t *body);

/* On the disk: header, body, and zeroes up to a multiple of the alignment. */
static inline uint64_t record_bytes(uint64_t body_bytes)
{
    uint64_t unpadded = RECORD_HEADER_BYTES + body_bytes;
    return (unpadded + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

/* "wal/000000000000002a.log", and the spare files that wait to become one. */
void segment_name(uint64_t sequence, char out[SEGMENT_NAME_BYTES]);
void spare_name(uint64_t number, char out[SEGMENT_NAME_BYTES]);
enum segment_name_kind { NAME_OF_SEGMENT, NAME_OF_SPARE, NAME_UNKNOWN };
/* name: without the directory. */
enum segment_name_kind segment_name_parse(const char *name, uint64_t *number);

#endif

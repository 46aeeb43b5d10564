#include "wire/handshake.h"

#include <string.h>

#include "wire/reader.h"
#include "wire/writer.h"

static const char magic[] = "moonkeeper";

enum { SELF_FIELDS = 8, HELLO_FIELDS = 3 + SELF_FIELDS, ANSWER_FIELDS = 4 + SELF_FIELDS };

static void write_preamble(struct buffer *out, uint32_t fields)
{
    write_array(out, fields);
    write_text(out, magic);
    write_u64(out, HANDSHAKE_VERSION);
}

static void write_self(struct buffer *out, const struct handshake *h)
{
    write_u64(out, h->cluster_id);
    write_text(out, h->cluster);
    write_u64(out, h->node_id);
    write_text(out, h->node);
    write_bin(out, bytes_of(h->storage_uuid, sizeof h->storage_uuid));
    write_bin(out, bytes_of(h->incarnation.hash, sizeof h->incarnation.hash));
    write_u64(out, h->last.term);
    write_u64(out, h->last.index);
}

/* The version comes before the number of fields is held against ours: another version may have more
 * of them, and its speaker deserves to hear that it is the version. */
static void read_preamble(struct reader *r, uint32_t fields)
{
    uint32_t count = read_array(r);
    struct bytes word = read_str(r, sizeof magic - 1);
    uint64_t version = read_u64(r);
    if (r->err != ERR_OK) {
        return;
    }
    if (!bytes_is(word, magic)) {
        reader_fail(r, ERR_INVALID);
    } else if (version != HANDSHAKE_VERSION) {
        reader_fail(r, ERR_VERSION);
    } else if (count != fields) {
        reader_fail(r, ERR_INVALID);
    }
}

static void read_self(struct reader *r, struct handshake *out)
{
    out->cluster_id = read_u64(r);
    read_text(r, out->cluster, sizeof out->cluster);
    out->node_id = read_u64(r);
    read_text(r, out->node, sizeof out->node);
    read_fixed_bin(r, out->storage_uuid, sizeof out->storage_uuid);
    read_fixed_bin(r, out->incarnation.hash, sizeof out->incarnation.hash);
    out->last.term = read_u64(r);
    out->last.index = read_u64(r);
    if (r->err == ERR_OK && out->node_id == 0) {
        reader_fail(r, ERR_INVALID);
    }
}

void handshake_encode(const struct handshake *h, struct buffer *out)
{
    write_preamble(out, HELLO_FIELDS);
    write_u64(out, h->role);
    write_self(out, h);
}

enum err handshake_decode(struct bytes frame, struct handshake *out)
{
    struct reader r = reader_of(frame);
    *out = (struct handshake){0};
    read_preamble(&r, HELLO_FIELDS);
    out->role = (enum handshake_role)read_u32_max(&r, HANDSHAKE_GUARDIAN);
    read_self(&r, out);
    return reader_end(&r);
}

void handshake_answer_encode(const struct handshake_answer *a, struct buffer *out)
{
    write_preamble(out, ANSWER_FIELDS);
    write_text(out, err_name(a->verdict));
    write_text(out, a->sentence);
    write_self(out, &a->self);
}

enum err handshake_answer_decode(struct bytes frame, struct handshake_answer *out)
{
    struct reader r = reader_of(frame);
    *out = (struct handshake_answer){0};
    read_preamble(&r, ANSWER_FIELDS);
    char verdict[64];
    read_text(&r, verdict, sizeof verdict);
    read_text(&r, out->sentence, sizeof out->sentence);
    read_self(&r, &out->self);
    enum err e = reader_end(&r);
    out->verdict = e == ERR_OK ? err_from_name(verdict) : ERR_INVALID;
    if (out->verdict == ERR_COUNT) {
        out->verdict = ERR_INVALID;
    }
    return e;
}

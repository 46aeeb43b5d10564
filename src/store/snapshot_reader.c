#include "store/snapshot_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

static enum err damaged(const struct snapshot_reader *r, struct why *why)
{
    return err_why(why, ERR_CORRUPT, "%s/%s is damaged at byte %" PRIu64, r->path, r->name, r->at);
}

/* The next size bytes of the file, which count for the check of the whole. */
static enum err take(struct snapshot_reader *r, uint64_t size, const uint8_t **data,
                     struct why *why)
{
    enum err err = window_look(&r->window, r->at, size, data);
    if (err != ERR_OK) {
        return err_why(why, err, "reading %s/%s failed: check the disk", r->path, r->name);
    }
    return *data != NULL ? ERR_OK : damaged(r, why);
}

static void pass(struct snapshot_reader *r, const uint8_t *data, uint64_t size)
{
    XXH3_64bits_update(r->check, data, (size_t)size);
    r->at += size;
}

/* ---- header --------------------------------------------------------------------------------- */

static enum err read_header(struct snapshot_reader *r, struct why *why)
{
    const uint8_t *data;
    enum err err = take(r, SNAPSHOT_HEADER_BYTES, &data, why);
    if (err != ERR_OK) {
        return err;
    }
    err = snapshot_header_decode(data, &r->header);
    if (err == ERR_VERSION) {
        return err_why(why, err,
                       "%s/%s was written by another version of moonkeeper: start that version",
                       r->path, r->name);
    }
    if (err != ERR_OK) {
        return damaged(r, why);
    }
    pass(r, data, SNAPSHOT_HEADER_BYTES);
    err = take(r, r->header.about_bytes, &data, why);
    if (err != ERR_OK) {
        return err;
    }
    if (!snapshot_about_matches(&r->header, data)) {
        return damaged(r, why);
    }
    r->about = alloc_bytes(r->header.about_bytes + 1u);
    memcpy(r->about, data, r->header.about_bytes);
    pass(r, data, r->header.about_bytes);
    return ERR_OK;
}

enum err snapshot_reader_open(struct snapshot_reader *r, const struct fs_port *fs, const char *name,
                              uint64_t cluster_id, struct why *why)
{
    *r = (struct snapshot_reader){.path = fs->v->path(fs->ctx)};
    snprintf(r->name, sizeof r->name, "%s", name);
    r->check = XXH3_createState();
    ASSERT(r->check != NULL);
    XXH3_64bits_reset(r->check);
    enum err err = window_open(&r->window, fs, name, FS_READ);
    if (err != ERR_OK) {
        err_why(why, err, "opening %s/%s failed: %s", r->path, name, err_message(err));
    } else {
        err = read_header(r, why);
    }
    if (err == ERR_OK && r->header.cluster_id != cluster_id) {
        err = err_why(why, ERR_WRONG_CLUSTER,
                      "%s/%s is a snapshot of cluster %016" PRIx64 ", this is %016" PRIx64, r->path,
                      r->name, r->header.cluster_id, cluster_id);
    }
    if (err != ERR_OK) {
        snapshot_reader_close(r);
    }
    return err;
}

void snapshot_reader_close(struct snapshot_reader *r)
{
    window_close(&r->window);
    XXH3_freeState(r->check);
    free(r->about);
    buffer_close(&r->last_key);
    *r = (struct snapshot_reader){0};
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* Are these so many pairs, each greater than the one before? */
static bool pairs_sound(struct snapshot_reader *r, struct bytes pairs, uint32_t count)
{
    struct bytes key, value, before = buffer_bytes(&r->last_key);
    enum err err;
    uint32_t found = 0;
    while ((err = snapshot_pair_take(&pairs, &key, &value)) == ERR_OK) {
        if (r->any_key && bytes_compare(before, key) >= 0) {
            return false;
        }
        r->any_key = true;
        r->content_bytes += key.size + value.size;
        before = key;
        found++;
    }
    if (err != ERR_NOT_FOUND || found != count) {
        return false;
    }
    buffer_clear(&r->last_key);
    buffer_add_bytes(&r->last_key, before);
    return true;
}

static enum err read_block(struct snapshot_reader *r, struct bytes *pairs, struct why *why)
{
    const uint8_t *data;
    struct snapshot_block_header block;
    enum err err = take(r, SNAPSHOT_BLOCK_HEADER_BYTES, &data, why);
    if (err != ERR_OK) {
        return err;
    }
    if (!snapshot_block_decode(data, &block) || block.pairs > r->header.pairs - r->pairs) {
        return damaged(r, why);
    }
    uint64_t size = SNAPSHOT_BLOCK_HEADER_BYTES + (uint64_t)block.bytes;
    err = take(r, size, &data, why);
    if (err != ERR_OK) {
        return err;
    }
    *pairs = bytes_of(data + SNAPSHOT_BLOCK_HEADER_BYTES, block.bytes);
    if (!snapshot_block_matches(&block, data) || !pairs_sound(r, *pairs, block.pairs)) {
        return damaged(r, why);
    }
    r->pairs += block.pairs;
    pass(r, data, size);
    return ERR_OK;
}

static enum err read_footer(struct snapshot_reader *r, struct why *why)
{
    const uint8_t *data;
    struct snapshot_footer footer;
    enum err err = take(r, SNAPSHOT_FOOTER_BYTES, &data, why);
    if (err != ERR_OK) {
        return err;
    }
    XXH3_64bits_update(r->check, data, SNAPSHOT_FOOTER_BYTES - sizeof footer.check);
    if (!snapshot_footer_decode(data, &footer) || footer.check != XXH3_64bits_digest(r->check) ||
        footer.file_bytes != r->window.file_bytes ||
        footer.file_bytes != r->at + SNAPSHOT_FOOTER_BYTES ||
        r->content_bytes != r->header.content_bytes) {
        return damaged(r, why);
    }
    return ERR_OK;
}

enum err snapshot_reader_next(struct snapshot_reader *r, struct bytes *pairs, bool *end,
                              struct why *why)
{
    *pairs = (struct bytes){0};
    *end = r->pairs == r->header.pairs;
    return *end ? read_footer(r, why) : read_block(r, pairs, why);
}

void snapshot_reader_describe(const struct snapshot_reader *r, struct store_snapshot *out)
{
    *out = (struct store_snapshot){.last = r->header.last,
                                   .bytes = r->window.file_bytes,
                                   .pairs = r->header.pairs,
                                   .hash = r->header.hash,
                                   .about = bytes_of(r->about, r->header.about_bytes)};
}

enum err snapshot_reader_verify(struct snapshot_reader *r, const struct fs_port *fs,
                                struct store_pos last, uint64_t cluster_id,
                                struct store_snapshot *known, struct why *why)
{
    char name[SNAPSHOT_NAME_BYTES];
    snapshot_name(last, name);
    enum err err = snapshot_reader_open(r, fs, name, cluster_id, why);
    if (err == ERR_OK && (r->header.last.index != last.index || r->header.last.term != last.term)) {
        err = err_why(why, ERR_CORRUPT, "%s/%s is not the snapshot that its name says", r->path,
                      name);
    }
    bool end = false;
    while (err == ERR_OK && !end) {
        struct bytes pairs;
        err = snapshot_reader_next(r, &pairs, &end, why);
    }
    if (err == ERR_OK) {
        snapshot_reader_describe(r, known);
    }
    return err;
}

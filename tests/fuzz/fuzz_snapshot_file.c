/* A snapshot file that someone else made up. The input is the file itself, or (first byte odd) a
 * script for one whose checksums are sound and whose contents are anything.
 *
 * Holds: it is read to its end, or refused in a sentence; what was read are so many pairs as it
 * says, in order, of sizes that a state takes. */
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "sim/sim_fs.h"
#include "store/little_endian.h"
#include "store/snapshot_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLUSTER = 7 };

struct script {
    const uint8_t *at;
    size_t left;
};

static uint8_t next(struct script *s)
{
    if (s->left == 0) {
        return 0;
    }
    s->left--;
    return *s->at++;
}

static struct bytes take(struct script *s, size_t size)
{
    size = size < s->left ? size : s->left;
    struct bytes b = bytes_of(s->at, size);
    s->at += size;
    s->left -= size;
    return b;
}

/* What would be right, or something near it, or anything. */
static uint64_t near(struct script *s, uint64_t right)
{
    uint8_t choice = next(s);
    if (choice < 224) {
        return right;
    }
    return choice == 255 ? UINT64_MAX - next(s) : right + choice % 8 - 4;
}

/* A pair with any sizes in front of any bytes, or one that is as it should be. */
static void add_pair(struct script *s, struct buffer *block, uint8_t kind, uint64_t *content)
{
    struct bytes key = take(s, kind % 16), value = take(s, next(s) % 16);
    if (kind < 200) {
        snapshot_block_add(block, key, value);
    } else {
        uint8_t header[SNAPSHOT_PAIR_HEADER_BYTES];
        put_u32(put_u32(header, (uint32_t)near(s, key.size)), (uint32_t)near(s, value.size));
        buffer_add(block, header, sizeof header);
        buffer_add_bytes(block, key);
        buffer_add_bytes(block, value);
    }
    *content += key.size + value.size;
}

struct made_up {
    struct buffer blocks;
    uint64_t pairs;
    uint64_t content_bytes;
};

static void make_blocks(struct script *s, struct made_up *out)
{
    struct buffer block = {0};
    while (s->left > 0) {
        uint32_t pairs = 0;
        snapshot_block_begin(&block);
        do {
            add_pair(s, &block, next(s), &out->content_bytes);
            pairs++;
        } while (s->left > 0 && next(s) % 4 != 0);
        snapshot_block_finish(&block, (uint32_t)near(s, pairs));
        buffer_add_bytes(&out->blocks, buffer_bytes(&block));
        out->pairs += pairs;
    }
    buffer_close(&block);
}

static void make_file(struct script *s, struct buffer *file)
{
    struct made_up content = {0};
    struct snapshot_header header = {.cluster_id = near(s, CLUSTER),
                                     .last = {.index = near(s, 5), .term = near(s, 3)}};
    uint8_t encoded[SNAPSHOT_HEADER_BYTES], footer[SNAPSHOT_FOOTER_BYTES];
    struct bytes twist = take(s, 6);
    struct script of_numbers = {.at = twist.data, .left = twist.size};
    struct bytes about = take(s, next(s) % 32);
    make_blocks(s, &content);
    header.pairs = near(&of_numbers, content.pairs);
    header.content_bytes = near(&of_numbers, content.content_bytes);
    snapshot_header_encode(&header, about, encoded);
    buffer_add(file, encoded, sizeof encoded);
    buffer_add_bytes(file, about);
    buffer_add_bytes(file, buffer_bytes(&content.blocks));
    snapshot_footer_encode(near(&of_numbers, file->size + sizeof footer), footer);
    buffer_add(file, footer, sizeof footer - 8);
    snapshot_footer_seal(XXH3_64bits(file->data, file->size), footer);
    buffer_add(file, footer, 8);
    buffer_close(&content.blocks);
}

static void read_all(struct snapshot_reader *r, struct state *state, struct why *why)
{
    enum err err = ERR_OK;
    bool end = false;
    uint64_t pairs = 0;
    while (err == ERR_OK && !end) {
        struct bytes block, key, value;
        err = snapshot_reader_next(r, &block, &end, why);
        while (err == ERR_OK && (err = snapshot_pair_take(&block, &key, &value)) == ERR_OK) {
            enum err added = state_restore_add(state, key, value);
            ASSERT(added == ERR_OK);
            pairs++;
        }
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    ASSERT((err == ERR_OK) == (why->text[0] == 0));
    ASSERT(pairs <= r->header.pairs);
    ASSERT(err != ERR_OK || pairs == r->header.pairs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_fs *disk = sim_fs_new(1, "fuzz");
    const struct fs_port *fs = sim_fs_port(disk);
    struct buffer file = {0};
    struct fs_file *to;
    if (size > 0 && data[0] % 2 == 1) {
        make_file(&(struct script){.at = data + 1, .left = size - 1}, &file);
    } else {
        buffer_add(&file, data, size);
    }
    enum err err = fs->v->open(fs->ctx, "file", FS_WRITE | FS_CREATE, &to);
    ASSERT(err == ERR_OK);
    struct bytes piece = buffer_bytes(&file);
    err = fs->v->write(to, 0, &piece, 1);
    ASSERT(err == ERR_OK);
    fs->v->close(to);

    struct why why = {{0}};
    struct snapshot_reader r;
    err = snapshot_reader_open(&r, fs, "file", CLUSTER, &why);
    ASSERT((err == ERR_OK) == (why.text[0] == 0));
    if (err == ERR_OK) {
        struct state *state = state_new();
        state_restore_begin(state);
        read_all(&r, state, &why);
        state_restore_cancel(state);
        snapshot_reader_close(&r);
        state_free(state);
    }
    buffer_close(&file);
    sim_fs_free(disk);
    return 0;
}

#include "store/small_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"

enum { CHECK_LINE_BYTES = 6 + 16 + 1, NAME_BYTES_MAX = 32 }; /* "check 0123456789abcdef\n" */

static void check_line(struct bytes text, char out[CHECK_LINE_BYTES + 1])
{
    snprintf(out, CHECK_LINE_BYTES + 1, "check %016" PRIx64 "\n",
             (uint64_t)XXH3_64bits(text.data, text.size));
}

static enum err write_new(const struct fs_port *fs, const char *name, struct bytes content)
{
    /* One that is left from an attempt whose sync failed is not written again: what it holds on the
     * disk is anybody's guess. */
    enum err err = fs->v->remove(fs->ctx, name);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    struct fs_file *file;
    err = fs->v->open(fs->ctx, name, FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &file);
    if (err != ERR_OK) {
        return err;
    }
    err = fs->v->write(file, 0, &content, 1);
    if (err == ERR_OK && fs->v->sync(file) != ERR_OK) {
        err = ERR_IO; /* for want of space, too: a sync is not tried again */
    }
    fs->v->close(file);
    return err;
}

enum err small_file_replace(const struct fs_port *fs, const char *name, struct buffer *text,
                            struct why *why)
{
    char line[CHECK_LINE_BYTES + 1];
    char new_name[NAME_BYTES_MAX + sizeof ".new"];
    ASSERT(strlen(name) <= NAME_BYTES_MAX);
    ASSERT(text->size + CHECK_LINE_BYTES <= SMALL_FILE_BYTES_MAX);
    check_line(buffer_bytes(text), line);
    buffer_add(text, line, CHECK_LINE_BYTES);
    snprintf(new_name, sizeof new_name, "%s.new", name);
    enum err err = write_new(fs, new_name, buffer_bytes(text));
    if (err == ERR_OK) {
        err = fs->v->rename(fs->ctx, new_name, name);
    }
    if (err == ERR_OK && fs->v->sync_dir(fs->ctx, ".") != ERR_OK) {
        err = ERR_IO;
    }
    if (err != ERR_OK) {
        err_why(why, err, "writing %s/%s failed: %s", fs->v->path(fs->ctx), name, err_message(err));
    }
    return err;
}

static enum err read_content(const struct fs_port *fs, const char *name, struct buffer *text)
{
    struct fs_file *file;
    enum err err = fs->v->open(fs->ctx, name, FS_READ, &file);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t size;
    err = fs->v->size(file, &size);
    if (err == ERR_OK && size > SMALL_FILE_BYTES_MAX) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        uint8_t *to = buffer_reserve(text, (size_t)size + 1);
        err = fs->v->read(file, 0, to, (size_t)size, &text->size);
    }
    fs->v->close(file);
    return err;
}

enum err small_file_read(const struct fs_port *fs, const char *name, struct buffer *text,
                         struct why *why)
{
    char line[CHECK_LINE_BYTES + 1];
    enum err err = read_content(fs, name, text);
    if (err == ERR_NOT_FOUND) {
        return err;
    }
    if (err != ERR_OK && err != ERR_CORRUPT) {
        return err_why(why, err, "reading %s/%s failed: check the disk", fs->v->path(fs->ctx),
                       name);
    }
    if (err == ERR_OK && text->size >= CHECK_LINE_BYTES) {
        size_t size = text->size - CHECK_LINE_BYTES;
        check_line(bytes_of(text->data, size), line);
        if (memcmp(text->data + size, line, CHECK_LINE_BYTES) == 0 &&
            memchr(text->data, 0, size) == NULL) {
            text->size = size;
            buffer_text(text);
            return ERR_OK;
        }
    }
    return err_why(why, ERR_CORRUPT,
                   "%s/%s is damaged or was edited: restore it from a copy, or bring the node back "
                   "as a new member with an empty data directory",
                   fs->v->path(fs->ctx), name);
}

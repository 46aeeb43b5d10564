#include "store/window.h"

#include <stdlib.h>

#include "base/alloc.h"

/* Read at once, and more only where a record is larger. */
enum { WINDOW_BYTES = 1 << 20 };

enum err window_open(struct window *v, const struct fs_port *fs, const char *name, unsigned flags)
{
    *v = (struct window){.fs = fs};
    enum err err = fs->v->open(fs->ctx, name, flags, &v->file);
    if (err == ERR_OK) {
        err = fs->v->size(v->file, &v->file_bytes);
    }
    if (err != ERR_OK) {
        window_close(v);
    }
    return err;
}

void window_close(struct window *v)
{
    if (v->file != NULL) {
        v->fs->v->close(v->file);
    }
    free(v->data);
    *v = (struct window){0};
}

enum err window_look(struct window *v, uint64_t at, uint64_t size, const uint8_t **out)
{
    *out = NULL;
    if (at > v->file_bytes || size > v->file_bytes - at) {
        return ERR_OK;
    }
    if (at < v->start || at + size > v->start + v->size) {
        uint64_t want = size > WINDOW_BYTES ? size : WINDOW_BYTES;
        want = want < v->file_bytes - at ? want : v->file_bytes - at;
        if (want > v->capacity) {
            v->data = alloc_resize(v->data, (size_t)want, 1);
            v->capacity = (size_t)want;
        }
        v->start = at;
        enum err err = v->fs->v->read(v->file, at, v->data, (size_t)want, &v->size);
        if (err != ERR_OK || v->size < size) {
            v->size = 0;
            return err != ERR_OK ? err : ERR_IO;
        }
    }
    *out = v->data + (at - v->start);
    return ERR_OK;
}

enum err window_record(struct window *v, uint64_t salt, uint64_t at, struct record *r, bool *sound)
{
    const uint8_t *data;
    *sound = false;
    enum err err = window_look(v, at, RECORD_HEADER_BYTES, &data);
    if (err != ERR_OK || data == NULL || !record_decode(salt, data, r)) {
        return err;
    }
    err = window_look(v, at, record_bytes(r->body_bytes), &data);
    if (err == ERR_OK && data != NULL) {
        *sound = record_body_matches(salt, r, data + RECORD_HEADER_BYTES);
    }
    return err;
}

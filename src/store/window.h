/* A file seen through a buffer that holds a part of it: for reading a segment from one end to the
 * other without holding it all. */
#ifndef MK_STORE_WINDOW_H
#define MK_STORE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port/fs.h"
#include "store/segment.h"

struct window {
    const struct fs_port *fs;
    struct fs_file *file; /* owned */
    uint64_t file_bytes;
    uint8_t *data;
    uint64_t start; /* of data, in the file */
    size_t size;
    size_t capacity;
};

/* flags: of fs_vtable.open(). On failure v is closed. Errors: as fs_vtable.open(). */
enum err window_open(struct window *v, const struct fs_port *fs, const char *name, unsigned flags);
/* Accepts a zeroed object. */
void window_close(struct window *v);

/* [at, at + size) of the file, valid until the next call. NULL *out: it is not all there. */
enum err window_look(struct window *v, uint64_t at, uint64_t size, const uint8_t **out);
/* The record at that place. *sound: there is one, and its body is whole. */
enum err window_record(struct window *v, uint64_t salt, uint64_t at, struct record *r, bool *sound);

#endif

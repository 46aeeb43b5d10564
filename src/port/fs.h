/* Files, under one directory that the implementation was opened on (the data directory). Names are
 * relative, without "..", at most one level deep ("wal/0000000000000001.log").
 *
 * What survives a crash of the machine, as POSIX has it and the simulator enforces it:
 *   - bytes written to a file: once fs_sync() of that file returned after the write;
 *   - a name created, renamed or removed: once fs_sync_dir() of its directory returned.
 * A crash of the process alone loses nothing that was written. After one failed fs_sync() nothing
 * may be assumed of the file's unsynced bytes, ever: do not retry.
 *
 * Blocking; called from the disk thread (and at start, before the loop runs).
 * Errors: ERR_IO, ERR_NO_SPACE, ERR_NOT_FOUND, ERR_EXISTS, ERR_LOCKED. */
#ifndef MK_PORT_FS_H
#define MK_PORT_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

struct fs_file; /* opaque, the implementation's */

enum fs_open_flags {
    FS_READ = 0,
    FS_WRITE = 1 << 0, /* read and write */
    FS_CREATE = 1 << 1,
    FS_EXCLUSIVE = 1 << 2, /* with FS_CREATE: ERR_EXISTS if it is there */
};

struct fs_vtable {
    enum err (*open)(void *ctx, const char *name, unsigned flags, struct fs_file **out);
    void (*close)(struct fs_file *file);
    /* Reads up to size bytes; *got < size only at the end of the file. */
    enum err (*read)(struct fs_file *file, uint64_t offset_bytes, void *out, size_t size_bytes,
                     size_t *got);
    /* Writes all the pieces, one after the other, at offset. */
    enum err (*write)(struct fs_file *file, uint64_t offset_bytes, const struct bytes *pieces,
                      size_t pieces_count);
    enum err (*sync)(struct fs_file *file); /* fdatasync */
    enum err (*truncate)(struct fs_file *file, uint64_t size_bytes);
    /* Allocate [0, size) so that writing there cannot run out of space; reads as zeroes. */
    enum err (*allocate)(struct fs_file *file, uint64_t size_bytes);
    enum err (*size)(struct fs_file *file, uint64_t *out_bytes);
    /* Exclusive for this process until close. Errors: ERR_LOCKED. */
    enum err (*lock)(struct fs_file *file);
    enum err (*rename)(void *ctx, const char *from, const char *to);
    enum err (*remove)(void *ctx, const char *name);
    enum err (*make_dir)(void *ctx, const char *name); /* ERR_OK if it exists */
    enum err (*sync_dir)(void *ctx, const char *name); /* "." for the top */
    /* Calls each(arg, name) for every plain name in dir, in ascending order. */
    enum err (*list)(void *ctx, const char *dir, void (*each)(void *arg, const char *name),
                     void *arg);
    /* Where this is, for messages to people: "/var/lib/moonkeeper/n1". */
    const char *(*path)(void *ctx);
};

struct fs_port {
    void *ctx;
    const struct fs_vtable *v;
};

#endif

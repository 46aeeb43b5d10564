/* Files of scripts (mk.fs): read and replaced as a whole.
 *
 * A relative path is below a folder of the node's own, whose folders are made as they are needed;
 * an absolute one is the machine's. The caller has seen to it that no part of a path is empty, "."
 * or "..".
 *
 * Calls are numbered by the caller and answered exactly once, on any thread, through what the
 * implementation was given for that; they are carried out one after the other, in order. Neither
 * function waits or calls back. */
#ifndef MK_PORT_FILES_H
#define MK_PORT_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum { FILES_BYTES_MAX = 4 << 20, FILES_PATH_MAX = 1024 };

struct files_port {
    void *ctx;
    /* Answer: its contents (bin). Errors: NOT_FOUND, TOO_LARGE (more than FILES_BYTES_MAX), IO. */
    void (*read)(void *ctx, uint64_t call, const char *path);
    /* Answer: nil, once the file consists of data and that would survive a loss of power. Whatever
     * happens meanwhile, it is the old one or the new one. Errors: NOT_FOUND (the folder of an
     * absolute path), NO_SPACE, IO. data is borrowed. Names that begin with ".mk-new-" are the
     * port's own. */
    void (*write)(void *ctx, uint64_t call, const char *path, struct bytes data);
};

#endif

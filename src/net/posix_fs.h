/* The real file system: struct fs_port over POSIX calls, under one directory that stays open, so
 * that the node keeps working in its directory whatever happens to the path. */
#ifndef MK_NET_POSIX_FS_H
#define MK_NET_POSIX_FS_H

#include "base/err.h"
#include "base/histogram.h"
#include "port/fs.h"

struct posix_fs;

/* Opens the directory at path, creating it (0700; not its parents) if need be. The name of a new
 * directory is made durable.
 * Errors: ERR_NOT_FOUND (its parent), ERR_IO, ERR_NO_SPACE; why names the path. */
enum err posix_fs_open(const char *path, struct posix_fs **out, struct why *why);
/* The same of a directory that is there. Errors: ERR_NOT_FOUND, ERR_IO. */
enum err posix_fs_open_existing(const char *path, struct posix_fs **out, struct why *why);
/* All files must be closed. Accepts NULL. */
void posix_fs_close(struct posix_fs *fs);
/* Lives as long as fs. */
const struct fs_port *posix_fs_port(struct posix_fs *fs);
/* How long each sync of a file took so far. Any thread. */
void posix_fs_syncs(struct posix_fs *fs, struct histogram *out);

#endif

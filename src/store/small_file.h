/* Small text files at the top of the data directory, for people to read and for the node to trust:
 * replaced as a whole, their last line a checksum of the rest. */
#ifndef MK_STORE_SMALL_FILE_H
#define MK_STORE_SMALL_FILE_H

#include "base/bytes.h"
#include "base/err.h"
#include "port/fs.h"

enum { SMALL_FILE_BYTES_MAX = 256 << 10 };

/* Adds the checksum line to text and makes the file consist of it. Durable on return, and after a
 * crash at any time the file is the old one or the new one. why: as for small_file_read. */
enum err small_file_replace(const struct fs_port *fs, const char *name, struct buffer *text,
                            struct why *why);

/* The contents without the checksum line, as one string. text is to be closed in any case.
 * Errors: ERR_NOT_FOUND (why is not filled in), ERR_CORRUPT, ERR_IO. */
enum err small_file_read(const struct fs_port *fs, const char *name, struct buffer *text,
                         struct why *why);

#endif

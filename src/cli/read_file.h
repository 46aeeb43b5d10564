/* A file as a whole, for verbs. */
#ifndef MK_CLI_READ_FILE_H
#define MK_CLI_READ_FILE_H

#include "base/bytes.h"
#include "base/err.h"

/* Append all of the file, or of standard input for "-". Errors: that of opening it; IO; TOO_LARGE,
 * it has more than bytes_max. why names the file. */
enum err read_file(const char *path, size_t bytes_max, struct buffer *out, struct why *why);

#endif

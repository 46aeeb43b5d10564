/* Reading a test file. Private to this folder. */
#ifndef MK_SCENARIO_FILE_H
#define MK_SCENARIO_FILE_H

#include "base/bytes.h"
#include "base/err.h"

/* Appends the file to text. Errors: NOT_FOUND, IO, TOO_LARGE. */
enum err scenario_file_read(const char *path, struct buffer *text, struct why *why);

#endif

#include "cli/read_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum err read_file(const char *path, size_t bytes_max, struct buffer *out, struct why *why)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL) {
        return err_why(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    enum err e = ERR_OK;
    size_t size, before = out->size;
    do {
        enum { CHUNK_BYTES = 1 << 16 };
        size = fread(buffer_reserve(out, CHUNK_BYTES), 1, CHUNK_BYTES, file);
        out->size += size;
    } while (size > 0 && out->size - before <= bytes_max);
    if (ferror(file)) {
        e = err_why(why, ERR_IO, "%s: %s", path, strerror(errno));
    } else if (out->size - before > bytes_max) {
        e = err_why(why, ERR_TOO_LARGE, "%s: more than %zu KB", path, bytes_max >> 10);
    }
    if (file != stdin) {
        fclose(file);
    }
    return e;
}

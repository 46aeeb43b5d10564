#include "script/embed.h"

#include <string.h>

struct bytes embed_find(const char *name)
{
    for (size_t i = 0; i < embedded_files_count; i++) {
        if (strcmp(embedded_files[i].name, name) == 0) {
            return bytes_of(embedded_files[i].data, embedded_files[i].size);
        }
    }
    return (struct bytes){0};
}

/* A pattern and a path, with a zero byte in between: what is accepted matches itself or nothing,
 * within its bounds, and compares with itself as the same. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "script/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char pattern[ROUTE_BYTES_MAX + 100], path[1024];
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    size_t pattern_size = end != NULL ? (size_t)(end - data) : size;
    size_t path_size = end != NULL ? size - pattern_size - 1 : 0;
    pattern_size = pattern_size < sizeof pattern ? pattern_size : sizeof pattern - 1;
    path_size = path_size < sizeof path ? path_size : sizeof path - 1;
    memcpy(pattern, data, pattern_size);
    memcpy(path, end != NULL ? end + 1 : data, path_size);
    pattern[pattern_size] = path[path_size] = 0;
    struct why why = {0};
    if (route_check(pattern, &why) != ERR_OK) {
        ASSERT(why.text[0] != 0);
        return 0;
    }
    struct route_part parts[ROUTE_NAMES_MAX];
    int count = route_match(pattern, path, parts);
    ASSERT(count <= ROUTE_NAMES_MAX);
    for (int i = 0; i < count; i++) {
        ASSERT(parts[i].name.size > 0);
        ASSERT(parts[i].value.data >= (const uint8_t *)path);
        ASSERT(parts[i].value.data + parts[i].value.size <= (const uint8_t *)path + strlen(path));
    }
    ASSERT(route_compare(pattern, pattern) == 0);
    return 0;
}

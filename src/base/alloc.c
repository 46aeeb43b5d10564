#include "base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory, size_t size_bytes)
{
    if (memory == NULL && size_bytes > 0) {
        fprintf(stderr, "moonkeeper: out of memory asking for %zu bytes\n", size_bytes);
        abort();
    }
    return memory;
}

void *alloc_bytes(size_t size_bytes)
{
    return checked(malloc(size_bytes), size_bytes);
}

void *alloc_zeroed(size_t count, size_t size_bytes)
{
    return checked(calloc(count, size_bytes), size_bytes);
}

void *alloc_resize(void *old, size_t count, size_t size_bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) {
        checked(NULL, SIZE_MAX);
    }
    return checked(realloc(old, total), total);
}

char *alloc_string(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(alloc_bytes(size), text, size);
}

/* Copying text into a field of fixed size, where snprintf("%s") would cost twenty times as much. */
#ifndef MK_BASE_TEXT_H
#define MK_BASE_TEXT_H

#include <string.h>

#include "base/assert.h"

/* What of text fits into capacity bytes (> 0), which do not overlap it, and always a final zero. */
static inline void text_copy(char *out, size_t capacity, const char *text)
{
    ASSERT(capacity > 0);
    size_t size = strnlen(text, capacity - 1);
    memcpy(out, text, size);
    out[size] = 0;
}

#endif

/* Allocation that does not fail: sizes are checked against limits before memory is asked for, so a
 * refusal by the system ends the process with one line. Free with free(). */
#ifndef MK_BASE_ALLOC_H
#define MK_BASE_ALLOC_H

#include <stddef.h>

void *alloc_bytes(size_t size_bytes);
void *alloc_zeroed(size_t count, size_t size_bytes);
/* Resize an array to count elements. */
void *alloc_resize(void *old, size_t count, size_t size_bytes);
char *alloc_string(const char *text);

#define NEW(type) ((type *)alloc_zeroed(1, sizeof(type)))

#endif

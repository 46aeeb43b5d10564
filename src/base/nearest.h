/* "Did you mean ...?": the name that a mistyped word is closest to. */
#ifndef MK_BASE_NEAREST_H
#define MK_BASE_NEAREST_H

#include <stddef.h>

/* Edits (insert, delete, replace, swap two neighbours) that turn a into b. Only the first 63 bytes
 * of each count. Case does not. */
unsigned nearest_distance(const char *a, const char *b);

/* The name that word is probably meant to be: at most a third of its letters wrong (one in short
 * words), or the only one that word is the beginning of. NULL if there is none. */
const char *nearest_name(const char *word, const char *const *names, size_t names_count);

#endif

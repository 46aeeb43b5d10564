#include "base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"

enum { WORD_MAX = 63 };

static unsigned min_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment: Levenshtein with swaps, three rows at a time. */
unsigned nearest_distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1];
    size_t a_size = strnlen(a, WORD_MAX), b_size = strnlen(b, WORD_MAX);
    for (size_t j = 0; j <= b_size; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3], *above_that = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_size; j++) {
            unsigned replace = above[j - 1] + !same_letter(a[i - 1], b[j - 1]);
            row[j] = min_of(replace, min_of(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1])) {
                row[j] = min_of(row[j], above_that[j - 2] + 1);
            }
        }
    }
    return rows[a_size % 3][b_size];
}

static const char *only_completion(const char *word, const char *const *names, size_t names_count)
{
    const char *found = NULL;
    for (size_t i = 0; i < names_count; i++) {
        ASSERT(names[i] != NULL);
        if (strncasecmp(names[i], word, strlen(word)) == 0) {
            if (found != NULL) {
                return NULL;
            }
            found = names[i];
        }
    }
    return found;
}

const char *nearest_name(const char *word, const char *const *names, size_t names_count)
{
    size_t size = strlen(word);
    if (size == 0) {
        return NULL;
    }
    unsigned allowed = size < 6 ? 1 : (unsigned)(size / 3);
    const char *best = NULL;
    for (size_t i = 0; i < names_count; i++) {
        unsigned distance = nearest_distance(word, names[i]);
        if (distance == 0) {
            return names[i];
        }
        if (distance <= allowed) {
            allowed = distance - 1; /* the first of equals stays */
            best = names[i];
        }
    }
    return best != NULL ? best : only_completion(word, names, names_count);
}

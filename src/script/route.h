/* Patterns of paths, as mk.http.route takes them: what stands between two slashes is a segment, and
 *
 *     :name    stands for one segment that is not empty
 *     *name    at the end, for all that follows, perhaps nothing
 *
 * Everything else stands for itself. Paths are percent-decoded; "/a" and "/a/" are two. */
#ifndef MK_SCRIPT_ROUTE_H
#define MK_SCRIPT_ROUTE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"

enum { ROUTE_BYTES_MAX = 512, ROUTE_NAMES_MAX = 16 };

/* Errors: INVALID, no pattern; EXISTS, the node answers such paths itself. why says what is wrong.
 */
enum err route_check(const char *pattern, struct why *why);

/* What ":name" or "*name" stands for: views into the pattern and into the path. */
struct route_part {
    struct bytes name, value;
};

/* Does the path match a pattern that was checked? The parts (at most ROUTE_NAMES_MAX), or -1. */
int route_match(const char *pattern, const char *path, struct route_part *parts);

/* Which of two patterns that match one path is meant: from the left, a segment that is given counts
 * more than ":name", and that more than "*name". <0: a; >0: b; 0: they match the same paths. */
int route_compare(const char *a, const char *b);

#endif

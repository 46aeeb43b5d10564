/* The scripts of scripts/ in the binary: "bundled:cron" stands for the path of scripts/cron.lua. */
#ifndef MK_SCRIPT_BUNDLED_H
#define MK_SCRIPT_BUNDLED_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"

/* Does path name a bundled script, or try to? */
bool bundled_is(const char *path);

/* The text of the bundled script that path names, borrowed for ever. Errors: NOT_FOUND; why names
 * the nearest one and lists all. */
enum err bundled_find(const char *path, struct bytes *out, struct why *why);

#endif

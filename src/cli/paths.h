/* Directories. */
#ifndef MK_CLI_PATHS_H
#define MK_CLI_PATHS_H

#include "base/err.h"

/* Creates the directory and what is missing above it (0700). Errors: those of mkdir(2) in why. */
enum err paths_make_directory(const char *path, struct why *why);
/* Removes a directory and all that is in it, to a depth of 8. Errors are ignored. */
void paths_remove_tree(const char *path);

#endif

/* The help of a verb, in lines that fit a terminal of 80 columns. */
#ifndef MK_CLI_HELP_H
#define MK_CLI_HELP_H

#include "cli/cli.h"

/* Text that is written in lines anyhow: filled to paragraphs anew. Lines that begin with a blank,
 * and empty ones, stay as they are. */
void help_text(const char *text);
/* A name and what it means, in columns. */
void help_row(const char *name, const char *meaning);
/* Of a verb and of what it can be told to do (kv put); flags_of_all are those of every verb. */
void help_usage(const struct usage *usage, const struct flag *flags_of_all, size_t count);

#endif

/* Lines of a node's log in JSON, read back: for showing several nodes in one terminal. */
#ifndef MK_CLI_LOG_LINE_H
#define MK_CLI_LOG_LINE_H

#include <stdbool.h>
#include <stdio.h>

struct log_line;

/* NULL if the text is not a log line. */
struct log_line *log_line_parse(const char *text);
/* Accepts NULL. */
void log_line_free(struct log_line *line);

/* "ts", "level", "msg" or any field that is text; "" if there is none. */
const char *log_line_text(const struct log_line *line, const char *key);
long long log_line_number(const struct log_line *line, const char *key);

/* "10:00:00.123 n1 leader elected leader=n2 term=1". name_colour: an ANSI colour for the node's
 * name, NULL for none at all. left_out: fields that are not printed, NULL at the end; may be NULL.
 */
void log_line_print(const struct log_line *line, const char *node, const char *name_colour,
                    const char *const *left_out, FILE *out);

#endif

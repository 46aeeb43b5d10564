/* MessagePack <-> JSON, for people and pipes. Integers stay exact. */
#ifndef MK_CLI_JSON_H
#define MK_CLI_JSON_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"
#include "wire/reader.h"

/* Append text as a JSON string. Bytes that are not UTF-8 become U+FFFD. */
void json_add_text(struct buffer *out, struct bytes text);
/* Append an encoded value as JSON: on one line, or over several, indented, when pretty. Binary data
 * that is not UTF-8 becomes {"base64": "..."}. Errors: those of the reader. */
enum err json_add_value(struct buffer *out, struct bytes value, bool pretty);

/* Append a JSON text as MessagePack. Errors: INVALID, with line and column in why. */
enum err json_to_value(const char *text, struct buffer *out, struct why *why);

#endif

/* Text: is it UTF-8, and how it stands in JSON. */
#ifndef MK_BASE_JSON_TEXT_H
#define MK_BASE_JSON_TEXT_H

#include <stdbool.h>

#include "base/bytes.h"

/* Are the bytes valid UTF-8 (no surrogates, shortest form)? */
bool text_is_utf8(struct bytes text);

/* Append text as a JSON string. Bytes that are not UTF-8 become U+FFFD. */
void json_add_text(struct buffer *out, struct bytes text);

#endif

/* Paths into the tables of a machine, as keys of struct state: bytes that sort like the tables are
 * iterated.
 *
 * A path is a prefix (MACHINES_KEY_DATA, name, 0x00) and, per level of nesting, one component:
 *
 *     0x02, 8 bytes            an integer, big-endian, sign bit flipped
 *     0x03, 8 bytes            a float: its bits, big-endian, so flipped that they sort numerically
 *     0x04, text, 0x00 0x01    a string; a zero byte in it is written 0x00 0xff
 *
 * No component is the beginning of another one, and each begins with at most 0x04, so the paths
 * below a table are exactly those that begin with its own, and path 0xff is beyond the last of
 * them. */
#ifndef MK_SCRIPT_ST_PATH_H
#define MK_SCRIPT_ST_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "script/value.h"

/* Append the component of key. */
void st_path_add(struct buffer *path, const struct value_key *key);
/* The component that rest begins with: its length, 0 if there is none (well-formed). A string is
 * borrowed from rest, or from scratch if it had zero bytes. */
size_t st_path_parse(struct bytes rest, struct value_key *out, struct buffer *scratch);

#endif

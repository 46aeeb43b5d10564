/* What differs between two configurations of an application: for the event config_change. */
#ifndef MK_SCRIPT_CONFIG_CHANGE_H
#define MK_SCRIPT_CONFIG_CHANGE_H

#include <stdint.h>

#include "base/bytes.h"

/* Append the keys, at the top, whose values differ, as encoded texts one after the other: those of
 * before, then the new ones. before, after: MessagePack maps; empty for none. Returns how many. */
uint32_t config_change_keys(struct bytes before, struct bytes after, struct buffer *out);

#endif

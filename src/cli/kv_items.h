/* All keys under a prefix with their values, for verbs that show what scripts keep in kv. */
#ifndef MK_CLI_KV_ITEMS_H
#define MK_CLI_KV_ITEMS_H

#include <stdint.h>

#include "base/bytes.h"
#include "cli/cli.h"

/* What was read, page by page. Zeroed: nothing. */
struct kv_items {
    struct buffer *pages; /* answers of the node */
    uint32_t pages_count;
};

/* Linearizable, each page by itself. A failure is reported. Returns the exit code. */
int kv_items_read(const struct cli *cli, const char *prefix, struct kv_items *out);
void kv_items_close(struct kv_items *items);

/* Call fn for each, in the order of keys: the rest of its key, and its value. */
void kv_items_each(const struct kv_items *items, const char *prefix,
                   void (*fn)(void *ctx, const char *name, struct bytes value), void *ctx);

/* For -o json: an array of the values. */
void kv_items_write(const struct kv_items *items, struct buffer *out);

#endif

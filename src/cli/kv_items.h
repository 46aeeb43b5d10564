/* The machine kv, as verbs ask it: the head of a request, and all keys under a prefix with their
 * values. */
#ifndef MK_CLI_KV_ITEMS_H
#define MK_CLI_KV_ITEMS_H

#include <stdint.h>

#include "base/bytes.h"
#include "cli/cli.h"

/* The parameters of a request to kv, up to the map of its args_count arguments. The caller goes on
 * with these, and with the options (client_write_options()). */
void kv_begin(struct buffer *params, const char *name, uint32_t args_count);

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

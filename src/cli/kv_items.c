#include "cli/kv_items.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/client.h"
#include "cli/view.h"
#include "wire/writer.h"

enum { KEY_BYTES_MAX = 1024, PAGE_ITEMS = 1000 };

void kv_begin(struct buffer *params, const char *name, uint32_t args_count)
{
    write_array(params, 4);
    write_text(params, "kv");
    write_text(params, name);
    write_map(params, args_count);
}

static void write_query(const struct cli *cli, const char *prefix, struct bytes after,
                        struct buffer *params)
{
    kv_begin(params, "list", 2u + (after.size > 0));
    write_text_field(params, "prefix", prefix);
    write_u64_field(params, "limit", PAGE_ITEMS);
    if (after.size > 0) {
        write_text(params, "after");
        write_raw(params, after);
    }
    client_write_options(cli, 0, params);
}

int kv_items_read(const struct cli *cli, const char *prefix, struct kv_items *out)
{
    struct bytes after = {0};
    do {
        struct buffer params = {0};
        write_query(cli, prefix, after, &params);
        out->pages = alloc_resize(out->pages, out->pages_count + 1, sizeof *out->pages);
        struct buffer *page = &out->pages[out->pages_count++];
        *page = (struct buffer){0};
        int exit_code = client_request(cli, "query", buffer_bytes(&params), page);
        buffer_close(&params);
        if (exit_code != EXIT_OK) {
            return exit_code;
        }
        after = view_get(buffer_bytes(page), "next");
    } while (!view_is_nil(after));
    return EXIT_OK;
}

void kv_items_close(struct kv_items *items)
{
    for (uint32_t i = 0; i < items->pages_count; i++) {
        buffer_close(&items->pages[i]);
    }
    free(items->pages);
    *items = (struct kv_items){0};
}

void kv_items_each(const struct kv_items *items, const char *prefix,
                   void (*fn)(void *ctx, const char *name, struct bytes value), void *ctx)
{
    size_t prefix_size = strlen(prefix);
    for (uint32_t page = 0; page < items->pages_count; page++) {
        struct bytes list = view_get(buffer_bytes(&items->pages[page]), "items");
        for (uint32_t i = 0; i < view_count(list); i++) {
            struct bytes item = view_at(list, i);
            char key[KEY_BYTES_MAX + 1];
            view_text(item, "key", key, sizeof key);
            if (strncmp(key, prefix, prefix_size) == 0) {
                fn(ctx, key + prefix_size, view_get(item, "value"));
            }
        }
    }
}

void kv_items_write(const struct kv_items *items, struct buffer *out)
{
    uint32_t count = 0;
    for (uint32_t page = 0; page < items->pages_count; page++) {
        count += view_count(view_get(buffer_bytes(&items->pages[page]), "items"));
    }
    write_array(out, count);
    for (uint32_t page = 0; page < items->pages_count; page++) {
        struct bytes list = view_get(buffer_bytes(&items->pages[page]), "items");
        for (uint32_t i = 0; i < view_count(list); i++) {
            write_raw(out, view_get(view_at(list, i), "value"));
        }
    }
}

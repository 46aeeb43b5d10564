#include "wire/http_page.h"

#include <string.h>

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

/* "http://127.0.0.1:7129" and "127.0.0.1:7129"? */
static bool is_origin_of(struct bytes origin, struct bytes host)
{
    static const char mark[] = "://";
    size_t mark_size = sizeof mark - 1;
    for (size_t at = 0; at + mark_size <= origin.size; at++) {
        const uint8_t *name = origin.data + at + mark_size;
        if (memcmp(origin.data + at, mark, mark_size) == 0) {
            size_t size = origin.size - at - mark_size;
            return host.data != NULL && size == host.size && memcmp(name, host.data, size) == 0;
        }
    }
    return false;
}

bool http_page_is_foreign(const struct http_page *page)
{
    if (page->fetch_site.data != NULL) { /* "none": typed by the user, no page at all */
        return !is_text(page->fetch_site, "same-origin") && !is_text(page->fetch_site, "none");
    }
    return page->origin.data != NULL && !is_origin_of(page->origin, page->host);
}

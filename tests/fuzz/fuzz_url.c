/* Any text as a URL: what is accepted is accepted again as it is written, and fits on a request
 * line. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[URL_TEXT_MAX + 100], once[URL_TEXT_MAX], again[URL_TEXT_MAX];
    size = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, size);
    text[size] = 0;
    struct url u, v;
    struct why why = {0};
    if (url_parse(text, &u, &why) != ERR_OK) {
        ASSERT(why.text[0] != 0);
        return 0;
    }
    ASSERT(u.port != 0);
    ASSERT(u.host[0] != 0);
    ASSERT(u.target[0] == '/');
    for (const char *c = u.target; *c != 0; c++) {
        ASSERT(*c > ' ');
        ASSERT(*c <= '~');
    }
    ASSERT(url_parse(url_text(&u, once), &v, NULL) == ERR_OK);
    ASSERT(strcmp(url_text(&v, again), once) == 0);
    return 0;
}

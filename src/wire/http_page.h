/* Which web page does a request come from, by what a browser says of it? Whoever can reach a node
 * must not be made to write to it by what they look at. */
#ifndef MK_WIRE_HTTP_PAGE_H
#define MK_WIRE_HTTP_PAGE_H

#include <stdbool.h>

#include "base/bytes.h"

/* Fields of a request, which no page can set itself; data NULL: not there. */
struct http_page {
    struct bytes fetch_site; /* Sec-Fetch-Site: W3C Fetch Metadata. Browsers send it over https and
                                to loopback addresses, with every request */
    struct bytes origin;     /* RFC 6454 §7: with every request but GET and HEAD */
    struct bytes host;
};

/* Of another page than one of this very host and port. False for whoever is no browser, and for GET
 * where neither Sec-Fetch-Site nor Origin is sent. */
bool http_page_is_foreign(const struct http_page *page);

#endif

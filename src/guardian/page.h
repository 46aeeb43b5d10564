/* The guardian's side of the page that it shares with its node (port/guardian_page.h). */
#ifndef MK_GUARDIAN_PAGE_H
#define MK_GUARDIAN_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "port/guardian_page.h"

/* Memory that a forked child shares. Errors: IO. */
enum err page_map(struct guardian_page **out, struct why *why);
void page_unmap(struct guardian_page *page);

/* Before each start of the node, when no process writes to the page: a new incarnation, no
 * children, not ready. A part that the last node left half written is emptied; if that was the
 * promise, the node is told that promises may be forgotten (guardian_is_new), as after the first
 * start. */
void page_prepare(struct guardian_page *page, const uint8_t incarnation[16]);

/* Copies the peers if they changed since *seen (0 at first) and nobody is writing them. */
bool page_read_peers(const struct guardian_page *page, uint32_t *seen, struct guardian_peer *out,
                     uint32_t *out_count);

#endif

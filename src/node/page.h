/* The page that the node shares with its guardian. Private to this folder. */
#ifndef MK_NODE_PAGE_H
#define MK_NODE_PAGE_H

#include "port/guardian_page.h"
#include "raft/raft.h"

struct node;

void page_write_promise(struct guardian_page *page, const struct raft_promise *promise);
/* The last promise, or none. False, and *out zeroed, if one was being written when the node died:
 * then nobody knows what was promised. */
bool page_read_promise(const struct guardian_page *page, struct raft_promise *out);
void page_write_identity(struct node *n);
void page_write_peers(struct node *n);

#endif

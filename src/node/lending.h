/* Who works outside for this node's leadership (`moonkeeper lead`), and may until when. Private to
 * this folder. */
#ifndef MK_NODE_LENDING_H
#define MK_NODE_LENDING_H

#include "base/bytes.h"
#include "base/err.h"

struct node;

enum { LENDING_MAX = 64 };

/* Who works outside for this node's leadership, and may until then. 0: a free place. */
struct lending {
    struct loan {
        uint64_t holder;
        uint64_t until_us;
    } loans[LENDING_MAX];
};

/* One who works for this node's leadership asks whether it may go on, or says that it is done.
 * Writes the answer. Errors: INVALID (no leases here), BUSY (too many). */
enum err lending_ask(struct node *n, uint64_t holder, bool done, struct buffer *result);
bool lending_under_way(const struct node *n);
uint64_t lending_until(const struct node *n);

#endif

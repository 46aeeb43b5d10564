/* struct state, for the files of this folder. */
#ifndef MK_STATE_INTERNAL_H
#define MK_STATE_INTERNAL_H

#include "state/lifetime.h"
#include "state/state.h"
#include "state/tree.h"

/* One write of a transaction. The old record is not in the tree: the journal holds it. */
struct undo {
    struct record *old; /* NULL: there was none */
    struct record *now; /* NULL: deleted */
};

struct state {
    struct tree present;
    uint64_t writes; /* changes whenever the tree may have: cursors compare it */
    struct lifetime lifetime;

    bool in_transaction;
    struct tree before; /* the transaction; its root says nothing */
    struct undo *undo;
    size_t undo_count;
    size_t undo_capacity;

    bool restoring;
    struct tree incoming;
};

#endif

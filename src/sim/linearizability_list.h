/* Lists over the numbers [0, nodes), from which any node can be taken and put back in constant time
 * as long as what was taken last is put back first: a node that was taken keeps its neighbours.
 * Each list has a head, a number from nodes on; a list ends where it comes back to its head. */
#ifndef MK_SIM_LINEARIZABILITY_LIST_H
#define MK_SIM_LINEARIZABILITY_LIST_H

#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"

struct lin_list {
    uint32_t *next;
    uint32_t *prev;
};

static inline void lin_list_init(struct lin_list *l, uint32_t nodes, uint32_t heads)
{
    l->next = alloc_zeroed((size_t)nodes + heads, sizeof *l->next);
    l->prev = alloc_zeroed((size_t)nodes + heads, sizeof *l->prev);
    for (uint32_t i = nodes; i < nodes + heads; i++) {
        l->next[i] = l->prev[i] = i;
    }
}

static inline void lin_list_close(struct lin_list *l)
{
    free(l->next);
    free(l->prev);
}

static inline void lin_list_put_back(struct lin_list *l, uint32_t node)
{
    l->next[l->prev[node]] = node;
    l->prev[l->next[node]] = node;
}

static inline void lin_list_take(struct lin_list *l, uint32_t node)
{
    l->next[l->prev[node]] = l->next[node];
    l->prev[l->next[node]] = l->prev[node];
}

/* At the end of the list with this head. */
static inline void lin_list_add(struct lin_list *l, uint32_t head, uint32_t node)
{
    l->prev[node] = l->prev[head];
    l->next[node] = head;
    lin_list_put_back(l, node);
}

#endif

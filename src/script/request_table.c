#include "script/request_table.h"

#include <stdlib.h>

#include "base/alloc.h"

void request_table_close(struct request_table *all)
{
    free(all->slots);
    *all = (struct request_table){0};
}

uint64_t request_table_add(struct request_table *all, struct task *task)
{
    uint32_t slot;
    if (all->free != 0) {
        slot = all->free - 1;
        all->free = all->slots[slot].next_free;
    } else {
        if (all->count == all->capacity) {
            all->capacity = all->capacity == 0 ? 16 : all->capacity * 2;
            all->slots = alloc_resize(all->slots, all->capacity, sizeof *all->slots);
        }
        slot = all->count++;
        all->slots[slot].generation = 0;
    }
    struct request_slot *s = &all->slots[slot];
    s->task = task;
    s->generation++;
    all->pending++;
    return (uint64_t)s->generation << 32 | (slot + 1);
}

struct task *request_table_take(struct request_table *all, uint64_t id)
{
    uint32_t slot = (uint32_t)id - 1;
    if (slot >= all->count || all->slots[slot].generation != id >> 32 ||
        all->slots[slot].task == NULL) {
        return NULL;
    }
    struct task *task = all->slots[slot].task;
    all->slots[slot].task = NULL;
    all->slots[slot].next_free = all->free;
    all->free = slot + 1;
    all->pending--;
    return task;
}

void request_table_forget(struct request_table *all, uint64_t id)
{
    request_table_take(all, id);
}

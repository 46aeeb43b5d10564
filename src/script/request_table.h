/* Requests of tasks that the node has not answered yet. An id names a slot and a generation, so
 * that a late answer to a cancelled request finds nothing. */
#ifndef MK_SCRIPT_REQUEST_TABLE_H
#define MK_SCRIPT_REQUEST_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct task;

struct request_slot {
    struct task *task; /* NULL: free, or the task no longer waits */
    uint32_t generation;
    uint32_t next_free; /* slot + 1; 0: none */
};

/* Zeroed: empty. */
struct request_table {
    struct request_slot *slots;
    uint32_t count;
    uint32_t capacity;
    uint32_t free;
    uint32_t pending;
};

void request_table_close(struct request_table *all);
/* An id for a request of task; never 0. */
uint64_t request_table_add(struct request_table *all, struct task *task);
/* The task that waits for id, which is answered now. NULL if there is none. */
struct task *request_table_take(struct request_table *all, uint64_t id);
/* Its task no longer waits. */
void request_table_forget(struct request_table *all, uint64_t id);

#endif

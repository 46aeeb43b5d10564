/* A bounded queue between threads: many producers, one consumer. Items are pointers; whoever pops
 * one owns it. The wake callback runs on the producer's thread, without the lock, when the queue
 * goes from empty to non-empty. */
#ifndef MK_BASE_QUEUE_H
#define MK_BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    void **ring;
    size_t capacity; /* power of two */
    size_t head;
    size_t count;
    size_t limit; /* pushes beyond it are refused */
    bool closed;
    void (*wake)(void *ctx);
    void *wake_ctx;
};

/* limit: items at most; wake may be NULL. */
void queue_init(struct queue *q, size_t limit, void (*wake)(void *ctx), void *wake_ctx);
/* Items still queued are not freed: drain first. Accepts a zeroed object. */
void queue_close(struct queue *q);
/* False if the queue is full or ended: the item stays the caller's. */
bool queue_push(struct queue *q, void *item);
/* The oldest item, or NULL. Never waits. */
void *queue_pop(struct queue *q);
/* Waits for an item. NULL once the queue has ended and is empty. */
void *queue_wait(struct queue *q);
/* Refuse further pushes and let waiters go once it is empty. */
void queue_end(struct queue *q);
size_t queue_count(struct queue *q);

#endif

#include "base/queue.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"

void queue_init(struct queue *q, size_t limit, void (*wake)(void *ctx), void *wake_ctx)
{
    *q = (struct queue){.limit = limit, .wake = wake, .wake_ctx = wake_ctx};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    q->capacity = 16;
    q->ring = alloc_zeroed(q->capacity, sizeof *q->ring);
}

void queue_close(struct queue *q)
{
    if (q->ring == NULL) {
        return;
    }
    ASSERT(q->count == 0);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->filled);
    free(q->ring);
    q->ring = NULL;
}

static void grow(struct queue *q)
{
    void **ring = alloc_zeroed(q->capacity * 2, sizeof *ring);
    for (size_t i = 0; i < q->count; i++) {
        ring[i] = q->ring[(q->head + i) & (q->capacity - 1)];
    }
    free(q->ring);
    q->ring = ring;
    q->head = 0;
    q->capacity *= 2;
}

bool queue_push(struct queue *q, void *item)
{
    ASSERT(item != NULL);
    pthread_mutex_lock(&q->lock);
    bool accepted = !q->closed && q->count < q->limit;
    bool was_empty = q->count == 0;
    if (accepted) {
        if (q->count == q->capacity) {
            grow(q);
        }
        q->ring[(q->head + q->count) & (q->capacity - 1)] = item;
        q->count++;
    }
    pthread_mutex_unlock(&q->lock);
    if (!accepted || !was_empty) {
        return accepted;
    }
    /* Not under the lock: who wakes up on this processor would only go to sleep again for it. */
    pthread_cond_signal(&q->filled);
    if (q->wake != NULL) {
        q->wake(q->wake_ctx);
    }
    return true;
}

static void *take(struct queue *q)
{
    if (q->count == 0) {
        return NULL;
    }
    void *item = q->ring[q->head];
    q->head = (q->head + 1) & (q->capacity - 1);
    q->count--;
    return item;
}

void *queue_pop(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    void *item = take(q);
    pthread_mutex_unlock(&q->lock);
    return item;
}

void *queue_wait(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->count == 0 && !q->closed) {
        pthread_cond_wait(&q->filled, &q->lock);
    }
    void *item = take(q);
    pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_end(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

size_t queue_count(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t count = q->count;
    pthread_mutex_unlock(&q->lock);
    return count;
}

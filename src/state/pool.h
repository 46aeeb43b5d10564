/* Memory for the pieces of a state, each in constant time whatever the rest looks like.
 *
 * A general allocator is fast on average, but now and then it tidies up: after a snapshot had been
 * given back, glibc merged a million freed records within one malloc and held the consensus loop up
 * for 30 ms; and one free may return a whole heap to the system. Here pieces of one size class
 * share slabs with a free list each, and an empty slab goes back to the system by itself. Pieces
 * too large for that are mapped one by one. */
#ifndef MK_STATE_POOL_H
#define MK_STATE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* What every piece begins with. */
struct object {
    uint32_t born;       /* the epoch it was made in: lifetime.h */
    uint32_t size_bytes; /* as asked for */
    uint32_t cell;       /* its place in its slab: pool.c */
};

enum {
    POOL_PIECE_BYTES_MAX = 32768, /* larger ones do not share slabs */
    POOL_CLASSES = 81
};

struct slab;
LIST_HEAD(slab_list, slab);

struct pool {
    struct slab_list empty; /* to use again or to give back to the system */
    struct {
        struct slab_list open; /* slabs with room */
        uint32_t slab_count;
    } classes[POOL_CLASSES];
};

void pool_init(struct pool *p);
/* Everything has been freed. */
void pool_close(struct pool *p);
/* size_bytes includes the struct object, of which size_bytes and cell are filled in. */
struct object *pool_alloc(struct pool *p, uint32_t size_bytes);
void pool_free(struct pool *p, struct object *o);
static inline bool pool_has_empty(const struct pool *p)
{
    return !LIST_EMPTY(&p->empty);
}
/* Give one empty slab back, of which there is one. Returns its size in bytes. */
size_t pool_trim(struct pool *p);

#endif

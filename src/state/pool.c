#include "state/pool.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/assert.h"

/* AddressSanitizer sees one allocation per slab: tell it which cells are free. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size)   ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

enum {
    EXACT_BYTES_MAX = 128, /* up to here a class every 8 bytes, then 8 in each power of two */
    EXACT_CLASSES = EXACT_BYTES_MAX / 8 + 1,
    SLAB_BYTES_MIN = 4096,  /* a class's first slab; each further one is twice as large ... */
    SLAB_DOUBLINGS_MAX = 6, /* ... up to 256 KiB: giving one back takes some 20 us */
    SLAB_CELLS_MIN = 4,
    MAPPED_BYTES_MIN = 32768 /* what is smaller, a small state has: malloc packs it better */
};

/* A free cell. It keeps its number: cell is at the same place as in struct object. */
struct free_cell {
    struct free_cell *next;
    uint32_t cell;
};
_Static_assert(offsetof(struct free_cell, cell) == offsetof(struct object, cell), "cell stays");

struct slab {
    LIST_ENTRY(slab) link; /* while it has room */
    struct free_cell *free;
    uint32_t capacity; /* cells */
    uint32_t touched;  /* cells that have ever been in use; those behind are free too */
    uint32_t live;
    uint32_t cell_bytes;
    uint32_t size_bytes;
    _Alignas(8) uint8_t cells[];
};

struct size_class {
    uint32_t number;
    uint32_t cell_bytes;
};

/* AddressSanitizer's leak check does not look for pointers in mappings. */
static bool is_mapped(size_t size_bytes)
{
#ifdef WITH_ASAN
    (void)size_bytes;
    return false;
#else
    return size_bytes >= MAPPED_BYTES_MIN;
#endif
}

static void *obtain(size_t size_bytes)
{
    if (!is_mapped(size_bytes)) {
        return alloc_bytes(size_bytes);
    }
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(memory != MAP_FAILED);
    /* To fill or split one huge page takes a quarter of a millisecond. Refusal does no harm. */
    (void)madvise(memory, size_bytes, MADV_NOHUGEPAGE);
    return memory;
}

static void give_back(void *memory, size_t size_bytes)
{
    if (!is_mapped(size_bytes)) {
        free(memory);
        return;
    }
    int result = munmap(memory, size_bytes);
    ASSERT(result == 0);
}

static struct size_class class_of(uint32_t size_bytes)
{
    ASSERT(size_bytes >= sizeof(struct object));
    ASSERT(size_bytes <= POOL_PIECE_BYTES_MAX);
    if (size_bytes <= EXACT_BYTES_MAX) {
        uint32_t number = (size_bytes + 7) / 8;
        return (struct size_class){.number = number, .cell_bytes = 8 * number};
    }
    uint32_t log2 = 31 - (uint32_t)__builtin_clz(size_bytes - 1);
    uint32_t step = (1u << log2) / 8;
    uint32_t part = (size_bytes - 1 - (1u << log2)) / step;
    return (struct size_class){.number = EXACT_CLASSES + (log2 - 7) * 8 + part,
                               .cell_bytes = (1u << log2) + (part + 1) * step};
}

void pool_init(struct pool *p)
{
    LIST_INIT(&p->empty);
    ASSERT(class_of(POOL_PIECE_BYTES_MAX).number == POOL_CLASSES - 1);
    for (size_t i = 0; i < POOL_CLASSES; i++) {
        LIST_INIT(&p->classes[i].open);
        p->classes[i].slab_count = 0;
    }
}

/* Take a slab without pieces out of its class. */
static void retire_slab(struct pool *p, uint32_t class_number, struct slab *s)
{
    ASSERT(s->live == 0);
    LIST_REMOVE(s, link);
    p->classes[class_number].slab_count--;
    ASAN_UNPOISON_MEMORY_REGION(s->cells, (size_t)s->capacity * s->cell_bytes);
    LIST_INSERT_HEAD(&p->empty, s, link);
}

size_t pool_trim(struct pool *p)
{
    struct slab *s = LIST_FIRST(&p->empty);
    ASSERT(s != NULL);
    size_t size_bytes = s->size_bytes;
    LIST_REMOVE(s, link);
    give_back(s, size_bytes);
    return size_bytes;
}

void pool_close(struct pool *p)
{
    for (uint32_t i = 0; i < POOL_CLASSES; i++) {
        struct slab *s = LIST_FIRST(&p->classes[i].open);
        if (s != NULL) {
            retire_slab(p, i, s);
        }
        ASSERT(p->classes[i].slab_count == 0);
    }
    while (pool_has_empty(p)) {
        pool_trim(p);
    }
}

static struct slab *add_slab(struct pool *p, struct size_class c)
{
    uint32_t doublings = p->classes[c.number].slab_count++;
    doublings = doublings < SLAB_DOUBLINGS_MAX ? doublings : SLAB_DOUBLINGS_MAX;
    uint32_t size_bytes = (uint32_t)SLAB_BYTES_MIN << doublings;
    uint32_t least_bytes = (uint32_t)sizeof(struct slab) + SLAB_CELLS_MIN * c.cell_bytes;
    size_bytes = size_bytes > least_bytes ? size_bytes : least_bytes;
    struct slab *s = LIST_FIRST(&p->empty);
    if (s != NULL && s->size_bytes == size_bytes) {
        LIST_REMOVE(s, link);
    } else {
        s = obtain(size_bytes);
    }
    s->size_bytes = size_bytes;
    s->free = NULL;
    s->capacity = (size_bytes - (uint32_t)sizeof *s) / c.cell_bytes;
    s->touched = 0;
    s->live = 0;
    s->cell_bytes = c.cell_bytes;
    ASSERT(s->capacity >= SLAB_CELLS_MIN);
    LIST_INSERT_HEAD(&p->classes[c.number].open, s, link);
    ASAN_POISON_MEMORY_REGION(s->cells, (size_t)s->capacity * c.cell_bytes);
    return s;
}

/* A free cell of s, with its number filled in. */
static struct object *take_cell(struct slab *s)
{
    uint8_t *cell = s->cells + (size_t)s->touched * s->cell_bytes;
    if (s->free != NULL) {
        cell = (uint8_t *)s->free;
        ASAN_UNPOISON_MEMORY_REGION(cell, s->cell_bytes);
        s->free = s->free->next;
        return (struct object *)(void *)cell;
    }
    ASAN_UNPOISON_MEMORY_REGION(cell, s->cell_bytes);
    struct object *o = (struct object *)(void *)cell;
    o->cell = s->touched++;
    return o;
}

struct object *pool_alloc(struct pool *p, uint32_t size_bytes)
{
    if (size_bytes > POOL_PIECE_BYTES_MAX) {
        struct object *large = obtain(size_bytes);
        large->size_bytes = size_bytes;
        large->cell = UINT32_MAX;
        return large;
    }
    struct size_class c = class_of(size_bytes);
    struct slab *s = LIST_FIRST(&p->classes[c.number].open);
    if (s == NULL) {
        s = add_slab(p, c);
    }
    struct object *o = take_cell(s);
    o->size_bytes = size_bytes;
    if (++s->live == s->capacity) {
        LIST_REMOVE(s, link);
    }
    return o;
}

void pool_free(struct pool *p, struct object *o)
{
    if (o->size_bytes > POOL_PIECE_BYTES_MAX) {
        give_back(o, o->size_bytes);
        return;
    }
    struct size_class c = class_of(o->size_bytes);
    uint8_t *at = (uint8_t *)o;
    struct slab *s =
        (struct slab *)(void *)(at - (size_t)o->cell * c.cell_bytes - offsetof(struct slab, cells));
    ASSERT(o->cell < s->touched);
    ASSERT(s->live > 0);

    struct free_cell *cell = (struct free_cell *)(void *)at;
    cell->next = s->free;
    s->free = cell;
    ASAN_POISON_MEMORY_REGION(at, c.cell_bytes);
    struct slab_list *open = &p->classes[c.number].open;
    if (s->live-- == s->capacity) {
        LIST_INSERT_HEAD(open, s, link);
    }
    /* The last one with room stays: a piece that comes and goes does not make and free slabs. */
    bool alone = LIST_FIRST(open) == s && LIST_NEXT(s, link) == NULL;
    if (s->live == 0 && !alone) {
        retire_slab(p, c.number, s);
    }
}

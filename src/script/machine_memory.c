#include "script/machine_memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { PAGE_BYTES = 64 * 1024 };

struct page {
    struct page *next;
    _Alignas(MACHINE_POOL_STEP) unsigned char blocks[];
};

/* A block that is free holds the next one, which will be asked for soon and was last touched by a
 * collection, long ago. */
static void *pop(void **list)
{
    void *block = *list;
    memcpy(list, block, sizeof *list);
    __builtin_prefetch(*list, 1);
    return block;
}

static void push(void **list, void *block)
{
    memcpy(block, list, sizeof *list);
    *list = block;
}

static bool is_pooled(size_t bytes)
{
    return bytes <= MACHINE_POOL_BYTES_MAX;
}

static void **list_for(struct machine_memory *m, size_t bytes)
{
    return &m->free[(bytes - 1) / MACHINE_POOL_STEP];
}

static bool has_room(const struct machine_memory *m, size_t more_bytes)
{
    return more_bytes <= m->limit_bytes && m->used_bytes <= m->limit_bytes - more_bytes;
}

static void fill(struct machine_memory *m, void **list, size_t bytes)
{
    size_t step = (bytes + MACHINE_POOL_STEP - 1) / MACHINE_POOL_STEP * MACHINE_POOL_STEP;
    struct page *page = alloc_bytes(PAGE_BYTES);
    m->used_bytes += PAGE_BYTES;
    page->next = m->pages;
    m->pages = page;
    for (size_t at = sizeof *page; at + step <= PAGE_BYTES; at += step) {
        push(list, (unsigned char *)page + at);
    }
}

static void *take(struct machine_memory *m, size_t bytes)
{
    if (is_pooled(bytes)) {
        void **list = list_for(m, bytes);
        if (*list == NULL && has_room(m, PAGE_BYTES)) {
            fill(m, list, bytes);
        }
        return *list != NULL ? pop(list) : NULL;
    }
    void *block = has_room(m, bytes) ? malloc(bytes) : NULL;
    m->used_bytes += block != NULL ? bytes : 0;
    return block;
}

static void give(struct machine_memory *m, void *block, size_t bytes)
{
    if (is_pooled(bytes)) {
        push(list_for(m, bytes), block);
    } else {
        m->used_bytes -= bytes;
        free(block);
    }
}

static void *resize_large(struct machine_memory *m, void *old, size_t old_bytes, size_t new_bytes)
{
    if (new_bytes > old_bytes && !has_room(m, new_bytes - old_bytes)) {
        return NULL;
    }
    void *block = realloc(old, new_bytes);
    if (block == NULL) {
        return new_bytes <= old_bytes ? old : NULL;
    }
    m->used_bytes += new_bytes - old_bytes;
    return block;
}

void *machine_memory_resize(struct machine_memory *m, void *old, size_t old_bytes, size_t new_bytes)
{
    if (old == NULL || old_bytes == 0) {
        return new_bytes > 0 ? take(m, new_bytes) : NULL;
    }
    if (new_bytes == 0) {
        give(m, old, old_bytes);
        return NULL;
    }
    if (!is_pooled(old_bytes) && !is_pooled(new_bytes)) {
        return resize_large(m, old, old_bytes, new_bytes);
    }
    if (is_pooled(old_bytes) && is_pooled(new_bytes) &&
        list_for(m, old_bytes) == list_for(m, new_bytes)) {
        return old;
    }
    if (new_bytes < old_bytes && *list_for(m, new_bytes) == NULL) {
        fill(m, list_for(m, new_bytes), new_bytes); /* over the cap or not: shrinking never fails */
    }
    void *block = take(m, new_bytes);
    if (block == NULL) {
        return NULL;
    }
    memcpy(block, old, old_bytes < new_bytes ? old_bytes : new_bytes);
    give(m, old, old_bytes);
    return block;
}

void machine_memory_close(struct machine_memory *m)
{
    for (struct page *page = m->pages; page != NULL;) {
        struct page *next = page->next;
        free(page);
        page = next;
    }
    m->pages = NULL;
}

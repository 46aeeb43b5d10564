/* The bytes of a file: pages, of which those never written to take no memory. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sim/sim_fs_internal.h"

enum { PAGE = 4096 };

void sim_fs_inode_unref(struct inode *inode)
{
    if (inode == NULL || --inode->references > 0) {
        return;
    }
    for (size_t i = 0; i < inode->pages_count; i++) {
        free(inode->pages[i]);
    }
    free(inode->pages);
    free(inode);
}

struct inode *sim_fs_inode_ref(struct inode *inode)
{
    if (inode != NULL) {
        inode->references++;
    }
    return inode;
}

bool sim_fs_all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

void sim_fs_inode_get(const struct inode *inode, uint64_t offset, uint8_t *out, uint64_t size)
{
    while (size > 0) {
        uint64_t within = offset % PAGE;
        size_t part = (size_t)(size < PAGE - within ? size : PAGE - within);
        uint64_t page = offset / PAGE;
        if (page < inode->pages_count && inode->pages[page] != NULL) {
            memcpy(out, inode->pages[page] + within, part);
        } else {
            memset(out, 0, part);
        }
        out += part;
        offset += part;
        size -= part;
    }
}

static uint8_t *page_for_writing(struct inode *inode, uint64_t page)
{
    if (page >= inode->pages_count) {
        size_t count = (size_t)page + 1;
        count += count / 2;
        inode->pages = alloc_resize(inode->pages, count, sizeof *inode->pages);
        memset(inode->pages + inode->pages_count, 0,
               (count - inode->pages_count) * sizeof *inode->pages);
        inode->pages_count = count;
    }
    if (inode->pages[page] == NULL) {
        inode->pages[page] = alloc_zeroed(1, PAGE);
    }
    return inode->pages[page];
}

void sim_fs_inode_put(struct inode *inode, uint64_t offset, const uint8_t *data, uint64_t size)
{
    while (size > 0) {
        uint64_t within = offset % PAGE;
        size_t part = (size_t)(size < PAGE - within ? size : PAGE - within);
        uint64_t page = offset / PAGE;
        bool hole = page >= inode->pages_count || inode->pages[page] == NULL;
        if (!hole || !sim_fs_all_zero(data, part)) {
            memcpy(page_for_writing(inode, page) + within, data, part);
        }
        data += part;
        offset += part;
        size -= part;
    }
}

bool sim_fs_inode_is_hole(const struct inode *inode, uint64_t offset, uint64_t size)
{
    for (uint64_t page = offset / PAGE; page * PAGE < offset + size; page++) {
        if (page < inode->pages_count && inode->pages[page] != NULL) {
            return false;
        }
    }
    return true;
}

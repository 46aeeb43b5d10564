#include "guardian/page.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum err page_map(struct guardian_page **out, struct why *why)
{
    void *memory = mmap(NULL, sizeof(struct guardian_page), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_why(why, ERR_IO, "cannot map the guardian's page: %s", strerror(errno));
    }
    *out = memory;
    return ERR_OK;
}

void page_unmap(struct guardian_page *page)
{
    munmap(page, sizeof *page);
}

/* The writer is dead: if it died in the middle, what it wrote is not to be believed. */
static bool settle(_Atomic uint32_t *seq)
{
    uint32_t value = atomic_load(seq);
    if (value % 2 == 0) {
        return true;
    }
    atomic_store(seq, value + 1);
    return false;
}

void page_prepare(struct guardian_page *page, const uint8_t incarnation[16])
{
    bool promise_whole = settle(&page->promise_seq);
    if (!promise_whole) {
        page->promise = (struct guardian_promise){0};
    }
    if (!settle(&page->peers_seq)) {
        page->peers_count = 0;
    }
    page->guardian_is_new = page->starts == 0 || !promise_whole;
    page->starts++;
    memcpy(page->incarnation, incarnation, sizeof page->incarnation);
    atomic_store(&page->ready, false);
    atomic_store(&page->loaded, false);
    atomic_store(&page->next, GUARDIAN_RESTARTS);
    for (int i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        atomic_store(&page->children[i].process_group, 0);
        atomic_store(&page->children[i].deadline_us, UINT64_MAX);
    }
}

bool page_read_peers(const struct guardian_page *page, uint32_t *seen, struct guardian_peer *out,
                     uint32_t *out_count)
{
    uint32_t before = atomic_load_explicit(&page->peers_seq, memory_order_acquire);
    if (before == *seen || before % 2 != 0) {
        return false;
    }
    uint32_t count = page->peers_count;
    if (count > GUARDIAN_PEERS_MAX) {
        return false;
    }
    memcpy(out, page->peers, count * sizeof *out);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&page->peers_seq, memory_order_relaxed) != before) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i].name[GUARDIAN_NAME_MAX - 1] = 0;
        out[i].address[GUARDIAN_ADDRESS_MAX - 1] = 0;
    }
    *seen = before;
    *out_count = count;
    return true;
}

/* The node's side of the page shared with its guardian (port/guardian_page.h). */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "node/node_internal.h"

static void begin_write(_Atomic uint32_t *seq)
{
    /* A predecessor that died while it wrote left it odd. */
    uint32_t now = atomic_load_explicit(seq, memory_order_relaxed);
    atomic_store_explicit(seq, now | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void end_write(_Atomic uint32_t *seq)
{
    uint32_t now = atomic_load_explicit(seq, memory_order_relaxed);
    ASSERT((now & 1) == 1);
    atomic_store_explicit(seq, now + 1, memory_order_release);
}

void page_write_promise(struct guardian_page *page, const struct raft_promise *promise)
{
    begin_write(&page->promise_seq);
    page->promise.leader = promise->leader;
    page->promise.term = promise->term;
    memcpy(page->promise.incarnation, promise->incarnation.hash, sizeof page->promise.incarnation);
    page->promise.until_us = promise->until_us;
    end_write(&page->promise_seq);
}

bool page_read_promise(const struct guardian_page *page, struct raft_promise *out)
{
    *out = (struct raft_promise){0};
    if ((atomic_load_explicit(&page->promise_seq, memory_order_acquire) & 1) == 1) {
        return false; /* torn: so is the promise before it, which may still hold */
    }
    out->leader = page->promise.leader;
    out->term = page->promise.term;
    memcpy(out->incarnation.hash, page->promise.incarnation, sizeof out->incarnation.hash);
    out->until_us = page->promise.until_us;
    return true;
}

static void copy_text(char *out, size_t capacity, const char *text)
{
    snprintf(out, capacity, "%s", text);
}

void page_write_identity(struct node *n)
{
    struct guardian_page *page = n->ports.page;
    begin_write(&page->peers_seq);
    page->cluster_id = n->cluster_id;
    page->node_id = n->id;
    copy_text(page->cluster, sizeof page->cluster, n->cluster);
    copy_text(page->node, sizeof page->node, n->name);
    memcpy(page->storage_uuid, n->storage_uuid, sizeof page->storage_uuid);
    end_write(&page->peers_seq);
}

void page_write_peers(struct node *n)
{
    struct guardian_page *page = n->ports.page;
    const struct membership *members = members_now(n);
    begin_write(&page->peers_seq);
    page->peers_count = 0;
    for (uint32_t i = 0; i < members->count && page->peers_count < GUARDIAN_PEERS_MAX; i++) {
        const struct membership_member *m = &members->at[i];
        if (m->id == n->id) {
            continue;
        }
        struct guardian_peer *peer = &page->peers[page->peers_count++];
        peer->id = m->id;
        copy_text(peer->name, sizeof peer->name, m->name);
        copy_text(peer->address, sizeof peer->address, m->address);
    }
    end_write(&page->peers_seq);
}

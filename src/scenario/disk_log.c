#include "scenario/disk_log.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "net/disk_thread.h"
#include "net/posix_fs.h"
#include "net/system_entropy.h"
#include "node/node.h"
#include "store/snapshot.h"
#include "store/store.h"

static void take_entry(void *ctx, uint64_t index, uint64_t term, struct slice body)
{
    struct disk_log *l = ctx;
    uint64_t hash = XXH3_64bits(body.data, body.size);
    if (l->last == 0) {
        l->base = l->last = index - 1;
    }
    size_t count = l->last - l->base;
    if (count == l->capacity) {
        l->capacity = l->capacity == 0 ? 256 : l->capacity * 2;
        l->entries = alloc_resize(l->entries, l->capacity, sizeof *l->entries);
    }
    l->entries[count] = (struct disk_entry){.term = term, .hash = hash};
    l->last = index;
}

static enum err skip_snapshot(void *ctx, const struct store_snapshot *snapshot, struct why *why)
{
    (void)ctx, (void)snapshot, (void)why;
    return ERR_OK;
}

static enum err skip_pair(void *ctx, struct bytes key, struct bytes value)
{
    (void)ctx, (void)key, (void)value;
    return ERR_OK;
}

static enum err skip_end(void *ctx, struct why *why)
{
    (void)ctx, (void)why;
    return ERR_OK;
}

static void ignore_durable(void *ctx, uint64_t write_seq, struct store_pos last)
{
    (void)ctx, (void)write_seq, (void)last;
}

static void ignore_failed(void *ctx, enum err err, const struct why *why)
{
    (void)ctx, (void)err, (void)why;
}

static void wake_nobody(void *ctx)
{
    (void)ctx;
}

enum err disk_log_read(const char *directory, const char *cluster, const struct membership *members,
                       const char *node, struct disk_log *out, struct why *why)
{
    *out = (struct disk_log){0};
    struct posix_fs *fs = NULL;
    struct disk_thread *disk = NULL;
    struct store *store = NULL;
    enum err e = posix_fs_open(directory, &fs, why);
    e = e != ERR_OK ? e : disk_thread_start(wake_nobody, NULL, &disk);
    if (e == ERR_OK) {
        const struct store_options options = {
            .fs = posix_fs_port(fs),
            .disk = disk_thread_port(disk),
            .entropy = system_entropy(),
            .cluster_id = node_cluster_id(cluster, members),
            .node_id = membership_id(node),
            .cluster_name = cluster,
            .node_name = node,
            .ctx = out,
            .snapshot = skip_snapshot,
            .pair = skip_pair,
            .snapshot_end = skip_end,
            .entry = take_entry,
            .durable = ignore_durable,
            .failed = ignore_failed,
        };
        struct store_recovered recovered;
        e = store_open(&options, &store, &recovered, why);
        if (e == ERR_OK && out->last == 0) {
            out->base = out->last = recovered.base.index;
        }
    }
    disk_thread_stop(disk);
    store_close(store);
    posix_fs_close(fs);
    return e;
}

void disk_log_close(struct disk_log *l)
{
    free(l->entries);
    *l = (struct disk_log){0};
}

bool disk_log_differ(const struct disk_log *a, const struct disk_log *b, uint64_t index)
{
    if (!disk_log_has(a, index) || !disk_log_has(b, index)) {
        return false;
    }
    const struct disk_entry *x = disk_log_at(a, index), *y = disk_log_at(b, index);
    return x->term != y->term || x->hash != y->hash;
}

uint64_t disk_log_mismatch(const struct disk_log *a, const struct disk_log *b)
{
    uint64_t index = a->last < b->last ? a->last : b->last;
    uint64_t base = a->base > b->base ? a->base : b->base;
    while (index > base && disk_log_at(a, index)->term != disk_log_at(b, index)->term) {
        index--;
    }
    for (uint64_t i = base + 1; i <= index; i++) {
        if (disk_log_differ(a, b, i)) {
            return i;
        }
    }
    return 0;
}

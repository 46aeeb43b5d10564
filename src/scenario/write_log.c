#include "scenario/write_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "node/node.h"
#include "store/store.h"

/* An executor without a thread: jobs are kept, and run when they are asked for. */
struct inline_disk {
    struct executor_port port;
    struct executor_job *first, *last;
};

static void submit(void *ctx, struct executor_job *job)
{
    struct inline_disk *d = ctx;
    job->next = NULL;
    if (d->first == NULL) {
        d->first = job;
    } else {
        d->last->next = job;
    }
    d->last = job;
}

static void run_all(struct inline_disk *d)
{
    while (d->first != NULL) {
        struct executor_job *job = d->first;
        d->first = job->next;
        job->run(job);
        job->done(job);
    }
}

struct writing {
    bool durable;
    enum err err;
    struct why *why;
};

static void on_durable(void *ctx, uint64_t write_seq, struct store_pos last)
{
    struct writing *w = ctx;
    (void)write_seq;
    (void)last;
    w->durable = true;
}

static void on_failed(void *ctx, enum err err, const struct why *why)
{
    struct writing *w = ctx;
    w->err = err_why(w->why, err, "%s", why->text);
}

static struct store_entry *make_entries(const struct write_log *w)
{
    struct store_entry *entries = alloc_zeroed(w->count, sizeof *entries);
    struct buffer body = {0};
    for (uint32_t i = 0; i < w->count; i++) {
        char text[48];
        snprintf(text, sizeof text, "%" PRIu32 ".%" PRIu64, i + 1, w->terms[i]);
        buffer_clear(&body);
        node_opaque_body(bytes_of_string(text), 0, &body);
        entries[i] =
            (struct store_entry){.term = w->terms[i], .body = slice_copy(buffer_bytes(&body))};
    }
    buffer_close(&body);
    return entries;
}

enum err write_log(const struct write_log *w, struct why *why)
{
    struct inline_disk disk = {0};
    disk.port = (struct executor_port){.ctx = &disk, .submit = submit};
    struct writing writing = {.why = why};
    const struct store_options options = {
        .fs = w->fs,
        .disk = &disk.port,
        .entropy = w->entropy,
        .cluster_id = w->cluster_id,
        .node_id = w->node_id,
        .cluster_name = w->cluster_name,
        .node_name = w->node_name,
        .ctx = &writing,
        .durable = on_durable,
        .failed = on_failed,
    };
    struct store *store;
    struct store_recovered recovered;
    enum err err = store_open(&options, &store, &recovered, why);
    if (err != ERR_OK) {
        return err;
    }
    struct store_entry *entries = make_entries(w);
    store_write(store, &(struct store_write){.write_seq = 1,
                                             .hard_state = true,
                                             .term = w->term,
                                             .lo = 1,
                                             .count = w->count,
                                             .entries = entries});
    run_all(&disk);
    store_close(store);
    for (uint32_t i = 0; i < w->count; i++) {
        slice_close(&entries[i].body);
    }
    free(entries);
    if (writing.err != ERR_OK || writing.durable) {
        return writing.err;
    }
    return err_why(why, ERR_NO_SPACE, "there is no space for the log of %s", w->node_name);
}

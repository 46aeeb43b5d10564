/* The pairs of a snapshot, block by block: read and verified on the disk thread, taken on the
 * loop. */
#include <stddef.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "store/store_internal.h"

struct store_load_state {
    struct snapshot_file *file;
    const char *name;
    char name_in_place[SNAPSHOT_NAME_BYTES];
    struct snapshot_reader reader;
    bool open;
    struct bytes pairs; /* of the block, not taken yet; points into the reader */
};

static struct store_load *load_of(struct executor_job *job)
{
    return (struct store_load *)((char *)job - offsetof(struct store_load, job));
}

static void load_run(struct executor_job *job)
{
    struct store_load *l = load_of(job);
    struct store_load_state *state = l->state;
    const struct store_options *options = &l->store->options;
    l->err = ERR_OK;
    if (!state->open) {
        l->err = snapshot_reader_open(&state->reader, options->fs, state->name, options->cluster_id,
                                      &l->why);
        state->open = l->err == ERR_OK;
    }
    if (l->err == ERR_OK) {
        l->err = snapshot_reader_next(&state->reader, &state->pairs, &l->end, &l->why);
    }
    if (l->err != ERR_OK) {
        state->pairs = (struct bytes){0};
    }
}

static void load_done(struct executor_job *job)
{
    struct store_load *l = load_of(job);
    l->store->snapshots.reads_running--;
    l->done(l);
}

static void load_begin(struct store *s, struct store_load *load)
{
    struct store_load_state *state = NEW(struct store_load_state);
    state->file = load->incoming ? s->snapshots.receiver.whole : s->snapshots.in_place;
    ASSERT(state->file != NULL);
    /* Held either way: what is incoming may be put in place, and replaced, while it is read. */
    state->file->holds++;
    snapshot_name(state->file->known.last, state->name_in_place);
    state->name = load->incoming ? SNAPSHOT_INCOMING : state->name_in_place;
    load->state = state;
    load->store = s;
    load->end = false;
    load->job = (struct executor_job){.run = load_run, .done = load_done};
}

void store_load(struct store *s, struct store_load *load)
{
    ASSERT(s->snapshots.enabled);
    if (load->state == NULL) {
        load_begin(s, load);
    }
    ASSERT(!load->end);
    load->state->pairs = (struct bytes){0};
    s->snapshots.reads_running++;
    executor_submit(s->options.disk, &load->job);
}

bool store_load_pair(struct store_load *load, struct bytes *key, struct bytes *value)
{
    enum err err = snapshot_pair_take(&load->state->pairs, key, value);
    ASSERT(err != ERR_CORRUPT); /* the reader looked at each */
    return err == ERR_OK;
}

void store_load_close(struct store_load *load)
{
    if (load->state == NULL) {
        return;
    }
    snapshot_reader_close(&load->state->reader);
    snapshots_release(load->store, load->state->file);
    free(load->state);
    load->state = NULL;
}

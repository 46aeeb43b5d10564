/* Making clusters, and ending them. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/options.h"
#include "scenario/verbs.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { CLOSED_LINES = 50 };

void driver_cluster_keep(struct driver_cluster *c)
{
    if (c->target != NULL && c->target->vtable->keep != NULL) {
        c->target->vtable->keep(c->target);
    }
}

void driver_cluster_free(struct driver_cluster *c)
{
    if (c->target != NULL) {
        c->target->vtable->close(c->target);
        c->target = NULL;
    }
    if (c->trace != NULL) {
        fclose(c->trace);
        c->trace = NULL;
    }
    kv_history_free(c->history);
    c->history = NULL;
    buffer_close(&c->closed);
    for (uint32_t i = 0; i < TARGET_NODES_MAX; i++) {
        target_options_free(c->reloaded[i]);
    }
    target_options_close(&c->options);
}

/* cluster_open [options] -> {number, nodes, spares} */
void verb_open(struct ask *a)
{
    struct driver *d = a->driver;
    if (d->clusters_count == DRIVER_CLUSTERS_MAX) {
        ask_fail(a, ERR_INVALID, "a test has at most %d clusters", DRIVER_CLUSTERS_MAX);
        return;
    }
    struct why why = {""};
    struct driver_cluster *c = NEW(struct driver_cluster);
    enum err err = options_read(read_raw(&a->params), d->run->seed, &c->options, &why);
    if (err == ERR_OK) {
        err = d->stage->vtable->open(d->stage, &c->options, &c->target, &why);
    }
    if (err != ERR_OK) {
        target_options_close(&c->options);
        free(c);
        ask_fail(a, err, "%s", why.text);
        return;
    }
    c->history = kv_history_new();
    c->has_others = c->options.scripts_count > 0;
    c->target->vtable->set_live(c->target, d->run->live, d->run->live_ctx);
    d->clusters = alloc_resize(d->clusters, d->clusters_count + 1, sizeof *d->clusters);
    d->clusters[d->clusters_count++] = c;
    struct buffer out = {0};
    write_map(&out, 3);
    write_text(&out, "number");
    write_u64(&out, d->clusters_count);
    write_text(&out, "nodes");
    write_u64(&out, c->options.nodes);
    write_text(&out, "spares");
    write_u64(&out, c->options.spares);
    ask_answer_buffer(a, &out);
}

struct end {
    struct driver *driver;
    struct driver_cluster *cluster;
    void (*done)(void *ctx, const char *why);
    void *ctx;
};

static void on_end_checked(void *ctx, const struct node_reply *reply)
{
    struct end *e = ctx;
    struct driver_cluster *c = e->cluster;
    struct buffer why = {0};
    if (reply->err == ERR_SHUTDOWN && e->driver->ended) {
        /* it is being closed under us */
    } else if (reply->err != ERR_OK) {
        buffer_add_format(&why, "%s",
                          reply->message != NULL ? reply->message : err_message(reply->err));
    } else if (!c->has_others) {
        kv_history_check(c->history, &why);
    }
    e->done(e->ctx, why.size > 0 ? buffer_text(&why) : NULL);
    buffer_close(&why);
    free(e);
}

void driver_cluster_end(struct driver *d, struct driver_cluster *c,
                        void (*done)(void *ctx, const char *why), void *ctx)
{
    struct end *e = NEW(struct end);
    *e = (struct end){.driver = d, .cluster = c, .done = done, .ctx = ctx};
    c->target->vtable->check(c->target, NULL, true, on_end_checked, e);
}

/* The target must not be closed from inside one of its replies: whoever waits for this does it. */
static void on_closed(void *ctx, const char *why)
{
    struct ask *a = ctx;
    if (why != NULL) {
        ask_fail(a, ERR_REJECTED, "%s", why);
        return;
    }
    a->cluster->abandoned = true;
    a->cluster->ended = true;
    ask_answer_nothing(a);
}

void driver_close_ended(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count; i++) {
        struct driver_cluster *c = d->clusters[i];
        if (c->ended && c->target != NULL) {
            c->target->vtable->timeline(c->target, CLOSED_LINES, &c->closed);
            d->result->trace_hash =
                d->result->trace_hash * 31 + c->target->vtable->trace_hash(c->target);
            c->target->vtable->close(c->target);
            c->target = NULL;
        }
    }
}

/* cluster_close [cluster, check]; without a check it is left as it is, for its timeline */
void verb_close(struct ask *a)
{
    if (read_bool(&a->params)) {
        driver_cluster_end(a->driver, a->cluster, on_closed, a);
    } else {
        a->cluster->abandoned = true;
        ask_answer_nothing(a);
    }
}

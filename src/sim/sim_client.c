#include "sim/sim_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { VALUE_MAX = 64, KEY_BYTES = 16, REGISTERS_MAX = 64 };

const char sim_client_machine[] = "return { name = 'kv', version = 1,\n"
                                  "  init = function(st) st.r = {} end,\n"
                                  "  apply = { set = function(st, a) st.r[a[1]] = a[2] end },\n"
                                  "  query = { get = function(st, a) return st.r[a[1]] end } }\n";

struct client {
    struct sim_clients *all;
    uint32_t number;
    bool busy;
    uint64_t attempt; /* the one that is waited for; a reply to another is late */
    uint32_t attempts;
    uint32_t host; /* that answered last */
    /* The operation under way. */
    size_t operation; /* in the history */
    bool keyed;
    bool lease;
    uint64_t sequence;
    char value[VALUE_MAX];
    uint8_t key[KEY_BYTES];
};

/* What a reply finds its way back by. */
struct attempt {
    struct client *client;
    uint64_t number;
    size_t operation;
};

struct sim_clients {
    struct world *world;
    struct safety *safety;
    struct sim_process *const *hosts;
    uint32_t hosts_count;
    struct sim_clients_options options;
    struct rng rng;
    bool running;
    struct client *clients;
    uint64_t attempts;
    raft_index newest[REGISTERS_MAX]; /* of each register, as complete operations have shown */
    struct sim_operation *history;
    size_t history_count, history_capacity;
    struct buffer params;
    struct sim_clients_stats stats;
};

static void on_ready(void *ctx, uint64_t arg);
static void on_impatient(void *ctx, uint64_t number);
static void try_somewhere(struct client *c);

/* ---- one operation -------------------------------------------------------------------------- */

static void begin(struct client *c)
{
    struct sim_clients *all = c->all;
    if (all->history_count == all->history_capacity) {
        all->history_capacity = all->history_capacity == 0 ? 1024 : all->history_capacity * 2;
        all->history = alloc_resize(all->history, all->history_capacity, sizeof *all->history);
    }
    c->operation = all->history_count++;
    struct sim_operation *o = &all->history[c->operation];
    *o = (struct sim_operation){
        .client = c->number,
        .key = (uint32_t)rng_range(&all->rng, 0, all->options.registers),
        .is_get = rng_chance(&all->rng, all->options.gets),
        .invoked_us = world_now_us(all->world),
    };
    o->floor = all->newest[o->key];
    c->busy = true;
    c->attempts = 0;
    c->sequence++;
    c->lease = o->is_get && rng_chance(&all->rng, all->options.lease_gets);
    c->keyed = !o->is_get && rng_chance(&all->rng, all->options.keyed);
    snprintf(c->value, sizeof c->value, "c%u.%llu.%0*u", c->number, (unsigned long long)c->sequence,
             (int)all->options.value_bytes, 0u);
    for (size_t i = 0; i < KEY_BYTES; i += sizeof(uint64_t)) {
        uint64_t word = rng_next(&all->rng);
        memcpy(c->key + i, &word, sizeof word);
    }
    try_somewhere(c);
}

static void end(struct client *c, enum sim_outcome outcome)
{
    struct sim_clients *all = c->all;
    struct sim_operation *o = &all->history[c->operation];
    o->outcome = outcome;
    o->returned_us = world_now_us(all->world);
    c->busy = false;
    c->attempt = 0;
    if (outcome == SIM_UNKNOWN) {
        all->stats.unknown++;
    } else if (o->is_get) {
        all->stats.gets_done++;
    } else {
        all->stats.sets_done++;
    }
    world_after(all->world, sim_span_draw(all->options.pause, &all->rng), on_ready, c, 0);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void encode_params(struct client *c, const struct sim_operation *o)
{
    struct buffer *b = &c->all->params;
    char name[16];
    snprintf(name, sizeof name, "r%u", o->key);
    buffer_clear(b);
    write_array(b, 4);
    write_text(b, "kv");
    write_text(b, o->is_get ? "get" : "set");
    write_array(b, o->is_get ? 1 : 2);
    write_text(b, name);
    if (o->is_get) {
        write_map(b, 2);
        write_text(b, "read");
        write_text(b, c->lease ? "lease" : "linearizable");
    } else {
        write_text(b, c->value);
        write_map(b, c->keyed ? 2 : 1);
        if (c->keyed) {
            write_text(b, "id");
            write_bin(b, bytes_of(c->key, sizeof c->key));
        }
    }
    write_text(b, "timeout_ms");
    write_u64(b, c->all->options.patience.max_us / 1000 + 1);
}

static void check_done(struct client *c, const struct sim_operation *o)
{
    struct sim_clients *all = c->all;
    if (o->index < o->floor || (!o->is_get && o->index == o->floor)) {
        safety_fail(all->safety, c->host, "linearizable",
                    "client %u %s register %u at entry %llu, but entry %llu was known before it "
                    "began (at %.6f s)",
                    c->number, o->is_get ? "reads" : "has set", o->key,
                    (unsigned long long)o->index, (unsigned long long)o->floor,
                    (double)o->invoked_us / 1e6);
    }
    if (o->index > all->newest[o->key]) {
        all->newest[o->key] = o->index;
    }
}

static void set_answered(struct client *c)
{
    struct sim_operation *o = &c->all->history[c->operation];
    o->index = safety_command_index(c->all->safety, bytes_of_string(c->value));
    if (o->index == 0) {
        safety_fail(c->all->safety, c->host, "acknowledged means applied",
                    "client %u was told that %s is set, but no node has applied it", c->number,
                    c->value);
    }
    check_done(c, o);
    end(c, SIM_DONE);
}

static void get_answered(struct client *c, struct bytes result)
{
    struct sim_operation *o = &c->all->history[c->operation];
    struct reader r = reader_of(result);
    if (reader_peek(&r) != WIRE_NIL) {
        struct bytes value = read_str_or_bin(&r, result.size);
        o->index = safety_command_index(c->all->safety, value);
        if (reader_end(&r) != ERR_OK || o->index == 0) {
            safety_fail(c->all->safety, c->host, "linearizable",
                        "client %u reads %.*s, which no node has applied", c->number,
                        (int)value.size, (const char *)value.data);
        }
    }
    check_done(c, o);
    end(c, SIM_DONE);
}

static void answered(void *ctx, const struct node_reply *reply)
{
    struct attempt attempt = *(struct attempt *)ctx;
    free(ctx);
    struct client *c = attempt.client;
    struct sim_clients *all = c->all;
    const bool late = attempt.number != c->attempt;
    if (!c->busy || attempt.operation != c->operation || (late && reply->err != ERR_OK)) {
        return;
    }
    world_mix(all->world, attempt.number, (uint64_t)reply->err);
    if (reply->err == ERR_OK && all->history[c->operation].is_get) {
        get_answered(c, reply->result);
    } else if (reply->err == ERR_OK) {
        set_answered(c);
    } else {
        /* Not an answer to the question: the next attempt follows a moment later. */
        c->attempt = ++all->attempts;
        world_after(all->world, sim_span_draw(all->options.pause, &all->rng), on_impatient, c,
                    c->attempt);
    }
}

static void try_somewhere(struct client *c)
{
    struct sim_clients *all = c->all;
    const struct sim_operation *o = &all->history[c->operation];
    if (c->attempts > 0 || rng_chance(&all->rng, 0.2)) {
        c->host = (uint32_t)rng_range(&all->rng, 0, all->hosts_count);
    }
    c->attempts++;
    c->attempt = ++all->attempts;
    all->stats.attempts++;
    encode_params(c, o);
    struct attempt *attempt = NEW(struct attempt);
    *attempt = (struct attempt){.client = c, .number = c->attempt, .operation = c->operation};
    struct bytes method = bytes_of_string(o->is_get ? "query" : "propose");
    if (!sim_process_call(all->hosts[c->host], method, buffer_bytes(&all->params), answered,
                          attempt)) {
        free(attempt);
    }
    world_after(all->world, sim_span_draw(all->options.patience, &all->rng), on_impatient, c,
                c->attempt);
}

static void on_impatient(void *ctx, uint64_t number)
{
    struct client *c = ctx;
    if (!c->busy || number != c->attempt) {
        return;
    }
    const struct sim_operation *o = &c->all->history[c->operation];
    bool again = (o->is_get || c->keyed) && c->attempts < c->all->options.attempts_max;
    if (again) {
        try_somewhere(c);
    } else {
        end(c, SIM_UNKNOWN);
    }
}

static void on_ready(void *ctx, uint64_t arg)
{
    struct client *c = ctx;
    (void)arg;
    if (c->all->running && !c->busy) {
        begin(c);
    }
}

/* ---- all ------------------------------------------------------------------------------------ */

struct sim_clients *sim_clients_new(struct world *w, struct safety *safety,
                                    struct sim_process *const *hosts, uint32_t hosts_count,
                                    const struct sim_clients_options *options)
{
    ASSERT(options->registers <= REGISTERS_MAX);
    ASSERT(options->value_bytes < VALUE_MAX / 2);
    struct sim_clients *all = NEW(struct sim_clients);
    all->world = w;
    all->safety = safety;
    all->hosts = hosts;
    all->hosts_count = hosts_count;
    all->options = *options;
    rng_seed(&all->rng, world_draw_seed(w));
    all->clients = alloc_zeroed(options->clients, sizeof *all->clients);
    for (uint32_t i = 0; i < options->clients; i++) {
        all->clients[i] = (struct client){.all = all, .number = i};
    }
    return all;
}

void sim_clients_free(struct sim_clients *c)
{
    if (c != NULL) {
        free(c->clients);
        free(c->history);
        buffer_close(&c->params);
        free(c);
    }
}

void sim_clients_start(struct sim_clients *c)
{
    if (c->running) {
        return;
    }
    c->running = true;
    for (uint32_t i = 0; i < c->options.clients; i++) {
        world_after(c->world, sim_span_draw(c->options.pause, &c->rng), on_ready, &c->clients[i],
                    0);
    }
}

void sim_clients_stop(struct sim_clients *c)
{
    c->running = false;
}

const struct sim_clients_stats *sim_clients_stats(const struct sim_clients *c)
{
    return &c->stats;
}

const struct sim_operation *sim_clients_history(const struct sim_clients *c, size_t *count)
{
    *count = c->history_count;
    return c->history;
}

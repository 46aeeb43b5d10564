#include "sim/sim_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { VALUE_MAX = 64, KEY_BYTES = 16, REGISTERS_MAX = 64, NAME_BYTES = 16 };

/* The operation that a client waits for. */
struct operation {
    uint32_t number; /* in the history */
    uint32_t key;
    bool is_get;
    uint64_t invoked_us;
    raft_index floor; /* the newest state of the register that was known to anybody at the start */
    raft_index index; /* of the state that was set or seen; 0: never set */
};

struct client {
    struct sim_clients *all;
    uint32_t number;
    bool busy;
    uint64_t attempt; /* the one that is waited for; a reply to another is late */
    uint32_t attempts;
    uint32_t host; /* that answered last */
    /* The operation under way. */
    struct operation operation;
    bool keyed;
    const char *read; /* how a get is to be served */
    uint64_t sequence;
    char value[VALUE_MAX];
    uint8_t key[KEY_BYTES];
};

/* What a reply finds its way back by. */
struct attempt {
    struct client *client;
    uint64_t number;
    uint32_t operation;
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
    struct history *history;          /* what the clients saw */
    struct buffer params;
    struct sim_clients_stats stats;
};

static void on_ready(void *ctx, uint64_t arg);
static void on_impatient(void *ctx, uint64_t number);
static void try_somewhere(struct client *c);

/* ---- one operation -------------------------------------------------------------------------- */

static void register_name(const struct operation *o, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "r%u", o->key);
}

static void note_begin(struct client *c, struct operation *o)
{
    char name[NAME_BYTES];
    register_name(o, name);
    enum err e = history_invoke(c->all->history,
                                &(struct history_call){
                                    .client = c->number,
                                    .function = o->is_get ? HISTORY_READ : HISTORY_WRITE,
                                    .key = bytes_of_string(name),
                                    .value = bytes_of_string(c->value),
                                    .place = o->invoked_us,
                                },
                                &o->number);
    ASSERT(e == ERR_OK);
}

static const char *draw_read(struct sim_clients *all, const struct operation *o)
{
    bool lease = o->is_get && rng_chance(&all->rng, all->options.lease_gets);
    if (all->options.local_gets > 0 && rng_chance(&all->rng, all->options.local_gets)) {
        return "local";
    }
    return lease ? "lease" : "linearizable";
}

static void begin(struct client *c)
{
    struct sim_clients *all = c->all;
    struct operation *o = &c->operation;
    *o = (struct operation){
        .key = (uint32_t)rng_range(&all->rng, 0, all->options.registers),
        .is_get = rng_chance(&all->rng, all->options.gets),
        .invoked_us = world_now_us(all->world),
    };
    o->floor = all->newest[o->key];
    c->busy = true;
    c->attempts = 0;
    c->sequence++;
    c->read = draw_read(all, o);
    c->keyed = !o->is_get && rng_chance(&all->rng, all->options.keyed);
    snprintf(c->value, sizeof c->value, "c%u.%llu.%0*u", c->number, (unsigned long long)c->sequence,
             (int)all->options.value_bytes, 0u);
    for (size_t i = 0; i < KEY_BYTES; i += sizeof(uint64_t)) {
        uint64_t word = rng_next(&all->rng);
        memcpy(c->key + i, &word, sizeof word);
    }
    note_begin(c, o);
    try_somewhere(c);
}

/* value: what a get has returned. */
static void end(struct client *c, enum history_outcome outcome, struct bytes value)
{
    struct sim_clients *all = c->all;
    const struct operation *o = &c->operation;
    enum err e = history_return(all->history, o->number, outcome, value, world_now_us(all->world));
    ASSERT(e == ERR_OK);
    c->busy = false;
    c->attempt = 0;
    if (outcome == HISTORY_UNKNOWN) {
        all->stats.unknown++;
    } else if (o->is_get) {
        all->stats.gets_done++;
    } else {
        all->stats.sets_done++;
    }
    world_after(all->world, sim_span_draw(all->options.pause, &all->rng), on_ready, c, 0);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void encode_params(struct client *c, const struct operation *o)
{
    struct buffer *b = &c->all->params;
    char name[NAME_BYTES];
    register_name(o, name);
    buffer_clear(b);
    write_array(b, 4);
    write_text(b, "kv");
    write_text(b, o->is_get ? "get" : "set");
    write_map(b, o->is_get ? 1 : 2);
    write_text(b, "key");
    write_text(b, name);
    if (o->is_get) {
        write_map(b, 2);
        write_text(b, "read");
        write_text(b, c->read);
    } else {
        write_text(b, "value");
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

static void check_done(struct client *c, const struct operation *o)
{
    struct sim_clients *all = c->all;
    if (all->options.unwitnessed) {
        return;
    }
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
    struct operation *o = &c->operation;
    o->index = safety_command_index(c->all->safety, bytes_of_string(c->value));
    if (o->index == 0) {
        safety_fail(c->all->safety, c->host, "acknowledged means applied",
                    "client %u was told that %s is set, but no node has applied it", c->number,
                    c->value);
    }
    check_done(c, o);
    end(c, HISTORY_OK, (struct bytes){0});
}

/* The value in {value =, version =}; no data if it is nil, or something else. */
static struct bytes value_of(struct bytes result)
{
    struct bytes value = {0};
    struct reader r = reader_of(result);
    uint32_t fields = reader_peek(&r) == WIRE_MAP ? read_map(&r) : 0;
    for (uint32_t i = 0; i < fields; i++) {
        if (bytes_is(read_str(&r, result.size), "value")) {
            value = read_str_or_bin(&r, result.size);
        } else {
            read_skip(&r);
        }
    }
    return value;
}

static void get_answered(struct client *c, struct bytes result)
{
    struct operation *o = &c->operation;
    struct bytes value = value_of(result);
    if (value.data != NULL) {
        o->index = safety_command_index(c->all->safety, value);
        if (o->index == 0) {
            safety_fail(c->all->safety, c->host, "linearizable",
                        "client %u reads %.*s, which no node has applied", c->number,
                        (int)value.size, (const char *)value.data);
        }
    }
    check_done(c, o);
    end(c, HISTORY_OK, value);
}

static void answered(void *ctx, const struct node_reply *reply)
{
    struct attempt attempt = *(struct attempt *)ctx;
    free(ctx);
    struct client *c = attempt.client;
    struct sim_clients *all = c->all;
    const bool late = attempt.number != c->attempt;
    if (!c->busy || attempt.operation != c->operation.number || (late && reply->err != ERR_OK)) {
        return;
    }
    world_mix(all->world, attempt.number, (uint64_t)reply->err);
    if (reply->err == ERR_OK && c->operation.is_get) {
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
    const struct operation *o = &c->operation;
    if (c->attempts > 0 || rng_chance(&all->rng, 0.2)) {
        c->host = (uint32_t)rng_range(&all->rng, 0, all->hosts_count);
    }
    c->attempts++;
    c->attempt = ++all->attempts;
    all->stats.attempts++;
    encode_params(c, o);
    struct attempt *attempt = NEW(struct attempt);
    *attempt = (struct attempt){.client = c, .number = c->attempt, .operation = o->number};
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
    const struct operation *o = &c->operation;
    bool again = (o->is_get || c->keyed) && c->attempts < c->all->options.attempts_max;
    if (again) {
        try_somewhere(c);
    } else {
        end(c, HISTORY_UNKNOWN, (struct bytes){0});
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
    all->history = history_new("us");
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
        history_free(c->history);
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

const struct history *sim_clients_history(const struct sim_clients *c)
{
    return c->history;
}

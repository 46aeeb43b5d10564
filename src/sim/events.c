#include "sim/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/reader.h"

enum { FIRST_CAPACITY = 64 };

struct events {
    struct world *world;
    struct sim_event *ring;
    uint64_t capacity; /* power of two */
    uint64_t begin, end;
};

struct events *events_new(struct world *w)
{
    struct events *e = NEW(struct events);
    e->world = w;
    return e;
}

static struct sim_event *at(const struct events *e, uint64_t number)
{
    return &e->ring[number & (e->capacity - 1)];
}

void events_free(struct events *e)
{
    if (e == NULL) {
        return;
    }
    for (; e->begin < e->end; e->begin++) {
        slice_close(&at(e, e->begin)->fields);
    }
    free(e->ring);
    free(e);
}

/* An event stays where its number says: all move. */
static void grow(struct events *e)
{
    uint64_t capacity = e->capacity == 0 ? FIRST_CAPACITY : e->capacity * 2;
    struct sim_event *ring = alloc_zeroed(capacity, sizeof *ring);
    for (uint64_t i = e->begin; i < e->end; i++) {
        ring[i & (capacity - 1)] = *at(e, i);
    }
    free(e->ring);
    e->ring = ring;
    e->capacity = capacity;
}

static void make_room(struct events *e)
{
    if (e->end - e->begin == EVENTS_KEPT_MAX) {
        slice_close(&at(e, e->begin)->fields);
        e->begin++;
    } else if (e->end - e->begin == e->capacity) {
        grow(e);
    }
}

void events_record(struct events *e, uint32_t host, const char *name, raft_term term,
                   struct bytes fields)
{
    make_room(e);
    struct sim_event *event = at(e, e->end++);
    *event = (struct sim_event){
        .time_us = world_now_us(e->world),
        .host = host,
        .term = term,
        .fields = slice_copy(fields),
    };
    snprintf(event->name, sizeof event->name, "%s", name);
    world_mix(e->world, host, term);
    world_mix_bytes(e->world, bytes_of_string(event->name));
    world_mix_bytes(e->world, fields);
}

uint64_t events_begin(const struct events *e)
{
    return e->begin;
}

uint64_t events_end(const struct events *e)
{
    return e->end;
}

const struct sim_event *events_at(const struct events *e, uint64_t number)
{
    ASSERT(number >= e->begin);
    ASSERT(number < e->end);
    return at(e, number);
}

/* ---- as text --------------------------------------------------------------------------------- */

static void describe_value(struct reader *r, struct buffer *out)
{
    switch (reader_peek(r)) {
    case WIRE_STR: {
        struct bytes text = read_str(r, SIZE_MAX);
        buffer_add_format(out, "%.*s", (int)text.size, (const char *)text.data);
        break;
    }
    case WIRE_UINT:
        buffer_add_format(out, "%" PRIu64, read_u64(r));
        break;
    case WIRE_INT:
        buffer_add_format(out, "%" PRId64, read_i64(r));
        break;
    case WIRE_BOOL:
        buffer_add_format(out, "%s", read_bool(r) ? "true" : "false");
        break;
    case WIRE_FLOAT:
        buffer_add_format(out, "%.14g", read_f64(r));
        break;
    case WIRE_NIL:
        read_nil(r);
        buffer_add_format(out, "nil");
        break;
    default:
        read_skip(r);
        buffer_add_format(out, "...");
        break;
    }
}

void events_describe(const struct sim_event *event, struct buffer *out)
{
    buffer_add_format(out, "%s term %" PRIu64, event->name, event->term);
    struct reader r = reader_of(slice_bytes(event->fields));
    uint32_t count = reader_left(&r) > 0 ? read_map(&r) : 0;
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_str(&r, SIZE_MAX);
        buffer_add_format(out, " %.*s ", (int)key.size, (const char *)key.data);
        describe_value(&r, out);
    }
}

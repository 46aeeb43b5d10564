#include "sim/history.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/sim_map.h"

struct value {
    size_t offset;
    size_t size;
};

struct history {
    const char *places;
    struct history_operation *operations;
    struct history_event *events;
    struct value *values;
    uint32_t operations_count, operations_capacity;
    uint32_t events_count, events_capacity;
    uint32_t values_count, values_capacity;
    struct buffer bytes;    /* of all values, end to end */
    struct sim_map numbers; /* hash of the bytes -> number */
};

/* Room for one more in an array that holds count. */
static void *grow(void *array, uint32_t count, uint32_t *capacity, size_t size_bytes)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity == 0 ? 64 : 2 * *capacity;
    return alloc_resize(array, *capacity, size_bytes);
}

static void add_value(struct history *h, struct bytes v)
{
    h->values = grow(h->values, h->values_count, &h->values_capacity, sizeof *h->values);
    h->values[h->values_count++] = (struct value){.offset = h->bytes.size, .size = v.size};
    if (v.size > 0) {
        buffer_add_bytes(&h->bytes, v);
    }
}

struct history *history_new(const char *places)
{
    struct history *h = NEW(struct history);
    h->places = places;
    add_value(h, bytes_of(NULL, 0));
    return h;
}

void history_free(struct history *h)
{
    if (h == NULL) {
        return;
    }
    free(h->operations);
    free(h->events);
    free(h->values);
    buffer_close(&h->bytes);
    sim_map_close(&h->numbers);
    free(h);
}

struct bytes history_value(const struct history *h, uint32_t number)
{
    ASSERT(number < h->values_count);
    if (number == HISTORY_NIL) {
        return bytes_of(NULL, 0);
    }
    /* The empty value is not nil: it has an address. */
    const struct value *v = &h->values[number];
    return v->size == 0 ? bytes_of("", 0) : bytes_of(h->bytes.data + v->offset, v->size);
}

static enum err number_of(struct history *h, struct bytes v, uint32_t *number)
{
    *number = HISTORY_NIL;
    if (v.data == NULL) {
        return ERR_OK;
    }
    /* Values whose hashes collide take the keys that follow. */
    XXH128_hash_t hash = XXH3_128bits(v.data, v.size);
    struct sim_key key = {.a = hash.low64, .b = hash.high64};
    const uint64_t *found;
    while ((found = sim_map_get(&h->numbers, key)) != NULL) {
        if (bytes_equal(history_value(h, (uint32_t)*found), v)) {
            *number = (uint32_t)*found;
            return ERR_OK;
        }
        key.b++;
    }
    if (v.size > HISTORY_VALUES_MAX_BYTES - h->bytes.size) {
        return ERR_TOO_LARGE;
    }
    *number = h->values_count;
    add_value(h, v);
    sim_map_put(&h->numbers, key, *number);
    return ERR_OK;
}

static void add_event(struct history *h, uint32_t operation, uint64_t place)
{
    h->events = grow(h->events, h->events_count, &h->events_capacity, sizeof *h->events);
    h->events[h->events_count++] = (struct history_event){.operation = operation, .place = place};
}

enum err history_invoke(struct history *h, const struct history_call *call, uint32_t *operation)
{
    struct history_operation o = {
        .client = call->client,
        .function = call->function,
        .outcome = HISTORY_UNKNOWN,
        .invoked = h->events_count,
        .returned = UINT32_MAX,
    };
    if (h->operations_count == HISTORY_OPERATIONS_MAX) {
        return ERR_TOO_LARGE;
    }
    enum err e = number_of(h, call->key, &o.key);
    if (e == ERR_OK && call->function != HISTORY_READ) {
        e = number_of(h, call->value, &o.value);
    }
    if (e == ERR_OK && call->function == HISTORY_CAS) {
        e = number_of(h, call->expected, &o.expected);
    }
    if (e != ERR_OK) {
        return e;
    }
    h->operations = grow(h->operations, h->operations_count, &h->operations_capacity, sizeof o);
    *operation = h->operations_count++;
    h->operations[*operation] = o;
    add_event(h, *operation, call->place);
    return ERR_OK;
}

enum err history_return(struct history *h, uint32_t operation, enum history_outcome outcome,
                        struct bytes value, uint64_t place)
{
    ASSERT(operation < h->operations_count);
    struct history_operation *o = &h->operations[operation];
    if (o->heard) {
        return ERR_INVALID;
    }
    if (o->function == HISTORY_READ && outcome == HISTORY_OK) {
        enum err e = number_of(h, value, &o->value);
        if (e != ERR_OK) {
            return e;
        }
    }
    o->heard = true;
    o->outcome = outcome;
    o->returned = outcome == HISTORY_UNKNOWN ? UINT32_MAX : h->events_count;
    add_event(h, operation, place);
    return ERR_OK;
}

const struct history_operation *history_operations(const struct history *h, uint32_t *count)
{
    *count = h->operations_count;
    return h->operations;
}

const struct history_event *history_events(const struct history *h, uint32_t *count)
{
    *count = h->events_count;
    return h->events;
}

const char *history_places(const struct history *h)
{
    return h->places;
}

#include "scenario/kv_history.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/linearizability.h"
#include "wire/reader.h"

enum { NAME_MAX_BYTES = 64 };

/* A key that transactions touched, or that goes when a lease ends. */
struct excluded {
    UT_hash_handle hh;
    size_t size;
    uint8_t key[];
};

/* Calls are kept until the check, which knows what to leave out. */
struct call {
    enum history_function function;
    struct slice key, value;
    bool has_value; /* else nil: a delete */
    struct slice result;
    bool has_result;
    enum history_outcome outcome;
};

struct moment {
    uint32_t call;
    bool is_end;
    uint64_t time_us;
};

struct kv_history {
    struct call *calls;
    uint32_t calls_count, calls_capacity;
    struct moment *moments;
    size_t moments_count, moments_capacity;
    struct excluded *excluded;
};

struct kv_history *kv_history_new(void)
{
    return NEW(struct kv_history);
}

void kv_history_free(struct kv_history *h)
{
    if (h == NULL) {
        return;
    }
    for (uint32_t i = 0; i < h->calls_count; i++) {
        slice_close(&h->calls[i].key);
        slice_close(&h->calls[i].value);
        slice_close(&h->calls[i].result);
    }
    struct excluded *next, *e = h->excluded;
    HASH_CLEAR(hh, h->excluded); /* the table; what was in it is still a list */
    for (; e != NULL; e = next) {
        next = e->hh.next;
        free(e);
    }
    free(h->calls);
    free(h->moments);
    free(h);
}

static void add_moment(struct kv_history *h, struct moment m)
{
    if (h->moments_count == h->moments_capacity) {
        h->moments_capacity = h->moments_capacity == 0 ? 256 : h->moments_capacity * 2;
        h->moments = alloc_resize(h->moments, h->moments_capacity, sizeof *h->moments);
    }
    h->moments[h->moments_count++] = m;
}

static void exclude(struct kv_history *h, struct bytes key)
{
    struct excluded *e;
    HASH_FIND(hh, h->excluded, key.data, key.size, e);
    if (e == NULL) {
        e = alloc_zeroed(1, sizeof *e + key.size);
        e->size = key.size;
        memcpy(e->key, key.data, key.size);
        HASH_ADD_KEYPTR(hh, h->excluded, e->key, e->size, e);
    }
}

/* ---- reading calls --------------------------------------------------------------------------- */

/* The raw value of a field of a map; empty if it is not there. */
static struct bytes field(struct bytes map, const char *name)
{
    struct reader r = reader_of(map);
    struct bytes found = {0};
    uint32_t count = reader_peek(&r) == WIRE_MAP ? read_map(&r) : 0;
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_raw(&r);
        struct bytes value = read_raw(&r);
        struct reader k = reader_of(key);
        if (bytes_is(read_str_or_bin(&k, NAME_MAX_BYTES), name)) {
            found = value;
        }
    }
    return r.err == ERR_OK ? found : (struct bytes){0};
}

/* A value as explanations show it: text in quotes, numbers; the rest as it is encoded. Different
 * values stay different. */
static struct slice readable(struct bytes raw)
{
    struct reader r = reader_of(raw);
    struct buffer text = {0};
    enum wire_type type = reader_peek(&r);
    if (type == WIRE_STR || type == WIRE_BIN) {
        buffer_add_u8(&text, '"');
        buffer_add_bytes(&text, read_str_or_bin(&r, raw.size));
        buffer_add_u8(&text, '"');
    } else if (type == WIRE_UINT) {
        buffer_add_format(&text, "%llu", (unsigned long long)read_u64(&r));
    } else {
        buffer_add_bytes(&text, raw);
    }
    struct slice copy = slice_copy(buffer_bytes(&text));
    buffer_close(&text);
    return copy;
}

static bool is_nil(struct bytes raw)
{
    struct reader r = reader_of(raw);
    return raw.size == 0 || reader_peek(&r) == WIRE_NIL;
}

/* "txn": {ops = {{op =, key =}, ...}} */
static void exclude_all(struct kv_history *h, struct bytes args)
{
    struct reader r = reader_of(field(args, "ops"));
    uint32_t count = reader_peek(&r) == WIRE_ARRAY ? read_array(&r) : 0;
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct slice key = readable(field(read_raw(&r), "key"));
        exclude(h, slice_bytes(key));
        slice_close(&key);
    }
}

/* What kind of operation it is; false if it is none of interest. */
static bool classify(struct kv_history *h, const char *method, struct reader *params,
                     struct call *call)
{
    struct bytes machine = read_str_or_bin(params, NAME_MAX_BYTES);
    struct bytes name = read_str_or_bin(params, NAME_MAX_BYTES);
    struct bytes args = read_raw(params);
    struct bytes options = read_raw(params);
    if (params->err != ERR_OK || !bytes_is(machine, "kv")) {
        return false;
    }
    if (strcmp(method, "propose") == 0) {
        if (bytes_is(name, "txn")) {
            exclude_all(h, args);
            return false;
        }
        if (!bytes_is(name, "set") && !bytes_is(name, "delete")) {
            return false;
        }
        call->function = HISTORY_WRITE;
        call->has_value = bytes_is(name, "set");
        call->value = readable(field(args, "value"));
    } else {
        struct reader level = reader_of(field(options, "read"));
        bool is_local = bytes_is(read_str_or_bin(&level, NAME_MAX_BYTES), "local");
        if (strcmp(method, "query") != 0 || !bytes_is(name, "get") || is_local) {
            return false;
        }
        call->function = HISTORY_READ;
    }
    call->key = readable(field(args, "key"));
    if (!is_nil(field(args, "lease"))) {
        exclude(h, slice_bytes(call->key));
    }
    return true;
}

uint32_t kv_history_begin(struct kv_history *h, const char *method, struct bytes params,
                          uint64_t now_us)
{
    struct reader r = reader_of(params);
    struct call call = {.outcome = HISTORY_UNKNOWN};
    read_array(&r);
    if (!classify(h, method, &r, &call)) {
        return KV_HISTORY_NONE;
    }
    if (h->calls_count == h->calls_capacity) {
        h->calls_capacity = h->calls_capacity == 0 ? 128 : h->calls_capacity * 2;
        h->calls = alloc_resize(h->calls, h->calls_capacity, sizeof *h->calls);
    }
    h->calls[h->calls_count] = call;
    add_moment(h, (struct moment){.call = h->calls_count, .time_us = now_us});
    return h->calls_count++;
}

/* What an answer says of the command: it happened, it never will, or nobody knows. */
static enum history_outcome outcome_of(enum err err)
{
    switch (err) {
    case ERR_OK:
        return HISTORY_OK;
    case ERR_NOT_LEADER:
    case ERR_CONFLICT:
    case ERR_FENCED:
    case ERR_NOT_FOUND:
    case ERR_REJECTED:
    case ERR_BUSY:
    case ERR_TOO_LARGE:
    case ERR_NO_SPACE:
    case ERR_INVALID:
        return HISTORY_FAILED;
    default:
        return HISTORY_UNKNOWN;
    }
}

void kv_history_end(struct kv_history *h, uint32_t number, const struct node_reply *reply,
                    uint64_t now_us)
{
    if (number == KV_HISTORY_NONE) {
        return;
    }
    ASSERT(number < h->calls_count);
    struct call *call = &h->calls[number];
    call->outcome = outcome_of(reply->err);
    if (call->function == HISTORY_READ) {
        struct bytes value = field(reply->result, "value");
        call->has_result = !is_nil(value);
        call->result = readable(value);
    }
    add_moment(h, (struct moment){.call = number, .is_end = true, .time_us = now_us});
}

/* ---- the check ------------------------------------------------------------------------------- */

static bool is_excluded(const struct kv_history *h, const struct call *call)
{
    const struct excluded *e;
    HASH_FIND(hh, h->excluded, call->key.data, call->key.size, e);
    return e != NULL;
}

static struct bytes nil_or(struct slice value, bool has_value)
{
    return has_value ? slice_bytes(value) : (struct bytes){0};
}

static enum err take_moment(struct history *history, const struct kv_history *h,
                            const struct moment *m, uint32_t *numbers)
{
    const struct call *call = &h->calls[m->call];
    if (is_excluded(h, call)) {
        return ERR_OK;
    }
    if (m->is_end) {
        return history_return(history, numbers[m->call], call->outcome,
                              nil_or(call->result, call->has_result), m->time_us);
    }
    return history_invoke(history,
                          &(struct history_call){.client = m->call,
                                                 .function = call->function,
                                                 .key = slice_bytes(call->key),
                                                 .value = nil_or(call->value, call->has_value),
                                                 .place = m->time_us},
                          &numbers[m->call]);
}

static bool verdict_of(const struct history *history, struct buffer *words)
{
    struct lin_verdict verdict;
    enum err err = linearizable_check(history, &lin_kv, NULL, &verdict);
    bool legal = err == ERR_OK && verdict.answer == LIN_LEGAL;
    if (!legal) {
        buffer_add_format(words, "what the clients of kv saw is %s:\n%s",
                          verdict.answer == LIN_ILLEGAL ? "not linearizable"
                                                        : "too much for the checker",
                          buffer_text(&verdict.words));
    }
    lin_verdict_close(&verdict);
    return legal;
}

bool kv_history_check(const struct kv_history *h, struct buffer *words)
{
    if (h->calls_count == 0) {
        return true;
    }
    struct history *history = history_new("µs");
    uint32_t *numbers = alloc_zeroed(h->calls_count, sizeof *numbers);
    enum err err = ERR_OK;
    for (size_t i = 0; i < h->moments_count && err == ERR_OK; i++) {
        err = take_moment(history, h, &h->moments[i], numbers);
    }
    bool legal = false;
    if (err == ERR_OK) {
        legal = verdict_of(history, words);
    } else {
        buffer_add_format(words, "the history of kv cannot be checked: %s", err_message(err));
    }
    free(numbers);
    history_free(history);
    return legal;
}

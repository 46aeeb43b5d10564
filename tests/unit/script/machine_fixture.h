/* Machines on a state of their own, driven by text: arguments are Lua expressions, results are
 * shown as text. Included by the tests of machines; each is one translation unit. */
#ifndef TESTS_UNIT_SCRIPT_MACHINE_FIXTURE_H
#define TESTS_UNIT_SCRIPT_MACHINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "script/machine.h"
#include "script/value.h"
#include "state/state.h"
#include "wire/reader.h"
#include "wire/writer.h"

struct host {
    struct state *state;
    struct machines *machines;
    uint64_t index;    /* of the last entry */
    uint64_t term;     /* of the next one */
    int64_t passed_ms; /* beyond the millisecond from entry to entry */
    lua_State *L;      /* for arguments, apart from the machines' */
    struct buffer result;
    struct buffer shown;
    struct why why;
};

static inline void show_value(struct reader *r, struct buffer *out)
{
    switch (reader_peek(r)) {
    case WIRE_NIL:
        read_nil(r);
        buffer_add_format(out, "nil");
        return;
    case WIRE_BOOL:
        buffer_add_format(out, "%s", read_bool(r) ? "true" : "false");
        return;
    case WIRE_UINT:
    case WIRE_INT:
        buffer_add_format(out, "%lld", (long long)read_i64(r));
        return;
    case WIRE_FLOAT:
        buffer_add_format(out, "%gf", read_f64(r));
        return;
    case WIRE_STR:
    case WIRE_BIN: {
        struct bytes text = read_str_or_bin(r, SIZE_MAX);
        buffer_add_format(out, "\"%.*s\"", (int)text.size, (const char *)text.data);
        return;
    }
    case WIRE_ARRAY: {
        buffer_add_format(out, "[");
        for (uint32_t i = 0, n = read_array(r); i < n; i++) {
            buffer_add_format(out, i > 0 ? "," : "");
            show_value(r, out);
        }
        buffer_add_format(out, "]");
        return;
    }
    case WIRE_MAP: {
        buffer_add_format(out, "{");
        for (uint32_t i = 0, n = read_map(r); i < n; i++) {
            buffer_add_format(out, i > 0 ? "," : "");
            struct value_key key;
            assert_true(value_key_read(r, &key));
            if (key.kind == VALUE_KEY_STRING) {
                buffer_add_format(out, "%.*s=", (int)key.string.size,
                                  (const char *)key.string.data);
            } else {
                buffer_add_format(
                    out, "[%g]=", key.kind == VALUE_KEY_FLOAT ? key.number : (double)key.integer);
            }
            show_value(r, out);
        }
        buffer_add_format(out, "}");
        return;
    }
    default:
        fail_msg("not a MessagePack value");
    }
}

/* The MessagePack value as text; borrowed until the next call. */
static inline const char *show(struct host *h, struct bytes value)
{
    struct reader r = reader_of(value);
    buffer_clear(&h->shown);
    show_value(&r, &h->shown);
    assert_int_equal(reader_end(&r), ERR_OK);
    return buffer_text(&h->shown);
}

/* Append the value of a Lua expression. */
static inline void add_expression(struct host *h, const char *expression, struct buffer *out)
{
    struct why why = {.text = ""};
    lua_pushfstring(h->L, "return %s", expression);
    if (luaL_dostring(h->L, lua_tostring(h->L, -1)) != LUA_OK) {
        fail_msg("%s", lua_tostring(h->L, -1));
    }
    if (value_encode(h->L, -1, SIZE_MAX, out, &why) != ERR_OK) {
        fail_msg("%s: %s", expression, why.text);
    }
    lua_settop(h->L, 0);
}

static inline lua_State *new_argument_state(void)
{
    lua_State *L = luaL_newstate();
    value_open(L);
    luaL_openlibs(L);
    lua_newtable(L);
    value_push_null(L);
    lua_setfield(L, -2, "null");
    lua_pushcfunction(L, value_array);
    lua_setfield(L, -2, "array");
    lua_setglobal(L, "mk");
    return L;
}

static inline struct host *host_new_limited(uint64_t instructions_max, size_t memory_bytes_max)
{
    struct host *h = NEW(struct host);
    h->term = 1;
    h->state = state_new();
    struct machines_options options = {
        .state = h->state,
        .instructions_max = instructions_max,
        .memory_bytes_max = memory_bytes_max,
    };
    h->machines = machines_new(&options, &h->why);
    if (h->machines == NULL) {
        fail_msg("%s", h->why.text);
    }
    h->L = new_argument_state();
    return h;
}

static inline struct host *host_new(void)
{
    return host_new_limited(0, 0);
}

static inline void host_free(struct host *h)
{
    machines_free(h->machines);
    state_check(h->state);
    state_free(h->state);
    lua_close(h->L);
    buffer_close(&h->result);
    buffer_close(&h->shown);
    free(h);
}

static inline struct machine_at next_entry(struct host *h)
{
    h->index++;
    return (struct machine_at){
        .index = h->index,
        .term = h->term,
        .time_ms = 1000000 + (int64_t)h->index + h->passed_ms,
    };
}

static inline enum err install(struct host *h, const char *source)
{
    struct machine_at at = next_entry(h);
    h->why.text[0] = 0;
    enum err e = machines_install(h->machines, &at, bytes_of_string(source), NULL, &h->why);
    assert_false(state_in_transaction(h->state));
    return e;
}

static inline void install_ok(struct host *h, const char *source)
{
    if (install(h, source) != ERR_OK) {
        fail_msg("%s", h->why.text);
    }
}

/* Install a machine "m" with the given fields: "init = ..., apply = {...}". */
static inline void install_m(struct host *h, const char *fields)
{
    struct buffer source = {0};
    buffer_add_format(&source, "return { name = 'm', version = 1, %s }", fields);
    install_ok(h, buffer_text(&source));
    buffer_close(&source);
}

static inline enum err apply(struct host *h, const char *machine, const char *command,
                             const char *arguments)
{
    struct buffer payload = {0};
    write_array(&payload, 2);
    write_text(&payload, command);
    add_expression(h, arguments, &payload);
    struct machine_command c = {
        .machine = bytes_of_string(machine),
        .payload = buffer_bytes(&payload),
        .at = next_entry(h),
    };
    buffer_clear(&h->result);
    h->why.text[0] = 0;
    enum err e = machines_apply(h->machines, &c, &h->result, &h->why);
    assert_false(state_in_transaction(h->state));
    buffer_close(&payload);
    return e;
}

static inline enum err query(struct host *h, const char *machine, const char *name,
                             const char *arguments)
{
    struct buffer args = {0};
    add_expression(h, arguments, &args);
    struct machine_query q = {
        .machine = bytes_of_string(machine),
        .name = bytes_of_string(name),
        .args = buffer_bytes(&args),
        .at = {.index = h->index,
               .term = h->term,
               .time_ms = 1000000 + (int64_t)h->index + h->passed_ms},
    };
    struct state_hash before = state_hash(h->state);
    buffer_clear(&h->result);
    h->why.text[0] = 0;
    enum err e = machines_query(h->machines, &q, &h->result, &h->why);
    assert_true(state_hash_equal(before, state_hash(h->state)));
    buffer_close(&args);
    return e;
}

#define assert_applies(h, machine, command, arguments, expected)                \
    do {                                                                        \
        if (apply((h), (machine), (command), (arguments)) != ERR_OK) {          \
            fail_msg("%s", (h)->why.text);                                      \
        }                                                                       \
        assert_string_equal(show((h), buffer_bytes(&(h)->result)), (expected)); \
    } while (0)

#define assert_answers(h, machine, name, arguments, expected)                   \
    do {                                                                        \
        if (query((h), (machine), (name), (arguments)) != ERR_OK) {             \
            fail_msg("%s", (h)->why.text);                                      \
        }                                                                       \
        assert_string_equal(show((h), buffer_bytes(&(h)->result)), (expected)); \
    } while (0)

/* The command is refused with this error and a sentence that contains words; nothing has changed.
 */
#define assert_refused(h, machine, command, arguments, error, words)         \
    do {                                                                     \
        struct state_hash hash_before_ = state_hash((h)->state);             \
        enum err refused_ = apply((h), (machine), (command), (arguments));   \
        if (strstr((h)->why.text, (words)) == NULL) {                        \
            fail_msg("\"%s\" does not say \"%s\"", (h)->why.text, (words));  \
        }                                                                    \
        assert_string_equal(err_name(refused_), err_name(error));            \
        assert_true(state_hash_equal(hash_before_, state_hash((h)->state))); \
    } while (0)

/* A file, whole; freed by the caller. Tests run in the source folder. */
static inline char *read_text_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    struct buffer text = {0};
    size_t got;
    do {
        uint8_t *at = buffer_reserve(&text, 4096);
        got = fread(at, 1, 4096, f);
        text.size += got;
    } while (got > 0);
    fclose(f);
    char *copy = alloc_string(buffer_text(&text));
    buffer_close(&text);
    return copy;
}

static inline void install_kv(struct host *h)
{
    char *source = read_text_file("lua/moonkeeper/machines/kv.sm.lua");
    install_ok(h, source);
    free(source);
}

#endif

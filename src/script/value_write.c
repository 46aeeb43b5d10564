/* The encoding half of value.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/json_text.h"
#include "script/value.h"
#include "wire/writer.h"

/* One pair of a table that is being encoded; both halves are on the Lua stack. */
struct pair {
    struct value_key key;
    int value_slot;
};

enum { PAIRS_INLINE = 16 };

static int compare_pairs(const void *a, const void *b)
{
    return value_key_compare(&((const struct pair *)a)->key, &((const struct pair *)b)->key);
}

static void sort_pairs(struct pair *pairs, size_t count)
{
    if (count > PAIRS_INLINE) {
        qsort(pairs, count, sizeof *pairs, compare_pairs);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct pair moving = pairs[i];
        size_t hole = i;
        while (hole > 0 && value_key_compare(&moving.key, &pairs[hole - 1].key) < 0) {
            pairs[hole] = pairs[hole - 1];
            hole--;
        }
        pairs[hole] = moving;
    }
}

/* ".key" or "[1]" before what is in w->where already. */
static void prepend_where(struct value_writer *w, const struct value_key *key)
{
    char step[64];
    switch (key->kind) {
    case VALUE_KEY_INTEGER:
        snprintf(step, sizeof step, "[%lld]", (long long)key->integer);
        break;
    case VALUE_KEY_FLOAT:
        snprintf(step, sizeof step, "[%.14g]", key->number);
        break;
    case VALUE_KEY_STRING:
        snprintf(step, sizeof step, ".%.*s", (int)(key->string.size > 40 ? 40 : key->string.size),
                 (const char *)key->string.data);
        break;
    }
    char rest[sizeof w->where];
    memcpy(rest, w->where, sizeof rest);
    snprintf(w->where, sizeof w->where, "%.60s%.96s", step, rest);
}

static enum err refuse(struct value_writer *w, const char *what)
{
    w->where[0] = 0;
    return err_why(w->why, ERR_INVALID, "%s", what);
}

static enum err check_size(struct value_writer *w, size_t more_bytes)
{
    if (w->out->size > w->end_bytes_max || more_bytes > w->end_bytes_max - w->out->size) {
        w->where[0] = 0;
        return err_why(w->why, ERR_TOO_LARGE, "the value is too large");
    }
    return ERR_OK;
}

/* The number of elements if the keys are exactly 1..n with n > 0, else 0. */
static uint32_t array_length(lua_State *L, int table)
{
    lua_Unsigned length = lua_rawlen(L, table);
    if (length == 0 || length > UINT32_MAX) {
        return 0;
    }
    /* n different integers, all within 1..n. */
    lua_Unsigned count = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1) || (lua_Unsigned)lua_tointeger(L, -1) - 1 >= length) {
            lua_pop(L, 1);
            return 0;
        }
        count++;
    }
    return count == length ? (uint32_t)length : 0;
}

static enum err write_elements(struct value_writer *w, int table, uint32_t count)
{
    lua_State *L = w->L;
    write_array(w->out, count);
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, table, i);
        enum err e = value_write(w, -1);
        lua_pop(L, 1);
        if (e != ERR_OK) {
            prepend_where(w, &(struct value_key){.kind = VALUE_KEY_INTEGER, .integer = i});
            return e;
        }
    }
    return ERR_OK;
}

/* Push all pairs of the table: key, value, key, value, ... count_out is set on success. */
static enum err push_pairs(struct value_writer *w, int table, size_t *count_out)
{
    lua_State *L = w->L;
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        int key_type = lua_type(L, -2);
        if (key_type != LUA_TSTRING && key_type != LUA_TNUMBER) {
            char what[96];
            snprintf(what, sizeof what, "a key is a %s: keys are numbers or strings",
                     lua_typename(L, key_type));
            return refuse(w, what);
        }
        if (++count > VALUE_MAP_ENTRIES_MAX) {
            return err_why(w->why, ERR_TOO_LARGE, "the table has more than %d entries",
                           (int)VALUE_MAP_ENTRIES_MAX);
        }
        if (!lua_checkstack(L, 8)) {
            return err_why(w->why, ERR_IO, "the Lua stack cannot grow");
        }
        lua_pushvalue(L, -2);
    }
    *count_out = count;
    return ERR_OK;
}

static enum err write_sorted(struct value_writer *w, struct pair *pairs, size_t count, int base)
{
    for (size_t i = 0; i < count; i++) {
        int slot = base + 1 + 2 * (int)i;
        bool is_key = value_key_get(w->L, slot, &pairs[i].key);
        ASSERT(is_key); /* push_pairs has looked, and a key of a table is never NaN */
        pairs[i].value_slot = slot + 1;
    }
    sort_pairs(pairs, count);
    write_map(w->out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        enum err e = check_size(w, pairs[i].key.kind == VALUE_KEY_STRING ? pairs[i].key.string.size
                                                                         : sizeof(double));
        if (e == ERR_OK) {
            value_key_write(w->out, &pairs[i].key);
            e = value_write(w, pairs[i].value_slot);
        }
        if (e != ERR_OK) {
            prepend_where(w, &pairs[i].key);
            return e;
        }
    }
    return ERR_OK;
}

static enum err write_pairs(struct value_writer *w, int table)
{
    lua_State *L = w->L;
    int base = lua_gettop(L);
    size_t count = 0;
    enum err e = push_pairs(w, table, &count);
    if (e == ERR_OK && count == 0 && value_is_array(L, table)) {
        write_array(w->out, 0);
    } else if (e == ERR_OK && count <= PAIRS_INLINE) {
        struct pair pairs[PAIRS_INLINE];
        e = write_sorted(w, pairs, count, base);
    } else if (e == ERR_OK) {
        struct pair *pairs = alloc_resize(NULL, count, sizeof *pairs);
        e = write_sorted(w, pairs, count, base);
        free(pairs);
    }
    lua_settop(L, base);
    return e;
}

static enum err write_table(struct value_writer *w, int table)
{
    lua_State *L = w->L;
    if (w->depth == VALUE_DEPTH_MAX) {
        return refuse(w, "a table is nested too deep, or contains itself");
    }
    if (!lua_checkstack(L, 8)) {
        return err_why(w->why, ERR_IO, "the Lua stack cannot grow");
    }
    w->depth++;
    int top = lua_gettop(L);
    if (lua_getmetatable(L, table)) {
        if (lua_rawgetp(L, -1, &value_contents_key) == LUA_TTABLE) {
            table = lua_gettop(L);
        }
    }
    uint32_t length = array_length(L, table);
    enum err e = length > 0 ? write_elements(w, table, length) : write_pairs(w, table);
    lua_settop(L, top);
    w->depth--;
    return e;
}

static enum err write_number(struct value_writer *w, int index)
{
    if (lua_isinteger(w->L, index)) {
        write_i64(w->out, lua_tointeger(w->L, index));
        return ERR_OK;
    }
    double number = lua_tonumber(w->L, index);
    /* A NaN has a sign and a payload that differ between processors: one of them stands for all. */
    write_f64(w->out, number == number ? number : __builtin_nan(""));
    return ERR_OK;
}

enum err value_write(struct value_writer *w, int index)
{
    lua_State *L = w->L;
    index = lua_absindex(L, index);
    int type = lua_type(L, index);
    size_t size = 0;
    const char *text = type == LUA_TSTRING ? lua_tolstring(L, index, &size) : NULL;
    enum err e = check_size(w, size + 9); /* 9: the longest head of a value */
    if (e != ERR_OK) {
        return e;
    }
    switch (type) {
    case LUA_TNIL:
        write_nil(w->out);
        return ERR_OK;
    case LUA_TBOOLEAN:
        write_bool(w->out, lua_toboolean(L, index));
        return ERR_OK;
    case LUA_TNUMBER:
        return write_number(w, index);
    case LUA_TSTRING: {
        struct bytes string = bytes_of(text, size);
        if (text_is_utf8(string)) {
            write_str(w->out, string);
        } else {
            write_bin(w->out, string);
        }
        return ERR_OK;
    }
    case LUA_TTABLE:
        return write_table(w, index);
    case LUA_TLIGHTUSERDATA:
        if (value_is_null(L, index)) {
            write_nil(w->out);
            return ERR_OK;
        }
        break;
    case LUA_TUSERDATA:
        if (w->userdata != NULL) {
            return w->userdata(w, index, w->ctx);
        }
        break;
    default:
        break;
    }
    char what[64];
    snprintf(what, sizeof what, "a %s is not data", lua_typename(L, type));
    return refuse(w, what);
}

enum err value_encode(lua_State *L, int index, size_t bytes_max, struct buffer *out,
                      struct why *why)
{
    struct why reason = {.text = ""};
    size_t start = out->size;
    struct value_writer w = {
        .L = L,
        .out = out,
        .end_bytes_max = bytes_max > SIZE_MAX - start ? SIZE_MAX : start + bytes_max,
        .why = &reason,
    };
    if (!lua_checkstack(L, 8)) {
        return err_why(why, ERR_IO, "the Lua stack cannot grow");
    }
    enum err e = value_write(&w, index);
    if (e != ERR_OK) {
        out->size = start;
        return w.where[0] == 0 ? err_why(why, e, "%s", reason.text)
                               : err_why(why, e, "%s (at %s)", reason.text, w.where);
    }
    return ERR_OK;
}

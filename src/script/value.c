#include "script/value.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/json_text.h"
#include "wire/writer.h"

/* Its address is the registry key of the metatable that marks arrays. */
static const char array_mark;

const char value_contents_key;

void value_open(lua_State *L)
{
    lua_newtable(L);
    lua_pushliteral(L, "array");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_mark);
}

static int free_buffer(lua_State *L)
{
    buffer_close(lua_touserdata(L, 1));
    return 0;
}

struct buffer *value_buffer_push(lua_State *L)
{
    struct buffer *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct buffer){0};
    if (luaL_newmetatable(L, "moonkeeper.buffer")) {
        lua_pushcfunction(L, free_buffer);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return b;
}

void value_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}

bool value_is_null(lua_State *L, int index)
{
    return lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL;
}

void value_mark_array(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark);
    lua_setmetatable(L, index);
}

bool value_is_array(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) {
        return false;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark);
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

int value_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getmetatable(L, 1)) {
        lua_pop(L, 1);
        luaL_argcheck(L, value_is_array(L, 1), 1, "the table has a metatable already");
        return 1;
    }
    value_mark_array(L, 1);
    return 1;
}

/* ---- keys ---------------------------------------------------------------------------------- */

bool value_key_get(lua_State *L, int index, struct value_key *out)
{
    switch (lua_type(L, index)) {
    case LUA_TSTRING: {
        size_t size;
        const char *text = lua_tolstring(L, index, &size);
        *out = (struct value_key){.kind = VALUE_KEY_STRING, .string = bytes_of(text, size)};
        return true;
    }
    case LUA_TNUMBER: {
        int integral;
        lua_Integer integer = lua_tointegerx(L, index, &integral);
        if (integral) {
            *out = (struct value_key){.kind = VALUE_KEY_INTEGER, .integer = integer};
            return true;
        }
        double number = lua_tonumber(L, index);
        *out = (struct value_key){.kind = VALUE_KEY_FLOAT, .number = number};
        return number == number;
    }
    default:
        return false;
    }
}

void value_key_push(lua_State *L, const struct value_key *key)
{
    switch (key->kind) {
    case VALUE_KEY_INTEGER:
        lua_pushinteger(L, key->integer);
        return;
    case VALUE_KEY_FLOAT:
        lua_pushnumber(L, key->number);
        return;
    case VALUE_KEY_STRING:
        lua_pushlstring(L, (const char *)key->string.data, key->string.size);
        return;
    }
}

int value_key_compare(const struct value_key *a, const struct value_key *b)
{
    if (a->kind != b->kind) {
        return a->kind < b->kind ? -1 : 1;
    }
    switch (a->kind) {
    case VALUE_KEY_INTEGER:
        return (a->integer > b->integer) - (a->integer < b->integer);
    case VALUE_KEY_FLOAT:
        return (a->number > b->number) - (a->number < b->number);
    case VALUE_KEY_STRING:
        return bytes_compare(a->string, b->string);
    }
    return 0;
}

bool value_key_read(struct reader *r, struct value_key *out)
{
    switch (reader_peek(r)) {
    case WIRE_UINT:
    case WIRE_INT:
        *out = (struct value_key){.kind = VALUE_KEY_INTEGER, .integer = read_i64(r)};
        break;
    case WIRE_FLOAT: {
        double number = read_f64(r);
        *out = (struct value_key){.kind = VALUE_KEY_FLOAT, .number = number};
        if (number != number) {
            reader_fail(r, ERR_INVALID);
        } else if (number >= -0x1p63 && number < 0x1p63 && (double)(int64_t)number == number) {
            *out = (struct value_key){.kind = VALUE_KEY_INTEGER, .integer = (int64_t)number};
        }
        break;
    }
    case WIRE_STR:
    case WIRE_BIN:
        *out = (struct value_key){.kind = VALUE_KEY_STRING, .string = read_str_or_bin(r, SIZE_MAX)};
        break;
    default:
        reader_fail(r, ERR_INVALID);
        break;
    }
    return r->err == ERR_OK;
}

static void write_string(struct buffer *out, struct bytes text)
{
    if (text_is_utf8(text)) {
        write_str(out, text);
    } else {
        write_bin(out, text);
    }
}

void value_key_write(struct buffer *out, const struct value_key *key)
{
    switch (key->kind) {
    case VALUE_KEY_INTEGER:
        write_i64(out, key->integer);
        return;
    case VALUE_KEY_FLOAT:
        write_f64(out, key->number);
        return;
    case VALUE_KEY_STRING:
        write_string(out, key->string);
        return;
    }
}

/* ---- decoding ------------------------------------------------------------------------------ */

/* What Lua takes for a value, roughly and the same on every machine: the limit decides whether a
 * replicated command is refused. */
enum { COST_TABLE = 64, COST_ELEMENT = 16, COST_PAIR = 40, COST_STRING = 32 };

struct decoding {
    lua_State *L;
    struct reader *r;
    size_t memory_bytes;
    size_t memory_bytes_max;
};

static bool charge(struct decoding *d, size_t count, size_t each_bytes)
{
    /* A count is never larger than the input, see reader.h: no overflow. */
    d->memory_bytes += count * each_bytes;
    if (d->memory_bytes > d->memory_bytes_max) {
        reader_fail(d->r, ERR_TOO_LARGE);
        return false;
    }
    return true;
}

static bool read_value(struct decoding *d, uint32_t depth);

static bool read_elements(struct decoding *d, uint32_t depth)
{
    uint32_t count = read_array(d->r);
    if (d->r->err != ERR_OK || !charge(d, 1, COST_TABLE) || !charge(d, count, COST_ELEMENT)) {
        return false;
    }
    lua_createtable(d->L, (int)count, 0);
    if (count == 0) {
        value_mark_array(d->L, -1);
    }
    for (uint32_t i = 1; i <= count; i++) {
        if (!read_value(d, depth)) {
            return false;
        }
        lua_rawseti(d->L, -2, i);
    }
    return true;
}

static bool read_pairs(struct decoding *d, uint32_t depth)
{
    uint32_t count = read_map(d->r);
    if (d->r->err != ERR_OK || !charge(d, 1, COST_TABLE) || !charge(d, count, COST_PAIR)) {
        return false;
    }
    lua_createtable(d->L, 0, (int)count);
    for (uint32_t i = 0; i < count; i++) {
        struct value_key key;
        if (!value_key_read(d->r, &key)) {
            return false;
        }
        value_key_push(d->L, &key);
        if (!read_value(d, depth)) {
            return false;
        }
        lua_rawset(d->L, -3);
    }
    return true;
}

/* Leaves garbage on the stack on failure: value_read cuts it. */
static bool read_value(struct decoding *d, uint32_t depth)
{
    lua_State *L = d->L;
    struct reader *r = d->r;
    switch (reader_peek(r)) {
    case WIRE_NIL:
        read_nil(r);
        value_push_null(L);
        break;
    case WIRE_BOOL:
        lua_pushboolean(L, read_bool(r));
        break;
    case WIRE_UINT:
    case WIRE_INT:
        lua_pushinteger(L, read_i64(r));
        break;
    case WIRE_FLOAT:
        lua_pushnumber(L, read_f64(r));
        break;
    case WIRE_STR:
    case WIRE_BIN: {
        struct bytes text = read_str_or_bin(r, SIZE_MAX);
        if (!charge(d, 1, COST_STRING) || !charge(d, text.size, 1)) {
            return false;
        }
        lua_pushlstring(L, (const char *)text.data, text.size);
        break;
    }
    case WIRE_ARRAY:
    case WIRE_MAP:
        if (depth == 0) {
            reader_fail(r, ERR_INVALID);
            return false;
        }
        luaL_checkstack(L, 4, NULL);
        return (reader_peek(r) == WIRE_ARRAY ? read_elements : read_pairs)(d, depth - 1);
    default:
        reader_fail(r, reader_left(r) == 0 ? ERR_TRUNCATED : ERR_INVALID);
        return false;
    }
    return r->err == ERR_OK;
}

enum err value_read(lua_State *L, struct reader *r, const struct value_limits *limits,
                    size_t *memory_bytes)
{
    bool limited = limits != NULL && limits->memory_bytes_max != 0;
    struct decoding d = {
        .L = L,
        .r = r,
        .memory_bytes = *memory_bytes,
        .memory_bytes_max = limited ? limits->memory_bytes_max : SIZE_MAX,
    };
    uint32_t depth =
        limits != NULL && limits->depth_max != 0 ? limits->depth_max : READER_DEPTH_MAX;
    int top = lua_gettop(L);
    luaL_checkstack(L, 4, NULL);
    if (!read_value(&d, depth)) {
        lua_settop(L, top);
    } else if (value_is_null(L, -1)) {
        lua_settop(L, top);
        lua_pushnil(L); /* nothing around it that a nil would change */
    }
    *memory_bytes = d.memory_bytes;
    return r->err;
}

enum err value_decode(lua_State *L, struct bytes input, const struct value_limits *limits,
                      struct why *why)
{
    struct reader r = reader_of(input);
    size_t memory_bytes = 0;
    enum err e = value_read(L, &r, limits, &memory_bytes);
    if (e == ERR_OK && reader_end(&r) != ERR_OK) {
        lua_pop(L, 1);
        return err_why(why, ERR_INVALID, "bytes follow the MessagePack value");
    }
    if (e == ERR_TRUNCATED) {
        return err_why(why, e, "the MessagePack value ends too early");
    }
    if (e == ERR_TOO_LARGE) {
        return err_why(why, e, "the MessagePack value needs too much memory");
    }
    if (e != ERR_OK) {
        return err_why(why, e,
                       "not a MessagePack value that Lua can hold (an extension, an integer above "
                       "2^63-1, a key that is neither number nor string, or nested too deep)");
    }
    return ERR_OK;
}

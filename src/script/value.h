/* Lua values <-> MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md).
 *
 *     Lua                                   MessagePack
 *     nil, mk.null                          nil (inside a table it reads back as mk.null)
 *     boolean, integer, float               bool, int, float 64 (an integral float stays a float)
 *     string                                str if it is valid UTF-8, else bin
 *     table with exactly the keys 1..n      array
 *     mk.array{} without elements           array of none
 *     any other table                       map, its keys in the order of value_key_compare()
 *
 * Equal values give equal bytes, whatever the history of the tables. Refused, with a sentence that
 * says where: functions, threads, other userdata, tables nested beyond the limit or within
 * themselves, keys that are neither numbers nor strings, integers above 2^63-1, extension types.
 * Metatables are not looked at, but for one field (value_contents_key). */
#ifndef MK_SCRIPT_VALUE_H
#define MK_SCRIPT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

#include "base/bytes.h"
#include "base/err.h"
#include "wire/reader.h"

enum {
    VALUE_DEPTH_MAX = 24, /* leaves room for envelopes below READER_DEPTH_MAX */
    VALUE_MAP_ENTRIES_MAX = 65536,
    VALUE_BYTES_MAX = 8 * 1024 * 1024,
};

/* A table whose metatable has this raw field (lua_rawsetp), a table, is encoded as that table. */
extern const char value_contents_key;

/* Once per lua_State, before anything else here. [-0, +0, m] */
void value_open(lua_State *L);

/* mk.null. [-0, +1, -] */
void value_push_null(lua_State *L);
bool value_is_null(lua_State *L, int index);
/* mk.array(t?): the Lua function. Marks t (or a new table) as an array, so that it stays one when
 * it is empty. [-1, +1, e] */
int value_array(lua_State *L);
/* Is the table marked by mk.array? */
bool value_is_array(lua_State *L, int index);
/* Mark the table at index. [-0, +0, -] */
void value_mark_array(lua_State *L, int index);

/* --- Keys: one order for all tables that are iterated in order --- */

struct value_key {
    enum value_key_kind { VALUE_KEY_INTEGER, VALUE_KEY_FLOAT, VALUE_KEY_STRING } kind;
    union {
        int64_t integer;
        double number; /* neither integral nor NaN: Lua turns integral keys into integers */
        struct bytes string;
    };
};

/* The key at index. False if it is none of the three kinds. A string is borrowed from Lua. */
bool value_key_get(lua_State *L, int index, struct value_key *out);
/* [-0, +1, m] */
void value_key_push(lua_State *L, const struct value_key *key);
/* Integers, then floats, then strings by their bytes: <0, 0, >0. */
int value_key_compare(const struct value_key *a, const struct value_key *b);
/* The next value as a key (an integral float becomes an integer). False leaves an error in r. */
bool value_key_read(struct reader *r, struct value_key *out);
void value_key_write(struct buffer *out, const struct value_key *key);

/* --- Encoding --- */

struct value_writer {
    lua_State *L;
    struct buffer *out;
    size_t end_bytes_max; /* out may not grow beyond this */
    struct why *why;
    /* Encodes the userdata at index, or refuses it. NULL: all are refused. */
    enum err (*userdata)(struct value_writer *w, int index, void *ctx);
    void *ctx;
    uint32_t depth;
    char where[160]; /* ".user.tags[3]", of what was refused */
};

/* Append the value at index to out, at most bytes_max of it. Raises no Lua error and leaves the
 * stack as it is.
 * Errors: INVALID (why names the place), TOO_LARGE; out is then as before. IO: the Lua stack could
 * not grow. */
enum err value_encode(lua_State *L, int index, size_t bytes_max, struct buffer *out,
                      struct why *why);
/* The same with all options; on an error the contents of out are for the caller to cut. */
enum err value_write(struct value_writer *w, int index);

/* --- Decoding --- */

struct value_limits {
    size_t memory_bytes_max; /* of Lua memory, estimated the same everywhere; 0: no limit */
    uint32_t depth_max;      /* 0: READER_DEPTH_MAX */
};

/* Push the value that input is. Raises only for want of memory. [-0, +1 on success, m]
 * Errors: TRUNCATED, INVALID, TOO_LARGE; nothing is pushed. */
enum err value_decode(lua_State *L, struct bytes input, const struct value_limits *limits,
                      struct why *why);
/* Push the next value of r; a failure is in r->err. memory_bytes counts up from call to call. */
enum err value_read(lua_State *L, struct reader *r, const struct value_limits *limits,
                    size_t *memory_bytes);

/* Push an empty buffer that is freed with the value, also when an error passes. The caller may
 * close it earlier. [-0, +1, m] */
struct buffer *value_buffer_push(lua_State *L);

#endif

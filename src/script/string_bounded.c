/* string.find, match, gmatch and gsub of applications. Lua's own matcher is used where it must be
 * quick, which is nearly always; where it might backtrack for hours, uninterruptible, a matcher
 * that counts its steps does the work and gives up with an error. */
#include <lauxlib.h>

#include "script/host.h"
#include "script/sandbox.h"
#include "script/string_pattern.h"
#include "script/thread.h"

/* Steps of Lua's matcher that are harmless: a few ms. And what the bounded one may spend: about as
 * long as a task's budget of processor time, and enough to pass over the longest string a few
 * times. */
enum { STEPS_HARMLESS = 1000000, STEPS_MAX = 20000000, STEPS_PER_BYTE = 4 };

/* Could Lua's matcher take long on these? Each repetition may try every length at every place, each
 * `?` both. Characters that are escaped, or in a set, are taken for repetitions too: the worst that
 * comes of it is the other matcher. */
static bool may_take_long(size_t subject_size, const char *pattern, size_t pattern_size)
{
    size_t places = subject_size + 1;
    size_t steps = places;
    for (size_t i = 0; i < pattern_size; i++) {
        switch (pattern[i]) {
        case '*':
        case '+':
        case '-':
        case 'b': /* %b looks for its end */
            steps *= places;
            break;
        case '?':
            steps *= 2;
            break;
        default:
            continue;
        }
        if (steps > STEPS_HARMLESS) {
            return true;
        }
    }
    return false;
}

static struct meter *meter_of(lua_State *L)
{
    struct meter *meter = &thread_app(L)->host->string_meter;
    size_t size = lua_type(L, 1) == LUA_TSTRING ? lua_rawlen(L, 1) : 0;
    meter_fill(meter, STEPS_MAX + (uint64_t)size * STEPS_PER_BYTE);
    return meter;
}

static void exhausted(lua_State *L)
{
    luaL_error(L, "the pattern takes too long on this string");
}

/* The result is built outside the state's memory, and then copied into it. */
static size_t string_bytes_max(lua_State *L)
{
    const struct memory *memory = &thread_app(L)->memory;
    return memory->limit_bytes - memory->used_bytes;
}

static const struct string_budget budget = {
    .meter = meter_of, .exhausted = exhausted, .string_bytes_max = string_bytes_max};

/* Upvalue: Lua's own function. Wrong arguments are its to complain about. */
static int choose(lua_State *L, int (*bounded)(lua_State *L, const struct string_budget *budget))
{
    if (lua_isstring(L, 1) && lua_isstring(L, 2)) {
        size_t subject_size;
        size_t pattern_size;
        lua_tolstring(L, 1, &subject_size);
        const char *pattern = lua_tolstring(L, 2, &pattern_size);
        if (may_take_long(subject_size, pattern, pattern_size)) {
            return bounded(L, &budget);
        }
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int find(lua_State *L)
{
    return choose(L, string_pattern_find);
}

static int match(lua_State *L)
{
    return choose(L, string_pattern_match);
}

static int gmatch(lua_State *L)
{
    return choose(L, string_pattern_gmatch);
}

static int gsub(lua_State *L)
{
    return choose(L, string_pattern_gsub);
}

void string_bounded_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", find}, {"match", match}, {"gmatch", gmatch}, {"gsub", gsub}, {NULL, NULL}};
    for (const luaL_Reg *f = functions; f->name != NULL; f++) {
        lua_getfield(L, -1, f->name);
        lua_pushcclosure(L, f->func, 1);
        lua_setfield(L, -2, f->name);
    }
}

/* Any bytes as MessagePack for Lua: decoding must not crash or take memory without bound, and what
 * it accepts must encode to a form that stays the same from then on. */
#include <lauxlib.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "script/json.h"
#include "script/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(lua_State *L, struct bytes input)
{
    static const struct value_limits limits = {
        .memory_bytes_max = 16 * 1024 * 1024,
        .depth_max = VALUE_DEPTH_MAX,
    };
    if (value_decode(L, input, &limits, NULL) != ERR_OK) {
        ASSERT(lua_gettop(L) == 0);
        return;
    }
    struct buffer once = {0};
    struct buffer twice = {0};
    struct buffer text = {0};
    if (value_encode(L, -1, SIZE_MAX, &once, NULL) == ERR_OK) {
        lua_settop(L, 0);
        ASSERT(value_decode(L, buffer_bytes(&once), &limits, NULL) == ERR_OK);
        ASSERT(value_encode(L, -1, SIZE_MAX, &twice, NULL) == ERR_OK);
        ASSERT(bytes_equal(buffer_bytes(&once), buffer_bytes(&twice)));
        /* Most of what JSON can say reads back; not a zero byte in a key (json.h). */
        if (json_from_msgpack(buffer_bytes(&once), NULL, &text, NULL) == ERR_OK) {
            json_to_msgpack(buffer_bytes(&text), &twice, NULL);
        }
    }
    buffer_close(&once);
    buffer_close(&twice);
    buffer_close(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = luaL_newstate();
    value_open(L);
    check(L, bytes_of(data, size));
    lua_close(L);
    return 0;
}

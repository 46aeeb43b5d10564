#include "script/machine_bytecode.h"

#include <lauxlib.h>
#include <string.h>

#include "base/bytes.h"

enum {
    OPCODE_BITS = 7,
    OPCODE_SETUPVAL = 10, /* A B: upvalue[B] = register[A] */
    OPERAND_B_SHIFT = 16,
    HEADER_BYTES = 4 + 1 + 1 + 6 + 3 + 8 + 8,
    UPVALUES_MAX = 256,
    NESTING_MAX = 200, /* the compiler's own limit on nested functions */
    NOT_OF_ROOT = 0,
};

enum constant {
    CONSTANT_NIL = 0x00,
    CONSTANT_FALSE = 0x01,
    CONSTANT_TRUE = 0x11,
    CONSTANT_INTEGER = 0x03,
    CONSTANT_FLOAT = 0x13,
    CONSTANT_SHORT_STRING = 0x04,
    CONSTANT_LONG_STRING = 0x14,
};

struct dump {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
    int assigned; /* the root function's upvalue that is assigned to; NOT_OF_ROOT: none */
};

static const uint8_t *take(struct dump *d, size_t size_bytes)
{
    if (d->bad || size_bytes > (size_t)(d->end - d->at)) {
        d->bad = true;
        return NULL;
    }
    const uint8_t *start = d->at;
    d->at += size_bytes;
    return start;
}

static uint8_t take_byte(struct dump *d)
{
    const uint8_t *byte = take(d, 1);
    return byte != NULL ? *byte : 0;
}

/* Seven bits a byte, most significant first; the last one has its high bit set. */
static size_t take_size(struct dump *d)
{
    size_t size = 0;
    for (;;) {
        uint8_t byte = take_byte(d);
        if (d->bad || size >= SIZE_MAX >> 7) {
            d->bad = true;
            return 0;
        }
        size = size << 7 | (byte & 0x7f);
        if ((byte & 0x80) != 0) {
            return size;
        }
    }
}

static void skip_array(struct dump *d, size_t each_bytes)
{
    size_t count = take_size(d);
    if (count > (size_t)(d->end - d->at)) {
        d->bad = true;
        return;
    }
    take(d, count * each_bytes);
}

static void skip_string(struct dump *d)
{
    size_t size = take_size(d); /* one more than its length; 0: no string */
    if (size > 1) {
        take(d, size - 1);
    }
}

static void skip_constants(struct dump *d)
{
    for (size_t left = take_size(d); left > 0 && !d->bad; left--) {
        switch (take_byte(d)) {
        case CONSTANT_NIL:
        case CONSTANT_FALSE:
        case CONSTANT_TRUE:
            break;
        case CONSTANT_INTEGER:
        case CONSTANT_FLOAT:
            take(d, 8);
            break;
        case CONSTANT_SHORT_STRING:
        case CONSTANT_LONG_STRING:
            skip_string(d);
            break;
        default:
            d->bad = true;
        }
    }
}

static void skip_debug(struct dump *d)
{
    skip_array(d, 1);                                               /* lines */
    for (size_t left = take_size(d); left > 0 && !d->bad; left--) { /* absolute lines */
        take_size(d);
        take_size(d);
    }
    for (size_t left = take_size(d); left > 0 && !d->bad; left--) { /* local variables */
        skip_string(d);
        take_size(d);
        take_size(d);
    }
    for (size_t left = take_size(d); left > 0 && !d->bad; left--) { /* names of upvalues */
        skip_string(d);
    }
}

/* Which of the root function's upvalues each upvalue of a function is. */
struct upvalues {
    size_t count;
    int of_root[UPVALUES_MAX];
};

static void find_assignments(struct dump *d, struct bytes code, const struct upvalues *up)
{
    for (size_t i = 0; i + 4 <= code.size; i += 4) {
        uint32_t instruction;
        memcpy(&instruction, code.data + i, sizeof instruction);
        uint32_t operand = instruction >> OPERAND_B_SHIFT & 0xff;
        if ((instruction & ((1 << OPCODE_BITS) - 1)) == OPCODE_SETUPVAL && operand < up->count &&
            up->of_root[operand] != NOT_OF_ROOT) {
            d->assigned = up->of_root[operand];
        }
    }
}

/* outer: NULL for the root function, whose upvalues are all its own. */
static void read_function(struct dump *d, const struct upvalues *outer, int nesting)
{
    skip_string(d); /* source */
    take_size(d);   /* first line */
    take_size(d);   /* last line */
    take(d, 3);     /* parameters, vararg, stack size */
    size_t instructions = take_size(d);
    if (d->bad || instructions > (size_t)(d->end - d->at) / 4 || nesting > NESTING_MAX) {
        d->bad = true;
        return;
    }
    struct bytes code = bytes_of(take(d, instructions * 4), instructions * 4);
    if (code.data == NULL) {
        return;
    }
    skip_constants(d);
    struct upvalues up = {.count = take_size(d)};
    if (up.count > UPVALUES_MAX) {
        d->bad = true;
        return;
    }
    for (size_t i = 0; i < up.count; i++) {
        bool of_enclosing_locals = take_byte(d) != 0;
        uint8_t number = take_byte(d);
        take_byte(d); /* kind */
        if (outer == NULL) {
            up.of_root[i] = (int)i + 1;
        } else if (!of_enclosing_locals && number < outer->count) {
            up.of_root[i] = outer->of_root[number];
        }
    }
    find_assignments(d, code, &up);
    for (size_t left = take_size(d); left > 0 && !d->bad; left--) {
        read_function(d, &up, nesting + 1);
    }
    skip_debug(d);
}

static bool header_is_known(const uint8_t *header)
{
    static const uint8_t expected[] = {0x1b, 'L',  'u',  'a',  0x54, 0x00, 0x19, 0x93,
                                       '\r', '\n', 0x1a, '\n', 4,    8,    8};
    return memcmp(header, expected, sizeof expected) == 0;
}

static int add_to_buffer(lua_State *L, const void *data, size_t size, void *ctx)
{
    (void)L;
    buffer_add(ctx, data, size);
    return 0;
}

enum err machine_bytecode_assigned_upvalue(lua_State *L, int index, int *upvalue)
{
    struct buffer bytes = {0};
    *upvalue = 0;
    lua_pushvalue(L, index);
    lua_dump(L, add_to_buffer, &bytes, 0);
    lua_pop(L, 1);
    struct dump d = {.at = bytes.data, .end = bytes.data + bytes.size};
    const uint8_t *header = take(&d, HEADER_BYTES);
    d.bad = d.bad || !header_is_known(header);
    take_byte(&d); /* upvalues of the root */
    read_function(&d, NULL, 0);
    bool bad = d.bad || d.at != d.end;
    buffer_close(&bytes);
    *upvalue = d.assigned;
    return bad ? ERR_VERSION : ERR_OK;
}

/* What examining the function that source returns finds; -1 if it cannot be examined. */
static int examine(lua_State *L, const char *source)
{
    int upvalue = -1;
    if (luaL_loadbufferx(L, source, strlen(source), "=check", "t") == LUA_OK &&
        lua_pcall(L, 0, 1, 0) == LUA_OK && lua_isfunction(L, -1) &&
        machine_bytecode_assigned_upvalue(L, -1, &upvalue) != ERR_OK) {
        upvalue = -1;
    }
    lua_pop(L, 1);
    return upvalue;
}

bool machine_bytecode_is_known(lua_State *L)
{
    /* In one, an inner function reads `a` and assigns to `b` of the file; in the other, to a local
     * of the command. */
    return examine(L, "local a, b = 1.5, 'x'\n"
                      "return function(t) return function() t = a; b = nil end end") == 2 &&
           examine(L, "local a, b = 1.5, 'x'\n"
                      "return function(t) return function() t = a; return b end end") == 0;
}

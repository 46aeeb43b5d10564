#include "wire/head.h"

#include <endian.h>
#include <string.h>

/* Per code from 0xc0 to 0xdf: the type, and the bytes of the number after the code. */
static const struct {
    uint8_t type;
    uint8_t number_bytes;
} codes[32] = {
    {WIRE_NIL, 0},   {WIRE_NONE, 0},  {WIRE_BOOL, 0}, {WIRE_BOOL, 0}, /* nil, unused, false, true */
    {WIRE_BIN, 1},   {WIRE_BIN, 2},   {WIRE_BIN, 4},                  /* bin 8, 16, 32 */
    {WIRE_EXT, 1},   {WIRE_EXT, 2},   {WIRE_EXT, 4},                  /* ext 8, 16, 32 */
    {WIRE_FLOAT, 4}, {WIRE_FLOAT, 8},                                 /* float 32, 64 */
    {WIRE_UINT, 1},  {WIRE_UINT, 2},  {WIRE_UINT, 4}, {WIRE_UINT, 8}, /* uint 8 .. 64 */
    {WIRE_INT, 1},   {WIRE_INT, 2},   {WIRE_INT, 4},  {WIRE_INT, 8},  /* int 8 .. 64 */
    {WIRE_EXT, 0},   {WIRE_EXT, 0},   {WIRE_EXT, 0},  {WIRE_EXT, 0},  /* fixext 1, 2, 4, 8 */
    {WIRE_EXT, 0},                                                    /* fixext 16 */
    {WIRE_STR, 1},   {WIRE_STR, 2},   {WIRE_STR, 4},                  /* str 8, 16, 32 */
    {WIRE_ARRAY, 2}, {WIRE_ARRAY, 4},                                 /* array 16, 32 */
    {WIRE_MAP, 2},   {WIRE_MAP, 4},                                   /* map 16, 32 */
};

enum { CODE_TRUE = 0xc3, CODE_FIXEXT_1 = 0xd4 };

enum wire_type head_type(uint8_t code)
{
    if (code < 0x80) {
        return WIRE_UINT;
    }
    if (code < 0x90) {
        return WIRE_MAP;
    }
    if (code < 0xa0) {
        return WIRE_ARRAY;
    }
    if (code < 0xc0) {
        return WIRE_STR;
    }
    return code >= 0xe0 ? WIRE_INT : (enum wire_type)codes[code - 0xc0].type;
}

/* Of 1, 2, 4 or 8 bytes. */
static uint64_t big_endian(const uint8_t *at, uint32_t size_bytes)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size_bytes) {
    case 1:
        return *at;
    case 2:
        memcpy(&two, at, sizeof two);
        return be16toh(two);
    case 4:
        memcpy(&four, at, sizeof four);
        return be32toh(four);
    default:
        memcpy(&eight, at, sizeof eight);
        return be64toh(eight);
    }
}

static uint64_t sign_extended(uint64_t value, uint32_t size_bytes)
{
    uint32_t unused_bits = 64 - 8 * size_bytes;
    return (uint64_t)((int64_t)(value << unused_bits) >> unused_bits);
}

static uint64_t double_bits(uint64_t value, uint32_t size_bytes)
{
    if (size_bytes == sizeof(double)) {
        return value;
    }
    uint32_t bits = (uint32_t)value;
    float narrow;
    memcpy(&narrow, &bits, sizeof narrow);
    double wide = (double)narrow;
    memcpy(&value, &wide, sizeof wide);
    return value;
}

/* Values whose code says it all. */
static void parse_fixed(uint8_t code, struct head *out)
{
    out->head_bytes = 1;
    switch (out->type) {
    case WIRE_UINT:
        out->argument = code;
        break;
    case WIRE_INT:
        out->argument = sign_extended(code, 1);
        break;
    case WIRE_MAP:
    case WIRE_ARRAY:
        out->argument = code & 0x0f;
        break;
    case WIRE_STR:
        out->argument = code & 0x1f;
        break;
    case WIRE_BOOL:
        out->argument = code == CODE_TRUE;
        break;
    case WIRE_EXT:
        out->argument = 1 + ((uint64_t)1 << (code - CODE_FIXEXT_1)); /* with the byte of its type */
        break;
    default:
        out->argument = 0;
        break;
    }
}

enum err head_parse(const uint8_t *at, const uint8_t *end, struct head *out)
{
    if (at == end) {
        return ERR_TRUNCATED;
    }
    uint8_t code = *at;
    out->type = head_type(code);
    if (out->type == WIRE_NONE) {
        return ERR_INVALID;
    }
    uint32_t number_bytes = code >= 0xc0 && code < 0xe0 ? codes[code - 0xc0].number_bytes : 0;
    if (number_bytes == 0) {
        parse_fixed(code, out);
        return ERR_OK;
    }
    if ((size_t)(end - at) - 1 < number_bytes) {
        return ERR_TRUNCATED;
    }
    out->head_bytes = 1 + number_bytes;
    out->argument = big_endian(at + 1, number_bytes);
    if (out->type == WIRE_INT) {
        out->argument = sign_extended(out->argument, number_bytes);
        if ((int64_t)out->argument >= 0) {
            out->type = WIRE_UINT; /* a small number in a signed form is still that number */
        }
    } else if (out->type == WIRE_FLOAT) {
        out->argument = double_bits(out->argument, number_bytes);
    } else if (out->type == WIRE_EXT) {
        out->argument += 1; /* the byte of its type */
    }
    return ERR_OK;
}

/* What the tests of wire/ share. */
#ifndef MK_TESTS_WIRE_CHECK_H
#define MK_TESTS_WIRE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/err.h"

#define assert_bytes(actual, expected)                                         \
    do {                                                                       \
        struct bytes actual_ = (actual), expected_ = (expected);               \
        assert_int_equal(actual_.size, expected_.size);                        \
        if (expected_.size > 0) {                                              \
            assert_memory_equal(actual_.data, expected_.data, expected_.size); \
        }                                                                      \
    } while (0)

/* A copy of exactly size_bytes on the heap, so that a sanitizer sees any read beyond it. */
static inline uint8_t *exact_copy(const void *data, size_t size_bytes)
{
    uint8_t *copy = malloc(size_bytes == 0 ? 1 : size_bytes);
    if (size_bytes > 0) {
        memcpy(copy, data, size_bytes);
    }
    return copy;
}

typedef enum err decode_fn(struct bytes input);

/* Cut at every byte, and followed by one byte too many, valid input is refused. */
static inline void assert_whole_only(struct bytes valid, decode_fn *decode)
{
    assert_int_equal(decode(valid), ERR_OK);
    for (size_t size = 0; size < valid.size; size++) {
        uint8_t *cut = exact_copy(valid.data, size);
        enum err e = decode(bytes_of(cut, size));
        free(cut);
        assert_true(e == ERR_TRUNCATED || e == ERR_INVALID);
    }
    uint8_t *longer = malloc(valid.size + 1);
    memcpy(longer, valid.data, valid.size);
    longer[valid.size] = 0xc0;
    assert_int_equal(decode(bytes_of(longer, valid.size + 1)), ERR_INVALID);
    free(longer);
}

/* Whatever one byte is changed to, decode() answers, within the bounds of the input. Of the 256
 * values, all type codes and the edges of the ranges between them. */
static inline void assert_survives_any_byte(struct bytes valid, decode_fn *decode)
{
    for (size_t i = 0; i < valid.size; i++) {
        uint8_t *copy = exact_copy(valid.data, valid.size);
        for (unsigned value = 0; value < 256; value++) {
            bool is_edge = value % 16 == 0 || value % 16 == 15 || (value >= 0xc0 && value < 0xe0);
            if (!is_edge) {
                continue;
            }
            copy[i] = (uint8_t)value;
            enum err e = decode(bytes_of(copy, valid.size));
            assert_true(e < ERR_COUNT);
        }
        free(copy);
    }
}

#endif

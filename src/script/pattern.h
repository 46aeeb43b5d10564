/* Lua patterns (Lua manual §6.4.1), matched within a budget. Lua's own matcher can take exponential
 * time on a short string, and nothing interrupts it; this one stops when the meter is exhausted.
 * Character classes are those of the C locale. */
#ifndef MK_SCRIPT_PATTERN_H
#define MK_SCRIPT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "script/meter.h"

enum { PATTERN_ITEMS_MAX = 200, PATTERN_CAPTURES_MAX = 32 };

/* One step of a compiled pattern. */
struct pattern_item {
    enum pattern_kind {
        PATTERN_BYTE, /* one of set, as often as repeat says */
        PATTERN_OPEN,
        PATTERN_CLOSE, /* number: of the capture */
        PATTERN_POSITION,
        PATTERN_AGAIN,    /* %1: capture number once more */
        PATTERN_BALANCED, /* %bxy */
        PATTERN_FRONTIER, /* %f[set] */
        PATTERN_END,      /* $ */
    } kind;
    char repeat; /* 0, '?', '*', '+' or '-' */
    uint8_t number;
    uint8_t pair[2];
    uint64_t set[4];
};

struct pattern {
    bool anchored; /* begins with ^ */
    uint32_t items_count;
    uint32_t captures_count;
    struct pattern_item items[PATTERN_ITEMS_MAX];
};

/* Compile text. with_anchor: a leading ^ is one (not so in gmatch). False: *reason says why not. */
bool pattern_compile(struct pattern *p, struct bytes text, bool with_anchor, const char **reason);

struct pattern_capture {
    const uint8_t *start;
    const uint8_t *end; /* NULL: a position */
};

struct pattern_match {
    const uint8_t *start;
    const uint8_t *end;
    struct pattern_capture captures[PATTERN_CAPTURES_MAX];
};

/* The first match that begins at or after from (in subject). False: none, or the meter is
 * exhausted. */
bool pattern_search(const struct pattern *p, struct bytes subject, const uint8_t *from,
                    struct meter *meter, struct pattern_match *out);
/* The match that begins at from. */
bool pattern_match_at(const struct pattern *p, struct bytes subject, const uint8_t *from,
                      struct meter *meter, struct pattern_match *out);

#endif
